"""The same ids as the `tokenizers` package of PyPI, over all of Unicode.

    python3 tests/tokenizers/compare.py build/tokenizer-ids --work DIR [--step N] [--texts N] [--kind NAME]

Every code point (with --step every N-th) in five contexts for each way of cutting texts that makers.py
has, then random texts with trained vocabularies, added tokens of every kind, and tiktoken.model,
tekken.json, vocab.json with merges.txt. Differences are listed by their cause where a table of Unicode
is older on one side, and are failures otherwise. The package is installed into WORK/venv where it is not
there; without network the test says so and passes."""
import argparse
import array
import os
import random
import subprocess
import sys
import unicodedata
import venv

PACKAGE = "tokenizers==0.23.3"
args = argparse.ArgumentParser()
args.add_argument("ids")
args.add_argument("--work", default="build/tokenizers")
args.add_argument("--step", type=int, default=1)
args.add_argument("--texts", type=int, default=20000)
args.add_argument("--seed", type=int, default=1)
args.add_argument("--kind", help="a name of makers.KINDS: only this sweep")
args = args.parse_args()
VENV = os.environ.get("TOKENIZERS_VENV", os.path.join(args.work, "venv"))


def enter():
    """Runs this file again inside the environment that has the package."""
    python = os.path.join(VENV, "bin", "python")
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
        return
    try:
        if not os.path.exists(python):
            venv.create(VENV, with_pip=True)
        if subprocess.run([python, "-c", "import tokenizers"], capture_output=True).returncode:
            subprocess.run([python, "-m", "pip", "install", "-q", PACKAGE], check=True, capture_output=True,
                           timeout=300)
    except (OSError, subprocess.SubprocessError) as e:
        print(f"skipped: the tokenizers package could not be installed ({e})")
        sys.exit(0)
    sys.exit(subprocess.run([python] + sys.argv).returncode)


enter()
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import makers  # noqa: E402
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers  # noqa: E402

CHUNK = 100000
UNASSIGNED = "unassigned on both sides"
failures = 0
all_listed = {}

# What stands before and after the character; the last has it twice.
CONTEXTS = [("a", "b"), ("1", "中"), (".", "\n"), ("A", "'s"), (" ", " x")]
ADDED_CONTEXTS = ["{0}<LRé>{0}", "{0}word{0}", "a{0} {0}<LNe\u0301>", "<!Ré>{0}{0}x", "{0}<!Wé>x{0}<WNé>"]


def say(ok, text):
    global failures
    failures += not ok
    print(("ok   " if ok else "FAIL ") + text, flush=True)


def points(step):
    return [c for c in range(0, 0x110000, step) if not 0xd800 <= c < 0xe000]


def ours(folder, texts, *mode):
    """Lists of ids, flat: count, ids, count, ids …"""
    data = bytearray()
    for t in texts:
        b = t.encode()
        data += len(b).to_bytes(4, "little") + b
    p = subprocess.run([args.ids, folder, *mode], input=bytes(data), capture_output=True)
    if p.returncode:
        raise SystemExit(f"FAIL {folder}: {p.stderr.decode().strip()}")
    out = array.array("i")
    out.frombytes(p.stdout)
    return out


def theirs(tok, texts):
    out = array.array("i")
    for e in tok.encode_batch_fast(texts, add_special_tokens=False):
        ids = e.ids
        out.append(len(ids))
        out.extend(ids)
    return out


def unflat(flat):
    at = 0
    while at < len(flat):
        yield flat[at + 1:at + 1 + flat[at]].tolist()
        at += 1 + flat[at]


def differing(tok, folder, texts, *mode):
    """[(index, ours, theirs)] of the texts whose ids differ."""
    found = []
    for at in range(0, len(texts), CHUNK):
        part = texts[at:at + CHUNK]
        a, b = ours(folder, part, *mode), theirs(tok, part)
        if a != b:
            found += [(at + i, x, y) for i, (x, y) in enumerate(zip(unflat(a), unflat(b))) if x != y]
    return found


def ranges(numbers):
    out = []
    for n in sorted(numbers):
        if out and out[-1][1] == n - 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return " ".join(f"U+{a:04X}" if a == b else f"U+{a:04X}-{b:04X}" for a, b in out)


