"""Masks of this project's grammar engine against those of an independent one (llguidance, from
PyPI) on random schemas, regexes and texts, and what a mask and compiling cost at the size of
vocabulary that is published today.

usage: compare.py --masks PROGRAM --work DIR [--schemas 200] [--steps 40]

Both engines get the same vocabulary (150,000 tokens of Mistral's, from the package
mistral-common), the same definition and the same text, a random walk over what both allow.
After every token all 150,000 bits are compared. JSON is compact here, so that the engines' tastes
in white space play no part; what else they read in two ways is told apart by token and counted:
  surrogates  \\ud800 … \\udfff alone: the other engine writes half a character, this one does not
  digits      numbers of more than 16 digits: this one does not write them
  zeros       -0, and zeros at the end of a number that equals its bound
  escapes     \\/, U+007F and (in names) \\uXXXX: JSON allows them, the other engine does not
              write them
Bounds with more than one decimal are not compared: between 0.25 and 0.75 the other engine writes
no 0.7. Masks that agree but for these count as equal.
Prints a table; exit 1 if a mask differs in any other token. Packages that cannot be fetched:
"skipped: …", exit 0.
"""
import argparse
import base64
import glob
import json
import os
import random
import re
import struct
import subprocess
import sys
import time
import venv
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import schemas  # noqa: E402

VOCAB = 150000
TASTES = ("surrogates", "digits", "zeros", "escapes")
KINDS = {"gbnf": 0, "regex": 1, "schema": 2, "object": 3, "choice": 4}
COMPACT = 16
REGEXES = ["[a-z]+@[a-z]+\\.(com|org)", "([0-9]{1,3}\\.){3}[0-9]{1,3}", "[^\"]{0,20}x", "(ab|a)*c",
           "[A-ZÄÖÜ][a-zäöü]{1,12}( [a-z]+)*\\.", "\\$[0-9]+(,[0-9]{3})*", "(yes|no|maybe so)",
           "[\\u4e00-\\u9fff]{2,5}", ".{3,30}", "(a|b|cd){2,40}e?"]


def skip(why):
    print("skipped: " + why)
    sys.exit(0)


def packages(work):
    """The other engine in an environment of its own, and the vocabulary's file."""
    env = os.path.join(work, "venv")
    pip = [os.path.join(env, "bin", "python"), "-m", "pip", "--quiet",
           "--disable-pip-version-check"]
    if not glob.glob(os.path.join(env, "lib", "*", "site-packages", "llguidance")):
        venv.create(env, with_pip=True)
        if subprocess.run(pip + ["install", "llguidance"], capture_output=True).returncode:
            skip("llguidance could not be installed from PyPI")
    sys.path[:0] = glob.glob(os.path.join(env, "lib", "*", "site-packages"))
    wheels = os.path.join(work, "wheels")
    if not glob.glob(os.path.join(wheels, "mistral_common-*.whl")):
        if subprocess.run(pip + ["download", "--no-deps", "-d", wheels, "mistral-common"],
                          capture_output=True).returncode:
            skip("mistral-common (for its vocabulary) could not be fetched from PyPI")
    return glob.glob(os.path.join(wheels, "mistral_common-*.whl"))[0]


def vocabulary(wheel):
    with zipfile.ZipFile(wheel) as z:
        names = [n for n in z.namelist() if re.search(r"tekken_\d+\.json$", n)]
        tokens = json.loads(z.read(max(names)))["vocab"]
    special = [b""] * 1000  # the first ids are control tokens
    ordinary = [base64.b64decode(t["token_bytes"]) for t in tokens]
    return (special + ordinary)[:VOCAB] + [b""] * max(0, VOCAB - 1000 - len(ordinary))


class Ours:
    def __init__(self, program, work, tokens):
        path = os.path.join(work, "vocabulary")
        with open(path, "wb") as f:
            for t in tokens:
                f.write(struct.pack("<I", len(t)) + t)
        self.p = subprocess.Popen([program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.line()

    def line(self):
        line = self.p.stdout.readline()
        if not line:
            raise SystemExit("the engine died with code %s" % self.p.wait())
        return line.decode().rstrip("\n")

    def ask(self, command, data=b""):
        self.p.stdin.write(command.encode() + b"\n" + data)
        self.p.stdin.flush()
        return self.line()

    def compile(self, kind, text):
        data = text.encode()
        return self.ask("G %d %d" % (KINDS[kind] + COMPACT, len(data)), data)

    def accept(self, data):
        return self.ask("A %d" % len(data), data)

    def again(self):
        self.ask("R")

    def mask(self):
        """(bits as one number, may end, microseconds)"""
        head = self.ask("M").split()
        if head[0] != "mask":
            raise SystemExit("no mask: " + " ".join(head))
        words = bytes.fromhex(self.line())
        bits = b"".join(words[i:i + 4][::-1] for i in range(0, len(words), 4))
        return int.from_bytes(bits, "little"), head[1] == "1", float(head[3])

    def mask_us(self):
        return float(self.ask("T").split()[3])


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


def ids(bits):
    return [i for i, c in enumerate(bin(bits)[:1:-1]) if c == "1"] if bits else []


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


def cost(ours, tokens, total):
    """Texts of a common schema, the first time and again."""
    schema = {"type": "object", "required": ["name", "age", "tags"], "properties": {
        "name": {"type": "string", "maxLength": 100}, "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}},
        "kind": {"enum": ["person", "place"]}, "when": {"type": "string", "format": "date-time"}}}
    text = (b'{"name":"Ada Lovelace of London","age":36,"tags":["a mathematician","the first"],'
            b'"kind":"person","when":"1843-09-05T10:00:00Z"}')
    print("at a vocabulary of %d tokens:" % len(tokens))
    compiled = float(ours.compile("schema", json.dumps(schema)).split()[1])
    print("  compile with the first mask    %9.1f us" % compiled)
    for label in ("first text, a mask", "again, a mask"):
        ours.again()
        times = []
        for i in range(len(text)):
            times.append(ours.mask_us())
            ours.accept(text[i:i + 1])
        times.sort()
        print("  %-30s %9.1f us in the middle, %.1f at most" % (label, times[len(times) // 2],
                                                             times[-1]))
    for kind, t in total.items():
        if t["compile"]:
            times, masks = sorted(t["compile"]), sorted(t["us"])
            print("  %-8s compile %.1f us in the middle, %.1f at most; masks %.1f, %.1f at most" %
                  (kind, times[len(times) // 2], times[-1], masks[len(masks) // 2], masks[-1]))


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--masks", required=True)
    a.add_argument("--work", required=True)
    a.add_argument("--schemas", type=int, default=200)
    a.add_argument("--steps", type=int, default=40)
    o = a.parse_args()
    os.makedirs(o.work, exist_ok=True)
    start = time.time()
    tokens = vocabulary(packages(o.work))
    ours, theirs = Ours(o.masks, o.work, tokens), Theirs(tokens)
    cases = [("schema", n, json.dumps(schemas.make(n, True))) for n in range(o.schemas)]
    cases += [("regex", n, text) for n, text in enumerate(REGEXES)]
    bad, total = compare(ours, theirs, tokens, cases, o.steps)
    cost(ours, tokens, total)
    print("%d differ; %.0f s" % (bad, time.time() - start))
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
