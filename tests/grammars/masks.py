"""Masks of this project's grammar engine against those of an independent one (llguidance, from
PyPI) on random schemas, regexes, GBNF grammars and texts.

Both engines get the same vocabulary, the same definition and the same text, a random walk over
what both allow. After every token all 150,000 bits are compared, and whether the text may end.
Every third schema is read with white space, as much of it behind , and : (within brackets the
other engine then writes none); the others are compact. What differs is judged by a third party
(jsonschema; Python's re), which sees whole texts: the engine that allows a token goes on with it to
an end, and the text is valid or not.

  ours invalid    this engine leads to an invalid text: a fault
  theirs invalid  the other engine does, and this one is right to forbid the token
  narrower        the text is valid, and one engine alone never writes it. This engine is narrower
                  by what NARROWER names, each with its reason, and takes the text once it is
                  written without; anything else is a fault. The other one is narrower by whatever
                  it is.
Of what is narrower, tokens that look alike are judged a few times a definition; all are counted.
"""
import json
import random
import re
import sys

import schemas
from answers import Judge
from engine import ids, package, pick

# What this engine does not write although JSON has it: how a text shows it, and the text without.
NARROWER = {
    # RFC 8259, 8.2: no Unicode string; readers replace or refuse it.
    "surrogates": (re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|"
                              rb"(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F][0-9a-fA-F]{2}"), b"x"),
    # RFC 8259, 6: readers keep doubles, which hold no more.
    "digits": (re.compile(rb"(?<![0-9.])([0-9](?:\.?[0-9]){14})[0-9]+"), rb"\1"),
    # The same numbers as 0, and as those without the zeros.
    "zeros": (re.compile(rb"-(?=0(?:\.0+)?[^0-9.])|(?<=[0-9])\.0+(?![0-9])|"
                         rb"(?<=\.)([0-9]*[1-9])0+(?![0-9])"), rb"\1"),
}
JUDGED = 2       # tokens that look alike, of one definition
CLOSING = (b'"}])', b":", b" ,0123456789tfn", range(256))  # the first of these leads to an end
OTHERS = 12      # that look like nothing known
SPACE = "(?: |\\n[ \\t]{0,20})?"
# Each with what Python says of it.
REGEXES = ["[a-z]+@[a-z]+\\.(com|org)", "([0-9]{1,3}\\.){3}[0-9]{1,3}", "[^\"]{0,20}x", "(ab|a)*c",
           "[A-ZÄÖÜ][a-zäöü]{1,12}( [a-z]+)*\\.", "\\$[0-9]+(,[0-9]{3})*", "(yes|no|maybe so)",
           "[\\u4e00-\\u9fff]{2,5}", ".{3,30}", "(a|b|cd){2,40}e?"]
GBNF = [('root ::= ("a" | "b" "c")+ [0-9]{2,4}', "(a|bc)+[0-9]{2,4}"),
        ('root ::= item ("," item)*\nitem ::= [a-zäö]+ | "\\"" [^"\\n]* "\\""',
         '([a-zäö]+|"[^"\\n]*")(,([a-zäö]+|"[^"\\n]*"))*'),
        ('root ::= "x"? y\ny ::= "(" [^()]{0,9} ")" | "\\x41é" "z"*',
         "x?(\\([^()]{0,9}\\)|A\\u00e9z*)"),
        ('root ::= "[" (n ("," " "? n)*)? "]"\nn ::= "-"? ("0" | [1-9] [0-9]{0,6})',
         "\\[(-?(0|[1-9][0-9]{0,6})(, ?-?(0|[1-9][0-9]{0,6}))*)?\\]")]


class Tokens:
    """What llguidance wants of a tokenizer."""

    def __init__(self, tokens):
        self.eos_token_id = 2
        self.bos_token_id = 1
        self.tokens = [b"<s>" if i == 1 else b"</s>" if i == 2 else t or b"<%d>" % i
                       for i, t in enumerate(tokens)]
        self.special_token_ids = [i for i, t in enumerate(tokens) if not t]
        self.index = {t: i for i, t in enumerate(tokens) if t}

    def __call__(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        return [self.index[bytes([b])] for b in data]


class Theirs:
    def __init__(self, tokens):
        import llguidance
        from llguidance.gbnf_to_lark import any_to_lark
        self.lib = llguidance
        self.to_lark = any_to_lark
        self.tok = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Tokens(tokens)), len(tokens))
        self.text = sum(1 << i for i, t in enumerate(tokens) if t)

    def compile(self, kind, text, compact):
        """no_forcing: its masks are then over all ways to cut the text into tokens, as ours are."""
        body = "start: /%s/" % text.replace("/", "\\/")
        if kind == "gbnf":
            body = self.to_lark(text)
            body = re.sub(r"^%llguidance.*\n", "", body)
        if kind == "schema":
            schema = dict(json.loads(text))
            schema["x-guidance"] = {"whitespace_flexible": False,
                                    "item_separator": "," + ("" if compact else SPACE),
                                    "key_separator": ":" + ("" if compact else SPACE)}
            body = "start: %json " + json.dumps(schema)
        self.m = self.lib.LLMatcher(self.tok, '%llguidance {"no_forcing": true}\n' + body + "\n",
                                    log_level=0)
        return self.m.get_error() if self.m.is_error() else "ok"

    def mask(self):
        if self.m.is_stopped():
            return 0, True
        bits = int.from_bytes(self.m.compute_bitmask(), "little")
        return bits & self.text, self.m.is_accepting()

    def accept(self, token):
        return self.m.consume_token(token)


