"""Sessions: turns that send only what is new, forks, rewinds, restarts, kills, moves."""
import json
import os
import random
import shutil
import tempfile
import threading
import unittest

from common import DEMO, DEMO7, Server, Stream, wait_for
from test_cache import HYBRID, ids


class Sessions(unittest.TestCase):
    model = DEMO
    endless = 1000000  # tokens

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="recurd-api-")
        self.s = self.start()

    def tearDown(self):
        code = self.s.stop()
        shutil.rmtree(self.dir)
        self.assertEqual(code, 0, self.s.text()[-4000:])

    def start(self, *more):
        return Server(["--model", self.model, "--slots", "4", "--state-dir", self.dir] + list(more))

    def kill_and_restart(self, settled=False):
        if settled:
            self.s.wait_written()
        self.s.kill()
        self.s = self.start()

    def create(self):
        r = self.s.post("/v1/sessions", {})
        self.assertEqual((r["position"], r["turns"], r["persist"]), (0, 0, "durable"))
        return r["id"]

    def turn(self, session, prompt, n=8, **fields):
        fields = dict(dict(max_tokens=n, temperature=0, ignore_eos=True), **fields)
        return self.s.complete(prompt, session=session, **fields)

    def cost(self, reply):
        u = reply["usage"]
        return u["prompt_tokens"] - u["prompt_tokens_details"]["cached_tokens"]

    def test_kill_restart_rewind_and_go_on(self):
        s = self.create()
        r = self.turn(s, ids(1007, 1))
        self.assertEqual(self.cost(r), 1007)
        self.assertEqual((r["session"]["position"], r["session"]["persist"]), (1015, "durable"))
        self.kill_and_restart(settled=True)
        self.assertEqual(self.cost(self.turn(s, ids(50, 2))), 50)
        self.kill_and_restart()
        at = self.s.get("/v1/sessions/" + s)[1]
        self.assertEqual((at["position"], at["turns"]), (1015 + 58, 2))
        at = self.s.post("/v1/sessions/%s/rewind" % s, {"position": 1015 + 50})
        self.assertEqual((at["position"], at["persist"]), (1065, "durable"))
        self.assertLessEqual(self.cost(self.turn(s, ids(20, 3))), 80)
        self.kill_and_restart(settled=True)
        at = self.s.post("/v1/sessions/%s/rewind" % s, {"turn": 1})
        self.assertEqual(at["position"], 1015)
        self.assertLessEqual(self.cost(self.turn(s, ids(20, 4))), 80)

    def test_killed_at_once_a_turn_is_replayed_from_the_log(self):
        plain = Server(["--model", self.model, "--state-memory", "0"])
        ask = dict(logprobs=3, return_token_ids=True)
        try:
            s, path, lacks = self.create(), [], 0
            for i in range(5):
                new = ids(30 + 20 * i, 200 + i)
                r = self.turn(s, new, **ask)
                self.assertEqual(r["session"]["persist"], "durable")
                self.assertLessEqual(self.cost(r), lacks + len(new))
                want = plain.complete(path + new, max_tokens=8, temperature=0, ignore_eos=True,
                                      **ask)["choices"][0]
                self.assertEqual(r["choices"][0]["logprobs"], want["logprobs"])
                path += new + want["token_ids"]
                self.kill_and_restart()
                at = self.s.get("/v1/sessions/" + s)[1]
                self.assertEqual((at["position"], at["turns"]), (len(path), i + 1))
                self.assertEqual(at["persist"], "durable")
                lacks = len(path)
            gone = self.create()
            self.turn(gone, ids(20, 300))
            reply = json.loads(self.s.request("DELETE", "/v1/sessions/" + gone)[2])
            self.assertEqual((reply["deleted"], reply["persist"]), (True, "durable"))
            self.kill_and_restart()
            self.assertEqual(self.s.request("GET", "/v1/sessions/" + gone)[0], 404)
        finally:
            self.assertEqual(plain.stop(), 0)

    def test_a_clean_end_leaves_no_log(self):
        s = self.create()
        self.turn(s, ids(40, 1))
        self.assertEqual(self.s.stop(), 0)
        self.assertEqual(os.listdir(os.path.join(self.dir, "log")), [])
        self.s = self.start()
        self.assertEqual(self.cost(self.turn(s, ids(5, 2))), 5)

    def test_answers_do_not_depend_on_how_the_state_came_about(self):
        plain = Server(["--model", self.model, "--state-memory", "0"])
        try:
            s, path = self.create(), []
            for i in range(6):
                new = ids(40 + 30 * i, 100 + i)
                r = self.turn(s, new, 12, logprobs=3, return_token_ids=True)
                c = r["choices"][0]
                want = plain.complete(path + new, max_tokens=12, temperature=0, ignore_eos=True,
                                      logprobs=3, return_token_ids=True)["choices"][0]
                self.assertEqual(c["token_ids"], want["token_ids"])
                self.assertEqual(c["logprobs"]["token_logprobs"],
                                 want["logprobs"]["token_logprobs"])
                path += new + c["token_ids"]
                if i == 1:
                    self.kill_and_restart()
                if i == 2:
                    s = self.s.post("/v1/sessions/%s/fork" % s, {})["id"]
                if i == 3:
                    s = self.moved(s)
                if i == 4:
                    self.s.post("/v1/sessions/%s/rewind" % s, {"position": len(path) - 5})
                    path = path[:-5]
        finally:
            self.assertEqual(plain.stop(), 0, plain.text()[-3000:])

    def moved(self, s):
        status, headers, blob = self.s.request("GET", "/v1/sessions/%s/state" % s)
        self.assertEqual((status, headers["content-type"]), (200, "application/octet-stream"))
        self.assertEqual(self.s.request("DELETE", "/v1/sessions/" + s)[0], 200)
        octets = {"Content-Type": "application/octet-stream"}
        status, _, body = self.s.request("PUT", "/v1/sessions", blob, octets)
        self.assertEqual(status, 200, body)
        bad = bytearray(blob)
        bad[len(bad) // 2] ^= 1
        self.assertEqual(self.s.request("PUT", "/v1/sessions", bytes(bad), octets)[0], 400)
        return json.loads(body)["id"]

    def test_a_fork_leaves_the_first_one_alone(self):
        s = self.create()
        self.turn(s, ids(300, 5))
        f = self.s.post("/v1/sessions/%s/fork" % s, {})
        self.assertEqual((f["position"], f["turns"]), (308, 1))
        self.assertEqual(self.cost(self.turn(f["id"], ids(20, 6))), 20)
        self.assertEqual(self.s.get("/v1/sessions/" + s)[1]["position"], 308)
        self.assertEqual(self.cost(self.turn(s, ids(30, 7))), 30)

    def test_a_repeated_turn_has_its_logprobs(self):
        """The same numbers, whichever way it is asked for; null where none were kept."""
        s = self.create()

        def ask(path="/v1/completions", again="t1", **more):
            body = dict(session=s, turn_id=again, max_tokens=8, seed=3, temperature=0.9, **more)
            if path == "/v1/completions":
                body["prompt"] = ids(40, 5)
            else:
                body["messages"] = [{"role": "user", "content": "Hello."}]
            return self.s.post(path, body)["choices"][0]
        first = ask(logprobs=3)
        self.assertEqual(len(first["logprobs"]["tokens"]), 8)
        self.assertEqual(ask(logprobs=3), first)
        self.kill_and_restart()
        self.assertEqual(ask(logprobs=3), first)
        less = ask(logprobs=1)["logprobs"]
        self.assertEqual(less["token_logprobs"], first["logprobs"]["token_logprobs"])
        self.assertTrue(all(len(t) <= 2 for t in less["top_logprobs"]))
        self.assertIsNone(ask()["logprobs"])
        if self.model != HYBRID:  # which has no tokenizer
            chat = ask("/v1/chat/completions", "t2", logprobs=True, top_logprobs=2)
            self.assertEqual(len(chat["logprobs"]["content"]), 8)
            self.assertEqual(ask("/v1/chat/completions", "t2", logprobs=True, top_logprobs=2), chat)
        # Not asked for then.
        ask(again="t3")
        self.assertIsNone(ask(again="t3", logprobs=2)["logprobs"])

    def test_a_repeated_turn_is_answered_from_the_first(self):
        s = self.create()
        a = self.turn(s, ids(100, 8), turn_id="t1", expected_position=0)
        for _ in range(2):
            b = self.turn(s, ids(100, 8), turn_id="t1", expected_position=0)
            self.assertEqual(b["choices"], a["choices"])
            self.assertEqual(b["usage"], a["usage"])
            self.kill_and_restart(settled=True)
        events = list(Stream(self.s, "/v1/completions", dict(
            prompt=ids(100, 8), session=s, turn_id="t1", stream=True, max_tokens=8)).events())
        self.assertEqual("".join(e["choices"][0]["text"] for e in events if e["choices"]),
                         a["choices"][0]["text"])
        self.assertEqual(self.s.get("/v1/sessions/" + s)[1]["position"], 108)
        r = self.s.complete(ids(5, 9), 412, session=s, expected_position=100)
        self.assertEqual(r["error"]["param"], "expected_position")
        self.s.post("/v1/sessions/%s/rewind" % s, {"position": 0})
        at = {"expected_position": 0, "expected_generation": a["session"]["generation"]}
        r = self.s.complete(ids(100, 8), 412, session=s, turn_id="t1", **at) # it arrives late
        self.assertEqual(r["error"]["param"], "expected_generation")
        self.turn(s, ids(100, 8), turn_id="t1", expected_generation=at["expected_generation"] + 1)
        self.assertEqual(self.cost(self.turn(s, ids(5, 9), turn_id="t2",
                                             expected_position=108)), 5)

    def test_chat_turns_send_only_the_new_message(self):
        s, costs = self.create(), []
        for q in ("Tell me a story about a cat.", "And a dog?", "What happened then?"):
            r = self.s.chat(q, session=s, max_tokens=20, temperature=0)
            costs.append(self.cost(r))
            self.assertEqual(r["session"]["position"], r["usage"]["total_tokens"])
        self.assertLess(max(costs), 30)

    def test_unknown_and_malformed_ids_are_404(self):
        for path in ("/v1/sessions/" + "0" * 32, "/v1/sessions/" + "0" * 31,
                     "/v1/sessions/" + "g" * 32):
            self.assertEqual(self.s.request("GET", path)[0], 404)
            self.assertEqual(self.s.request("DELETE", path)[0], 404)
        r = self.s.complete([5, 6, 7], 404, session="0" * 32)
        self.assertEqual(r["error"]["code"], "session_not_found")
        self.assertEqual(self.s.request("GET", "/v1/sessions/%s/nothing" % ("0" * 32))[0], 404)
        self.assertEqual(self.s.request("GET", "/v1/sessions/%s/fork" % ("0" * 32))[0], 405)

    def test_lists_have_pages(self):
        made = sorted(self.create() for _ in range(7))
        _, page = self.s.get("/v1/sessions?limit=5")
        self.assertTrue(page["has_more"])
        _, rest = self.s.get("/v1/sessions?limit=5&after=" + page["data"][-1]["id"])
        self.assertFalse(rest["has_more"])
        self.assertEqual([x["id"] for x in page["data"] + rest["data"]], made)

    def test_a_client_that_leaves_does_not_block_its_session(self):
        s = self.create()
        self.turn(s, ids(100, 10))
        stream = Stream(self.s, "/v1/completions",
                        dict(prompt=ids(200, 11), session=s, max_tokens=self.endless, stream=True,
                             ignore_eos=True))
        next(stream.frames())
        busy = self.s.complete([5], 409, session=s)
        self.assertEqual(busy["error"]["code"], "session_busy")
        stream.reset()
        wait_for(lambda: not self.s.get("/v1/sessions/" + s)[1]["busy"])
        self.assertEqual(self.s.get("/v1/sessions/" + s)[1]["position"], 108)
        self.assertEqual(self.cost(self.turn(s, ids(10, 12))), 10)

    def test_many_sessions_at_once_keep_apart(self):
        sessions = [self.create() for _ in range(8)]
        answers = {}

        def work(i):
            r = random.Random(i)
            out = []
            for t in range(4):
                n = r.randrange(10, 90)
                c = self.turn(sessions[i], ids(n, 50 + i // 2 * 10 + t), 6)["choices"][0]["text"]
                out.append(c)
            answers[i] = out

        # Sessions 2k and 2k + 1 get the same tokens only if their lengths agree: they do not.
        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(len(answers), 8)
        for i in range(8):
            at = self.s.get("/v1/sessions/" + sessions[i])[1]
            self.assertEqual((at["turns"], at["persist"]), (4, "durable"))


class SessionsOfRwkv7(Sessions):
    model = DEMO7


class SessionsOfAHybrid(Sessions):
    model = HYBRID
    endless = 30000  # of a context of 32,768: nobody reads them

    def test_the_end_of_the_context_is_told(self):
        self.assertEqual(self.s.stop(), 0)
        self.s = self.start("--context", "256")
        s = self.create()
        self.turn(s, ids(200, 1))
        r = self.s.complete(ids(50, 2), 400, session=s)
        self.assertEqual(r["error"]["code"], "context_length_exceeded")
        self.assertEqual(self.cost(self.turn(s, ids(20, 3), 4)), 20)

    test_chat_turns_send_only_the_new_message = None  # it has no tokenizer


if __name__ == "__main__":
    unittest.main()
