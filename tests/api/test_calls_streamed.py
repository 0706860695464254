"""Arguments of tool calls leave as they are written, in every API that streams them: more than one
piece, the same call as unstreamed, and nothing that is taken back when the text ends within it."""
import json
import shutil
import unittest

from common import Server, Stream, server
from test_templates import model
from test_tools import HI, TEMPLATE, forced, model_with_marker

NOTE = {"type": "object", "properties": {"text": {"type": "string", "minLength": 40, "maxLength": 80},
                                         "days": {"enum": [1, 2]}, "tags": {
    "type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 2}},
    "required": ["text", "days", "tags"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "note", "parameters": NOTE}}]
FLAT = [{"type": "function", "name": "note", "parameters": NOTE}]
ANTHROPIC = [{"name": "note", "input_schema": NOTE}]
SIGNS = ("<|tool_calls_section_begin|>", "<minimax:tool_call>", "<|tool_call_start|>",
         "<tool_call><function=", "<tool_call>", "<tool_calls>", "<TOOLCALL>", "[TOOL_CALLS][ARGS]",
         "[TOOL_CALLS]", '"name":"parameters":')


class Streamed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = model(TEMPLATE)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir, ignore_errors=True)

    def setUp(self):
        self.s = server("--model", self.dir)

    def chat(self, **body):
        """(name, arguments, finish reason) unstreamed, which the stream has too; its pieces."""
        body = dict({"messages": HI, "tools": TOOLS, "tool_choice": "required", "temperature": 1,
                     "seed": 3, "max_tokens": 500}, **body)
        choice = self.s.post("/v1/chat/completions", body)["choices"][0]
        pieces, name, finish, text = [], None, None, ""
        for ev in Stream(self.s, "/v1/chat/completions", dict(body, stream=True)).events():
            for c in ev["choices"]:
                finish = c["finish_reason"] or finish
                text += c["delta"].get("content") or ""
                for d in c["delta"].get("tool_calls", []):
                    name = d["function"].get("name", name)
                    pieces.append(d["function"]["arguments"])
        m = choice["message"]
        calls = m.get("tool_calls", [])
        self.assertEqual((m["content"] or "", choice["finish_reason"]), (text, finish))
        self.assertLessEqual(len(calls), 1)
        if not calls:
            self.assertIsNone(name)
            return None, None, finish, []
        f = calls[0]["function"]
        self.assertEqual((f["name"], f["arguments"]), (name, "".join(pieces)))
        return name, f["arguments"], finish, [p for p in pieces if p]

    def test_every_dialect(self):
        for sign in SIGNS:
            d = model("{{ bos_token }}{% if tools %}" + sign + "{% endif %}"
                      "{% for m in messages %}{{ m.content }}{% endfor %}")
            self.addCleanup(shutil.rmtree, d, True)
            self.s = Server(["--model", d])
            self.addCleanup(self.s.stop)
            name, args, finish, pieces = self.chat()
            self.assertEqual((name, finish), ("note", "tool_calls"), sign)
            self.assertEqual(sorted(json.loads(args)), ["days", "tags", "text"])
            # Wherever the text ends, what has left is a beginning.
            for n in (1, 6, 14, 22, 30):
                name, part, finish, _ = self.chat(max_tokens=n)
                self.assertEqual(finish, "length")
                self.assertTrue(args.startswith(part or ""), sign)
            self.assertEqual(self.chat(parallel_tool_calls=False)[1], args)

    def test_they_do_not_wait_for_the_end(self):
        """Of a call that has none: its string is never closed."""
        quotes = {}
        for text in ('"', '".', '."', ',"', '!"', '?"', '"}', '",'):
            ids = self.s.post("/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]
            quotes.update({str(i): -100 for i in ids[-1:]})
        free = [{"type": "function", "function": {"name": "note", "parameters": {
            "type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}}}]
        body = {"messages": HI, "tools": free, "tool_choice": "required", "max_tokens": 1000000,
                "stream": True, "temperature": 1, "seed": 3}
        st = Stream(self.s, "/v1/chat/completions", dict(body, logit_bias=quotes))
        got = ""
        for ev in st.events():
            for d in ev["choices"][0]["delta"].get("tool_calls", []):
                got += d["function"]["arguments"]
            if len(got) > 200:
                break
        st.reset()
        self.assertGreater(len(got), 200)
        self.assertIn('"text"', got)

    def test_a_stop_string_in_a_call_cuts_it(self):
        whole = json.loads(self.chat()[1])
        name, part, finish, _ = self.chat(stop=[whole["text"][30:36]])
        self.assertEqual((name, finish), ("note", "stop"))
        with self.assertRaises(ValueError):
            json.loads(part)

    def test_a_call_that_the_model_makes_by_itself(self):
        """No more than the marker and the end of the list is wanted of it."""
        d = model_with_marker()
        self.addCleanup(shutil.rmtree, d, True)
        self.s = Server(["--model", d])
        self.addCleanup(self.s.stop)
        text = "Well. <TOOLCALL>"
        # With a grammar of the client's own nothing keeps calls whole: they leave when they are.
        call = '[{"name": "note", "arguments": {"text": "abc def ghi"}}]</TOOLCALL>'
        _, args, finish, pieces = self.chat(tool_choice="auto", **forced(text + call))
        self.assertEqual((finish, pieces), ("tool_calls", [args]))
        for broken in (call[:-12], call.replace('"}', '}'), call.replace("note", "nope")):
            self.assertEqual(self.chat(tool_choice="auto", **forced(text + broken))[2:],
                             ("stop", []))
        marker, = self.s.post("/tokenize", {"prompt": "<TOOLCALL>"})["tokens"][-1:]
        _, args, finish, pieces = self.chat(tool_choice="auto", logit_bias={str(marker): 100},
                                            max_tokens=100, parallel_tool_calls=False)
        self.assertIsNotNone(args)

    def test_messages(self):
        body = {"messages": HI, "tools": ANTHROPIC, "tool_choice": {"type": "any"}, "seed": 3,
                "temperature": 1}
        for n, reason in ((500, "tool_use"), (60, "max_tokens")):
            whole = self.s.post("/v1/messages", dict(body, max_tokens=n))
            pieces, stop = [], None
            st = Stream(self.s, "/v1/messages", dict(body, max_tokens=n, stream=True))
            for frame in st.frames():
                ev = json.loads(frame.split("\n")[1][len("data: "):])
                if ev["type"] == "content_block_delta":
                    pieces.append(ev["delta"]["partial_json"])
                elif ev["type"] == "message_delta":
                    stop = ev["delta"]["stop_reason"]
            block, = whole["content"]
            self.assertEqual((whole["stop_reason"], stop), (reason, reason))
            self.assertTrue(pieces)
            if reason == "tool_use":
                self.assertEqual(block["input"], json.loads("".join(pieces)))
            else:  # half an object is none
                self.assertEqual(block["input"], {})

    def test_responses(self):
        body = {"input": "Hi.", "tools": FLAT, "tool_choice": "required", "seed": 3,
                "temperature": 1}
        for n, status in ((500, "completed"), (60, "incomplete")):
            whole = self.s.post("/v1/responses", dict(body, max_output_tokens=n))
            deltas, done, last = [], None, None
            st = Stream(self.s, "/v1/responses", dict(body, max_output_tokens=n, stream=True))
            for frame in st.frames():
                ev = json.loads(frame.split("\n")[1][len("data: "):])
                if ev["type"] == "response.function_call_arguments.delta":
                    deltas.append(ev["delta"])
                elif ev["type"] == "response.function_call_arguments.done":
                    done = ev["arguments"]
                elif ev["type"] in ("response.completed", "response.incomplete"):
                    last = ev["response"]
            item, = whole["output"]
            self.assertEqual((item["status"], whole["status"], last["status"]), (status,) * 3)
            self.assertEqual((item["arguments"], last["output"][0]["arguments"]), (done, done))
            self.assertEqual("".join(deltas), done)
            self.assertTrue(deltas)
            # It goes on; a call that was cut is not part of the conversation.
            more = [{"role": "user", "content": "Go on."}]
            if status == "completed":
                more.insert(0, {"type": "function_call_output", "call_id": item["call_id"],
                                "output": "done"})
            self.s.post("/v1/responses", {"input": more, "previous_response_id": whole["id"],
                                          "max_output_tokens": 2})

    def test_ollama_has_calls_whole(self):
        body = {"messages": HI, "tools": TOOLS, "stream": False, "options": {"num_predict": 5}}
        r = self.s.post("/api/chat", body)
        self.assertNotIn("tool_calls", r["message"])


if __name__ == "__main__":
    unittest.main()
