#!/usr/bin/env python3
"""Speed of the bundled models and of a dummy model of 0.4 B parameters, in the process and as a
daemon. Prints; judges nothing.

    bench.py BUILD_DIR
"""
import http.client
import os
import signal
import socket
import subprocess
import sys
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


def start_up(recurd, model, flags):
    """Milliseconds from exec to the first good /health, and the memory then."""
    port = free_port()
    t0 = time.monotonic()
    p = subprocess.Popen([recurd, "--model", model, "--listen", "127.0.0.1:%d" % port, "--slots",
                          "16"] + flags, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
                c.request("GET", "/health")
                if c.getresponse().status == 200:
                    return (time.monotonic() - t0) * 1000, rss_mib(p.pid)
            except OSError:
                if p.poll() is not None:
                    sys.exit("recurd ended with %d" % p.returncode)
            time.sleep(0.002)
    finally:
        p.send_signal(signal.SIGTERM)
        p.wait(timeout=60)


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
    print("\nas a daemon with 16 slots:\n\n| model | start to /health | resident memory | |\n"
          "| --- | ---: | ---: | --- |")
    for model, kind in MODELS:
        flags = ["--load-format", "dummy"] if kind else []
        recurd = os.path.join(build, "recurd")
        times = sorted(start_up(recurd, model, flags) for _ in range(3))
        print("| %s | %.0f ms | %.0f MiB | %s |" % (os.path.basename(model), times[1][0],
              times[1][1], "; ".join(s.strip() for s in describe(recurd, model, flags))))


main()
