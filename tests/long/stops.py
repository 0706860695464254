"""SIGTERM beside 64 streams, again and again: each ends with an event, and the exit is clean."""
import json
import random
import selectors
import signal
import socket
import time

from common import DEMO, Server

STREAMS = 64
BODY = json.dumps({"prompt": "Once upon a time", "max_tokens": 1000000, "ignore_eos": True,
                   "stream": True}).encode()
REQUEST = (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
           b"Content-Length: %d\r\n\r\n" % len(BODY)) + BODY
KEPT = 600  # bytes of a stream's end that are looked at


class Reader:
    """Streams that are read by one thread, and of which the end is kept."""

    def __init__(self, server):
        self.select, self.tails = selectors.DefaultSelector(), {}
        for _ in range(STREAMS):
            s = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            s.sendall(REQUEST)
            s.setblocking(False)
            self.select.register(s, selectors.EVENT_READ)
            self.tails[s] = b""
        self.first = set()  # those that have sent something

    def read(self, enough, seconds):
        """Until enough(), or all have ended. False: neither came in time."""
        end = time.time() + seconds
        while self.select.get_map() and not enough():
            if time.time() > end:
                return False
            for key, _ in self.select.select(1):
                s = key.fileobj
                try:
                    got = s.recv(65536)
                except ConnectionResetError:
                    got = b""
                if not got:
                    self.select.unregister(s)
                    s.close()
                    continue
                self.first.add(s)
                self.tails[s] = (self.tails[s] + got)[-KEPT:]
        return True

    def close(self):
        for s in self.tails:
            s.close()
        self.select.close()


def told(tail):
    """Whether a stream's end is a whole event that says why, and the last chunk."""
    if not tail.endswith(b"\r\n0\r\n\r\n"):
        return False
    last = tail.rsplit(b"data: ", 1)[-1].split(b"\n\n")[0]
    return json.loads(last).get("error", {}).get("code") == "shutting_down"


def round_of(drain, rng):
    """-> (streams that were told, exit code, seconds from the signal to the end)"""
    s = Server(["--model", DEMO, "--drain", str(drain), "--state-memory", "16"])
    r = Reader(s)
    try:
        if not r.read(lambda: len(r.first) == STREAMS, 120):
            raise AssertionError("%d of %d streams began" % (len(r.first), STREAMS))
        end = time.time() + rng.uniform(0, 0.2)
        r.read(lambda: time.time() > end, 10)
        t = time.time()
        s.proc.send_signal(signal.SIGTERM)
        r.read(lambda: False, 120)
        code = s.proc.wait(60)
        return sum(told(x) for x in r.tails.values()), code, time.time() - t
    finally:
        r.close()
        s.stop(9)


def run(rounds, say):
    rng, n, ended, slowest = random.Random(1), 0, 0, 0
    for n in range(1, rounds + 1):
        drain = 1 if n % 10 == 0 else 0
        good, code, took = round_of(drain, rng)
        ended += good
        slowest = max(slowest, took - drain)
        if code != 0 or good != STREAMS:
            return False, "round %d: exit code %s, %d of %d streams were told" % (n, code, good,
                                                                                  STREAMS)
        say("%d rounds of SIGTERM: %d of %d streams ended with their event, exit code 0 each, at "
            "most %.2f s beyond the drain" % (n, ended, n * STREAMS, slowest))
    return True, None
