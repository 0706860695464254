"""Anthropic's API: /v1/messages and count_tokens. Raw HTTP; a grammar forces the texts, and the
same request in OpenAI's form says what a translation must come to."""
import json
import shutil
import unittest

from common import Stream, server
from keyed import Keyed, line, secret
from test_templates import model
from test_tools import CALL, CITY, DAYS, TEMPLATE, TOOLS, WAIT, forced

HI = [{"role": "user", "content": "Hi."}]
OURS = [{"name": "weather", "description": "Of a city.", "input_schema": CITY},
        {"name": "wait", "input_schema": DAYS}]
THINKING = TEMPLATE.replace("{% if think %}", "{% if enable_thinking %}")


def text_of(blocks):
    return "".join(b["text"] for b in blocks if b["type"] == "text")


class Messages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = model(THINKING)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir, ignore_errors=True)

    def setUp(self):
        self.s = server("--model", self.dir)

    def ask(self, expect=200, path="/v1/messages", **body):
        body = {k: v for k, v in dict({"max_tokens": 300, "messages": HI}, **body).items()
                if v is not None}
        status, headers, data = self.s.request("POST", path, body)
        self.assertEqual(status, expect, data)
        self.assertEqual(headers["request-id"], headers["x-request-id"])
        return json.loads(data)

    def stream(self, **body):
        """The message as a client puts it together; every rule of the event sequence is checked."""
        st = Stream(self.s, "/v1/messages", dict(dict({"max_tokens": 300, "messages": HI}, **body),
                                                 stream=True))
        self.assertEqual(st.status, 200)
        self.assertTrue(st.headers["content-type"].startswith("text/event-stream"))
        message, opened, order = None, None, []
        for frame in st.frames():
            name, data = frame.split("\n")
            ev = json.loads(data[len("data: "):])
            self.assertEqual(name, "event: " + ev["type"])
            order.append(ev["type"])
            if ev["type"] == "message_start":
                message = ev["message"]
                self.assertEqual((message["content"], message["stop_reason"]), ([], None))
            elif ev["type"] == "content_block_start":
                self.assertIsNone(opened)
                self.assertEqual(ev["index"], len(message["content"]))
                opened = dict(ev["content_block"])
                message["content"].append(opened)
                args = ""
            elif ev["type"] == "content_block_delta":
                self.assertEqual(ev["index"], len(message["content"]) - 1)
                d = ev["delta"]
                key = {"text_delta": "text", "thinking_delta": "thinking",
                       "input_json_delta": "partial_json"}[d["type"]]
                if key == "partial_json":
                    args += d[key]
                else:
                    opened[key] += d[key]
            elif ev["type"] == "content_block_stop":
                self.assertEqual(ev["index"], len(message["content"]) - 1)
                if opened["type"] == "tool_use":
                    opened["input"] = json.loads(args)
                opened = None
            elif ev["type"] == "message_delta":
                self.assertIsNone(opened)
                message.update(ev["delta"], usage=ev["usage"])
        self.assertEqual(order[:1] + order[-2:], ["message_start", "message_delta", "message_stop"])
        return message

    def both(self, **body):
        """The message, streamed and not: equal but for ids and what was cached."""
        whole, parts = self.ask(**body), self.stream(**body)
        for m in (whole, parts):
            self.assertTrue(m.pop("id").startswith("msg_"))
            u = m["usage"]
            total = sum(u[k] for k in ("input_tokens", "cache_creation_input_tokens",
                                       "cache_read_input_tokens"))
            m["usage"] = (total, u["output_tokens"])
            for b in m["content"]:
                b.pop("id", None)
        self.assertEqual(whole, parts)
        self.assertEqual((whole["type"], whole["role"]), ("message", "assistant"))
        return whole

    def force(self, text, **body):
        ask = forced(text)
        return self.both(grammar=ask["grammar"], temperature=0, **body)

    def count(self, **body):
        return self.ask(path="/v1/messages/count_tokens", max_tokens=None, **body)["input_tokens"]

    def test_text_and_why_it_ended(self):
        m = self.force("Hello there.")
        self.assertEqual(m["content"], [{"type": "text", "text": "Hello there."}])
        self.assertEqual((m["stop_reason"], m["stop_sequence"]), ("end_turn", None))
        self.assertEqual(m["usage"][0], self.count())
        m = self.force("Hello there.", max_tokens=2)
        self.assertEqual((m["stop_reason"], m["usage"][1]), ("max_tokens", 2))
        m = self.force("Hello there.", stop_sequences=["zz", "the", "there"])
        self.assertEqual((text_of(m["content"]), m["stop_reason"], m["stop_sequence"]),
                         ("Hello ", "stop_sequence", "the"))

    def test_calls_and_thinking_are_blocks_in_their_order(self):
        m = self.force("<think>one\ntwo</think>\n\nSure. " + CALL + "\n" + WAIT + " Done.",
                       tools=OURS)
        self.assertEqual(m["content"], [
            {"type": "thinking", "thinking": "one\ntwo", "signature": ""},
            {"type": "text", "text": "Sure. "},
            {"type": "tool_use", "name": "weather", "input": {"city": "Rome"}},
            {"type": "tool_use", "name": "wait", "input": {"days": 2}},
            {"type": "text", "text": "Done."}])
        self.assertEqual(m["stop_reason"], "tool_use")
        m = self.force(CALL + "\n" + WAIT, tools=OURS,
                       tool_choice={"type": "auto", "disable_parallel_tool_use": True})
        self.assertEqual([b["name"] for b in m["content"]], ["weather"])
        m = self.force(CALL, tools=OURS, tool_choice={"type": "none"})
        self.assertEqual((text_of(m["content"]), m["stop_reason"]), (CALL, "end_turn"))
        ids = [b["id"] for b in self.ask(tools=OURS, grammar=forced(CALL + WAIT)["grammar"])[
            "content"]]
        self.assertEqual(len(set(ids)), 2)
        self.assertTrue(all(i.startswith("toolu_") for i in ids))

    def test_a_demanded_call_is_made(self):
        for choice, names in (({"type": "any"}, {"weather", "wait"}),
                              ({"type": "tool", "name": "wait"}, {"wait"})):
            for seed in range(3):
                m = self.both(tools=OURS, tool_choice=choice, seed=seed, temperature=1)
                self.assertEqual(m["stop_reason"], "tool_use")
                call, = m["content"]
                self.assertIn(call["name"], names)

    def test_a_long_answer_of_many_characters_comes_whole(self):
        text = "Häuser – 東京 😀 " * 300  # more than one slice of the reader
        reply = self.stream(grammar="root ::= " + json.dumps(text, ensure_ascii=False),
                            max_tokens=40000, tools=OURS, temperature=0)
        self.assertEqual(text_of(reply["content"]), text)

    def test_a_conversation_becomes_what_openai_would_send(self):
        def openai(messages, **more):
            return self.s.post("/tokenize", dict(more, messages=messages))["count"]

        call = {"id": "c1", "type": "function", "function": {
            "name": "weather", "arguments": {"city": "Rome"}}}
        theirs = [
            {"role": "user", "content": [{"type": "text", "text": "What of "},
                                         {"type": "text", "text": "Rome?"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [
                    {"type": "text", "text": "sunny, "}, {"type": "text", "text": "30 degrees"}]},
                {"type": "text", "text": "And tomorrow?"}]}]
        ours = [{"role": "system", "content": "Be short. Be kind."},
                {"role": "user", "content": "What of Rome?"},
                {"role": "assistant", "content": "I look.", "reasoning_content": "Hm.",
                 "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "sunny, 30 degrees"},
                {"role": "user", "content": "And tomorrow?"}]
        tools = [dict(t, function=dict(t["function"])) for t in TOOLS]
        tools[0]["function"]["description"] = "Of a city."
        system = [{"type": "text", "text": "Be short. "}, {"type": "text", "text": "Be kind."}]
        self.assertEqual(self.count(messages=theirs, system=system), openai(ours))
        with_tools = self.count(messages=theirs, system="Be short. Be kind.", tools=OURS)
        self.assertGreater(with_tools, openai(ours) + 50)
        self.assertLess(abs(with_tools - openai(ours, tools=tools)), 4)  # the order of keys
        # Not only as many tokens: the very ones are found in the cache.
        self.s.chat(ours, max_tokens=1)
        m = self.ask(messages=theirs, system=system, max_tokens=1)
        self.assertLessEqual(m["usage"]["input_tokens"], 1)
        # An assistant's message at the end is gone on with.
        begun = HI + [{"role": "assistant", "content": "Once"}]
        self.assertEqual(self.count(messages=begun),
                         openai(begun, continue_final_message=True))
        self.assertNotEqual(self.count(messages=begun), openai(begun))

    def test_thinking_is_off_unless_asked_for(self):
        off, on = self.count(), self.count(thinking={"type": "enabled", "budget_tokens": 1024})
        self.assertGreater(on, off)
        self.assertEqual(self.count(thinking={"type": "disabled"}), off)
        self.assertEqual(self.count(thinking={"type": "adaptive"}), off)
        m = self.force("one</think>Two.", thinking={"type": "enabled"})
        self.assertEqual([b["type"] for b in m["content"]], ["thinking", "text"])

    def test_a_budget_of_thinking_is_kept(self):
        lengths = []
        for n in (2, 8):
            m = self.both(thinking={"type": "enabled", "budget_tokens": n}, temperature=0,
                          ignore_eos=True, max_tokens=60)
            self.assertEqual([b["type"] for b in m["content"]], ["thinking", "text"])
            lengths.append(len(m["content"][0]["thinking"]))
        self.assertLess(2 * lengths[0], lengths[1])

    def test_cache_control_is_told_in_the_usage(self):
        system = [{"type": "text", "text": "A rule of %s. " % self.id() * 30,
                   "cache_control": {"type": "ephemeral"}}]
        body = dict(system=system, max_tokens=1)
        total = self.count(system=system)
        seen = []
        for ask in (body, dict(body, messages=HI + HI), dict(body, system=system[0]["text"])):
            u = self.ask(**ask)["usage"]
            seen.append((u["cache_creation_input_tokens"], u["cache_read_input_tokens"]))
            if ask.get("messages") is None:
                self.assertEqual(sum(seen[-1]) + u["input_tokens"], total)
        self.assertEqual(seen[0][1], 0)
        self.assertGreater(seen[0][0], 30)       # the system text, and not what follows it
        self.assertLess(seen[0][0], total)
        self.assertEqual(seen[1][0], 0)
        self.assertGreaterEqual(seen[1][1], seen[0][0])
        self.assertEqual(seen[2][0], 0)          # nobody asked
        self.assertGreaterEqual(seen[2][1], seen[0][0])
        hour = [dict(system[0], cache_control={"type": "ephemeral", "ttl": "1h"})]
        self.assertEqual(self.ask(system=hour, max_tokens=1)["usage"]["output_tokens"], 1)

    def test_answers_follow_a_schema(self):
        schema = {"type": "object", "properties": {"days": {"enum": [1, 2, 3]}},
                  "required": ["days"], "additionalProperties": False}
        m = self.both(output_config={"format": {"type": "json_schema", "schema": schema}}, seed=1)
        self.assertIn(json.loads(text_of(m["content"]))["days"], (1, 2, 3))

    def test_bad_requests_are_told_in_the_apis_form(self):
        def block(b, role="user"):
            return [{"role": role, "content": [b]}]

        rows = [
            ({"max_tokens": None}, "max_tokens: missing"),
            ({"max_tokens": 0}, "max_tokens: 0 is outside"),
            ({"messages": None}, "messages: nothing was sent"),
            ({"messages": []}, "messages: an empty array was sent"),
            ({"messages": 3}, "messages: an integer was sent"),
            ({"messages": [3]}, "the role of element 0"),
            ({"messages": [{"role": "system", "content": "x"}]}, "the role of element 0"),
            ({"messages": [{"role": "user"}]}, "content of element 0 is nothing"),
            ({"messages": [{"role": "user", "content": 3}]}, "content of element 0 is an integer"),
            ({"messages": block(3)}, "block 0 of element 0 is no object"),
            ({"messages": block({"type": "image", "source": {}})}, "\"image\""),
            ({"messages": block({"type": "text"})}, "has no \"text\" string"),
            ({"messages": block({"type": "tool_use"})}, "\"tool_use\", which is not supported"),
            ({"messages": block({"type": "tool_use"}, "assistant")}, "no \"id\" and \"name\""),
            ({"messages": block({"type": "tool_use", "id": "a", "name": "b"}, "assistant")},
             "no \"input\" object"),
            ({"messages": block({"type": "tool_result"})}, "no \"tool_use_id\""),
            ({"messages": block({"type": "tool_result", "tool_use_id": "a", "content": [
                {"type": "image"}]})}, "only text"),
            ({"messages": block({"type": "thinking", "thinking": 3}, "assistant")},
             "no \"thinking\" string"),
            ({"system": 3}, "system: it is an integer"),
            ({"system": [{"type": "image"}]}, "system: block 0"),
            ({"tools": 3}, "tools: an integer"),
            ({"tools": [3]}, "tools: element 0 has no \"name\""),
            ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "bash_20250124"),
            ({"tools": [{"name": "f", "input_schema": 3}]}, "input_schema of element 0"),
            ({"tool_choice": "auto"}, "tool_choice: an object"),
            ({"tool_choice": {"type": "tool"}}, "needs a \"name\""),
            ({"tool_choice": {"type": "any"}}, "there are no tools"),
            ({"tools": OURS, "tool_choice": {"type": "tool", "name": "x"}}, "none of the 2 tools"),
            ({"stop_sequences": 3}, "stop_sequences: each is a string"),
            ({"thinking": 3}, "thinking: an object"),
            ({"thinking": {"type": "enabled", "budget_tokens": 300}}, "but max_tokens is 300"),
            ({"cache_control": {"type": "x"}}, "cache_control: an object"),
            ({"system": [{"type": "text", "text": "a", "cache_control": {
                "type": "ephemeral", "ttl": "2h"}}]}, "ttl"),
            ({"mcp_servers": [{}]}, "mcp_servers: this server has none"),
            ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
             "clear_tool_uses"),
            ({"output_config": {"format": {"type": "json_schema"}}}, "output_config: json_schema"),
            ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "x"}}}},
             "output_config"),
            ({"n": 2}, "n: replies of this API"),
            ({"logprobs": True}, "logprobs: replies of this API"),
            ({"temperature": "x"}, "temperature: a string"),
        ]
        for body, words in rows:
            r = self.ask(400, **body)
            self.assertEqual((r["type"], r["error"]["type"]), ("error", "invalid_request_error"))
            self.assertIn(words, r["error"]["message"], body)
            self.assertEqual(set(r), {"type", "error", "request_id"})
        r = self.ask(404, model="other")
        self.assertEqual(r["error"]["type"], "not_found_error")
        for path in ("/v1/messages", "/v1/messages/count_tokens"):
            status, _, data = self.s.request("POST", path, b"{")
            self.assertEqual((status, json.loads(data)["type"]), (400, "error"))

    def test_errors_before_the_handler_have_the_form_of_their_path(self):
        status, _, data = self.s.request("POST", "/v1/messages/batches", {})
        self.assertEqual((status, json.loads(data)["error"]["type"]), (404, "not_found_error"))
        status, _, data = self.s.request("GET", "/v1/messages")
        self.assertEqual((status, json.loads(data)["type"]), (405, "error"))
        status, _, data = self.s.request("POST", "/v1/messages", b"x" * (5 << 20))
        self.assertEqual((status, json.loads(data)["error"]["type"]), (413, "request_too_large"))
        status, _, data = self.s.request("GET", "/api/nothing")
        self.assertEqual((status, json.loads(data)),
                         (404, {"error": "there is nothing at this path"}))
        status, _, data = self.s.request("GET", "/v1/nothing")
        self.assertEqual((status, json.loads(data)["error"]["code"]), (404, "unknown_url"))

    def test_sampled_texts_are_the_same_streamed_and_not(self):
        for seed in range(6):
            m = self.both(seed=seed, temperature=1, max_tokens=40)
            chat = self.s.chat(HI, seed=seed, temperature=1, max_tokens=40)
            self.assertEqual(text_of(m["content"]), chat["choices"][0]["message"]["content"])


class Keys(unittest.TestCase):
    def test_a_key_in_x_api_key(self):
        k = Keyed(line("alice"))
        try:
            body = {"max_tokens": 1, "messages": HI}
            for headers, expect in (({}, 401), ({"x-api-key": "wrong" * 5}, 401),
                                    ({"x-api-key": secret("alice")}, 200)):
                headers["anthropic-version"] = "2023-06-01"
                status, _, data = k.server.request("POST", "/v1/messages", body, headers)
                self.assertEqual(status, expect)
                if status == 401:
                    self.assertEqual(json.loads(data)["error"]["type"], "authentication_error")
        finally:
            k.close()


if __name__ == "__main__":
    unittest.main()
