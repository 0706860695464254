"""The rows: what a cluster promises, each with how it is seen. A row is a function and whether it is in
the short form, too."""
import collections
import json
import statistics
import threading
import time

import exact
from clients import SILENCE_S, Client, ids, stream
from cluster import KEYS, PORT, REPLICAS, Cluster, request
from hosts import Share, wait_for

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


def close(cluster, facts):
    ends = cluster.close()
    facts.append(("no daemon ends by itself, and each ends with 0: " + " | ".join(ends), not ends))


def operations(number, which):
    """Runs them, and says what it came to."""
    c = Cluster(next_build=Settings.next_build)
    try:
        how = c.switch.how()
        run = exact.Run(c, number, Settings.seed, which, 0.6 if Settings.short else 2.5)
        run.go()
        facts = [("every answer is that of one server alone: " + " | ".join(run.faults[:3]),
                  not run.faults)]
        figure = "%d operations in %.0f s, %d answers compared: %s; delay by %s" % (
            run.done, run.seconds, sum(n for k, n in run.counts.items() if k.startswith("at ")),
            run.told(), how)
    finally:
        facts = locals().get("facts", [])
        close(c, facts)
    return Result(figure, "none differs", True, facts)


@row(short=True)
def kills_and_cuts():
    """Random operations while replicas, store and balancer are killed, paused and cut off."""
    return operations(250 if Settings.short else 6000, "cuts")


@row(short=True)
def a_store_that_forgets():
    """The same, and the store is filled, evicted from, altered, emptied and replaced by its mirror."""
    return operations(150 if Settings.short else 4000, "forgets")


class Conversation(threading.Thread):
    """A client with a history, whose turns are streamed. The last turn is asked for again where its
    stream broke."""

    def __init__(self, address, number):
        super().__init__(daemon=True)
        self.address, self.number = address, number
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
        end = time.time() + 60
        while True:
            try:
                out = self.ask(new, tokens)
                break
            except OSError as e:
                self.broken = self.broken or self.place or str(e)
                if time.time() > end:
                    raise
        if len(out) != tokens:
            raise OSError("%d tokens instead of %d" % (len(out), tokens))
        self.path += new + out

    def run(self):
        try:
            self.turn(20, 300)
        except Exception as e:  # told by the row
            self.fault = "%s: %s" % (type(e).__name__, e)
        finally:
            self.begun.set()


def right(c, talk):
    """The whole path is what one server alone makes of its beginning."""
    prompt = talk.path[:-300]
    want = c.alone.request("POST", "/v1/completions", dict(GREEDY, prompt=prompt, max_tokens=300))[2]
    return b'"token_ids"' in want and talk.path[-300:] == \
        json.loads(want)["choices"][0]["token_ids"]


@row(short=True)
def a_replica_dies():
    """kill -9 of the replica that answers most of 32 conversations, in the middle of a turn."""
    number = 12 if Settings.short else 32
    c, facts = Cluster(), []
    try:
        talks = [Conversation(c.balancer.host.address, i) for i in range(number)]
        for _ in range(3):
            for t in talks:
                t.turn(20, 8)
        c.settled()
        warm = statistics.median(t.first for t in talks)
        for t in talks:
            t.begun.clear()
            t.start()
        for t in talks:
            t.begun.wait(60)
        places = collections.Counter(t.place for t in talks if t.is_alive())
        dead = places.most_common(1)[0][0] if places else REPLICAS[0]
        c.replicas[dead].kill()
        for t in talks:
            t.join()
        moved = [t for t in talks if t.broken]
        faults = [t.fault for t in talks if t.fault]
        # Of the turn itself nothing counts: its prompt may have been in the store, too.
        again = [max(0, t.usage["prompt_tokens"] - 20 -
                     t.usage["prompt_tokens_details"]["cached_tokens"]) for t in moved if t.usage]
        facts += [("every conversation goes on: %s" % faults[:3], not faults),
                  ("some were at the one that died", bool(moved)),
                  ("they go on elsewhere", all(t.place != dead for t in moved)),
                  ("every token is that of one server alone", faults or all(right(c, t) for t in talks))]
        first = sorted(t.first for t in moved if t.first) or [0]
        figure = "%d conversations, %d of them at the replica that was killed: first token after " \
            "%.0f ms (median; %.0f to %.0f), before it died %.0f ms; prompt tokens computed again " \
            "beyond the turn that ran: median %d, most %d of %d" % (
                number, len(moved), statistics.median(first) * 1000, first[0] * 1000,
                first[-1] * 1000, warm * 1000, statistics.median(again or [0]), max(again or [0]),
                len(talks[0].path) - 320)
        c.replicas[dead].start()
    finally:
        close(c, facts)
    return Result(figure, "every token right; aims: 100 ms and 0", True, facts)


