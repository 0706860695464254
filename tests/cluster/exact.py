"""Random operations of eight keys through HAProxy while things fail: every answer is the one that one
server alone gives."""
import collections
import random
import threading
import time

from clients import Client, Fault, compare, ids
from cluster import KEYS
from sessions import LONGEST, WHOLE, Session

SYSTEM = "You are a story teller. You tell short stories about animals, and they end well. " * 3
LIMIT_S = 150
LAST = 20  # of a client's sessions are compared at the end
ASKS = ("Tell me a story about a cat.", "And then?", "Who was there?", "Tell it again.",
        "Was the dog happy?", "Where did they go?")


class Text:
    """A conversation that its client holds, as tokens: a path, and where its turns ended."""
    kind = "prompt"

    def __init__(self, user, path=(), ends=()):
        self.user, self.path, self.ends = user, list(path), list(ends)
        self.name = "%s-%d" % (user.key, user.r.randrange(10 ** 9))
        if not self.path:  # some begin alike
            self.path = ids(user.r.choice((40, 130)), user.r.randrange(6))

    def turn(self):
        r = self.user.r
        body = dict(WHOLE, prompt=self.path + ids(r.randrange(1, 40), r.random()),
                    max_tokens=r.randrange(1, 12), **self.user.sampling())
        choice = self.user.same("/v1/completions", body, self.name)
        self.path = body["prompt"] + choice["token_ids"]
        self.ends.append(len(self.path))
        return len(self.path) < LONGEST

    def fork(self):
        return Text(self.user, self.path, self.ends)

    def rewind(self):
        if not self.ends:
            return
        at = self.user.r.choice(self.ends)
        self.path, self.ends = self.path[:at], [e for e in self.ends if e <= at]


class Chat:
    """The same of messages, which go through the model's template."""
    kind = "chat"

    def __init__(self, user, messages=()):
        self.user, self.messages = user, list(messages)
        self.name = "%s-%d" % (user.key, user.r.randrange(10 ** 9))
        if not self.messages and user.r.random() < 0.5:
            self.messages = [{"role": "system", "content": SYSTEM}]

    def turn(self):
        r = self.user.r
        said = self.messages + [{"role": "user", "content": r.choice(ASKS)}]
        body = dict(messages=said, max_tokens=r.randrange(1, 12), logprobs=True, top_logprobs=2,
                    **self.user.sampling())
        choice = self.user.same("/v1/chat/completions", body, self.name)
        self.messages = said + [{"role": "assistant",
                                 "content": choice["message"]["content"] or ""}]
        return len(self.messages) < 12

    def fork(self):
        return Chat(self.user, self.messages)

    def rewind(self):
        turns = [i for i, m in enumerate(self.messages) if m["role"] == "user"]
        if turns:
            self.messages = self.messages[:self.user.r.choice(turns)]


class User(threading.Thread):
    """One client of one key: its conversations, one operation after the other."""

    def __init__(self, run, key, number):
        super().__init__(daemon=True)
        self.run_, self.key = run, key
        self.r = random.Random("%s %s %d" % (run.seed, key, number))
        self.client = Client(run.cluster.balancer.host.address, key,
                             random.Random("haste %s %d" % (key, number)))
        self.alone = Client(run.cluster.alone.host.address, key)
        self.talks, self.sessions = [], []
        self.counts = collections.Counter()

    def sampling(self):
        r = self.r
        if r.random() < 0.5:
            return {"temperature": 0, "ignore_eos": True}
        return {"temperature": 0.9, "seed": r.randrange(1000), "ignore_eos": True,
                "presence_penalty": r.choice((0, 0.5))}

    def same(self, path, body, name):
        """Asks both. -> the choice, which is the same"""
        head, reply = self.client.until_answered("POST", path, dict(body, prompt_cache_key=name))[1:]
        wanted = self.alone.until_answered("POST", path, body)[2]
        compare(reply["choices"][0], wanted["choices"][0], "%s of %s" % (path, name))
        self.count(head, reply["usage"])
        return reply["choices"][0]

    def count(self, head, usage):
        self.counts["at " + head["x-recurd-replica"]] += 1
        self.counts["prompt tokens"] += usage["prompt_tokens"]
        self.counts["cached"] += usage["prompt_tokens_details"]["cached_tokens"]

    def run(self):
        self.guarded(self.operations)

    def operations(self):
        while self.run_.another():
            self.operate()

    def check(self):
        for s in self.sessions[-LAST:]:
            s.check()

    def guarded(self, what):
        try:
            what()
        except Fault as e:
            self.run_.faults.append(str(e))
        except Exception as e:  # of the test itself: told, too
            self.run_.faults.append("%s: %s" % (type(e).__name__, e))
        finally:
            self.client.close()
            self.alone.close()

    def operate(self):
        r, kinds = self.r, self.run_.kinds
        if len(self.talks) < 3:
            self.talks.append(kinds[r.randrange(len(kinds))](self))
        talk = r.choice(self.talks)
        what = r.choices(("turn", "fork", "rewind"), (8, 1, 1))[0]
        self.counts["%s %s" % (talk.kind, what)] += 1
        if what == "fork":
            self.talks.append(talk.fork())
            self.talks = self.talks[-6:]
        elif what == "rewind":
            talk.rewind()
        elif not talk.turn():
            self.talks.remove(talk)


class Run:
    """So many operations by eight keys, two clients each, or for LIMIT_S; more, until every fault was
    there once."""

    def __init__(self, cluster, operations, seed, chaos, kinds):
        self.cluster, self.seed, self.number = cluster, seed, operations
        self.done = 0
        self.kinds = kinds
        self.lock, self.faults = threading.Lock(), []
        self.users = [User(self, key, n) for key in KEYS for n in range(2)]
        self.chaos = chaos

    def another(self):
        with self.lock:
            enough = self.done >= self.number or time.time() > self.begin + LIMIT_S
            if self.faults or (enough and not self.chaos.missing()):
                return False
            self.done += 1
            return True

    def go(self):
        self.begin = time.time()
        for t in self.users + [self.chaos]:
            t.start()
        for u in self.users:
            u.join()
        self.chaos.stop()
        if self.faults:
            self.faults.append(self.cluster.described())
        self.cluster.whole()
        self.seconds = time.time() - self.begin
        checks = [threading.Thread(target=u.guarded, args=(u.check,)) for u in self.users]
        for t in checks:
            t.start()
        for t in checks:
            t.join()
        self.counts = sum((u.counts for u in self.users), collections.Counter())

    def told(self):
        c = self.counts
        kinds = ", ".join("%s %d" % (k, c[k]) for k in sorted(c) if k.split()[-1] in
                          ("turn", "fork", "rewind", "race") or k.startswith("acknowledged"))
        places = ", ".join("%s %d" % (k[3:], c[k]) for k in sorted(c) if k.startswith("at "))
        return "%d operations in %.0f s: %s; answered by: %s; %d %% of the prompts' tokens cached; %d " \
            "sessions compared at the end; %d requests sent again, longest wait %.1f s; %s" % (
                self.done, self.seconds, kinds, places,
                100 * c["cached"] // max(c["prompt tokens"], 1),
                sum(len(u.sessions[-LAST:]) for u in self.users),
                sum(u.client.again for u in self.users),
                max(u.client.slowest for u in self.users), self.chaos.told())
