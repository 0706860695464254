"""What the tests of grammars share: packages from PyPI, a published vocabulary, and the engine on a
pipe (masks.c)."""
import base64
import glob
import json
import os
import re
import struct
import subprocess
import sys
import zipfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "clients"))
from environments import Environments, Failed  # noqa: E402

VOCAB = 150000
KINDS = {"gbnf": 0, "regex": 1, "schema": 2, "object": 3, "choice": 4}
COMPACT = 16


class Skipped(Exception):
    """A package that cannot be had."""


def package(work, name, *packages):
    """Makes the modules of packages importable, from an environment of their own."""
    try:
        bin_folder = Environments(work).get(name, list(packages))
    except Failed as e:
        raise Skipped("%s: %s" % (packages[0], e)) from None
    sys.path[:0] = glob.glob(os.path.join(os.path.dirname(bin_folder), "lib", "*",
                                          "site-packages"))


def vocabulary_file(work):
    """The text of Mistral's vocabulary, 150,000 tokens; kept as work/tekken.json."""
    path = os.path.join(work, "tekken.json")
    if not os.path.exists(path):
        package_dir = os.path.join(work, "wheels")
        if subprocess.run([sys.executable, "-m", "pip", "-q", "--disable-pip-version-check",
                           "download", "--no-deps", "-d", package_dir, "mistral-common"],
                          capture_output=True).returncode:
            raise Skipped("mistral-common (for its vocabulary) could not be fetched from PyPI")
        wheel, = glob.glob(os.path.join(package_dir, "mistral_common-*.whl"))
        with zipfile.ZipFile(wheel) as z:
            name = max(n for n in z.namelist() if re.search(r"tekken_\d+\.json$", n))
            with open(path, "wb") as f:
                f.write(z.read(name))
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def vocabulary(work, count=VOCAB):
    """The bytes of each token; control tokens, which come first, have none."""
    special = [b""] * 1000
    tokens = vocabulary_file(work)["vocab"]
    ordinary = [base64.b64decode(t["token_bytes"]) for t in tokens[:max(count - 1000, 256)]]
    return special + ordinary + [b""] * max(0, count - 1000 - len(ordinary))


def ids(bits):
    digits, some = bin(bits)[:1:-1], []
    at = digits.find("1")
    while at >= 0:
        some.append(at)
        at = digits.find("1", at + 1)
    return some


def pick(r, bits):
    """One of the ids, fast where there are many."""
    n = bits.bit_length()
    for _ in range(40):
        i = r.randrange(n)
        if bits >> i & 1:
            return i
    return r.choice(ids(bits))


class Ours:
    """The program masks.c at work on a vocabulary."""

    def __init__(self, program, work, tokens):
        path = os.path.join(work, "vocabulary-%d" % len(tokens))
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

    def compile(self, kind, text, compact=True):
        data = text.encode()
        return self.ask("G %d %d" % (KINDS[kind] + (COMPACT if compact else 0), len(data)), data)

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
