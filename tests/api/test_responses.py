"""OpenAI's /v1/responses. Raw HTTP; a grammar forces the texts, and a chat says what a translation
must come to."""
import json
import shutil
import signal
import tempfile
import unittest

from common import DEMO, Server, Stream, server
from keyed import Keyed, line, secret
from test_templates import model
from test_tools import CALL, CITY, DAYS, TEMPLATE, WAIT, forced

TOOLS = [{"type": "function", "name": "weather", "parameters": CITY},
         {"type": "function", "name": "wait", "parameters": DAYS}]


def text_of(response):
    return "".join(p["text"] for i in response["output"] if i["type"] == "message"
                   for p in i["content"])


def plain(v):
    """Without ids and times."""
    if isinstance(v, dict):
        return {k: plain(w) for k, w in v.items()
                if k not in ("id", "call_id", "created_at", "input_tokens_details")}
    return [plain(w) for w in v] if isinstance(v, list) else v


class Responses(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = model(TEMPLATE)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir, ignore_errors=True)

    def setUp(self):
        self.s = server("--model", self.dir)

    def ask(self, expect=200, **body):
        return self.s.post("/v1/responses", dict({"input": "Hi."}, **body), expect)

    def stream(self, **body):
        """The last response; the items it is made of are put together from the events."""
        st = Stream(self.s, "/v1/responses", dict({"input": "Hi."}, stream=True, **body))
        self.assertEqual(st.status, 200)
        items, types, n = [], [], 0
        for frame in st.frames():
            name, data = frame.split("\n")
            ev = json.loads(data[len("data: "):])
            types.append(ev["type"])
            self.assertEqual((name, ev["sequence_number"]), ("event: " + ev["type"], n))
            n += 1
            kind = ev["type"].split(".", 1)[1]
            if kind == "output_item.added":
                self.assertEqual((ev["output_index"], ev["item"]["status"]),
                                 (len(items), "in_progress"))
                items.append({"id": ev["item"]["id"], "text": ""})
            elif "item_id" in ev:
                self.assertEqual((ev["item_id"], ev["output_index"]),
                                 (items[-1]["id"], len(items) - 1))
                if kind.endswith(".delta"):
                    items[-1]["text"] += ev["delta"]
                elif kind.endswith("_text.done"):
                    self.assertEqual(ev["text"], items[-1]["text"])
                elif kind == "function_call_arguments.done":
                    self.assertEqual(ev["arguments"], items[-1]["text"])
            elif kind == "output_item.done":
                items[-1]["item"] = ev["item"]
            elif kind in ("completed", "incomplete"):
                last = ev["response"]
        self.assertEqual(types[:2], ["response.created", "response.in_progress"])
        self.assertEqual([i["item"] for i in items], last["output"])
        return last

    def both(self, **body):
        whole, parts = self.ask(**body), self.stream(**body)
        self.assertEqual(plain(whole), plain(parts))
        return whole

    def force(self, text, **body):
        return self.both(grammar=forced(text)["grammar"], temperature=0, **body)

    def test_a_text(self):
        r = self.force("Hello there.", max_output_tokens=100, metadata={"a": "b"})
        self.assertEqual((text_of(r), r["status"], r["object"]), ("Hello there.", "completed",
                                                                 "response"))
        self.assertEqual((r["metadata"], r["max_output_tokens"], r["temperature"]),
                         ({"a": "b"}, 100, 0))
        u = r["usage"]
        self.assertEqual(u["total_tokens"], u["input_tokens"] + u["output_tokens"])
        r = self.force("Hello there.", max_output_tokens=2)
        self.assertEqual((r["status"], r["incomplete_details"]["reason"]),
                         ("incomplete", "max_output_tokens"))

    def test_items_in_their_order(self):
        r = self.force("<think>one two</think>\n\nSure. " + CALL + "\n" + WAIT, tools=TOOLS)
        self.assertEqual([i["type"] for i in r["output"]],
                         ["reasoning", "message", "function_call", "function_call"])
        self.assertEqual(r["output"][0]["content"][0]["text"], "one two")
        self.assertEqual([(i["name"], json.loads(i["arguments"])) for i in r["output"][2:]],
                         [("weather", {"city": "Rome"}), ("wait", {"days": 2})])
        self.assertGreater(r["usage"]["output_tokens_details"]["reasoning_tokens"], 1)
        r = self.both(tools=TOOLS, tool_choice={"type": "function", "name": "wait"}, seed=1)
        self.assertEqual([i["name"] for i in r["output"]], ["wait"])

    def test_a_schema(self):
        r = self.both(text={"format": {"type": "json_schema", "name": "d", "schema": DAYS}}, seed=2)
        self.assertIn(json.loads(text_of(r))["days"], (1, 2, 3))

    def test_it_goes_on_with_what_was_kept(self):
        first = self.force("Sure. " + CALL, tools=TOOLS, instructions="Be short.",
                           input="What of Rome?")
        call = first["output"][1]
        out = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        more = dict(instructions="Be kind.", max_output_tokens=1)
        second = self.ask(previous_response_id=first["id"], input=[out], **more)
        whole = self.ask(input=[{"role": "user", "content": "What of Rome?"}] + first["output"] +
                         [out], **more)
        self.assertEqual(second["usage"]["input_tokens"], whole["usage"]["input_tokens"])
        self.assertLessEqual(whole["usage"]["input_tokens"] -
                             whole["usage"]["input_tokens_details"]["cached_tokens"], 1)
        chat = self.s.chat([
            {"role": "system", "content": "Be kind."}, {"role": "user", "content": "What of Rome?"},
            {"role": "assistant", "content": "Sure. ", "tool_calls": [{
                "id": "x", "type": "function", "function": {
                    "name": call["name"], "arguments": call["arguments"]}}]},
            {"role": "tool", "tool_call_id": "x", "content": "sunny"}], max_tokens=1)
        self.assertEqual(chat["usage"]["prompt_tokens"], second["usage"]["input_tokens"])

    def test_kept_answers_are_found_and_deleted(self):
        r = self.ask(max_output_tokens=2)
        path = "/v1/responses/" + r["id"]
        self.assertEqual(self.s.get(path), (200, r))
        status, _, data = self.s.request("DELETE", path)
        self.assertEqual((status, json.loads(data)["deleted"]), (200, True))
        for method in ("GET", "DELETE"):
            status, _, data = self.s.request(method, path)
            self.assertEqual((status, json.loads(data)["error"]["code"]),
                             (404, "response_not_found"))
        gone = self.ask(400, previous_response_id=r["id"])["error"]
        self.assertEqual((gone["param"], gone["code"]),
                         ("previous_response_id", "previous_response_not_found"))
        r = self.ask(max_output_tokens=2, store=False)
        self.assertEqual(self.s.get("/v1/responses/" + r["id"])[0], 404)

    def test_bad_requests(self):
        rows = [
            ({"input": None}, "input"), ({"input": 3}, "input"), ({"input": [3]}, "input"),
            ({"input": [{"role": "x", "content": "a"}]}, "input"),
            ({"input": [{"role": "user"}]}, "input"),
            ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
            ({"input": [{"type": "item_reference", "id": "a"}]}, "input"),
            ({"input": [{"type": "function_call"}]}, "input"),
            ({"input": [{"type": "function_call_output"}]}, "input"),
            ({"input": []}, "input"), ({"instructions": 3}, "instructions"),
            ({"tools": 3}, "tools"), ({"tools": [{"type": "web_search"}]}, "tools"),
            ({"tools": [{"type": "function"}]}, "tools"),
            ({"tool_choice": "required"}, "tool_choice"),
            ({"max_output_tokens": 0}, "max_output_tokens"), ({"store": 1}, "store"),
            ({"truncation": "auto"}, "truncation"), ({"background": True}, "background"),
            ({"include": ["x"]}, "include"), ({"reasoning": 3}, "reasoning"),
            ({"reasoning": {"effort": 3}}, "reasoning"), ({"text": {"verbosity": "low"}}, "text"),
            ({"text": {"format": {"type": "json_schema"}}}, "text"), ({"n": 2}, "n"),
            ({"previous_response_id": 3}, "previous_response_id"),
        ]
        for body, param in rows:
            self.assertEqual(self.ask(400, **body)["error"]["param"], param, body)


