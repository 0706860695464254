"""kill -9 under load, again and again: no acknowledged turn is lost, a turn that was sent again by a
client that saw its connection die is done once, and a prompt of no session is answered as before.
RECURD_KILLS=100 for the long run (tests/long)."""
import http.client
import json
import os
import random
import shutil
import tempfile
import threading
import time
import unittest

from common import DEMO, Server, Settings, free_port, wait_for
from test_cache import HYBRID, ids

KILLS = int(os.environ.get("RECURD_KILLS", "4"))
WHOLE = dict(temperature=0, ignore_eos=True, return_token_ids=True, logprobs=2)


class Plain:
    """What was answered to prompts of no session, and by whom."""

    def __init__(self):
        self.told, self.again = [], 0
        self.written = None  # what is on disk now that a kill leaves: a prompt and its answer

    def first(self, server):
        """The first one that this server answered, and the answer. Not the last: what is written
        behind has its rate (statecache/README.md), and here is more."""
        return next((x[:2] for x in self.told if x[2] is server), None)


class Kill(unittest.TestCase):
    def run_one(self, model, clients):
        self.dir = tempfile.mkdtemp(prefix="recurd-kill-")
        # Room for the longest conversation of the long run.
        self.args = ["--model", model, "--slots", "4", "--context", "32768", "--state-dir", self.dir,
                     "--listen", "127.0.0.1:%d" % free_port()]
        self.server = Server(self.args)
        self.done, self.calm = threading.Event(), threading.Event()
        self.calm.set()
        self.faults, self.turns, self.plain = [], 0, Plain()
        paths = [[] for _ in range(clients)]
        sessions = [self.server.post("/v1/sessions", {})["id"] for _ in range(clients)]
        jobs = [(self.client, (i, sessions[i], paths[i])) for i in range(clients)]
        jobs += [(self.asker, (i,)) for i in range(2)]
        threads = [threading.Thread(target=f, args=a, daemon=True) for f, a in jobs]
        for t in threads:
            t.start()
        r = random.Random(len(model))
        try:
            for i in range(KILLS):
                time.sleep(Settings.patience(r.uniform(0.1, 1.2)))
                if i % 4 == 3 and not self.faults:
                    self.let_states_follow()
                self.kill()
                self.calm.set()
        finally:
            self.done.set()
            self.calm.set()
        for t in threads:
            t.join()
        self.assertEqual(self.faults, [])
        self.assertGreater(self.turns, KILLS)
        self.check(model, sessions, paths)
        metrics = self.server.metrics()
        self.assertEqual(self.server.stop(), 0)
        shutil.rmtree(self.dir)
        print("\n%d x kill -9: %d turns acknowledged and none lost, %d plain prompts answered; %d whose "
              "states were written before a kill were asked again, and all of each was known" %
              (KILLS, self.turns, len(self.plain.told), self.plain.again))
        self.assertGreaterEqual(self.plain.again, KILLS // 4)
        self.assertEqual(metrics["recurd_cache_write_errors_total"], 0)

    def let_states_follow(self):
        """Those of a prompt that was computed under load; however slow the disk is. At any other
        moment nobody knows what a kill leaves."""
        wait_for(lambda: self.plain.first(self.server))
        self.calm.clear()
        self.server.wait_written()
        self.plain.written = self.plain.first(self.server)

    def kill(self):
        self.server.kill()
        self.server = Server(self.args)
        if not self.plain.written:
            return
        prompt, before = self.plain.written
        self.plain.written = None
        r = self.server.complete(prompt, max_tokens=4, return_cache_details=True, **WHOLE)
        self.plain.again += 1
        known = r["usage"]["prompt_tokens_details"]
        self.assertEqual(known["cached_tokens"], len(prompt), known)
        self.assertEqual(r["choices"][0], before)

    def sent_until_answered(self, what, body):
        """-> (the reply, who gave it), or (None, …): what was answered is a fault, or the end."""
        while True:
            self.calm.wait()
            server = self.server
            try:
                status, _, data = server.request("POST", "/v1/completions", body)
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
                continue
            if status in (409, 503):
                time.sleep(0.05)
                continue
            if status == 200:
                return json.loads(data), server
            self.faults.append("%s: %d %s" % (what, status, data[:300]))
            return None, server

    def client(self, i, session, path):
        turn = 0
        while not self.done.is_set():
            turn += 1
            new = ids(20 + (7 * turn + i) % 90, 1000 * i + turn)
            body = dict(WHOLE, prompt=new, session=session, turn_id="t%d" % turn, max_tokens=6,
                        expected_position=len(path))
            reply, _ = self.sent_until_answered("client %d turn %d" % (i, turn), body)
            if not reply:
                return
            path += new + reply["choices"][0]["token_ids"]
            self.turns += 1

    def asker(self, i):
        """Prompts of no session, one after the other."""
        n = 0
        while not self.done.wait(0.1):
            n += 1
            prompt = ids(150 + 13 * n % 200, 100000 * (i + 1) + n)
            reply, who = self.sent_until_answered("prompt %d" % n, dict(WHOLE, prompt=prompt,
                                                                        max_tokens=4))
            if not reply:
                return
            self.plain.told.append((prompt, reply["choices"][0], who))

    def check(self, model, sessions, paths):
        plain = Server(["--model", model, "--state-memory", "0", "--context", "32768"])
        for session, path in zip(sessions, paths):
            at = self.server.get("/v1/sessions/" + session)[1]
            self.assertEqual(at["position"], len(path))
            ask = dict(WHOLE, max_tokens=5)
            mine = self.server.complete([9, 8, 7], session=session, **ask)["choices"][0]
            want = plain.complete(path + [9, 8, 7], **ask)["choices"][0]
            for what in ("token_ids", "text", "logprobs"):
                self.assertEqual(mine[what], want[what])
        told = self.plain.told
        for prompt, choice, _ in told[::1 + len(told) // 10]:
            want = plain.complete(prompt, max_tokens=4, **WHOLE)["choices"][0]
            self.assertEqual(choice, want)
        self.assertEqual(plain.stop(), 0)

    def test_recurrent_model(self):
        self.run_one(DEMO, 4)

    def test_hybrid_model(self):
        self.run_one(HYBRID, 4)


if __name__ == "__main__":
    unittest.main()
