"""Tool calls and reasoning in replies. The demo model calls nothing by itself: a grammar forces the
text, a template of ours says in which dialect."""
import json
import os
import re
import shutil
import unittest

from common import DEMO, Server, Stream, server
from test_templates import model

try:
    import openai
except ImportError:
    openai = None
    print("skipped: the official client, which is not installed (pip install openai)")

TEMPLATE = """{{ bos_token }}{% if tools %}<|system|>
Answer with <tool_call>{"name": ..., "arguments": ...}</tool_call>:
{%- for t in tools %} {{ t | tojson }}{% endfor %}<|end|>
{% endif %}{% for m in messages %}<|{{ 'user' if m.role == 'tool' else m.role }}|>
{{ m.content or '' }}{% for c in m.tool_calls or [] %}<tool_call>{"name": "{{ c.function.name }}", \
"arguments": {{ c.function.arguments | tojson }}}</tool_call>
{%- endfor %}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% if think %}<think>
{% endif %}{% endif %}{# </think> #}"""
TAGS = TEMPLATE.replace('{"name": ..., "arguments": ...}', "<function=f>")
HI = [{"role": "user", "content": "Hi."}]
CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}},
        "required": ["city"], "additionalProperties": False}
DAYS = {"type": "object", "properties": {"days": {"enum": [1, 2, 3]}}, "required": ["days"],
        "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": CITY}},
         {"type": "function", "function": {"name": "wait", "parameters": DAYS}}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
WAIT = '<tool_call>\n{"name": "wait", "arguments": {"days": 2}}\n</tool_call>'


def forced(text):
    return {"grammar": "root ::= " + json.dumps(text), "max_tokens": 400, "temperature": 0}


def model_with_marker():
    """Its vocabulary has <TOOLCALL> as a special token, in the place of one of the same length."""
    d = model(TEMPLATE.replace("<tool_call>", "<TOOLCALL>"))
    for name in ("tokenizer.model", "tokenizer_config.json"):
        path = os.path.join(d, name)
        with open(path, "rb") as f_in:
            data = f_in.read()
        os.remove(path)
        with open(path, "wb") as f_out:
            f_out.write(data.replace(b"<|system|>", b"<TOOLCALL>"))
    return d


