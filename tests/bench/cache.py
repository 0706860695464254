#!/usr/bin/env python3
"""What the state cache costs in memory and time.

usage: cache.py RECURD long [--model DIR] [--tokens N] [--dummy]
         one session to N tokens (1,000,000): resident memory, disk and time of a turn on the way
       cache.py RECURD park [--model DIR] [--sessions N] [--memory MIB] [--wakes N]
         N sessions (10,000) parked, woken at random: bytes of a session, time to answer by tier
"""
import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "api"))
import common  # noqa: E402

TURN = 1000  # tokens of a turn in "long": every request is the same work for the server


def ids(r, n):
    return [r.randrange(3, 250) for _ in range(n)]


def on_disk(folder):
    return sum(os.path.getsize(os.path.join(at, name))
               for at, _, names in os.walk(folder) for name in names)


def start(args, folder, *more):
    flags = ["--model", args.model, "--state-dir", folder, "--session-ttl", "1"] + list(more)
    if args.dummy:
        flags += ["--load-format", "dummy"]
    return common.Server(flags)


def long(args, folder):
    s = start(args, folder)
    session = s.post("/v1/sessions", {})["id"]
    r = random.Random(1)
    marks = [n for n in (1000, 10000, 100000, 1000000, 10000000) if n <= args.tokens]
    base = None
    t0 = time.time()
    print("tokens      resident MiB   against 1k   disk MiB   ms a turn of %d (median of 9)" % TURN)
    done, last = 0, []
    while done < args.tokens:
        t = time.time()
        reply = s.complete(ids(r, TURN - 1), session=session, max_tokens=1, ignore_eos=True)
        last = last[-8:] + [time.time() - t]
        done = reply["session"]["position"]
        if marks and done >= marks[0]:
            marks.pop(0)
            m = s.metrics()["process_resident_memory_bytes"]
            base = base or m
            print("%-11d %-14.1f %+.1f %%       %-10.1f %.0f" % (
                done, m / 2**20, 100 * (m / base - 1), on_disk(folder) / 2**20,
                sorted(last)[len(last) // 2] * 1e3), flush=True)
    print("%.0f s in all" % (time.time() - t0))
    return s


def quantiles(name, x):
    x = sorted(x)
    if x:
        print("  %-5s %6d wakes   p50 %.2f ms   p99 %.2f ms" % (
            name, len(x), x[len(x) // 2] * 1e3, x[min(len(x) - 1, len(x) * 99 // 100)] * 1e3))


def park(args, folder):
    s = start(args, folder, "--state-memory", str(args.memory))
    before = s.metrics()["process_resident_memory_bytes"]
    sessions = [None] * args.sessions
    t0 = time.time()

    def fill(k, step):
        r = random.Random(k)
        for i in range(k, args.sessions, step):
            sessions[i] = s.post("/v1/sessions", {})["id"]
            s.complete(ids(r, 24), session=sessions[i], max_tokens=1, ignore_eos=True)

    threads = [threading.Thread(target=fill, args=(k, 16)) for k in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    m = s.metrics()
    grown = m["process_resident_memory_bytes"] - before
    ram = m['recurd_cache_entries{tier="ram"}']
    print("%d sessions parked in %.0f s; a state has %.0f bytes" % (
        args.sessions, time.time() - t0, m["recurd_state_bytes"]))
    print("resident memory grew by %.1f MiB: %.0f bytes a session; %d of them in RAM" % (
        grown / 2**20, grown / args.sessions, ram))
    print("on disk: %.0f bytes a session" % (m['recurd_cache_bytes{tier="disk"}'] / args.sessions))
    r = random.Random(0)
    times = {"ram": [], "disk": []}
    reloads = m["recurd_cache_reload_seconds_count"]
    for _ in range(args.wakes):
        i = r.randrange(args.sessions)
        t = time.time()
        s.complete(ids(r, 1), session=sessions[i], max_tokens=0)
        t = time.time() - t
        now = s.metrics()["recurd_cache_reload_seconds_count"]
        times["disk" if now > reloads else "ram"].append(t)
        reloads = now
    print("one new token, durable before the answer:")
    quantiles("ram", times["ram"])
    quantiles("disk", times["disk"])
    m = s.metrics()
    if m["recurd_cache_reload_seconds_count"]:
        print("  reading and checking a state: %.2f ms on average; an fsync: %.2f ms" % (
            1e3 * m["recurd_cache_reload_seconds_sum"] / m["recurd_cache_reload_seconds_count"],
            1e3 * m["recurd_cache_fsync_seconds_sum"] / m["recurd_cache_fsync_seconds_count"]))
    return s


def main():
    p = argparse.ArgumentParser()
    p.add_argument("recurd")
    p.add_argument("what", choices=["long", "park"])
    p.add_argument("--model", default=common.DEMO7)
    p.add_argument("--dummy", action="store_true")
    p.add_argument("--tokens", type=int, default=1000000)
    p.add_argument("--sessions", type=int, default=10000)
    p.add_argument("--memory", type=int, default=1024)
    p.add_argument("--wakes", type=int, default=1000)
    args = p.parse_args()
    common.Settings.recurd = os.path.abspath(args.recurd)
    folder = tempfile.mkdtemp(prefix="recurd-bench-")
    try:
        s = long(args, folder) if args.what == "long" else park(args, folder)
        return s.stop()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
