"""llama-server's own API and lm-evaluation-harness's question, over raw HTTP."""
import json
import os
import shutil
import unittest

from common import DEMO7, Server, server, wait_for
from test_templates import model


class LlamaServer(unittest.TestCase):
    def setUp(self):
        self.s = server("--model", DEMO7)

    def complete(self, expect=200, path="/completion", **body):
        return self.s.post(path, dict({"prompt": "Once upon a time", "n_predict": 8,
                                       "temperature": 0}, **body), expect)

    def events(self, body):
        status, headers, data = self.s.request("POST", "/completion", dict(body, stream=True))
        self.assertEqual(status, 200)
        self.assertTrue(headers["content-type"].startswith("text/event-stream"))
        frames = data.decode().split("\n\n")
        self.assertEqual(frames[-1], "")
        return [json.loads(f[len("data: "):]) for f in frames[:-1] if f.startswith("data: ")]

    def test_a_completion(self):
        r = self.complete()
        same = self.s.complete("Once upon a time", max_tokens=8, temperature=0)
        self.assertEqual(r["content"], same["choices"][0]["text"])
        self.assertEqual((r["stop"], r["stop_type"], r["tokens_predicted"]), (True, "limit", 8))
        self.assertEqual(r["tokens_evaluated"], same["usage"]["prompt_tokens"])
        self.assertEqual(r["timings"]["predicted_n"], 8)
        self.assertEqual(self.complete(path="/completions")["content"], r["content"])

    def test_without_a_length_the_server_says_when(self):
        for body in ({"n_predict": -1}, {"n_predict": None}):
            self.assertTrue(self.complete(**body)["tokens_predicted"] > 16)

    def test_stops_and_penalties(self):
        text = self.complete(n_predict=24)["content"]
        word = text.split()[3]
        r = self.complete(n_predict=24, stop=[word])
        self.assertEqual((r["stop_type"], r["stopping_word"]), ("word", word))
        self.assertEqual(r["content"], text[:text.index(word)])
        a = self.complete(n_predict=24, repeat_penalty=1.5)["content"]
        b = self.s.complete("Once upon a time", max_tokens=24, temperature=0,
                            repetition_penalty=1.5)["choices"][0]["text"]
        self.assertEqual(a, b)

    def test_a_stream_says_the_same(self):
        parts = self.events({"prompt": "Once upon a time", "n_predict": 8, "temperature": 0})
        self.assertEqual("".join(p["content"] for p in parts), self.complete()["content"])
        self.assertEqual([p["stop"] for p in parts], [False] * (len(parts) - 1) + [True])
        self.assertEqual(parts[-1]["tokens_predicted"], 8)

    def test_several_prompts_and_constraints(self):
        r = self.complete(prompt=["One", "Two"])
        self.assertEqual([c["index"] for c in r], [0, 1])
        schema = {"type": "object", "properties": {"x": {"enum": [1, 2]}}, "required": ["x"],
                  "additionalProperties": False}
        self.assertIn(json.loads(self.complete(json_schema=schema, n_predict=60)["content"])["x"],
                      (1, 2))
        self.assertEqual(self.complete(grammar='root ::= "yes"')["content"], "yes")

    def test_what_is_refused_is_named(self):
        for body in ({"n_probs": 3}, {"t_max_predict_ms": 9}, {"id_slot": 2}, {"n_predict": "x"},
                     {"repeat_penalty": -1}, {"temperature": 9}, {"n_indent": "x"}):
            e = self.complete(expect=400, **body)["error"]
            self.assertEqual(e["param"], list(body)[0])
        e = self.s.post("/infill", {"input_prefix": "def f(", "input_suffix": "return"}, 400)
        self.assertEqual(e["error"]["param"], "input_suffix")

    def test_a_gap_is_filled_between_its_tokens(self):
        """By a vocabulary that has them: three of its special tokens, renamed."""
        d = model("")
        self.addCleanup(shutil.rmtree, d, True)
        for name in ("tokenizer.model", "tokenizer_config.json"):
            path = os.path.join(d, name)
            with open(path, "rb") as f:
                data = f.read()
            for old, new in ((b"<|user|>", b"<PRE>"), (b"<|system|>", b"<SUF>"),
                             (b"<|end|>", b"<MID>")):
                if name == "tokenizer.model":  # with the lengths of its two fields
                    at = data.index(old)
                    data = (data[:at - 3] + bytes([data[at - 3] + len(new) - len(old)]) + b"\n" +
                            bytes([len(new)]) + new + data[at + len(old):])
                else:
                    data = data.replace(old, new)
            os.remove(path)
            with open(path, "wb") as f:
                f.write(data)
        s = Server(["--model", d])
        self.addCleanup(s.stop)

        bos = s.post("/tokenize", {"prompt": ""})["tokens"]
        r = s.post("/v1/completions", {"prompt": "Once upon", "suffix": " the end.",
                                       "max_tokens": 1, "return_token_ids": True})
        got = r["choices"][0]["prompt_token_ids"]
        pieces = [s.post("/detokenize", {"tokens": [i]})["prompt"] for i in got]
        self.assertEqual(got[:1], bos)
        order = [pieces.index(x) for x in ("<PRE>", "<SUF>", "<MID>")]
        self.assertEqual(order, sorted(order))
        self.assertEqual((order[0], order[2]), (1, len(got) - 1))
        self.assertEqual("".join(pieces[2:order[1]]), "Once upon")
        self.assertEqual("".join(pieces[order[1] + 1:-1]), " the end.")
        r = s.post("/infill", {"input_prefix": "Once", "prompt": " upon",
                               "input_suffix": " the end.", "n_predict": 1})
        self.assertEqual(r["tokens_evaluated"], len(got))
        r = s.post("/api/generate", {"prompt": "Once upon", "suffix": " the end.", "stream": False,
                                     "options": {"num_predict": 1}})
        self.assertEqual(r["prompt_eval_count"], len(got))
        for wrong in ({"prompt": [1, 2], "suffix": "a"}, {"prompt": "a", "suffix": 3},
                      {"prompt": "a", "suffix": "b", "echo": True}):
            e = s.post("/v1/completions", wrong, 400)["error"]
            self.assertEqual(e["param"], "suffix")

    def test_props_and_slots(self):
        _, props = self.s.get("/props")
        self.assertEqual((props["bos_token"], props["model_alias"]), ("<s>", "rwkv7"))
        _, slots = self.s.get("/slots")
        self.assertEqual(len(slots), props["total_slots"])
        # What other tests asked of this server may end a moment after its reply.
        wait_for(lambda: not any(s["is_processing"] for s in self.s.get("/slots")[1]))

    def test_tokenize_with_content(self):
        ids = self.s.post("/tokenize", {"content": "Hi there"})["tokens"]
        self.assertEqual(ids, self.s.post("/tokenize", {"prompt": "Hi there",
                                                        "add_special_tokens": False})["tokens"])
        self.assertEqual(self.s.post("/tokenize", {"content": "Hi there", "add_special": True}),
                         self.s.post("/tokenize", {"prompt": "Hi there"}))
        self.assertEqual(self.s.post("/detokenize", {"tokens": ids})["content"], "Hi there")
        self.s.post("/tokenize", {"content": 7}, 400)
        self.s.post("/tokenize", {"content": "a", "add_special": "x"}, 400)

    def test_tokenizer_info(self):
        _, info = self.s.get("/tokenizer_info")
        self.assertEqual((info["bos_token"], info["eos_token"]), ("<s>", "</s>"))
        for key, n in (("bos_token", 1), ("eos_token", 2)):  # as lm-evaluation-harness asks
            self.assertEqual(self.s.post("/tokenize", {"prompt": info[key],
                                                       "add_special_tokens": False})["tokens"], [n])


if __name__ == "__main__":
    unittest.main()
