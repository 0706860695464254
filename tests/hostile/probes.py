"""Attacks on a daemon, each with its bound. A probe returns (figure, bound, held).

Clients without keys are told apart by their address: an attacker speaks from 127.0.0.2, everybody
else from 127.0.0.1. `long` probes take what the campaign has time for, others a few seconds.
"""
import http.client
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "api"))
from common import DEMO, Server, Settings, Stream  # noqa: E402

ATTACKER = "127.0.0.2"
LONG = {"prompt": "Once upon a time", "max_tokens": 100000, "ignore_eos": True, "temperature": 0}
PROBES = []


def probe(long=False):
    def add(f):
        PROBES.append((f.__name__, f, long))
        return f
    return add


class Attack:
    """Connections of the attacker that have sent something and read nothing."""

    def __init__(self, server, source=ATTACKER):
        self.server, self.source, self.socks = server, source, []

    def open(self):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        s.settimeout(30)
        s.bind((self.source, 0))
        s.connect(("127.0.0.1", self.server.port))
        self.socks.append(s)
        return s

    def post(self, body, path="/v1/completions", headers=b""):
        data = json.dumps(body).encode()
        s = self.open()
        s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s"
                  b"Content-Length: %d\r\n\r\n" % (path.encode(), headers, len(data)) + data)
        return s

    def close(self):
        for s in self.socks:
            s.close()


def first_token(s, body=None):
    """Seconds to the first event of a stream of one token."""
    t = time.time()
    st = Stream(s, "/v1/completions", dict(LONG, stream=True, max_tokens=1, **(body or {})))
    next(st.events())
    took = time.time() - t
    st.close()
    return took


def typical(f, n=7):
    return statistics.median(f() for _ in range(n))


def rss(s):
    with open("/proc/%d/status" % s.proc.pid) as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024


def settled(s, seconds, tokens=200):
    """Waits until hardly a token is drawn any more: everybody is stalled."""
    end, last = time.time() + Settings.patience(seconds), -1e9
    while time.time() < end:
        now = s.metrics()["recurd_step_tokens_total"]
        if now - last < tokens:
            return
        last = now
        time.sleep(0.5)


def newcomer_beside(s, attack, settle):
    idle = typical(lambda: first_token(s))
    attack()
    settled(s, settle)
    beside = typical(lambda: first_token(s))
    # This process and the daemon share the cores with whoever else makes the load.
    bound = 2 * idle + 0.05 * max(1, os.getloadavg()[0] / os.cpu_count())
    return ("first token %.0f ms, idle %.0f ms" % (beside * 1e3, idle * 1e3),
            "%.0f ms" % (bound * 1e3), beside <= bound)


@probe()
def stalled_readers():
    """R1: 200 streams that nobody reads, of the newcomer's own address."""
    s = Server(["--model", DEMO])
    a = Attack(s, "127.0.0.1")
    try:
        return newcomer_beside(
            s, lambda: [(a.post(dict(LONG, stream=True, logprobs=20)), time.sleep(0.01))
                        for _ in range(120)], 60)
    finally:
        a.close()
        s.stop(9)


@probe()
def trickling_readers():
    """R2: 64 streams of which a little is read now and then."""
    s = Server(["--model", DEMO])
    a = Attack(s)
    stop = threading.Event()

    def trickle():
        while not stop.wait(0.5):
            for sock in a.socks:
                try:
                    sock.recv(2000)
                except OSError:
                    pass
    thread = threading.Thread(target=trickle)
    try:
        def attack():
            for _ in range(64):
                a.post(dict(LONG, stream=True, logprobs=20))
            thread.start()
        return newcomer_beside(s, attack, 20)
    finally:
        stop.set()
        thread.join()
        a.close()
        s.stop(9)


@probe()
def told_when_cut():
    """R2: a reader that comes back after its time finds an error at the end of its stream."""
    s = Server(["--model", DEMO, "--stall-timeout", "4"])
    a = Attack(s)
    try:
        sock = a.post(dict(LONG, stream=True, logprobs=20))
        settled(s, 30, 1)
        time.sleep(4.5)  # the connection goes after 8
        got = b""
        while len(got) < 4 << 20 and not got.endswith(b"\r\n0\r\n\r\n"):
            piece = sock.recv(65536)
            if not piece:
                break
            got += piece
        return "...%s" % got[-160:].decode("utf-8", "replace").strip(), "an error event", \
            b"too slow" in got[-600:]
    finally:
        a.close()
        s.stop(9)


def flooded(body, count):
    s = Server(["--model", DEMO])
    a = Attack(s)
    try:
        for _ in range(count):
            a.post(body)
        time.sleep(1)
        refused, times = 0, []
        for _ in range(10):
            t = time.time()
            status, _, _ = s.request("POST", "/v1/completions", dict(LONG, max_tokens=4))
            refused += status != 200
            times.append(time.time() - t)
        worst = max(times)
        bound = Settings.patience(3)
        return ("%d of 10 refused, slowest %.2f s" % (refused, worst), "0 refused, %.0f s" % bound,
                refused == 0 and worst <= bound)
    finally:
        a.close()
        s.stop(9)


@probe()
def flood():
    """R3: 400 requests of one client."""
    return flooded(dict(LONG, max_tokens=20000), 400)


@probe()
def flood_with_priority():
    """R4: 150 requests of one client that call themselves important."""
    return flooded(dict(LONG, max_tokens=20000, priority=-1000), 150)


@probe()
def many_choices():
    """R5: three requests of 128 choices."""
    return flooded(dict(LONG, max_tokens=2000, n=128), 3)


@probe(long=True)
def long_prompts():
    """A request of 16 tokens beside eight prompts of 100,000."""
    s = Server(["--model", DEMO, "--state-memory", "64"])
    a = Attack(s)
    short = dict(LONG, max_tokens=16)

    def one():
        t = time.time()
        s.request("POST", "/v1/completions", short)
        return time.time() - t
    try:
        alone = typical(one, 15)
        for i in range(8):
            a.post({"prompt": [(i + 7 * k) % 4000 + 10 for k in range(100000)], "max_tokens": 1})
        time.sleep(3)
        beside = typical(one, 15)
        return ("%.0f ms, alone %.0f ms: x %.2f" % (beside * 1e3, alone * 1e3, beside / alone),
                "x 3", beside <= 3 * alone)
    finally:
        a.close()
        s.stop(9)


@probe()
def frozen():
    """R12: SIGSTOP for longer than every timeout cuts nobody."""
    s = Server(["--model", DEMO, "--stall-timeout", "2", "--body-timeout", "2"])
    try:
        streams = [Stream(s, "/v1/completions", dict(LONG, stream=True, max_tokens=2500))
                   for _ in range(8)]
        for st in streams:
            next(st.events())
        s.proc.send_signal(signal.SIGSTOP)
        time.sleep(7)
        s.proc.send_signal(signal.SIGCONT)
        done = 0

        def read(st):
            nonlocal done
            try:
                for _ in st.events():
                    pass
                done += st.done
            except (AssertionError, ValueError, OSError):
                pass
        threads = [threading.Thread(target=read, args=(st,)) for st in streams]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return "%d of 8 streams whole" % done, "8", done == 8
    finally:
        s.stop(9)
