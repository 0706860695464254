"""The facts of the hostile campaign (tests/hostile), and what keys are allowed a minute."""
import os
import shutil
import signal
import sys
import tempfile
import unittest

import common
from common import DEMO, ROOT, Server, Settings, wait_for
from keyed import Keyed, line

sys.path.insert(0, os.path.join(ROOT, "tests", "hostile"))
import probes  # noqa: E402
import faults  # noqa: E402  they add theirs
import memory  # noqa: E402,F401
import wire  # noqa: E402,F401


class Campaign(unittest.TestCase):
    """One test a probe: order and counts. The times are printed; make hostile has their bounds."""


def add(name, run):
    def test(self):
        if common.Settings.slow:
            self.skipTest("hundreds of clients are too many for a sanitizer")
        r = run()
        print("\n%s: %s" % (name, r.figure))
        for what, so in r.facts:
            self.assertTrue(so, "not so: " + what)
    test.__doc__ = run.__doc__
    setattr(Campaign, "test_" + name, test)


for name, run, long in probes.PROBES:
    if not long:
        add(name, run)


@unittest.skipIf(Settings.slow, "the heap is the sanitizer's")
class Shares(unittest.TestCase):
    """What the campaign judges by time or size, as a share of something of the same machine."""

    def start(self, *args, **named):
        s = Server(list(args), **named)
        self.addCleanup(lambda: s.stop(9))
        return s

    def memory(self, s, what):
        with open("/proc/%d/status" % s.proc.pid) as f:
            return [int(x.split()[1]) for x in f if x.startswith(what)][0] / 1024

    def test_large_json_gives_its_memory_back(self):
        """R15: what stays is a small share of what it took, and the same after the tenth time."""
        s = self.start("--model", DEMO)
        s.request("POST", "/tokenize", {"prompt": "a"})
        before = self.memory(s, "VmRSS")
        body = b'{"prompt":[' + b",".join([b"{}"] * 599999) + b"]}"
        for _ in range(10):
            self.assertEqual(s.request("POST", "/tokenize", body)[0], 400)
        took = self.memory(s, "VmHWM") - before
        self.assertGreater(took, 50)
        wait_for(lambda: self.memory(s, "VmRSS") - before < took / 5)

    def test_a_hostile_pattern_is_given_up(self):
        """R24: by its steps, and in less time than good text of some pages takes."""
        d = tempfile.mkdtemp(prefix="recurd-pattern-")
        self.addCleanup(shutil.rmtree, d)
        faults.with_pattern(d, faults.HOSTILE)
        s = self.start("--model", d)
        good, status, _ = faults.processor_time(s, "aab" * 60000)
        self.assertEqual(status, 200)
        for text in ("a" * 26, "a" * 3000):
            bad, status, reply = faults.processor_time(s, text)
            self.assertEqual(status, 400)
            self.assertIn(b"more than the 500000 steps", reply)
            self.assertLess(bad, good)

    def test_a_hung_engine_is_seen(self):
        """R27: its clock is moved on in steps that are no freeze (4 s), a request between them."""
        d = tempfile.mkdtemp(prefix="recurd-hung-")
        self.addCleanup(shutil.rmtree, d)
        clock = faults.Clock(d)
        s = self.start("--model", DEMO, "--threads", "1", env=clock.env)
        a = probes.Attack(s)
        self.addCleanup(a.close)
        a.post(dict(probes.LONG, max_tokens=1000000, stream=False))
        wait_for(lambda: s.metrics()["recurd_requests_running"])
        hung = faults.Hung(s)
        if not hung.tid:
            self.skipTest("this process may not trace another")
        self.addCleanup(hung.go_on)
        seen = {}
        for seconds in range(0, 61, 3):
            clock.pass_by(seconds)
            for path in "/livez", "/readyz":
                if s.request("GET", path)[0] == 503:
                    seen.setdefault(path, seconds)
        # It says so after 30 s; some have passed by themselves.
        self.assertEqual(sorted(seen), ["/livez", "/readyz"])
        self.assertLessEqual(max(seen.values()), 33)
        hung.go_on()
        wait_for(lambda: s.get("/livez")[0] == 200)

    def test_an_unfinished_body_does_not_hold_a_stop(self):
        """R28: the drain would take an hour."""
        s = self.start("--model", DEMO, "--drain", "3600")
        c = s.connect()
        self.addCleanup(c.close)
        c.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  b"Content-Length: 1000\r\n\r\n{")
        wait_for(lambda: s.metrics()["recurd_http_connections"] == 2)
        s.proc.send_signal(signal.SIGTERM)
        self.assertEqual(s.proc.wait(Settings.patience(60)), 0)


class Minutes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.k = Keyed(line("few", more="requests-a-minute=3") +
                      line("tokens", more="tokens-a-minute=50") + line("free") +
                      line("ahead", more="priority weight=3 queue=2"))

    @classmethod
    def tearDownClass(cls):
        cls.k.close()

    def ask(self, name, **fields):
        body = dict({"prompt": "a", "max_tokens": 1, "ignore_eos": True}, **fields)
        return self.k.client(name).request("POST", "/v1/completions", body)

    def test_requests_a_minute(self):
        for left in (2, 1, 0):
            status, h, _ = self.ask("few")
            self.assertEqual((status, h["x-ratelimit-limit-requests"],
                              h["x-ratelimit-remaining-requests"]), (200, "3", str(left)))
        status, h, body = self.ask("few")
        self.assertEqual(status, 429)
        self.assertIn(b"rate_limit_exceeded", body)
        self.assertTrue(1 <= int(h["retry-after"]) <= 20, h["retry-after"])
        self.assertTrue(h["x-ratelimit-reset-requests"].endswith("s"))

    def test_tokens_a_minute_are_those_that_were_computed(self):
        status, h, _ = self.ask("tokens", max_tokens=80)
        self.assertEqual(status, 200)
        status, h, _ = self.ask("tokens")
        self.assertEqual((status, h["x-ratelimit-remaining-tokens"]), (429, "0"))
        self.assertTrue(1 <= int(h["retry-after"]) <= 40, h["retry-after"])

    def test_keys_without_limits_hear_of_none(self):
        for name in ("free", "ahead"):
            status, h, _ = self.ask(name, priority=-5)
            self.assertEqual(status, 200)
            self.assertFalse([x for x in h if x.startswith("x-ratelimit")])


if __name__ == "__main__":
    unittest.main()
