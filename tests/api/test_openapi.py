"""/openapi.json says what is answered: of sessions every field of every reply, and the codes of what
may be sent again. (tests/clients runs schemathesis on all of the document.)"""
import json
import os
import re
import unittest

from common import DEMO7, ROOT, Server
from test_cache import ids
from test_shared_sessions import holding

TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
         "boolean": bool, "null": type(None)}


def is_of(value, name):
    return isinstance(value, TYPES[name]) and not (name in ("integer", "number") and
                                                   isinstance(value, bool))


def wrong(doc, schema, value, at="reply"):
    """The first way in which value is not what the schema says; None. The words that the document
    uses; another one is a fault of this test."""
    known = {"$ref", "anyOf", "allOf", "type", "enum", "const", "required", "properties", "items",
             "additionalProperties", "pattern", "minimum", "minItems", "minLength"}
    assert set(schema) <= known, set(schema) - known
    if "$ref" in schema:
        where = doc
        for part in schema["$ref"][2:].split("/"):
            where = where[part]
        return wrong(doc, where, value, at)
    if "anyOf" in schema:
        found = [wrong(doc, s, value, at) for s in schema["anyOf"]]
        return None if None in found else "; or ".join(found)
    for s in schema.get("allOf", ()):
        if (said := wrong(doc, s, value, at)):
            return said
    types = schema.get("type", ())
    if types and not any(is_of(value, t) for t in ([types] if isinstance(types, str) else types)):
        return "%s is %r, no %s" % (at, value, types)
    if "enum" in schema and value not in schema["enum"]:
        return "%s is %r, none of %s" % (at, value, schema["enum"])
    if "const" in schema and value != schema["const"]:
        return "%s is %r, not %r" % (at, value, schema["const"])
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return "%s is %r, not as %s" % (at, value, schema["pattern"])
    if "minimum" in schema and value < schema["minimum"]:
        return "%s is %r, less than %r" % (at, value, schema["minimum"])
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            if name not in value:
                return "%s lacks %s" % (at, name)
        for name, inner in schema.get("properties", {}).items():
            if name in value and (said := wrong(doc, inner, value[name], at + "." + name)):
                return said
        more = set(value) - set(schema.get("properties", {}))
        if schema.get("additionalProperties") is False and more:
            return "%s has %s, of which nothing is said" % (at, sorted(more))
    for i, item in enumerate(value if isinstance(value, list) and "items" in schema else ()):
        if (said := wrong(doc, schema["items"], item, "%s[%d]" % (at, i))):
            return said
    return None


class OpenApi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(["-m", DEMO7])
        cls.doc = cls.server.get("/openapi.json")[1]

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0

    def ask(self, method, path, body=None, route=None, status=200):
        """The reply, which is what the document says of that route."""
        got, _, data = self.server.request(method, path, body)
        self.assertEqual(got, status, data)
        reply = json.loads(data)
        answers = self.doc["paths"][route or path][method.lower()]["responses"]
        answer = answers.get(str(status)) or answers["%dXX" % (status // 100)]
        if "$ref" in answer:
            answer = self.doc["components"]["responses"][answer["$ref"].split("/")[-1]]
        said = wrong(self.doc, answer["content"]["application/json"]["schema"], reply)
        self.assertIsNone(said, reply)
        return reply

    def test_sessions(self):
        one = "/v1/sessions/{id}"
        made = self.ask("POST", "/v1/sessions", {})
        turn = self.ask("POST", "/v1/completions", {"session": made["id"], "prompt": ids(20, 1),
                                                    "max_tokens": 3})
        self.assertEqual(set(turn["session"]), set(
            self.doc["components"]["schemas"]["SessionTurn"]["required"]))
        self.assertIs(turn["session"]["shared"], False)
        fork = self.ask("POST", "/v1/sessions/%s/fork" % made["id"], {}, one)
        self.ask("POST", "/v1/chat/completions", {"session": fork["id"], "max_tokens": 2, "messages": [
            {"role": "user", "content": "Hello."}]})
        self.ask("GET", "/v1/sessions/" + made["id"], route=one)
        self.ask("POST", "/v1/sessions/%s/rewind" % made["id"], {"position": 4}, one)
        self.assertEqual(len(self.ask("GET", "/v1/sessions")["data"]), 2)
        self.ask("DELETE", "/v1/sessions/" + fork["id"], route=one)
        stream = holding(self.server, made["id"])
        busy = self.ask("POST", "/v1/sessions/%s/rewind" % made["id"], {"position": 4}, one, 409)
        self.assertEqual(busy["error"]["code"], "session_busy")
        stream.reset()

    def test_codes_are_those_of_the_table(self):
        with open(os.path.join(ROOT, "server", "http", "apierr.def"), encoding="utf-8") as f:
            rows = re.findall(r'^APIERR\(\w+, (\d+), "\w+", "(\w+)"', f.read(), re.M)
        for name, status in (("Conflict", "409"), ("Unavailable", "503")):
            schema = self.doc["components"]["responses"][name]["content"]["application/json"]["schema"]
            codes = schema["allOf"][1]["properties"]["error"]["properties"]["code"]["enum"]
            self.assertEqual(codes, [c for s, c in rows if s == status])
        self.assertIn("session_moved", json.dumps(self.doc))
        self.assertIn("shared_store_away", json.dumps(self.doc))

    def test_what_is_not_said_is_found(self):
        """The checker above: a reply with a field more, less, or of another type."""
        made = self.server.post("/v1/sessions", {})
        session = {"$ref": "#/components/schemas/Session"}
        self.assertIsNone(wrong(self.doc, session, made))
        for change, said in ((dict(made, shared="yes"), "shared"), (dict(made, more=1), "more"),
                             (dict(made, persist="maybe"), "persist"),
                             ({k: v for k, v in made.items() if k != "busy"}, "busy")):
            self.assertIn(said, wrong(self.doc, session, change))


if __name__ == "__main__":
    unittest.main()
