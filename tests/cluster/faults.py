"""What happens to a cluster at random: kills, pauses, cut cables, slow and lossy links, and stores that
forget. A fault is something that is done, and what undoes it."""
import random
import signal
import threading
import time

from cluster import REPLICAS
from hosts import Patience

FAULTS = []  # (name, function, the runs that it is of)


def fault(*runs):
    def add(f):
        FAULTS.append((f.__name__.replace("_", " "), f, runs))
        return f
    return add


def paused(process):
    process.signal(signal.SIGSTOP)
    return lambda: process.signal(signal.SIGCONT)


@fault("cuts", "forgets")
def kill_a_replica(c, r):
    one = c.replicas[r.choice(REPLICAS)]
    one.kill()
    program = c.next_build if c.next_build and r.random() < 0.3 else None
    return lambda: one.start(program)


@fault("cuts")
def pause_a_replica(c, r):
    return paused(c.replicas[r.choice(REPLICAS)].process)


@fault("cuts")
def unplug_a_replica(c, r):
    return c.switch.unplug(r.choice(REPLICAS))


@fault("cuts")
def cut_replica_and_store(c, r):
    return c.switch.cut(r.choice(REPLICAS), "store")


@fault("cuts")
def cut_replica_and_balancer(c, r):
    return c.switch.cut(r.choice(REPLICAS), "balancer")


@fault("cuts")
def kill_the_store(c, r):
    c.store.process.kill()
    return c.store.start


@fault("cuts")
def pause_the_store(c, r):
    return paused(c.store.process)


@fault("cuts")
def unplug_the_store(c, r):
    return c.switch.unplug("store")


@fault("cuts")
def slow_and_lossy_store(c, r):
    return c.switch.slow("store", r.choice((20, 200)), r.choice((0, 2, 10)))


@fault("balancer")
def kill_the_balancer(c, r):
    c.balancer.process.kill()
    return c.balancer.start


@fault("forgets")
def full_store(c, r):
    c.store.say("CONFIG", "SET", "maxmemory-policy", r.choice(("noeviction", "allkeys-random")))
    c.store.say("CONFIG", "SET", "maxmemory", r.choice((1, 5 << 20, 20 << 20)))

    def heal():
        c.store.say("CONFIG", "SET", "maxmemory", 0)
    return heal


@fault("forgets")
def evict_at_random(c, r):
    keys = c.store.say("KEYS", "recurd:*")
    for key in r.sample(keys, len(keys) // 4):
        c.store.say("DEL", key)
    return lambda: None


@fault("forgets")
def garbage_at_random(c, r):
    keys = [k for k in c.store.say("KEYS", "recurd:[sc]:*")]
    for key in r.sample(keys, len(keys) // 8):
        c.store.say("SETRANGE", key, r.randrange(60), "garbage")
    return lambda: None


@fault("forgets")
def flush_the_store(c, r):
    c.store.say("FLUSHALL")
    return lambda: None


@fault("forgets")
def the_mirror_takes_over(c, r):
    """The store dies with its disk, and what its mirror has by then is loaded into a new one."""
    c.store.process.kill()
    c.store.forget()

    def heal():
        c.mirror.say("REPLICAOF", "NO", "ONE")
        c.store.start()
        c.store.say("REPLICAOF", c.mirror.host.address, 6379)
        end = time.time() + 2 * Patience.event
        while b"master_link_status:up" not in c.store.say("INFO", "replication"):
            if time.time() > end:
                raise RuntimeError("the store does not copy its mirror")
            time.sleep(0.05)
        c.store.say("REPLICAOF", "NO", "ONE")
        c.mirror.say("REPLICAOF", c.store.host.address, 6379)
    return heal


class Chaos(threading.Thread):
    """Faults one after the other, until stop(); then everything is whole again."""

    def __init__(self, cluster, seed, which, longest):
        super().__init__(daemon=True)
        self.cluster, self.r, self.longest = cluster, random.Random(seed), longest
        self.faults = [(n, f) for n, f, runs in FAULTS if which & set(runs)]
        self.left = []  # of a round in which every fault comes once
        self.counts, self.failed = {}, None
        self.done = threading.Event()

    def run(self):
        try:
            while not self.done.wait(self.r.uniform(0.2, 1.0)):
                self.once()
        except Exception as e:  # told by stop()
            self.failed = e

    def missing(self):
        """Some fault has not been there yet."""
        return len(self.counts) < len(self.faults) and not self.failed

    def once(self):
        if not self.left:
            self.left = self.r.sample(self.faults, len(self.faults))
        name, what = self.left.pop()
        heal = what(self.cluster, self.r)
        self.counts[name] = self.counts.get(name, 0) + 1
        self.done.wait(self.r.uniform(0.1, self.longest))
        heal()

    def stop(self):
        self.done.set()
        self.join()
        if self.failed:
            raise self.failed

    def told(self):
        return ", ".join("%s %d" % x for x in sorted(self.counts.items()))
