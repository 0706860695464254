"""kill -9 under load, again and again: no acknowledged turn is lost, and a turn that was sent again
by a client that saw its connection die is done once. RECURD_KILLS=100 for the long run."""
import http.client
import json
import os
import random
import shutil
import signal
import socket
import tempfile
import threading
import time
import unittest

from common import DEMO, Server, Settings
from test_cache import HYBRID, ids

KILLS = int(os.environ.get("RECURD_KILLS", "4"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Kill(unittest.TestCase):
    def run_one(self, model, clients):
        self.dir = tempfile.mkdtemp(prefix="recurd-kill-")
        # Room for the longest conversation of the long run.
        self.args = ["--model", model, "--slots", "4", "--context", "32768", "--state-dir", self.dir,
                     "--listen", "127.0.0.1:%d" % free_port()]
        self.server = Server(self.args)
        self.done = threading.Event()
        self.faults, self.turns = [], 0
        paths = [[] for _ in range(clients)]
        sessions = [self.server.post("/v1/sessions", {})["id"] for _ in range(clients)]
        threads = [threading.Thread(target=self.client, args=(i, sessions[i], paths[i]))
                   for i in range(clients)]
        for t in threads:
            t.start()
        r = random.Random(len(model))
        for _ in range(KILLS):
            time.sleep(Settings.patience(r.uniform(0.1, 1.2)))
            self.server.proc.send_signal(signal.SIGKILL)
            self.server.proc.wait()
            self.server = Server(self.args)
        self.done.set()
        for t in threads:
            t.join()
        self.assertEqual(self.faults, [])
        self.assertGreater(self.turns, KILLS)
        self.check(model, sessions, paths)
        metrics = self.server.metrics()
        self.assertEqual(self.server.stop(), 0)
        shutil.rmtree(self.dir)
        self.assertEqual(metrics["recurd_cache_write_errors_total"], 0)

    def client(self, i, session, path):
        turn = 0
        while not self.done.is_set():
            turn += 1
            new = ids(20 + (7 * turn + i) % 90, 1000 * i + turn)
            body = dict(prompt=new, session=session, turn_id="t%d" % turn, max_tokens=6,
                        expected_position=len(path), temperature=0, ignore_eos=True,
                        return_token_ids=True)
            reply = None
            while reply is None:
                try:
                    status, _, data = self.server.request("POST", "/v1/completions", body)
                except (OSError, http.client.HTTPException):
                    time.sleep(0.05)
                    continue
                if status in (409, 503):
                    time.sleep(0.05)
                    continue
                if status != 200:
                    self.faults.append("client %d turn %d: %d %s" % (i, turn, status, data[:300]))
                    return
                reply = json.loads(data)
            path += new + reply["choices"][0]["token_ids"]
            self.turns += 1

    def check(self, model, sessions, paths):
        plain = Server(["--model", model, "--state-memory", "0", "--context", "32768"])
        for session, path in zip(sessions, paths):
            at = self.server.get("/v1/sessions/" + session)[1]
            self.assertEqual(at["position"], len(path))
            ask = dict(max_tokens=5, temperature=0, ignore_eos=True, logprobs=3)
            mine = self.server.complete([9, 8, 7], session=session, **ask)["choices"][0]
            want = plain.complete(path + [9, 8, 7], **ask)["choices"][0]
            self.assertEqual(mine["logprobs"]["token_logprobs"],
                             want["logprobs"]["token_logprobs"])
            self.assertEqual(mine["text"], want["text"])
        self.assertEqual(plain.stop(), 0)

    def test_recurrent_model(self):
        self.run_one(DEMO, 4)

    def test_hybrid_model(self):
        self.run_one(HYBRID, 4)


if __name__ == "__main__":
    unittest.main()