# ---- whose tables are older ------------------------------------------------------------------


def matched(pattern):
    """The code points that the reference's engine matches."""
    cut = pre_tokenizers.Split(Regex(pattern), "removed")
    return {c for c in points(args.step) if not cut.pre_tokenize_str(chr(c))}


def matched_here(pattern):
    """The same of ours: a tokenizer that removes them gives no ids."""
    tok = Tokenizer(models.BPE({makers.CHARS[b]: b for b in range(256)}, []))
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "removed"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    every = points(args.step)
    flat = ours(makers.save(tok, os.path.join(args.work, "matched")), [chr(c) for c in every])
    return {c for c, ids in zip(every, unflat(flat)) if not ids}


def older_tables():
    """{cause: (code points, the kinds it concerns; None: all)}; the first cause counts."""
    digits = pre_tokenizers.Digits(True) # by yet another table than the expressions
    numbers = {c for c in points(args.step) if len(digits.pre_tokenize_str("a" + chr(c))) > 1}
    here, there = matched_here(r"\p{Cn}"), matched(r"\p{Cn}") - numbers
    cut = pre_tokenizers.Punctuation("removed")
    punctuation = {c for c in points(args.step) if not cut.pre_tokenize_str(chr(c))}
    forms = {form: getattr(normalizers, form)() for form in ("NFC", "NFD", "NFKC", "NFKD")}
    turned = {c for c in points(args.step) for form, f in forms.items()
              if f.normalize_str(chr(c)) != unicodedata.normalize(form, chr(c))}
    normalizing = [name for name, kind in makers.KINDS.items() if kind[1]]
    return {UNASSIGNED: (here & there, []),
            "newer than our tables": (here - there, None),
            "newer than the reference's tables": (there - here, None),
            "of another kind in the reference's older table of punctuation":
                (punctuation ^ matched(r"[\p{P}$+<=>^`|~]"), ["falcon"]),
            "of another form in the reference's older table of normal forms": (turned, normalizing)}


# ---- the parts -------------------------------------------------------------------------------


def judge(name, found, code_of, causes, texts):
    """Says which differences have a cause, and fails on the others."""
    left, listed = [], {cause: set() for cause in causes}
    for i, x, y in found:
        cause = next((k for k, (codes, kinds) in causes.items()
                      if code_of(i) in codes and (kinds is None or name in kinds)), None)
        if cause:
            listed[cause].add(code_of(i))
        else:
            left.append((i, x, y))
    for cause, codes in listed.items():
        all_listed.setdefault(cause, set()).update(codes)
    for i, x, y in left[:8]:
        print(f"     {name}: {texts[i]!r}: ours {x}, the reference {y}")
    if len(left) > 8:
        print(f"     {name}: code points {ranges({code_of(i) for i, _, _ in left})[:2000]}")
    causes_text = "".join(f"; {len(codes)} characters {cause}" for cause, codes in listed.items() if codes)
    say(not left, f"{name}: {len(texts)} texts, {len(left)} differ{causes_text}")


def swept(causes):
    """Every code point, but of those that both sides call unassigned every 97th: one is as any other."""
    return [c for i, c in enumerate(points(args.step))
            if i % 97 == 0 or args.step > 1 or c not in causes[UNASSIGNED][0]]


def sweep(causes):
    every = swept(causes)
    for name in [args.kind] if args.kind else makers.KINDS:
        tok = makers.joined(name, CONTEXTS)
        folder = makers.save(tok, os.path.join(args.work, name))
        texts = [pre + chr(c) * (1 + (pre == " ")) + post for pre, post in CONTEXTS for c in every]
        judge(name, differing(tok, folder, texts), lambda i: every[i % len(every)], causes, texts)


def sweep_added(causes):
    every = swept(causes)
    tok = makers.add_tokens(makers.joined("qwen2", CONTEXTS))
    folder = makers.save(tok, os.path.join(args.work, "added"))
    texts = [context.format(chr(c)) for context in ADDED_CONTEXTS for c in every]
    for mode in ([], ["plain"]):
        tok.encode_special_tokens = bool(mode)
        judge(" ".join(["added"] + mode), differing(tok, folder, texts, *mode),
              lambda i: every[i % len(every)], causes, texts)


