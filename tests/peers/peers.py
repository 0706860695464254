#!/usr/bin/env python3
"""recurd beside llama.cpp, the newest on PyPI: the same GGUF files of random weights in published
shapes, written by recurd-convert.

    peers.py BUILD [--types q8_0,f16] [--models NAME,...] [--prompts N] [--tokens N] [--rounds N]
                   [--from-source]

llama.cpp comes as cyllama, whose wheel knows no instructions beyond AVX2; --from-source: as
llama-cpp-python, which is built for this CPU and takes half an hour on two cores. Speeds of the
former say little on a CPU with AVX-512.

Per file: greedy tokens of N prompts of 64 tokens, the largest difference of logits over one of
them, load time, resident memory, and in alternating rounds prompt and decode speed. The file is in
the page cache; both use as many threads as there are processors. Exit 1 where the logits are not
those of one model (correlation below 0.99). Without the package: "skipped", exit 0."""
import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from llama import SOURCE, WHEEL, NotLoaded, Peer, enter

ALIKE = 0.99
SPEED_PROMPT = 512


def arguments():
    a = argparse.ArgumentParser()
    a.add_argument("build")
    a.add_argument("--types", default="q8_0,f16")
    a.add_argument("--models", default="rwkv7-0.4b,mamba2-370m,lfm2-350m")
    a.add_argument("--prompts", type=int, default=20)
    a.add_argument("--tokens", type=int, default=64)
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--from-source", action="store_true")
    return a.parse_args()


ARGS = arguments()
PACKAGE = SOURCE if ARGS.from_source else WHEEL
enter(ARGS.build, PACKAGE)
import numpy as np  # noqa: E402

import models  # noqa: E402


# ---- recurd -------------------------------------------------------------------------------------

def evaluate(path, ids, folder, *more):
    """(standard output, standard error) of recurd-eval."""
    name = os.path.join(folder, "ids.json")
    with open(name, "w", encoding="utf-8") as f:
        json.dump(ids, f)
    r = subprocess.run([os.path.join(ARGS.build, "recurd-eval"), "--model", path, "--tokens", name,
                        "--threads", str(os.cpu_count()), *more], capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"FAIL {path}: {r.stderr.strip()}")
    return r.stdout, r.stderr


def speed_of(path, ids, n, folder):
    """Prompt and decode tokens a second; the first of n tokens comes out of the prompt."""
    _, text = evaluate(path, ids, folder, "--generate", str(n), "--time")
    prompt, decode = re.search(r"tokens, ([\d.]+) tokens/s; .* ([\d.]+) tokens/s", text).groups()
    return float(prompt), float(decode) * (n - 1) / n


