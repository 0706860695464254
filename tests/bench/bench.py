#!/usr/bin/env python3
"""Speed of the bundled models and of a dummy model of 0.4 B parameters, in the process and as a
daemon; what the way out of the server costs a token. Prints; judges nothing.

    bench.py BUILD_DIR
"""
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MODELS = [(os.path.join(ROOT, "models/demo/gated-deltanet"), []),
          (os.path.join(ROOT, "models/demo/rwkv7"), []),
          (os.path.join(HERE, "rwkv7-0.4b"), ["dummy"])]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def rss_mib(pid):
    for line in open("/proc/%d/status" % pid):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024


def describe(recurd, model, flags):
    """Lines of `recurd --describe` that hold a number of bytes."""
    out = subprocess.run([recurd, "--describe", "--model", model] + flags, capture_output=True,
                         text=True, check=True).stdout
    return [line for line in out.splitlines() if "bytes" in line]


def wait_for(port, p):
    while True:
        try:
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            c.request("GET", "/health")
            if c.getresponse().status == 200:
                return
        except OSError:
            if p.poll() is not None:
                sys.exit("recurd ended with %d" % p.returncode)
        time.sleep(0.002)


def start_up(recurd, model, flags):
    """Milliseconds from exec to the first good /health, and the memory then."""
    port = free_port()
    t0 = time.monotonic()
    p = subprocess.Popen([recurd, "--model", model, "--listen", "127.0.0.1:%d" % port, "--slots",
                          "16"] + flags, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, p)
        return (time.monotonic() - t0) * 1000, rss_mib(p.pid)
    finally:
        p.send_signal(signal.SIGTERM)
        p.wait(timeout=60)


def in_process(build, model):
    """Decode tokens/s of 1 and of 16 streams, without a server."""
    out = subprocess.run([os.path.join(build, "speed"), "--rounds", "1", model], check=True,
                         capture_output=True, text=True).stdout
    cells = out.split("|")
    return {1: float(cells[3]), 16: float(cells[7])}


def way_out(pid):
    """Nanoseconds of CPU of the threads that write replies, so far."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/comm" % (pid, task)) as f:
            name = f.read().strip()
        with open("/proc/%d/task/%s/schedstat" % (pid, task)) as f:
            total += int(f.read().split()[0]) if name in ("MHD-worker", "streams") else 0
    return total


def over_http(build, port, pid, streams):
    """Tokens/s, and CPU a token of the daemon's writing threads and of the load client, in us. Whole
    rounds of requests: of a run that ends by the clock the last ones would be alone with each other."""
    with tempfile.NamedTemporaryFile(suffix=".json") as f:
        before, cpu = way_out(pid), os.times()
        subprocess.run([os.path.join(build, "recurd-bench"), "--url", "http://127.0.0.1:%d" % port,
                        "--concurrency", str(streams), "--requests", str(max(40, 5 * streams)),
                        "--input-tokens", "8", "--output-tokens", "400", "--ignore-eos",
                        "--quiet", "--json", f.name], check=True)
        after, done, result = way_out(pid), os.times(), json.load(f)
    n = result["tokens"]["output"]
    client = done.children_user + done.children_system - cpu.children_user - cpu.children_system
    return (result["throughput"]["output_tokens_per_s"], (after - before) / n / 1000,
            client * 1e6 / n)


def serving(build, model):
    """The same model in the process and through HTTP, in turns: a row for 1 and for 16 streams."""
    port = free_port()
    p = subprocess.Popen([os.path.join(build, "recurd"), "--model", model, "--listen",
                          "127.0.0.1:%d" % port, "--slots", "16"], stderr=subprocess.DEVNULL)
    rounds = []
    try:
        wait_for(port, p)
        over_http(build, port, p.pid, 1)
        for _ in range(5):
            inside = in_process(build, model)
            rounds.append({n: (inside[n],) + over_http(build, port, p.pid, n) for n in (1, 16)})
    finally:
        p.send_signal(signal.SIGTERM)
        p.wait(timeout=60)
    for n in (1, 16):
        inside, outside, writing, client = (statistics.median(r[n][k] for r in rounds)
                                            for k in range(4))
        shares = sorted(100 * r[n][1] / r[n][0] for r in rounds)
        print("| %s | %d | %.0f | %.0f | %.0f %% (%.0f to %.0f) | %.1f us | %.1f us |" %
              (os.path.basename(model), n, inside, outside, shares[len(shares) // 2], shares[0],
               shares[-1], writing, client), flush=True)


def main():
    build = sys.argv[1]
    print("decode tokens/s of all streams together, with the share of the read bandwidth that the "
          "weights account for:\n")
    print("| model | parameters | 1 stream | | 4 streams | | 16 streams | | 32 streams | | prompt "
          "tokens/s | read bandwidth |\n| --- " + "| ---: " * 11 + "|", flush=True)
    for model, kind in MODELS:
        subprocess.run([os.path.join(build, "speed")] + ["--" + k for k in kind] + [model],
                       check=True)
    print("\ndigests of states, one thread:\n\n| hash | speed |\n| --- | ---: |", flush=True)
    subprocess.run([os.path.join(build, "speed"), "--digest"], check=True)
    print("\nthrough HTTP, streamed, beside the same without a server; CPU a token of the threads "
          "that write and\nof the load client, which has no other machine:\n\n| model | streams | "
          "engine, tokens/s | HTTP | share of it | writing | client |\n| --- | ---: | ---: | "
          "---: | ---: | ---: | ---: |")
    for model, kind in MODELS:
        if not kind:
            serving(build, model)
    print("\nas a daemon with 16 slots:\n\n| model | start to /health | resident memory | |\n"
          "| --- | ---: | ---: | --- |")
    for model, kind in MODELS:
        flags = ["--load-format", "dummy"] if kind else []
        recurd = os.path.join(build, "recurd")
        times = sorted(start_up(recurd, model, flags) for _ in range(3))
        print("| %s | %.0f ms | %.0f MiB | %s |" % (os.path.basename(model), times[1][0],
              times[1][1], "; ".join(s.strip() for s in describe(recurd, model, flags))))


main()
