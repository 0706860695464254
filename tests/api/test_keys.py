"""API keys: who is let in, what a reload changes, and that no key sees anything of another."""
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import unittest

import common
from common import DEMO, ROOT, Server, Settings, Stream, command, server, wait_for
from keyed import Client, Keyed, line, secret
from test_cache import ids

UNKNOWN = "0123456789abcdef0123456789abcdef"
ROUTES = re.findall(r'^ROUTE\((\w+), "([A-Z ]+)", "([^"]+)", (\w+), \w+, (\w+),',
                    open(os.path.join(ROOT, "server", "api", "routes.def")).read(), re.M)


class Door(unittest.TestCase):
    """One server for all tests of what a request must bring."""

    @classmethod
    def setUpClass(cls):
        cls.k = Keyed("# who may ask\n" + line("alice") + line("bob", more="requests=2 sessions=2") +
                      line("watch", more="requests=0 sessions=0 metrics"), "--log-level", "debug")
        cls.alice, cls.bob, cls.watch = (cls.k.client(n) for n in ("alice", "bob", "watch"))

    @classmethod
    def tearDownClass(cls):
        code, log = cls.k.close()
        assert code == 0, log[-4000:]
        assert "secret" not in log, "a secret is in the log"
        assert re.search(r"completions 200, key alice", log), log[-4000:]

    def refused(self, reply, form="OPENAI"):
        status, headers, body = reply
        self.assertEqual(status, 401, body)
        self.assertTrue(headers["www-authenticate"].startswith("Bearer"), headers)
        e = json.loads(body)["error"]
        if form == "OLLAMA":
            self.assertIn("key", e)
        elif form == "ANTHROPIC":
            self.assertEqual(e["type"], "authentication_error")
        else:
            self.assertEqual((e["type"], e["code"], e["param"]),
                             ("invalid_request_error", "invalid_api_key", None))
        return body

    def test_every_route_asks_for_a_key_unless_the_table_says_open(self):
        self.assertGreater(len(ROUTES), 12)
        self.assertEqual({r[0] for r in ROUTES if r[3] == "OPEN"}, {"health", "livez", "readyz", "page", "ui"})
        self.assertEqual({r[0] for r in ROUTES if r[3] == "METRICS"}, {"metrics"})
        nobody = Client(self.k, None)
        for name, methods, path, access, form in ROUTES:
            path = path.replace("*", UNKNOWN)
            path += "x" if path.endswith("/") and path != "/" else ""
            for method in methods.split() + ["DELETE", "PATCH"]:
                body = {} if method in ("POST", "PUT") else None
                with self.subTest(path=path, method=method):
                    if access == "OPEN":
                        self.assertNotIn(nobody.request(method, path, body)[0], (401, 403))
                        continue
                    self.refused(nobody.request(method, path, body), form)
                    self.refused(Client(self.k, "wrong").request(method, path, body), form)
                    status = self.alice.request(method, path, body)[0]
                    self.assertEqual(status == 403, access == "METRICS")
                    self.assertNotEqual(status, 401)
                    self.assertNotEqual(self.watch.request(method, path, body)[0], 401)
            self.assertEqual(nobody.request("OPTIONS", path)[0], 204)  # a browser asks without
        self.assertEqual(nobody.request("GET", "/v1/nothing")[0], 404)

    def test_any_wrong_key_gets_the_same_answer(self):
        right = secret("alice")
        wrong = ["x", right[:-1], right + "x", right.upper(), right[::-1], "alice", right + "," + right,
                 "sha256:" + "0" * 64, "a" * 5000, secret("alice", 1), "\xe4\xf6"]
        bodies = {self.refused(Client(self.k, w).request("GET", "/v1/models")) for w in wrong}
        self.assertEqual(len(bodies), 1)

    def test_the_header_has_one_form(self):
        def get(*lines):
            head = "".join("%s\r\n" % l for l in lines)
            reply = self.k.server.raw(("GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n"
                                       % head).encode())
            return int(reply.split(b" ", 2)[1])

        a = secret("alice")
        for good in ("Authorization: Bearer " + a, "authorization: bearer " + a,
                     "AUTHORIZATION:BEARER   " + a, "Authorization: Bearer %s  " % a):
            self.assertEqual(get(good), 200, good)
        for bad in ("Authorization: " + a, "Authorization: Basic " + a, "Authorization: Bearer",
                    "Authorization: Bearer ", "Authorization:", "Authorization: Bearer\t" + a,
                    "Authorization: Bearer %s %s" % (a, a), "Authorization: Bearer \"%s\"" % a,
                    "X-Api-Key: wrong", "X-Api-Key:", "api-key: Bearer " + a, "Cookie: Authorization=Bearer " + a,
                    "Authorization: Bearer,Bearer " + a):
            self.assertEqual(get(bad), 401, bad)
        for good in (["X-Api-Key: " + a], ["api-key:  " + a], ["x-api-key: " + a, "Authorization: Bearer " + a]):
            self.assertEqual(get(*good), 200, good)
        for two in (["x-api-key: " + a, "x-api-key: " + a], ["x-api-key: " + a, "api-key: " + secret("bob")],
                    ["Authorization: Bearer wrong", "x-api-key: " + a], ["x-api-key: " + a, "Authorization:"],
                    ["Authorization: Bearer " + a, "Authorization: Bearer " + a]):
            self.assertEqual(get(*two), 401, two)
        self.assertEqual(get("Authorization: Bearer " + a, "Authorization: Bearer " + secret("bob")), 401)
        self.assertEqual(get("Authorization: Bearer wrong", "Authorization: Bearer " + a), 401)
        status, _, _ = Client(self.k, None).request("GET", "/v1/models?api_key=%s" % a)
        self.assertEqual(status, 401)

    def test_the_refusal_comes_before_the_body(self):
        head = (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 3000000\r\n%sExpect: 100-continue\r\n\r\n")
        s = self.k.server.connect()
        s.sendall(head % b"Authorization: Bearer wrong\r\n")
        self.assertTrue(s.recv(4096).startswith(b"HTTP/1.1 401 "))
        s.close()
        s = self.k.server.connect()
        s.sendall(head % (b"Authorization: Bearer %s\r\n" % secret("alice").encode()))
        self.assertTrue(s.recv(4096).startswith(b"HTTP/1.1 100 "))
        s.close()

    def test_metrics_are_for_keys_that_may_read_them(self):
        self.alice.complete([5] * 40, 3)
        self.alice.complete([5] * 40, 3)
        status, _, body = self.alice.request("GET", "/metrics")
        self.assertEqual((status, json.loads(body)["error"]["code"]), (403, "permission_denied"))
        status, _, body = self.watch.request("GET", "/metrics")
        self.assertEqual(status, 200)
        self.assertNotIn(b"secret", body)

        def values():
            lines = self.watch.request("GET", "/metrics")[2].decode().splitlines()
            return dict(l.rsplit(" ", 1) for l in lines if l[:1] != "#")

        wait_for(lambda: values()['recurd_key_requests_running{key="alice"}'] == "0")
        value = values()
        self.assertEqual(value["recurd_keys"], "3")
        self.assertGreaterEqual(int(value['recurd_key_prompt_tokens_total{key="alice"}']), 80)
        self.assertGreaterEqual(int(value['recurd_key_cached_tokens_total{key="alice"}']), 40)
        self.assertGreaterEqual(int(value['recurd_key_output_tokens_total{key="alice"}']), 6)
        self.assertEqual(int(value['recurd_key_output_tokens_total{key="watch"}']), 0)
        self.assertGreater(int(value['recurd_key_state_bytes{key="alice",tier="ram"}']), 500000)
        self.assertEqual(self.watch.complete("a", expect=403)["error"]["code"], "permission_denied")
        self.assertEqual(self.watch.post("/v1/sessions", expect=429)["error"]["code"], "session_limit")

    def test_a_key_has_so_many_sequences_at_once(self):
        self.assertEqual(self.bob.complete("a", 1, 403, n=3)["error"]["code"], "permission_denied")
        self.assertEqual(self.bob.complete("a", 1, 403, best_of=3)["error"]["code"],
                         "permission_denied")
        self.assertEqual(self.bob.complete(["a", "b", "c"], 1, 403)["error"]["code"], "permission_denied")
        long = {"prompt": "Once", "max_tokens": 1000000, "ignore_eos": True, "stream": True}
        bearer = "Authorization: Bearer %s\r\n" % secret("bob")
        streams = [Stream(self.k.server, "/v1/completions", long, headers=bearer) for _ in range(2)]
        events = [s.events() for s in streams]
        for e in events:
            next(e)
        status, headers, body = self.bob.request("POST", "/v1/completions", {"prompt": "a"})
        self.assertEqual((status, json.loads(body)["error"]["code"]), (429, "rate_limit_exceeded"))
        self.assertEqual(headers["x-should-retry"], "true")
        self.assertIn("retry-after", headers)
        self.alice.complete("a")  # others are not concerned
        for s in streams:
            s.reset()
        wait_for(lambda: self.bob.request("POST", "/v1/completions",
                                          {"prompt": "a", "max_tokens": 1})[0] == 200)

    def test_the_share_is_free_when_the_reply_is_there(self):
        body = {"prompt": ["Once", "Twice"], "max_tokens": 2, "ignore_eos": True}
        for i in range(Settings.rounds(60)):
            c = self.k.client("bob")  # a new connection: another worker
            self.assertEqual(c.request("POST", "/v1/completions", dict(body, stream=i % 2 == 1))[0], 200)
            c.connection.close()

    def test_a_key_has_so_many_sessions(self):
        made = [self.bob.post("/v1/sessions")["id"] for _ in range(2)]
        status, headers, body = self.bob.request("POST", "/v1/sessions", {})
        self.assertEqual((status, json.loads(body)["error"]["code"]), (429, "session_limit"))
        self.assertEqual(headers["x-should-retry"], "false")
        self.assertNotIn("retry-after", headers)
        self.assertEqual(self.bob.request("POST", "/v1/sessions/%s/fork" % made[0], {})[0], 429)
        self.alice.json("DELETE", "/v1/sessions/" + self.alice.post("/v1/sessions")["id"])
        for s in made:
            self.bob.json("DELETE", "/v1/sessions/" + s)
        self.bob.json("DELETE", "/v1/sessions/" + self.bob.post("/v1/sessions")["id"])


class Isolation(unittest.TestCase):
    def setUp(self):
        self.k = Keyed(line("alice") + line("bob") + line("carol", more="state-memory=4"), states=True)
        self.alice, self.bob, self.carol = (self.k.client(n) for n in ("alice", "bob", "carol"))

    def tearDown(self):
        code, log = self.k.close()
        self.assertEqual(code, 0, log[-4000:])

    def session(self, client, n=200):
        s = client.post("/v1/sessions")["id"]
        client.complete(ids(n, 7), 4, session=s)
        return s

    def probes(self, s):
        """Every way to name a session."""
        chat = {"messages": [{"role": "user", "content": "Hello"}], "session": s, "max_tokens": 2}
        text = {"prompt": "Hello", "session": s, "max_tokens": 2}
        return [("GET", "/v1/sessions/" + s, None), ("HEAD", "/v1/sessions/" + s, None),
                ("DELETE", "/v1/sessions/" + s, None), ("POST", "/v1/sessions/%s/fork" % s, {}),
                ("POST", "/v1/sessions/%s/fork" % s, {"position": 3}),
                ("POST", "/v1/sessions/%s/rewind" % s, {"position": 0}),
                ("POST", "/v1/sessions/%s/rewind" % s, {"turn": 99}),
                ("POST", "/v1/sessions/%s/rewind" % s, {"turn": 1, "expected_generation": 9}),
                ("GET", "/v1/sessions/%s/state" % s, None), ("POST", "/v1/completions", text),
                ("POST", "/v1/completions", dict(text, stream=True)),
                ("POST", "/v1/completions", dict(text, turn_id="t", expected_position=204)),
                ("POST", "/v1/completions", dict(text, expected_generation=9)),
                ("POST", "/v1/chat/completions", chat)]

    def test_another_keys_session_is_answered_as_an_unknown_one(self):
        """That it takes as long is for make hostile, on a quiet machine."""
        s = self.session(self.alice)
        mine = self.session(self.bob)
        for foreign, unknown in zip(self.probes(s), self.probes(UNKNOWN)):
            a, b = self.bob.request(*foreign), self.bob.request(*unknown)
            with self.subTest(foreign[:2]):
                self.assertEqual(a[0], 404)
                self.assertEqual(a[2], b[2])
                for h in (a[1], b[1]):
                    for name in ("date", "x-request-id"):
                        h.pop(name, None)
                self.assertEqual(a[1], b[1])
        self.assertEqual(self.alice.get("/v1/sessions/" + s)["position"], 204)
        self.assertEqual([o["id"] for o in self.bob.get("/v1/sessions")["data"]], [mine])
        self.assertEqual([o["id"] for o in self.alice.get("/v1/sessions?after=" + "0" * 32)["data"]], [s])
        self.assertEqual(self.carol.get("/v1/sessions")["data"], [])

    def test_a_prompt_is_cached_for_the_key_that_sent_it(self):
        p = ids(400, 8)
        self.assertEqual(self.alice.cached(p), 0)
        self.assertEqual(self.alice.cached(p), 400)
        for c in (self.bob, self.carol):
            self.assertEqual(c.cached(p), 0)
            self.assertEqual(c.cached(p), 400)
        self.session(self.alice)  # 200 tokens that are on the disk now
        self.k.restart()
        self.assertEqual(self.bob.cached(ids(200, 7)), 0)
        self.assertGreaterEqual(self.alice.cached(ids(200, 7) + [5]), 128)

    def test_keys_at_once_do_not_wait_for_each_others_prefixes(self):
        p = ids(900, 9)
        cached = {}

        def ask(name):
            cached[name] = self.k.client(name).cached(p)

        threads = [threading.Thread(target=ask, args=(n,)) for n in ("alice", "bob")]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(cached, {"alice": 0, "bob": 0})

    def test_an_exported_session_belongs_to_its_key(self):
        s = self.session(self.alice)
        status, _, blob = self.alice.request("GET", "/v1/sessions/%s/state" % s)
        self.assertEqual(status, 200)
        status, _, body = self.bob.request("PUT", "/v1/sessions", blob)
        self.assertEqual((status, json.loads(body)["error"]["code"]), (403, "permission_denied"))
        self.assertEqual(self.bob.get("/v1/sessions")["data"], [])
        status, _, body = self.alice.request("PUT", "/v1/sessions", blob)
        self.assertEqual((status, json.loads(body)["position"]), (200, 204))

    def test_a_limit_of_memory_is_the_keys_own(self):
        for i in range(12):  # some 20 states of 0.6 MB each
            self.carol.complete(ids(300, 20 + i), 2)
            self.alice.complete(ids(300, 20 + i), 2)
        self.assertEqual(self.alice.cached(ids(300, 31)), 300)
        s = self.session(self.carol)
        self.k.write(line("alice") + line("carol", more="state-memory=4 metrics"))
        self.k.server.proc.send_signal(signal.SIGHUP)
        wait_for(lambda: self.carol.request("GET", "/metrics")[0] == 200)
        value = dict(l.rsplit(" ", 1)
                     for l in self.carol.request("GET", "/metrics")[2].decode().splitlines())
        self.assertLessEqual(int(value['recurd_key_state_bytes{key="carol",tier="ram"}']), 4 << 20)
        self.assertGreater(int(value['recurd_key_state_bytes{key="alice",tier="ram"}']), 4 << 20)
        self.assertEqual(self.carol.complete(ids(20, 1), 2, session=s)["session"]["persist"], "durable")


class Reload(unittest.TestCase):
    def setUp(self):
        self.k = Keyed(line("alice") + line("bob"), states=True)

    def tearDown(self):
        code, log = self.k.close()
        self.assertEqual(code, 0, log[-4000:])

    def hup(self, lines, mode=0o600):
        seen = len(self.k.server.text())
        self.k.write(lines, mode)
        self.k.server.proc.send_signal(signal.SIGHUP)
        wait_for(lambda: re.search("in force|stay as they were", self.k.server.text()[seen:]))
        return self.k.server.text()[seen:]

    def status(self, name, generation=0):
        return self.k.client(name, generation).request("GET", "/v1/models")[0]

    def test_removed_added_and_changed_keys(self):
        alice, bob = self.k.client("alice"), self.k.client("bob")
        s = alice.post("/v1/sessions")["id"]
        alice.complete(ids(100, 1), 3, session=s)
        # Of more bytes than lie between the two: it cannot be over before it is read.
        long = {"prompt": "Once", "max_tokens": 2000, "ignore_eos": True, "stream": True,
                "logprobs": 20}
        st = Stream(self.k.server, "/v1/completions", long, room=32768,
                    headers="Authorization: Bearer %s\r\n" % secret("bob"))
        events = st.events()
        next(events)
        self.assertIn("1 added, 1 removed", self.hup(line("alice", 1) + line("carol")))
        self.assertEqual(bob.request("GET", "/v1/models")[0], 401)  # at once, on an old connection
        self.assertEqual(self.status("alice"), 401)
        self.assertEqual(self.status("carol"), 200)
        self.assertEqual(list(events)[-1]["choices"][0]["finish_reason"], "length")  # it was begun
        alice = self.k.client("alice", 1)
        self.assertEqual(alice.get("/v1/sessions/" + s)["position"], 103)
        self.assertEqual(alice.cached(ids(100, 1) + [5]), 100)
        # Two secrets while clients change over.
        self.hup("alice %s,%s\n" % (secret("alice", 1), secret("alice", 2)))
        self.assertEqual([self.status("alice", g) for g in range(3)], [401, 200, 200])
        self.k.restart()
        self.assertEqual(self.k.client("alice", 2).get("/v1/sessions/" + s)["position"], 103)

    def test_a_bad_file_changes_nothing(self):
        good = line("alice", 1) + line("carol")
        for lines, mode, words in [(good + "what is this\n", 0o600, "line 3"), ("", 0o600, "no key"),
                                   (good + line("carol"), 0o600, "line 3"), (good, 0o644, "chmod"),
                                   (good + "x" * 3000, 0o600, "line 3"), (good + "\xff", 0o600, "line 3")]:
            text = self.hup(lines, mode)
            self.assertIn(words, text)
            self.assertEqual(text.count("stay as they were"), 1, text)
            self.assertNotIn("secret.", text)
            self.assertEqual((self.status("alice"), self.status("bob"), self.status("carol")),
                             (200, 200, 401))
        os.unlink(self.k.path)
        self.k.server.proc.send_signal(signal.SIGHUP)
        wait_for(lambda: "No such file" in self.k.server.text())
        self.assertEqual(self.status("alice"), 200)

    def test_reloads_under_load(self):
        faults, done = [], threading.Event()

        def work(name, expect):
            c = self.k.client(name)
            while not done.is_set():
                status = c.request("POST", "/v1/completions", {"prompt": "a", "max_tokens": 2})[0]
                if status not in expect:
                    faults.append((name, status))

        threads = [threading.Thread(target=work, args=a) for a in
                   (("alice", (200,)), ("alice", (200,)), ("bob", (200, 401)), ("carol", (200, 401)))]
        for t in threads:
            t.start()
        for i in range(Settings.rounds(60)):
            self.hup(line("alice") + (line("bob") if i % 2 else line("carol")) +
                     "".join(line("k%d" % j) for j in range(i * 7 % 100)))
        done.set()
        for t in threads:
            t.join()
        self.assertEqual(faults, [])


class Start(unittest.TestCase):
    def run_one(self, *args, env=None):
        p = subprocess.run(command(["--model", DEMO, "--listen", "127.0.0.1:0"] + list(args)),
                           capture_output=True, text=True, env=dict(os.environ, **(env or {})),
                           timeout=Settings.patience(30))
        return p.returncode, p.stdout, p.stderr

    def test_mistakes_are_one_sentence_and_code_2(self):
        rows = [("", 0o600, "no key"), (line("a") + "b\n", 0o600, "line 2"),
                (line("a") + "b some-long-secret-1\nb another-long-secret-2\n", 0o600, "line 3"),
                (line("a"), 0o644, "mode 0644"), (line("a", more="requests=many"), 0o600, "line 1")]
        for lines, mode, words in rows:
            with tempfile.NamedTemporaryFile("w", suffix=".keys") as f:
                f.write(lines)
                f.flush()
                os.chmod(f.name, mode)
                for more in ([], ["--check-config"]):
                    code, out, err = self.run_one("--api-keys", f.name, *more)
                    self.assertEqual((code, out, err.count("\n")), (2, "", 1), err)
                    self.assertIn(words, err)
                    self.assertNotIn("secret", err.replace("without a secret", ""))
        self.assertEqual(self.run_one("--api-keys", "/nonexistent")[0], 2)
        code, out, err = self.run_one(env={"RECURD_API_KEY": "short"})
        self.assertEqual(code, 2)
        self.assertIn("$RECURD_API_KEY", err)
        self.assertNotIn("short\n", err)

    def test_the_configuration_names_the_file_and_prints_no_secret(self):
        with tempfile.NamedTemporaryFile("w") as keys, tempfile.NamedTemporaryFile("w") as conf:
            keys.write(line("alice"))
            keys.flush()
            conf.write("api-keys = %s\n" % keys.name)
            conf.flush()
            code, out, err = self.run_one("--config", conf.name, "--check-config")
            self.assertEqual(code, 0, err)
            self.assertIn("api-keys = " + keys.name, out)
            code, described, more = self.run_one("--config", conf.name, "--describe")
            self.assertEqual(code, 0)
            self.assertNotIn(secret("alice"), out + err + described + more)

    def test_the_example_file_is_one(self):
        with open(os.path.join(ROOT, "etc", "api-keys.example")) as f:
            text = re.sub("^#(alice|bob|scrape) ", r"\1 ", f.read(), flags=re.M)
        with tempfile.NamedTemporaryFile("w") as f:
            f.write(text)
            f.flush()
            code, _, err = self.run_one("--api-keys", f.name, "--check-config")
        self.assertEqual(code, 0, err)
        self.assertIn("3 API keys", err)

    def test_one_key_from_the_environment(self):
        s = Server(["--model", DEMO], env={"RECURD_API_KEY": secret("me")})
        me = {"Authorization": "Bearer " + secret("me")}
        self.assertEqual(s.request("GET", "/v1/models")[0], 401)
        self.assertEqual(s.request("GET", "/v1/models", headers=me)[0], 200)
        if not Settings.valgrind:  # the process is then another one
            with open("/proc/%d/environ" % s.proc.pid, "rb") as f:
                self.assertNotIn(secret("me").encode(), f.read())
        self.assertEqual(s.stop(), 0)
        self.assertNotIn(secret("me"), s.text())

    def test_an_address_that_others_reach_is_warned_of(self):
        with self.assertRaisesRegex(AssertionError, "open-to-all"):
            Server(["--model", DEMO, "--listen", "0.0.0.0:0"])
        s = Server(["--model", DEMO, "--listen", "0.0.0.0:0", "--open-to-all", "1"])
        self.assertEqual(s.stop(), 0)
        self.assertIn("no API key is asked for", s.text())
        k = Keyed(line("alice"), "--listen", "0.0.0.0:0")
        _, log = k.close()
        self.assertIn("not encrypted", log)
        self.assertNotIn("no API key", log)

    def test_without_keys_a_key_does_not_matter(self):
        s = server("--model", DEMO)
        for h in ({}, {"Authorization": "Bearer none"}, {"Authorization": "what"}):
            for path in ("/v1/models", "/metrics", "/version"):
                self.assertEqual(s.request("GET", path, headers=h)[0], 200)
        a = s.request("POST", "/v1/sessions", {}, {"Authorization": "Bearer a"})
        b = {"Authorization": "Bearer b"}
        self.assertEqual(s.request("DELETE", "/v1/sessions/" + json.loads(a[2])["id"], headers=b)[0], 200)


if __name__ == "__main__":
    unittest.main()
