#!/usr/bin/env python3
"""Three replicas of the demo model with tiers so small that they overflow, a redis-server, and clients that
think as long as the simulator's: where turns found their state, measured and simulated.

usage: measure.py [BUILD] [--seconds N] [--json]       three minutes; needs redis-server

Shares of turns by place must agree within BOUND; what moves, and times, are printed and not judged."""
import argparse
import http.client
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "tests", "api"), os.path.join(ROOT, "etc", "capacity")]
import common  # noqa: E402
import events  # noqa: E402
import test_shared  # noqa: E402
import workload  # noqa: E402

BOUND = 0.10
MIB = 1 << 20
VOCAB = 4096
# 32 MiB are a hundred of the demo model's states, of which a conversation leaves ten to twenty.
SETUP = dict(state=304128, logits=4 * VOCAB, sessions=240, kind="chat", turns=8, first=200, tokens_in=40,
             tokens_out=24, replicas=3, misrouted=0.1, ram=32 * MIB, store=100 * MIB)
DISK_MIB = 96
THINK = [(0.7, 12.0, None), (0.3, 40.0, 1.6)]
COUNTERS = ("recurd_cache_hits_total", "recurd_cache_reload_seconds_count", "recurd_shared_hits_total",
            "recurd_prompt_tokens_total", "recurd_cache_spill_bytes_total",
            "recurd_cache_reload_bytes_total", "recurd_shared_written_bytes_total",
            "recurd_shared_read_bytes_total", "recurd_shared_timeouts_total",
            "recurd_shared_dropped_total", "recurd_shared_write_cpu_seconds_total")


class Client(threading.Thread):
    """One conversation after the other, as workload.Setup says."""

    def __init__(self, number, servers, setup, stop):
        super().__init__(daemon=True)
        self.servers, self.s, self.stop = servers, setup, stop
        self.rng = random.Random(1000 + number)
        self.gaps = workload.Gaps(setup.think)
        self.taken, self.fault = [], None

    def ids(self, n):
        return [self.rng.randrange(300, VOCAB - 8) for _ in range(n)]

    def turn(self, server, prompt):
        begun = time.monotonic()
        c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        c.request("POST", "/v1/completions", json.dumps({
            "prompt": prompt, "max_tokens": self.s.tokens_out, "ignore_eos": True, "temperature": 0.7,
            "return_token_ids": True}), {"Content-Type": "application/json"})
        r = c.getresponse()
        reply = json.loads(r.read())
        c.close()
        assert r.status == 200, reply
        self.taken.append((begun, time.monotonic() - begun))
        return prompt + reply["choices"][0]["token_ids"]

    def run(self):
        try:
            s = self.s
            turn = self.rng.randrange(s.turns)
            text = self.ids(s.first + turn * (s.tokens_in + s.tokens_out))
            home = self.rng.randrange(s.replicas)
            wait = self.gaps.inverse(self.gaps.age, self.rng.random())
            while not self.stop.wait(wait):
                at = home
                if self.rng.random() < s.misrouted:
                    at = (home + self.rng.randrange(1, s.replicas)) % s.replicas
                text = self.turn(self.servers[at], text + self.ids(s.tokens_in))
                turn += 1
                if turn == s.turns:
                    turn, text, home = 0, self.ids(s.first), self.rng.randrange(s.replicas)
                wait = self.gaps.draw(self.rng)
        except Exception as e:  # told by whoever waits for us
            self.fault = e


def counted(servers):
    total = dict.fromkeys(COUNTERS, 0.0)
    misses = 0.0
    for s in servers:
        m = s.metrics()
        for name in COUNTERS:
            total[name] += m[name]
        misses += sum(v for k, v in m.items() if k.startswith("recurd_cache_misses_total{"))
    return dict(total, misses=misses)


