"""What a store that is slow, dead or silent costs those who are served beside it."""
import json
import os
import re
import statistics
import threading
import time

from clients import Client, ids
from cluster import KEYS, Replica
from hosts import WORLD, wait_for
from rows import GREEDY, Common, Result, row

STORES = ("none", "well", "slow", "silent", "dead")
LATE = ("slow", "silent", "dead")
ROUNDS, SECONDS = 4, 6
HEALED_S = 20
MEMORY = 256 << 20  # of the store: the windows put some hundred MB each into it


class Window:
    """Two clients beside each other at one replica, prompts of 150 tokens that nobody asked before, so
    that the store has nothing of them: how long each took, in milliseconds."""

    def __init__(self, address, salt):
        self.salt, self.times, self.faults, self.cached = salt, [], [], 0
        self.threads = [threading.Thread(target=self.work, args=(Client(address, KEYS[n]), n))
                        for n in range(2)]
        self.end = time.time() + SECONDS
        for t in self.threads:
            t.start()

    def work(self, client, n):
        i = 0
        try:
            while time.time() < self.end:
                i += 1
                body = dict(GREEDY, prompt=ids(150, "%s %d %d" % (self.salt, n, i)), max_tokens=16)
                t = time.perf_counter()
                status, _, data = client.send("POST", "/v1/completions", body)
                self.times.append((time.perf_counter() - t) * 1000)
                if status != 200:
                    self.faults.append(str(status))
                else:
                    usage = json.loads(data)["usage"]
                    self.cached += usage["prompt_tokens_details"]["cached_tokens"]
        except Exception as e:  # told by the row
            self.faults.append("%s: %s" % (type(e).__name__, e))
        client.close()

    def done(self):
        for t in self.threads:
            t.join()
        return self


def p99(times):
    return sorted(times)[int(len(times) * 0.99)]


def bounded(c):
    """The store keeps within its memory, as one in use does: what is in it is also in the mirror, in
    two logs, and read again by a start."""
    c.store.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    c.store.say("CONFIG", "SET", "maxmemory", MEMORY)


def spoil(c, how):
    if how == "slow":
        return c.switch.slow("store", 200)
    if how == "silent":
        return c.switch.unplug("store")
    if how == "dead":
        c.store.process.kill()
        return c.store.start
    return lambda: None


def state(c):
    """What can keep a store from being waited for: its figures at the replica, and its own."""
    now = c.replicas["one"].metrics()
    seen = ["%s %g" % (name.replace("recurd_shared_", ""), value) for name, value in now.items()
            if re.fullmatch(r"recurd_shared_(up|waited_for|lacks_answers|answer_seconds|"
                            r"errors_total|timeouts_total|waits_total.*)", name)]
    try:
        lines = c.store.say("INFO").decode().splitlines()
    except OSError as e:
        lines = ["INFO:" + str(e)]
    own = [x for x in lines if re.match(
        r"INFO|used_memory:|maxmemory:|loading:|(rdb_bgsave|aof_rewrite)_in_progress|"
        r"latest_fork_usec|slave0|sync_full|sync_partial_err", x)]
    said = [x for x in c.replicas["one"].process.text().splitlines() if "shared store" in x]
    return "at the replica: %s; the store: %s; load average %.1f; the log's last: %s" % (
        ", ".join(seen), ", ".join(own), os.getloadavg()[0], " | ".join(said[-4:]))


def healed(c, how):
    """Until it is waited for again; else it is told why."""
    one = c.replicas["one"]
    try:
        wait_for(lambda: one.metrics()["recurd_shared_waited_for"], "it heals: " + how)
    except RuntimeError as e:
        raise RuntimeError("%s: %s" % (e, state(c))) from e


def without_store(c):
    """A replica that was told of no store, in the place of another. -> it, and what ends it"""
    usual = c.replicas["three"]
    usual.stop()
    args = list(usual.args)
    at = args.index("--shared")
    del args[at:at + 2]
    args[args.index("--state-dir") + 1] = os.path.join(WORLD, "storeless")
    own = Replica(usual.host, args)
    own.start()

    def end():
        own.stop()
        usual.ended += own.ended
        usual.start()
    return own, end


def measured(c, storeless):
    """ROUNDS rounds in which each kind of store has its turn, in another order every time. A window
    begins when the cable is pulled or the store killed: that it has to be noticed counts."""
    one, windows, heals, vain = c.replicas["one"], {s: [] for s in STORES}, [], []
    for n in range(ROUNDS):
        for how in STORES[n % 5:] + STORES[:n % 5]:
            late = one.metrics()['recurd_shared_waits_total{outcome="late"}']
            bounded(c)  # a start forgets it
            heal = spoil(c, how)
            at = storeless if how == "none" else one
            windows[how].append(Window(at.host.address, "%d %s" % (n, how)).done())
            heal()
            since = time.time()
            healed(c, how)
            if how in LATE:
                heals.append(time.time() - since)
                vain.append(one.metrics()['recurd_shared_waits_total{outcome="late"}'] - late)
    return windows, heals, vain


def told(windows):
    """-> {store: median of its rounds' p99}, and a sentence"""
    rounds = {s: [p99(w.times) for w in windows[s]] for s in STORES}
    middle = {s: statistics.median(rounds[s]) for s in STORES}
    return middle, "; ".join("%s %.1f ms (%.1f to %.1f, the median prompt %.1f)%s" % (
        s, middle[s], min(rounds[s]), max(rounds[s]),
        statistics.median(sum((w.times for w in windows[s]), [])),
        ", %+.1f %% of none, %+.1f %% of well" % tuple(
            100 * (middle[s] / middle[t] - 1) for t in ("none", "well")) if s in LATE else "")
        for s in STORES)


@row()
def a_slow_or_dead_store():
    """p99 of prompts at one replica, while the store answers, is slow, dead or silent, in turns, and at
    one that has no store."""
    c = Common.whole()
    bounded(c)
    c.store.say("BGREWRITEAOF")
    storeless, end = without_store(c)
    try:
        windows, heals, vain = measured(c, storeless)
    finally:
        end()
        c.store.say("CONFIG", "SET", "maxmemory", 0)
    every = sum(windows.values(), [])
    faults = sum((w.faults for w in every), [])
    middle, sentence = told(windows)
    facts = [("every request is answered: %s" % faults[:3], not faults),
             ("no prompt was known anywhere", not any(w.cached for w in every)),
             ("it is waited for again within %d s: %.1f s" % (HEALED_S, max(heals)),
              max(heals) < HEALED_S)]
    worst = max(100 * (middle[s] / middle["well"] - 1) for s in LATE)
    figure = "p99 of %d prompts or more, median of %d rounds in turns: " % (
        min(len(w.times) for w in every), ROUNDS) + sentence + \
        "; prompts that waited in vain each time: %g (median), %g at most; it is waited for again " \
        "after %.1f s (median), %.1f at most; delay by %s" % (
            statistics.median(vain), max(vain), statistics.median(heals), max(heals), c.switch.how())
    return Result(figure, "5 % more than while it is well", worst < 5, facts)