class Durable(unittest.TestCase):
    """With a state folder: after kill -9 right behind the answer's end."""

    def test_after_a_crash(self):
        state = tempfile.mkdtemp(prefix="recurd-responses-")
        self.addCleanup(shutil.rmtree, state, True)
        args = ["--model", DEMO, "--state-dir", state]
        s = Server(args)

        def crash():
            s.proc.send_signal(signal.SIGKILL)
            s.proc.wait()
            return Server(args)

        first = s.post("/v1/responses", {"input": "My dog is Spot.", "max_output_tokens": 6})
        s = crash()
        self.assertEqual(s.get("/v1/responses/" + first["id"]), (200, first))
        st = Stream(s, "/v1/responses", {"input": "And the cat?", "max_output_tokens": 6,
                                         "stream": True, "previous_response_id": first["id"]})
        for frame in st.frames():
            last = json.loads(frame.split("\n")[1][len("data: "):])
        second = last["response"]
        s = crash()
        self.assertEqual(s.get("/v1/responses/" + second["id"]), (200, second))
        third = s.post("/v1/responses", {"input": "Go on.", "max_output_tokens": 1, "temperature": 0,
                                         "previous_response_id": second["id"]})
        whole = s.post("/v1/responses", {"max_output_tokens": 1, "temperature": 0, "input": [
            {"role": "user", "content": "My dog is Spot."}, *first["output"],
            {"role": "user", "content": "And the cat?"}, *second["output"],
            {"role": "user", "content": "Go on."}]})
        self.assertEqual(third["usage"]["input_tokens"], whole["usage"]["input_tokens"])
        self.assertEqual(third["output"][0]["content"], whole["output"][0]["content"])
        self.assertEqual(s.request("DELETE", "/v1/responses/" + first["id"])[0], 200)
        s = crash()
        self.assertEqual(s.get("/v1/responses/" + first["id"])[0], 404)
        gone = s.post("/v1/responses", {"input": "a", "previous_response_id": first["id"]}, 400)
        self.assertEqual(gone["error"]["code"], "previous_response_not_found")
        self.assertEqual(s.get("/v1/responses/" + second["id"])[0], 200)
        self.assertEqual(s.get("/v1/responses/" + third["id"])[0], 200)
        self.assertEqual(s.stop(), 0)


class Keys(unittest.TestCase):
    def test_nobody_sees_anothers_answers(self):
        k = Keyed(line("alice") + line("bob"))
        try:
            a, b = ({"Authorization": "Bearer " + secret(n)} for n in ("alice", "bob"))
            _, _, data = k.server.request("POST", "/v1/responses", {
                "input": "Hi.", "max_output_tokens": 1}, a)
            path = "/v1/responses/" + json.loads(data)["id"]
            self.assertEqual(k.server.request("GET", path, None, b)[0], 404)
            self.assertEqual(k.server.request("DELETE", path, None, b)[0], 404)
            self.assertEqual(k.server.request("GET", path, None, a)[0], 200)
        finally:
            k.close()
