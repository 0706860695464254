"""A replica dies in the middle of conversations: they go on elsewhere."""
import collections
import json
import statistics
import threading
import time

from clients import ids, stream
from cluster import KEYS
from hosts import Patience
from rows import GREEDY, Common, Result, Settings, row


NEW, TOKENS = 20, 300  # of a turn; where it ended before its replica died the next is twice as long


class Conversation(threading.Thread):
    """A client with a history, whose turns are streamed. The last turn is asked for again where its
    stream broke."""

    def __init__(self, address, number, tokens):
        super().__init__(daemon=True)
        self.address, self.number, self.tokens = address, number, tokens
        self.path = ids(200, 7000 + number)
        self.begun, self.place, self.first = threading.Event(), None, None
        self.broken = self.fault = self.usage = None

    def ask(self, new, tokens):
        """One attempt -> the tokens; raises OSError."""
        body = dict(GREEDY, prompt=self.path + new, max_tokens=tokens,
                    prompt_cache_key="conversation %d" % self.number)
        out, self.first = [], None
        for event, at in stream(self.address, KEYS[self.number % 8], body):
            if "replica" in event:
                self.place = event["replica"]
                continue
            for choice in event.get("choices", ()):
                out += choice.get("token_ids") or []
                if out and self.first is None:
                    self.first = at
                    self.begun.set()
            self.usage = event.get("usage") or self.usage
        return out

    def turn(self, n, tokens):
        new = ids(n, self.number * 100 + len(self.path))
        end, lost = time.time() + Patience.answer, None
        while True:
            begin = time.time()
            try:
                out = self.ask(new, tokens)
                break
            except OSError as e:
                lost = lost or time.time()
                self.broken = self.broken or self.place or str(e)
                if time.time() > end:
                    raise
        if len(out) != tokens:
            raise OSError("%d tokens instead of %d" % (len(out), tokens))
        if lost:  # what its client waited for
            self.first += begin - lost
        self.path += new + out

    def run(self):
        try:
            self.turn(NEW, self.tokens)
        except Exception as e:  # told by the row
            self.fault = "%s: %s" % (type(e).__name__, e)
        finally:
            self.begun.set()

    def right(self, alone):
        """The turn is what one server alone makes of what was before it."""
        reply = alone.request("POST", "/v1/completions", dict(
            GREEDY, prompt=self.path[:-self.tokens], max_tokens=self.tokens))
        return reply[0] == 200 and \
            json.loads(reply[2])["choices"][0]["token_ids"] == self.path[-self.tokens:]


def killed_under(c, talks):
    """All take a turn, and the replica that answers most of them is killed. -> which, or None: the
    turns had ended before."""
    for t in talks:
        t.start()
    for t in talks[:len(talks) // 2]:
        t.begun.wait(Patience.event)
    places = collections.Counter(t.place for t in talks if t.is_alive() and t.place)
    if places:
        c.replicas[places.most_common(1)[0][0]].kill()
    for t in talks:
        t.join()
    return places.most_common(1)[0][0] if any(t.broken for t in talks) else None


def asked(c):
    """What each replica that lives has asked of the store."""
    return {n: r.metrics() for n, r in c.replicas.items() if r.process.proc.poll() is None}


def told(before, after):
    """What became of it since: whole numbers by name."""
    names = {what: "recurd_shared_%s_total" % what
             for what in ("hits", "misses", "timeouts", "dropped")}
    names.update(("waits " + what, 'recurd_shared_waits_total{outcome="%s"}' % what)
                 for what in ("hit", "miss", "late", "skipped"))
    return {what: int(sum(m[name] - before[n][name] for n, m in after.items()))
            for what, name in names.items()}


@row(short=True)
def a_replica_dies():
    """kill -9 of the replica that answers most of 32 conversations, in the middle of a turn."""
    number, facts = 12 if Settings.short else 32, []
    for attempt in range(10):
        c = Common.whole()
        tokens = TOKENS << min(attempt, 5)
        talks = [Conversation(c.balancer.host.address, 100 * attempt + i, tokens)
                 for i in range(number)]
        for _ in range(3):
            for t in talks:
                t.turn(NEW, 8)
        c.settled()
        warm = statistics.median(t.first for t in talks)
        for t in talks:
            t.begun.clear()
        before = asked(c)
        dead = killed_under(c, talks)
        after = asked(c)
        for r in c.replicas.values():
            if r.process.proc.poll() is not None:
                r.start()
        if dead:
            break
    moved = [t for t in talks if t.broken]
    faults = [t.fault for t in talks if t.fault]
    # Of the turn itself nothing counts: its prompt may have been in the store, too.
    again = [max(0, t.usage["prompt_tokens"] - NEW -
                 t.usage["prompt_tokens_details"]["cached_tokens"]) for t in moved if t.usage]
    first = sorted(t.first for t in moved if t.first) or [0]
    whole, store = len(talks[0].path) - tokens - NEW, told(before, after)
    facts += [("every conversation goes on: %s" % faults[:3], not faults),
              ("some were at the replica that died", bool(moved)),
              ("they go on elsewhere", all(t.place != dead for t in moved)),
              ("hardly any is computed from its beginning, unless the store was late: %s" % again,
               sum(n >= whole for n in again) <= len(moved) / 4 + store["timeouts"] +
               store["waits late"] + store["waits skipped"]),
              ("every token is that of one server alone",
               bool(faults) or all(t.right(c.alone) for t in talks))]
    figure = "%d conversations, %d of them at the replica that was killed: from the broken stream to " \
        "the next first token %.0f ms (median; %.0f to %.0f), a first token before %.0f ms; prompt " \
        "tokens computed again beyond the turn that ran: median %d, most %d of %d; the store: %s" % (
            number, len(moved), statistics.median(first) * 1000, first[0] * 1000,
            first[-1] * 1000, warm * 1000, statistics.median(again or [0]), max(again or [0]),
            whole, ", ".join("%s %d" % x for x in store.items()))
    return Result(figure, "every token right; aims: 100 ms and 0", True, facts)
