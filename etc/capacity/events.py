"""The same question by events: conversations take their turns, replicas keep, thin out, write, give up
and fetch states by the rules of the cache. Slower than estimate.py, and its check."""
import collections
import heapq
import random

import workload
from workload import END_POINT, PLACES


class State:
    __slots__ = ("pos", "kind", "path", "ram", "dev", "disk", "held", "used", "uses")

    def __init__(self, path, pos, kind):
        self.path, self.pos, self.kind = path, pos, kind
        self.ram = self.dev = self.disk = self.held = False
        self.used, self.uses = 0.0, 0

    def __getitem__(self, i):  # as workload.thinned sees points
        return (self.pos, self.kind)[i]


class Path(list):
    """States by position. pages: up to which its KV rows are in RAM, once for all of them."""
    pages = 0


class Replica:
    """One cache. Sizes are a sample's: `scale` of them."""

    def __init__(self, s, scale):
        self.s, self.scale = s, scale
        self.ram, self.dev, self.disk = (collections.OrderedDict() for _ in range(3))
        self.ram_bytes = self.disk_bytes = 0.0
        self.ram_max, self.disk_max = s.ram * scale, s.disk * scale
        self.slots = int(s.slots * scale)
        self.window = max(1, round(workload.CANDIDATES * scale))
        self.paths = {}
        self.behind_at, self.behind_left = 0.0, 0.0
        self.put_at, self.put_left = 0.0, 0.0
        self.busy, self.pinned = 0.0, None
        self.written = self.read = 0.0

    # ---- leaving tiers ----

    def drop_ram(self, x):
        self.ram_bytes -= self.ram.pop(x)
        x.ram = False
        if self.s.kv and x.pos == x.path.pages:
            self.pages(x.path, max((y.pos for y in x.path if y.ram), default=0))

    def pages(self, path, upto):
        self.ram_bytes += self.s.kv * (upto - path.pages)
        path.pages = upto

    def drop_disk(self, x):
        self.disk_bytes -= self.disk.pop(x)
        x.disk = False

    def destroy(self, x):
        if x.ram:
            self.drop_ram(x)
        if x.dev:
            del self.dev[x]
            x.dev = False
        if x.disk:
            self.drop_disk(x)
        x.path.remove(x)

    def victim(self, tier, now):
        """statecache/index/evict.c: of the oldest, the one that saves least for its bytes."""
        best, least, looked = None, 0.0, 0
        for x, size in tier.items():
            if x is self.pinned or (tier is self.disk and x.held):
                continue
            above = 0
            for y in x.path:
                if y is x:
                    break
                above = y.pos
            saved = x.pos - above
            inner = x is not x.path[-1] and not x.held
            saved = saved / workload.EVICT_INNER if inner else max(saved, workload.EVICT_END_TOKENS)
            worth = saved / size * (1 + x.uses) * 2.0 ** (-(now - x.used) / workload.HALF_LIFE_S)
            if best is None or worth < least:
                best, least = x, worth
            looked += 1
            if looked >= self.window:
                break
        return best

    # ---- entering them ----

    def room_in_ram(self, size, now):
        while self.ram_bytes + size > self.ram_max:
            x = self.victim(self.ram, now)
            if x is None:
                return False
            if not x.disk and not x.dev and self.disk_max:
                self.write(x, now)  # ahead of need, in the cache
            if x.disk or x.dev:
                self.drop_ram(x)
            else:
                self.destroy(x)
        return True

    def to_ram(self, x, now):
        size = self.s.ram_bytes(x.kind)
        rows = self.s.kv * max(x.pos - x.path.pages, 0)
        if x.ram or not self.room_in_ram(size + rows, now):
            return x.ram
        self.ram[x] = size
        self.ram_bytes += size
        x.ram = True
        if self.s.kv and x.pos > x.path.pages:
            self.pages(x.path, x.pos)
        return True

    def write(self, x, now):
        size = self.s.file_bytes(x.kind, x.pos)
        if x.disk:
            return True
        while self.disk_bytes + size > self.disk_max:
            y = self.victim(self.disk, now)
            if y is None:
                return False
            if y is x or y.ram or y.dev:
                self.drop_disk(y)
            else:
                self.destroy(y)
        self.disk[x] = size
        self.disk_bytes += size
        self.written += size
        x.disk = True
        return True

    def may_write_behind(self, size, now):
        rate = workload.BEHIND_BYTES_S * self.scale
        self.behind_left = min(self.behind_left + (now - self.behind_at) * rate, 8 * rate)
        self.behind_at = now
        if self.behind_left <= -workload.BEHIND_LATE_S * rate:
            return False
        self.behind_left -= size
        return True

    def may_put(self, size, now):
        rate = self.s.put_rate() * self.scale
        self.put_left = min(self.put_left + (now - self.put_at) * rate, 2 * rate)
        self.put_at = now
        if self.put_left <= -10 * rate:
            return False
        self.put_left -= size
        return True

    def touch(self, x, now):
        x.used = now
        for tier, there in ((self.ram, x.ram), (self.dev, x.dev), (self.disk, x.disk)):
            if there:
                tier.move_to_end(x)

    def park(self, x, now):
        """The end of an answer stays in its slot."""
        while len(self.dev) >= self.slots:
            y = next(iter(self.dev))
            if not y.ram and not (y.disk and self.ram_bytes > self.ram_max * 0.75):
                self.to_ram(y, now)
            del self.dev[y]
            y.dev = False
            if not y.ram and not y.disk:
                self.destroy(y)
        self.dev[x] = True
        x.dev = True

    # ---- a turn ----

    def keep(self, path, pos, kind, now, last):
        at = len(path)
        while at and path[at - 1].pos >= pos:
            at -= 1
        if at < len(path) and path[at].pos == pos:
            self.touch(path[at], now)
            return path[at]
        x = State(path, pos, kind)
        x.used = now
        path.insert(at, x)
        if last and self.slots:
            self.park(x, now)
        elif not self.to_ram(x, now):
            path.remove(x)
            return None
        return x

    def thin(self, path, end):
        upto = [x for x in path if x.pos <= end]
        for x in workload.thinned(upto, end) if upto and upto[-1].pos == end else ():
            if not x.held:
                self.destroy(x)
        room = self.s.ram / 4
        for x in reversed([x for x in path if x.pos < end]):
            room -= self.s.state if x.ram else 0
            if room < 0 and x.ram:
                if x.disk:
                    self.drop_ram(x)
                else:
                    self.destroy(x)

    def settle(self, path, tip, now):
        """A session's record file: the states of its path go to disk, out of RAM but for the last."""
        if not self.disk_max:
            return
        for x in list(path):
            x.held = x is tip
        for x in list(path):
            if self.write(x, now) and x is not tip and x.ram:
                self.drop_ram(x)


