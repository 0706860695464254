#!/usr/bin/env python3
"""What the state cache costs in memory and time.

usage: cache.py RECURD long [--model DIR] [--tokens N] [--dummy]
         one session to N tokens (1,000,000): resident memory, disk and time of a turn on the way
       cache.py RECURD park [--model DIR] [--sessions N] [--memory MIB] [--wakes N]
         N sessions (10,000) parked, woken at random: bytes of a session, time to answer by tier
       cache.py RECURD turns [--model DIR] [--fsync MS] [--seconds S] [--rounds N] [--against RECURD]
         turns a second of 1 and 16 clients, in memory and durable, on a disk whose fsync takes so
         long (10); alternating, with a second server program to compare with
       cache.py RECURD cost [--model DIR] [--fsync MS] [--rounds N]
         a turn in memory and one that is durable, in turns, on a disk whose fsync takes so long and
         nothing else: what the second takes beyond the first and one fsync (aim: 1 ms at most)
       cache.py RECURD plain [--model DIR] [--seconds S] [--rounds N]
         prompts a second with a state folder and without one
"""
import argparse
import http.client
import json
import os
import random
import shutil
import struct
import subprocess
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


SLOW_FSYNC = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static unsigned long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (unsigned long long)t.tv_sec * 1000000000ull + (unsigned long long)t.tv_nsec;
}
int fsync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    unsigned long long took, from = now();
    usleep((useconds_t)(atof(getenv("SLOW_FSYNC_MS")) * 1000));
    if (!getenv("SLOW_FSYNC_TOOK"))
        return real(fd);
    took = now() - from;
    return write(atoi(getenv("SLOW_FSYNC_TOOK")), &took, sizeof took) < 0 ? -1 : 0;
}
"""


def slow_fsync(folder, ms):
    """The environment of a server whose fsync takes so many milliseconds more."""
    source, library = (os.path.join(folder, "slow_fsync." + x) for x in ("c", "so"))
    with open(source, "w") as f:
        f.write(SLOW_FSYNC)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": library, "SLOW_FSYNC_MS": str(ms)}


def clients(server, n, seconds, one):
    """n clients, each with a connection of its own, for so long: requests a second, their times."""
    until, times = time.time() + seconds, []

    def client(k):
        c = http.client.HTTPConnection("127.0.0.1", server.port)

        def ask(path, body):
            c.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            r = c.getresponse()
            data = r.read()
            assert r.status == 200, data
            return json.loads(data)

        state, r = {}, random.Random(k * 1000 + n)
        while time.time() < until:
            t = time.time()
            if one(ask, state, r):
                times.append(time.time() - t)
        c.close()

    threads = [threading.Thread(target=client, args=(k,)) for k in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    times.sort()
    return len(times) / seconds, times[len(times) // 2] * 1e3


def one_turn(ask, state, r):
    """3 tokens and 4 drawn."""
    first = "session" not in state
    if first:
        state["session"] = ask("/v1/sessions", {})["id"]
    reply = ask("/v1/completions", dict(prompt=ids(r, 3), session=state["session"], max_tokens=4,
                                        ignore_eos=True))
    assert reply["session"]["persist"] in state.setdefault("persist", reply["session"]["persist"])
    return not first


def turns(args, folder):
    env = slow_fsync(folder, args.fsync)
    programs = [("", args.recurd)] + ([("against ", args.against)] if args.against else [])
    print("one fsync: %g ms more; turns/s (p50 in ms)" % args.fsync)
    for i in range(args.rounds):
        for name, program in programs:
            common.Settings.recurd = os.path.abspath(program)
            line = []
            for where in ("memory", "durable"):
                flags = ["--model", args.model]
                if where == "durable":
                    flags += ["--state-dir", os.path.join(folder, "%s%d" % (name.strip(), i))]
                s = common.Server(flags, env=env)
                for n in (1, 16):
                    line.append("%s, %2d clients %7.1f (%6.2f)" % (
                        (where, n) + clients(s, n, args.seconds, one_turn)))
                s.stop()
            print("round %d %s  %s" % (i, name, "  ".join(line)), flush=True)
    return None


def cost(args, folder):
    """Both servers at once, a turn of each in turns: what else runs here slows both."""
    took, told = os.pipe()
    os.set_inheritable(told, True)
    os.set_blocking(took, False)
    env = dict(slow_fsync(folder, args.fsync), SLOW_FSYNC_TOOK=str(told))
    flags = ["--model", args.model]
    servers = [common.Server(flags),
               common.Server(flags + ["--state-dir", os.path.join(folder, "s")], env=env,
                             pass_fds=(told,))]
    sessions = [s.post("/v1/sessions", {})["id"] for s in servers]
    lines = [http.client.HTTPConnection("127.0.0.1", s.port) for s in servers]
    times, syncs, r = ([], []), [], random.Random(1)
    for i in range(100 * args.rounds):
        for k in ((0, 1), (1, 0))[i % 2]:
            t = time.perf_counter()
            lines[k].request("POST", "/v1/completions", json.dumps(dict(
                prompt=ids(r, 3), session=sessions[k], max_tokens=4, ignore_eos=True)))
            reply = json.loads(lines[k].getresponse().read())
            assert reply["session"]["persist"] == ("off", "durable")[k], reply
            times[k].append(time.perf_counter() - t)
        try:
            syncs += [x / 1e9 for x, in struct.iter_unpack("=Q", os.read(took, 1 << 16))]
        except BlockingIOError:
            pass
    pairs = sorted(b - a for a, b in zip(*times))
    syncs.sort()
    for name, x in (("a turn in memory", sorted(times[0])), ("a durable one", sorted(times[1])),
                    ("an fsync", syncs), ("durable - memory", pairs)):
        print("%-17s %5d   p10 %6.2f ms   p50 %6.2f ms   p90 %6.2f ms" % (
            (name, len(x)) + tuple(x[len(x) * p // 100] * 1e3 for p in (10, 50, 90))))
    print("beyond one fsync: %.2f ms at p10, %.2f at p50" % tuple(
        1e3 * (pairs[len(pairs) * p // 100] - syncs[len(syncs) * p // 100]) for p in (10, 50)))
    servers[0].stop()
    return servers[1]


def one_prompt(ask, state, r):
    """A new one of 100 tokens, and 16 drawn."""
    ask("/v1/completions", dict(prompt=ids(r, 100), max_tokens=16, ignore_eos=True))
    return True


def plain(args, folder):
    sums = {"memory": 0, "folder": 0}
    for i in range(args.rounds):
        for where in (("memory", "folder"), ("folder", "memory"))[i % 2]:
            at = os.path.join(folder, str(i))
            s = common.Server(["--model", args.model] +
                              (["--state-dir", at] if where == "folder" else []))
            rate, p50 = clients(s, 8, args.seconds, one_prompt)
            sums[where] += rate / args.rounds
            more = ""
            if where == "folder":
                time.sleep(2)
                more = ", %.1f MiB written" % (on_disk(at) / 2**20)
            print("round %d  %s  %.1f prompts/s, p50 %.2f ms%s" % (i, where, rate, p50, more),
                  flush=True)
            s.stop()
    print("on average %.1f in memory, %.1f with a state folder: %+.1f %%" % (
        sums["memory"], sums["folder"], 100 * (sums["folder"] / sums["memory"] - 1)))
    return None


def main():
    p = argparse.ArgumentParser()
    p.add_argument("recurd")
    p.add_argument("what", choices=["long", "park", "turns", "cost", "plain"])
    p.add_argument("--model", default=common.DEMO7)
    p.add_argument("--dummy", action="store_true")
    p.add_argument("--tokens", type=int, default=1000000)
    p.add_argument("--sessions", type=int, default=10000)
    p.add_argument("--memory", type=int, default=1024)
    p.add_argument("--wakes", type=int, default=1000)
    p.add_argument("--fsync", type=float, default=10)
    p.add_argument("--seconds", type=float, default=8)
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--against")
    args = p.parse_args()
    common.Settings.recurd = os.path.abspath(args.recurd)
    folder = tempfile.mkdtemp(prefix="recurd-bench-")
    try:
        s = {"long": long, "park": park, "turns": turns, "cost": cost,
             "plain": plain}[args.what](args, folder)
        return s.stop() if s else 0
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
