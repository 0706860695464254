"""Attacks on a daemon. A probe returns a Result: its figure and the bound of it, which depend on
how fast the machine is and are for `make hostile` to print and to judge, and facts, which do not:
what came before what, and how many. Only these decide in `make test`.

Clients without keys are told apart by their address: an attacker speaks from 127.0.0.2, everybody
else from 127.0.0.1. `long` probes take what the campaign has time for, others a few seconds.
"""
import collections
import datetime
import http.client
import json
import os
import resource
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "api"))
from common import DEMO, Server, Settings, Stream, wait_for  # noqa: E402

ATTACKER = "127.0.0.2"
LONG = {"prompt": "Once upon a time", "max_tokens": 100000, "ignore_eos": True, "temperature": 0}
PROBES = []

# held: the figure is within its bound. facts: [(what must be so, whether it is)].
Result = collections.namedtuple("Result", "figure bound held facts")


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

    def post(self, body, path="/v1/completions", headers=b"", version=b"1.1"):
        data = json.dumps(body).encode()
        s = self.open()
        s.sendall(b"POST %s HTTP/%s\r\nHost: x\r\nContent-Type: application/json\r\n%s"
                  b"Content-Length: %d\r\n\r\n" % (path.encode(), version, headers, len(data)) +
                  data)
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


def newcomer_beside(s, others, attack, settle):
    idle = typical(lambda: first_token(s))
    attack()
    settled(s, settle)
    beside = typical(lambda: first_token(s))
    # This process and the daemon share the cores with whoever else makes the load.
    bound = 2 * idle + 0.05 * max(1, os.getloadavg()[0] / os.cpu_count())
    left = s.metrics()["recurd_http_generations"]  # those that are parked, too
    return Result("first token %.0f ms, idle %.0f ms" % (beside * 1e3, idle * 1e3),
                  "%.0f ms" % (bound * 1e3), beside <= bound,
                  [("newcomers are served while %d others still are (%d)" % (others, left),
                    left >= others)])


@probe()
def stalled_readers():
    """R1: 120 streams that nobody reads, of the newcomer's own address."""
    s = Server(["--model", DEMO, "--stall-timeout", "3600"])
    a = Attack(s, "127.0.0.1")
    try:
        return newcomer_beside(
            s, 120, lambda: [(a.post(dict(LONG, stream=True, logprobs=20)), time.sleep(0.01))
                             for _ in range(120)], 60)
    finally:
        a.close()
        s.stop(9)


@probe()
def trickling_readers():
    """R2: 64 streams of which a little is read now and then."""
    s = Server(["--model", DEMO, "--stall-timeout", "3600"])
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
        return newcomer_beside(s, 64, attack, 20)
    finally:
        stop.set()
        if thread.ident:
            thread.join()
        a.close()
        s.stop(9)


@probe()
def told_when_cut():
    """R2: a reader that comes back after its time finds an error at the end of its stream."""
    s = Server(["--model", DEMO, "--stall-timeout", "8"])
    a = Attack(s)
    try:
        sock = a.post(dict(LONG, stream=True, logprobs=20))
        wait_for(lambda: s.metrics()["recurd_requests_running"], 600)
        wait_for(lambda: not s.metrics()["recurd_requests_running"], 600)
        got = b""  # within 8 s from here: then the connection goes, too
        while len(got) < 4 << 20 and not got.endswith(b"\r\n0\r\n\r\n"):
            piece = sock.recv(65536)
            if not piece:
                break
            got += piece
        told = b"too slow" in got[-600:]
        return Result("...%s" % got[-160:].decode("utf-8", "replace").strip(), "an error event",
                      told, [("the stream ends with the error", told)])
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
        m = s.metrics()
        left = m["recurd_requests_running"] + m["recurd_requests_waiting"]
        return Result("%d of 10 refused, slowest %.2f s" % (refused, worst),
                      "0 refused, %.0f s" % bound, worst <= bound,
                      [("nobody else is refused (%d)" % refused, refused == 0),
                       ("nor waits for the end of the flood (%d left)" % left, left > 0)])
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
    return flooded(dict(LONG, max_tokens=20000, n=128), 3)


def overtakers(s, names):
    """By the server's own lines: how many of the requests that are called "long" it ended while it
    had each of these."""
    def rows():
        lines = [json.loads(x) for x in s.text().splitlines() if '"message":"request"' in x]
        return [(r["id"], datetime.datetime.fromisoformat(r["time"].rstrip("Z")).timestamp(),
                 r["total_ms"] / 1e3) for r in lines]
    wait_for(lambda: {r[0] for r in rows()} >= set(names), 600)
    ended = {name: (at, took) for name, at, took in rows()}
    return [sum(name == "long" and at - took < t <= at for name, t, _ in rows())
            for at, took in (ended[n] for n in names)]


@probe()
def long_bodies():
    """R9: 24 bodies of 2 MB to tokenize by one client; another's shorter one and session calls."""
    s = Server(["--model", DEMO, "--log-format", "json"])
    a = Attack(s)
    asked = [("/tokenize", {"prompt": "a tale " * 4000}), ("/v1/sessions", {})] * 3
    names = ["short-%d" % i for i in range(len(asked))]
    try:
        for _ in range(24):
            a.post({"prompt": "Once upon a time " * 120000}, "/tokenize",
                   headers=b"X-Request-Id: long\r\n")
        answered, times = 0, []
        for (path, body), name in zip(asked, names):
            t = time.time()
            answered += s.request("POST", path, body, {"X-Request-Id": name})[0] == 200
            times.append(time.time() - t)
        left = 24 - len(select.select(a.socks, [], [], 0)[0])
        others = overtakers(s, names)
        # The middle one of three: a thread that gets no processor may be overtaken more often once.
        return Result("slowest %.2f s, answers to others meanwhile %s" % (max(times), others),
                      "2 s", max(times) <= 2,
                      [("all are answered (%d)" % answered, answered == len(asked)),
                       ("a long body waits for the one in work (%s)" % others,
                        statistics.median(others[::2]) <= 3),
                       ("a session call for none (%s)" % others,
                        statistics.median(others[1::2]) <= 1),
                       ("and the flood is not over (%d left)" % left, left > 0)])
    finally:
        a.close()
        s.stop(9)


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
        return Result("%.0f ms, alone %.0f ms: x %.2f" % (beside * 1e3, alone * 1e3, beside / alone),
                      "x 3", beside <= 3 * alone, [])
    finally:
        a.close()
        s.stop(9)


