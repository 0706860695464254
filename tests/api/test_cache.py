"""What prompts cost when parts of them were seen before, in tokens computed: prompt - cached."""
import os
import random
import tempfile
import threading
import unittest

from common import DEMO, DEMO7, ROOT, Server

# A tiny model with attention layers, whose sequences own pages besides a state.
HYBRID = os.path.join(ROOT, "tests", "golden", "hf", "hf_qwen3_5")


def ids(n, seed, first=None):
    r = random.Random(seed)
    out = [r.randrange(3, 250) for _ in range(n)]
    if first is not None:
        out[0] = 3 + first
    return out


class Costs:
    """Run once for each demo model."""

    def setUp(self):
        self.s = Server(["--model", self.model, "--slots", "4"])

    def tearDown(self):
        self.assertEqual(self.s.stop(), 0, self.s.text())

    def ask(self, prompt, n=1, **fields):
        fields = dict(dict(max_tokens=n, temperature=0, ignore_eos=True), **fields)
        return self.s.complete(prompt, **fields)

    def cost(self, prompt, n=1, **fields):
        u = self.ask(prompt, n, **fields)["usage"]
        self.assertEqual(u["prompt_tokens"], len(prompt))
        return u["prompt_tokens"] - u["prompt_tokens_details"]["cached_tokens"]

    def test_again_appended_and_changed(self):
        a = ids(2000, 1)
        self.assertEqual(self.cost(a), 2000)
        self.assertEqual(self.cost(a), 0)
        self.assertEqual(self.cost(a + ids(50, 2)), 50)
        self.assertLessEqual(self.cost(a[:1800] + ids(200, 3)), 264)
        self.assertLessEqual(self.cost(a[:1000] + ids(1000, 4)), 1320)

    def test_a_long_answer_to_a_short_prompt_is_kept(self):
        prompt = ids(6, 40)
        for n in (9, 100):  # a conversation's first turn, and its second
            answer = self.ask(prompt, n, return_token_ids=True)["choices"][0]["token_ids"]
            path = prompt + answer
            # The token drawn last is in no state yet.
            self.assertEqual(self.cost(path + ids(20, 41)), 21 if len(path) > 16 else len(path) + 20)

    def test_a_shared_system_prompt(self):
        system = ids(1500, 5)
        costs = [self.cost(system + ids(100, 10 + i, first=i)) for i in range(5)]
        self.assertEqual(costs[0], 1600)
        self.assertEqual(costs[2:], [100] * 3)

    def test_concurrent_requests_on_a_warm_prefix(self):
        prefix = ids(800, 6)
        self.cost(prefix)
        costs = [None] * 4

        def one(i):
            costs[i] = self.cost(prefix + ids(40, 20 + i, first=i), 8)

        threads = [threading.Thread(target=one, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(costs, [40] * 4)

    def test_concurrent_requests_compute_a_cold_prefix_once(self):
        prefix = ids(900, 7)
        before = self.s.metrics()["recurd_prompt_tokens_total"]
        threads = [threading.Thread(target=self.cost, args=(prefix + ids(40, 30 + i, first=i), 4))
                   for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        computed = self.s.wait_idle()["recurd_prompt_tokens_total"] - before
        self.assertLessEqual(computed, 900 + 4 * 40 + 900)  # one may have started too far ahead
        self.assertEqual(self.cost(prefix + ids(40, 99, first=9)), 40)

    def test_sixteen_sessions_on_four_slots(self):
        sessions = [self.s.post("/v1/sessions", {})["id"] for _ in range(16)]
        for turn in range(4):
            for i, s in enumerate(sessions):
                new = ids(458 if turn == 0 else 50, 1000 * turn + i)
                u = self.ask(new, 8, session=s)["usage"]
                cost = u["prompt_tokens"] - u["prompt_tokens_details"]["cached_tokens"]
                self.assertEqual(cost, len(new))

    def test_a_planned_restart_keeps_plain_prompts(self):
        a = ids(700, 13)
        with tempfile.TemporaryDirectory() as folder:
            for cost in (700, 0):
                self.assertEqual(self.s.stop(), 0, self.s.text())
                self.s = Server(["--model", self.model, "--slots", "4", "--state-dir", folder])
                self.assertEqual(self.cost(a, 8), cost)
            self.assertEqual(self.s.stop(), 0, self.s.text())

    def test_what_was_written_before_a_kill_is_found(self):
        prompt = ids(1000, 31)
        with tempfile.TemporaryDirectory() as folder:
            self.s.stop()
            self.s = Server(["--model", self.model, "--slots", "4", "--state-dir", folder])
            self.cost(prompt, 8)
            self.s.wait_written()
            self.s.kill()
            self.s = Server(["--model", self.model, "--slots", "4", "--state-dir", folder])
            self.assertEqual(self.cost(prompt, 8), 0)
            self.assertEqual(self.s.stop(), 0)
        self.s = Server(["--model", self.model, "--slots", "4"])

    def test_answers_are_the_same_as_without_a_cache(self):
        """Bit by bit: logprobs are printed with all their digits."""
        plain = Server(["--model", self.model, "--state-memory", "0"])
        try:
            a = ids(700, 8)
            prompts = [a, a, a + ids(30, 9), a[:500] + ids(200, 10), a[:333] + ids(9, 11),
                       a[:333] + ids(20, 12), a]
            for p in prompts:
                mine = self.ask(p, 20, logprobs=5)["choices"]
                body = dict(prompt=p, max_tokens=20, temperature=0, ignore_eos=True, logprobs=5)
                self.assertEqual(mine, plain.post("/v1/completions", body)["choices"])
        finally:
            self.assertEqual(plain.stop(), 0)


class GatedDeltanet(Costs, unittest.TestCase):
    model = DEMO


class Rwkv7(Costs, unittest.TestCase):
    model = DEMO7


class Hybrid(Costs, unittest.TestCase):
    model = HYBRID

    def test_preempted_sequences_answer_as_if_alone(self):
        """Six long sequences, and pages for two: they are swapped out and in."""
        body = dict(max_tokens=300, temperature=0, ignore_eos=True, logprobs=2)
        prompts = [ids(500, 40 + i, first=i) for i in range(6)]
        want = [dict(self.s.complete(p, **body)["choices"][0], index=i)
                for i, p in enumerate(prompts)]
        small = Server(["--model", self.model, "--slots", "6", "--kv-memory", "1",
                        "--context", "1024"])
        got = small.complete(prompts, **body)["choices"]  # one request: all run at once
        metrics = small.metrics()
        self.assertEqual(small.stop(), 0, small.text()[-3000:])
        self.assertEqual(got, want)
        self.assertGreater(metrics["recurd_cache_swaps_out_total"], 0)


class Chat(unittest.TestCase):
    def test_the_system_message_is_cached_from_the_second_request_on(self):
        s = Server(["--model", DEMO])
        system = {"role": "system", "content": " ".join("Once there was a cat." for _ in range(60))}
        costs = []
        for q in ("Who was there?", "What did it eat?", "Why?"):
            u = s.chat([system, {"role": "user", "content": q}], max_tokens=4)["usage"]
            costs.append(u["prompt_tokens"] - u["prompt_tokens_details"]["cached_tokens"])
        self.assertEqual(s.stop(), 0)
        self.assertGreater(costs[0], 300)
        self.assertLess(max(costs[1:]), 40)


if __name__ == "__main__":
    unittest.main()
