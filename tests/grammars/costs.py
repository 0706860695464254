"""What grammars cost at a vocabulary of 150,000: compiling common schemas, masks along a text and
as a share of a model's step, and definitions that are made to be dear. Prints; a fault is what
is not bounded, and masks that take more than SHARE of a step once a schema has been used."""
import http.client
import json
import os
import random
import statistics
import sys
import time

import answers
from engine import pick

BOUND_US = 2e6      # a hostile definition; a hundred times what it takes
GROWTH_MIB = 256    # of the engine, by all hostile definitions together
SHARE = 0.05        # of a step, once a schema has been used
STEPS = {"a model that is nearly all vocabulary (131,072 x 64)": {},
         "a model of 0.5 B, q8": {"hidden": 1024, "layers": 24, "wide": 4096}}
PERSON = {"type": "object", "required": ["name", "age", "tags"], "properties": {
    "name": {"type": "string", "maxLength": 100}, "age": {"type": "integer", "minimum": 0},
    "tags": {"type": "array", "items": {"type": "string"}},
    "kind": {"enum": ["person", "place"]}, "when": {"type": "string", "format": "date-time"}}}
TEXT = (b'{"name":"Ada Lovelace of London","age":36,"tags":["a mathematician","the first"],'
        b'"kind":"person","when":"1843-09-05T10:00:00Z"}')
TOOL = {"type": "object", "properties": {"name": {"const": "get_weather"}, "arguments": {
    "type": "object", "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]},
                                     "days": {"type": "integer", "minimum": 1, "maximum": 14}},
    "required": ["city"], "additionalProperties": False}}, "required": ["name", "arguments"]}