class Simulation:
    def __init__(self, s, sample=1500, gaps_before=20.0, gaps_after=10.0):
        self.s = s
        least = 4 * s.sessions / s.slots if s.slots else 0  # so that a sample has slots at all
        n = int(min(s.sessions, max(sample, 60 * s.replicas, min(least, 20000))))
        self.scale = n / s.sessions
        self.rng = random.Random(s.seed)
        self.gaps = s.gaps()
        self.replicas = [Replica(s, self.scale) for _ in range(s.replicas)]
        self.store, self.store_bytes = collections.OrderedDict(), 0.0
        self.n_conversations = 0
        self._reset()
        self._run(n, gaps_before * self.gaps.mean, gaps_after * self.gaps.mean)

    def _reset(self):
        self.turns = self.loads = 0
        self.place = dict.fromkeys(PLACES, 0)
        self.computed = self.put_bytes = self.got_bytes = 0.0
        self.wait = 0.0
        self.wrote = -sum(r.written for r in self.replicas)
        self.read_back = -sum(r.read for r in self.replicas)

    def _run(self, n, before, after):
        heap = []
        for _ in range(n):
            c = self._conversation()
            c["turn"] = self.rng.randrange(self.s.turns)
            left = self.gaps.inverse(self.gaps.age, self.rng.random())  # as at any moment
            heapq.heappush(heap, (left, c["id"], c))
        measured = False
        while heap[0][0] < before + after:
            now, _, c = heapq.heappop(heap)
            if not measured and now >= before:
                measured = True
                self._reset()
            self._turn(c, now)
            c["turn"] += 1
            if c["turn"] == self.s.turns:
                self._end(c)
                c = self._conversation()
            heapq.heappush(heap, (now + self.gaps.draw(self.rng), c["id"], c))
        self.seconds = after
        self.wrote += sum(r.written for r in self.replicas)
        self.read_back += sum(r.read for r in self.replicas)

    def _conversation(self):
        self.n_conversations += 1
        return {"id": self.n_conversations, "turn": 0, "put": [],
                "home": self.rng.randrange(self.s.replicas)}

    def _end(self, c):
        """A chat is never asked for again, and nobody knows; a session is deleted."""
        if self.s.kind == "session":
            for r in self.replicas:
                for x in list(r.paths.pop(c["id"], ())):
                    r.destroy(x)
        else:
            for r in self.replicas:
                r.paths.pop(c["id"], None)

    def _route(self, c):
        s = self.s
        if s.routing == "random":
            return self.replicas[self.rng.randrange(s.replicas)]
        if s.replicas > 1 and self.rng.random() < s.misrouted:
            other = self.rng.randrange(s.replicas - 1)
            return self.replicas[other + (other >= c["home"])]
        return self.replicas[c["home"]]

    def _shared(self, c, above):
        """The deepest state of the conversation in the store, beyond `above`."""
        for pos in reversed(c["put"]):
            if pos <= above:
                return 0
            if (c["id"], pos) in self.store:
                self.store.move_to_end((c["id"], pos))
                return pos
        return 0

    def _offer(self, r, c, pos, now):
        s = self.s
        if not s.store or not r.may_put(s.put_bytes(pos), now):
            return
        self.put_bytes += s.put_bytes(pos)
        size = s.stored_bytes(pos)
        self.store[(c["id"], pos)] = size
        self.store_bytes += size
        c["put"].append(pos)
        while self.store_bytes > s.store * self.scale:
            _, old = self.store.popitem(last=False)
            self.store_bytes -= old

    def _start(self, r, c, path, prompt, now):
        """-> where the turn's state was, and how many tokens it saves."""
        s = self.s
        hit = path[-1] if path else None
        place = "recompute"
        if hit:
            place = "device" if hit.dev else "ram" if hit.ram else "disk"
            if place == "disk":
                r.read += s.file_bytes(hit.kind, hit.pos)
                self.loads += 1
                r.pinned = hit
                r.to_ram(hit, now)
                r.pinned = None
            hit.uses += 1
            r.touch(hit, now)
        start = hit.pos if hit else 0
        if s.store and prompt >= start + workload.SHARED_GAIN:
            pos = self._shared(c, start)
            if pos:
                self.got_bytes += s.put_bytes(pos)
                r.keep(path, pos, END_POINT, now, False)
                return "shared", pos
        return place, start

    def _turn(self, c, now):
        s, r = self.s, self._route(c)
        path = r.paths.setdefault(c["id"], Path())
        prompt, end = s.ends(c["turn"])
        place, start = self._start(r, c, path, prompt, now)
        work = (prompt - start) / s.prompt_speed
        self.turns += 1
        self.place[place] += 1
        self.computed += prompt - start
        self.wait += max(r.busy - now, 0.0)
        r.busy = max(r.busy, now) + work
        stop = prompt
        for pos, kind in workload.captured(start, prompt, end):
            if pos > prompt and stop == prompt:
                r.thin(path, prompt)
                stop = end
            x = r.keep(path, pos, kind, now, pos == end)
            if kind == END_POINT:
                if x and s.kind == "chat" and s.disk and not x.disk and \
                        r.may_write_behind(s.file_bytes(kind, pos), now):
                    r.write(x, now)
                self._offer(r, c, pos, now)
        r.thin(path, end)
        if s.kind == "session" and path and path[-1].pos == end:
            r.settle(path, path[-1], now)

    # ---- as Estimate has them ----

    @property
    def places(self):
        return {p: n / max(self.turns, 1) for p, n in self.place.items()}

    def rates(self):
        per = 1 / (self.seconds * self.scale * self.s.replicas)
        return {"turns": self.turns * per,
                "loads": self.loads / max(self.turns, 1), "computed": self.computed / max(self.turns, 1),
                "disk_write": self.wrote * per, "disk_read": self.read_back * per,
                "put": self.put_bytes * per, "got": self.got_bytes * per}
