"""What more replicas are worth: turns a second, and prompts that are computed once."""
import json
import statistics
import threading
import time

from clients import Client, ids
from cluster import KEYS, PORT, REPLICAS, Cluster, request
from hosts import Share, wait_for
from rows import GREEDY, Common, Result, row


def not_waited_for(c):
    """How often the store was late, or not asked because it would be."""
    return c.total("recurd_shared_timeouts_total") + sum(
        c.total('recurd_shared_waits_total{outcome="%s"}' % how) for how in ("late", "skipped"))


def ask_everywhere(c, attempt):
    """-> (whole, cached) of 30 questions, those of the first, tokens that the cluster computed"""
    system = " ".join("Rule %d.%d: say it in other words than before." % (attempt, i)
                      for i in range(80))

    def ask(place, text):
        r = request(place.host.address, PORT, "POST", "/v1/chat/completions", dict(
            messages=[{"role": "system", "content": system}, {"role": "user", "content": text}],
            max_tokens=4, temperature=0))
        usage = json.loads(r[2])["usage"]
        return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
    places = list(c.replicas.values())
    computed = c.total("recurd_prompt_tokens_total")
    whole, cached = ask(places[0], "What is the first rule?")
    c.settled()
    asked = [ask(places[i % 3], "What is rule %d?" % i) for i in range(30)]
    return asked, whole, cached, c.total("recurd_prompt_tokens_total") - computed


@row(short=True)
def a_prefix_is_computed_once():
    """One long system message, questions at every replica: who computed how much."""
    c, facts = Common.whole(), []
    for attempt in range(5):
        late = not_waited_for(c)
        asked, whole, cached, total = ask_everywhere(c, attempt)
        if not_waited_for(c) == late:
            break  # else the store was late once, which this is not about
    facts.append(("nobody knew it", cached == 0))
    own = sum(w for w, _ in asked) - 30 * min(c for _, c in asked)
    facts.append(("at every replica the prefix comes from a state: %s" % asked,
                  all(hit > whole - 60 for _, hit in asked)))
    facts.append(("the cluster computed it once: %d tokens" % total, total <= whole + own))
    figure = "a prefix of some %d tokens, 31 questions at three replicas: %d tokens computed in " \
        "all, %d without sharing" % (min(c for _, c in asked), total,
                                     whole + sum(w for w, _ in asked))
    return Result(figure, "once", True, facts)


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
    Common.close()  # its hosts have the names
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
        Common.ends += c.close()
        share.close()
    one, three = (statistics.median(rates[n]) for n in (1, 3))
    ratios = sorted(b / a for a, b in zip(rates[1], rates[3]) if a)
    return Result("%.1f turns/s of one, %.1f of three: %.2f x (rounds: %s); each replica had %d %% of a "
                  "CPU by %s and %d clients, whose turns of 20 tokens bring 32" % (
                      one, three, three / one, ", ".join("%.2f" % x for x in ratios), share.percent,
                      share.how, PER_REPLICA), "2.7 x", three >= 2.7 * one, facts)
