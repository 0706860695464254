"""Masks of this project's grammar engine against those of an independent one (llguidance, from
PyPI) on random schemas, regexes and texts.

Both engines get the same vocabulary, the same definition and the same text, a random walk over
what both allow. After every token all 150,000 bits are compared. JSON is compact here, so that
the engines' tastes in white space play no part; what else they read in two ways is told apart by
token and counted:
  surrogates  \\ud800 … \\udfff alone: the other engine writes half a character, this one does not
  digits      numbers of more than 16 digits: this one does not write them
  zeros       -0, and zeros at the end of a number that equals its bound
  escapes     \\/, U+007F and (in names) \\uXXXX: JSON allows them, the other engine does not
              write them
Bounds with more than one decimal are not compared: between 0.25 and 0.75 the other engine writes
no 0.7. Masks that agree but for these count as equal.
"""
import json
import random
import re

import schemas
from engine import ids, package

TASTES = ("surrogates", "digits", "zeros", "escapes")
REGEXES = ["[a-z]+@[a-z]+\\.(com|org)", "([0-9]{1,3}\\.){3}[0-9]{1,3}", "[^\"]{0,20}x", "(ab|a)*c",
           "[A-ZÄÖÜ][a-zäöü]{1,12}( [a-z]+)*\\.", "\\$[0-9]+(,[0-9]{3})*", "(yes|no|maybe so)",
           "[\\u4e00-\\u9fff]{2,5}", ".{3,30}", "(a|b|cd){2,40}e?"]


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
        self.lib = llguidance
        self.tok = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Tokens(tokens)), len(tokens))
        self.text = sum(1 << i for i, t in enumerate(tokens) if t)

    def compile(self, kind, text):
        """no_forcing: its masks are then over all ways to cut the text into tokens, as ours are."""
        body = "/%s/" % text.replace("/", "\\/")
        if kind == "schema":
            schema = dict(json.loads(text))
            schema["x-guidance"] = {"whitespace_flexible": False, "item_separator": ",",
                                    "key_separator": ":"}
            body = "%json " + json.dumps(schema)
        self.grammar = '%llguidance {"no_forcing": true}\nstart: ' + body + "\n"
        self.m = self.lib.LLMatcher(self.tok, self.grammar, log_level=0)
        return self.m.get_error() if self.m.is_error() else "ok"

    def mask(self):
        if self.m.is_stopped():
            return 0, True
        bits = int.from_bytes(self.m.compute_bitmask(), "little")
        return bits & self.text, self.m.is_accepting()

    def accept(self, token):
        return self.m.consume_token(token)


def reason(before, token):
    """Why the engines may differ in this token."""
    whole = before + token
    if re.search(rb"\\u[dD][89a-fA-F]?[0-9a-fA-F]{0,2}", whole[-24:]):
        return "surrogates"
    if re.search(rb"[0-9]{17}", whole[-len(token) - 20:]):
        return "digits"
    if re.search(rb"(-0|\.[0-9]*0)([^0-9]|$)", whole[-len(token) - 20:]):
        return "zeros"
    if b"\x7f" in token or re.search(rb"\\(/|u)", whole[-len(token) - 6:]):
        return "escapes"
    return "other"


def walk(ours, theirs, tokens, steps, r, tally):
    """A random text that both allow. The first difference of another kind, or None."""
    before = b""
    for _ in range(steps):
        a, may_end, us = ours.mask()
        b, their_end = theirs.mask()
        tally["masks"] += 1
        tally["us"].append(us)
        kinds = {reason(before, tokens[i]) for i in ids(a ^ b)}
        if may_end != their_end:
            kinds.add("end")
        for k in kinds:
            tally[k] = tally.get(k, 0) + 1
        tally["equal"] += not kinds - set(TASTES)
        if kinds - set(TASTES):
            odd = [(tokens[i], "ours" if a >> i & 1 else "theirs") for i in ids(a ^ b)[:5]]
            return "after %r: %r%s" % (before, odd, " end" if "end" in kinds else "")
        both = ids(a & b)
        if not both or (may_end and r.random() < 0.2):
            break
        # Short texts and ends are as likely as long tokens.
        few = [i for i in both if len(tokens[i]) == 1]
        token = r.choice(few if few and r.random() < 0.5 else both)
        if ours.accept(tokens[token]) != "ok" or not theirs.accept(token):
            return "a token that both allow is refused: %r after %r" % (tokens[token], before)
        before += tokens[token]
    return None


def compare(ours, theirs, tokens, cases, steps):
    total, bad = {}, 0
    for kind, n, text in cases:
        tally = total.setdefault(kind, {"compared": 0, "skipped": 0, "masks": 0, "equal": 0,
                                        "us": [], "compile": []})
        a = ours.compile(kind, text)
        b = theirs.compile(kind, text)
        if not a.startswith("ok") or b != "ok":
            tally["skipped"] += 1
            if not a.startswith("ok"):
                print("refused: %s: %s" % (a, text[:200]))
            continue
        tally["compared"] += 1
        tally["compile"].append(float(a.split()[1]))
        for seed in range(3):
            ours.again()
            theirs.compile(kind, text)
            odd = walk(ours, theirs, tokens, steps, random.Random(n * 10 + seed), tally)
            if odd:
                print("DIFFERS: %s\n  %s" % (text[:300], odd))
                bad += 1
                break
    row = "%-8s" + 9 * " %10s"
    print(row % (("kind", "compared", "skipped", "masks", "equal") + TASTES + ("other",)))
    for kind, t in total.items():
        print(row % ((kind, t["compared"], t["skipped"], t["masks"], t["equal"]) +
                     tuple(t.get(k, 0) for k in TASTES) + (t.get("other", 0) + t.get("end", 0),)))
    return bad, total


def run(ours, tokens, work, count, steps):
    """The number of definitions whose masks differ in any other token."""
    package(work, "llguidance", "llguidance")
    theirs = Theirs(tokens)
    cases = [("schema", n, json.dumps(schemas.make(n, True))) for n in range(count)]
    cases += [("regex", n, text) for n, text in enumerate(REGEXES)]
    bad, total = compare(ours, theirs, tokens, cases, steps)
    for kind, t in total.items():
        if t["compile"]:
            times, masks = sorted(t["compile"]), sorted(t["us"])
            print("  %-8s compile %.1f us in the middle, %.1f at most; masks %.1f, %.1f at most" %
                  (kind, times[len(times) // 2], times[-1], masks[len(masks) // 2], masks[-1]))
    return bad
