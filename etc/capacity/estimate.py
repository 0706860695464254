"""Where turns find their state, by formulas: Che's approximation of LRU for each tier. etc/guide/capacity.md
derives them; the names here are those there. events.py is what checks them."""
import bisect
import math
import random

import workload
from workload import END_POINT, PLACES

POINTS = 1024  # quantiles that sums of gaps are made of
SUMS = 48      # turns back that are looked at one by one; those before by the law of large numbers
FOREVER = 3e9  # seconds: a century


class Ages:
    """within(j, x): P(X1 + … + Xj <= x). age(j, x): P(A + X1 + … + Xj <= x), A the time since the
    last turn. j = 1 and j = 0 are exact, the others sums of quantiles in shuffled order."""

    def __init__(self, gaps):
        self.gaps, rng = gaps, random.Random(1)
        at = [(i + 0.5) / POINTS for i in range(POINTS)]
        x = [gaps.inverse(gaps.within, q) for q in at]
        a = [gaps.inverse(gaps.age, q) for q in at]
        total = [0.0] * POINTS
        self.sums, self.aged = [[0.0]], [sorted(a)]
        rng.shuffle(a)
        for _ in range(SUMS):
            rng.shuffle(x)
            total = [t + y for t, y in zip(total, x)]
            self.sums.append(sorted(total))
            self.aged.append(sorted(t + y for t, y in zip(total, a)))

    def within(self, j, x):
        if j == 1:
            return self.gaps.within(x)
        return bisect.bisect_right(self.sums[min(j, SUMS)], x) / POINTS

    def age(self, j, x):
        return self.gaps.age(x) if j == 0 else bisect.bisect_right(self.aged[j], x) / POINTS


class Weights:
    """What a conversation has of something, by age in turns. weigh(points of a path) is [(turn, weight)]."""

    def __init__(self, s, weigh):
        self.turns, self.rows = s.turns, {}
        for (miss, turn), points in workload.profile(s).items():
            row = self.rows.setdefault(turn, {}).setdefault(miss, [0.0] * SUMS)
            if s.kind == "session" and turn == s.turns - 1:
                continue  # it was deleted
            for t, w in weigh(points):
                if turn - t < SUMS:
                    row[turn - t] += w

    def mix(self, missed):
        """(w, per_turn) where a turn finds nothing with the chance `missed`: w[j] of things last used j
        turns ago, on average over a conversation's turns; per_turn in the long run, of those that ended."""
        n, ages = self.turns, []
        for turn in range(n):
            row = [0.0] * SUMS
            for miss, w in self.rows[turn].items():
                chance = (1 - missed) ** (turn - miss) * (missed if miss else 1.0)
                row = [a + chance * b for a, b in zip(row, w)]
            ages.append(row)
        out, last = [0.0] * SUMS, ages[-1]
        for turn in range(n):
            for j in range(SUMS):
                past = j - turn - 1  # beyond the beginning: the conversation before, and so on
                out[j] += (ages[turn][j] if past < 0 else last[past % n]) / n
        return out, sum(last) / n


