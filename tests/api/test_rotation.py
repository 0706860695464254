"""The install key is changed under a running pair of replicas, and a release of another arithmetic
comes to one of them: sessions and prompts go on to the bit, and nothing is mixed."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

from common import DEMO7, Server, Settings
from keyed import line, secret
from test_numerics import NEXT
from test_shared import (LONG, Rig, Redis, ask, metric, needs_redis, no_errors, settled, up,
                         wait_for)
from test_shared_sessions import send

TOOL = os.path.join(os.path.dirname(Settings.recurd), "recurd-state")
BYTES = {"Content-Type": "application/octet-stream"}


def tool(*args):
    r = subprocess.run([TOOL] + list(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=Settings.patience(120))
    return r.returncode, r.stdout.decode() + r.stderr.decode()


class KeyedServer(Server):
    """Who says nothing of a key is alice."""

    def request(self, method, path, body=None, headers=None):
        headers = dict({"Authorization": "Bearer " + secret("alice")}, **(headers or {}))
        return super().request(method, path, body, headers)


class Keys(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="recurd-rotation-")
        self.old, self.new = self.file("old", b"o" * 32), self.file("new", b"n" * 32 + b"o" * 32)
        self.api = self.file("api-keys", (line("alice", more="metrics") + line("bob")).encode())
        self.servers = []

    def tearDown(self):
        for s in self.servers:
            s.stop()
        shutil.rmtree(self.dir)

    def file(self, name, data, mode=0o600):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            os.fchmod(f.fileno(), mode)
            f.write(data)
        return path

    def start(self, name, key, old=None, more=()):
        s = KeyedServer(["--model", DEMO7, "--api-keys", self.api, "--state-key", key,
                         "--state-dir", os.path.join(self.dir, name)] +
                        (["--state-key-old", old] if old else []) + list(more))
        self.servers.append(s)
        return s

    def post(self, s, who, path, body):
        status, _, reply = send(s, path, body, headers={"Authorization": "Bearer " + secret(who)})
        self.assertEqual(status, 200, reply)
        return reply

    def shared_session(self, s):
        """Of alice; at once, or when the store has it."""
        made = self.post(s, "alice", "/v1/sessions", {})
        wait_for(lambda: send(s, "/v1/sessions/" + made["id"], method="GET")[2]["shared"],
                 "a shared session", 60)
        return made["id"]

    def turn(self, s, who, session, i):
        r = self.post(s, who, "/v1/completions", {
            "prompt": [30 + i] * 20, "session": session, "max_tokens": 6, "temperature": 0.7,
            "seed": i, "logprobs": 2, "turn_id": "t%d" % i})
        self.assertEqual(r["session"]["persist"], "durable")
        return r["choices"][0]["text"], r["choices"][0]["logprobs"]


class Pair(Keys):
    @needs_redis
    def test_one_after_the_other(self):
        redis = Redis()
        self.addCleanup(redis.stop)
        store = ["--shared", redis.url(), "--shared-wait-ms", "9000"]
        alone = self.start("alone", self.old)
        a, b = self.start("a", self.old, more=store), self.start("b", self.old, more=store)
        names = {"a": "alice", "b": "bob"}
        session = {k: self.post(s, names[k], "/v1/sessions", {})["id"]
                   for k, s in (("a", a), ("b", b))}
        right = {k: self.post(alone, w, "/v1/sessions", {})["id"] for k, w in names.items()}
        turns = [0]

        def both_go_on():
            for k, s in (("a", a), ("b", b)):
                turns[0] += 1
                self.assertEqual(self.turn(s, names[k], session[k], turns[0]),
                                 self.turn(alone, names[k], right[k], turns[0]))

        def prompt(s, text):
            body = {"prompt": text, "max_tokens": 5, "temperature": 0, "logprobs": 2}
            want, seen = (self.post(x, "alice", "/v1/completions", body) for x in (alone, s))
            self.assertEqual(seen["choices"], want["choices"])
            return seen["usage"]["prompt_tokens_details"]["cached_tokens"]

        for s in (a, b):
            up(s)
        both_go_on()
        prompt(b, LONG)
        settled(b)
        self.assertEqual(a.stop(), 0)
        a = self.start("a", self.new, self.old, store)  # it seals anew, b does not know of it
        up(a)
        both_go_on()
        self.assertGreater(prompt(a, LONG), 200)  # what b put there
        settled(a)                                # … which a puts there again, with its own seal
        prompt(a, "By a. " + LONG)
        settled(a)
        self.assertEqual(prompt(b, "By a. " + LONG), 0)  # not for b, and no harm
        no_errors(b)
        self.assertEqual(b.stop(), 0)
        b = self.start("b", self.new, self.old, store)
        up(b)
        both_go_on()
        self.assertGreater(prompt(b, "By a. " + LONG), 200)
        # The old key goes: folders are sealed anew, one replica after the other.
        self.assertEqual(a.stop(), 0)
        code, out = tool("--state-key", self.new, "--state-key-old", self.old, "check",
                         os.path.join(self.dir, "a"))
        self.assertEqual(code, 0, out)
        code, out = tool("--state-key", self.new, "--state-key-old", self.old, "rekey",
                         os.path.join(self.dir, "a"))
        self.assertEqual(code, 0, out)
        self.assertRegex(out, r"^[1-9]\d* files of \d+ bytes sealed anew, \d+ were so already, "
                              r"0 damaged or of another key, 0 still need the old key\n")
        code, out = tool("--state-key", self.new, "check", os.path.join(self.dir, "a"))
        self.assertEqual(code, 0, out)
        code, out = tool("--state-key", self.new, "--state-key-old", self.old, "rekey",
                         os.path.join(self.dir, "b"))
        self.assertEqual(code, 2, out)
        self.assertIn("is in use by another process", out)
        self.assertEqual(b.stop(), 0)
        code, out = tool("--state-key", self.new, "--state-key-old", self.old, "rekey",
                         os.path.join(self.dir, "b"))
        self.assertEqual(code, 0, out)
        a, b = self.start("a", self.new, more=store), self.start("b", self.new, more=store)
        up(a), up(b)
        both_go_on()
        self.assertGreater(prompt(a, LONG), 200)
        for s in (a, b):
            self.assertNotIn("quarantine", s.text())

    @needs_redis
    def test_shared_sessions_go_on(self):
        """Sealed with the old key, continued where the new one is, and then without the old one."""
        redis = Redis()
        self.addCleanup(redis.stop)
        store = ["--shared", redis.url(), "--shared-wait-ms", "9000"]
        alone, a = self.start("alone", self.old), self.start("a", self.old, more=store)
        up(a)
        sid, right = self.shared_session(a), self.post(alone, "alice", "/v1/sessions", {})["id"]
        path = [9 + i * i % 83 for i in range(5000)]  # a stretch, and what is beyond it

        def same(s, new):
            got, want = (self.post(x, "alice", "/v1/completions", {
                "prompt": new, "session": y, "max_tokens": 5, "temperature": 0, "logprobs": 2,
                "turn_id": "from %d" % new[0]})
                for x, y in ((s, sid), (alone, right)))
            self.assertEqual(got["choices"], want["choices"])

        same(a, path)
        settled(a)
        self.assertEqual(a.stop(), 0)
        # Who has the new key alone says so, and neither goes on nor says that there is none.
        d = self.start("d", self.new, more=store)
        up(d)
        self.shared_session(d)
        head = {"Authorization": "Bearer " + secret("alice")}
        for method, at, body in (("POST", "/v1/completions", {"prompt": [1], "session": sid}),
                                 ("GET", "/v1/sessions/" + sid, None),
                                 ("DELETE", "/v1/sessions/" + sid, None)):
            self.says(d, "session_key_unknown", method, at, body, head)
        self.assertEqual(metric(d, "session_sealed_total"), 3)
        b = self.start("b", self.new, self.old, store)
        up(b)
        same(b, [7, 8, 9])
        settled(b)
        self.assertEqual(b.stop(), 0)
        c = self.start("c", self.new, more=store)
        up(c)
        same(c, [10, 11, 12])

    def says(self, s, code, *what):
        """503 for that reason; for another one only as long as the store's answers are late."""
        def told():
            status, _, said = s.request(*what)
            self.assertEqual(status, 503, said)
            return json.loads(said)["error"]["code"] == code
        wait_for(told, code, 60)

    def test_kept_responses_and_exports(self):
        s = self.start("a", self.old)
        kept = self.post(s, "alice", "/v1/responses", {"input": "Hi.", "max_output_tokens": 3})
        session = self.post(s, "alice", "/v1/sessions", {})["id"]
        self.turn(s, "alice", session, 1)
        head = {"Authorization": "Bearer " + secret("alice")}
        status, _, blob = s.request("GET", "/v1/sessions/%s/state" % session, None, head)
        self.assertEqual(status, 200)
        self.assertEqual(s.stop(), 0)
        s = self.start("a", self.new, self.old)
        path = "/v1/responses/" + kept["id"]
        self.assertEqual(s.request("GET", path, None, head)[0], 200)
        status, _, body = s.request("PUT", "/v1/sessions", blob, dict(head, **BYTES))
        self.assertEqual(status, 200, body)
        self.assertEqual(s.stop(), 0)
        self.assertEqual(tool("--state-key", self.new, "--state-key-old", self.old, "rekey",
                              os.path.join(self.dir, "a"))[0], 0)
        s = self.start("a", self.new)
        self.assertEqual(s.request("GET", path, None, head)[0], 200)
        status, _, body = s.request("PUT", "/v1/sessions", blob, dict(head, **BYTES))
        self.assertEqual(status, 403, body)
        self.assertIn(b"another install key", body)
        # A house with another key altogether, where there is an alice, too.
        far = self.file("far", b"f" * 32)
        export, sealed = self.file("export", blob), os.path.join(self.dir, "sealed")
        flags = ["--state-key", far, "--state-key-old", self.old]
        for args, text in ((flags + ["reseal", export, sealed], "give it with --tenant"),
                           (flags + ["--tenant", "bob", "reseal", export, sealed],
                            'does not belong to the API key "bob"'),
                           (flags[:2] + ["reseal", export, sealed], "needs state-key-old"),
                           (flags + ["reseal", self.api, sealed], "a session has at least 720")):
            code, out = tool(*args)
            self.assertEqual(code, 2, out)
            self.assertIn(text, out)
        damaged = self.file("damaged", blob[:-1] + bytes([blob[-1] ^ 1]))
        code, out = tool(*flags, "--tenant", "alice", "reseal", damaged, sealed)
        self.assertEqual(code, 2, out)
        self.assertIn("damaged", out)
        code, out = tool(*flags, "--tenant", "alice", "reseal", export, sealed)
        self.assertEqual((code, out), (0, ""))
        code, out = tool(*flags, "--tenant", "alice", "reseal", export, sealed)
        self.assertIn("is there already", out)
        other = self.start("other", far)
        with open(sealed, "rb") as f:
            status, _, body = other.request("PUT", "/v1/sessions", f.read(), dict(head, **BYTES))
        self.assertEqual(status, 200, body)
        there = json.loads(body)["id"]
        self.assertEqual(self.turn(other, "alice", there, 2), self.turn(s, "alice", session, 2))

    def test_a_key_of_the_folder(self):
        folder = os.path.join(self.dir, "own")
        flags = ["--model", DEMO7, "--state-dir", folder]
        s = Server(flags)
        session = s.post("/v1/sessions", {})["id"]
        s.complete([7] * 60, session=session, max_tokens=4, temperature=0)
        self.assertEqual(s.stop(), 0)
        with open(os.path.join(folder, "key"), "rb") as f:
            before = f.read()
        code, out = tool("rekey", folder)
        self.assertEqual(code, 0, out)
        with open(os.path.join(folder, "key"), "rb") as f:
            after = f.read()
        self.assertEqual((len(before), len(after), after[32:]), (32, 64, before))
        self.assertNotEqual(after[:32], before)
        self.assertEqual(os.stat(os.path.join(folder, "key")).st_mode & 0o777, 0o600)
        self.assertEqual(tool("check", folder)[0], 0)
        s = Server(flags)
        self.servers.append(s)
        r = s.complete([8] * 5, session=session, max_tokens=4, temperature=0)
        self.assertEqual(r["session"]["position"], 64 + 9)
        self.assertNotIn("quarantine", s.text())

    def test_keys_that_are_refused(self):
        short, wide = self.file("short", b"x" * 31), self.file("wide", b"w" * 32, 0o644)
        other = self.file("other", b"p" * 32)
        start = [Settings.recurd, "--model", DEMO7, "--listen", "127.0.0.1:0", "--state-dir",
                 os.path.join(self.dir, "x")]
        for args, text in (
                (["--state-key", self.new, "--state-key-old", wide], "others than its owner may"),
                (["--state-key", self.new, "--state-key-old", short], "31 found"),
                (["--state-key", self.new, "--state-key-old", self.new], "seal with the same"),
                (["--state-key", other, "--state-key-old", self.old], "tail -c 32 OLD"),
                (["--state-key-old", self.old], "no state-key is given")):
            r = subprocess.run(start + args, capture_output=True, text=True,
                               timeout=Settings.patience(120))
            self.assertNotEqual(r.returncode, 0)
            self.assertIn(text, r.stderr)
        code, out = tool("--state-key", self.new, "rekey", self.dir)
        self.assertEqual(code, 2)
        self.assertIn("rekey needs both", out)


