"""States are shared between settings exactly when their arithmetic has the same bits.

One state folder; the daemon is started on it again with one setting changed. What the changed
daemon computes by itself, in a folder of its own, says what is right.
"""
import os
import re
import tempfile
import unittest

from common import DEMO7, ROOT, Server, Settings

NEXT = os.path.join(os.path.dirname(Settings.recurd), "tests", "recurd-next")
PROMPT = list(range(5, 62))
ROPE = os.path.join(ROOT, "tests", "golden", "hf", "hf_qwen3_5")


def cpu_has(flag):
    with open("/proc/cpuinfo") as f:
        return re.search(r"\b%s\b" % flag, f.read()) is not None


class Numerics(unittest.TestCase):
    model = DEMO7

    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.dir = os.path.join(self.tmp.name, "states")

    def tearDown(self):
        self.tmp.cleanup()

    def start(self, *flags, folder=None, program=None):
        before = Settings.recurd
        Settings.recurd = program or before
        try:
            return Server(["--model", self.model, "--state-dir", folder or self.dir,
                           "--log-level", "debug"] + list(flags))
        finally:
            Settings.recurd = before

    def look(self, *flags, folder=None, program=None):
        """-> cached tokens, ids, logprobs, the reasons of misses, the arithmetic, the log"""
        s = self.start(*flags, folder=folder, program=program)
        r = s.complete(PROMPT, max_tokens=4, temperature=0, logprobs=1)
        m = s.metrics()
        reasons = {k: v for k, v in m.items() if k.startswith("recurd_cache_misses_total") and v}
        self.assertEqual(s.stop(), 0, s.text())
        c = r["choices"][0]
        name = re.search(r"arithmetic: (.*)", s.text()).group(1)
        return (r["usage"]["prompt_tokens_details"]["cached_tokens"], c["logprobs"]["tokens"],
                c["logprobs"]["token_logprobs"], reasons, name, s.text())

    def change(self, first, then, program=None):
        """Both settings in folders of their own, then the second one in the first one's folder."""
        with tempfile.TemporaryDirectory() as other:
            alone = self.look(*then, folder=other, program=program)
        made = self.look(*first)
        again = self.look(*then, program=program)
        # Whatever is shared or refused, the answer is that of the arithmetic that runs.
        self.assertEqual(again[1:3], alone[1:3])
        return made, again

    def shared(self, first, then):
        made, again = self.change(first, then)
        self.assertEqual(made[4], again[4])
        self.assertEqual(made[2], again[2])
        self.assertEqual(again[0], len(PROMPT))
        self.assertEqual(again[3], {})

    def refused(self, first, then, program=None):
        made, again = self.change(first, then, program)
        self.assertNotEqual(made[4], again[4])
        self.assertEqual(again[0], 0)
        self.assertEqual(again[3], {'recurd_cache_misses_total{reason="numerics"}': 1})
        self.assertIn('made by the arithmetic "%s", and this server has "%s"' %
                      (made[4], again[4]), again[5])
        # … and nothing was lost: the first one goes on with what it made.
        self.assertEqual(self.look()[0] if not first else self.look(*first)[0], len(PROMPT))

    def test_the_same_setting(self):
        self.shared(["--device", "cpu"], ["--device", "cpu"])

    def test_threads(self):
        self.shared(["--device", "cpu", "--threads", "1"], ["--device", "cpu", "--threads", "3"])

    @unittest.skipUnless(cpu_has("avx512bw"), "skipped: this CPU has no AVX-512")
    def test_instruction_sets(self):
        self.shared(["--device", "cpu"], ["--device", "cpu", "--kernels", "avx2"])

    @unittest.skipUnless(cpu_has("avx512bw"), "skipped: this CPU has no AVX-512")
    def test_instruction_sets_the_other_way(self):
        self.shared(["--device", "cpu", "--kernels", "avx2"],
                    ["--device", "cpu", "--kernels", "avx512"])

    @unittest.skipUnless(cpu_has("avx2"), "skipped: this CPU has no AVX2")
    def test_the_plain_kernels(self):
        self.refused(["--device", "cpu"], ["--device", "ref"])

    @unittest.skipUnless(cpu_has("avx2"), "skipped: this CPU has no AVX2")
    def test_the_plain_kernels_the_other_way(self):
        self.refused(["--device", "ref"], ["--device", "cpu"])

    def test_plain_kernels_by_two_names(self):
        # What a CPU without AVX2 falls back to is what --device ref is.
        self.shared(["--device", "cpu", "--kernels", "ref"], ["--device", "ref"])

    def test_a_new_revision(self):
        self.refused(["--device", "cpu"], ["--device", "cpu"], program=NEXT)

    @unittest.skipUnless(cpu_has("avx2"), "skipped: this CPU has no AVX2")
    def test_an_exported_session(self):
        a = self.start("--device", "cpu")
        sid = a.post("/v1/sessions", {})["id"]
        a.complete(PROMPT, session=sid, max_tokens=4, temperature=0)
        status, _, blob = a.request("GET", "/v1/sessions/%s/state" % sid)
        self.assertEqual(status, 200)
        self.assertEqual(a.stop(), 0)
        for flags, wanted in ((["--device", "ref"], 400), (["--device", "cpu"], 200)):
            b = self.start(*flags)  # the same folder: the same install key
            status, _, body = b.request("PUT", "/v1/sessions", blob,
                                        {"Content-Type": "application/octet-stream"})
            self.assertEqual(b.stop(), 0)
            self.assertEqual(status, wanted, body)
            if wanted == 400:
                self.assertIn(b"arithmetic", body)


class NumericsOfAModelThatCallsTheLibrary(unittest.TestCase):
    def test_the_library_is_part_of_the_name(self):
        s = Server(["--model", ROPE, "--device", "cpu", "--log-level", "debug"])
        self.assertEqual(s.stop(), 0)
        self.assertRegex(s.text(), r"arithmetic: cpu-\w+/\d+ libm-[0-9a-f]{8}\n")


if __name__ == "__main__":
    unittest.main()
