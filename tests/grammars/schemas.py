"""Random JSON Schemas, from the keywords that are enforced. Python's standard library only."""
import random

WORDS = ["a", "id", "name", "kind", "value", "note", "x-y", "ünï", "a b", 'q"q', "items", "n"]
PATTERNS = ["^[a-z]{1,8}$", "^[A-Z][a-z]+( [A-Z][a-z]+){0,2}$", "^\\d{3}-\\d{4}$", "^(foo|bar|bäz)+$",
            "^[^ ]{2,6}$", "^#[0-9a-f]{6}$", "^\\w+\\.(txt|md)$", "^a[^bc]c$"]
DIALECTS = ["^[^\\s]{2,6}$", "^\\S+ \\D\\W[^\\w]$"]  # read as every dialect reads them
FORMATS = ["date", "date-time", "time", "uuid", "email", "ipv4", "hostname"]
MORE_FORMATS = FORMATS + ["ipv6", "duration", "json-pointer", "uri"]
VALUES = [None, True, False, 0, -3, 2.5, 1e20, "", "a", 'q"\\\n', "ünï", [], [1, "a"], {},
          {"a": [None]}, [[True, {"b": 0.1}]]]


class Maker:
    """portable: only what other engines read in the same way. bounded: texts come to an end, also
    those of a model that never learned what an end is. wide: every keyword that is enforced, also
    beside others that it gets in the way of."""

    def __init__(self, seed, portable=False, bounded=False, wide=False):
        self.r = random.Random(seed)
        self.portable = portable
        self.bounded = bounded
        self.wide = wide
        self.defs = {}

    def names(self, n):
        return self.r.sample(WORDS, n)

    def string(self):
        r, s = self.r, {"type": "string"}
        kind = r.randrange(4 if self.portable else 5)
        if kind == 0 and self.bounded:
            s["maxLength"] = r.randrange(0, 30)
        if kind == 1:
            s["minLength"] = r.randrange(4)
            s["maxLength"] = s["minLength"] + r.randrange(1, 12)
        elif kind == 2:
            s["pattern"] = r.choice(PATTERNS + ([] if self.portable else DIALECTS))
        elif kind == 3:
            s = {"enum": self.names(r.randrange(1, 4))}
        elif kind == 4:
            s["format"] = r.choice(FORMATS)
        return s

    def integer(self):
        r = self.r
        s = {"type": "integer", "minimum": r.choice([-1000, -7, 0, 1, 5, 98])}
        if r.random() < 0.8:
            s["maximum"] = s["minimum"] + r.choice([0, 3, 12, 250, 100000])
        if r.random() < 0.2:
            s["exclusiveMinimum"] = s.pop("minimum") - 1
        return s

    def number(self):
        r = self.r
        lo = r.choice([-2.5, 0, 0.5, 1, 10])
        s = {"type": "number", "minimum": lo, "maximum": lo + r.choice([0.25, 0.5, 1, 7.75, 1000])}
        if r.random() < 0.3:
            s["exclusiveMaximum"] = s.pop("maximum")
        return s

    def array(self, depth):
        r, s = self.r, {"type": "array"}
        s["items"] = self.value(depth - 1)
        if r.random() < 0.3:
            s["prefixItems"] = [self.value(depth - 1) for _ in range(r.randrange(1, 3))]
            s["items"] = r.choice([False, s["items"]])
            s["minItems"] = len(s["prefixItems"])
        if r.random() < (1 if self.bounded else 0.6):
            s["minItems"] = max(s.get("minItems", 0), r.randrange(3))
            s["maxItems"] = s["minItems"] + r.randrange(1, 4)
        if s["items"] is False:
            s["minItems"], s["maxItems"] = len(s["prefixItems"]), len(s["prefixItems"])
        return s

    def object(self, depth):
        r, names = self.r, self.names(self.r.randrange(0, 5))
        s = {"type": "object", "properties": {n: self.value(depth - 1) for n in names},
             "required": [n for n in names if r.random() < 0.6], "additionalProperties": False}
        if not names or (not self.portable and r.random() < 0.2):
            s["additionalProperties"] = self.value(min(depth - 1, 1))
            if self.bounded:
                s["maxProperties"] = len(s["required"]) + 2
            if not names:
                del s["properties"]
        if not self.portable and names and r.random() < 0.2:
            s["minProperties"] = 1
        return s

    def value(self, depth):
        r = self.r
        if self.wide and r.random() < 0.5:
            return self.wide_value(depth)
        if depth <= 0:
            return r.choice([self.string, self.integer, self.number,
                             lambda: {"type": "boolean"}, lambda: {"type": "null"}])()
        kind = r.randrange(10)
        if kind < 3:
            return self.object(depth)
        if kind < 5:
            return self.array(depth)
        if kind == 5:
            return {"anyOf": [self.value(depth - 1) for _ in range(r.randrange(1, 4))]}
        if kind == 6:
            name = "d%d" % len(self.defs)
            self.defs[name] = {}
            inner = self.object(depth - 1)
            if r.random() < 0.5 and "properties" in inner:  # a list of its own kind
                inner["properties"]["next"] = {"anyOf": [{"$ref": "#/$defs/" + name},
                                                         {"type": "null"}]}
            self.defs[name] = inner
            return {"$ref": "#/$defs/" + name}
        if kind == 7 and not self.portable:
            tag = r.choice(WORDS[:4])
            return {"oneOf": [{"type": "object", "properties": {tag: {"const": c},
                                                                "v": self.value(depth - 1)},
                               "required": [tag, "v"], "additionalProperties": False}
                              for c in ("one", "two")]}
        if kind == 8 and not self.portable:
            a, b = self.object(0), self.object(0)
            for s in (a, b):
                del s["additionalProperties"]
            return {"allOf": [a, b]}
        return self.value(0)

    # ---- what only wide ones hold: keywords beside each other, and rare ones

    def wide_string(self):
        r = self.r
        least = r.randrange(3)
        return r.choice([
            {"type": "string", "format": r.choice(MORE_FORMATS)},
            {"type": "string", "pattern": "^[a-c]*$", "minLength": least, "maxLength": least + 4},
            {"type": "string", "pattern": "b[0-9]+$", "maxLength": 12},
            {"type": "string", "pattern": "^x"},
            {"type": "string", "pattern": "(^|-)[a-f]{2}($|-)"},
            {"pattern": r.choice(PATTERNS), "type": ["string", "null"]},
            {"enum": self.names(4), "minLength": 2}, {"enum": VALUES, "type": ["string", "number"]},
            {"minLength": 1, "maxLength": 3, "type": ["string", "integer"], "minimum": 5,
             "maximum": 70}])

    def wide_number(self):
        r = self.r
        low = r.choice([-250, -1.5, -0.125, 0, 3, 0.001, 99.5, 12345.678])
        return r.choice([
            {"type": "integer", "multipleOf": r.choice([1, 2, 3, 7, 10, 25, 400])},
            {"type": "number", "multipleOf": r.choice([1, 5])},
            {"type": "integer", "multipleOf": r.choice([2, 7, 60]), "minimum": low,
             "maximum": low + r.choice([90, 1e4])},
            {"type": "number", "exclusiveMinimum": low, "maximum": low + r.choice([0.001, 1, 1e4])},
            {"type": "number", "minimum": low}, {"type": "number", "exclusiveMaximum": low},
            {"type": "integer", "minimum": low}, {"type": "integer", "exclusiveMaximum": low},
            {"type": "integer", "exclusiveMinimum": low, "exclusiveMaximum": low + 30},
            {"enum": [1, 2.5, 1e20, -7, "x"], "maximum": 3}, {"type": ["integer", "boolean"]}])

    def wide_object(self, depth):
        r = self.r
        names = self.names(r.randrange(1, 4))
        value = self.value(min(depth - 1, 1))
        pattern = r.choice(["^[a-c]{1,3}$", "^x-[a-z]{1,4}$"])
        return r.choice([
            {"type": "object", "patternProperties": {pattern: value}, "additionalProperties": False,
             "maxProperties": 3},
            {"type": "object", "propertyNames": {"pattern": "^[a-z]{1,4}$"}, "maxProperties": 2,
             "additionalProperties": value},
            {"type": "object", "propertyNames": {"enum": names}, "additionalProperties": value},
            {"type": "object", "required": names, "additionalProperties": value,
             "maxProperties": len(names) + 1},
            {"type": "object", "properties": {names[0]: value}, "required": names,
             "unevaluatedProperties": False},
            {"type": "object", "properties": {n: value for n in names}, "maxProperties": 1},
            {"type": "object", "properties": {n: value for n in names}, "minProperties": 1,
             "additionalProperties": {"type": "boolean"}, "maxProperties": 4},
            {"properties": {n: value for n in names}, "required": names[:1]},
            {"type": "object", "properties": {names[0]: True}, "required": names[:1]},
            {"type": ["object", "null"], "properties": {n: value for n in names}}])

    def wide_array(self, depth):
        r = self.r
        value, other = self.value(min(depth - 1, 1)), self.value(0)
        return r.choice([
            {"type": "array", "prefixItems": [value, other], "items": False},
            {"type": "array", "prefixItems": [value], "items": other, "maxItems": 3},
            {"type": "array", "prefixItems": [value, other], "minItems": 1, "maxItems": 2},
            {"type": "array", "prefixItems": [other], "minItems": 2, "maxItems": 3},
            {"type": "array", "items": other, "maxItems": 0}, {"items": False},
            {"type": "array", "maxItems": 2}, {"type": "array", "items": {}, "maxItems": 1},
            {"items": {"enum": r.sample(VALUES, r.randrange(1, 6))}, "uniqueItems": True},
            {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 1},
            {"type": ["array", "null"], "items": other, "minItems": 2, "maxItems": 2}])

    def wide_mix(self, depth):
        r = self.r
        one, two = self.value(depth - 1), self.value(min(depth - 1, 1))
        return r.choice([
            {"const": r.choice(VALUES)}, {"enum": r.sample(VALUES, r.randrange(1, 6))},
            {"type": ["object", "string"], "enum": VALUES}, {"anyOf": [one, {"const": "end"}]},
            {"oneOf": [{"type": "null"}, {"type": "integer", "minimum": 3}, {"const": "none"}]},
            {"allOf": [{"type": "integer", "minimum": 1}, {"maximum": 9}], "title": "both"},
            {"allOf": [{"properties": {"a": two}}, {"properties": {"b": two}, "required": ["b"]}],
             "type": "object"},
            {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "array", "maxItems": 1}],
             "description": "one of two", "default": "x", "examples": [1]},
            {"$ref": "#/$defs/wide", "description": "beside"},
            {"$ref": "#/$defs/wide", "minimum": 7}, {"allOf": [{"$ref": "#/$defs/tree"}]},
            {"type": "object", "properties": {"kind": {"const": 1}, "t": {"$ref": "#/$defs/tree"}},
             "required": ["kind", "t"], "additionalProperties": False}])

    def wide_condition(self, depth):
        """What is said by saying what is not, or when."""
        r = self.r
        names, value = self.names(3), self.value(min(depth - 1, 1))
        flags = {n: {"type": ["boolean", "null"]} for n in names}
        thing = {"type": "object", "properties": dict(flags), "additionalProperties": False}
        kinds = dict(thing, properties=dict(flags, **{names[0]: {"enum": ["one", "two", 3]}}))
        is_one = {"properties": {names[0]: {"const": "one"}}, "required": names[:1]}
        return r.choice([
            {"type": r.choice(["string", "boolean", "integer"]),
             "not": {"enum": r.sample(VALUES[:11], 4)}},
            {"enum": VALUES[:9], "not": {"type": r.choice(["string", "null", "number"])}},
            {"type": "number", "minimum": -3, "maximum": 9, "not": {"enum": [0, 2.5, 7]}},
            {"type": "array", "items": value, "maxItems": 4, "not": {"maxItems": r.randrange(3)}},
            dict(thing, **{"not": {"required": names[:2]}}),
            dict(thing, dependentRequired={names[0]: names[1:2], names[1]: names[2:]}),
            dict(thing, dependentSchemas={names[2]: {"properties": {names[0]: {"const": True}}}}),
            dict(kinds, required=names[:1], **{"if": is_one, "then": {"required": names[1:2]},
                                               "else": {"properties": {names[1]: False}}}),
            dict(kinds, **{"if": {"properties": is_one["properties"]},
                           "then": {"required": names[2:]}}),
            {"if": {"type": "string"}, "then": {"maxLength": 2}, "else": {"type": "integer"}},
            dict(thing, oneOf=[{"required": [n]} for n in names]),
            {"oneOf": [{"type": "integer", "minimum": 0, "maximum": 9},
                       {"type": "integer", "minimum": 5, "maximum": 30}]},
            {"type": "string", "oneOf": [{"minLength": 2}, {"maxLength": 4}]}])

    def wide_value(self, depth):
        self.defs.setdefault("wide", {"type": ["integer", "null"], "maximum": 12, "minimum": -5})
        self.defs.setdefault("tree", {"anyOf": [{"type": "null"}, {
            "type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}]})
        make = [self.wide_string, self.wide_number]
        if depth > 0:
            make += [lambda: self.wide_object(depth), lambda: self.wide_array(depth),
                     lambda: self.wide_mix(depth), lambda: self.wide_condition(depth)]
        return self.r.choice(make)()

    def schema(self):
        s = self.object(3) if self.r.random() < 0.7 else self.value(3)
        if self.defs:
            s = dict(s)
            s["$defs"] = self.defs
        return s


def make(seed, portable=False, bounded=False, wide=False):
    return Maker(seed, portable, bounded, wide).schema()
