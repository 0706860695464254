#!/usr/bin/env python3
"""What receipts cost: the time of a step of 16 streams with and without them, in turns on one
server, and the engine's and the digests' time for a row of logits.

usage: receipts.py RECURD [--against RECURD] [--model DIR] [--layers N] [--quantize q8]
         [--streams N] [--rounds N] [--steps N]

The model (65,536 tokens, random weights) is computed by one thread, the engine's: besides the time
of a step by the clock there is the processor time of that thread, which says the same on a machine
that others use. Figures are medians of rounds.
"""
import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "api"))
import common  # noqa: E402


def engine_ns(s):
    """Processor time of the thread that has most."""
    most = 0
    for task in os.listdir("/proc/%d/task" % s.proc.pid):
        try:
            with open("/proc/%d/task/%s/schedstat" % (s.proc.pid, task)) as f:
                most = max(most, int(f.read().split()[0]))
        except FileNotFoundError:
            pass
    return most


def streams(s, n, receipts, steps):
    """ms a step while n streams run, by the clock and of the engine; the metrics' growth."""
    def one(k):
        s.complete([3 + k], max_tokens=steps + 40, ignore_eos=True,
                   **({"receipt": "digests"} if receipts else {}))

    threads = [threading.Thread(target=one, args=(k,)) for k in range(n)]
    for t in threads:
        t.start()
    while s.metrics()["recurd_requests_running"] < n:
        time.sleep(0.01)
    m, t0, cpu0 = s.metrics(), time.monotonic(), engine_ns(s)
    now = m
    while now["recurd_steps_total"] < m["recurd_steps_total"] + steps:
        time.sleep(0.02)
        now = s.metrics()
    t1, cpu1 = time.monotonic(), engine_ns(s)
    assert now["recurd_requests_running"] == n
    for t in threads:
        t.join()
    grown = {k: now[k] - m[k] for k in m if k in now}
    took = grown["recurd_steps_total"]
    return 1e3 * (t1 - t0) / took, 1e-6 * (cpu1 - cpu0) / took, grown


def main():
    p = argparse.ArgumentParser()
    p.add_argument("recurd")
    p.add_argument("--against")
    p.add_argument("--model", default=os.path.join(HERE, "rwkv7-0.4b"))
    p.add_argument("--quantize", default="q8")
    p.add_argument("--layers", type=int)
    p.add_argument("--streams", type=int, default=16)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=60)
    args = p.parse_args()
    folder = tempfile.mkdtemp(prefix="recurd-bench-")
    try:
        return compare(args, folder)
    finally:
        shutil.rmtree(folder)


def compare(args, folder):
    with open(os.path.join(args.model, "config.json")) as f:
        config = json.load(f)
    config["num_hidden_layers"] = args.layers or config["num_hidden_layers"]
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)
    programs = [("it", args.recurd)] + ([("against", args.against)] if args.against else [])
    for name, program in programs:
        common.Settings.recurd = os.path.abspath(program)
        s = common.Server(["--model", folder, "--load-format", "dummy", "--quantize",
                           args.quantize, "--slots", str(args.streams), "--state-memory", "0",
                           "--threads", "1", "--alias", "m"])
        clock, cpu, engine, digest = {0: [], 1: []}, {0: [], 1: []}, [], []
        for i in range(args.rounds):
            for receipts in ((0, 1), (1, 0))[i % 2]:
                a, b, m = streams(s, args.streams, receipts, args.steps)
                clock[receipts].append(a)
                cpu[receipts].append(b)
                if receipts:
                    rows = m["recurd_receipt_rows_total"]
                    whole = m["recurd_receipt_seconds_total"] / rows * 1e6
                    digest.append(whole)
                    engine.append(m["recurd_receipt_copy_seconds_total"] / rows * 1e6
                                  if "recurd_receipt_copy_seconds_total" in m else whole)
        med = statistics.median
        print("%s, %d streams: ms a step without and with receipts %.2f %.2f by the clock, %.2f "
              "%.2f of the engine: %+.1f %% (%s); a row takes the engine %.1f us, its digest "
              "%.1f us" % (
                  name, args.streams, med(clock[0]), med(clock[1]), med(cpu[0]), med(cpu[1]),
                  100 * (med(cpu[1]) / med(cpu[0]) - 1),
                  " ".join("%+.1f" % (100 * (b / a - 1)) for a, b in zip(cpu[0], cpu[1])),
                  min(engine), min(digest)), flush=True)
        s.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
