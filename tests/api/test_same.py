"""The numbers do not depend on who else is served: greedy ids of both demo models equal those of
the reference, and text and logprobs of a request are the same alone and among 16 others."""
import json
import unittest

import common
from common import DEMO, DEMO7, Stream, expected, in_threads, server

MIXED = [
    {"prompt": "The quick brown fox", "max_tokens": 90, "temperature": 1.3, "seed": 1},
    {"prompt": [11 + i % 3000 for i in range(700)], "max_tokens": 20, "seed": 2},
    {"prompt": "Once upon a time", "max_tokens": 60, "n": 2, "temperature": 0.8, "seed": 3},
    {"prompt": "One day, a girl", "max_tokens": 120, "temperature": 0, "logprobs": 5},
    {"prompt": [9] * 1500, "max_tokens": 3, "echo": True, "logprobs": 0},
    {"prompt": "A", "max_tokens": 150, "ignore_eos": True, "temperature": 0,
     "frequency_penalty": 0.5},
]


def noise(s, n, stop):
    """n clients that keep mixed requests in flight until `stop` is set."""
    def client(i):
        k = i
        while not stop:
            body = dict(MIXED[k % len(MIXED)])
            if common.Settings.slow:  # as many clients, each with less to do
                body["max_tokens"] = min(body["max_tokens"], 12)
                body["prompt"] = body["prompt"][:150]
            if k % 3 == 0:
                st = Stream(s, "/v1/completions", dict(body, stream=True))
                for count, _ in enumerate(st.frames()):
                    if stop or count > 30 and k % 2:
                        break
                st.reset()
            else:
                s.request("POST", "/v1/completions", body)
            k += n
    return [lambda i=i: client(i) for i in range(n)]


def with_noise(s, n, job):
    stop, result = [], []

    def run():
        try:
            result.append(job())
        finally:
            stop.append(True)

    in_threads(noise(s, n, stop) + [run])
    return result[0]


class Same(unittest.TestCase):
    def greedy(self, s, prompts, clients):
        def one(p):
            r = s.complete(p["prompt"], max_tokens=len(p["greedy_ids"]), temperature=0,
                           ignore_eos=True, return_token_ids=True)["choices"][0]
            return r["prompt_token_ids"], r["token_ids"]
        if clients == 1:
            return [one(p) for p in prompts]
        return in_threads([lambda p=p: one(p) for p in prompts])

    def check_model(self, model):
        s = server("--model", model)
        prompts = expected(model)[:common.Settings.rounds(40)]
        want = [(p["token_ids"], p["greedy_ids"]) for p in prompts]
        self.assertEqual(self.greedy(s, prompts, 1), want)
        self.assertEqual(with_noise(s, 16, lambda: self.greedy(s, prompts, len(prompts))), want)

    def test_gated_deltanet_equals_its_reference_alone_and_among_16(self):
        self.check_model(DEMO)

    def test_rwkv7_equals_its_reference_alone_and_among_16(self):
        self.check_model(DEMO7)

    def test_text_and_logprobs_are_identical_alone_and_among_16(self):
        for model in (DEMO, DEMO7):
            s = server("--model", model)
            bodies = [{"prompt": "Once upon a time, there was a", "max_tokens": 48, "temperature": 0,
                       "logprobs": 20, "echo": True},
                      {"prompt": "The dog", "max_tokens": 48, "temperature": 1.1, "seed": 99,
                       "logprobs": 5, "presence_penalty": 0.3, "top_k": 50},
                      {"prompt": [20 + i % 2000 for i in range(600)], "max_tokens": 8, "seed": 5,
                       "logprobs": 3, "echo": True, "n": 2}]

            def ask():
                return [json.dumps(s.post("/v1/completions", b)["choices"]) for b in bodies]

            alone = ask()
            for _ in range(1 if common.Settings.slow else 2):
                self.assertEqual(with_noise(s, 16, ask), alone)


if __name__ == "__main__":
    unittest.main()