POOL = ("abzXYZ019 \n\t\r'’.,!?-_/<>|éÅßſKǅʰªⅣ²٣௧\u0301\u0308\u0323\u200c\u200d\u180e\u0085\u00a0\u2028\u3000"
        "中文。、「」々〇ㄅあアｱ가ก็ا\u0651ह्ि😀👍🏽🇩🇪\U0001d7d8ﬁ½①＄€+^`~\u2e43")
CONTRACTIONS = ["'s", "'LL", "'ſ", "n't", "  ", "\n\n", " \n", "123456", "http://x/", "It's ", "é"]


def random_texts(rng, n, more=()):
    pool = list(POOL) + CONTRACTIONS + list(more) * 3
    return ["".join(rng.choices(pool, k=rng.randint(1, 24))) for _ in range(n)]


def random_part(rng):
    for name in makers.KINDS:
        texts = random_texts(rng, args.texts)
        if name == "falcon":  # its table of punctuation is older
            texts = [t.replace("\u2e43", "") for t in texts]
        tok = makers.trained(name, texts[:2000])
        folder = makers.save(tok, os.path.join(args.work, name + "-random"))
        judge(name + ", random", differing(tok, folder, texts), lambda i: -1, {}, texts)
    tok = makers.add_tokens(makers.trained("qwen2", random_texts(rng, 2000)))
    names = [t.content for t in tok.get_added_tokens_decoder().values()]
    names += [n.replace("é", "e\u0301") for n in names]
    folder = makers.save(tok, os.path.join(args.work, "added-random"))
    texts = random_texts(rng, args.texts, names)
    for mode in ([], ["plain"]):
        tok.encode_special_tokens = bool(mode)
        judge(" ".join(["added, random"] + mode), differing(tok, folder, texts, *mode), lambda i: -1, {},
              texts)


def other_files(rng):
    """Files without a pattern or without merges: against the definition of ranks, and the reference."""
    texts = random_texts(rng, min(args.texts, 3000))
    for name, pattern, cls in (("kimi-k2", makers.KIMI, "TikTokenTokenizer"),
                               ("llama3", makers.LLAMA3, "PreTrainedTokenizerFast")):
        tok = makers.trained(name, texts)
        folder = os.path.join(args.work, f"tiktoken-{name}")
        ranks = makers.write_tiktoken(tok, folder, cls)
        cutter = pre_tokenizers.Split(Regex(pattern), "isolated")

        def cut(text):
            return [piece.encode() for piece, _ in cutter.pre_tokenize_str(text)]

        want = [makers.ranked_ids(ranks, cut, t) for t in texts]
        got = list(unflat(ours(folder, texts)))
        bad = [t for t, a, b in zip(texts, got, want) if a != b]
        say(not bad, f"tiktoken.model, {cls}: {len(texts)} texts, {len(bad)} differ {bad[:2]}")
        folder = os.path.join(args.work, f"tekken-{name}")
        makers.write_tekken(ranks, folder, pattern)
        got = [[i - 20 for i in ids] for ids in unflat(ours(folder, texts))]
        bad = [t for t, a, b in zip(texts, got, want) if a != b]
        say(not bad, f"tekken.json, {name}: {len(texts)} texts, {len(bad)} differ {bad[:2]}")
    for name, cls in (("gpt2", "GPT2Tokenizer"), ("qwen2", "Qwen2TokenizerFast")):
        tok = makers.trained(name, texts)
        folder = os.path.join(args.work, f"merges-{name}")
        makers.write_merges(tok, folder, cls)
        judge(f"merges.txt, {cls}", differing(tok, folder, texts), lambda i: -1, {}, texts)


os.makedirs(args.work, exist_ok=True)
causes = older_tables()
sweep(causes)
if not args.kind:
    sweep_added(causes)
    random_part(random.Random(args.seed))
    other_files(random.Random(args.seed + 1))
for cause, codes in all_listed.items():
    if codes:
        print(f"{len(codes)} characters {cause}: {ranges(codes)}")
print(f"{failures} failures")
sys.exit(failures > 0)
