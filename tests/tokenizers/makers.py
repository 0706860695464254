"""Tokenizers as published models have them, with small vocabularies that show where texts are cut."""
import base64
import json
import os

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LINES = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATHS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def cased(upper, lower, tail):
    start = r"[^\r\n\p{L}\p{N}]?"
    return f"{start}{upper}*{lower}+{tail}|{start}{upper}+{lower}*{tail}"


UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LLAMA3 = SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + LINES
QWEN2 = SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + LINES
QWEN35 = (SHORT + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
KIMI = (r"[\p{Han}]+|" + cased(UPPER[:-1] + r"&&[^\p{Han}]]", LOWER[:-1] + r"&&[^\p{Han}]]", SHORT + "?") +
        r"|\p{N}{1,3}|" + LINES)
GPT4O = cased(UPPER, LOWER, SHORT + "?") + r"|\p{N}{1,3}|" + PATHS
TEKKEN = cased(UPPER, LOWER, "") + r"|\p{N}|" + PATHS
DEEPSEEK = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
            r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]


def splits(*patterns):
    return [pre_tokenizers.Split(Regex(p), "isolated") for p in patterns] + [
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def gpt2():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


# name: (pre-tokenizers, normalizer, ignore_merges)
KINDS = {
    "gpt2": (lambda: [gpt2()], None, False),
    "llama3": (lambda: splits(LLAMA3), None, True),
    "qwen2": (lambda: splits(QWEN2), "NFC", False),
    "qwen3.5": (lambda: splits(QWEN35), "NFC", False),
    "deepseek-v3": (lambda: splits(*DEEPSEEK), None, False),
    "kimi-k2": (lambda: splits(KIMI), None, False),
    "gpt-4o": (lambda: splits(GPT4O), None, False),
    "falcon": (lambda: [pre_tokenizers.Punctuation("contiguous"), gpt2(), pre_tokenizers.Digits(False),
                        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")], None, False),
    "tekken": (lambda: splits(TEKKEN), None, True),
    "starcoder": (lambda: [pre_tokenizers.Digits(True), gpt2()], None, False),
    # not published, but what patterns may say besides
    "words": (lambda: splits(r"\b\w+\b|\W", r"[\w]+"), "NFKC", False),
    "no-marks": (lambda: splits(r"\s+|[^\s\d]+"), "NFD", False),
}


def byte_chars():
    """What byte-level vocabularies write for each byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in shown]
    return {**{b: chr(b) for b in shown}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


CHARS = byte_chars()


def text_of(data):
    return "".join(CHARS[b] for b in data)


class Joins:
    """A vocabulary whose merges join what stands side by side in the contexts, so that every cut
    between them shows in the ids."""

    def __init__(self, contexts):
        self.words = {bytes([b]): b for b in range(256)}
        self.merges = []
        lead, last = [*range(0x80), *range(0xc2, 0xf5)], [*range(0xc0)]
        for context in contexts:
            pre, post = context[0].encode(), context[1].encode()
            self.chain(pre)
            self.chain(post)
            for i in range(len(pre)):
                self.chain(pre[i:])
            for i in range(len(pre)):
                for b in lead:
                    self.join(pre[i:], bytes([b]))
            for i in range(len(post), 0, -1):
                for b in last:
                    self.join(bytes([b]), post[:i])
            for b in range(0x80):
                self.join(pre + bytes([b]), post)
        for a in last:
            for b in lead:
                self.join(bytes([a]), bytes([b]))

    def join(self, a, b):
        if a and b and a in self.words and b in self.words and (a, b) not in self.merges_seen():
            self.words.setdefault(a + b, len(self.words))
            self.seen.add((a, b))
            self.merges.append((a, b))

    def merges_seen(self):
        self.seen = getattr(self, "seen", set())
        return self.seen

    def chain(self, word):
        for i in range(1, len(word)):
            self.join(word[:i], word[i:i + 1])

    def model(self, ignore_merges):
        return models.BPE({text_of(w): i for w, i in self.words.items()},
                          [(text_of(a), text_of(b)) for a, b in self.merges], ignore_merges=ignore_merges)


def dress(tok, kind):
    """The kind's normalizer, cuts and decoder."""
    parts, form, _ = KINDS[kind]
    if form:
        tok.normalizer = getattr(normalizers, form)()
    tok.pre_tokenizer = pre_tokenizers.Sequence(parts())
    tok.decoder = decoders.ByteLevel()
    return tok


def joined(kind, contexts):
    return dress(Tokenizer(Joins(contexts).model(KINDS[kind][2])), kind)


def trained(kind, texts):
    tok = dress(Tokenizer(models.BPE(ignore_merges=KINDS[kind][2])), kind)
    trainer = trainers.BpeTrainer(vocab_size=1500, min_frequency=2, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator(texts, trainer)
    return tok


def save(tok, folder):
    os.makedirs(folder, exist_ok=True)
    tok.save(os.path.join(folder, "tokenizer.json"))
    return folder


def add_tokens(tok):
    """Added tokens of every kind."""
    for special in (False, True):
        mark = "!" if special else ""
        add = tok.add_special_tokens if special else tok.add_tokens
        add([AddedToken(f"<{mark}{'L' * l}{'R' * r}{'W' * w}{'N' * n}é>", lstrip=bool(l), rstrip=bool(r),
                        single_word=bool(w), normalized=bool(n), special=special)
             for l in (0, 1) for r in (0, 1) for w in (0, 1) for n in (0, 1)])
    tok.add_tokens([AddedToken("word", single_word=True, normalized=False),
                    AddedToken("wörd", single_word=True, normalized=True),
                    AddedToken("Å", normalized=True), AddedToken("\u00a0", rstrip=True, normalized=False),
                    AddedToken("<!é", normalized=False), AddedToken("é>x", normalized=False)])
    return tok


def write_tiktoken(tok, folder, cls):
    """The words of a tokenizer as tiktoken.model; its merges are what ranks give."""
    words = sorted(json.loads(tok.to_str())["model"]["vocab"].items(), key=lambda w: w[1])
    back = {c: b for b, c in CHARS.items()}
    os.makedirs(folder, exist_ok=True)
    ranks = [bytes(back[c] for c in word) for word, _ in words]
    with open(os.path.join(folder, "tiktoken.model"), "w") as f:
        f.writelines(f"{base64.b64encode(w).decode()} {i}\n" for i, w in enumerate(ranks))
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": cls}, f)
    return ranks


def write_tekken(ranks, folder, pattern, specials=20):
    os.makedirs(folder, exist_ok=True)
    vocab = [{"rank": i, "token_bytes": base64.b64encode(w).decode(), "token_str": None}
             for i, w in enumerate(ranks)]
    with open(os.path.join(folder, "tekken.json"), "w") as f:
        json.dump({"config": {"pattern": pattern, "num_vocab_tokens": len(ranks), "version": "v3",
                              "default_vocab_size": len(ranks) + specials,
                              "default_num_special_tokens": specials}, "vocab": vocab}, f)


def write_merges(tok, folder, cls):
    model = json.loads(tok.to_str())["model"]
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "vocab.json"), "w") as f:
        json.dump(model["vocab"], f)
    with open(os.path.join(folder, "merges.txt"), "w") as f:
        f.write("#version: 0.2\n")
        f.writelines(" ".join(m) + "\n" for m in model["merges"])
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": cls}, f)


def ranked_ids(ranks, cut, text):
    """The ids of a text by ranks, from their definition: cut(text) gives its pieces."""
    index, out = {w: i for i, w in enumerate(ranks)}, []
    for piece in cut(text):
        if piece in index:
            out.append(index[piece])
            continue
        parts = [bytes([b]) for b in piece]
        while True:
            pairs = [(index[a + b], i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in index]
            if not pairs:
                break
            _, i = min(pairs)
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        out += [index[p] for p in parts]
    return out
