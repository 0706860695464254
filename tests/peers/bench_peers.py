#!/usr/bin/env python3
"""Speed of recurd and llama.cpp on the same files, in alternating rounds, beside what the machine
can do in the same run.

    bench_peers.py BUILD [--models NAME,...] [--types q8_0,q4_k,bf16] [--rounds N] [--out DIR]
                   [--llama-server PATH] [--wheel] [--concurrency 1,16] [--quick]

In process: decode of 1, 4, 16 and 32 sequences and a prompt of 512 tokens, by build/speed and by
peer.py. Through HTTP (unless --concurrency 0): both
servers under recurd-bench. llama.cpp and its server are built for this machine from the sources in
llama-cpp-python; --wheel: a package that needs no compiler, knows AVX2 only and has no server. The
machine: read bandwidth and multiply-adds by kernelcheck, before every round.

Figures are medians with ranges. A figure is marked * when in one of its rounds others used more
than a tenth of the processors. A round goes through all files; after each, DIR (BUILD/bench-peers)
has bench.txt, bench.json and bench.html of the rounds so far. --quick: one small model and short
rounds, to see that all of it runs."""
import argparse
import contextlib
import datetime
import html
import json
import os
import platform
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from llama import SOURCE, WHEEL, NotLoaded, Peer, enter, server

STREAMS = (1, 4, 16, 32)
PROMPT = 512
LONG = 2000  # a prompt that arrives beside a stream
BUSY = 0.1  # of all processors, by others: the round is marked
TICK = os.sysconf("SC_CLK_TCK")


def arguments():
    a = argparse.ArgumentParser()
    a.add_argument("build")
    a.add_argument("--models", default="rwkv7-0.4b,mamba2-370m,lfm2-350m")
    a.add_argument("--types", default="q8_0,q4_k,bf16")
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--out")
    a.add_argument("--llama-server")
    a.add_argument("--wheel", action="store_true")
    a.add_argument("--concurrency", default="1,16,32")
    a.add_argument("--quick", action="store_true")
    a = a.parse_args()
    if a.quick:
        a.models, a.types, a.rounds, a.concurrency = "rwkv7-tiny", "q8_0", 2, "2"
    a.concurrency = [n for n in map(int, a.concurrency.split(",")) if n]
    a.out = a.out or os.path.join(a.build, "bench-peers")
    return a


ARGS = arguments()
PACKAGE = WHEEL if ARGS.wheel else SOURCE
enter(ARGS.build, PACKAGE)
import models  # noqa: E402  (numpy: inside of the environment)


def program(name):
    return os.path.join(ARGS.build, name)


# ---- who else was at work -----------------------------------------------------------------------

def machine_ticks():
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, system, _, _, irq, soft = map(int, f.readline().split()[1:8])
    return user + nice + system + irq + soft


def ticks_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))


class Own:
    """The share of the processors that others used while the body ran; pids: own, still alive."""

    def __init__(self, *pids):
        self.pids = pids

    def ticks(self):
        r = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(x.ru_utime + x.ru_stime for x in r) * TICK + sum(map(ticks_of, self.pids))

    def __enter__(self):
        self.t0, self.all, self.own = time.monotonic(), machine_ticks(), self.ticks()
        return self

    def __exit__(self, *_):
        others = machine_ticks() - self.all - (self.ticks() - self.own)
        self.share = max(0, others) / TICK / os.cpu_count() / (time.monotonic() - self.t0)


class Table:
    """Samples by row and column; the samples of a cell are (value, share of others)."""

    def __init__(self):
        self.cells = {}

    def add(self, row, column, value, share):
        self.cells.setdefault(row, {}).setdefault(column, []).append((value, share))

    def summary(self):
        return [{"row": row, "column": column, "median": statistics.median(v for v, _ in s),
                 "lowest": min(v for v, _ in s), "highest": max(v for v, _ in s),
                 "samples": [round(v, 3) for v, _ in s], "marked": any(o > BUSY for _, o in s)}
                for row, columns in self.cells.items() for column, s in columns.items()]


# ---- measuring ----------------------------------------------------------------------------------

def output(command):
    r = subprocess.run(command, capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"FAIL {' '.join(command)}: {r.stderr.strip()}")
    return r.stdout


