"""The ids of a tokenizer.jsonl by its definition (models/text/plamo.c), written down a second time.

    python3 tests/tokenizers/plamo.py build/tokenizer-ids [--work DIR] [--vocabularies N] [--seed N]

Random vocabularies over letters, spaces, kana, emoji and control characters, with scores of few values,
so that many ways cost the same, and texts of their words; needs Python alone."""
import argparse
import json
import os
import random
import struct
import subprocess
import sys

args = argparse.ArgumentParser()
args.add_argument("ids")
args.add_argument("--work", default="build/tokenizers")
args.add_argument("--vocabularies", type=int, default=60)
args.add_argument("--texts", type=int, default=200)
args.add_argument("--seed", type=int, default=1)
args = args.parse_args()

BYTES_COST = 10_000_000
SPECIAL = ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>", "<|plamo:pad|>"]
ALPHABETS = ["ab", "abc ", "あいう漢", "aé😀ｱ", "x\n\0\t\uffff\U0010ffff", "<|plamo:eos>"]


def vocabulary(rng):
    """Rows of a file: special tokens and bytes in any order, words twice at times."""
    alphabet = rng.choice(ALPHABETS)
    words = ["".join(rng.choices(alphabet, k=rng.randint(1, 7))) for _ in range(rng.randint(1, 120))]
    fine = rng.random() < .5
    rows = [[w, -rng.uniform(0, 20) if fine else -rng.randint(0, 12) / 4, "NORMAL"] for w in words]
    rows += [[w, rng.choice([0.5, -1000, -1999.99, -2000, -1e9, 0.00005, -0.00015]), "NORMAL"]
             for w in rng.choices(words, k=rng.randint(0, 5))]
    rows = [r[:rng.choice([2, 3])] + ([7, 8] if rng.random() < .1 and len(r) == 3 else []) for r in rows]
    rows += [[f"<0x{b:02X}>", 0.0, "BYTE"] for b in range(256)]
    rng.shuffle(rows)
    rows = [[s, 0.0, "UNKNOWN" if s.endswith("unk|>") else "CONTROL"] for s in SPECIAL] + rows
    return alphabet, rows


def is_word(row):
    return len(row) < 3 or row[2] not in ("BYTE", "CONTROL", "UNKNOWN")


class Reference:
    """Every word is tried at every place; nothing is clever."""

    def __init__(self, rows):
        self.byte = {int(r[0][3:5], 16): i for i, r in enumerate(rows) if len(r) > 2 and r[2] == "BYTE"}
        self.words = {}
        for i, r in enumerate(rows):
            if is_word(r):
                self.words[r[0]] = (i, round(r[1] * 1e4)) # the last one counts
        self.words = {w: x for w, x in self.words.items() if x[1] > -20_000_000}

    def encode(self, text):
        n = len(text)
        cost, step = [0] * (n + 1), [None] * n
        for i in range(n - 1, -1, -1):
            ways = [(cost[i + 1] + BYTES_COST, 0, None)]
            for size in range(1, n - i + 1):
                if (word := self.words.get(text[i:i + size])) is not None:
                    ways.append((cost[i + size] - word[1], -size, word[0]))
            cost[i], size, step[i] = min(ways, key=lambda way: way[:2])
            step[i] = (max(-size, 1), step[i])
        ids, i = [], 0
        while i < n:
            size, word = step[i]
            ids += [word] if word is not None else [self.byte[b] for b in text[i].encode()]
            i += size
        return ids


def texts_of(rng, alphabet, rows):
    words = [r[0] for r in rows if is_word(r)]
    for _ in range(args.texts):
        parts = [rng.choice(words) if rng.random() < .6 else rng.choice(alphabet + "Zñ\u3000🦊")
                 for _ in range(rng.randint(0, 24))]
        yield "".join(parts)


def ours(folder, texts):
    data = b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in texts)
    p = subprocess.run([args.ids, folder, "plain"], input=data, capture_output=True)
    if p.returncode:
        sys.exit(f"FAIL {folder}: {p.stderr.decode().strip()}")
    flat = struct.unpack(f"<{len(p.stdout) // 4}i", p.stdout)
    at = 0
    while at < len(flat):
        yield list(flat[at + 1:at + 1 + flat[at]])
        at += 1 + flat[at]


def main():
    rng = random.Random(args.seed)
    folder = os.path.join(args.work, "plamo")
    os.makedirs(folder, exist_ok=True)
    total = bad = tokens = 0
    for v in range(args.vocabularies):
        alphabet, rows = vocabulary(rng)
        with open(os.path.join(folder, "tokenizer.jsonl"), "w") as f:
            f.writelines(json.dumps(r, ensure_ascii=rng.random() < .5) + "\n" for r in rows)
        reference, texts = Reference(rows), list(texts_of(rng, alphabet, rows))
        answers = list(ours(folder, texts))
        assert len(answers) == len(texts)
        for text, ids in zip(texts, answers):
            want = reference.encode(text)
            total, tokens, bad = total + 1, tokens + len(want), bad + (ids != want)
            if ids != want and bad < 5:
                print(f"     vocabulary {v}: {text!r}: ours {ids}, the definition {want}")
    print(f"{'ok  ' if not bad else 'FAIL'} plamo: {args.vocabularies} vocabularies, {total} texts of "
          f"{tokens} tokens, {bad} differ")
    sys.exit(bad > 0)


main()
