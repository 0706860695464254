#!/usr/bin/env python3
"""The speed of the GPU path in one run: every figure beside its aim and beside what torch and fla
reach on the same card.

    table.py [--device NAME] [--parts LIST] [--models LIST] [--build DIR] [--out DIR] [--limit S]
             [--quick]

With the programs built (make build/recurd build/recurd-bench build/steps build/oclbench
build/ocl_fault), four to five minutes on an H200:

    PYTHONPATH=WHEELS tests/gpu/table.py --device nvidia:0 --out build/table

WHEELS is a folder with fla-core and flash-linear-attention unpacked (pip install --target,
--no-deps); without it, or without a torch that sees the card, the columns of others stay empty.
NAME is as after "opencl:"; given twice, half of the work runs on each card at the same time.
LD_LIBRARY_PATH as the programs need it. The daemon's rows are in table_daemon.py, those of other
programs in table_programs.py, what others reach in others.py.

--parts (or PARTS in the environment), with commas, of:
  check     states come back with their bits
  products  matrix products and the copy of device memory, alone
  serve     the daemon over HTTP, without state cache: one to 256 streams, prompts
  cache     the same with it; every token and logprob alone and together
  turns     turns of durable sessions: resident, from memory, from disk after a restart
  size      more slots than one buffer or one fill takes; more than there is
  families  launches and host time of a step, share of the copy, for twelve models
  others    torch's products; fla's Gated DeltaNet
--models chooses among the three served. --limit: nothing begins after so many seconds.
--quick: the demo models and small numbers, to see that all of it runs on any device.

Written to DIR: table.txt (also printed), table.json, logs, built kernels. Each measurement has a
time limit of its own; what fails or is late is said, and the rest goes on. Exit code 1: something
did."""
import argparse
import contextlib
import datetime
import http.client
import json
import os
import queue
import subprocess
import sys
import threading
import time

import table_daemon as daemon
import table_programs as programs

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PARTS = "check products serve cache turns size families others".split()
GDN, RWKV, QWEN = "gdn-1.3b", "rwkv7-1.5b", "qwen3.5-4b"

# The served models, and nine more architectures as published: launches and host time depend on
# layers and ops, not on widths.
FAMILIES = {name: os.path.join(HERE, name, "config.json") for name in (GDN, RWKV, QWEN)}
FAMILIES |= {name: os.path.join(ROOT, "tests/configs/published", name + ".json") for name in (
    "mamba-130m-hf", "mamba2-130m-hf", "rwkv-4-169m-pile", "gla-340M-15B", "LFM2-350M",
    "granite-4.0-h-350m", "Falcon-H1-0.5B-Instruct", "hgrn2-1.3B-100B", "gsa-1.3B-100B")}
HOST_US_MAX = 60  # of a step, its aim for every family


class Size:
    """What a run measures with; --quick has smaller ones."""
    streams = (1, 16, 64, 256)
    requests = {1: 4, 16: 48, 64: 192, 256: 768}
    written, prompt, long_prompt, batch = 256, 2048, 16384, 16
    short_session, long_session, turns = 1000, 100000, 12
    slots, step_tokens, state_mib, compared = 256, 8192, 32768, 32
    more_slots, too_many_slots = 1200, 6000
    families, family_streams = FAMILIES, ("1", "16")
    load_s, limit_s = 15, 60  # of one load: no request begins later; given up
    models = {GDN: os.path.join(HERE, GDN), RWKV: os.path.join(HERE, RWKV),
              QWEN: os.path.join(HERE, QWEN)}


class Quick(Size):
    streams = (1, 4)
    requests = {1: 2, 4: 4}
    written, prompt, long_prompt, batch = 16, 64, 128, 2
    short_session, long_session, turns = 40, 200, 3
    slots, step_tokens, state_mib, compared = 4, 128, 64, 4
    more_slots, too_many_slots = 8, 4000
    families = {"gated-deltanet": os.path.join(ROOT, "models/demo/gated-deltanet/config.json")}
    family_streams = ("1",)
    limit_s = 120
    models = {GDN: os.path.join(ROOT, "models/demo/gated-deltanet"),
              RWKV: os.path.join(ROOT, "models/demo/rwkv7")}


class Row:
    """One line of the table. up: more is better."""

    def __init__(self, key, unit, aim=None, up=True):
        self.key, self.unit, self.aim, self.up = key, unit, aim, up
        self.value = self.other = None
        self.notes = {}  # of the figure, of the others'

    def share(self):
        if self.aim is None or not self.value:
            return None
        return self.value / self.aim if self.up else self.aim / self.value


