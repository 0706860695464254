"""POST /v1/completions: what comes back for what is sent."""
import unittest

from common import DEMO, Stream, server

DOG = "Once upon a time, there was a little dog named"


class Completions(unittest.TestCase):
    def setUp(self):
        self.s = server("--model", DEMO)

    def test_reply_has_every_field(self):
        r = self.s.complete(DOG, max_tokens=4, temperature=0)
        self.assertTrue(r["id"].startswith("cmpl-"))
        self.assertEqual(r["object"], "text_completion")
        self.assertEqual(r["model"], "gated-deltanet")
        self.assertIsInstance(r["created"], int)
        self.assertEqual(r["choices"], [{"index": 0, "text": " Spot. Spot loved",
                                         "logprobs": None, "finish_reason": "length"}])
        self.assertEqual(r["usage"], {"prompt_tokens": 12, "completion_tokens": 4,
                                      "total_tokens": 16,
                                      "prompt_tokens_details": {"cached_tokens": 0}})

    def test_default_is_16_tokens(self):
        r = self.s.complete(DOG, ignore_eos=True)
        self.assertEqual(r["usage"]["completion_tokens"], 16)

    def test_the_four_forms_of_a_prompt_agree(self):
        ids = self.s.post("/tokenize", {"prompt": DOG})["tokens"]
        want = self.s.complete(DOG, max_tokens=8, temperature=0)["choices"][0]["text"]
        for prompt in ([DOG], ids, [ids]):
            r = self.s.complete(prompt, max_tokens=8, temperature=0)
            self.assertEqual([c["text"] for c in r["choices"]], [want])

    def test_several_prompts_and_choices_are_numbered(self):
        r = self.s.complete(["Once", "The", "One day"], n=2, max_tokens=3, temperature=0)
        self.assertEqual([c["index"] for c in r["choices"]], [0, 1, 2, 3, 4, 5])
        texts = [c["text"] for c in r["choices"]]
        self.assertEqual(texts[0::2], texts[1::2])  # greedy: both choices of a prompt agree
        alone = [self.s.complete(p, max_tokens=3, temperature=0)["choices"][0]["text"]
                 for p in ("Once", "The", "One day")]
        self.assertEqual(texts[0::2], alone)
        one = self.s.post("/tokenize", {"prompt": "Once"})["count"]
        three = sum(self.s.post("/tokenize", {"prompt": p})["count"]
                    for p in ("Once", "The", "One day"))
        self.assertGreater(three, one)
        self.assertEqual(r["usage"]["prompt_tokens"], three)

    def test_a_seed_repeats_and_choices_differ(self):
        ask = dict(max_tokens=24, temperature=1.2, top_p=1, seed=7)
        a, b = (self.s.complete(DOG, n=4, **ask)["choices"] for _ in range(2))
        self.assertEqual([c["text"] for c in a], [c["text"] for c in b])
        self.assertEqual(len({c["text"] for c in a}), 4)
        first = self.s.complete(DOG, **ask)["choices"][0]["text"]
        self.assertEqual(first, a[0]["text"])  # n does not change the first choice
        other = self.s.complete(DOG, **dict(ask, seed=-8))["choices"][0]["text"]
        self.assertNotEqual(other, first)

    def test_best_of_has_the_likeliest(self):
        """By the mean of their tokens' logprobs: the choices that n = best_of would have told."""
        ask = dict(max_tokens=12, temperature=1.3, top_p=1, seed=7)
        for prompt in (DOG, [DOG, "The"]):
            many = self.s.complete(prompt, n=6, logprobs=1, **ask)
            want = []
            for k in range(0, len(many["choices"]), 6):
                def mean(c):
                    told = c["logprobs"]["token_logprobs"]
                    return sum(told) / len(told) if told else float("-inf")
                rank = sorted(many["choices"][k:k + 6], key=mean, reverse=True)
                want += [c["text"] for c in rank[:2]]
            for more in ({}, {"logprobs": 1}, {"echo": True}):
                r = self.s.complete(prompt, n=2, best_of=6, **dict(ask, **more))
                texts = [c["text"] for c in r["choices"]]
                if "echo" in more:
                    texts = [t[len(p):] for t, p in zip(texts, [DOG] * 2 + ["The"] * 2)]
                self.assertEqual(texts, want)
                self.assertEqual([c["index"] for c in r["choices"]], list(range(len(want))))
                self.assertEqual([c["logprobs"] is None for c in r["choices"]],
                                 ["logprobs" not in more] * len(want))
                # Every one of them was computed, and is counted.
                self.assertEqual(r["usage"]["completion_tokens"],
                                 many["usage"]["completion_tokens"])
                self.assertEqual(r["usage"]["prompt_tokens"], many["usage"]["prompt_tokens"])
        same = self.s.complete(DOG, n=3, best_of=3, **ask)["choices"]
        self.assertEqual([c["text"] for c in same],
                         [c["text"] for c in self.s.complete(DOG, n=3, **ask)["choices"]])

    def test_best_of_is_for_whole_replies_of_completions(self):
        e = self.s.post("/v1/completions", {"prompt": DOG, "best_of": 2, "stream": True}, 400)
        self.assertEqual(e["error"]["message"], "best_of: 2 choices of which the reply has 1 "
                         "cannot be streamed")
        Stream(self.s, "/v1/completions", {"prompt": DOG, "n": 2, "best_of": 2, "max_tokens": 1,
                                           "stream": True}).close()
        e = self.s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}],
                                                 "best_of": 2}, 400)
        self.assertEqual(e["error"]["param"], "best_of")

    def test_without_a_seed_replies_differ(self):
        texts = {self.s.complete(DOG, max_tokens=24, temperature=1.5, top_p=1)["choices"][0]["text"]
                 for _ in range(3)}
        self.assertGreater(len(texts), 1)

    def test_echo_and_logprobs_as_an_evaluation_harness_asks(self):
        r = self.s.complete(DOG, max_tokens=1, temperature=0, echo=True, logprobs=5)
        c = r["choices"][0]
        self.assertEqual(c["text"], DOG + " Spot")
        lp = c["logprobs"]
        n = r["usage"]["prompt_tokens"] + 1
        for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            self.assertEqual(len(lp[key]), n, key)
        self.assertIsNone(lp["token_logprobs"][0])
        self.assertIsNone(lp["top_logprobs"][0])
        self.assertEqual("".join(lp["tokens"][1:]), c["text"])
        for i in range(1, n):
            self.assertEqual(c["text"][lp["text_offset"][i]:][:len(lp["tokens"][i])],
                             lp["tokens"][i])
            self.assertLessEqual(lp["token_logprobs"][i], 0)
            self.assertEqual(lp["top_logprobs"][i][lp["tokens"][i]], lp["token_logprobs"][i])
            self.assertIn(len(lp["top_logprobs"][i]), (5, 6))

    def test_echo_alone_with_no_output(self):
        r = self.s.complete(DOG, max_tokens=0, echo=True, logprobs=1)
        self.assertEqual(r["choices"][0]["text"], DOG)
        self.assertEqual(r["usage"]["completion_tokens"], 0)
        self.assertEqual(len(r["choices"][0]["logprobs"]["tokens"]), 12)
        self.assertEqual(r["choices"][0]["finish_reason"], "length")
        self.assertEqual(self.s.complete(DOG, max_tokens=0)["choices"][0]["text"], "")

    def test_logprobs_of_ids_and_of_text_agree(self):
        ids = self.s.post("/tokenize", {"prompt": DOG})["tokens"]
        a, b = (self.s.complete(p, max_tokens=3, temperature=0, echo=True, logprobs=3)["choices"][0]
                for p in (DOG, ids))
        self.assertEqual(a, b)

    def test_logprobs_have_the_precision_of_float32(self):
        import struct
        lp = self.s.complete(DOG, max_tokens=20, temperature=0, logprobs=20)["choices"][0]["logprobs"]
        for v in lp["token_logprobs"] + [x for t in lp["top_logprobs"] for x in t.values()]:
            f = struct.unpack("f", struct.pack("f", v))[0]
            self.assertEqual(float("%.9g" % f), v)
        self.assertGreaterEqual(min(map(len, lp["top_logprobs"])), 20)

    def test_logprobs_zero_names_the_drawn_token_alone(self):
        lp = self.s.complete(DOG, max_tokens=2, temperature=0, logprobs=0)["choices"][0]["logprobs"]
        self.assertEqual([list(t) for t in lp["top_logprobs"]], [[t] for t in lp["tokens"]])

    def test_stop_strings_end_the_text_and_are_not_in_it(self):
        full = self.s.complete(DOG, max_tokens=40, temperature=0)["choices"][0]["text"]
        for stop in (" loved", "ball", "ed to p", ["zebra", " with", "."]):
            c = self.s.complete(DOG, max_tokens=40, temperature=0, stop=stop)["choices"][0]
            stops = [stop] if isinstance(stop, str) else stop
            cut = min(full.index(x) for x in stops if x in full)
            self.assertEqual(c["text"], full[:cut])
            self.assertEqual(c["finish_reason"], "stop")

    def test_stop_token_ids_end_the_text(self):
        ids = self.s.complete(DOG, max_tokens=10, temperature=0,
                              return_token_ids=True)["choices"][0]["token_ids"]
        c = self.s.complete(DOG, max_tokens=40, temperature=0, stop_token_ids=[ids[3]])["choices"][0]
        self.assertEqual(c["finish_reason"], "stop")

    def test_min_tokens_holds_stops_back(self):
        r = self.s.complete(DOG, max_tokens=30, min_tokens=20, temperature=0, stop=[" loved"])
        self.assertGreaterEqual(r["usage"]["completion_tokens"], 20)

    def test_return_token_ids(self):
        r = self.s.complete(DOG, max_tokens=4, temperature=0, return_token_ids=True)["choices"][0]
        self.assertEqual(r["prompt_token_ids"][0], 1)
        self.assertEqual(len(r["token_ids"]), 4)
        text = self.s.post("/detokenize", {"tokens": r["token_ids"]})["prompt"]
        self.assertEqual(text, r["text"])

    def test_logit_bias_forces_and_forbids(self):
        ids = self.s.complete(DOG, max_tokens=1, temperature=0,
                              return_token_ids=True)["choices"][0]["token_ids"]
        other = self.s.complete(DOG, max_tokens=1, temperature=0, logit_bias={str(ids[0]): -100},
                                return_token_ids=True)["choices"][0]["token_ids"]
        self.assertNotEqual(ids, other)
        forced = self.s.complete(DOG, max_tokens=3, temperature=0, logit_bias={"300": 100},
                                 return_token_ids=True)["choices"][0]["token_ids"]
        self.assertEqual(forced, [300, 300, 300])

    def test_logit_bias_as_llama_server_has_it(self):
        ask = dict(max_tokens=3, temperature=0, return_token_ids=True)
        first, = self.s.complete(DOG, **dict(ask, max_tokens=1))["choices"][0]["token_ids"]
        self.assertEqual(self.s.complete(DOG, logit_bias=[[300, 100]], **ask)["choices"][0][
            "token_ids"], [300] * 3)
        without = self.s.complete(DOG, logit_bias={str(first): -100}, **ask)["choices"][0]
        for never in ([[first, False]], [[" Spot", False]], {str(first): False}):
            self.assertEqual(self.s.complete(DOG, logit_bias=never, **ask)["choices"][0], without)
        twice = self.s.complete(DOG, logit_bias=[[300, 60], [300, 60]], **ask)["choices"][0]
        self.assertEqual(twice["token_ids"], [300] * 3)
        self.s.complete(DOG, logit_bias=False, **ask)
        for wrong in ([3], [[3]], [[3, "x"]], [[-1, 1]], [["a", 101]], [[3, True]], [["", 1]],
                      [["a " * 2000, 1]], "x", {"a": 1}):
            r = self.s.post("/v1/completions", {"prompt": DOG, "logit_bias": wrong}, 400)
            self.assertEqual(r["error"]["param"], "logit_bias", wrong)

    def test_penalties_change_a_greedy_text(self):
        plain = self.s.complete(DOG, max_tokens=30, temperature=0)["choices"][0]["text"]
        for field in ("presence_penalty", "frequency_penalty", "repetition_penalty"):
            c = self.s.complete(DOG, max_tokens=30, temperature=0, **{field: 2})["choices"][0]
            self.assertNotEqual(c["text"], plain, field)

    def test_narrow_sampling_is_greedy(self):
        want = self.s.complete(DOG, max_tokens=12, temperature=0)["choices"][0]["text"]
        for narrow in ({"top_k": 1}, {"top_p": 0}, {"min_p": 1}):
            c = self.s.complete(DOG, max_tokens=12, temperature=1,
                                **dict({"top_p": 1}, **narrow))["choices"][0]
            self.assertEqual(c["text"], want, narrow)

    def test_special_tokens_in_a_raw_prompt_are_tokens(self):
        ids = self.s.post("/tokenize", {"prompt": "<|user|>\nHi<|end|>"})["tokens"]
        self.assertEqual(ids[:2], [1, 3])
        self.assertEqual(ids[-1], 6)
        plain = self.s.post("/tokenize", {"prompt": "Hi", "add_special_tokens": False})["tokens"]
        self.assertNotIn(1, plain)

    def test_an_empty_prompt_starts_from_bos(self):
        r = self.s.complete("", max_tokens=3, temperature=0)
        self.assertEqual(r["usage"]["prompt_tokens"], 1)

    def test_harmless_unknown_fields_are_ignored(self):
        self.s.complete(DOG, max_tokens=1, user="me", store=True, metadata={"a": "b"}, foo=1,
                        service_tier="auto", suffix="", best_of=1, tools=[], logit_bias=None,
                        stop=None, response_format={"type": "text"})

    def test_unicode_goes_in_and_out(self):
        text = "Zoë said \u201chello\u201d \U0001F600 \u4f60\u597d"
        r = self.s.complete(text, max_tokens=0, echo=True)
        self.assertEqual(r["choices"][0]["text"], text)
        ids = self.s.post("/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]
        self.assertEqual(self.s.post("/detokenize", {"tokens": ids})["prompt"], text)

    def test_stream_equals_whole(self):
        body = {"prompt": DOG, "max_tokens": 40, "temperature": 0, "logprobs": 2,
                "return_token_ids": True}
        whole = self.s.post("/v1/completions", body)["choices"][0]
        st = Stream(self.s, "/v1/completions", dict(body, stream=True))
        self.assertTrue(st.headers["content-type"].startswith("text/event-stream"))
        self.assertEqual(st.headers["cache-control"], "no-cache")
        text, ids, tokens, offsets, finish, same = "", [], [], [], [], set()
        for e in st.events():
            c = e["choices"][0]
            self.assertNotIn("usage", e)
            self.assertEqual(e["object"], "text_completion")
            same.add((e["id"], e["created"], e["model"]))
            text += c["text"]
            ids += c["token_ids"]
            if c["logprobs"]:
                tokens += c["logprobs"]["tokens"]
                offsets += c["logprobs"]["text_offset"]
            finish.append(c["finish_reason"])
        st.close()
        self.assertTrue(st.done)
        self.assertEqual(len(same), 1)
        self.assertEqual((text, ids), (whole["text"], whole["token_ids"]))
        self.assertEqual((tokens, offsets), (whole["logprobs"]["tokens"],
                                             whole["logprobs"]["text_offset"]))
        self.assertEqual(finish[-1], "length")
        self.assertEqual(set(finish[:-1]), {None})

    def test_stream_with_usage_echo_and_two_prompts(self):
        st = Stream(self.s, "/v1/completions",
                    {"prompt": ["Once", "The"], "max_tokens": 5, "temperature": 0, "stream": True,
                     "echo": True, "n": 2, "stream_options": {"include_usage": True}})
        events = list(st.events())
        st.close()
        self.assertEqual(events[-1]["choices"], [])
        self.assertEqual(events[-1]["usage"]["completion_tokens"], 20)
        self.assertTrue(all(e["usage"] is None for e in events[:-1]))
        texts = ["", "", "", ""]
        for e in events[:-1]:
            texts[e["choices"][0]["index"]] += e["choices"][0]["text"]
        self.assertTrue(texts[0].startswith("Once") and texts[2].startswith("The"))
        self.assertEqual((texts[0], texts[2]), (texts[1], texts[3]))


if __name__ == "__main__":
    unittest.main()
