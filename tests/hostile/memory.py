"""What may be held: bodies, parsed JSON, connections, sessions."""
import resource
import socket
import time

from common import DEMO, Server
from probes import Attack, Result, first_token, probe, rss, typical

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


def unfinished(server, attack, count, length, sent):
    """Bodies that never end. -> how many were refused before they were read"""
    head = (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % length)
    refused = 0
    for _ in range(count):
        s = attack.open()
        s.settimeout(5)
        try:
            s.sendall(head + b" " * sent)
        except OSError:
            refused += 1
    time.sleep(1)
    return refused + int(server.metrics()["recurd_http_memory_refused_total"])


@probe(long=True)
def unfinished_bodies():
    """R6: 150 bodies of 4 MiB but for the last byte, then 2,000 of which 200 KB are there."""
    s = Server(["--model", DEMO])
    a, b = Attack(s), Attack(s)
    budget = s.metrics()["recurd_http_memory_bytes_max"] / 2**20
    try:
        start = rss(s)
        refused = unfinished(s, a, 150, 4 << 20, (4 << 20) - 1)
        large = rss(s) - start
        a.close()
        s.wait_idle()
        refused = unfinished(s, b, 2000, 4 << 20, 200000) - refused
        many = rss(s) - start
        took = first_token(s)
        return Result("+%.0f MiB and +%.0f MiB of a budget of %.0f, %d refused; a request beside them "
                      "is served in %.0f ms" % (large, many, budget, refused, took * 1e3),
                      "+%.0f MiB" % (budget + 48), max(large, many) <= budget + 48, [])
    finally:
        a.close()
        b.close()
        s.stop(9)


@probe(long=True)
def large_json():
    """R15: 1.8 MB that are 900,000 objects, ten times; what stays."""
    s = Server(["--model", DEMO])
    body = b'{"prompt":[' + b",".join([b"{}"] * 599999) + b"]}"
    try:
        s.request("POST", "/tokenize", {"prompt": "a"})
        before = rss(s)
        for _ in range(10):
            status, _, _ = s.request("POST", "/tokenize", body)
        time.sleep(2.5)
        left = rss(s) - before
        return Result("answered %d; +%.1f MiB stay" % (status, left), "+32 MiB", left <= 32, [])
    finally:
        s.stop(9)


@probe(long=True)
def idle_connections():
    """10,000 of them: what they take, what they leave, what others notice."""
    count = 9900
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit[1] < count + 200:
        return Result("%d descriptors are all there are" % limit[1], "not tried", True, [])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    s = Server(["--model", DEMO, "--connections", "10000"])
    socks = []
    try:
        typical(lambda: first_token(s))
        start = rss(s)
        for i in range(count):
            c = socket.create_connection(("127.0.0.1", s.port), timeout=30)
            c.sendall(GET)
            socks.append(c)
        open_now = 0
        for c in socks:
            open_now += c.recv(4096).startswith(b"HTTP/1.1 200")
        during, took = rss(s), typical(lambda: first_token(s))
        for c in socks:
            c.close()
        socks = []
        s.wait_idle(60)
        time.sleep(2.5)
        left = rss(s) - start
        return Result("%d idle: %.0f MiB, %.0f before, +%.1f MiB after they left; first token beside "
                      "them %.0f ms" % (open_now, during, start, left, took * 1e3),
                      "160 MiB, +20 MiB", during <= 160 and left <= 20 and open_now == count, [])
    finally:
        for c in socks:
            c.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        s.stop(9)


@probe(long=True)
def all_places_idle():
    """R13: 50 of 50 connections are idle."""
    s = Server(["--model", DEMO, "--connections", "50"])
    a = Attack(s)
    served = 0
    try:
        for _ in range(50):
            c = a.open()
            c.sendall(GET)
            c.recv(4096)
        for _ in range(20):
            served += s.request("GET", "/health")[0] == 200
        return Result("%d of 20 newcomers served" % served, "20", served == 20, [])
    finally:
        a.close()
        s.stop(9)


@probe()
def sessions_without_end():
    """R21: 1,100 sessions of one client without a key."""
    s = Server(["--model", DEMO])
    made = 0
    try:
        for _ in range(1100):
            made += s.request("POST", "/v1/sessions", {})[0] == 200
        return Result("%d of 1,100 made" % made, "1,000", made == 1000,
                      [("sessions without keys are bounded (%d made)" % made, made == 1000)])
    finally:
        s.stop(9)