def rows(size):
    """Every row with its aim, in the order they are printed. Keys: (part, of what, which)."""
    out = [Row(("products", "copy", "read and written"), "GB/s")]
    out += [Row(("products", "product bf16", f"{n}³"), "TFLOP/s", 600) for n in (4096, 8192)]
    aims = {RWKV: (1100, 10000, 25000, 45000), GDN: (1000, None, 30000, 50000),
            QWEN: (400, 4500, 12000, 20000)}
    prompts = {RWKV: (180000, None, None), GDN: (220000, 60000, 180000),
               QWEN: (70000, 40000, None)}
    turn = {RWKV: (8, 25), GDN: (12, 40)}
    full = size is Size
    for m in size.models:
        aim = dict(zip(size.streams, aims[m] if full else ()))
        for n in size.streams:
            out.append(Row(("serve", m, f"{n} streams"), "tokens/s", aim.get(n)))
        names = (f"prompts {size.batch} x {size.prompt}", f"prompt of {size.prompt}",
                 f"prompt of {size.long_prompt}")
        for name, p in zip(names, prompts[m]):
            out.append(Row(("serve", m, name), "tokens/s", p if full else None))
        for n in size.streams:
            out.append(Row(("cache", m, f"{n} streams"), "% of off", 95))
        out.append(Row(("cache", m, names[0]), "% of off"))
        out.append(Row(("cache", m, "bits alone and together"), "differ", None, False))
        if m in turn:
            for tokens in (size.short_session, size.long_session):
                for where, a in zip(("resident", "from memory", "from disk"),
                                    (turn[m][0],) + turn[m]):
                    out.append(Row(("turns", m, f"session of {tokens}, {where}"), "ms",
                                   a if full else None, False))
        out.append(Row(("serve", m, "start, kernels to build"), "s", None, False))
        out.append(Row(("serve", m, "start"), "s", 10 if m == QWEN else None, False))
    out.append(Row(("size", GDN, f"start with {size.more_slots} slots"), "s", None, False))
    out.append(Row(("size", GDN, f"{size.too_many_slots} slots refused in"), "s", None, False))
    for f in size.families:
        for n in size.family_streams:
            out.append(Row(("families", f, f"host time, {n} streams"), "us", HOST_US_MAX, False))
        out.append(Row(("families", f, "weights, 1 streams"), "% of copy"))
    out.append(Row(("check", "states", "come back with their bits"), "failed", None, False))
    return out


class Bench:
    """One run: options, rows, what went wrong. Several threads, one a card."""

    def __init__(self, a):
        self.a = a
        self.size = Quick if a.quick else Size
        self.rows = {r.key: r for r in rows(self.size)}
        self.models = [m for m in self.size.models if m in (a.models or self.size.models)]
        self.failed, self.facts, self.copy_gbs = [], {}, None
        self.lock = threading.Lock()

    def program(self, name):
        return os.path.join(self.a.build, name)

    def log(self, *name):
        return os.path.join(self.a.out, "-".join(name) + ".log")

    def say(self, text):
        with self.lock:
            print(f"[{time.monotonic() - self.a.started:5.1f} s] {text}", flush=True)

    def put(self, key, value, note="", other=None):
        r = self.rows[key]
        which = "value" if other is None else "other"
        setattr(r, which, value if other is None else other)
        r.notes[which] = note
        self.say(f"{' '.join(key)}: {getattr(r, which):.4g} {r.unit} {note}")

    def in_time(self):
        if self.a.limit and time.monotonic() - self.a.started > self.a.limit:
            raise RuntimeError(f"not begun: {self.a.limit} s are over")

    @contextlib.contextmanager
    def attempt(self, *what):
        """What is in it may fail; that is said, and the run goes on."""
        try:
            yield
        except (OSError, RuntimeError, ValueError, KeyError, http.client.HTTPException,
                subprocess.SubprocessError) as e:
            text = str(e).strip().splitlines()
            self.failed.append(f"{' '.join(what)}: {text[-1] if text else type(e).__name__}")
            self.say("FAILED " + self.failed[-1])

    def output(self, args, name, limit_s, env=None):
        """What a program printed; its errors go to a log."""
        self.in_time()
        with open(self.log(*name), "w", encoding="utf-8") as err:
            done = subprocess.run(args, stdout=subprocess.PIPE, stderr=err, text=True,
                                  timeout=limit_s, env=dict(os.environ, **(env or {})), check=False)
        if done.returncode:
            with open(self.log(*name), encoding="utf-8", errors="replace") as err:
                last = (done.stdout + err.read()).strip().splitlines()
            raise RuntimeError(f"exit code {done.returncode}: {last[-1] if last else 'silent'}")
        return done.stdout