def start(path):
    """Seconds from exec to /health, and the resident memory then, in MiB."""
    t0 = time.monotonic()
    p = subprocess.Popen([os.path.join(ARGS.build, "recurd"), "--model", path, "--slots", "1",
                          "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
    try:
        url = next((m[0] for m in (re.search(r"http://[\d.:]+", line) for line in p.stderr) if m),
                   None)
        if not url:
            sys.exit(f"FAIL {path}: recurd does not start")
        while True:
            try:
                urllib.request.urlopen(url + "/health", timeout=5).read()
                break
            except OSError:
                time.sleep(0.005)
        seconds = time.monotonic() - t0
        with open(f"/proc/{p.pid}/status", encoding="ascii") as f:
            return seconds, next(int(s.split()[1]) for s in f if s.startswith("VmRSS")) / 1024
    finally:
        p.terminate()
        p.wait(60)


# ---- one file -----------------------------------------------------------------------------------

def prompt(vocab, n, seed):
    return np.random.default_rng(seed).integers(10, vocab, n).tolist()


def greedy(path, peer, vocab, folder):
    """Prompts whose tokens are all the same, and the share of tokens before the first other one."""
    whole, shared = 0, 0
    for i in range(ARGS.prompts):
        ids = prompt(vocab, 64, i)
        ours = json.loads(evaluate(path, ids, folder, "--generate", str(ARGS.tokens))[0])
        theirs = peer.ask(do="generate", ids=ids, n=ARGS.tokens)["ids"]
        same = next((k for k, (a, b) in enumerate(zip(ours, theirs)) if a != b), ARGS.tokens)
        whole += same == ARGS.tokens
        shared += same
    return whole, shared / ARGS.prompts / ARGS.tokens


def logits(path, peer, vocab, folder):
    """Largest difference, the deviation of all logits, and their correlation."""
    ids, names = prompt(vocab, 64, 1000), [os.path.join(folder, n) for n in ("a.npy", "b.npy")]
    evaluate(path, ids, folder, "--logits", names[0])
    peer.ask(do="logits", ids=ids, out=names[1])
    ours, theirs = (np.load(n).astype(np.float64) for n in names)
    alike = float(np.corrcoef(ours.reshape(-1), theirs.reshape(-1))[0, 1])
    return float(np.abs(ours - theirs).max()), float(theirs.std()), alike


def compare(path, vocab, folder):
    """A row of the table, and whether it is one model in both."""
    with open(path, "rb") as f:  # into the page cache
        while f.read(1 << 24):
            pass
    seconds, memory = start(path)
    peer = Peer(path)
    worst, deviation, alike = logits(path, peer, vocab, folder)
    whole, shared = greedy(path, peer, vocab, folder)
    speeds = {"ours": [], "theirs": []}
    for i in range(ARGS.rounds):
        ids = prompt(vocab, SPEED_PROMPT, 2000 + i)
        speeds["ours"].append(speed_of(path, ids, ARGS.tokens, folder))
        other = peer.ask(do="generate", ids=ids, n=ARGS.tokens)
        speeds["theirs"].append((other["prompt"], other["decode"]))
    peer.close()
    median = {who: [statistics.median(x) for x in zip(*s)] for who, s in speeds.items()}
    cells = [f"{whole} of {ARGS.prompts}, {100 * shared:.0f} %", f"{worst:.2g} of {deviation:.2g}",
             f"{seconds:.2f}, {peer.first['load']:.2f}", f"{memory:.0f}, {other['rss']:.0f}",
             f"{median['ours'][0]:.0f}, {median['theirs'][0]:.0f}",
             f"{median['ours'][1]:.1f}, {median['theirs'][1]:.1f}"]
    return cells, alike


def cpu():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        name = next((s.split(":", 1)[1].strip() for s in f if s.startswith("model name")), "?")
    return f"{os.cpu_count()} processors of {name}, {platform.system()} {platform.machine()}"


def main():
    import importlib.metadata
    work = os.path.join(ARGS.build, "peers")
    os.makedirs(work, exist_ok=True)
    print(f"{datetime.date.today()}, {cpu()}, load {os.getloadavg()[0]:.1f}; recurd and {PACKAGE} "
          f"{importlib.metadata.version(PACKAGE)}.\nRandom weights; pairs are recurd, llama.cpp. "
          f"{ARGS.prompts} prompts of 64 tokens, {ARGS.tokens} greedy tokens each: how many are "
          f"all the same, and the share of tokens up to the first other one. Speeds: medians of "
          f"{ARGS.rounds} alternating rounds, {SPEED_PROMPT} tokens of prompt. llama.cpp rounds "
          f"activations to the type of the weights, recurd does not: random weights have near "
          f"ties, and there the texts part. Pages of a mapped file count as resident.\n")
    print("| model | type | greedy | largest difference of logits, their deviation | load, s | "
          "resident, MiB | prompt, tokens/s | decode, tokens/s |\n| --- | --- " +
          "| ---: " * 6 + "|", flush=True)
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ARGS.models.split(","):
            source = models.write(work, name)
            vocab = models.MODELS[name]()[0]["vocab_size"]
            for kind in ARGS.types.split(","):
                path = os.path.join(folder, f"{name}.{kind}.gguf")
                subprocess.run([os.path.join(ARGS.build, "recurd-convert"), "--type", kind, source,
                                path], check=True, capture_output=True)
                try:
                    cells, alike = compare(path, vocab, folder)
                except NotLoaded:
                    print(f"| {name} | {kind} | this package's llama.cpp does not load it |")
                    continue
                finally:
                    os.unlink(path)
                print(f"| {name} | {kind} | " + " | ".join(cells) + " |", flush=True)
                if alike < ALIKE:
                    wrong.append(f"{name} {kind}: logits correlate by {alike:.4f} only")
    for line in wrong:
        print("FAIL", line)
    return len(wrong) > 0


sys.exit(main())