def limits(table):
    with Own() as o:
        text = output([program("kernelcheck"), "--bench", "--op", "linear", "--variant", "none",
                       "--shape", "0x1024x1024x2x0x0x0"])
    read, fma = re.search(r"read ([\d.]+) GB/s, fma (\d+) GFLOP/s", text).groups()
    tiles = re.search(r"tiles of bf16 (\d+)", text)
    table.add("machine", "read, GB/s", float(read), o.share)
    table.add("machine", "multiply-adds, GFLOP/s", float(fma), o.share)
    if tiles:
        table.add("machine", "tiles of bf16, GFLOP/s", float(tiles[1]), o.share)


def ours(table, row, path):
    with Own() as o:
        text = output([program("speed"), "--rounds", "1", path])
    cells = [c.strip() for c in text.strip().strip("|").split("|")]
    for n, cell in zip(STREAMS, cells[2::2]):
        table.add(row, f"{n} streams", float(cell), o.share)
    table.add(row, "prompt", float(cells[2 + 2 * len(STREAMS)]), o.share)


def theirs(table, row, peer, vocab):
    for n in STREAMS:
        with Own(peer.p.pid) as o:
            rate = peer.ask(do="streams", n=n, vocab=vocab, seconds=0.05 if ARGS.quick else 1)
        table.add(row, f"{n} streams", rate["rate"], o.share)
    with Own(peer.p.pid) as o:
        answer = peer.ask(do="generate", ids=[(7 * i) % vocab for i in range(PROMPT)], n=2)
    table.add(row, "prompt", answer["prompt"], o.share)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def bench(url, vocab, requests, concurrency, prompt, written, warm=1):
    """A recurd-bench at work, after so many requests that do not count, and the file that will have
    its result."""
    f = tempfile.NamedTemporaryFile()
    return subprocess.Popen(
        [program("recurd-bench"), "--url", url, "--concurrency", str(concurrency), "--requests",
         str(requests), "--input-tokens", str(prompt), "--output-tokens", str(written),
         "--warmup-requests", str(warm), "--ignore-eos", "--vocab", f"10:{vocab}", "--quiet",
         "--json", f.name]), f


def result(started):
    p, f = started
    if p.wait():
        sys.exit(f"FAIL: recurd-bench ends with {p.returncode}")
    with f:
        r = json.load(open(f.name, encoding="utf-8"))
    return r["latency"], r["throughput"]["output_tokens_per_s"]


def at_once(table, row, pid, url, vocab, n):
    with Own(pid) as o:
        latency, rate = result(bench(url, vocab, 2 * n + 2, n, 32 if ARGS.quick else 128,
                                     8 if ARGS.quick else 64))
    for name, value in (("tokens/s", rate), ("TTFT p50, ms", latency["ttft"]["p50_ms"]),
                        ("gap p50, ms", latency["itl"]["p50_ms"]),
                        ("gap p99, ms", latency["itl"]["p99_ms"])):
        table.add(row, f"HTTP, {n} at once: {name}", value, o.share)


def beside_a_stream(table, row, pid, url, vocab):
    """A long prompt alone, then while a stream is written: what each costs the other."""
    with Own(pid) as o:
        alone = result(bench(url, vocab, 1, 1, LONG, 1, 0))[0]["ttft"]["p50_ms"]
        # Long enough for the prompt to begin and end within it.
        tokens = 200 + int(alone / 1000 * next(s["median"] for s in table.summary() if (
            s["row"], s["column"]) == (row, "1 streams")))
        stream = bench(url, vocab, 1, 1, 16, tokens, 0)
        time.sleep(1)
        prompt = result(bench(url, vocab, 1, 1, LONG, 1, 0))[0]["ttft"]["p50_ms"]
        gaps = result(stream)[0]["itl"]
    for name, value in (("alone, s", alone / 1000), ("beside a stream, s", prompt / 1000),
                        ("the stream's gap p50, ms", gaps["p50_ms"]),
                        ("its longest, ms", gaps["max_ms"])):
        table.add(row, f"HTTP, prompt of {LONG}: {name}", value, o.share)


def through_http(table, row, command, port, vocab):
    """A server under recurd-bench, at each concurrency, and with a long prompt beside a stream."""
    p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for attempt in range(6000):
            try:
                urllib.request.urlopen(url + "/health", timeout=5).read()
                break
            except OSError:
                if p.poll() is not None:
                    sys.exit(f"FAIL {command[0]} ends with {p.returncode}")
                time.sleep(0.02)
        for n in ARGS.concurrency:
            at_once(table, row, p.pid, url, vocab, n)
        beside_a_stream(table, row, p.pid, url, vocab)
    finally:
        p.terminate()
        p.wait(60)


