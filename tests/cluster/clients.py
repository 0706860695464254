"""Clients of the cluster: each sends a request until it is answered, and compares the answer with that
of one server alone, token by token and logprob by logprob."""
import http.client
import json
import random
import socket
import time

from cluster import PORT, secret
from hosts import Patience

AGAIN = (409, 429, 500, 502, 503, 504)
EXACT = ("text", "token_ids", "logprobs", "finish_reason", "message")


class Fault(Exception):
    pass


def ids(n, seed):
    r = random.Random(seed)
    return [r.randrange(3, 250) for _ in range(n)]


class Client:
    """Requests of one key over a kept connection. One thread. With a source of random numbers some
    are given up at once and sent again, whether they were done or not."""

    def __init__(self, address, key, r=None):
        self.address, self.key, self.r = address, key, r
        self.connection = None
        self.again = 0          # requests that were sent more than once
        self.slowest = 0.0

    def send(self, method, path, body, timeout=None):
        """Once -> (status, headers, bytes); raises OSError or HTTPException."""
        timeout = timeout or Patience.silence
        if not self.connection:
            self.connection = http.client.HTTPConnection(self.address, PORT, timeout=timeout)
        try:
            if self.connection.sock:
                self.connection.sock.settimeout(timeout)
            data = json.dumps(body).encode() if body is not None else None
            self.connection.request(method, path, data, {
                "Authorization": "Bearer " + secret(self.key), "Content-Type": "application/json"})
            r = self.connection.getresponse()
            return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def until_answered(self, method, path, body=None, wanted=(200,), again=()):
        """-> (status, headers, JSON). What says "again", or nothing, is asked again."""
        begin, last = time.time(), None
        for number in range(10 ** 6):
            hasty = self.r and number == 0 and self.r.random() < 0.2
            try:
                status, head, data = self.send(method, path, body, self.r.uniform(0.001, 0.05)
                                               if hasty else None)
                if status in wanted:
                    self.again += number > 0
                    self.slowest = max(self.slowest, time.time() - begin)
                    return status, head, json.loads(data)
                last = "%d %s" % (status, data[:300])
                if status not in AGAIN + tuple(again):
                    raise Fault("%s %s: %s" % (method, path, last))
            except (OSError, http.client.HTTPException) as e:
                last = "%s: %s" % (type(e).__name__, e)
            if time.time() - begin > Patience.answer:
                raise Fault("%s %s: no answer for %d s, the last: %s" % (
                    method, path, Patience.answer, last))
            time.sleep(0.05)
        return None


def compare(seen, wanted, what):
    """Two choices, as they are in JSON: every number with all its digits."""
    for field in EXACT:
        if seen.get(field) != wanted.get(field):
            raise Fault("%s: %s differs from one server's alone: %s instead of %s" % (
                what, field, json.dumps(seen.get(field))[:400],
                json.dumps(wanted.get(field))[:400]))


def stream(address, key, body):
    """One streamed completion. -> an iterator of (event, seconds since it was sent)."""
    begin = time.time()
    data = json.dumps(dict(body, stream=True, stream_options={"include_usage": True})).encode()
    with socket.create_connection((address, PORT), Patience.silence) as s:
        s.sendall(b"POST /v1/completions HTTP/1.0\r\nHost: x\r\nContent-Type: application/json\r\n"
                  b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n" % (
                      secret(key).encode(), len(data)) + data)
        with s.makefile("rb") as f:
            status = f.readline().split(b" ")
            if len(status) < 2 or status[1] != b"200":
                raise OSError("answered %r" % status)
            place = None
            for line in iter(f.readline, b"\r\n"):
                if not line:
                    raise OSError("the connection ended in the headers")
                name, _, value = line.decode().partition(":")
                place = value.strip() if name.lower() == "x-recurd-replica" else place
            yield {"replica": place}, time.time() - begin
            for line in f:
                if line.startswith(b"data: [DONE]"):
                    return
                if line.startswith(b"data: "):
                    yield json.loads(line[6:]), time.time() - begin
    raise OSError("the stream ended before its end")
