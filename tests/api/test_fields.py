"""Fields of requests: samplers, what nobody knows, normalising rules, where the cache hit."""
import json
import os
import tempfile
import unittest

from common import DEMO, DEMO7, Server, in_threads, server

PROMPT = "Once upon a time there was a"


def write(text):
    f = tempfile.NamedTemporaryFile("w", suffix=".rules", delete=False)
    f.write(text)
    f.close()
    return f.name


class Samplers(unittest.TestCase):
    FIELDS = [{"typical_p": 0.3}, {"top_n_sigma": 1.0}, {"xtc_probability": 1.0, "xtc_threshold": 0.05},
              {"dynatemp_range": 0.8, "dynatemp_exponent": 2}, {"mirostat": 1, "mirostat_tau": 2},
              {"mirostat": 2, "mirostat_tau": 2, "mirostat_eta": 0.3},
              {"dry_multiplier": 5, "dry_base": 2, "dry_allowed_length": 1},
              {"repetition_penalty": 1.8, "repeat_last_n": 4}]

    def setUp(self):
        self.s = server("--model", DEMO7)

    def text(self, **fields):
        body = dict({"max_tokens": 48, "seed": 5, "temperature": 1.2}, **fields)
        return self.s.complete(PROMPT, **body)["choices"][0]["text"]

    def test_samplers_named_and_in_their_order(self):
        """What is not named is off; an order that would change the answer is refused."""
        s = server("--model", DEMO)
        ask = dict(max_tokens=24, seed=5)

        def text(**more):
            return s.complete("Once", **dict(ask, **more))["choices"][0]["text"]
        on = dict(top_k=20, top_p=0.7, min_p=0.1, repetition_penalty=1.4, temperature=1)
        self.assertNotEqual(text(**on), text(temperature=1, top_p=1))
        all_of_them = ["penalties", "dry", "top_n_sigma", "top_k", "min_p", "top_p", "typ_p", "xtc",
                       "temperature"]
        self.assertEqual(text(samplers=all_of_them, **on), text(**on))
        self.assertEqual(text(samplers="edskmpyxt", **on), text(**on))
        self.assertEqual(text(samplers=["penalties"], **on),
                         text(repetition_penalty=1.4, temperature=1, top_p=1))
        self.assertEqual(text(samplers=["min_p", "top_k"], **on),
                         text(top_k=20, min_p=0.1, temperature=1, top_p=1))
        self.assertEqual(text(samplers=["top_k"], temperature=0.3, top_k=1), text(temperature=0))
        self.assertEqual(text(samplers=["top_p", "temperature"], temperature=0),
                         text(temperature=0))
        self.assertEqual(text(samplers=[], **on), text(**on))
        for wrong, fault in ((["top_p", "temperature"], '"top_p" before "temperature"'),
                             (["top_p", "top_k"], '"top_p" before "top_k"'),
                             (["top_k", "top_k"], "twice"), (["tfs_z"], "none of"),
                             ([3], "none of"),
                             (3, "array"), ("kq", "none of")):
            r = s.post("/v1/completions", dict(on, prompt="Once", temperature=0.8,
                                               samplers=wrong), 400)
            self.assertEqual(r["error"]["param"], "samplers")
            self.assertIn(fault, r["error"]["message"])

    def test_each_has_an_effect(self):
        plain = self.text()
        for fields in self.FIELDS:
            with self.subTest(fields=fields):
                self.assertNotEqual(self.text(**fields), plain)

    def test_what_says_nothing_changes_nothing(self):
        plain = self.text()
        for fields in ({"typical_p": 1}, {"top_n_sigma": 0}, {"xtc_probability": 0},
                       {"dynatemp_range": 0}, {"mirostat": 0, "mirostat_tau": 1},
                       {"dry_multiplier": 0, "dry_base": 3}, {"repeat_last_n": 7}, {"seed": 5}):
            with self.subTest(fields=fields):
                self.assertEqual(self.text(**fields), plain)

    def test_the_same_bits_in_a_crowd_and_after_a_hit(self):
        alone = [self.text(**f) for f in self.FIELDS]
        self.assertEqual(in_threads([lambda f=f: self.text(**f) for f in self.FIELDS]), alone)

    def test_one_spelling_for_every_api(self):
        for fields in ({"mirostat": 2, "mirostat_tau": 2}, {"typical_p": 0.3},
                       {"repeat_last_n": 4, "repeat_penalty": 1.8}):
            ours = self.text(**fields)
            llama = self.s.post("/completion", dict(
                {"prompt": PROMPT, "n_predict": 48, "seed": 5, "temperature": 1.2}, **fields))
            self.assertEqual(llama["content"], ours, fields)
            body = {"model": self.s.get("/v1/models")[1]["data"][0]["id"], "prompt": PROMPT,
                    "raw": True, "stream": False,
                    "options": dict({"num_predict": 48, "seed": 5, "temperature": 1.2}, **fields)}
            self.assertEqual(self.s.post("/api/generate", body)["response"], ours, fields)

    def test_ranges(self):
        for fields, field in (({"typical_p": 1.5}, "typical_p"), ({"mirostat": 3}, "mirostat"),
                              ({"xtc_probability": -1}, "xtc_probability"),
                              ({"dry_sequence_breakers": [1]}, "dry_sequence_breakers"),
                              ({"dry_sequence_breakers": [""]}, "dry_sequence_breakers"),
                              ({"repeat_last_n": -2}, "repeat_last_n"),
                              ({"repeat_penalty": 2, "repetition_penalty": 3}, "repeat_penalty")):
            r = self.s.complete(PROMPT, expect=400, **fields)
            self.assertEqual(r["error"]["param"], field)


