"""While the model loads: what a probe, a client, the service manager and a terminal hear."""
import http.client
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest

import common
from common import DEMO, Settings, command
from test_process import Manager

# Making 4-bit weights by search on one thread is slow, at any size.
CONFIG = {"model_type": "rwkv7", "vocab_size": 4096, "hidden_size": 512, "num_hidden_layers": 8,
          "head_dim": 64, "intermediate_size": 2048, "decay_low_rank_dim": 32, "a_low_rank_dim": 32,
          "v_low_rank_dim": 32, "gate_low_rank_dim": 64, "norm_first": True, "norm_bias": True,
          "tie_word_embeddings": False, "eos_token_id": 0}
SLOW = ["--load-format", "dummy", "--quantize", "q4", "--threads", "1", "--slots", "1"]


class Loading(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="recurd-loading-")
        self.addCleanup(shutil.rmtree, self.dir)

    def model(self, layers):
        d = os.path.join(self.dir, "model")
        os.makedirs(d, exist_ok=True)
        with open(os.path.join(d, "config.json"), "w") as f:
            json.dump(dict(CONFIG, num_hidden_layers=layers), f)
        return d

    def start(self, *args, env=None):
        """A daemon that has begun to load; -> its port (0: a Unix socket)."""
        if "--listen" not in args:
            args = args + ("--listen", "127.0.0.1:0")
        self.log = open(os.path.join(self.dir, "log"), "w+")
        self.addCleanup(self.log.close)
        self.proc = subprocess.Popen(command(list(args)), stdout=self.log, stderr=self.log,
                                     env=dict(os.environ, **(env or {})))
        self.addCleanup(lambda: self.proc.poll() is None and (self.proc.kill(), self.proc.wait()))
        end = time.time() + Settings.patience(20)
        while time.time() < end and self.proc.poll() is None:
            found = re.search(r"loading \S+; (\S+)/health", self.text())
            if found:
                return int(found.group(1).rsplit(":", 1)[1]) if "http:" in found.group(1) else 0
            time.sleep(0.005)
        self.fail("it does not load: " + self.text())

    def text(self):
        with open(self.log.name) as f:
            return f.read()

    def ask(self, port, path, method="GET", body=None, headers=None):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=Settings.patience(30))
        try:
            c.request(method, path, body, headers or {})
            r = c.getresponse()
            return r.status, {k.lower(): v for k, v in r.getheaders()}, json.loads(r.read())
        finally:
            c.close()

    def test_probes_and_clients_are_answered_until_it_serves(self):
        port = self.start("--model", self.model(8), *SLOW)
        seen, stages = [], set()
        status, headers, body = self.ask(port, "/v1/completions", "POST",
                                         json.dumps({"prompt": [1], "max_tokens": 1}),
                                         {"Content-Type": "application/json"})
        self.assertEqual((status, body["error"]["code"]), (503, "loading"), self.text())
        self.assertGreaterEqual(int(headers["retry-after"]), 1)
        self.assertEqual(headers["x-should-retry"], "true")
        self.assertEqual(self.ask(port, "/v1/models")[0], 503)
        self.assertEqual(self.ask(port, "/metrics")[0], 503)
        self.assertEqual(self.ask(port, "/nowhere")[0], 404)
        self.assertEqual(self.ask(port, "/livez")[::2], (200, {"status": "loading"}))
        self.assertEqual(self.ask(port, "/readyz")[0], 503)
        end = time.time() + Settings.patience(120)
        while time.time() < end:
            status, headers, body = self.ask(port, "/health")
            if status == 200:
                break
            self.assertEqual((status, body["status"]), (503, "loading"))
            self.assertRegex(body["error"]["message"], r"^loading(, \d+ %|: .+)$")
            self.assertIn("retry-after", headers)
            stages.add(body["stage"])
            if body["stage"] == "making random weights":
                seen.append(body["progress"])
            time.sleep(0.02)
        self.assertEqual(status, 200, self.text())
        self.assertEqual(seen, sorted(seen))
        self.assertGreater(len(set(seen)), 3, seen)
        self.assertTrue(all(0 <= p <= 1 for p in seen))
        self.assertEqual(self.ask(port, "/readyz")[0], 200)
        self.assertEqual(self.ask(port, "/v1/models")[0], 200)
        status, _, body = self.ask(port, "/v1/completions", "POST",
                                   json.dumps({"prompt": [1], "max_tokens": 1}),
                                   {"Content-Type": "application/json"})
        self.assertEqual(status, 200, body)
        self.proc.send_signal(signal.SIGTERM)
        self.assertEqual(self.proc.wait(Settings.patience(20)), 0, self.text())

    def test_keys_are_not_looked_at_before_there_is_something_to_guard(self):
        port = self.start("--model", self.model(200), *SLOW, env={"RECURD_API_KEY": "s" * 32})
        self.assertEqual(self.ask(port, "/v1/models")[0], 503)
        self.proc.send_signal(signal.SIGTERM)
        self.assertEqual(self.proc.wait(Settings.patience(20)), 0, self.text())

    def test_sigterm_stops_it_promptly_and_a_second_one_at_once(self):
        path = os.path.join(self.dir, "sock")
        for listen, signals in (("127.0.0.1:0", 1), ("unix:" + path, 2)):
            self.start("--model", self.model(200), "--listen", listen, *SLOW)
            time.sleep(0.3)
            for _ in range(signals):
                self.proc.send_signal(signal.SIGTERM)
                time.sleep(0.05)
            self.assertEqual(self.proc.wait(Settings.patience(20)), 0, self.text())
            self.assertIn("stopped while loading", self.text())
            self.assertFalse(os.path.exists(path))

    def test_a_fault_in_the_weights_ends_it_with_its_sentence(self):
        d = os.path.join(self.dir, "copy")
        shutil.copytree(DEMO, d)
        path = os.path.join(d, "model.safetensors")
        with open(path, "r+b") as f:
            n = struct.unpack("<Q", f.read(8))[0]
            table = json.loads(f.read(n))
            table.pop("__metadata__", None)
            # Two faults: whichever thread meets which, the first in the plan's order is told.
            names = sorted(table)
            for name in (names[-1], names[0]):
                f.seek(8 + n + table[name]["data_offsets"][0])
                f.write(b"\xff\xff")
        told = set()
        for threads in ("1", "2", "7"):
            p = subprocess.run(command(["--model", d, "--listen", "127.0.0.1:0", "--threads",
                                        threads]), capture_output=True, text=True,
                               timeout=Settings.patience(30))
            self.assertEqual(p.returncode, 4, p.stderr)
            lines = [l for l in p.stderr.splitlines() if l.startswith("recurd: ")]
            self.assertEqual(len(lines), 1, p.stderr)
            self.assertIn("is not a finite number", lines[0])
            told.add(lines[0])
        self.assertEqual(len(told), 1, told)

    def test_the_service_manager_hears_how_far_it_is(self):
        m = Manager()
        self.addCleanup(m.close)
        self.start("--model", self.model(40), *SLOW, env={"NOTIFY_SOCKET": m.path})
        first = m.wait_for("STATUS=loading")
        self.assertNotIn("READY=1", first)
        self.assertIn("EXTEND_TIMEOUT_USEC=", first)
        m.wait_for("%")
        self.proc.send_signal(signal.SIGTERM)
        m.wait_for("STOPPING=1")
        self.assertEqual(self.proc.wait(Settings.patience(20)), 0, self.text())

    def test_a_terminal_has_a_line_that_goes_when_it_is_done(self):
        ours, theirs = pty.openpty()
        self.proc = subprocess.Popen(command(["--model", self.model(8), "--listen", "127.0.0.1:0"] + SLOW),
                                     stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.addCleanup(lambda: self.proc.poll() is None and (self.proc.kill(), self.proc.wait()))
        got = b""
        end = time.time() + Settings.patience(120)
        while b"serving" not in got and time.time() < end:
            try:
                got += os.read(ours, 4096)
            except OSError:
                break
        self.proc.send_signal(signal.SIGTERM)
        self.proc.wait(Settings.patience(20))
        os.close(ours)
        self.assertRegex(got, rb"\r\x1b\[Kloading, \d+ % \(making random weights, \d+ of \d+ MiB\)")
        last = got.rindex(b"\x1b[Kloading")
        self.assertIn(b"\r\x1b[K", got[last + 3:got.index(b"serving")])

    def test_the_same_bits_for_any_number_of_threads(self):
        d, texts = self.model(4), set()
        for threads in ("1", "2", "5"):
            s = common.Server(["--model", d, "--load-format", "dummy", "--slots", "1",
                               "--threads", threads])
            r = s.post("/v1/completions", {"prompt": [1, 2, 3], "max_tokens": 8, "temperature": 0,
                                           "logprobs": 3, "return_token_ids": True})
            texts.add(json.dumps([r["choices"], r["system_fingerprint"]]))
            self.assertEqual(s.stop(), 0)
        self.assertEqual(len(texts), 1, texts)

    def test_newcomers_wait_behind_the_service_managers_socket(self):
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        with open(os.path.join(self.dir, "log2"), "w+") as log:
            script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec 3<&%d; exec \"$@\"" % listener.fileno()
            p = subprocess.Popen(["bash", "-c", script, "sh"] + command(["--model", self.model(2)] + SLOW),
                                 stdout=log, stderr=log, pass_fds=[listener.fileno()])
            try:
                try:
                    status, _, _ = self.ask(listener.getsockname()[1], "/health")
                except OSError as e:
                    self.fail("%s: %s" % (e, open(log.name).read()))
                self.assertEqual(status, 200)
                p.send_signal(signal.SIGTERM)
                self.assertEqual(p.wait(Settings.patience(20)), 0)
            finally:
                if p.poll() is None:
                    p.kill()
                    p.wait()
        listener.close()


if __name__ == "__main__":
    unittest.main()
