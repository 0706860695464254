"""recurd-eval as its users call it: logits as .npy, greedy ids, pieces, perplexity, refusals."""
import array
import ast
import json
import os
import subprocess
import tempfile
import unittest

import common
from common import DEMO, DEMO7

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOLDEN = os.path.join(ROOT, "tests/golden/public")


def program():
    return os.path.join(os.path.dirname(common.Settings.recurd), "recurd-eval")


def load_npy(path):
    """Rows of a two-dimensional little-endian float32 .npy file."""
    with open(path, "rb") as f:
        head = f.read(10)
        assert head[:8] == b"\x93NUMPY\x01\x00", head
        info = ast.literal_eval(f.read(int.from_bytes(head[8:10], "little")).decode())
        data = array.array("f", f.read())
    rows, cols = info["shape"]
    assert info["descr"] == "<f4" and not info["fortran_order"] and len(data) == rows * cols
    return [data[i * cols:(i + 1) * cols] for i in range(rows)]


class Eval(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def run_eval(self, model, ids, *flags):
        with open(self.path("ids.json"), "w") as f:
            json.dump(ids, f)
        return subprocess.run([program(), "--model", model, "--tokens", self.path("ids.json")] +
                              list(flags), capture_output=True, text=True,
                              timeout=common.Settings.patience(300))

    def test_logits_and_greedy_ids_of_the_demo_models_equal_the_reference(self):
        for model in (DEMO, DEMO7):
            with open(os.path.join(model, "expected.json")) as f:
                prompts = json.load(f)["prompts"]
            for p in prompts:
                r = self.run_eval(model, p["token_ids"], "--logits", self.path("l.npy"),
                                  "--generate", str(len(p["greedy_ids"])))
                self.assertEqual(r.returncode, 0, r.stderr)
                self.assertEqual(json.loads(r.stdout), p["greedy_ids"])
                rows = load_npy(self.path("l.npy"))
                self.assertEqual(len(rows), len(p["token_ids"]))
                for i, want in zip(p["top20_ids"], p["top20_logits"]):
                    self.assertAlmostEqual(rows[-1][i], want, delta=1e-3)

    def test_pieces_and_company_change_no_byte(self):
        ids = [(7 * i + i * i) % 256 for i in range(130)]
        for family in ("gated_deltanet", "gated_deltanet_hybrid", "rwkv7"):
            seen = set()
            for way in ([], ["--chunk", "1"], ["--chunk", "7"], ["--chunk", "64"],
                        ["--batch", "5"], ["--move", "--chunk", "9"], ["--threads", "1"]):
                r = self.run_eval(os.path.join(GOLDEN, family), ids, "--logits",
                                  self.path("l.npy"), "--generate", "12", *way)
                self.assertEqual(r.returncode, 0, r.stderr)
                with open(self.path("l.npy"), "rb") as f:
                    seen.add((f.read(), r.stdout))
            self.assertEqual(len(seen), 1, family)

    def test_smaller_weights_keep_the_promise_about_bits(self):
        ids = [(7 * i + i * i) % 256 for i in range(70)]
        logits = {}
        for how in ("none", "q8", "q4"):
            seen = set()
            for way in ([], ["--chunk", "1"], ["--batch", "5"], ["--move", "--chunk", "9"],
                        ["--threads", "1"], ["--kernels", "int16-avx2,avx2,ref"]):
                r = self.run_eval(DEMO, ids, "--logits", self.path("l.npy"), "--generate", "12",
                                  "--quantize", how, *way)
                self.assertEqual(r.returncode, 0, r.stderr)
                with open(self.path("l.npy"), "rb") as f:
                    seen.add((f.read(), r.stdout))
            self.assertEqual(len(seen), 1, how)
            logits[how] = load_npy(self.path("l.npy"))
        for how, most in (("q8", 0.5), ("q4", 6)):
            off = max(abs(a - b) for x, y in zip(logits["none"], logits[how])
                      for a, b in zip(x, y))
            self.assertTrue(0 < off < most, f"{how}: logits move by {off}")

    def test_a_wrong_way_to_quantize_is_refused(self):
        self.assertEqual(self.run_eval(DEMO, [1], "--quantize", "q3").returncode, 2)

    def test_perplexity_of_a_text(self):
        with open(self.path("t.txt"), "w") as f:
            f.write("Once upon a time, there was a little dog named Spot.")
        r = subprocess.run([program(), "--model", DEMO, "--perplexity", self.path("t.txt")],
                           capture_output=True, text=True,
                           timeout=common.Settings.patience(60))
        self.assertEqual(r.returncode, 0, r.stderr)
        out = json.loads(r.stdout)
        self.assertGreater(out["tokens"], 10)
        self.assertLess(out["nats_per_token"], 2.5)  # 1.7 on the held-out stories it was made for

    def test_a_profile_names_every_kind_of_op_and_all_of_the_time(self):
        ids, more = [1, 2, 3, 4, 5], ["--generate", "6"]
        plain, r = self.run_eval(DEMO7, ids, *more), self.run_eval(DEMO7, ids, *more, "--profile")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(r.stdout, plain.stdout)
        self.assertEqual(plain.stderr, "")
        rows = {}
        for line in r.stderr.splitlines()[1:]:  # time, level, op, …
            words = line.split()
            rows[words[2]] = [float(w) for w in words if w.replace(".", "").isdigit()]
        plan = subprocess.run([program(), "--plan", DEMO7], capture_output=True, text=True,
                              timeout=common.Settings.patience(60)).stdout.splitlines()[1:]
        kinds = [line.replace(" logits ", " ").split()[3] for line in plan]
        self.assertEqual(set(rows), set(kinds) | {"(waits)"})
        for kind in set(kinds):
            calls, _, _, megabytes, *_ = rows[kind]
            self.assertEqual(calls, kinds.count(kind), kind)  # a step
            self.assertGreaterEqual(megabytes, 0)
        self.assertAlmostEqual(sum(row[2] for row in rows.values()), 100, delta=3)
        self.assertGreater(rows["linear"][2], 1)  # per cent of the time

    def test_what_cannot_be_run_ends_in_one_sentence(self):
        for ids, words in (([1, 4096], "4095"), ([], "no tokens"), ([1.5], "entry 0"),
                           ({"a": 1}, "not a JSON array")):
            r = self.run_eval(DEMO, ids, "--generate", "1")
            self.assertEqual(r.returncode, 1)
            self.assertIn(words, r.stderr)
            self.assertEqual(r.stderr.count("\n"), 1)


if __name__ == "__main__":
    unittest.main()
