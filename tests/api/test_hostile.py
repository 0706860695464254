"""The facts of the hostile campaign (tests/hostile), and what keys are allowed a minute."""
import os
import sys
import unittest

import common
from common import ROOT
from keyed import Keyed, line

sys.path.insert(0, os.path.join(ROOT, "tests", "hostile"))
import probes  # noqa: E402
import memory  # noqa: E402,F401  they add theirs
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
