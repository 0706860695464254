#!/usr/bin/env python3
"""One life of the daemon (start, chat, stream, sessions, restart), in which any one allocation
fails: each is answered by an error in JSON, or ends the start with a sentence; nothing crashes,
nothing is half said, and what was acknowledged is there afterwards.

usage: torture.py [--recurd PATH] [--step N] [--model DIR]     N: every N-th allocation only
"""
import argparse
import http.client
import json
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "api"))
from common import DEMO7, Settings  # noqa: E402

# The order of failing_malloc.c.
COUNT, FAIL_AT, FAILED, MANY = range(4)
HUNG_S = 1800  # what is not over by then
EXIT_CODES = (0, 2, 3, 4, 5, 6, 7)  # programs/recurd.c
ASK = {"prompt": "Once upon a time", "max_tokens": 5, "temperature": 0, "ignore_eos": True}
SAY = {"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 5,
       "temperature": 0, "logprobs": True, "top_logprobs": 3}


class Failure(Exception):
    pass


def need(so, what):
    if not so:
        raise Failure(what)


class Daemon:
    running = []

    def __init__(self, args, shared, library):
        self.log = tempfile.TemporaryFile()
        env = dict(os.environ, LD_PRELOAD=library, TORTURE=shared.path)
        env.pop("NOTIFY_SOCKET", None)
        self.proc = subprocess.Popen([Settings.recurd, "--listen", "127.0.0.1:0"] + args, env=env,
                                     stdout=self.log, stderr=self.log)
        Daemon.running = [d for d in Daemon.running if d.proc.poll() is None] + [self]

    def text(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    def port(self):
        """None: it ended before it served."""
        end = time.time() + HUNG_S
        while time.time() < end:
            for line in self.text().splitlines():
                if " serving " in line and "; " in line and "http://" in line:
                    return int(line.split("http://")[1].split(";")[0].rsplit(":", 1)[1])
            if self.proc.poll() is not None:
                return None
            time.sleep(0.01)
        raise Failure("it neither serves nor ends: " + self.text()[-500:])

    def stop(self):
        if self.proc.poll() is None:
            self.proc.terminate()
        try:
            return self.proc.wait(HUNG_S)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            raise Failure("it does not stop: " + self.text()[-500:])


class Shared:
    def __init__(self, folder):
        self.path = os.path.join(folder, "counters")
        with open(self.path, "wb") as f:
            f.write(bytes(32))
        with open(self.path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 32)

    def get(self, i):
        return struct.unpack_from("Q", self.map, 8 * i)[0]

    def set(self, i, value):
        struct.pack_into("Q", self.map, 8 * i, value)

    def arm(self, nth):
        """The nth allocation from now fails; 0: none does."""
        self.set(FAIL_AT, 0)
        self.set(FAILED, 0)
        if nth:
            self.set(FAIL_AT, self.get(COUNT) + nth)


# ---- requests ----

def ask(port, method, path, body=None, raw=False, text=False):
    """-> (status, reply as JSON or bytes), or (None, None): the connection was closed unanswered."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=HUNG_S)
    try:
        data = body if raw else json.dumps(body).encode() if body is not None else None
        kind = "application/octet-stream" if raw else "application/json"
        c.request(method, path, data, {"Content-Type": kind} if data is not None else {})
        r = c.getresponse()
        reply = r.read()  # shorter than its Content-Length: IncompleteRead
        # A header that there was no memory for is left out.
        if text and r.status == 200:
            return r.status, reply
        if r.getheader("Content-Type", "application/json").startswith("application/json"):
            return r.status, json.loads(reply)
        return r.status, reply
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
        return None, None
    finally:
        c.close()


def streamed(port, path, body):
    """-> (status, text), or (status, None): it ended with an error event, or closed unanswered."""
    status, reply = ask(port, "POST", path, dict(body, stream=True), text=True)
    if status != 200:
        return status, reply
    frames = reply.decode("utf-8").split("\n\n")
    need(frames.pop() == "", "a stream ends inside an event: %r" % reply[-100:])
    events = [f[6:] for f in frames if f.startswith("data: ")]
    if events[-1] == "[DONE]":
        parsed = [json.loads(e) for e in events[:-1]]
        if any("error" in e for e in parsed):
            return status, None
        return status, "".join(e["choices"][0].get("text") or
                               e["choices"][0].get("delta", {}).get("content") or ""
                               for e in parsed if e.get("choices"))
    need("error" in json.loads(events[-1]), "a stream without an end: %r" % reply[-200:])
    return status, None


class Life:
    """The steps of a life: each asks, checks the reply unless it is an error, and gives its status."""

    def __init__(self, port):
        self.port = port
        self.session, self.position, self.blob = None, 0, None
        self.known = {}

    def same(self, what, text):
        if text is not None:
            need(self.known.setdefault(what, text) == text,
                 "%s: %r is not %r" % (what, text, self.known[what]))

    def plain(self):
        status, r = ask(self.port, "POST", "/v1/completions", ASK)
        if status == 200:
            self.same("plain", r["choices"][0]["text"])
        return status, r

    def chat(self):
        status, r = ask(self.port, "POST", "/v1/chat/completions", SAY)
        if status == 200:
            self.same("chat", r["choices"][0]["message"]["content"])
        return status, r

    def stream(self):
        status, r = streamed(self.port, "/v1/completions", ASK)
        if status == 200:
            self.same("plain", r)
            return (200, r) if r is not None else (500, {"error": {"message": "in the stream"}})
        return status, r

    def schema(self):
        status, r = ask(self.port, "POST", "/v1/completions",
                        dict(ASK, max_tokens=12, guided_regex="[a-c]{4}"))
        if status == 200:
            self.same("schema", r["choices"][0]["text"])
        return status, r

    def create(self):
        status, r = ask(self.port, "POST", "/v1/sessions", {})
        if status == 200:
            self.session, self.position = r["id"], 0
        return status, r

    def turn(self):
        if not self.session:
            return self.create()
        status, r = ask(self.port, "POST", "/v1/completions", dict(ASK, session=self.session))
        if status == 200:
            need(r["session"]["position"] > self.position, "the session went back: %s" % r)
            self.position = r["session"]["position"]
        return status, r

    def fork(self):
        status, r = ask(self.port, "POST", "/v1/sessions/%s/fork" % self.session, {})
        if status == 200:
            need(r["position"] >= self.position, "the fork is not of the session: %s" % r)
            ask(self.port, "DELETE", "/v1/sessions/" + r["id"])
        return status, r

    def export(self):
        status, r = ask(self.port, "GET", "/v1/sessions/%s/state" % self.session, text=True)
        if status == 200:
            self.blob = r
        return status, r

    def import_(self):
        if not self.blob:
            return self.export()
        status, r = ask(self.port, "PUT", "/v1/sessions", self.blob, raw=True)
        if status == 200:
            ask(self.port, "DELETE", "/v1/sessions/" + r["id"])
        return status, r

    def metrics(self):
        status, r = ask(self.port, "GET", "/metrics", text=True)
        need(status != 200 or r.rstrip().endswith(b"# EOF") or r.endswith(b"\n"),
             "metrics end in the middle")
        return status, r

    STEPS = ("plain", "chat", "stream", "schema", "create", "turn", "fork", "export", "import_",
             "metrics")


def tell(name, tried, outcomes):
    print("%-8s %5d failed allocations: %s" % (name, tried, ", ".join(
        "%d x %s" % (n, what) for what, n in sorted(outcomes.items()))), flush=True)


def requests(daemon, life, shared, step):
    for name in Life.STEPS:
        do, outcomes, tried, nth = getattr(life, name), {}, 0, 1
        for _ in range(3):  # what is allocated once is there
            status, r = do()
            need(status == 200, "%s without a failure: %s %s" % (name, status, r))
        while True:
            shared.arm(nth)
            try:
                status, r = do()
            except Exception as e:
                raise Failure("%s, allocation %d: %s: %s" % (name, nth, type(e).__name__, e))
            hit = shared.get(FAILED)
            shared.arm(0)
            need(daemon.proc.poll() is None, "%s, allocation %d: the daemon ended with %s: %s" % (
                name, nth, daemon.proc.returncode, daemon.text()[-1500:]))
            if not hit:
                break
            if status is not None and status != 200:
                need(status >= 500 and isinstance(r, dict) and r["error"]["message"],
                     "%s, allocation %d: answered %s %s" % (name, nth, status, r))
            what = "closed unanswered" if status is None else str(status)
            outcomes[what] = outcomes.get(what, 0) + 1
            tried += 1
            nth += step
        tell(name.strip("_"), tried, outcomes)
    status, r = life.plain()
    need(status == 200, "afterwards: %s %s" % (status, r))


def starts(args, shared, library, life, step):
    """With the states of the life before; every step-th allocation of a start."""
    shared.arm(0)
    shared.set(COUNT, 0)
    d = Daemon(args, shared, library)
    life.port = d.port()
    need(life.port, "it does not start again: " + d.text()[-500:])
    total = shared.get(COUNT)
    print("start    has %d allocations" % total)
    status, r = ask(life.port, "GET", "/v1/sessions/" + life.session)
    # A turn may be there whose reply there was no memory for.
    need(status == 200 and r["position"] >= life.position, "the session is not as it was "
         "acknowledged (%s): %s %s" % (life.position, status, r))
    need(d.stop() == 0, "it does not stop cleanly: " + d.text()[-500:])
    outcomes, tried = {}, 0
    nth = 1
    while nth <= total:
        shared.set(COUNT, 0)
        shared.arm(nth)
        d = Daemon(args, shared, library)
        life.port = d.port()
        hit = shared.get(FAILED)
        shared.arm(0)
        if life.port:
            status, r = life.plain()
            need(status == 200, "start, allocation %d: then %s %s" % (nth, status, r))
        code = d.stop()
        said = d.text()
        need(code in EXIT_CODES and (code == 0) == bool(life.port),
             "start, allocation %d: exit code %s: %s" % (nth, code, said[-1500:]))
        need(life.port or "recurd: " in said or " error " in said,
             "start, allocation %d: no sentence: %r" % (nth, said))
        if hit:
            what = "serves" if life.port else "exit %d" % code
            outcomes[what] = outcomes.get(what, 0) + 1
            tried += 1
        nth += step
    tell("start", tried, outcomes)


def run(recurd, step=1, start_step=None, model=DEMO7):
    Settings.recurd = recurd
    with tempfile.TemporaryDirectory(prefix="recurd-torture-") as folder:
        library = os.path.join(folder, "failing_malloc.so")
        subprocess.run([shutil.which("cc") or "gcc", "-O1", "-shared", "-fPIC", "-o", library,
                        os.path.join(HERE, "failing_malloc.c")], check=True)
        shared = Shared(folder)
        args = ["--model", model, "--state-dir", os.path.join(folder, "states"), "--threads", "1"]
        try:
            d = Daemon(args, shared, library)
            life = Life(d.port())
            need(life.port, "it does not start: " + d.text()[-500:])
            requests(d, life, shared, step)
            need(d.stop() == 0, "it does not stop cleanly: " + d.text()[-1000:])
            starts(args, shared, library, life, start_step or step)
        finally:
            for d in Daemon.running:
                d.proc.kill()
                d.proc.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--recurd", default=Settings.recurd)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--start-step", type=int)
    parser.add_argument("--model", default=DEMO7)
    a = parser.parse_args()
    try:
        run(os.path.abspath(a.recurd), a.step, a.start_step, a.model)
    except Failure as e:
        print("FAILED: %s" % e)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
