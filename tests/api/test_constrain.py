"""Answers that must follow a schema, grammar, regex or list: every one that ends is valid by an
independent validator (the package jsonschema; without it only the JSON is read, and a line says
so), in every way to ask, and nothing else of an answer changes."""
import json
import os
import re
import sys
import unittest

import common
from common import DEMO, DEMO7, Stream, in_threads, server

sys.path.insert(0, os.path.join(common.ROOT, "tests", "grammars"))
import schemas  # noqa: E402

try:
    import jsonschema
except ImportError:
    jsonschema = None
    print("skipped: validation by jsonschema, which is not installed (pip install jsonschema)")

PERSON = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20},
                                           "age": {"type": "integer", "minimum": 1, "maximum": 99}},
          "required": ["name", "age"], "additionalProperties": False}
PROMPT = "Once upon a time"


def valid(text, schema):
    value = json.loads(text)
    if jsonschema:
        jsonschema.Draft202012Validator(
            schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER).validate(value)
    return value


class Constrain(unittest.TestCase):
    def setUp(self):
        self.s = server("--model", DEMO)

    def text(self, **fields):
        c = self.s.complete(PROMPT, max_tokens=200, **fields)["choices"][0]
        self.assertEqual(c["finish_reason"], "stop", c["text"])
        return c["text"]

    def test_random_schemas_are_followed(self):
        """CONSTRAIN_SCHEMAS=500 for the long run."""
        n = common.Settings.rounds(int(os.environ.get("CONSTRAIN_SCHEMAS", 60)))
        servers = [self.s, server("--model", DEMO7)]
        ended, failed, nothing = [], [], []

        def client(k):
            for seed in range(k, n, 8):
                schema = schemas.make(seed, bounded=seed % 4 > 0)
                form = {"type": "json_schema", "json_schema": {"schema": schema}}
                status, _, body = servers[seed % 2].request("POST", "/v1/completions", {
                    "prompt": PROMPT, "max_tokens": 900, "seed": seed, "response_format": form,
                    "temperature": (0, 0.7, 1.3)[seed % 3]})
                reply = json.loads(body)
                said = str(reply)
                if status == 400 and "allOf" in str(schema) and (
                        "never end" in said or "cannot be enforced beside" in said):
                    nothing.append(seed)  # the two contradict each other, or are refused by name
                    continue
                if status != 200:
                    failed.append("%d: %s" % (seed, reply))
                    continue
                c = reply["choices"][0]
                if c["finish_reason"] != "stop":
                    continue
                ended.append(seed)
                try:
                    valid(c["text"], schema)
                except Exception as e:  # noqa: BLE001 (any kind is a finding)
                    failed.append("%d: %s: %s" % (seed, c["text"][:300], str(e)[:200]))
        in_threads([lambda k=k: client(k) for k in range(8)])
        self.assertEqual(failed, [])
        print("schemas: %d of %d answers ended, all valid; %d refused" %
              (len(ended), n, len(nothing)))
        self.assertGreater(len(ended), n // 3)
        self.assertLess(len(nothing), max(n // 10, 2))

    def test_every_way_to_ask(self):
        wrapped = {"name": "person", "strict": True, "schema": PERSON}
        for fields in ({"response_format": {"type": "json_schema", "json_schema": wrapped}},
                       {"response_format": {"type": "json_object", "schema": PERSON}},
                       {"guided_json": PERSON}, {"guided_json": json.dumps(PERSON)},
                       {"json_schema": PERSON}, {"structured_outputs": {"json": PERSON}}):
            valid(self.text(**fields), PERSON)
        for fields in ({"guided_regex": "[ab]{3,5}"}, {"regex": "[ab]{3,5}"},
                       {"structured_outputs": {"regex": "[ab]{3,5}"}},
                       {"grammar": "root ::= x{3,5}\nx ::= [ab]"},
                       {"guided_grammar": 'root ::= "a" [ab]{2,4}'}):
            self.assertRegex(self.text(**fields), "^[ab]{3,5}$")
        for fields in ({"guided_choice": ["red", "blue"]}, {"choice": ["red", "blue"]},
                       {"structured_outputs": {"choice": ["red", "blue"]}}):
            self.assertIn(self.text(**fields), ("red", "blue"))
        for fields in ({"response_format": {"type": "json_object"}},
                       {"structured_outputs": {"json_object": True}}):
            c = self.s.complete(PROMPT, max_tokens=300, temperature=0, **fields)["choices"][0]
            self.assertTrue(c["text"].startswith("{"))
            if c["finish_reason"] == "stop":
                self.assertIsInstance(json.loads(c["text"]), dict)

    def test_chat_n_stream_and_sessions(self):
        form = {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON}}
        ask = {"response_format": form, "max_tokens": 200, "seed": 7, "temperature": 1}
        r = self.s.chat("Tell me about Tom.", n=4, **ask)
        texts = [c["message"]["content"] for c in r["choices"]]
        for c in r["choices"]:
            self.assertEqual(c["finish_reason"], "stop")
            valid(c["message"]["content"], PERSON)
        self.assertGreater(len(set(texts)), 1)  # each is a text of its own
        st = Stream(self.s, "/v1/chat/completions", dict(
            ask, stream=True, messages=[{"role": "user", "content": "Tell me about Tom."}]))
        pieces = list(st.events())
        whole = "".join(c["delta"].get("content") or "" for p in pieces for c in p["choices"])
        self.assertEqual(whole, texts[0])  # the same seed, the same text
        sid = self.s.post("/v1/sessions", {})["id"]
        for turn in range(3):
            r = self.s.chat("And another one.", session=sid, **dict(ask, seed=turn))
            valid(r["choices"][0]["message"]["content"], PERSON)

    def test_same_alone_and_among_others(self):
        ask = {"guided_json": PERSON, "seed": 11, "temperature": 1.2}
        alone = self.text(**ask)
        got = []
        in_threads([lambda i=i: got.append(self.text(**ask)) if i % 2 else
                    self.s.complete(PROMPT, max_tokens=60, seed=i) for i in range(12)])
        self.assertEqual(set(got), {alone})

    def test_logprobs_and_other_fields_are_not_changed(self):
        free = self.s.complete(PROMPT, max_tokens=1, logprobs=5, temperature=0)["choices"][0]
        bound = self.s.complete(PROMPT, max_tokens=1, logprobs=5, temperature=0,
                                regex="[A-Z]+")["choices"][0]
        self.assertRegex(bound["text"], "^[A-Z]+$")
        free, bound = (c["logprobs"]["top_logprobs"][0] for c in (free, bound))
        self.assertEqual(free, {k: bound[k] for k in free})  # and, in the other, the token drawn
        # min_tokens cannot hold up a text that may not go on; nor does ignore_eos.
        self.assertEqual(self.text(choice=["hi"], min_tokens=50), "hi")
        self.assertEqual(self.text(choice=["hi"], ignore_eos=True), "hi")
        # A stop string still ends the text; a stop token does so only where the text may end.
        c = self.s.complete(PROMPT, choice=["one two three"], stop=["two"])["choices"][0]
        self.assertEqual((c["text"], c["finish_reason"]), ("one ", "stop"))
        ids = self.s.post("/tokenize", {"prompt": "one two three"})["tokens"]
        self.assertEqual(self.text(choice=["one two three"], stop_token_ids=ids), "one two three")
        c = self.s.complete(PROMPT, regex="a+", max_tokens=5, logit_bias={})["choices"][0]
        self.assertEqual(c["finish_reason"] == "length", set(c["text"]) == {"a"} and
                         c["finish_reason"] == "length")

    def test_refused_by_name(self):
        def schema(**s):
            return {"response_format": {"type": "json_schema", "json_schema": {"schema": s}}}
        for fields, param, word in (
                (schema(**{"not": {"format": "date"}}), "response_format", "not"),
                (schema(**{"not": {}}), "response_format", "no text matches"),
                (schema(type="array", uniqueItems=True), "response_format", "uniqueItems"),
                (schema(type="string", format="iri"), "response_format", "iri"),
                (schema(type="thing"), "response_format", "thing"),
                (schema(oneOf=[{"minLength": 2}, {"pattern": "a"}]), "response_format", "oneOf"),
                (schema(**{"$ref": "#/$defs/x"}), "response_format", "$ref"),
                (schema(**{"$ref": "https://x.y/z"}), "response_format", "$ref"),
                ({"response_format": {"type": "json_schema"}}, "response_format", "schema"),
                ({"response_format": "text"}, "response_format", "type"),
                ({"response_format": {"type": "xml"}}, "response_format", "xml"),
                ({"grammar": "root ::= other"}, "grammar", "other"),
                ({"grammar": "root ::= root \"x\" | \"y\""}, "grammar", "left recursion"),
                ({"grammar": "x ::= \"y\""}, "grammar", "root"),
                ({"regex": "(?=a)b"}, "regex", "look-around"),
                ({"regex": "a{3,1}"}, "regex", "byte"), ({"regex": 5}, "regex", "string"),
                ({"choice": []}, "choice", "at least one"), ({"choice": [1]}, "choice", "string"),
                ({"guided_json": "{"}, "guided_json", "schema"),
                ({"guided_regex": "a", "choice": ["b"]}, "guided_regex", "choice"),
                ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs", "tag"),
                ({"guided_whitespace_pattern": " *"}, "guided_whitespace_pattern", "white")):
            with self.subTest(fields=str(fields)[:90]):
                e = self.s.complete(PROMPT, expect=400, **fields)["error"]
                self.assertEqual(e["param"], param)
                self.assertIn(word, e["message"])

    def test_hostile_definitions_end_at_once(self):
        """In less time of processors than good text of three megabytes takes."""
        deep = {"type": "integer"}
        for _ in range(25):
            deep = {"type": "object", "properties": {"a": deep}, "required": ["a"]}
        doubling = {"$defs": {"d%d" % i: {"allOf": [{"$ref": "#/$defs/d%d" % (i + 1)}] * 2}
                              for i in range(30)}, "$ref": "#/$defs/d0"}
        rows = [({"guided_json": deep}, 200), ({"guided_json": doubling}, 400),
                ({"guided_json": {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}},
                                  "$ref": "#/$defs/a"}}, 400),
                ({"guided_json": {"enum": ["value %d" % i for i in range(80000)]}}, 400),
                ({"guided_json": '{"properties":{"a":' * 1000 + "{}" + "}}" * 1000}, 400),
                ({"regex": "(" * 3000 + "a" + ")" * 3000}, 400),
                ({"regex": "((((a{0,99}){0,99}){0,99}){0,99}){0,99}x"}, None),
                ({"regex": "(.*a){60}.{900}b"}, None), ({"regex": "a" * 1000000}, 400),
                ({"grammar": "root ::= " + "(" * 9000 + '"a"' + ")" * 9000}, 400),
                ({"grammar": 'root ::= s\ns ::= "a" s "a" | "a" s s | [a-z ] s | "a"'}, None)]
        self.s.complete(PROMPT, max_tokens=1, regex="warm")
        good, status = self.s.processor_time("/tokenize", {"prompt": "Once upon a time. " * 40000})
        self.assertEqual(status, 200)
        for fields, status in rows:
            took, got = self.s.processor_time("/v1/completions",
                                              dict(fields, prompt=PROMPT, max_tokens=1))
            with self.subTest(fields=str(fields)[:60]):
                self.assertIn(got, (status,) if status else (200, 400))
                self.assertLess(took, 4 * good)
        self.s.complete(PROMPT, max_tokens=1)
        self.s.wait_idle()

    def test_left_early(self):
        """A client that goes away leaves nothing behind."""
        for i in range(20):
            st = Stream(self.s, "/v1/completions", {"prompt": PROMPT, "stream": True,
                                                    "max_tokens": 400, "guided_json": True})
            for count, _ in enumerate(st.frames()):
                if count > i:
                    break
            st.reset()
        self.s.wait_idle()


if __name__ == "__main__":
    unittest.main()