class Tools(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dirs = [model(TEMPLATE), model(TAGS), model_with_marker()]

    @classmethod
    def tearDownClass(cls):
        for d in cls.dirs:
            shutil.rmtree(d, ignore_errors=True)

    def setUp(self):
        self.s = server("--model", self.dirs[0])

    def both(self, **body):
        """The message and finish reason, streamed and not: equal but for ids."""
        whole = self.s.chat(HI, **body)
        st = Stream(self.s, "/v1/chat/completions", dict(
            body, messages=HI, stream=True, stream_options={"include_usage": True}))
        got, calls, finish, usage = {}, [], None, None
        for ev in st.events():
            usage = ev.get("usage") or usage
            for c in ev["choices"]:
                finish = c["finish_reason"] or finish
                for key in ("content", "reasoning_content"):
                    if c["delta"].get(key):
                        got[key] = got.get(key, "") + c["delta"][key]
                for d in c["delta"].get("tool_calls", []):
                    if d["index"] == len(calls):
                        calls.append({"id": d["id"], "type": d["type"], "function": {
                            "name": d["function"]["name"], "arguments": ""}})
                    else:
                        self.assertEqual(sorted(d), ["function", "index"])
                        self.assertEqual((d["index"], list(d["function"])),
                                         (len(calls) - 1, ["arguments"]))
                    calls[-1]["function"]["arguments"] += d["function"]["arguments"]
        choice = whole["choices"][0]
        m = choice["message"]
        self.assertEqual(m["content"] or "", got.get("content", ""))
        self.assertEqual(m.get("reasoning_content", ""), got.get("reasoning_content", ""))
        self.assertEqual([c["function"] for c in m.get("tool_calls", [])],
                         [c["function"] for c in calls])
        self.assertEqual(choice["finish_reason"], finish)
        self.assertEqual(whole["usage"]["completion_tokens"], usage["completion_tokens"])
        for one in (m.get("tool_calls", []), calls):
            ids = [c["id"] for c in one]
            self.assertEqual(len(ids), len(set(ids)))
        return m, finish, usage

    def text(self, tools, tool_choice, seed):
        """What the model wrote, as tokens show it."""
        r = self.s.chat(HI, tools=tools, tool_choice=tool_choice, max_tokens=400, seed=seed,
                        temperature=1, return_token_ids=True)
        return self.s.post("/detokenize", {"tokens": r["choices"][0]["token_ids"]})["prompt"]

    def functions(self, message):
        return [(c["function"]["name"], json.loads(c["function"]["arguments"]))
                for c in message.get("tool_calls", [])]

    def test_a_call_alone_and_two_with_text(self):
        m, finish, _ = self.both(tools=TOOLS, **forced(CALL))
        self.assertEqual((m["content"], finish), (None, "tool_calls"))
        self.assertEqual(self.functions(m), [("weather", {"city": "Rome"})])
        m, finish, usage = self.both(tools=TOOLS, **forced("Sure. " + CALL + "\n" + WAIT))
        self.assertEqual((m["content"], finish), ("Sure. ", "tool_calls"))
        self.assertEqual(self.functions(m), [("weather", {"city": "Rome"}), ("wait", {"days": 2})])
        one, _, same = self.both(tools=TOOLS, parallel_tool_calls=False,
                                 **forced("Sure. " + CALL + "\n" + WAIT))
        self.assertEqual(self.functions(one), [("weather", {"city": "Rome"})])
        alone, _, first = self.both(tools=TOOLS, **forced("Sure. " + CALL))
        self.assertEqual(self.functions(alone), self.functions(one))
        self.assertEqual(same["completion_tokens"], first["completion_tokens"])
        self.assertLess(same["completion_tokens"], usage["completion_tokens"] - 10)

    def test_one_call_ends_the_answer_in_every_dialect(self):
        """Also where nothing says that the calls are over, and the text would go on."""
        for sign, text in (
                ("[TOOL_CALLS][ARGS]", '[TOOL_CALLS]wait[ARGS]{"days": 2}'),
                ("[TOOL_CALLS]", '[TOOL_CALLS][{"name": "wait", "arguments": {"days": 2}}]'),
                ('"name":"parameters":', '{"name": "wait", "parameters": {"days": 2}}'),
                ("<tool_call>", WAIT)):
            d = model("{{ bos_token }}{% if tools %}" + sign + "{% endif %}")
            self.addCleanup(shutil.rmtree, d, True)
            self.s = Server(["--model", d])
            self.addCleanup(self.s.stop)
            m, finish, usage = self.both(tools=TOOLS, parallel_tool_calls=False,
                                         **forced(text + "\nAnd so it went on for ever."))
            self.assertEqual(self.functions(m), [("wait", {"days": 2})])
            self.assertEqual(finish, "tool_calls")
            _, _, alone = self.both(tools=TOOLS, **forced(text))
            self.assertEqual(usage["completion_tokens"], alone["completion_tokens"])

    def test_a_budget_ends_the_thinking(self):
        def ask(budget, **more):
            return self.both(chat_template_kwargs={"think": True}, seed=5, ignore_eos=True,
                             **dict({"max_tokens": 60}, **more), **budget)
        free, _, _ = ask({})
        self.assertGreater(len(free["reasoning_content"]), 60)
        same, _, _ = ask({"thinking_budget": 1000})
        self.assertEqual(same, free)
        self.assertEqual(ask({"reasoning_budget": -1})[0], free)
        was = ""
        for n in (0, 1, 7, 20):
            got, _, usage = ask({("thinking_budget", "reasoning_budget", "thinking_token_budget",
                                  "thinking_budget_tokens")[n % 4]: n})
            thought = got.get("reasoning_content") or ""
            self.assertTrue(free["reasoning_content"].startswith(thought))
            self.assertTrue(thought.startswith(was))
            self.assertGreater(len(got["content"]), 20)
            self.assertEqual(usage["completion_tokens"], 60)
            self.assertEqual(n == 0, thought == "")
            was = thought
        self.assertEqual(ask({"reasoning": {"max_tokens": 20}})[0], got)
        # What is demanded or constrained comes behind it.
        m, finish, _ = ask({"thinking_budget": 9}, tools=TOOLS, tool_choice="required",
                           max_tokens=200)
        self.assertEqual((len(self.functions(m)), finish), (1, "tool_calls"))
        self.assertTrue(m["reasoning_content"])
        form = {"type": "json_schema", "json_schema": {"name": "c", "schema": CITY}}
        m, finish, _ = ask({"thinking_budget": 9}, response_format=form, max_tokens=200)
        self.assertEqual((list(json.loads(m["content"])), finish), (["city"], "stop"))
        self.assertTrue(m["reasoning_content"])
        # GBNF is of the whole text, but with a budget of what is behind the thinking.
        for n in (0, 9):
            m, finish, _ = ask({"thinking_budget": n}, grammar='root ::= [ab]{3} "!"')
            self.assertRegex(m["content"], "^[ab]{3}!$")
            self.assertEqual((finish, bool(m.get("reasoning_content"))), ("stop", n > 0))
        m, finish, _ = ask({}, grammar='root ::= [ab]{3} "!</think>" [cd]')
        self.assertRegex(m["reasoning_content"], "^[ab]{3}!$")
        self.assertRegex(m["content"], "^[cd]$")
        for wrong in ({"thinking_budget": -2}, {"thinking_budget": "low"},
                      {"thinking_budget": 3, "reasoning_budget": 4}):
            self.s.post("/v1/chat/completions", dict(wrong, messages=HI), expect=400)

    def test_what_is_no_call_stays_text(self):
        for text in (CALL.replace("weather", "other"), CALL[:-14], CALL.replace("}}", "}")):
            m, finish, _ = self.both(tools=TOOLS, **forced(text))
            self.assertEqual((m["content"], finish), (text, "stop"))
            self.assertNotIn("tool_calls", m)
        for body in ({}, {"tools": TOOLS, "tool_choice": "none"}, {"tools": []}):
            m, finish, _ = self.both(**body, **forced(CALL))
            self.assertEqual((m["content"], finish), (CALL, "stop"))

    def test_tool_choice_none_renders_no_tools(self):
        counts = [self.s.chat(HI, max_tokens=1, **body)["usage"]["prompt_tokens"]
                  for body in ({}, {"tools": TOOLS, "tool_choice": "none"}, {"tools": TOOLS})]
        self.assertEqual(counts[0], counts[1])
        self.assertGreater(counts[2], counts[0] + 50)

    def test_a_demanded_call_is_made(self):
        for seed in range(4):
            for choice in ("required", {"type": "function", "function": {"name": "wait"}}):
                m, finish, _ = self.both(tools=TOOLS, tool_choice=choice, max_tokens=300, seed=seed,
                                         temperature=1)
                (name, args), = self.functions(m)
                self.assertEqual((m["content"], finish), (None, "tool_calls"))
                if choice != "required":
                    self.assertEqual(name, "wait")
                self.assertEqual(list(args), ["days" if name == "wait" else "city"])
                if name == "wait":
                    self.assertIn(args["days"], (1, 2, 3))

    def test_a_demanded_call_in_every_dialect(self):
        """Of each, a template that holds its signs; the arguments are the schema's."""
        day = {"$ref": "#/$defs/day"}
        plan = {"type": "object", "$defs": {"day": {"enum": ["Mon", "Tue"]}}, "properties": {
            "title": {"type": "string", "maxLength": 12}, "day": day, "hours": {
                "type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 23},
                "minItems": 1, "maxItems": 2}, "sure": {"type": "boolean"}},
            "required": ["title", "day", "hours"], "additionalProperties": False}
        tools = TOOLS + [{"type": "function", "function": {"name": "plan", "parameters": plan}}]
        for sign, written in (
                ("<|tool_calls_section_begin|>", "functions."), ("<minimax:tool_call>", "<invoke"),
                ("<|tool_call_start|>", "("), ("<tool_call><function=", "<parameter="),
                ("<tool_call>", "{"), ("<tool_calls>", "{"), ("<TOOLCALL>", "["),
                ("[TOOL_CALLS][ARGS]", "[ARGS]"), ("[TOOL_CALLS]", "[{"),
                ('"name":"parameters":', '"parameters"')):
            d = model("{{ bos_token }}{% if tools %}" + sign + "{% endif %}"
                      "{% for m in messages %}{{ m.content }}{% endfor %}")
            self.addCleanup(shutil.rmtree, d, True)
            self.s = Server(["--model", d])
            self.addCleanup(self.s.stop)
            for choice in ("required", {"type": "function", "function": {"name": "plan"}}):
                m, finish, _ = self.both(tools=tools, tool_choice=choice, max_tokens=400,
                                         seed=1, temperature=1)
                (name, args), = self.functions(m)
                self.assertEqual((m["content"], finish), (None, "tool_calls"), sign)
                self.assertIn(written, self.text(tools=tools, tool_choice=choice, seed=1))
                if name == "plan":
                    self.assertLessEqual(len(args["title"]), 12)
                    self.assertIn(args["day"], ("Mon", "Tue"))
                    self.assertIn(len(args["hours"]), (1, 2))
                    self.assertTrue(all(0 <= h < 24 for h in args["hours"]))
                    self.assertLessEqual(set(args), set(plan["properties"]))
                    self.assertIsInstance(args.get("sure", True), bool)
                self.assertIn(name, ("weather", "wait", "plan"))

    def test_a_demand_waits_for_the_end_of_the_reasoning(self):
        m, finish, _ = self.both(tools=TOOLS, tool_choice="required", max_tokens=20, temperature=0,
                                 chat_template_kwargs={"think": True})
        self.assertEqual((m["content"], finish), ("", "length"))
        self.assertGreater(len(m["reasoning_content"]), 20)

    def test_demands_that_cannot_be_met_are_refused(self):
        named = {"type": "function", "function": {"name": "other"}}
        for body in ({"tools": TOOLS, "tool_choice": named}, {"tool_choice": "required"},
                     {"tools": TOOLS, "tool_choice": "any"}, {"tools": TOOLS, "tool_choice": 1},
                     {"tools": TOOLS, "tool_choice": "required", "regex": "a"}):
            r = self.s.post("/v1/chat/completions", dict(body, messages=HI), expect=400)
            self.assertEqual(r["error"]["param"], "tool_choice")
        plain = server("--model", DEMO)  # its template says nothing of tools
        r = plain.post("/v1/chat/completions", {"messages": HI, "tools": TOOLS,
                                                "tool_choice": "required"}, expect=400)
        self.assertIn("no known form of calls", r["error"]["message"])
        tags = server("--model", self.dirs[1])
        odd = [{"type": "function", "function": {"name": "f", "parameters": {
            "type": "object", "minProperties": 2}}}]
        r = tags.post("/v1/chat/completions", {"messages": HI, "tools": odd,
                                               "tool_choice": "required"}, expect=400)
        self.assertIn("minProperties", r["error"]["message"])
        r = self.s.post("/v1/chat/completions", {"messages": HI, "reasoning_format": "x"},
                        expect=400)
        self.assertEqual(r["error"]["param"], "reasoning_format")

    def test_markers_that_are_special_tokens_reach_the_reader(self):
        self.s = server("--model", self.dirs[2])
        marker, = self.s.post("/tokenize", {"prompt": "<TOOLCALL>"})[
            "tokens"][-1:]
        ask = {"logit_bias": {str(marker): 100}, "max_tokens": 1, "temperature": 0}
        hidden, _, _ = self.both(**ask)
        shown, finish, usage = self.both(tools=TOOLS, **ask)
        self.assertEqual(hidden["content"], "")
        self.assertEqual((shown["content"], finish), ("<TOOLCALL>", "length"))
        self.assertEqual(usage["completion_tokens"], 1)

    def test_calls_of_strict_functions_follow_their_schemas(self):
        """The marker and the list's end are drawn because they are wanted so much; all else the
        masks and the model say."""
        self.s = server("--model", self.dirs[2])
        marker, = self.s.post("/tokenize", {"prompt": "<TOOLCALL>"})["tokens"][-1:]
        tools = [{"type": "function", "function": dict(t["function"], strict=True)} for t in TOOLS]
        end, = self.s.post("/tokenize", {"prompt": "}]"})["tokens"][-1:]
        ask = {"logit_bias": {str(marker): 100, str(end): 50}, "max_tokens": 400,
               "temperature": 1, "seed": 2}
        m, _, _ = self.both(tools=tools, **ask)
        calls = self.functions(m)
        self.assertGreater(len(calls), 2)  # free again behind each
        for name, args in calls:
            self.assertEqual(list(args), ["days" if name == "wait" else "city"])
            self.assertTrue(args.get("days", 1) in (1, 2, 3) and len(args.get("city", "")) <= 8)
        m, finish, _ = self.both(tools=tools, parallel_tool_calls=False, **ask)
        self.assertEqual((self.functions(m), finish), (calls[:1], "tool_calls"))
        half = [tools[1], {"type": "function", "function": {"name": "any"}}]
        m, _, _ = self.both(tools=half, **ask)
        for name, args in self.functions(m):
            self.assertTrue(name == "any" or list(args) == ["days"])
        odd = {"type": "function", "function": {"name": "f", "strict": True, "parameters": {
            "type": "object", "properties": {"a": {"type": "string", "format": "iri"}}}}}
        r = self.s.post("/v1/chat/completions", {"messages": HI, "tools": [odd]}, expect=400)
        self.assertEqual(r["error"]["param"], "tools")
        self.assertIn("iri", r["error"]["message"])
        odd["function"]["strict"] = False
        self.s.chat(HI, tools=[odd], max_tokens=1)

    def test_a_demanded_call_opens_with_the_special_token(self):
        """The marker is one token, as the model was taught it, and no text that looks like it."""
        self.s = server("--model", self.dirs[2])
        marker, = self.s.post("/tokenize", {"prompt": "<TOOLCALL>"})["tokens"][-1:]
        r = self.s.chat(HI, tools=TOOLS, tool_choice="required", max_tokens=300, seed=3,
                        return_token_ids=True)
        c = r["choices"][0]
        self.assertEqual(c["finish_reason"], "tool_calls")
        self.assertEqual(c["token_ids"][0], marker)

    def test_tags_dialect(self):
        text = ("<tool_call>\n<function=weather>\n<parameter=city>\n12\n</parameter>\n</function>\n"
                "</tool_call>")
        self.s = server("--model", self.dirs[1])
        m, finish, _ = self.both(tools=TOOLS, **forced(text))
        self.assertEqual(self.functions(m), [("weather", {"city": "12"})])
        self.assertEqual(finish, "tool_calls")

    def test_reasoning_is_told_apart(self):
        m, finish, _ = self.both(**forced("<think>one two</think>\n\nThree."))
        self.assertEqual((m["reasoning_content"], m["content"], finish),
                         ("one two", "Three.", "stop"))
        m, _, _ = self.both(chat_template_kwargs={"think": True}, **forced("one</think>Two."))
        self.assertEqual((m["reasoning_content"], m["content"]), ("one", "Two."))
        m, _, _ = self.both(reasoning_format="none", **forced("<think>one</think>Two."))
        self.assertEqual(m["content"], "<think>one</think>Two.")
        m, finish, _ = self.both(tools=TOOLS, **forced("<think>one</think>\n" + CALL))
        self.assertEqual((m["reasoning_content"], m["content"], finish),
                         ("one", None, "tool_calls"))

    def test_sessions_keep_what_the_model_wrote(self):
        ask = dict(tools=TOOLS, turn_id="t1", return_token_ids=True, **forced(CALL))
        replies = []
        sid = self.s.post("/v1/sessions", {})["id"]
        for _ in range(2):  # the second is the first's answer again
            r = self.s.chat(HI, session=sid, **ask)
            c = r["choices"][0]
            self.assertEqual(self.functions(c["message"]), [("weather", {"city": "Rome"})])
            self.assertEqual(c["finish_reason"], "tool_calls")
            replies.append((c["token_ids"], r["usage"]))
        n = len(replies[0][0])  # what is kept has the token that ended the turn, too
        self.assertEqual(replies[0][0], replies[1][0][:n])
        self.assertEqual(replies[0][1], replies[1][1])
        text = self.s.post("/detokenize", {"tokens": replies[0][0]})["prompt"]
        self.assertIn(CALL, re.sub("</?s>", "", text))

    @unittest.skipUnless(openai, "skipped: the official client is not installed")
    def test_the_official_client(self):
        client = openai.OpenAI(base_url="http://127.0.0.1:%d/v1" % self.s.port, api_key="x")
        name = self.s.get("/v1/models")[1]["data"][0]["id"]
        ask = dict(model=name, messages=HI, tools=TOOLS, max_tokens=400,
                   extra_body={"grammar": forced("Ok." + CALL + WAIT)["grammar"]})
        m = client.chat.completions.create(**ask).choices[0].message
        self.assertEqual([c.function.name for c in m.tool_calls], ["weather", "wait"])
        with client.chat.completions.stream(**ask) as stream:
            for _ in stream:
                pass
            done = stream.get_final_completion().choices[0]
        self.assertEqual(done.finish_reason, "tool_calls")
        self.assertEqual([c.function.arguments for c in done.message.tool_calls],
                         [c.function.arguments for c in m.tool_calls])
        talk = HI + [m.model_dump(exclude_none=True)] + [
            {"role": "tool", "tool_call_id": c.id, "content": "sunny"} for c in m.tool_calls]
        r = client.chat.completions.create(model=name, messages=talk, tools=TOOLS, max_tokens=5)
        self.assertIn(r.choices[0].finish_reason, ("length", "stop"))
        chunks = list(client.chat.completions.create(model=name, messages=talk, tools=TOOLS,
                                                     max_tokens=5, stream=True))
        self.assertIn(chunks[-1].choices[0].finish_reason, ("length", "stop"))
        demanded = client.chat.completions.create(
            model=name, messages=talk, tools=TOOLS, max_tokens=300,
            tool_choice={"type": "function", "function": {"name": "wait"}}).choices[0].message
        self.assertIn(json.loads(demanded.tool_calls[0].function.arguments)["days"], (1, 2, 3))
