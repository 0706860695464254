"""What the machine may do: its clock, its descriptors, its disk, its device, and stopping it."""
import ctypes
import json
import mmap
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

from common import DEMO, DEMO7, Server, Stream
from probes import LONG, Attack, Result, probe

DAY = 86400
WRONG_CLOCK = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <sys/syscall.h>
#include <unistd.h>
static long none[2], *off = none; /* seconds of the wall clock, of all others */
__attribute__((constructor)) static void begin(void)
{
    void *p = mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, open(getenv("WRONG_BY"), O_RDONLY), 0);
    off = p == MAP_FAILED ? off : p;
}
int clock_gettime(clockid_t id, struct timespec *t)
{
    int rc = (int)syscall(SYS_clock_gettime, id, t);
    t->tv_sec += off[id != CLOCK_REALTIME];
    return rc;
}
time_t time(time_t *t)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t)
        *t = now.tv_sec;
    return now.tv_sec;
}
"""


class Clock:
    """The clocks of daemons that are started with .env: the wall clock, off by so many days, and the
    others by so many seconds."""

    def __init__(self, folder):
        library, path = os.path.join(folder, "clock.so"), os.path.join(folder, "off")
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library],
                       input=WRONG_CLOCK.encode(), check=True)
        with open(path, "wb") as f:
            f.write(bytes(16))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 16)
        self.env = {"LD_PRELOAD": library, "WRONG_BY": path}

    def set(self, days):
        struct.pack_into("q", self.map, 0, days * DAY)

    def pass_by(self, seconds):
        struct.pack_into("q", self.map, 8, seconds)


def session_with_a_turn(s):
    one = s.post("/v1/sessions", {})["id"]
    s.post("/v1/completions", dict(LONG, prompt="a b c", max_tokens=4, session=one))
    return one


@probe(long=True)
def wrong_clock():
    """R7: the wall clock jumps by 40 days and by 20 years, while it runs and before it starts."""
    with tempfile.TemporaryDirectory(prefix="recurd-clock-") as d:
        clock, lost = Clock(d), []
        args = ["--model", DEMO7, "--state-dir", os.path.join(d, "states"), "--session-ttl", "30"]
        s = Server(args, env=clock.env)
        try:
            one = session_with_a_turn(s)
            for days in (40, 0, -7300, 0, 40):
                clock.set(days)
                # Its tick is 30 s; the first turn afterwards is one, too.
                session_with_a_turn(s)
                time.sleep(1)
                if s.get("/v1/sessions/" + one)[0] != 200:
                    lost.append("running, %+d days" % days)
            for days in (40, 0, -7300, 0):
                s.stop()
                clock.set(days)
                s = Server(args, env=clock.env)
                if s.get("/v1/sessions/" + one)[0] != 200:
                    lost.append("started, %+d days" % days)
        finally:
            s.stop(9)
        return Result("lost: %s" % (", ".join(lost) or "nothing, of 9 jumps"), "nothing", not lost, [])


@probe()
def frozen():
    """R12: SIGSTOP for longer than every timeout cuts nobody; its clock is moved on meanwhile."""
    with tempfile.TemporaryDirectory(prefix="recurd-frozen-") as d:
        clock = Clock(d)
        s = Server(["--model", DEMO, "--stall-timeout", "60", "--body-timeout", "60"],
                   env=clock.env)
        try:
            streams = [Stream(s, "/v1/completions", dict(LONG, stream=True, max_tokens=2500,
                                                         logprobs=5), room=32768, timeout=600)
                       for _ in range(8)]
            for st in streams:
                next(st.events())
            s.proc.send_signal(signal.SIGSTOP)
            clock.pass_by(100)
            s.proc.send_signal(signal.SIGCONT)
            whole = []

            def read(st):
                try:
                    for _ in st.events():
                        pass
                    whole.append(st.done)
                except (AssertionError, ValueError, OSError):
                    pass
            threads = [threading.Thread(target=read, args=(st,)) for st in streams]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            done = sum(whole)
            return Result("%d of 8 streams whole" % done, "8", done == 8,
                          [("no stream is cut (%d of 8 whole)" % done, done == 8)])
        finally:
            s.stop(9)


@probe(long=True)
def no_descriptors():
    """R8: 120 descriptors and 200 idle connections; then they are free again."""
    with tempfile.TemporaryDirectory(prefix="recurd-fds-") as d:
        s = Server(["--model", DEMO7, "--state-dir", d])
        a = Attack(s)
        try:
            one = session_with_a_turn(s)
            resource.prlimit(s.proc.pid, resource.RLIMIT_NOFILE, (120, 120))
            kept = s.connection()
            kept.request("GET", "/livez")
            kept.getresponse().read()
            for _ in range(200):
                a.open()
            time.sleep(1)

            def turn():
                kept.request("POST", "/v1/completions", json.dumps(dict(
                    LONG, prompt="x", max_tokens=2, session=one)),
                    {"Content-Type": "application/json"})
                r = kept.getresponse()
                got = json.loads(r.read())
                return got["session"]["persist"] if r.status == 200 else r.status
            during = turn()
            time.sleep(2.5)  # its state is due, and wants a descriptor
            a.close()
            end = time.time() + 30
            while s.metrics()["recurd_http_connections"] > 2 and time.time() < end:
                time.sleep(0.1)
            after = turn()
            return Result("a turn during the shortage: %s, after it: %s" % (during, after),
                          "durable after it", after == "durable",
                          [("persistence comes back by itself (%s)" % after, after == "durable")])
        finally:
            a.close()
            s.stop(9)


def folder_bytes(path):
    total = 0
    for at, dirs, files in os.walk(path):
        if "responses" in dirs:
            dirs.remove("responses")
        for f in files:
            try:
                total += os.stat(os.path.join(at, f)).st_size
            except FileNotFoundError:
                pass
    return total


@probe(long=True)
def disk_budget():
    """R29: turns and prompts for 15 s on a budget of 16 MiB."""
    with tempfile.TemporaryDirectory(prefix="recurd-budget-") as d:
        s = Server(["--model", DEMO7, "--state-dir", d, "--state-disk", "16", "--state-memory", "8"])
        most, n, end = 0, 0, time.time() + 15
        try:
            ids = [s.post("/v1/sessions", {})["id"] for _ in range(8)]
            while time.time() < end:
                n += 1
                s.request("POST", "/v1/completions", dict(
                    LONG, prompt=[(n * 7 + k * 3) % 4000 + 10 for k in range(120)], max_tokens=4,
                    **({"session": ids[n % 8]} if n % 2 else {})))
                most = max(most, folder_bytes(d))
        finally:
            s.stop(9)
        return Result("%.2f MiB at most, %d requests" % (most / 2**20, n), "16 MiB",
                      most <= (16 << 20) + 4096, [])


SEIZE, INTERRUPT, DETACH, ALL = 0x4206, 0x4207, 17, 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def busiest_thread(pid):
    def ticks(tid):
        with open("/proc/%d/task/%s/stat" % (pid, tid)) as f:
            return sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13])
    before = {t: ticks(t) for t in os.listdir("/proc/%d/task" % pid)}
    time.sleep(1)
    return int(max(before, key=lambda t: ticks(t) - before[t]))


class Hung:
    """The thread that computes, stopped; None where that is not allowed."""

    def __init__(self, s):
        self.tid = busiest_thread(s.proc.pid)
        if LIBC.ptrace(SEIZE, self.tid, 0, 0) or LIBC.ptrace(INTERRUPT, self.tid, 0, 0):
            self.tid = None
        else:
            os.waitpid(self.tid, ALL)

    def go_on(self):
        if self.tid:
            LIBC.ptrace(DETACH, self.tid, 0, 0)


@probe(long=True)
def hung_engine():
    """R27: the thread that computes stops in the middle of a stream."""
    s = Server(["--model", DEMO, "--threads", "1"])
    a = Attack(s)
    try:
        a.post(dict(LONG, max_tokens=1000000))  # no stream: nobody reads
        while not s.metrics()["recurd_requests_running"]:
            time.sleep(0.05)
        hung = Hung(s)
        if not hung.tid:
            return Result("this process may not trace another", "not tried", True, [])
        begin, seen = time.time(), {}
        while time.time() < begin + 45 and len(seen) < 2:
            for path in ("/livez", "/readyz"):
                if path not in seen and s.request("GET", path)[0] == 503:
                    seen[path] = time.time() - begin
            time.sleep(0.5)
        hung.go_on()
        time.sleep(2)
        again = s.get("/livez")[0]
        return Result("503 after %s; %d when it goes on" % (
            ", ".join("%.0f s (%s)" % (v, k) for k, v in sorted(seen.items())) or "never", again),
            "35 s, 200", len(seen) == 2 and max(seen.values()) <= 35 and again == 200,
            [("a hung engine is seen", len(seen) == 2)])
    finally:
        a.close()
        s.stop(9)


@probe(long=True)
def stop_beside_an_unfinished_body():
    """R28: SIGTERM while one client has sent one byte of a thousand."""
    s = Server(["--model", DEMO, "--drain", "30"])
    sock = socket.create_connection(("127.0.0.1", s.port))
    try:
        sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     b"Content-Length: 1000\r\n\r\n{")
        time.sleep(0.5)
        t = time.time()
        s.proc.send_signal(signal.SIGTERM)
        code = s.proc.wait(60)
        took = time.time() - t
        return Result("exit %d after %.1f s" % (code, took), "6 s of a drain of 30",
                      code == 0 and took <= 6, [])
    finally:
        sock.close()
        s.stop(9)


def with_pattern(d, pattern):
    """A copy of a model whose tokenizer.json splits texts by it."""
    for f in os.listdir(DEMO7):
        if f not in ("tokenizer.json", "tokenizer.model", "rwkv_vocab_v20230424.txt"):
            shutil.copy(os.path.join(DEMO7, f), d)
    vocab = {chr(b): b - 33 for b in range(33, 127)}
    with open(os.path.join(d, "tokenizer.json"), "w") as f:
        json.dump({"version": "1.0", "added_tokens": [], "model": {
            "type": "BPE", "vocab": vocab, "merges": []}, "decoder": {"type": "ByteLevel"},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
                 "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}}, f)


HOSTILE = "(?:a+)+[bc]"


def processor_time(s, text):
    """-> seconds that it takes to tokenize the text, the status and the reply"""
    before = s.metrics()["process_cpu_seconds_total"]
    status, _, reply = s.request("POST", "/tokenize", {"prompt": text})
    return s.metrics()["process_cpu_seconds_total"] - before, status, reply


@probe(long=True)
def hostile_pattern():
    """R24: a tokenizer.json whose pattern needs exponential time, and 26 letters."""
    with tempfile.TemporaryDirectory(prefix="recurd-pattern-") as d:
        with_pattern(d, HOSTILE)
        s = Server(["--model", d])
        try:
            slowest = 0
            for text in ("a" * 26, "a" * 3000):
                took, status, _ = processor_time(s, text)
                slowest = max(slowest, took)
            return Result("answered %d, %.0f ms of processor time" % (status, slowest * 1e3),
                          "100 ms", slowest <= 0.1, [])
        finally:
            s.stop(9)
