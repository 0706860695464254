"""Eight keys doing everything at random, against a model that is a list of what each one did.

Every key has a thread, its own sessions and everybody's prompts. The model of a key says which
sessions it has, where they are, and how much of a prompt it can have seen before: more cached
tokens than that would be another key's. RECURD_OPS=20000 for the long run."""
import json
import os
import random
import signal
import threading
import time
import unittest

from common import DEMO7, Settings
from keyed import Client, Keyed, line
from test_cache import HYBRID, ids

KEYS = 8
EACH = 4  # sessions of a key at once
OPS = int(os.environ.get("RECURD_OPS", "2400"))  # of all keys


class Trie:
    """Token paths that were computed."""

    def __init__(self):
        self.root = {}

    def add(self, path):
        at = self.root
        for t in path:
            at = at.setdefault(t, {})

    def common(self, path):
        at, n = self.root, 0
        for t in path:
            at = at.get(t)
            if at is None:
                break
            n += 1
        return n


class Board:
    """What the keys show each other, to be tried: a session and an exported one of each."""

    def __init__(self):
        self.sessions, self.blobs = {}, {}

    def of_another(self, what, name, rng):
        others = [v for k, v in sorted(what.items()) if k != name]
        return rng.choice(others) if others else None


class Tenant:
    """One key: what it asks, and what it must be told."""

    def __init__(self, keyed, i, board):
        self.name, self.rng, self.board = "key%d" % i, random.Random(i), board
        self.client = keyed.client(self.name)
        self.sessions = {}  # id -> (path, ends of turns)
        self.deleted = []
        self.blobs = []     # exported: (bytes, path, ends)
        self.seen = Trie()
        self.done = {}

    def check(self, ok, *what):
        assert ok, "%s: %s" % (self.name, what)

    def mine(self):
        return self.rng.choice(sorted(self.sessions))

    def prompt(self):
        """From a few streams that all keys share, some with an end of their own."""
        r = self.rng
        p = ids(300, r.randrange(4))[:r.randint(1, 300)]
        return p + ids(r.randint(1, 40), r.randrange(10 ** 6)) if r.random() < 0.4 else p

    def same(self, at, path, ends):
        self.check(at["position"] == len(path) and at["turns"] == len(ends) and
                   at["persist"] == "durable", at, len(path), ends)

    # ---- what it does ----

    def create(self):
        if len(self.sessions) >= EACH:
            return self.delete()
        at = self.client.post("/v1/sessions")
        self.sessions[at["id"]] = ([], [])
        self.same(at, [], [])

    def delete(self):
        s = self.mine()
        self.check(self.client.json("DELETE", "/v1/sessions/" + s)["deleted"])
        del self.sessions[s]
        self.deleted.append(s)

    def append(self):
        s, new = self.mine(), self.prompt()
        path, ends = self.sessions[s]
        if len(path) > 2000:
            return self.rewind()
        r = self.client.complete(new, self.rng.randint(1, 6), session=s, expected_position=len(path),
                                 return_token_ids=True)
        self.counted(r, path + new)
        path = path + new + r["choices"][0]["token_ids"]
        ends = ends + [len(path)]
        self.sessions[s] = (path, ends)
        self.seen.add(path)
        self.same(r["session"], path, ends)

    def plain(self):
        p = self.prompt()
        r = self.client.complete(p, self.rng.randint(1, 4), return_token_ids=True)
        self.counted(r, p)
        self.seen.add(p + r["choices"][0]["token_ids"])

    def counted(self, reply, path):
        u = reply["usage"]
        self.check(u["prompt_tokens"] == len(path), u, len(path))
        cached = u["prompt_tokens_details"]["cached_tokens"]
        self.check(cached <= self.seen.common(path), "cached", cached, "seen", self.seen.common(path))

    def fork(self):
        if len(self.sessions) >= EACH:
            return self.delete()
        s = self.mine()
        path, ends = self.sessions[s]
        n = self.rng.choice([len(path), self.rng.randint(0, len(path))])
        at = self.client.post("/v1/sessions/%s/fork" % s, {"position": n})
        self.sessions[at["id"]] = (path[:n], [e for e in ends if e <= n])
        self.same(at, *self.sessions[at["id"]])

    def rewind(self):
        s = self.mine()
        path, ends = self.sessions[s]
        if self.rng.random() < 0.5:
            turn = self.rng.randint(0, len(ends))
            n, ends = ends[turn - 1] if turn else 0, ends[:turn]
            at = self.client.post("/v1/sessions/%s/rewind" % s, {"turn": turn})
        else:
            n = self.rng.randint(0, len(path))
            ends = [e for e in ends if e <= n]
            at = self.client.post("/v1/sessions/%s/rewind" % s, {"position": n})
        self.sessions[s] = (path[:n], ends)
        self.same(at, *self.sessions[s])

    def export(self):
        s = self.mine()
        status, _, blob = self.client.request("GET", "/v1/sessions/%s/state" % s)
        if status == 429:
            return  # its state is not in memory now: the reply says to go on with it first
        self.check(status == 200, status, blob[:300])
        self.blobs = self.blobs[-3:] + [(blob,) + self.sessions[s]]
        self.board.blobs[self.name] = blob

    def bring_back(self):
        if not self.blobs or len(self.sessions) >= EACH:
            return self.show()
        blob, path, ends = self.rng.choice(self.blobs)
        status, _, data = self.client.request("PUT", "/v1/sessions", blob)
        self.check(status == 200, status, data[:300])
        at = json.loads(data)
        self.sessions[at["id"]] = (path, ends)
        self.seen.add(path)
        self.same(at, path, ends)

    def show(self):
        s = self.mine()
        self.same(self.client.get("/v1/sessions/" + s), *self.sessions[s])

    def delete_again(self):
        """A deletion is not promised to outlive a kill in that moment."""
        for s in set(self.deleted) - set(self.sessions):
            self.client.request("DELETE", "/v1/sessions/" + s)

    def list(self):
        found, after = {}, ""
        while True:
            page = self.client.get("/v1/sessions?limit=%d%s" % (self.rng.randint(1, 5), after))
            for at in page["data"]:
                found[at["id"]] = at
            if not page["has_more"]:
                break
            after = "&after=" + page["data"][-1]["id"]
        self.check(sorted(found) == sorted(self.sessions), "listed", sorted(found))
        for s, at in found.items():
            self.same(at, *self.sessions[s])

    # ---- what it must not ----

    def foreign(self):
        """A session of another key, and one of nobody: the same answer."""
        theirs = self.board.of_another(self.board.sessions, self.name, self.rng)
        if not theirs:
            return self.show()
        nobodys = "%032x" % self.rng.getrandbits(128)
        turn = dict(prompt=self.prompt(), max_tokens=2)
        method, path, body = self.rng.choice([
            ("GET", "", None), ("DELETE", "", None), ("POST", "/fork", {}), ("POST", "/rewind", {"turn": 0}),
            ("GET", "/state", None), ("POST", None, turn)])
        answers = []
        for s in (theirs, nobodys):
            if path is None:
                a = self.client.request(method, "/v1/completions", dict(body, session=s))
            else:
                a = self.client.request(method, "/v1/sessions/" + s + path, body)
            answers.append((a[0], a[2]))
        self.check(answers[0] == answers[1] and answers[0][0] == 404, method, path, answers)

    def foreign_blob(self):
        theirs = self.board.of_another(self.board.blobs, self.name, self.rng)
        if not theirs:
            return self.show()
        status, _, data = self.client.request("PUT", "/v1/sessions", theirs)
        self.check(status == 403, status, data[:300])

    def wrong_key(self):
        key = self.client.key
        wrong = Client(self.client.keyed, key[:-1] + ("0" if key[-1] != "0" else "1"))
        self.check(wrong.request("GET", "/v1/sessions")[0] == 401)
        wrong.connection.close()

    def run(self, n):
        weights = {self.append: 8, self.plain: 6, self.create: 3, self.fork: 3, self.rewind: 3,
                   self.delete: 1, self.export: 2, self.bring_back: 2, self.show: 2, self.list: 2,
                   self.foreign: 5, self.foreign_blob: 1, self.wrong_key: 1}
        for _ in range(n):
            if not self.sessions:
                self.create()
            op = self.rng.choices(list(weights), list(weights.values()))[0]
            op()
            self.done[op.__name__] = self.done.get(op.__name__, 0) + 1
            if self.sessions:
                self.board.sessions[self.name] = self.mine()