TREE = {"$defs": {"node": {"type": "object", "properties": {
    "label": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    "required": ["label", "children"], "additionalProperties": False}}, "$ref": "#/$defs/node"}
COMMON = {
    "a person": PERSON, "a tool's call": TOOL, "a tree": TREE,
    "any object": {"type": "object"}, "a list of persons": {"type": "array", "items": PERSON},
    "forty optional fields": {"type": "object", "additionalProperties": False, "properties": {
        "field_%d" % i: {"type": ["string", "null"]} for i in range(40)}},
    "twenty tools": {"anyOf": [dict(TOOL, properties=dict(TOOL["properties"], name={
        "const": "tool_%d" % i})) for i in range(20)]},
    "an enum of 1,000": {"enum": ["value number %d" % i for i in range(1000)]},
}


def hostile():
    deep = {"type": "integer"}
    for _ in range(200):
        deep = {"type": "object", "properties": {"a": deep}, "required": ["a"]}
    doubling = {"$defs": {"d%d" % i: {"allOf": [{"$ref": "#/$defs/d%d" % (i + 1)}] * 2}
                          for i in range(40)}, "$ref": "#/$defs/d0"}
    anys = {"$defs": {"d%d" % i: {"anyOf": [{"$ref": "#/$defs/d%d" % (i + 1)}] * 3}
                      for i in range(40)}, "$ref": "#/$defs/d0"}
    anys["$defs"]["d40"] = {"type": "null"}
    grid = {"type": "object", "maxProperties": 250,
            "properties": {"p%d" % i: {} for i in range(260)}}
    products = {"allOf": [{"anyOf": [{"minimum": i} for i in range(12)]} for _ in range(9)]}
    ifs, nots, many = {"minimum": 0}, {"minimum": 0}, []
    for i in range(20):
        if i < 7:
            ifs = {"if": dict(ifs, maximum=i), "then": ifs, "else": {"minimum": i}}
        nots = {"not": {"anyOf": [nots, {"not": {"maximum": i}}, {"minLength": i}]}}
        many += [{"properties": {"p%d" % k: {"maximum": k} for k in range(i)}, "minimum": i,
                  "maximum": 50 - i}] * 6
    rows = [("if in if", "schema", ifs), ("not of anyOf of not", "schema", nots),
            ("oneOf 120, overlapping", "schema", {"oneOf": many}),
            ("20 dependents", "schema", {"dependentRequired": {"p%d" % i: ["q"]
                                                               for i in range(20)}}),
            ("60 numbers left out", "schema", {"type": "number", "not": {"enum": [
                i / 7 for i in range(60)]}}),
            ("multiples of 997", "schema", {"multipleOf": 997, "minimum": -1e12, "maximum": 1e15}),
            ("each of 8 once", "schema", {"uniqueItems": True, "items": {"enum": [
                [i] * 50 for i in range(8)]}}),
            ("nesting of 200", "schema", deep), ("allOf that doubles", "schema", doubling),
            ("anyOf that triples", "schema", anys), ("260 properties counted", "schema", grid),
            ("anyOf times anyOf", "schema", products),
            ("an enum of 10,000", "schema", {"enum": ["v%d" % i for i in range(10000)]}),
            ("$ref in a circle", "schema", {"$defs": {"a": {"$ref": "#/$defs/a"}},
                                            "$ref": "#/$defs/a"}),
            ("a length of 1,000,000", "schema", {"type": "string", "maxLength": 1000000}),
            ("pattern of many ends", "schema", {"type": "string",
                                                "pattern": "(a|aa|b.*)*c{0,900}$"}),
            ("repeats of repeats", "regex", "((((a{0,99}){0,99}){0,99}){0,99}){0,99}x"),
            ("many at once", "regex", "(.*a){60}.{900}b"),
            ("a set of all", "regex", "[^a]{0,5000}[\\u0000-\\uffff]{0,5000}"),
            ("brackets", "regex", "(" * 20000 + "a" + ")" * 20000),
            ("ambiguity", "gbnf", 'root ::= s\ns ::= "a" s "a" | "a" s s | [a-z ] s | "a"'),
            ("rules", "gbnf", "root ::= r0\n" + "".join(
                'r%d ::= "a" r%d | r%d "b"\n' % (i, i + 1, i + 1) for i in range(3000)) +
             'r3000 ::= "c"')]
    return [(name, kind, json.dumps(d) if kind == "schema" else d) for name, kind, d in rows]


def rss_mib(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmRSS"))


def wander(ours, tokens, steps=60):
    """Times of masks along a random text of whatever definition was compiled last."""
    r, times = random.Random(1), []
    for _ in range(steps):
        bits, _, us = ours.mask()
        times.append(us)
        if not bits:
            break
        ours.accept(tokens[pick(r, bits)])
    return times


def along(ours, text):
    times = []
    ours.again()
    for i in range(len(text)):
        times.append(ours.mask_us())
        ours.accept(text[i:i + 1])
    return times


def step_us(recurd, work, size):
    """Of one sequence, without a grammar."""
    sys.path.insert(0, os.path.join(answers.ROOT, "tests", "api"))
    import common
    common.Settings.recurd = os.path.abspath(recurd)
    common.Settings.patience = staticmethod(lambda seconds: 20 * seconds)
    server = common.server("--model", answers.random_model(work, **size), "--load-format", "dummy",
                           "--quantize", "q8")
    few, many, times = 10, 60 if "layers" in size else 210, []
    for n in (few, many) * 3:
        start = time.monotonic()
        try:
            server.complete("Once", max_tokens=n, ignore_eos=True, temperature=0)
        except http.client.HTTPException as e:
            raise SystemExit("no step was timed: %s" % e) from None
        times.append(time.monotonic() - start)
    common.stop_all()
    return statistics.median(b - a for a, b in zip(times[::2], times[1::2])) / (many - few) * 1e6


def run(ours, tokens, recurd, work):
    faults = 0
    print("at a vocabulary of %d tokens:" % len(tokens))
    for name, schema in COMMON.items():
        said = ours.compile("schema", json.dumps(schema))
        again = [ours.compile("schema", json.dumps(schema)) for _ in range(3)]
        if not said.startswith("ok"):
            faults += 1
            print("  %-24s %s" % (name, said))
            continue
        print("  %-24s compile, first mask %9.1f us" %
              (name, statistics.median(float(x.split()[1]) for x in again + [said])))
    ours.compile("schema", json.dumps(PERSON))
    first, again = along(ours, TEXT), along(ours, TEXT)
    for label, times in (("the first text, a mask", first), ("again, a mask", again)):
        print("  %-24s %9.1f us in the middle, %.1f in the mean, %.1f at most" %
              (label, statistics.median(times), statistics.mean(times), max(times)))
    for label, size in STEPS.items():
        step = step_us(recurd, work, size)
        print("  a step of %s: %.0f us; a mask is %.2f %% of it the first time, %.3f %% again" %
              (label, step, 100 * statistics.mean(first) / step,
               100 * statistics.mean(again) / step))
        faults += statistics.mean(again) / step > SHARE
    before = rss_mib(ours.p.pid)
    for name, kind, text in hostile():
        start = time.monotonic()
        said = ours.compile(kind, text)
        took = (time.monotonic() - start) * 1e6
        if said.startswith("ok"):
            took = max([took] + wander(ours, tokens))
        verdict = "compiled" if said.startswith("ok") else said[6:96]
        faults += took > BOUND_US
        print("  %-24s %9.0f us  %s" % (name, took, verdict))
    grown = rss_mib(ours.p.pid) - before
    faults += grown > GROWTH_MIB
    print("  hostile definitions grew the engine by %.0f MiB" % grown)
    return faults