def jobs(bench):
    """Pieces of work that do not need each other, in order: names, function, its arguments behind
    the run and the device."""
    for part in ("check", "products", "others"):
        yield (part,), getattr(programs, part), ()
    for model in bench.models:
        yield ("serve", "cache"), served, (model,)
        if model != QWEN:
            yield ("turns",), daemon.turns, (model,)
    yield ("size",), daemon.more_slots, (GDN,)
    for name in bench.size.families:
        yield ("families",), programs.family, (name,)


def served(bench, device, model):
    """Both on one card, one after the other: the second is told in parts of the first."""
    for do in (daemon.serve, daemon.cache):
        if do.__name__ in bench.a.parts:
            with bench.attempt(do.__name__, model):
                do(bench, device, model)


def work(bench, device, todo):
    while True:
        try:
            names, do, args = todo.get_nowait()
        except queue.Empty:
            return
        with bench.attempt(*names, *args):
            do(bench, device, *args)


def number(x):
    return "-" if x is None else f"{x:,.0f}" if x >= 1000 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def table(bench):
    out = [f"{bench.facts.get('card', bench.a.device[0])}; {bench.facts['date']}; "
           f"{bench.facts['recurd']}"]
    out += [f"{k}: {v}" for k, v in bench.facts.items() if k not in ("card", "date", "recurd")]
    head = ("part", "of", "what", "unit", "aim", "measured", "of aim", "others", "note")
    lines = [head]
    for r in bench.rows.values():
        if r.value is None and r.other is None:
            continue
        share = r.share()
        lines.append((*r.key, r.unit, number(r.aim) if r.aim else "", number(r.value),
                      "" if share is None else f"{share * 100:.0f} %",
                      "" if r.other is None else number(r.other),
                      "; ".join(filter(None, r.notes.values()))))
    width = [max(len(x[i]) for x in lines) for i in range(8)]
    for x in lines:
        cells = [c.ljust(w) if i < 4 else c.rjust(w) for i, (c, w) in enumerate(zip(x, width))]
        out.append("  ".join(cells + [x[8]]).rstrip())
    out += ["--quick: the demo models under these names, and no figures to keep"] * bench.a.quick
    missing = [" ".join(r.key) for r in bench.rows.values()
               if r.value is None and r.key[0] in bench.a.parts and not
               (r.key[1] in bench.size.models and r.key[1] not in bench.models)]
    out += [f"not measured: {x}" for x in missing] + [f"FAILED {x}" for x in bench.failed]
    return "\n".join(out) + "\n"


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--device", action="append")
    p.add_argument("--parts", default=os.environ.get("PARTS", ",".join(PARTS)))
    p.add_argument("--models", default="")
    p.add_argument("--build", default=os.path.join(ROOT, "build"))
    p.add_argument("--out", default=os.path.join(ROOT, "build/table"))
    p.add_argument("--limit", type=float, metavar="S")
    p.add_argument("--quick", action="store_true")
    a = p.parse_args()
    a.device = ["opencl:" + d.removeprefix("opencl:") for d in a.device or ["gpu"]]
    a.parts = a.parts.replace(",", " ").split()
    a.models = a.models.replace(",", " ").split()
    unknown = set(a.parts) - set(PARTS) or set(a.models) - set(Size.models)
    if unknown:
        p.error(f"{', '.join(sorted(unknown))}: not one of "
                f"{', '.join(PARTS + list(Size.models))}")
    a.started = time.monotonic()
    return a


def main():
    a = arguments()
    os.makedirs(os.path.join(a.out, "kernels"), exist_ok=True)
    bench = Bench(a)
    now = datetime.datetime.now(datetime.timezone.utc)
    bench.facts["date"] = now.strftime("%Y-%m-%d %H:%M UTC")
    version = subprocess.run([bench.program("recurd"), "--version"], text=True,
                             stdout=subprocess.PIPE, check=True).stdout
    bench.facts["recurd"] = version.split("\n")[0]
    todo = queue.Queue()
    for job in jobs(bench):
        if set(job[0]) & set(a.parts):
            todo.put(job)
    threads = [threading.Thread(target=work, args=(bench, d, todo)) for d in a.device]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    text = table(bench)
    print(text, end="")
    print(f"{time.monotonic() - a.started:.0f} s")
    with open(os.path.join(a.out, "table.txt"), "w", encoding="utf-8") as f:
        f.write(text)
    with open(os.path.join(a.out, "table.json"), "w", encoding="utf-8") as f:
        json.dump({"facts": bench.facts, "failed": bench.failed, "seconds":
                   time.monotonic() - a.started, "rows":
                   [{"key": r.key, "unit": r.unit, "aim": r.aim, "measured": r.value,
                     "of_aim": r.share(), "others": r.other, "notes": r.notes}
                    for r in bench.rows.values()]}, f, indent=1)
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
