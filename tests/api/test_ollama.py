"""Ollama's API over raw HTTP: shapes of replies and streams, options, refusals."""
import json
import os
import unittest

from common import DEMO7, server
from test_tools import HI, TEMPLATE, TOOLS
from test_templates import model

NAME = os.path.basename(DEMO7)
FEW = {"num_predict": 8, "seed": 3}


class Ollama(unittest.TestCase):
    def setUp(self):
        self.s = server("--model", DEMO7)

    def chat(self, expect=200, **body):
        return self.s.post("/api/chat", dict({"model": NAME, "messages": HI, "stream": False,
                                              "options": FEW}, **body), expect)

    def lines(self, path, body):
        status, headers, data = self.s.request("POST", path, body)
        self.assertEqual((status, headers["content-type"]), (200, "application/x-ndjson"))
        self.assertTrue(data.endswith(b"\n"))
        return [json.loads(line) for line in data.splitlines()]

    def test_a_chat_and_its_figures(self):
        r = self.chat()
        self.assertEqual((r["model"], r["done"], r["done_reason"]), (NAME, True, "length"))
        self.assertEqual(r["message"]["role"], "assistant")
        self.assertTrue(r["message"]["content"])
        self.assertEqual(r["eval_count"], 8)
        self.assertEqual(r["load_duration"], 0)
        self.assertEqual(r["total_duration"], r["prompt_eval_duration"] + r["eval_duration"])
        same = self.s.chat(HI, max_tokens=8, seed=3)
        self.assertEqual(same["choices"][0]["message"]["content"], r["message"]["content"])
        self.assertEqual(same["usage"]["prompt_tokens"], r["prompt_eval_count"])
        self.assertEqual(self.chat(model=NAME + ":latest")["message"], r["message"])

    def test_a_stream_is_the_default_and_says_the_same(self):
        parts = self.lines("/api/chat", {"messages": HI, "options": FEW})
        self.assertEqual("".join(p["message"]["content"] for p in parts),
                         self.chat()["message"]["content"])
        self.assertEqual([p["done"] for p in parts], [False] * (len(parts) - 1) + [True])
        self.assertEqual(parts[-1]["eval_count"], 8)

    def test_generate_raw_and_as_a_turn(self):
        raw = self.s.post("/api/generate", {"prompt": "Once upon", "raw": True, "stream": False,
                                            "options": dict(FEW, temperature=0)})
        same = self.s.complete("Once upon", max_tokens=8, temperature=0)
        self.assertEqual(raw["response"], same["choices"][0]["text"])
        turn = self.s.post("/api/generate", {"prompt": "Hi.", "stream": False, "options": FEW})
        self.assertEqual(turn["response"], self.chat()["message"]["content"])
        parts = self.lines("/api/generate", {"prompt": "Hi.", "options": FEW})
        self.assertEqual("".join(p["response"] for p in parts), turn["response"])
        # -1 is as long as the server lets an answer be, in both forms.
        long = self.s.post("/api/generate", {"prompt": "Once", "raw": True, "stream": False,
                                             "options": {"num_predict": -1, "seed": 1}})
        self.assertTrue(long["eval_count"] > 16)

    def test_nothing_asked_is_loading(self):
        for path, body in (("/api/chat", {"messages": []}), ("/api/generate", {}),
                           ("/api/generate", {"prompt": ""})):
            r = self.s.post(path, dict(body, model=NAME))
            self.assertEqual((r["done"], r["done_reason"]), (True, "load"))
            self.assertIn("error", self.s.post(path, dict(body, model="other"), 404))

    def test_format(self):
        schema = {"type": "object", "properties": {"x": {"enum": [1, 2]}}, "required": ["x"],
                  "additionalProperties": False}
        for body in ({"format": schema}, {"format": schema, "stream": True}):
            r = self.lines("/api/chat", dict(body, messages=HI, options={"num_predict": 60}))
            text = "".join(p["message"]["content"] for p in r)
            self.assertIn(json.loads(text)["x"], (1, 2))
        r = self.chat(format="json")["message"]["content"]
        self.assertTrue(r.lstrip().startswith("{"), r)
        self.assertIn("format", self.chat(format=7, expect=400)["error"])

    def test_options_are_honoured_or_refused_by_name(self):
        a = self.chat(options=dict(FEW, temperature=0.7, top_k=20, top_p=0.9, min_p=0.05,
                                   repeat_penalty=1.3, num_ctx=2048, num_keep=4))
        same = self.s.chat(HI, max_tokens=8, seed=3, temperature=0.7, top_k=20, top_p=0.9,
                           min_p=0.05, repetition_penalty=1.3)
        self.assertEqual(a["message"]["content"], same["choices"][0]["message"]["content"])
        for options, word in (({"mirostat": 3}, "mirostat"), ({"temprature": 1}, "temprature"),
                              ({"tfs_z": 0.5}, "tfs_z"), ({"num_predict": "x"}, "num_predict"),
                              ({"repeat_penalty": -1}, "repeat_penalty"), ("x", "options")):
            self.assertIn(word, self.chat(options=options, expect=400)["error"])
        self.chat(options={"num_predict": 1, "mirostat": 0, "mirostat_tau": 5.0, "tfs_z": 1})

    def test_bad_requests(self):
        for body in ({"messages": [{"role": "user", "content": "a", "images": ["x"]}]},
                     {"messages": [7]}, {"messages": 7}, {"messages": [{"role": "user",
                                                                        "content": 7}]},
                     {"stream": "yes"}, {"think": 7}, {"logprobs": True, "top_logprobs": 3},
                     {"messages": [{"role": "assistant", "tool_calls": [{"function": 1}]}]}):
            r = self.chat(expect=400, **body)
            self.assertEqual((list(r), type(r["error"])), (["error"], str))
        for body in ({"prompt": 7}, {"prompt": "a", "template": "x"}, {"prompt": "a", "images": 1},
                     {"prompt": "a", "context": [1]}, {"prompt": "a", "raw": True, "suffix": "b"}):
            self.assertIsInstance(self.s.post("/api/generate", body, 400)["error"], str)
        self.assertIn("other", self.chat(model="other", expect=404)["error"])
        self.assertIsInstance(self.s.post("/api/nothing", {}, 404)["error"], str)

    def test_models(self):
        _, tags = self.s.get("/api/tags")
        self.assertEqual([m["name"] for m in tags["models"]], [NAME + ":latest"])
        self.assertEqual(len(tags["models"][0]["digest"]), 64)
        _, ps = self.s.get("/api/ps")
        self.assertEqual(ps["models"][0]["digest"], tags["models"][0]["digest"])
        self.assertIn("version", self.s.get("/api/version")[1])
        shown = self.s.post("/api/show", {"model": NAME})
        self.assertEqual(shown["details"], tags["models"][0]["details"])
        self.assertIn("completion", shown["capabilities"])
        self.assertEqual(self.s.post("/api/show", {"name": NAME + ":latest"}), shown)
        self.s.post("/api/show", {"model": "other"}, 404)
        self.s.post("/api/show", {}, 400)

    def test_embeddings_are_refused(self):
        for path in ("/api/embed", "/api/embeddings"):
            self.assertIn("no embedding model", self.s.post(path, {"input": "a"}, 400)["error"])
        e = self.s.post("/v1/embeddings", {"input": ["a", "b"], "encoding_format": "base64",
                                           "dimensions": 8}, 400)["error"]
        self.assertEqual(e["param"], "model")
        self.assertIn("no embedding model", e["message"])

    def test_tools_and_thinking(self):
        s = server("--model", model(TEMPLATE))
        shown = s.post("/api/show", {"model": s.get("/v1/models")[1]["data"][0]["id"]})
        self.assertEqual(shown["capabilities"], ["completion", "tools", "thinking"])
        talk = HI + [{"role": "assistant", "tool_calls": [{"function": {
            "name": "weather", "arguments": {"city": "Rome"}}}]},
            {"role": "tool", "tool_name": "weather", "content": "Sun."}]
        r = s.post("/api/chat", {"messages": talk, "tools": TOOLS, "stream": False,
                                 "options": FEW})
        ours = s.chat(HI + [{"role": "assistant", "content": None, "tool_calls": [{
            "type": "function", "function": {"name": "weather",
                                             "arguments": "{\"city\": \"Rome\"}"}}]},
            {"role": "tool", "content": "Sun."}], tools=TOOLS, max_tokens=8)
        self.assertEqual(r["prompt_eval_count"], ours["usage"]["prompt_tokens"])


if __name__ == "__main__":
    unittest.main()