def start(setup, folder):
    redis = test_shared.Redis("--maxmemory-policy", "allkeys-lru", "--maxmemory-samples", "10")
    used = int(redis.say("INFO", "memory").split(b"used_memory:")[1].split(b"\r")[0])
    redis.say("CONFIG", "SET", "maxmemory", used + int(setup.store))
    servers = []
    for i in range(setup.replicas):
        servers.append(common.Server(
            ["-m", common.DEMO7, "--threads", "1", "--state-memory", str(int(setup.ram) // MIB),
             "--state-dir", os.path.join(folder, "r%d" % i), "--state-disk", str(DISK_MIB),
             "--state-key", test_shared.key_file(folder), "--shared", redis.url(),
             "--shared-wait-ms", "5000"]))
        os.makedirs(os.path.join(folder, "r%d" % i), exist_ok=True)
    for s in servers:
        test_shared.up(s)
    return redis, servers


def measure(setup, seconds):
    folder = tempfile.mkdtemp(prefix="recurd-capacity-")
    redis, servers = start(setup, folder)
    stop = threading.Event()
    clients = [Client(i, servers, setup, stop) for i in range(setup.sessions)]
    try:
        for c in clients:
            c.start()
        time.sleep(seconds * 0.4)  # until the tiers have filled up
        before, begun = counted(servers), time.monotonic()
        time.sleep(seconds * 0.6)
        after, took = counted(servers), time.monotonic() - begun
    finally:
        stop.set()
        for c in clients:
            c.join(120)
        codes = [s.stop() for s in servers]
        redis.stop()
        shutil.rmtree(folder, ignore_errors=True)
    faults = [c.fault for c in clients if c.fault]
    assert not faults, faults[0]
    assert codes == [0] * setup.replicas, codes
    turn = [t for c in clients for b, t in c.taken if b >= begun]
    return {k: after[k] - before[k] for k in after}, took, sum(turn) / len(turn)


def places(d):
    """By what /metrics tells: a state that was read back counts as a hit like one in RAM, and may then have
    been outdone by a deeper one of the store."""
    turns, shared = d["recurd_cache_hits_total"] + d["misses"], d["recurd_shared_hits_total"]
    return turns, {"RAM or disk": (d["recurd_cache_hits_total"] - shared) / turns, "store": shared / turns,
                   "nowhere": d["misses"] / turns,
                   "read back from disk": d["recurd_cache_reload_seconds_count"] / turns}


def simulate(setup):
    runs = [events.Simulation(workload.dataclasses.replace(setup, seed=i), gaps_before=10, gaps_after=10)
            for i in range(4)]
    mean = lambda of: {k: sum(of(r)[k] for r in runs) / len(runs) for k in of(runs[0])}
    at, rates = mean(lambda r: r.places), mean(lambda r: r.rates())
    return {"RAM or disk": at["ram"] + at["disk"], "store": at["shared"], "nowhere": at["recompute"],
            "read back from disk": rates["loads"]}, rates


def main():
    p = argparse.ArgumentParser()
    p.add_argument("build", nargs="?", default=os.path.join(ROOT, "build"))
    p.add_argument("--seconds", type=float, default=150)
    p.add_argument("--json", action="store_true")
    a = p.parse_args()
    if not shutil.which("redis-server"):
        print("skipped: there is no redis-server")
        return
    common.Settings.recurd = os.path.join(a.build, "recurd")
    setup = workload.Setup(**SETUP, think=THINK)
    d, took, turn_s = measure(setup, a.seconds)
    turns, seen = places(d)
    # A turn takes what it took here; the disk has what the log of turns leaves of it.
    setup.stream_speed = setup.tokens_out / turn_s
    setup.disk = DISK_MIB * MIB * 15 / 16
    told, rates = simulate(setup)
    n = setup.replicas * took
    rows = [("turns a second, of a replica", turns / n, rates["turns"]),
            ("prompt tokens computed in a turn", d["recurd_prompt_tokens_total"] / turns, rates["computed"]),
            ("MiB written to a disk a second", d["recurd_cache_spill_bytes_total"] / n / MIB,
             rates["disk_write"] / MIB),
            ("MiB read from it", d["recurd_cache_reload_bytes_total"] / n / MIB, rates["disk_read"] / MIB),
            ("MiB given to the store", d["recurd_shared_written_bytes_total"] / n / MIB, rates["put"] / MIB),
            ("MiB taken from it", d["recurd_shared_read_bytes_total"] / n / MIB, rates["got"] / MIB)]
    if a.json:
        print(json.dumps({"measured": seen, "simulated": told, "turns": turns, "rows": rows,
                          "all": d}, indent=1))
    else:
        print("%s, %d processors, %s; %d turns in %.0f s, %.0f ms each" % (
            platform.machine(), os.cpu_count(), time.strftime("%Y-%m-%d"), turns, took, turn_s * 1000))
        print("%-34s %9s %10s" % ("state in", "measured", "simulated"))
        for place in seen:
            print("%-34s %7.1f %% %8.1f %%" % (place, 100 * seen[place], 100 * told[place]))
        for name, mine, its in rows:
            print("%-34s %9.2f %10.2f" % (name, mine, its))
    off = {k: seen[k] - told[k] for k in seen if abs(seen[k] - told[k]) > BOUND}
    if off:
        sys.exit("measured and simulated shares differ by more than %.2f: %s" % (BOUND, off))


if __name__ == "__main__":
    main()