class Load:
    """Clients in a closed loop; counts the turns that ended within a time."""

    def __init__(self, address, clients):
        self.done, self.turns, self.lock = threading.Event(), 0, threading.Lock()
        self.faults = []
        self.threads = [threading.Thread(target=self.loop, args=(address, i), daemon=True)
                        for i in range(clients)]
        for t in self.threads:
            t.start()

    def loop(self, address, i):
        client, path, n = Client(address, KEYS[i % 8]), [], 0
        try:
            while not self.done.is_set():
                n += 1
                if not path or len(path) > 600:
                    path = ids(100, i)
                body = dict(GREEDY, prompt=path + ids(20, "%d %d" % (i, n)), max_tokens=32,
                            prompt_cache_key="load %d" % i)
                reply = client.until_answered("POST", "/v1/completions", body)[2]
                path = body["prompt"] + reply["choices"][0]["token_ids"]
                with self.lock:
                    self.turns += 1
        except Exception as e:  # told by the row
            self.faults.append(str(e))
        finally:
            client.close()

    def over(self, seconds):
        """Turns a second, once it runs evenly."""
        time.sleep(2)
        before = self.turns
        time.sleep(seconds)
        return (self.turns - before) / seconds

    def stop(self):
        self.done.set()
        for t in self.threads:
            t.join()


PER_REPLICA = 16  # as many as it has slots


def set_servers(c, number):
    """HAProxy sends to so many. An agent that says "ready" would end a maintenance: it is not asked."""
    for i, name in enumerate(REPLICAS):
        c.balancer.tell("%s agent replicas/%s" % ("enable" if i < number else "disable", name))
        c.balancer.tell("set server replicas/%s state %s" % (
            name, "ready" if i < number else "maint"))
    wait_for(lambda: c.balancer.serving() == number, "HAProxy sends to %d" % number)


@row()
def three_are_more_than_one():
    """Turns a second through HAProxy of one replica and of three, each with a share of a CPU."""
    share = Share(5)
    if not share.root:
        print("skipped: three are more than one: no control group can be made here, so replicas "
              "cannot be given shares of the machine", flush=True)
        return Result("not measured", "-", True, [])
    c, facts, rates, faults = Cluster("--threads", "1", share=share, alone=False), [], {1: [], 3: []}, []
    try:
        for _ in range(4):
            for number in (1, 3):
                set_servers(c, number)
                load = Load(c.balancer.host.address, PER_REPLICA * number)
                rates[number].append(load.over(8))
                load.stop()
                faults += load.faults
        facts.append(("every turn is answered: %s" % faults[:3], not faults))
    finally:
        close(c, facts)
        share.close()
    one, three = (statistics.median(rates[n]) for n in (1, 3))
    ratios = sorted(b / a for a, b in zip(rates[1], rates[3]) if a)
    return Result("%.1f turns/s of one, %.1f of three: %.2f x (rounds: %s); each replica had %d %% of a "
                  "CPU by %s and %d clients, whose turns of 20 tokens bring 32" % (
                      one, three, three / one, ", ".join("%.2f" % x for x in ratios), share.percent,
                      share.how, PER_REPLICA), "2.7 x", three >= 2.7 * one, facts)


