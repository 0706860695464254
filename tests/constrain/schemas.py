"""Random JSON Schemas, from the keywords that are enforced. Python's standard library only."""
import random

WORDS = ["a", "id", "name", "kind", "value", "note", "x-y", "ünï", "a b", 'q"q', "items", "n"]
PATTERNS = ["^[a-z]{1,8}$", "^[A-Z][a-z]+( [A-Z][a-z]+){0,2}$", "^\\d{3}-\\d{4}$", "^(foo|bar|bäz)+$",
            "^[^ ]{2,6}$", "^#[0-9a-f]{6}$", "^\\w+\\.(txt|md)$", "^a[^bc]c$"]
DIALECTS = ["^[^\\s]{2,6}$", "^\\S+ \\D\\W[^\\w]$"]  # read as every dialect reads them
FORMATS = ["date", "date-time", "time", "uuid", "email", "ipv4", "hostname"]


class Maker:
    """portable: only what other engines read in the same way. bounded: texts come to an end, also
    those of a model that never learned what an end is."""

    def __init__(self, seed, portable=False, bounded=False):
        self.r = random.Random(seed)
        self.portable = portable
        self.bounded = bounded
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
        parts = [0.5, 1, 7.5, 1000] if self.portable else [0.25, 0.5, 1, 7.75, 1000]
        lo = r.choice([-2.5, 0, 0.5, 1, 10])
        s = {"type": "number", "minimum": lo, "maximum": lo + r.choice(parts)}
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

    def schema(self):
        s = self.object(3) if self.r.random() < 0.7 else self.value(3)
        if self.defs:
            s = dict(s)
            s["$defs"] = self.defs
        return s


def make(seed, portable=False, bounded=False):
    return Maker(seed, portable, bounded).schema()
