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


class TwoSettings(unittest.TestCase):
    model = DEMO7
    flags = ["--device", "cpu"]  # of every server, unless a test says another device

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
                           "--log-level", "debug"] + self.flags + list(flags))
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
        self.assertEqual(self.look(*first)[0], len(PROMPT))
        return made[4], again[4]

    def goes_on(self, first, then):
        """A session of the one arithmetic, by the other, and back: computed once more, as by itself.
        After a planned stop, whose record names a state; after a crash, when turns are logged; and
        with a path that lies in several files."""
        ask = dict(max_tokens=4, temperature=0, ignore_eos=True, logprobs=1, return_token_ids=True)
        for long, crash in ((True, False), (False, True)):
            path = [(7 * i + i * i + crash) % 250 + 5 for i in range(5000 if long else 60)]
            a = self.start(*first)
            sid = a.post("/v1/sessions", {})["id"]
            path += a.complete(path, session=sid, **ask)["choices"][0]["token_ids"]
            if crash:
                a.proc.kill()
                a.proc.wait()
            else:
                self.assertEqual(a.stop(), 0)
            b = self.start(*then)
            turn = b.complete([9, 8, 7], session=sid, **ask)
            self.assertEqual(turn["usage"]["prompt_tokens"], len(path) + 3)
            self.assertEqual(turn["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
            self.assertEqual(b.stop(), 0)
            if not crash:  # after one no file may name it yet
                self.assertIn("sessions go on without a state", b.text())
            with tempfile.TemporaryDirectory() as other:
                c = self.start(*then, folder=other)
                alone = c.complete(path + [9, 8, 7], **ask)
                self.assertEqual(c.stop(), 0)
            for what in ("token_ids", "logprobs"):
                self.assertEqual(turn["choices"][0][what], alone["choices"][0][what])
            path += [9, 8, 7] + turn["choices"][0]["token_ids"]
            d = self.start(*first)  # and back: what it knows of the path it has
            turn = d.complete([6], session=sid, **ask)
            self.assertEqual(turn["usage"]["prompt_tokens"], len(path) + 1)
            self.assertEqual(d.stop(), 0)


class Numerics(TwoSettings):
    flags = []

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


@unittest.skipUnless(cpu_has("avx2"), "skipped: this CPU has no AVX2")
class NumericsOfStates(TwoSettings):
    """States in float16."""
    HALF = ["--states", "float16"]

    def test_states_that_float32_made_are_begun_anew(self):
        made, again = self.refused([], self.HALF)
        self.assertRegex(made, r"^cpu-simd/\d+$")
        self.assertRegex(again, r"^cpu-simd\+f16states/\d+$")

    def test_and_float32_takes_none_of_the_others(self):
        self.refused(self.HALF, [])

    def test_any_instruction_set_and_number_of_threads_after_a_restart(self):
        self.shared(self.HALF + ["--threads", "1"],
                    self.HALF + ["--threads", "3", "--kernels", "avx2"])

    def test_the_start_says_so(self):
        self.assertIn("kernels, states in float16; ready after", self.look(*self.HALF)[5])

    def test_a_session_of_float32_goes_on_and_is_computed_once_more(self):
        self.goes_on([], self.HALF)

    def test_a_session_goes_on_after_a_restart_with_the_bits_of_computing(self):
        """After a stop from its state's file; after a crash from the log of turns, too."""
        ask = dict(max_tokens=5, temperature=0, ignore_eos=True, logprobs=1, return_token_ids=True)
        for crash in (False, True):
            prompt = [t + crash for t in PROMPT]
            a = self.start(*self.HALF)
            sid = a.post("/v1/sessions", {})["id"]
            path = prompt + a.complete(prompt, session=sid, **ask)["choices"][0]["token_ids"]
            if crash:
                a.proc.kill()
                a.proc.wait()
            else:
                self.assertEqual(a.stop(), 0)
            b = self.start(*self.HALF)
            turn = b.complete([9, 8, 7], session=sid, **ask)
            self.assertEqual(turn["usage"]["prompt_tokens"], len(path) + 3)
            if not crash:
                self.assertGreaterEqual(turn["usage"]["prompt_tokens_details"]["cached_tokens"],
                                        len(path) - 1)
            self.assertEqual(b.stop(), 0)
            with tempfile.TemporaryDirectory() as other:
                c = self.start(*self.HALF, folder=other)
                alone = c.complete(path + [9, 8, 7], **ask)
                self.assertEqual(c.stop(), 0)
            for what in ("token_ids", "logprobs"):
                self.assertEqual(turn["choices"][0][what], alone["choices"][0][what])

    def test_an_export_has_fewer_bytes_and_is_taken_by_its_arithmetic_alone(self):
        blobs = []
        for flags in ([], self.HALF):
            a = self.start(*flags)
            sid = a.post("/v1/sessions", {})["id"]
            a.complete(PROMPT, session=sid, max_tokens=4, temperature=0)
            blobs.append(a.request("GET", "/v1/sessions/%s/state" % sid)[2])
            self.assertEqual(a.stop(), 0)
        # 3 heads of 64 x 64 in each of 6 layers: two bytes less for each number.
        self.assertEqual(len(blobs[0]) - len(blobs[1]), 6 * 3 * 64 * 64 * 2)
        for flags, own, other in (([], 0, 1), (self.HALF, 1, 0)):
            b = self.start(*flags)
            for blob, wanted in ((blobs[other], 400), (blobs[own], 200)):
                status, _, body = b.request("PUT", "/v1/sessions", blob,
                                            {"Content-Type": "application/octet-stream"})
                self.assertEqual(status, wanted, body)
                self.assertEqual(b"arithmetic" in body, wanted == 400, body)
            self.assertEqual(b.stop(), 0)


@unittest.skipUnless(cpu_has("avx2"), "skipped: this CPU has no AVX2")
class NumericsOfQuantisedWeights(TwoSettings):
    """Products by inputs of 16 bits, which x86 has without being asked."""
    flags = ["--device", "cpu", "--quantize", "q4"]

    def test_states_that_float32_made_are_begun_anew(self):
        made, again = self.refused(["--kernels", "float32"], [])
        self.assertRegex(made, r"^cpu-simd/\d+$")
        self.assertRegex(again, r"^cpu-simd\+int16/\d+$")

    def test_and_float32_takes_none_of_the_others(self):
        self.refused([], ["--kernels", "avx512,avx2,ref"])

    def test_any_instruction_set_and_number_of_threads(self):
        self.shared(["--threads", "1"], ["--threads", "3", "--kernels", "int16-avx2,avx2"])

    def test_float32_has_one_name_for_all_of_its_masks(self):
        self.shared(["--kernels", "float32"], ["--kernels", "avx2"])

    def test_the_start_says_so(self):
        for flags, says in (([], True), (["--kernels", "float32"], False)):
            self.assertEqual("kernels, quantised weights by inputs of 16 bits; ready after" in
                             self.look(*flags)[5], says)

    def test_a_session_goes_on_and_is_computed_once_more(self):
        self.goes_on(["--kernels", "float32"], [])

    def test_an_exported_session_of_float32_is_refused(self):
        a = self.start("--kernels", "float32")
        sid = a.post("/v1/sessions", {})["id"]
        a.complete(PROMPT, session=sid, max_tokens=4, temperature=0)
        blob = a.request("GET", "/v1/sessions/%s/state" % sid)[2]
        self.assertEqual(a.stop(), 0)
        for flags, wanted in (([], 400), (["--kernels", "float32"], 200)):
            b = self.start(*flags)  # the same folder: the same install key
            status, _, body = b.request("PUT", "/v1/sessions", blob,
                                        {"Content-Type": "application/octet-stream"})
            self.assertEqual(b.stop(), 0)
            self.assertEqual(status, wanted, body)


@unittest.skipUnless(cpu_has("avx2"), "skipped: this CPU has no AVX2")
class NumericsWithoutQuantisedWeights(TwoSettings):
    def test_states_and_name_are_those_of_float32(self):
        made, again = self.change(["--kernels", "float32"], [])
        self.assertRegex(made[4], r"^cpu-simd/\d+$")
        self.assertEqual((made[1:3], made[4]), (again[1:3], again[4]))
        self.assertEqual((again[0], again[3]), (len(PROMPT), {}))


class NumericsOfAModelThatCallsTheLibrary(unittest.TestCase):
    def test_the_library_is_part_of_the_name(self):
        s = Server(["--model", ROPE, "--device", "cpu", "--log-level", "debug"])
        self.assertEqual(s.stop(), 0)
        self.assertRegex(s.text(), r"arithmetic: cpu-\w+/\d+ libm-[0-9a-f]{8}\n")


if __name__ == "__main__":
    unittest.main()