class Lengths(unittest.TestCase):
    def setUp(self):
        self.s = server("--model", DEMO7)

    def test_minus_one_is_nothing_said(self):
        a = self.s.complete(PROMPT, max_tokens=8, seed=-1)["choices"][0]["text"]
        texts = {a} | {self.s.complete(PROMPT, max_tokens=8, seed=-1)["choices"][0]["text"]
                       for _ in range(8)}
        self.assertGreater(len(texts), 1)
        r = self.s.complete(PROMPT, max_tokens=-1, temperature=0)
        self.assertGreater(r["usage"]["completion_tokens"], 16)

    def test_stops(self):
        many = ["@%d" % i for i in range(40)]
        plain = self.s.complete(PROMPT, max_tokens=8, temperature=0)["choices"][0]
        for stop in (many[:9], many, "", ["", "@"]):
            r = self.s.complete(PROMPT, max_tokens=8, temperature=0, stop=stop)["choices"][0]
            self.assertEqual(r["text"], plain["text"])
        self.s.complete(PROMPT, expect=400, stop=["@%d" % i for i in range(64)])

    def test_a_message_may_say_nothing(self):
        for message in ({"role": "user"}, {"role": "user", "content": None}):
            self.s.chat([message], max_tokens=1)


class Zero(unittest.TestCase):
    """U+0000 is a character of a text, and nowhere else."""

    def ids(self, s, text):
        return s.post("/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]

    def test_text_has_it(self):
        for model in (DEMO, DEMO7):
            s = server("--model", model)
            ids = self.ids(s, "a\0b")
            self.assertEqual(s.post("/detokenize", {"tokens": ids})["prompt"], "a\0b")
            r = s.complete("a\0b", max_tokens=1, echo=True, temperature=0)
            self.assertTrue(r["choices"][0]["text"].startswith("a\0b"), r)
            whole = s.chat("a\0b", max_tokens=1)["usage"]["prompt_tokens"]
            self.assertGreater(whole, s.chat("a", max_tokens=1)["usage"]["prompt_tokens"])
            shown = s.post("/apply-template", {"messages": [
                {"role": "user", "content": [{"type": "text", "text": "a\0b"}]}]})
            self.assertIn("a\0b", shown["prompt"])

    def test_a_kept_response_has_it(self):
        s = server("--model", DEMO)
        first = s.post("/v1/responses", {"input": "a\0b", "max_output_tokens": 1})
        s.post("/v1/responses", {"input": "c", "max_output_tokens": 1,
                                 "previous_response_id": first["id"]})

    def test_names_have_it_not(self):
        s = server("--model", DEMO)
        for fields in ({"stop": "a\0b"}, {"stop": ["\0"]}, {"model": "x\0"}, {"user": "\0"},
                       {"guided_regex": "a\0"}, {"a\0b": 1}):
            r = s.complete("a", expect=400, **fields)
            self.assertIn("zero character", r["error"]["message"])
        r = s.chat([{"role": "user\0", "content": "a"}], expect=400)
        self.assertIn("role", r["error"]["message"])


class Unknown(unittest.TestCase):
    HEADER = "x-recurd-unknown-fields"

    def names(self, s, path, body, expect=200):
        status, headers, data = s.request("POST", path, body)
        self.assertEqual(status, expect, data)
        return headers.get(self.HEADER)

    def test_they_are_named(self):
        s = server("--model", DEMO7)
        chat = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        self.assertIsNone(self.names(s, "/v1/chat/completions", chat))
        self.assertEqual(self.names(s, "/v1/chat/completions", dict(chat, temprature=1)),
                         "temprature")
        self.assertIsNone(self.names(s, "/v1/chat/completions", dict(chat, temprature=None)))
        self.assertEqual(self.names(s, "/v1/chat/completions", dict(
            chat, stream=True, stream_options={"include_usage": True, "x": 1})), "stream_options.x")
        self.assertEqual(self.names(s, "/v1/completions",
                                    {"prompt": "a", "max_tokens": 1, "b\nc: d": 1}), "b?c??d")
        self.assertEqual(self.names(s, "/tokenize", {"prompt": "a", "zzz": 1}), "zzz")
        self.assertIn("requests have the field temprature, which nobody reads; the nearest is "
                      "temperature", s.text())

    def test_of_other_apis_too(self):
        s = server("--model", DEMO7)
        model = s.get("/v1/models")[1]["data"][0]["id"]
        messages = [{"role": "user", "content": "Hi"}]
        for path, body in (
                ("/v1/messages", {"model": model, "max_tokens": 1, "messages": messages,
                                  "system": "Be brief.", "stop_sequences": ["x"],
                                  "metadata": {"user_id": "u"}}),
                ("/v1/messages/count_tokens", {"model": model, "messages": messages}),
                ("/v1/responses", {"model": model, "input": "Hi", "max_output_tokens": 1,
                                   "instructions": "Be brief.", "store": False}),
                ("/api/chat", {"model": model, "messages": messages, "stream": False,
                               "keep_alive": "5m", "options": {"num_predict": 1}}),
                ("/api/generate", {"model": model, "prompt": "Hi", "stream": False,
                                   "options": {"num_predict": 1}}),
                ("/completion", {"prompt": "Hi", "n_predict": 1, "cache_prompt": True})):
            with self.subTest(path=path):
                self.assertIsNone(self.names(s, path, body))
                self.assertEqual(self.names(s, path, dict(body, no_such=1)), "no_such")

    def test_strict(self):
        s = server("--model", DEMO7, "--strict-fields", "1")
        s.complete("a", max_tokens=1)
        r = s.complete("a", max_tokens=1, temprature=1, expect=400)
        self.assertEqual(r["error"]["param"], "temprature")
        self.assertIn("the nearest is temperature", r["error"]["message"])
        r = s.post("/v1/messages", {"model": s.get("/v1/models")[1]["data"][0]["id"],
                                    "max_tokens": 1, "no_such": 1,
                                    "messages": [{"role": "user", "content": "Hi"}]}, 400)
        self.assertIn("no_such", r["error"]["message"])


class Dialects(unittest.TestCase):
    """A field is known where it reaches the request that is run, and nowhere else."""
    TALK = [{"role": "user", "content": "Hi"}]
    SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}}
    # Of every field that /openapi.json lists for our own two APIs, a value that asks for something.
    OURS = {"prompt": "a", "max_tokens": 3, "temperature": 0.5, "top_p": 0.5, "stream": False,
            "stop": "x", "logprobs": 1, "n": 2, "best_of": 2, "echo": True, "seed": 3,
            "receipt": True, "messages": TALK, "tool_choice": "none", "parallel_tool_calls": False,
            "tools": [{"type": "function", "function": {"name": "f"}}], "thinking_budget": 5,
            "response_format": {"type": "json_object"}}
    # Per path: a body, what its API documents besides, and which of OURS it takes as they are.
    OLLAMA = {"format": "json", "think": False, "stream": False, "keep_alive": "5m",
              "options": {"num_predict": 1}}
    LLAMA = {"temperature": 0.5, "dynatemp_range": 0, "dynatemp_exponent": 1, "top_k": 3,
             "top_p": 0.5, "min_p": 0, "n_predict": 1, "n_indent": 0, "n_keep": 0, "stream": False,
             "stop": ["x"], "typical_p": 1, "repeat_penalty": 1, "repeat_last_n": 9,
             "presence_penalty": 0, "frequency_penalty": 0, "dry_multiplier": 0, "dry_base": 2,
             "dry_allowed_length": 2, "dry_penalty_last_n": -1, "dry_sequence_breakers": ["x"],
             "xtc_probability": 0, "xtc_threshold": 0.1, "mirostat": 0, "mirostat_tau": 5,
             "mirostat_eta": 0.1, "grammar": 'root ::= "a"', "json_schema": SCHEMA, "seed": 1,
             "ignore_eos": False, "logit_bias": [], "n_probs": 0, "t_max_predict_ms": 0,
             "id_slot": -1, "cache_prompt": True, "samplers": ["top_k"]}
    PATHS = {
        "/v1/messages": ({"max_tokens": 8, "messages": TALK}, {
            "system": "Be brief.", "metadata": {"user_id": "u"}, "stop_sequences": ["x"],
            "stream": False, "temperature": 0.5, "top_k": 3, "top_p": 0.5, "service_tier": "auto",
            "thinking": {"type": "disabled"}, "tools": [{"name": "f", "input_schema": SCHEMA}],
            "tool_choice": {"type": "none"}, "cache_control": {"type": "ephemeral"},
            "context_management": {"edits": []}, "mcp_servers": [],
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            {"seed", "parallel_tool_calls", "thinking_budget", "response_format"}),
        "/v1/messages/count_tokens": ({"messages": TALK}, {
            "system": "Be brief.", "thinking": {"type": "disabled"},
            "tools": [{"name": "f", "input_schema": SCHEMA}], "tool_choice": {"type": "none"},
            "cache_control": {"type": "ephemeral"}, "context_management": {"edits": []},
            "mcp_servers": [], "max_tokens": 5,
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, set()),
        "/v1/responses": ({"input": "Hi"}, {
            "background": False, "include": [], "instructions": "Be brief.", "max_tool_calls": 2,
            "max_output_tokens": 3, "metadata": {"a": "b"}, "parallel_tool_calls": False,
            "prompt_cache_key": "k", "prompt_cache_retention": "24h", "reasoning": {},
            "safety_identifier": "s", "service_tier": "auto", "store": False, "stream": False,
            "temperature": 0.5, "text": {"format": {"type": "text"}}, "tool_choice": "none",
            "tools": [{"type": "function", "name": "f"}], "top_logprobs": 0, "top_p": 0.5,
            "truncation": "disabled", "user": "u",
            "stream_options": {"include_obfuscation": False}},
            {"max_tokens", "stop", "seed", "thinking_budget", "response_format", "receipt"}),
        "/api/chat": ({"messages": TALK, "options": {"num_predict": 1}, "stream": False},
                      dict(OLLAMA, tools=OURS["tools"]), set()),
        "/api/generate": ({"prompt": "Hi", "options": {"num_predict": 1}, "stream": False},
                          dict(OLLAMA, system="Be brief.", raw=True, template="", context=[],
                               images=[]), set()),
        "/completion": ({"prompt": "Hi", "n_predict": 1}, LLAMA, {"response_format"}),
        "/tokenize": ({"prompt": "Hi"},
                      {"add_special_tokens": True, "return_token_strs": True}, set()),
        "/detokenize": ({"tokens": [5]}, {}, set()),
        "/apply-template": ({"messages": TALK}, {"add_generation_prompt": True}, {"tools"}),
        "/api/show": ({"model": "m"}, {"verbose": True}, set()),
        "/v1/sessions": ({}, {"ttl": 60}, set()),
        "/v1/completions": ({"prompt": "Hi", "max_tokens": 1}, {"add_special_tokens": True},
                            set(OURS) - {"messages", "tools", "tool_choice", "thinking_budget",
                                         "parallel_tool_calls"}),
        "/v1/chat/completions": ({"messages": TALK, "max_tokens": 8}, {"logprobs": True},
                                 set(OURS) - {"prompt", "best_of", "echo", "logprobs"}),
    }

    @classmethod
    def setUpClass(cls):
        cls.s = server("--model", DEMO7, "--strict-fields", "1", "--alias", "m")

    def ask(self, path, body):
        status, _, data = self.s.request("POST", path, body)
        return status, data.decode()

    def refused(self, path, body, field):
        status, text = self.ask(path, body)
        self.assertEqual(status, 400, (path, field, text))
        self.assertRegex(text, r"(^|[^a-z_])%s([^a-z_]|$)" % field, path)

    def test_what_an_api_documents_is_accepted(self):
        for path, (body, documented, ours) in self.PATHS.items():
            fields = dict({k: self.OURS[k] for k in ours}, **documented)
            for field, value in fields.items():
                more = {"n": 2} if field == "best_of" else {}
                if field == "tool_choice" and "tools" not in documented:
                    more = {"tools": self.OURS["tools"]}
                with self.subTest(path=path, field=field):
                    status, text = self.ask(path, dict(body, **more, **{field: value}))
                    self.assertEqual(status, 200, text)

    def test_what_does_not_reach_it_is_refused(self):
        paths = self.s.get("/openapi.json")[1]["paths"]
        listed = set()
        for path in ("/v1/completions", "/v1/chat/completions"):
            content = paths[path]["post"]["requestBody"]["content"]["application/json"]
            listed |= set(content["schema"]["properties"])
        self.assertEqual(listed, set(self.OURS))
        for path, (body, documented, ours) in self.PATHS.items():
            mapped = {"messages"} if path == "/tokenize" else set()  # there, prompt is left
            for field in listed - ours - set(documented) - set(body) - mapped:
                with self.subTest(path=path, field=field):
                    self.refused(path, dict(body, **{field: self.OURS[field]}), field)

    def test_what_a_translation_replaces_is_refused(self):
        thinking = {"type": "adaptive"}
        form = {"format": {"type": "json_schema", "schema": self.SCHEMA}}
        for path, more, field in (
                ("/v1/messages", {"enable_thinking": True}, "enable_thinking"),
                ("/v1/messages", {"enable_thinking": False}, "enable_thinking"),
                ("/v1/messages", {"tools": [{"name": "f", "input_schema": self.SCHEMA}],
                                  "tool_choice": {"type": "auto"}, "parallel_tool_calls": True},
                 "parallel_tool_calls"),
                ("/v1/responses", {"reasoning": {"effort": "none"}, "enable_thinking": False},
                 "enable_thinking"),
                ("/v1/messages", {"thinking": {"type": "enabled", "budget_tokens": 4},
                                  "thinking_budget": 2}, "thinking_budget"),
                ("/v1/messages", {"output_config": form,
                                  "response_format": {"type": "text"}}, "response_format"),
                ("/v1/responses", {"max_output_tokens": 2, "max_tokens": 3}, "max_tokens"),
                ("/v1/responses", {"text": form, "response_format": {"type": "text"}},
                 "response_format"),
                ("/v1/responses", {"reasoning": {"max_tokens": 3}, "thinking_budget": 5},
                 "thinking_budget"),
                ("/v1/responses", {"top_logprobs": 1}, "top_logprobs"),
                ("/v1/responses", {"text": 5}, "text"),
                ("/v1/responses", {"stream_options": 5}, "stream_options"),
                ("/v1/chat/completions", {"stream": True, "stream_options": {
                    "include_obfuscation": True}}, "include_obfuscation"),
                ("/completion", {"max_tokens": 2}, "n_predict"),
                ("/completion", {"repeat_penalty": 2, "repetition_penalty": 3}, "repeat_penalty"),
                ("/api/generate", {"raw": True, "system": "Be brief."}, "system"),
                ("/api/generate", {"raw": True, "think": True}, "think"),
                ("/api/generate", {"top_k": 1, "options": {"top_k": 1, "num_predict": 1}}, "top_k"),
                ("/api/chat", {"messages": [], "session": "a"}, "session"),
                ("/tokenize", {"messages": self.TALK}, "prompt"),
                ("/v1/sessions", {"tttl": 5}, "tttl")):
            with self.subTest(path=path, field=field):
                self.refused(path, dict(self.PATHS[path][0], **more), field)
        status, text = self.ask("/v1/messages", dict(self.PATHS["/v1/messages"][0],
                                                     thinking=thinking, enable_thinking=True))
        self.assertEqual(status, 200, text)

    def test_a_fork_at_a_misspelt_position_is_refused(self):
        session = self.s.post("/v1/sessions", {})["id"]
        self.refused("/v1/sessions/%s/fork" % session, {"positoin": 0}, "positoin")
        self.refused("/v1/sessions/%s/rewind" % session, {"position": 0, "trun": 1}, "trun")


class Rules(unittest.TestCase):
    def ask(self, s, head, expect=None):
        body = {"messages": [{"role": "system", "content": head + "You are kind. " * 20},
                             {"role": "user", "content": "Hi"}], "max_tokens": 1}
        status, headers, data = s.request("POST", "/v1/chat/completions", body)
        self.assertEqual(status, 200, data)
        self.assertEqual(headers.get("x-recurd-prompt-rules"), expect)
        return json.loads(data)["usage"]

    def test_a_line_that_changes_hides_nothing(self):
        s = Server(["--model", DEMO])
        line = "x-anthropic-billing-header: cc_version=2.1; cch=%05x;\n"
        self.ask(s, line % 1, "claude-code-billing")
        for i in range(2, 5):
            usage = self.ask(s, line % i, "claude-code-billing")
            self.assertEqual(usage["prompt_tokens_details"]["cached_tokens"],
                             usage["prompt_tokens"])
        self.assertEqual(s.metrics()['recurd_prompt_rules_applied_total{rule="claude-code-billing"}'],
                         4)
        s.stop()

    def test_off_and_own(self):
        s = Server(["--model", DEMO, "--prompt-rules", "none"])
        self.ask(s, "x-anthropic-billing-header: a\n", None)
        s.stop()
        path = write("# ours\ndefault\ntoday\tToday is [0-9-]+\\.\tToday is a day.\n")
        s = Server(["--model", DEMO, "--prompt-rules", path])
        self.ask(s, "Today is 2026-01-01. ", "today")
        usage = self.ask(s, "Today is 2026-01-02. ", "today")
        self.assertGreater(usage["prompt_tokens_details"]["cached_tokens"], 0)
        s.stop()
        os.unlink(path)


class Cache(unittest.TestCase):
    def test_every_reply_says_where_it_hit(self):
        s = Server(["--model", DEMO])
        text = "The wolf and the seven little goats lived beside a deep dark wood. " * 12

        def ask(prompt):
            body = {"prompt": prompt, "max_tokens": 1, "return_cache_details": True}
            status, headers, data = s.request("POST", "/v1/completions", body)
            self.assertEqual(status, 200)
            usage = json.loads(data)["usage"]["prompt_tokens_details"]
            d = usage["cache_details"][0]
            self.assertEqual(headers["x-recurd-cache"], "hit=%d; matched=%d; reason=%s" %
                             (d["cached_tokens"], d["matched_tokens"], d["reason"]))
            self.assertEqual(usage["cached_tokens"], d["cached_tokens"])
            return d
        first = ask(text)
        self.assertEqual((first["cached_tokens"], first["matched_tokens"]), (0, 0))
        again = ask(text)
        self.assertGreater(again["cached_tokens"], 0)
        changed = ask(text[:300] + "Suddenly" + text[300:])
        self.assertLessEqual(changed["cached_tokens"], changed["matched_tokens"])
        self.assertLess(changed["matched_tokens"], again["matched_tokens"])
        self.assertNotEqual(changed["reason"], "")
        s.stop()


if __name__ == "__main__":
    unittest.main()