class Estimate:
    def __init__(self, s):
        self.s, self.gaps = s, s.gaps()
        self.ages = Ages(self.gaps)
        self.turn_rate = s.sessions / self.gaps.mean       # of all
        self.rate = self.turn_rate / s.replicas            # of one replica
        self.forever = s.kind == "session"                 # what is parked is kept
        self.weights, self.mixed, self.missed = {}, {}, 0.0
        # A turn that finds nothing leaves all of its path's states, which makes others find less.
        for _ in range(60):
            self.mixed = {}
            self._tiers()
            self._store()
            self._places()
            missed = 1 - sum(self.places[p] for p in PLACES[:-1]) / self.going_on \
                if self.going_on else 0.0
            if abs(missed - self.missed) < 1e-4:
                break
            self.missed += (missed - self.missed) / 2
        self._traffic()
        self._times()

    # ---- characteristic times ----

    def held(self, weights, x, since=0.0):
        """What one replica holds of things that are kept until the age x (from the age `since` on)."""
        w, per_turn = weights
        turns, total = self.s.turns, 0.0
        for n, chance in self.s.routes():
            seen, here = 0.0, 0.0
            for j in range(SUMS):
                p = self.ages.age(j, x) - (self.ages.age(j, since) if since else 0.0)
                seen += p
                # Turn j back is, of those here, from the at-th back to a part of the next.
                at = int(j * chance)
                next_ = max((j + 1) * chance - (at + 1), 0.0)
                # A session that had its turns elsewhere since may have been deleted meanwhile.
                alive = max(turns - j, 0) / max(turns - at, 1) if self.forever else 1.0
                here += ((chance - next_) * w[at] +
                         (next_ * w[at + 1] if at + 1 < SUMS else 0.0)) * p * alive
            if not self.forever:
                here += chance * per_turn * max((x - since) / self.gaps.mean - seen, 0.0)
            total += n * here
        return total

    def until(self, weights, size, since=0.0):
        """Until what age things stay in a tier of that size that they enter at the age `since`."""
        if size <= 0:
            return since
        if self.held(weights, since + FOREVER, since) <= size:
            return math.inf
        lo, hi = 0.0, 1.0
        while self.held(weights, since + hi, since) < size:
            hi *= 2
        for _ in range(50):
            mid = (lo + hi) / 2
            lo, hi = (mid, hi) if self.held(weights, since + mid, since) < size else (lo, mid)
        return since + hi

    def _weigh(self, what, answers=None):
        """Weights of states, in pieces ("slots"; "again": those that a turn started from), bytes of RAM
        ("ram") or of files ("disk"): of the ends of answers, of all others, or (None) of both."""
        s, key = self.s, (what, answers)
        ends = {s.ends(t)[1]: t for t in range(s.turns)}

        def weigh(points):
            out, room = [], s.ram / 4 if what == "ram" else math.inf
            for i, (p, kind, t) in enumerate(reversed(points)):
                room -= s.state
                if room < 0 and i or (s.kind == "session" and i and what == "ram"):
                    break
                if answers not in (None, p in ends):
                    continue
                if what in ("slots", "again"):
                    out.append((t, float((ends[p] < t) == (what == "again"))))
                    continue
                w = s.ram_bytes(kind) if what == "ram" else s.file_bytes(kind, p)
                out.append((t, w + ((s.kv if what == "ram" else workload.ID_BYTES) * p if not i else 0)))
            return out
        if key not in self.weights:
            self.weights[key] = Weights(s, weigh)
        if key not in self.mixed:
            self.mixed[key] = self.weights[key].mix(self.missed)
        return self.mixed[key]

    def _tiers(self):
        s = self.s
        self.t_device = 0.0
        if s.slots:  # what a turn starts from is there for another while only if it was still there
            new, again = self._weigh("slots", True), self._weigh("again", True)
            self.t_device = self._solve(s.slots, lambda x: self.held(new, x) +
                                        self.gaps.within(x) * self.held(again, x))
            parked, others = (self._weigh("ram", a) for a in (True, False))
            since = self.t_device
            self.t_ram = since + self._solve(s.ram, lambda x: self.held(parked, since + x, since) +
                                             self.held(others, x))
        else:
            self.t_ram = self.until(self._weigh("ram"), s.ram)
        if self.forever:
            self._session_disk()
        else:
            self._chat_disk()

    @staticmethod
    def _solve(size, held):
        if held(FOREVER) <= size:
            return math.inf
        lo, hi = 0.0, 1.0
        while held(hi) < size:
            hi *= 2
        for _ in range(50):
            mid = (lo + hi) / 2
            lo, hi = (mid, hi) if held(mid) < size else (lo, mid)
        return hi

    def _session_disk(self):
        """The state of each is held; what is between them goes first."""
        s = self.s
        tip = sum(s.file_bytes(END_POINT, s.ends(t)[1]) + workload.ID_BYTES * s.ends(t)[1]
                  for t in range(s.turns)) / s.turns
        self.parked_bytes = tip * s.copies()
        need = s.sessions / s.replicas * self.parked_bytes
        self.disk_fits = 1.0 if s.disk >= need else s.disk / need if need else 1.0
        self.t_disk, self.behind = math.inf, 1.0

    def _chat_disk(self):
        """Ends are written at once as far as that may go, the others when RAM gives them up."""
        s = self.s
        ends, rest = self._weigh("disk", True), self._weigh("disk", False)
        self.disk_fits = 1.0
        self.parked_bytes = None
        mean = s.file_bytes(END_POINT, s.context())
        self.behind = min(1.0, workload.BEHIND_BYTES_S / (self.rate * 2 * mean)) if s.disk else 0.0
        if not s.disk:
            self.t_disk, self.t_behind = 0.0, 0.0
            return
        early, late = self.behind, 1 - self.behind

        def held(x):
            if math.isinf(self.t_ram):
                return early * self.held(ends, x)
            spilled = self.held(rest, self.t_ram + x, self.t_ram) + \
                late * self.held(ends, self.t_ram + x, self.t_ram)
            again = self.held(ends, x) if x > self.t_ram else \
                self.held(ends, self.t_ram + x, self.t_ram) + self.held(ends, x)
            return spilled + early * again
        x = self._solve(s.disk, held)
        self.t_disk = self.t_ram + x             # of what RAM gave up
        self.t_behind = x if x > self.t_ram else self.t_disk  # of what was written behind

    def _store(self):
        s = self.s
        self.put = 0.0
        self.t_store = 0.0
        if not s.store:
            return
        per = s.put_bytes(s.context())
        self.put = min(1.0, s.put_rate() / (self.rate * 2 * per))
        # Two states of every turn; nothing thins them out but their age. Fetching one renews it.
        self.t_store = s.store * self.gaps.mean / (2 * self.put * s.sessions *
                                                   s.stored_bytes(s.context()))

    # ---- where turns find their state ----

    def _local(self, x, first):
        """The share of turns whose replica had the conversation's last turn (first) or an earlier one of
        it (not first) at an age of x at most."""
        s, total = self.s, 0.0
        classes = s.routes()
        shares = [1.0] if len(classes) == 1 else [1 - s.misrouted, s.misrouted]
        for share, (_, chance) in zip(shares, classes):
            js = [1] if first else range(2, min(s.turns, SUMS))
            for j in js:
                turns = max(s.turns - j, 0) / s.turns  # of a conversation that have a j-th before them
                total += share * turns * chance * (1 - chance) ** (j - 1) * self.ages.within(j, x)
        return total

    def _disk_share(self, x_of):
        """A function of the tier's age, for the two ways onto the disk."""
        if self.forever:
            return self.disk_fits * x_of(math.inf)
        return self.behind * x_of(self.t_behind) + (1 - self.behind) * x_of(self.t_disk) \
            if self.s.disk else 0.0

    def _places(self):
        s = self.s
        going_on = (s.turns - 1) / s.turns
        found = self.gaps.within(self.t_store) * (1 - (1 - self.put) ** max(s.turns, 2)) \
            if s.store else 0.0
        place = dict.fromkeys(PLACES, 0.0)
        older = 0.0
        for first in (True, False):
            f = lambda x: self._local(x, first)
            device = f(self.t_device) if s.slots else 0.0
            ram = max(f(self.t_ram) - device, 0.0)
            disk = max(self._disk_share(f) - device - ram, 0.0)
            keep = 1.0 if first else 1 - found
            for name, share in zip(PLACES, (device, ram, disk)):
                place[name] += share * keep
            older += 0.0 if first else (device + ram + disk) * keep
        here = self._local(math.inf, True)       # the last turn was on this replica …
        local = place["device"] + place["ram"] + place["disk"] - older
        if s.store:                              # … but its state is gone; or it was elsewhere
            kept = self.gaps.within(self.t_store) * (1 - (1 - self.put) ** max(s.turns, 2))
            place["shared"] = max(min(here * kept, here) - local, 0.0) + (going_on - here) * found
        place["recompute"] = max(1 - sum(place.values()), 0.0)
        self.places, self.older, self.going_on = place, older, going_on

    # ---- what moves ----

    def _traffic(self):
        s, place, rate = self.s, self.places, self.rate
        mean = s.context()
        again = max(place["recompute"] - (1 - self.going_on), 0.0)
        lost = (1 - self.put) / max(self.put, 1e-9) / 2 if s.store else 0.0
        turn = s.tokens_in + s.tokens_out
        self.computed = s.tokens_in + s.first / s.turns + again * mean + \
            place["shared"] * min(lost * turn, mean) + self.older * turn
        entry = s.file_bytes(END_POINT, mean)
        self.disk_read = rate * place["disk"] * entry
        if not s.disk:
            self.disk_write = 0.0
        elif self.forever:
            kept = [sum(s.file_bytes(k, p) for p, k, u in points if u == t and p > s.ends(t)[0] -
                        s.tokens_in - (s.first if t == 0 else 0))
                    for (miss, t), points in workload.profile(s).items() if miss == 0]
            self.disk_write = rate * (sum(kept) / len(kept) + workload.ID_BYTES * turn)
        else:
            self.disk_write = self.behind * rate * 2 * entry
            if not math.isinf(self.t_ram):
                self.disk_write += self._flow(self._weigh("disk", False)) + \
                    self._flow(self._weigh("disk", True)) * (1 - self.behind if self.t_behind >
                                                            self.t_ram else 1.0)
        self.put_bytes_s = rate * 2 * self.put * s.put_bytes(mean) if s.store else 0.0
        self.got_bytes_s = rate * place["shared"] * s.put_bytes(mean)

    def _flow(self, weights):
        """Bytes a second that come to the age at which RAM gives them up: d held / d age."""
        d = self.t_ram * 0.1
        return (self.held(weights, self.t_ram + d) - self.held(weights, self.t_ram - d)) / (2 * d)

    def _times(self):
        s = self.s
        mean, new = s.context(), s.tokens_in
        decode = self.rate * s.tokens_out / s.decode_speed
        speed = s.prompt_speed * max(1 - decode, 1e-9)  # what answers leave of the time
        bytes_ = s.state + s.kv * mean
        ask = 2 * s.net_s if s.store and s.tokens_in >= workload.SHARED_GAIN else 0.0
        link = min(s.net, s.store_net)
        self.first_token = {
            "device": ask + new / speed,
            "ram": ask + bytes_ / s.ram_rate + new / speed,
            "disk": ask + s.disk_s + s.file_bytes(END_POINT, mean) / s.disk_read + new / speed,
            "shared": 4 * s.net_s + s.put_bytes(mean) / link + new / speed,
            "recompute": ask + (mean + new) / speed}
        work = [((new if p != "recompute" else mean + new) / speed, w)
                for p, w in self.places.items()]
        self.prompt_load = self.rate * self.computed / s.prompt_speed
        self.decode_load = decode
        if decode >= 1:
            self.first_token = dict.fromkeys(PLACES, math.inf)
        rho = self.rate * self.computed / speed
        square = sum(w * t * t for t, w in work)
        self.queue = self.rate * square / (2 * (1 - rho)) if rho < 1 else math.inf

    # ---- what is short first ----

    def loads(self):
        """[(what, used, there is, unit)], the fullest first."""
        s = self.s
        rows = [("prompts and answers", self.prompt_load + self.decode_load, 1.0, "of a replica"),
                ("network of a replica", self.put_bytes_s + self.got_bytes_s, s.net, "B/s")]
        if s.disk:
            rows += [("disk, writing", self.disk_write, s.disk_write, "B/s"),
                     ("disk, reading", self.disk_read, s.disk_read, "B/s"),
                     ("disk, wear in 5 years", self.disk_write * 5 * 365 * 86400, s.tbw, "B")]
        if s.disk and self.forever:
            rows.append(("disk, parked states", s.sessions / s.replicas * self.parked_bytes, s.disk, "B"))
        if s.store:
            rows += [("network of the store", (self.put_bytes_s + self.got_bytes_s) * s.replicas,
                      s.store_net, "B/s"),
                     ("states given to the store", self.rate * 2 * s.put_bytes(s.context()),
                      s.put_rate(), "B/s")]
        return sorted(rows, key=lambda r: -r[1] / r[2])

    def buy(self, share=0.9):
        """[(what, how much, why)] that lets so many of the turns that go on hit."""
        s = self.s
        x = self.gaps.inverse(self.gaps.within, share)
        rows = [("RAM of a replica", self.held(self._weigh("ram"), x),
                 "%.0f %% of the turns find their state there" % (100 * share))]
        if self.forever:
            rows.append(("disk of a replica", s.sessions / s.replicas * self.parked_bytes,
                         "every parked session is kept"))
        else:  # RAM that overflows writes what is between the ends, too
            full = not math.isinf(self.t_ram)
            rows.append(("disk of a replica", self.held(self._weigh("disk", None if full else True), x),
                         "… or on its disk"))
        if s.replicas > 1 or s.store:
            rows.append(("the store", 2 * s.sessions * s.stored_bytes(s.context()) * x / self.gaps.mean,
                         "… or there, whichever replica they come to"))
        load = self.prompt_load + self.decode_load
        rows.append(("replicas", math.ceil(s.replicas * load / 0.7),
                     "computing is busy for 70 % of the time"))
        return rows
