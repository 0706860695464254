#!/usr/bin/env python3
"""Makes the tokenizer golden files: small vocabularies trained on the text below with the
`tokenizers` and `sentencepiece` packages, and what those packages encode. Needs both from PyPI;
run in this folder. Made with tokenizers 0.23.3 and sentencepiece 0.2.3. Training breaks ties
differently in every run: each folder is consistent in itself, not from run to run.

usage: make.py [NAME...]     (default: all)"""
import io, json, os, random, sys
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre, processors, trainers

LINES = [
    "Hello, World! It's we'll I'M they've don't  multiple   spaces\t\ttabs\n\nnew\r\nlines \n \n end ",
    "def f(x):\n    return x**2 + 3.14e-5 if x != None else {'a': [1, 2, 3]}\n\t# comment\n",
    "Привет, мир! Как дела? 2024 год — «кавычки»", "你好，世界！今天天气很好。１２３ＡＢＣ",
    "こんにちは、世界。カタカナ ﾊﾝｶｸ ｶﾞ", "안녕하세요 세계", "नमस्ते दुनिया क्षत्रिय",
    "مرحبا بالعالم ٠١٢٣", "שלום עולם", "สวัสดีชาวโลก", "Xin chào thế giới", "Ελληνικά γλώσσα",
    "ქართული ენა", "Zażółć gęślą jaźń", "e\u0301 vs \u00e9 a\u030a\u0323 \u1e9b\u0323 ﬁ ﬀ \u212b \u2126",
    "👩‍👩‍👧‍👦 🏳️‍🌈 😀😃 👍🏽 🇩🇪🇫🇷", "\u00a0nbsp\u2003em\u3000ideo\u200bzw\ufeffbom\u2028ls",
    "x=1;y=22;z=333;w=4444;v=55555 0.001 1,000,000", "CamelCaseHTTPServer snake_case_name kebab-case",
    "   leading and trailing   ", "\n\n\n", "    ", "\t", "a", ".", "!!!???...,,,;;;",
    "<s> </s> <unk> <|user|> <|end|> <0x0A> <|endoftext|> <table> [INST] <think>x</think>",
    "▁▁ ▁a a▁b", "\u0308\u0301combining first", "\u0001\u0002\x7f control \x1b[0m", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 𠜎",
    "ǅ ŉ İ ı ß ẞ", "½ ¼ ² ³ ① ⅷ", "it's IT'S It’s Don'T 'll 'LL 'd 'D' 's'",
    "http://example.com/?q=1&b=%20#frag user@mail.org", "a" * 60, " " * 40 + "x",
    "\r\n\r\n \r\n", "foo\n\n   bar\n  \n\tbaz  qux\n", "１２３４５６ 12345678901234567890",
    "ſ ſs 'ſ", "\U0010ffff \ue000 \ufffd", "<|end|>  x  <|end|>\n\n<|user|> y<|user|>",
    "  <think>  a  </think>  ", "the quick brown fox jumps over the lazy dog",
]
# Markers stay out: no vocabulary should be able to spell them from pieces.
CORPUS = [x for x in LINES if "<" not in x] * 20 + ["the quick brown fox", "it's what we've got", "def return self import"] * 40


def texts():
    rng = random.Random(11)
    out, chars, words = list(LINES), "".join(LINES), " ".join(LINES).split(" ")
    out += ["".join(rng.choice(chars) for _ in range(rng.randint(1, 40))) for _ in range(60)]
    out += [" ".join(rng.choice(words) for _ in range(rng.randint(1, 12))) for _ in range(40)]
    return [t for t in out if t]


def added(special, **flags):
    return AddedToken(special, special=True, normalized=False, **flags)


SPECIALS = [added("<|endoftext|>"), added("<|user|>", rstrip=True), added("<|end|>", lstrip=True)]
PLAIN = [AddedToken("<think>", special=False, normalized=False), AddedToken("   ", special=False, normalized=True)]
GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
# Constructs that mean something else, or nothing, to PCRE2.
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}%s]*[\p{Ll}\p{Lm}\p{Lo}\p{M}%s]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}%s]+"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}%s]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
PATTERNS = {
    "cl100k": (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
               r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"),
    "o200k": CASED % ("", "", "", ""),
    "han": r"[\p{Han}]+|" + CASED % (("&&[^\\p{Han}]",) * 4),
}


def bytes_tok(size=480, **k):
    t = Tokenizer(models.BPE(**{a: b for a, b in k.items() if a == "ignore_merges"}))
    t.normalizer = k.get("norm")
    t.pre_tokenizer = k["split"]
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=size, show_progress=False, initial_alphabet=pre.ByteLevel.alphabet()))
    t.add_special_tokens(SPECIALS)
    t.add_tokens(PLAIN)
    return t