def singles(tokens):
    """The tokens of each byte."""
    known = {c: [] for c in range(256)}
    for i, t in enumerate(tokens):
        if len(t) == 1:
            known[t[0]].append(i)
    return known


class OurSide:
    """The engine of this project, at a text and what may follow it."""

    def __init__(self, ours, tokens):
        self.ours, self.tokens, self.known = ours, tokens, singles(tokens)

    def fork(self, before):
        self.ours.again()
        self.ours.accept(before)

    def accept(self, token):
        return self.ours.accept(self.tokens[token]) == "ok"

    def mask(self):
        return self.ours.mask()[:2]

    def back(self, before):
        self.fork(before)


class TheirSide:
    def __init__(self, theirs, known):
        self.theirs, self.known = theirs, known

    def fork(self, before):
        self.kept = self.theirs.m
        self.theirs.m = self.kept.deep_copy()

    def accept(self, token):
        return self.theirs.accept(token)

    def mask(self):
        return self.theirs.mask()

    def back(self, before):
        self.theirs.m = self.kept


def to_an_end(side, tokens, before, token, r, steps=300):
    """A whole text of this engine that begins with before and token; None: it came to no end."""
    text = before
    while True:
        if token is not None:
            if not side.accept(token):
                raise SystemExit("a token of a mask is refused: %r after %r" %
                                 (tokens[token], text))
            text += tokens[token]
        bits, may_end = side.mask()
        steps -= 1
        if may_end:
            return text
        if not bits or steps < 0:
            return None
        for closing in CLOSING:
            some = [i for c in closing for i in side.known[c] if bits >> i & 1]
            if some and r.random() < 0.8:
                break
        token = r.choice(some) if some else pick(r, bits)


class Comparison:
    """One definition in both engines."""

    def __init__(self, ours, theirs, tokens, judge, tally):
        self.ours, self.tokens = OurSide(ours, tokens), tokens
        self.theirs = TheirSide(theirs, self.ours.known)
        self.single = sum(1 << i for some in self.ours.known.values() for i in some)
        self.judge, self.tally, self.judged, self.names, self.bad = judge, tally, {}, {}, None

    def count(self, name, n, example):
        self.tally["found"].setdefault(name, [0, example])[0] += n

    def without(self, text):
        """The names of what this engine does not write, and the text without it."""
        names = []
        for name, (shape, other) in NARROWER.items():
            plain = shape.sub(other, text)
            names += [name] if plain != text else []
            text = plain
        return "+".join(names), text

    def settle(self, who, key, before, token, r):
        """Whose fault a token is that one engine allows: a name for the table, and a text."""
        side = self.ours if who == "ours" else self.theirs
        side.fork(before)
        text = to_an_end(side, self.tokens, before, token, r)
        side.back(before)
        if text is None:
            return who + ": no end found", before + (b"" if token is None else self.tokens[token])
        if self.judge(text):
            return who + " invalid", text
        if who == "ours":
            return "theirs narrower: " + key, text
        names, plain = self.without(text)
        self.ours.fork(b"")
        taken = self.ours.ours.accept(plain) == "ok" and self.ours.mask()[1]
        self.ours.back(before)
        return "ours narrower: " + (names if names and taken else "unknown"), text

    def look(self, who, before, token):
        end = before[-40:] + token
        if who == "ours":
            tail = end[-len(token) - 6:]
            return "escape" if re.search(rb"\\[u/]?[0-9a-fA-F]*$|\\/|\x7f", tail) else \
                "space" if re.search(rb"[\[{][ \n\t]|[ \n\t][\]}]|^[ \n\t]+$", tail) else "other"
        return self.without(end + b",")[0] or "surrogates" \
            if re.search(rb"\\u[dD][0-9a-fA-F]{0,3}$", end) else "other"

    def differences(self, who, before, some, r):
        """Tokens that one engine alone allows: a few that look alike are judged."""
        looks = {}
        for i in some:
            name = self.look(who, before, self.tokens[i] if i is not None else b"")
            looks.setdefault((who, name), []).append(i)
        for key, of in looks.items():
            for i in r.sample(of, min(JUDGED, len(of))):
                n = self.judged.get(key, 0)
                if n >= (OTHERS if key[1] == "other" else JUDGED):
                    break
                self.judged[key] = n + 1
                settled, text = self.settle(who, key[1], before, i, r)
                self.names.setdefault(key, settled)
                self.tally["judged"] += 1
                self.count(settled, 0, text)
                if settled in ("ours invalid", "ours narrower: unknown"):
                    self.bad = "%s: after %r, %r: %r" % (settled, before[-60:], "end" if i is None
                                                         else self.tokens[i], text)
            self.count(self.names[key], len(of), before)

    def walk(self, steps, r):
        before = b""
        for _ in range(steps):
            a, may_end, us = self.ours.ours.mask()
            b, their_end = self.theirs.mask()
            self.tally["masks"] += 1
            self.tally["us"].append(us)
            self.tally["equal"] += a == b and may_end == their_end
            for who, bits, end in (("ours", a & ~b, may_end and not their_end),
                                   ("theirs", b & ~a, their_end and not may_end)):
                some = ids(bits) + ([None] if end else [])
                if some:
                    self.differences(who, before, some, r)
            if not a & b or (may_end and r.random() < 0.2):
                break
            # Short texts and ends are as likely as long tokens.
            few = a & b & self.single
            token = pick(r, few if few and r.random() < 0.5 else a & b)
            if not self.ours.accept(token) or not self.theirs.accept(token):
                self.bad = "a token that both allow is refused: %r after %r" % (self.tokens[token],
                                                                              before)
                break
            before += self.tokens[token]


