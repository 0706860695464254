"""--trace writes down what an answer was made of; recurd-eval --replay computes it again."""
import json
import os
import re
import subprocess
import tempfile
import unittest

from common import DEMO, DEMO7, ROOT, Server, Settings

EVAL = os.path.join(os.path.dirname(Settings.recurd), "recurd-eval")
HYBRID = os.path.join(ROOT, "tests", "golden", "hf", "hf_qwen3_5")


class Trace(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.tmp.name, "trace.jsonl")

    def tearDown(self):
        self.tmp.cleanup()

    def serve(self, model, work, *flags):
        s = Server(["--model", model, "--trace", self.path] + list(flags))
        work(s)
        self.assertEqual(s.stop(), 0, s.text())
        with open(self.path) as f:
            return [json.loads(line) for line in f]

    def replay(self, model, *flags, path=None):
        if Settings.device and "--device" not in flags:
            flags += ("--device", Settings.device)
        r = subprocess.run([EVAL, "--model", model, "--replay", path or self.path] + list(flags),
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=Settings.patience(120))
        return r.returncode, r.stdout.decode() + r.stderr.decode()

    def change(self, lines, edit):
        path = os.path.join(self.tmp.name, "changed.jsonl")
        with open(path, "w") as f:
            for line in lines:
                line = json.loads(json.dumps(line))
                edit(line)
                f.write(json.dumps(line) + "\n")
        return path

    sampled = dict(temperature=0.9, top_p=0.95, top_k=50, seed=11, presence_penalty=0.4,
                   frequency_penalty=0.3, repetition_penalty=1.1, logprobs=2,
                   logit_bias={"7": -3.5, "90": 1.25})

    def check_model(self, model):
        prompt = list(range(5, 205))

        def work(s):
            s.complete(prompt, max_tokens=3, temperature=0)
            s.complete(prompt + [9, 8, 7], max_tokens=40, **self.sampled)  # from a cache hit
            s.complete(prompt[:90], max_tokens=5, echo=True, logprobs=0, temperature=0)
            sid = s.post("/v1/sessions", {})["id"]
            for turn in range(2):
                s.complete([11, 12, 13, 14 + turn] * 6, session=sid, max_tokens=12,
                           **self.sampled)

        lines = self.serve(model, work)
        self.assertEqual(len(lines), 5)
        hit = lines[1]
        self.assertEqual(hit["cached"], 200)
        self.assertEqual(hit["matched"], 200)
        self.assertIn(hit["why"], ("new_tokens", "tokens_diverged"))
        self.assertIn(203, hit["cuts"])
        self.assertEqual(len(hit["logprob_bits"]), 8 * len(hit["output"]))
        self.assertEqual(hit["sampling"]["seed"], "11")
        self.assertEqual(len(lines[2]["prompt_logprob_bits"]), 8 * 90)
        self.assertEqual(lines[4]["n_context"], 36)
        self.assertEqual(len(lines[4]["context"]), 36)
        self.assertGreater(hit["ns"]["all"], 0)
        for flags in ([], ["--chunk", "7", "--threads", "1"]):
            code, out = self.replay(model, *flags)
            self.assertEqual(code, 0, out)
            self.assertEqual(len(re.findall(r": equal: ", out)), 5, out)
        return lines

    def test_answers_replay_to_the_bit(self):
        self.check_model(DEMO7)

    def test_answers_of_a_quantised_model_replay_with_the_same_flag_only(self):
        self.serve(DEMO7, lambda s: s.complete([5, 6, 7] * 20, max_tokens=9), "--quantize", "q8")
        self.assertEqual(self.replay(DEMO7, "--quantize", "q8")[0], 0)
        code, out = self.replay(DEMO7)
        self.assertEqual(code, 2)
        self.assertIn("the answer is of model", out)

    def test_answers_of_a_hybrid_replay_to_the_bit(self):
        self.check_model(HYBRID)

    def test_what_differs_is_named(self):
        lines = self.serve(DEMO7, lambda s: s.complete([5] * 30, max_tokens=9, ignore_eos=True, **self.sampled))
        ids = lines[0]["output"]

        def other_token(x):
            x["output"][4] += 1 if ids[4] < 100 else -1

        def other_bit(x):
            bits = x["logprob_bits"]
            x["logprob_bits"] = bits[:23] + format(int(bits[23], 16) ^ 1, "x") + bits[24:]

        def other_seed(x):
            x["sampling"]["seed"] = "12"

        def other_model(x):
            x["fingerprint"] = "00" * 32

        for edit, wanted, text in ((other_token, 1, "output token 4 of 9"),
                                   (other_bit, 1, "logprob of output token 2"),
                                   (other_seed, 1, "differs: output token"),
                                   (other_model, 2, "the answer is of model 0000")):
            code, out = self.replay(DEMO7, path=self.change(lines, edit))
            self.assertEqual(code, wanted, out)
            self.assertIn(text, out)

    def test_other_arithmetic_is_told(self):
        self.serve(DEMO7, lambda s: s.complete([5] * 30, max_tokens=9, ignore_eos=True, temperature=0, logprobs=0),
                   "--device", "cpu")
        code, out = self.replay(DEMO7, "--device", "ref")
        self.assertIn('by the arithmetic "cpu-', out)
        self.assertIn('replayed by "cpu-ref', out)
        self.assertIn(code, (0, 1))

    def test_digests_say_no_text(self):
        lines = self.serve(DEMO7, lambda s: s.complete([5] * 30, max_tokens=9, ignore_eos=True, temperature=0),
                           "--trace-ids", "digest")
        self.assertRegex(lines[0]["prompt"], r"^30:[0-9a-f]{16}$")
        self.assertRegex(lines[0]["output"], r"^9:[0-9a-f]{16}$")
        code, out = self.replay(DEMO7)
        self.assertEqual(code, 1, out)
        self.assertIn("the trace has digests", out)

    def test_failures_and_hostile_files(self):
        for text in ("", "{}\n", "[1]\n", "x\n", '{"trace":1}\n', '{"trace":1,"fingerprint":7}\n'):
            with open(self.path, "w") as f:
                f.write(text)
            code, out = self.replay(DEMO7)
            self.assertEqual(code, 0 if not text else 2, out)
        lines = None
        os.unlink(self.path)
        lines = self.serve(DEMO7, lambda s: s.complete([5] * 30, max_tokens=9, ignore_eos=True, temperature=0))
        for key, value in (("prompt", [1 << 40]), ("prompt", [-1]), ("prompt", "x"), ("prompt", []),
                           ("n_context", 7), ("sampling", 3), ("logprobs", 1 << 20),
                           ("stop_ids", [1] * 999), ("whole", False), ("output", [70000] * 3)):
            code, out = self.replay(DEMO7, path=self.change(lines, lambda x: x.update({key: value})))
            self.assertEqual(code, 1, (key, out))

    def test_a_trace_that_cannot_be_opened_stops_the_start(self):
        with self.assertRaises(AssertionError) as failed:
            Server(["--model", DEMO, "--trace", "/nonexistent/x"])
        self.assertIn("/nonexistent/x cannot be opened", str(failed.exception))


if __name__ == "__main__":
    unittest.main()