def fallback_tok(norm, split, size=900):
    """Like Llama-2 and Gemma: spaces are U+2581, unknown characters are bytes."""
    base = Tokenizer(models.BPE())
    base.normalizer, base.pre_tokenizer = norm, split
    base.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=size - 259, show_progress=False, limit_alphabet=120))
    m = json.loads(base.to_str())["model"]
    names = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)]
    names += [w for w, _ in sorted(m["vocab"].items(), key=lambda x: x[1])]
    t = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(names)},
                             merges=[tuple(x) for x in m["merges"]], unk_token="<unk>",
                             fuse_unk=True, byte_fallback=True))
    t.normalizer = norm
    if split is not None:
        t.pre_tokenizer = split
    t.add_special_tokens([added("<unk>"), added("<s>"), added("</s>"), added("<|user|>"), added("<|end|>")])
    t.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return t


def all_bpe():
    bl = pre.ByteLevel
    yield "gpt2", bytes_tok(split=bl(add_prefix_space=False))
    yield "gpt2_prefix", bytes_tok(split=bl(add_prefix_space=True))
    yield "neox", bytes_tok(norm=normalizers.NFC(), split=bl(add_prefix_space=False))
    llama = bytes_tok(ignore_merges=True, split=pre.Sequence([
        pre.Split(Regex(GPT4 % "{1,3}"), "isolated"), bl(add_prefix_space=False, use_regex=False)]))
    llama.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|endoftext|> $A", pair="<|endoftext|> $A <|endoftext|> $B",
        special_tokens=[("<|endoftext|>", llama.token_to_id("<|endoftext|>"))])])
    yield "llama3", llama
    yield "qwen2", bytes_tok(norm=normalizers.NFC(), split=pre.Sequence([
        pre.Split(Regex(GPT4 % ""), "isolated"), bl(add_prefix_space=False, use_regex=False)]))
    for name, pattern in PATTERNS.items():
        yield name, bytes_tok(split=pre.Sequence([
            pre.Split(Regex(pattern), "isolated"), bl(add_prefix_space=False, use_regex=False)]))
    yield "digits", bytes_tok(split=pre.Sequence([pre.Digits(True), bl(add_prefix_space=False)]))
    yield "falcon", bytes_tok(split=pre.Sequence([
        pre.Punctuation("contiguous"), bl(add_prefix_space=False), pre.Digits(False),
        pre.Split(Regex("[0-9][0-9][0-9]"), "isolated")]))
    llama2 = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    yield "llama2", fallback_tok(llama2, None)
    yield "metaspace", fallback_tok(None, pre.Metaspace("▁", "first", False))
    yield "metaspace_split", fallback_tok(normalizers.NFKC(), pre.Metaspace("▁", "always", True))
    yield "gemma", fallback_tok(normalizers.Replace(" ", "▁"), pre.Split(" ", "merged_with_previous"))


def write_bpe(name, t):
    os.makedirs(name, exist_ok=True)
    t.save(name + "/tokenizer.json", pretty=False)
    cases = []
    for text in texts():
        t.encode_special_tokens = False
        special = t.encode(text, add_special_tokens=False).ids
        t.encode_special_tokens = True
        plain = t.encode(text, add_special_tokens=False).ids
        cases.append({"text": text, "special": special, "plain": plain})
    json.dump({"cases": cases}, open(name + "/cases.json", "w"), ensure_ascii=True, separators=(",", ":"))


def unique(sp, text):
    """Library versions break ties between equally likely segmentations in different ways."""
    scores = [sum(sp.get_score(i) for i in ids) for ids in sp.nbest_encode(text, nbest_size=2)]
    return len(scores) < 2 or scores[0] - scores[1] > 1e-4


def write_spm(name, **options):
    os.makedirs(name, exist_ok=True)
    out = io.BytesIO()
    lines = [p for line in CORPUS for p in line.split("\n") if p]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, hard_vocab_limit=False, minloglevel=2,
        character_coverage=1.0, **options)
    open(name + "/tokenizer.model", "wb").write(out.getvalue())
    sp = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    tie = options["model_type"] == "unigram" and (lambda t: not unique(sp, t)) or (lambda t: False)
    plain = [t for t in texts() if "<|" not in t and not tie(t)]
    cases = [{"text": t, "plain": sp.encode(t)} for t in plain]
    json.dump({"cases": cases}, open(name + "/cases.json", "w"), ensure_ascii=True, separators=(",", ":"))


WANTED = sys.argv[1:]
for NAME, TOK in all_bpe():
    if not WANTED or NAME in WANTED:
        write_bpe(NAME, TOK)
if not WANTED or "spm_unigram" in WANTED:
    write_spm("spm_unigram", model_type="unigram", vocab_size=500, normalization_rule_name="nmt_nfkc")
if not WANTED or "spm_bpe" in WANTED:
    write_spm("spm_bpe", model_type="bpe", vocab_size=700, byte_fallback=True, split_digits=True,
              normalization_rule_name="identity", remove_extra_whitespaces=False,
              user_defined_symbols=["<|user|>", "<table>"])