def compare(ours, theirs, tokens, cases, steps):
    total, bad = {}, 0
    for kind, n, text, compact, judge in cases:
        tally = total.setdefault(kind, {"compared": 0, "refused": 0, "masks": 0, "equal": 0,
                                        "judged": 0, "us": [], "compile": [], "found": {}})
        a, b = ours.compile(kind, text, compact), theirs.compile(kind, text, compact)
        if not a.startswith("ok") or b != "ok":
            tally["refused"] += 1
            print("refused: %s; %s: %s" % (a, b[:100], text[:200]))
            bad += not a.startswith("ok") and b == "ok"
            continue
        tally["compared"] += 1
        tally["compile"].append(float(a.split()[1]))
        one = Comparison(ours, theirs, tokens, judge, tally)
        for seed in range(3):
            ours.again()
            theirs.compile(kind, text, compact)
            one.walk(steps, random.Random(n * 10 + seed))
        if one.bad:
            print("DIFFERS: %s\n  %s" % (text[:600], one.bad), flush=True)
            bad += 1
    return bad, total


def table(total):
    row = "%-8s" + 5 * " %10s"
    print(row % ("kind", "compared", "refused", "masks", "equal", "judged"))
    for kind, t in total.items():
        print(row % (kind, t["compared"], t["refused"], t["masks"], t["equal"], t["judged"]))
    for kind, t in total.items():
        for name, (n, example) in sorted(t["found"].items()):
            print("  %-8s %-26s %7d tokens, as %r" % (kind, name, n, example[-60:]))
        if t["compile"]:
            times, masks = sorted(t["compile"]), sorted(t["us"])
            print("  %-8s compile %.1f us in the middle, %.1f at most; masks %.1f, %.1f at most" %
                  (kind, times[len(times) // 2], times[-1], masks[len(masks) // 2], masks[-1]))


def matches(regex):
    shape = re.compile(regex)

    def wrong(text):
        try:
            return None if shape.fullmatch(text.decode()) else "no match"
        except UnicodeDecodeError as e:
            return str(e)
    return wrong


def run(ours, tokens, work, count, steps):
    """The number of definitions whose masks differ by a fault of ours."""
    package(work, "llguidance", "llguidance")
    sys.setrecursionlimit(10000)
    judge, theirs = Judge(work), Theirs(tokens)
    cases = []
    for n in range(count):
        schema = schemas.make(n, True)
        cases.append(("schema", n, json.dumps(schema), n % 3 > 0,
                      lambda text, s=schema: judge.wrong_bytes(text, s)))
    cases += [("regex", n, text, True, matches(text)) for n, text in enumerate(REGEXES)]
    cases += [("gbnf", n, text, True, matches(regex)) for n, (text, regex) in enumerate(GBNF)]
    bad, total = compare(ours, theirs, tokens, cases, steps)
    table(total)
    return bad