@row(short=True)
def a_prefix_is_computed_once():
    """One long system message, questions at every replica: who computed how much."""
    c, facts = Cluster(alone=False), []
    try:
        system = " ".join("Rule %d: say it in other words than before." % i for i in range(80))

        def ask(place, text):
            r = request(place.host.address, PORT, "POST", "/v1/chat/completions", dict(
                messages=[{"role": "system", "content": system}, {"role": "user", "content": text}],
                max_tokens=4, temperature=0))
            usage = json.loads(r[2])["usage"]
            return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
        places = list(c.replicas.values())
        computed = c.total("recurd_prompt_tokens_total")
        whole, cached = ask(places[0], "What is the first rule?")
        facts.append(("nobody knew it", cached == 0))
        c.settled()
        asked = [ask(places[i % 3], "What is rule %d?" % i) for i in range(30)]
        own = sum(w for w, _ in asked) - 30 * min(c for _, c in asked)
        total = c.total("recurd_prompt_tokens_total") - computed
        facts.append(("at every replica the prefix comes from a state: %s" % asked,
                      all(hit > whole - 60 for _, hit in asked)))
        facts.append(("the cluster computed it once: %d tokens" % total, total <= whole + own))
        figure = "a prefix of some %d tokens, 31 questions at three replicas: %d tokens computed in " \
            "all, %d without sharing" % (min(c for _, c in asked), total,
                                         whole + sum(w for w, _ in asked))
    finally:
        close(c, facts)
    return Result(figure, "once", True, facts)


STORES = ("well", "slow", "dead", "silent")


def p99(address, requests, salt):
    """Two clients beside each other, prompts of 150 tokens that nobody asked before."""
    times, faults = [], []

    def work(n):
        client = Client(address, KEYS[n])
        for i in range(requests // 2):
            body = dict(GREEDY, prompt=ids(150, "%s %d %d" % (salt, n, i)), max_tokens=16)
            t = time.perf_counter()
            status = client.send("POST", "/v1/completions", body)[0]
            times.append(time.perf_counter() - t)
            if status != 200:
                faults.append(status)
        client.close()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    times.sort()
    return times[int(len(times) * 0.99)] * 1000, faults


def spoil(c, how):
    if how == "slow":
        return c.switch.slow("store", 200)
    if how == "silent":
        return c.switch.unplug("store")
    if how == "dead":
        c.store.process.kill()
        return c.store.start
    return lambda: None


@row()
def a_slow_or_dead_store():
    """p99 of prompts at one replica, while the store answers, is slow, dead or silent, in turns."""
    c, facts, found, faults = Cluster(alone=False), [], {s: [] for s in STORES}, []
    try:
        one = c.replicas["one"]
        for n in range(8):
            for how in STORES[n % 4:] + STORES[:n % 4]:
                heal = spoil(c, how)
                time.sleep(1)
                got, bad = p99(one.host.address, 300, "%d %s" % (n, how))
                found[how].append(got)
                faults += bad
                heal()
                end = time.time() + 40
                while not one.metrics()["recurd_shared_up"] and time.time() < end:
                    time.sleep(0.1)
        facts.append(("every request is answered: %s" % faults[:3], not faults))
        facts.append(("it heals", one.metrics()["recurd_shared_up"] == 1))
    finally:
        close(c, facts)
    middle = {s: statistics.median(found[s]) for s in STORES}
    change = {s: 100 * (middle[s] / middle["well"] - 1) for s in STORES[1:]}
    figure = "p99 of 300 prompts, median of 8 rounds (range): " + "; ".join(
        "%s %.1f ms (%.1f to %.1f)%s" % (s, middle[s], min(found[s]), max(found[s]),
                                         ", %+.1f %%" % change[s] if s in change else "")
        for s in STORES) + "; delay by " + c.switch.how()
    return Result(figure, "5 % more", max(change.values()) < 5, facts)