SLOW_FSYNC = """
#include <time.h>
static int nap(void) { struct timespec t = {0, 10000000}; return nanosleep(&t, 0); }
int fsync(int fd) { (void)fd; return nap(); }
int fdatasync(int fd) { (void)fd; return nap(); }
"""


def turn_taker(s):
    """A function that takes a session's next short turn and says how many seconds it took."""
    c = s.connection()

    def post(path, body):
        c.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(c.getresponse().read())
    turn = dict(LONG, prompt="a b c", max_tokens=4, session=post("/v1/sessions", {})["id"])

    def take():
        t = time.time()
        assert post("/v1/completions", turn)["session"]["position"] > 0
        return time.time() - t
    return take


def turns(s, clients, seconds):
    """-> how many turns so many clients take at once."""
    took = []

    def client():
        take = turn_taker(s)
        end = time.time() + seconds
        while time.time() < end:
            took.append(take())
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return len(took)


def syncs(s):
    m = s.metrics()
    return m["recurd_cache_fsync_seconds_count"], m["recurd_cache_fsync_seconds_sum"]


@probe(long=True)
def durable_turns():
    """R26: turns of sessions on a disk whose every fsync takes 10 ms."""
    with tempfile.TemporaryDirectory(prefix="recurd-turns-") as d:
        library = os.path.join(d, "slow.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library],
                       input=SLOW_FSYNC.encode(), check=True)
        model = os.path.join(os.path.dirname(DEMO), "rwkv7")
        m = Server(["--model", model])
        s = Server(["--model", model, "--state-dir", os.path.join(d, "states")],
                   env={"LD_PRELOAD": library})
        try:
            # In turns: whatever else the machine does meets both.
            memory, durable, first = turn_taker(m), turn_taker(s), syncs(s)
            pairs = [(memory(), durable()) for _ in range(100)]
            n, total = (b - a for a, b in zip(first, syncs(s)))
            alone, before = turns(s, 1, 3), syncs(s)
            together = turns(s, 16, 3)
            shared = syncs(s)[0] - before[0]
        finally:
            s.stop(9)
            m.stop(9)
    of_memory, of_durable = (statistics.median(x) for x in zip(*pairs))
    more = (of_durable - of_memory - total / n) * 1e3
    bound = max(1, os.getloadavg()[0] / os.cpu_count())
    return Result("16 clients x %.1f the turns of one; a turn %.2f ms more than %.2f in memory and "
                  "an fsync; %.2f fsyncs a turn" % (together / alone, more, of_memory * 1e3,
                                                    shared / together),
                  "x 8, %.1f ms" % bound, together >= 8 * alone and more <= bound,
                  [("turns share fsyncs (%d turns, %d fsyncs)" % (together, shared),
                    shared < together / 2)])


# Clients of a daemon that is told to stop: how many, and what they do before and after that.
ENDLESS = [("they read", 4, "read", "read"), ("they are killed before", 4, "read", "close"),
           ("they are killed after", 4, "read", "close later"),
           ("they stall", 4, "stall", "stall"), ("they stall and are killed", 4, "stall", "close"),
           ("more than slots stall", 100, "stall", "stall")]
DRAIN_S = 2


def stopped(count, before, after):
    """-> (seconds from SIGTERM to the end, exit code or None)"""
    with tempfile.TemporaryDirectory(prefix="recurd-stop-") as states:
        s = Server(["--model", DEMO, "--drain", str(DRAIN_S), "--max-tokens", "1000000",
                    "--state-dir", states])
        a = Attack(s)
        reading = threading.Event()

        def read():
            while not reading.wait(0.01):
                for sock in a.socks:
                    try:
                        sock.recv(65536, socket.MSG_DONTWAIT)
                    except OSError:
                        pass
        thread = threading.Thread(target=read)
        thread.start()
        try:
            for i in range(count):
                a.post(dict(LONG, stream=True, max_tokens=1000000),
                       version=b"1.0" if i % 2 else b"1.1")
            if before == "stall":
                reading.set()
                settled(s, 20)
            else:
                time.sleep(1)
            if after == "close":
                a.close()
            t = time.time()
            s.proc.send_signal(signal.SIGTERM)
            if after == "close later":
                time.sleep(0.5)
                a.close()
            try:
                code = s.proc.wait(Settings.patience(60))
            except subprocess.TimeoutExpired:
                code = None
            return time.time() - t, code
        finally:
            reading.set()
            thread.join()
            a.close()
            s.stop(9)


@probe()
def stop_beside_endless_streams():
    """A stop ends, whatever the readers of streams of 1,000,000 tokens do."""
    slowest, facts = 0, []
    for what, count, before, after in ENDLESS:
        took, code = stopped(count, before, after)
        slowest = max(slowest, took)
        # Another code: it gave up on somebody 5 s after the drain. None: it did not end.
        facts.append(("%s, and it stops cleanly (%s)" % (what, code), code == 0))
    bound = DRAIN_S + 5
    return Result("slowest %.1f s" % slowest, "%d s" % bound, slowest <= bound, facts)
