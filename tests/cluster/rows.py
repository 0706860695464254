"""The table of rows, and those of random operations. A row is a function, and whether the short form
has it, too; other files add theirs."""
import collections

import exact
from cluster import Cluster
from faults import Chaos
from sessions import Session

# held: the figure is within its bound, which may depend on the machine. facts: [(what must be so,
# whether it is)], which may not.
Result = collections.namedtuple("Result", "figure bound held facts")
ROWS = []
GREEDY = {"temperature": 0, "ignore_eos": True, "return_token_ids": True}


class Settings:
    short, seed, next_build = False, 1, None


def row(short=False):
    def add(f):
        ROWS.append((f.__name__.replace("_", " "), f, short))
        return f
    return add


class Common:
    """The cluster of the rows that want nothing special; what ended badly is told at the end. In the
    short form a busy machine's store may take its time: what is asked is whether, not how soon."""
    cluster, ends = None, []
    PATIENT = ("--shared-wait-ms", "10000")

    @classmethod
    def whole(cls):
        if not cls.cluster:
            cls.cluster = Cluster(*(cls.PATIENT if Settings.short else ()),
                                  next_build=Settings.next_build)
        cls.cluster.whole()
        return cls.cluster

    @classmethod
    def close(cls):
        if cls.cluster:
            cls.ends += cls.cluster.close()
        cls.cluster = None


def operations(number, which, kinds):
    """Runs them, and says what it came to."""
    c = Common.whole()
    run = exact.Run(c, number, Settings.seed, Chaos(
        c, Settings.seed, which, 0.6 if Settings.short else 1.5), kinds)
    run.go()
    facts = [("every answer is that of one server alone, and no session has lost or gained anything: "
              + " | ".join(run.faults[:3] + run.faults[3:][-1:]), not run.faults)]
    return Result(run.told() + "; delay by " + c.switch.how(), "none differs", True, facts)


@row(short=True)
def kills_and_cuts():
    """Random operations while replicas, store and balancer are killed, paused and cut off."""
    return operations(250 if Settings.short else 3500, {"cuts", "balancer"}, [exact.Text, exact.Chat])


@row(short=True)
def sessions():
    """The same of sessions: one history each, and nothing of it lost."""
    return operations(250 if Settings.short else 3500, {"cuts", "balancer"}, [Session])


@row(short=True)
def a_store_that_forgets():
    """The store is filled, evicted from, altered, emptied, and replaced by its mirror."""
    return operations(150 if Settings.short else 3000, {"forgets"}, [exact.Text, exact.Chat])