class Release(unittest.TestCase):
    @needs_redis
    def test_two_builds_on_one_store(self):
        """States of another arithmetic are neither found nor touched, and the reply says why."""
        with Rig() as r:
            now = r.replica()
            before, Settings.recurd = Settings.recurd, NEXT
            try:
                after = r.replica()
            finally:
                Settings.recurd = before
            up(now), up(after)
            self.assertEqual(r.same(now, LONG), 0)
            settled(now)
            status, head, body = after.request("POST", "/v1/completions",
                                               {"prompt": LONG, "max_tokens": 3})
            self.assertEqual(status, 200, body)
            cached = json.loads(body)["usage"]["prompt_tokens_details"]["cached_tokens"]
            self.assertEqual(cached, 0)
            self.assertIn("hit=0", head["x-recurd-cache"])
            self.assertEqual(metric(after, "hits_total"), 0)
            settled(after)
            third = r.replica()
            up(third)
            self.assertGreater(r.same(third, LONG), 200)  # the first one's are there …
            Settings.recurd = NEXT
            try:
                again = r.replica()
            finally:
                Settings.recurd = before
            up(again)
            self.assertGreater(ask(again, LONG)[1], 200)        # … and the other's
            no_errors(*r.servers)


if __name__ == "__main__":
    unittest.main()