class File:
    """A model in one type of weights, and what it is called in the table."""

    def __init__(self, name, kind, source, folder):
        self.name, self.kind = name, kind
        self.vocab = models.MODELS[name]()[0]["vocab_size"]
        self.path = os.path.join(folder, f"{name}.{kind}.gguf")
        output([program("recurd-convert"), "--type", kind, source, self.path])


def one_round(table, f, notes):
    limits(table)
    ours(table, f"{f.name} {f.kind}, recurd", f.path)
    try:
        with contextlib.closing(Peer(f.path, max(STREAMS))) as peer:
            theirs(table, f"{f.name} {f.kind}, llama.cpp", peer, f.vocab)
    except NotLoaded:
        note = f"{f.name} {f.kind}: this package's llama.cpp does not load it"
        if note not in notes:
            notes.append(note)
    if not ARGS.concurrency:
        return
    port = free_port()
    through_http(table, f"{f.name} {f.kind}, recurd",
                 [program("recurd"), "--model", f.path, "--slots", "32", "--listen",
                  f"127.0.0.1:{port}"], port, f.vocab)
    if ARGS.llama_server:
        port = free_port()
        through_http(table, f"{f.name} {f.kind}, llama.cpp",
                     [ARGS.llama_server, "-m", f.path, "--parallel", "32", "-c", "16384",
                      "--kv-unified", "--threads", str(os.cpu_count()), "--host", "127.0.0.1",
                      "--port", str(port)], port, f.vocab)


# ---- reports ------------------------------------------------------------------------------------

def cell(c):
    digits = 0 if c["median"] >= 100 else 1 if c["median"] >= 10 else 2
    return (f"{c['median']:.{digits}f}{'*' if c['marked'] else ''} "
            f"({c['lowest']:.{digits}f}-{c['highest']:.{digits}f})")


def report(head, cells, notes):
    head["text"] = (f"{head['date']}, {head['processors']} processors of {head['cpu']}; recurd and "
                    f"{head['llama.cpp']}. Random weights, the same files; tokens a second, medians "
                    f"(ranges) of {head['rounds']} alternating rounds; * others were at work.")
    os.makedirs(ARGS.out, exist_ok=True)
    rows = [(c["row"], c["column"], cell(c)) for c in cells]
    widths = [max(len(r[i]) for r in rows) for i in range(2)]
    text = "\n".join([head["text"], ""] +
                     [f"{a:{widths[0]}}  {b:{widths[1]}}  {c}" for a, b, c in rows] +
                     [""] + notes) + "\n"
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(x)}</td>" for x in r) + "</tr>\n"
                    for r in rows)
    page = ("<!doctype html><meta charset=utf-8><title>recurd and llama.cpp</title><style>"
            "body{font:15px sans-serif;margin:2em}td{padding:2px 12px;border-bottom:1px solid "
            f"#ddd}}</style><p>{html.escape(head['text'])}</p><table>\n{lines}</table>\n" +
            "".join(f"<p>{html.escape(n)}</p>\n" for n in notes))
    for name, content in (("bench.txt", text), ("bench.html", page), ("bench.json", json.dumps(
            {**head, "cells": cells, "notes": notes}, indent=1) + "\n")):
        with open(os.path.join(ARGS.out, name), "w", encoding="utf-8") as f:
            f.write(content)


def cpu():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return next((s.split(":", 1)[1].strip() for s in f if s.startswith("model name")), "?")


def main():
    import importlib.metadata
    table, notes, work = Table(), [], os.path.join(ARGS.build, "peers")
    os.makedirs(work, exist_ok=True)
    head = {"date": str(datetime.date.today()), "cpu": cpu(), "processors": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "llama.cpp": f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"}
    if ARGS.concurrency and not ARGS.wheel:
        ARGS.llama_server = ARGS.llama_server or server(ARGS.build)
    if ARGS.concurrency and not ARGS.llama_server:
        notes.append("skipped: llama.cpp through HTTP: no llama-server (--llama-server PATH)")
    with tempfile.TemporaryDirectory(dir=work) as folder:
        files = []
        for name in ARGS.models.split(","):
            source = models.write(work, name)
            files += [File(name, kind, source, folder) for kind in ARGS.types.split(",")]
        for n in range(1, ARGS.rounds + 1):
            for f in files:
                print(f"round {n}: {f.name} {f.kind}", flush=True)
                one_round(table, f, notes)
            report({**head, "rounds": n}, table.summary(), notes)
    with open(os.path.join(ARGS.out, "bench.txt"), encoding="utf-8") as f:
        print(f.read(), end="")


sys.exit(main())