class Tenants(unittest.TestCase):
    def life(self, ops, model, *args):
        # So little memory that states of all keys go to the disk and come back, and enough for
        # each turn's own: with 12 MiB one in some thousand is answered "persist": "off".
        k = Keyed("".join(line("key%d" % i) for i in range(KEYS)), "--model", model,
                  "--state-memory", "32", *args, states=True)
        board, faults, t = Board(), [], time.time()
        tenants = [Tenant(k, i, board) for i in range(KEYS)]

        def work(tenant, n):
            try:
                tenant.run(n)
            except BaseException as e:
                faults.append("%s: %r" % (tenant.name, e))

        for end in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
            threads = [threading.Thread(target=work, args=(x, Settings.rounds(ops) // KEYS // 3))
                       for x in tenants]
            for x in threads:
                x.start()
            for x in threads:
                x.join()
            log = k.server.text()
            said = [x for x in log.splitlines() if " warn " in x or " error " in x]
            self.assertEqual(faults, [], "\n".join(said[-20:] + [log[-600:]]))
            self.assertEqual(k.restart(end), -9 if end == signal.SIGKILL else 0)
            for x in tenants:
                x.delete_again()
                x.list()
        log = k.close()
        self.assertEqual(log[0], 0, log[1][-3000:])
        self.assertNotIn("quarantine", log[1])
        done = {}
        for x in tenants:
            for op, n in x.done.items():
                done[op] = done.get(op, 0) + n
        print("\n%d operations in %.1f s: %s" % (sum(done.values()), time.time() - t, done))

    def test_random_operations_by_eight_keys(self):
        self.life(OPS, DEMO7)

    def test_and_with_a_hybrid_model(self):
        self.life(OPS // 2, HYBRID, "--context", "4096")


if __name__ == "__main__":
    unittest.main()
