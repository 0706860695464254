"""The daemon on an OpenCL device (PoCL, which runs on the CPU) keeps every promise that it keeps on
the cpu device: reference tokens alone and in a batch, streams, cancelling, cache hits and sessions
with the bits of a fresh computation, across kill -9 too."""
import shutil
import signal
import subprocess
import tempfile
import unittest

from common import DEMO, DEMO7, Server, Settings, expected, in_threads, server
from test_cache import HYBRID, ids

DEVICE = "opencl:pocl"


def why_not():
    if Settings.slow:
        return "PoCL's compiler is too slow under valgrind and leaks under sanitizers"
    found = subprocess.run([Settings.recurd, "--list-devices"], capture_output=True, text=True)
    return None if "Portable Computing Language" in found.stdout else "PoCL is not installed"


class OpenCL(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        reason = why_not()
        if reason:
            raise unittest.SkipTest(reason)
        cls.dir = tempfile.mkdtemp(prefix="recurd-opencl-")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    def start(self, model, *more):
        s = Server(["--model", model, "--device", DEVICE, "--slots", "8", "--step-tokens", "128",
                    "--cache-dir", self.dir + "/kernels"] + list(more))
        self.addCleanup(self.end, s)
        return s

    def end(self, s):
        if s.proc.returncode != -signal.SIGKILL:
            self.assertEqual(s.stop(), 0, s.text()[-4000:])

    def ask(self, s, prompt, n=8, **fields):
        """-> (reply, what must be the same to the bit)"""
        fields = dict(dict(max_tokens=n, temperature=0, ignore_eos=True, logprobs=3,
                           return_token_ids=True), **fields)
        r = s.complete(prompt, **fields)
        return r, [(c["token_ids"], c["logprobs"]) for c in r["choices"]]

    def cached(self, reply):
        return reply["usage"]["prompt_tokens_details"]["cached_tokens"]

    def test_reference_tokens_alone_and_together(self):
        for model in (DEMO, DEMO7):
            s = self.start(model)
            prompts = expected(model)[:6]

            def one(p):
                c = s.complete(p["prompt"], max_tokens=len(p["greedy_ids"]), temperature=0,
                               ignore_eos=True, return_token_ids=True)["choices"][0]
                return c["prompt_token_ids"], c["token_ids"]

            want = [(p["token_ids"], p["greedy_ids"]) for p in prompts]
            self.assertEqual([one(p) for p in prompts[:2]], want[:2])
            self.assertEqual(in_threads([lambda p=p: one(p) for p in prompts]), want)

    def test_sampled_tokens_are_a_function_of_the_request(self):
        """Drawn on the device: alone, again, in a batch, after a cache hit (drawn on the host)."""
        s = self.start(DEMO7)
        common_fields = dict(n=24, temperature=1.0, logprobs=5)
        asked = [dict(common_fields, seed=7, top_p=0.9, top_k=40),
                 dict(common_fields, seed=8, top_p=0.9, top_k=40, presence_penalty=0.5,
                      frequency_penalty=0.3, repetition_penalty=1.2,
                      logit_bias={"300": 4, "17": -100}),
                 dict(common_fields, seed=9, min_p=0.05), dict(common_fields, seed=10, echo=True),
                 dict(common_fields, seed=11, top_p=0.7, min_tokens=5, stop_token_ids=[5, 6])]
        prompt = "Once upon a time there was"

        def one(fields):
            return self.ask(s, prompt, **fields)[1]

        alone = [one(f) for f in asked]
        self.assertEqual(len({str(a) for a in alone}), len(asked))
        self.assertEqual([one(f) for f in asked], alone)
        self.assertEqual(in_threads([lambda f=f: one(f) for f in asked + asked[::-1]]),
                         alone + alone[::-1])
        cpu = server("--model", DEMO7, "--device", "cpu")
        for (got,), (want,) in zip(alone, [self.ask(cpu, prompt, **f)[1] for f in asked]):
            # Logits differ in their last bits, so a draw may differ, seldom, and then all after it.
            same = next((i for i, (a, b) in enumerate(zip(got[0], want[0])) if a != b), 24)
            self.assertGreaterEqual(same, 8)
            for a, b in list(zip(got[1]["token_logprobs"], want[1]["token_logprobs"]))[1:same]:
                self.assertAlmostEqual(a, b, delta=1e-3)

    def test_streams_and_cancelled_ones_leave_nothing_behind(self):
        s = self.start(DEMO7)
        body = {"prompt": "One day, a girl", "max_tokens": 60, "temperature": 0.9, "seed": 7}
        want = s.post("/v1/completions", body)["choices"][0]["text"]

        def stream():
            st = s.stream("/v1/completions", dict(body, stream=True))
            text = "".join(c["text"] for e in st.events() for c in e["choices"])
            self.assertTrue(st.done)
            st.close()
            return text

        def cancel():
            st = s.stream("/v1/completions", dict(body, stream=True, max_tokens=1000000,
                                                  ignore_eos=True))
            events = st.events()
            for _ in range(5):
                next(events)
            st.reset()

        self.assertEqual(in_threads([stream, cancel, stream, cancel])[::2], [want, want])
        s.wait_idle()
        self.assertEqual(stream(), want)

    def check_hits(self, model):
        """What was found in the cache gives the bits of what was computed."""
        s, plain = self.start(model), self.start(model, "--state-memory", "0")
        a, b = ids(300, 1), ids(300, 1)[:200] + ids(60, 2)
        for prompt, least in ((a, 0), (a, 300), (a + ids(40, 3), 300), (b, 128)):
            reply, got = self.ask(s, prompt)
            self.assertGreaterEqual(self.cached(reply), least)
            self.assertEqual(self.ask(plain, prompt)[1], got)

    def test_cache_hits_have_the_bits_of_a_fresh_computation(self):
        self.check_hits(DEMO7)

    def test_cache_hits_with_attention_pages_too(self):
        self.check_hits(HYBRID)

    def check_sessions(self, model):
        """A session that is continued, killed, forked and rewound answers as if computed afresh."""
        args = (model, "--state-dir", tempfile.mkdtemp(dir=self.dir))
        s, plain = self.start(*args), self.start(model, "--state-memory", "0")
        name, path = s.post("/v1/sessions", {})["id"], []
        for i in range(5):
            new = ids(30 + 25 * i, 50 + i)
            reply, got = self.ask(s, new, session=name)
            # A position inside a turn costs what follows the state before it.
            self.assertGreaterEqual(self.cached(reply), len(path) - (80 if i == 4 else 1))
            self.assertEqual(self.ask(plain, path + new)[1], got)
            path += new + got[0][0]
            self.assertEqual(reply["session"]["position"], len(path))
            if i in (0, 2):
                s.wait_written()
                s.kill()
                s = self.start(*args)
            if i == 1:
                name = s.post("/v1/sessions/%s/fork" % name, {})["id"]
            if i == 3:
                s.post("/v1/sessions/%s/rewind" % name, {"position": len(path) - 5})
                path = path[:-5]

    def test_sessions_survive_kill(self):
        self.check_sessions(DEMO7)

    def test_sessions_with_attention_pages_survive_kill(self):
        self.check_sessions(HYBRID)

    def test_more_sequences_than_slots(self):
        """States are moved out of the device's slots and back."""
        s = self.start(DEMO7, "--slots", "2")
        prompts = [ids(60, 70 + i, first=i) for i in range(6)]
        want = [self.ask(s, p, 24)[1] for p in prompts]
        self.assertEqual([r[1] for r in in_threads([lambda p=p: self.ask(s, p, 24)
                                                    for p in prompts])], want)


if __name__ == "__main__":
    unittest.main()
