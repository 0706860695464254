"""The wire: what must be refused before anything is parsed, and what HTTP promises.

Each row of MALFORMED is a request two parsers could read in two ways, or that exceeds a limit.
The reply is 4xx (or silence) and the connection closes; a second request hidden behind the first
is never answered; the next client is served.
"""
import json
import re
import socket
import time
import unittest

import common
from common import DEMO, Server, Stream, server, wait_for

H = b"Host: x\r\n"
J = b"Content-Type: application/json\r\n"
HIDDEN = b"GET /version HTTP/1.1\r\nHost: hidden\r\n\r\n"
BODY = b'{"prompt":"a","max_tokens":1}'


def get(headers=H, line=b"GET /health HTTP/1.1"):
    return line + b"\r\n" + headers + b"\r\n"


def post(headers, body=BODY):
    return b"POST /v1/completions HTTP/1.1\r\n" + H + J + headers + b"\r\n" + body


def chunked(body):
    return post(b"Transfer-Encoding: chunked\r\n", body)


CHUNKED = b"1d\r\n" + BODY + b"\r\n0\r\n\r\n"
MALFORMED = [
    # name, bytes, statuses that are right
    ("both lengths", post(b"Content-Length: 29\r\nTransfer-Encoding: chunked\r\n", CHUNKED), (400,)),
    ("both, other order", post(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", CHUNKED), (400,)),
    ("two lengths", post(b"Content-Length: 29\r\nContent-Length: 5\r\n"), (400,)),
    ("two equal lengths", post(b"Content-Length: 29\r\nContent-Length: 29\r\n"), (400,)),
    ("a list of lengths", post(b"Content-Length: 29, 29\r\n"), (400,)),
    ("a signed length", post(b"Content-Length: +29\r\n"), (400,)),
    ("a negative length", post(b"Content-Length: -1\r\n"), (400,)),
    ("an empty length", post(b"Content-Length:\r\n"), (400,)),
    ("a hex length", post(b"Content-Length: 0x1d\r\n"), (400,)),
    ("a length with a tail", post(b"Content-Length: 29 \r\n"), (400,)),
    ("a length of 2^63", post(b"Content-Length: 9223372036854775808\r\n"), (413,)),
    ("a length of 2^64", post(b"Content-Length: 18446744073709551616\r\n"), (400, 413)),
    ("a body too long", post(b"Content-Length: 99999999999\r\n"), (413,)),
    ("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked\r\n", CHUNKED), (400,)),
    ("chunked twice", post(b"Transfer-Encoding: chunked, chunked\r\n", CHUNKED), (400,)),
    ("two encodings", post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKED), (400,)),
    ("identity", post(b"Transfer-Encoding: identity\r\n"), (400,)),
    ("chunked with a tail", post(b"Transfer-Encoding: chunked \r\n", CHUNKED), (400,)),
    ("chunked in 1.0", b"POST /v1/completions HTTP/1.0\r\n" + J + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED, (400,)),
    ("a negative chunk", post(b"Transfer-Encoding: chunked\r\n", b"-1\r\n" + BODY), (400, 413)),
    ("a chunk of 0x", post(b"Transfer-Encoding: chunked\r\n", b"0x1d\r\n" + BODY + b"\r\n0\r\n\r\n"), (400, 413)),
    ("a chunk of 2^64", post(b"Transfer-Encoding: chunked\r\n", b"10000000000000000\r\n" + BODY), (400, 413)),
    ("a chunk longer than said", post(b"Transfer-Encoding: chunked\r\n", b"5\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    ("a bare LF after a chunk's size", chunked(b"1d\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    ("a bare LF after a chunk", chunked(b"1d\r\n" + BODY + b"\n0\r\n\r\n"), (400,)),
    ("a bare LF after the last size", chunked(b"1d\r\n" + BODY + b"\r\n0\n\r\n"), (400,)),
    ("a bare LF at the end of chunks", chunked(b"1d\r\n" + BODY + b"\r\n0\r\n\n"), (400,)),
    ("a bare LF in a trailer", chunked(b"1d\r\n" + BODY + b"\r\n0\r\nX: y\n\r\n"), (400,)),
    ("a length in a trailer", chunked(b"1d\r\n" + BODY + b"\r\n0\r\nContent-Length: 5\r\n\r\n"), (400,)),
    ("NUL in a chunk's extension", chunked(b"1d;a\0b\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    ("a chunk's extension of 100 KB", chunked(b"1d;" + b"a" * 100000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    ("40 KB of zeros before a size", chunked(b"0" * 40000 + b"1d\r\n" + BODY + b"\r\n0\r\n\r\n"), (413,)),
    ("CONNECT", b"CONNECT a:1 HTTP/1.1\r\n" + H + b"\r\n", (400,)),
    ("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,)),
    ("no host", get(b""), (400,)),
    ("two hosts", get(H + b"Host: y\r\n"), (400,)),
    ("a space before the colon", get(b"Host : x\r\n"), (400,)),
    ("a name with a space", get(H + b"X Y: z\r\n"), (400,)),
    ("an empty name", get(H + b": z\r\n"), (400,)),
    ("no colon", get(H + b"what\r\n"), (400,)),
    ("folded value", get(H + b"X-A: b\r\n c\r\n"), (400,)),
    ("folded length", post(b"X-A: b\r\n Content-Length: 5\r\nContent-Length: 29\r\n"), (400,)),
    ("fold before the first header", b"GET /health HTTP/1.1\r\n Host: x\r\nHost: x\r\n\r\n", (400,)),
    ("bare LF after a header", b"GET /health HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n", (400,)),
    ("bare LF everywhere", b"GET /health HTTP/1.1\nHost: x\n\n", (400,)),
    ("bare LF at the end", b"GET /health HTTP/1.1\r\nHost: x\r\n\n", (400,)),
    ("bare LF after the request line", b"GET /health HTTP/1.1\nHost: x\r\n\r\n", (400,)),
    ("a bare CR in a value", get(H + b"X-A: b\rX-B: c\r\n"), (400,)),
    ("NUL in a value", get(H + b"X-A: b\0c\r\n"), (400,)),
    ("NUL in a name", get(H + b"X\0A: b\r\n"), (400,)),
    ("NUL in the path", get(line=b"GET /health\0x HTTP/1.1"), (400,)),
    ("NUL in the method", get(line=b"GE\0T /health HTTP/1.1"), (400,)),
    ("a control byte", get(H + b"X-A: b\x01c\r\n"), (400,)),
    ("two spaces in the request line", get(line=b"GET  /health HTTP/1.1"), (400,)),
    ("a space in the path", get(line=b"GET /hea lth HTTP/1.1"), (400,)),
    ("HTTP/0.9", b"GET /health\r\n\r\n", (400,)),
    ("HTTP/2.0", get(line=b"GET /health HTTP/2.0"), (400,)),
    ("HTTP/1.2", get(line=b"GET /health HTTP/1.2"), (400,)),
    ("lower case http", get(line=b"GET /health http/1.1"), (400,)),
    ("absolute form", get(line=b"GET http://x/health HTTP/1.1"), (400, 404)),
    ("%00 in the path", get(line=b"GET /health%00 HTTP/1.1"), (404,)),
    ("%2f in the path", get(line=b"GET /v1%2fmodels HTTP/1.1"), (404,)),
    ("dots in the path", get(line=b"GET /v1/../health HTTP/1.1"), (404,)),
    ("a header of 40 KB", get(H + b"X-A: " + b"a" * 40000 + b"\r\n"), (413, 431)),
    ("1,000 headers", get(H + b"X-A: b\r\n" * 1000), (413, 431)),
    ("a path of 20 KB", get(line=b"GET /" + b"a" * 20000 + b" HTTP/1.1"), (414,)),
    ("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (400,)),
]


def statuses(reply):
    return [int(m) for m in re.findall(rb"HTTP/1\.[01] (\d\d\d) ", reply)]


class Malformed(unittest.TestCase):
    def test_each_is_refused_and_nothing_behind_it_is_answered(self):
        s = server("--model", DEMO)
        for name, data, right in MALFORMED:
            with self.subTest(name):
                reply = s.raw(data + HIDDEN, 2)  # it closes after one, or the hidden one is told
                got = statuses(reply) or [0]
                self.assertIn(got[0], right, reply[:400])
                if got[0] == 404:
                    continue  # well-formed, and the connection goes on
                self.assertEqual(len(got), 1, reply[:600])
                self.assertNotIn(b'"commit"', reply)
                head, body = reply.split(b"\r\n\r\n", 1)
                for line in (b"Connection: close", b"Content-Type: application/json",
                             b"x-request-id: req-"):
                    self.assertIn(line, head)
                self.assertEqual(sorted(json.loads(body)["error"]),
                                 ["code", "message", "param", "type"])
        self.assertEqual(s.get("/health")[0], 200)
        s.wait_idle()


class Http(unittest.TestCase):
    def setUp(self):
        self.s = server("--model", DEMO)

    def test_unknown_paths_and_methods(self):
        for method, path, status in [("GET", "/x", 404), ("GET", "/v1/complet", 404),
                                     ("POST", "/v1/completions/", 404), ("GET", "/v1/models/a/b", 404),
                                     ("GET", "/v1/models/", 404), ("GET", "/v1/completions", 405),
                                     ("DELETE", "/v1/completions", 405), ("POST", "/health", 405),
                                     ("BREW", "/health", 405), ("TRACE", "/health", 405)]:
            got, headers, body = self.s.request(method, path)
            self.assertEqual(got, status, (method, path))
            self.assertEqual(sorted(json.loads(body)["error"]), ["code", "message", "param", "type"])
            self.assertIn("x-request-id", headers)
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertEqual("allow" in headers, status == 405)

    def test_query_strings_do_not_matter(self):
        self.assertEqual(self.s.get("/health?x=1&y=%00")[0], 200)

    def test_head_and_options(self):
        status, headers, body = self.s.request("HEAD", "/v1/models")
        self.assertEqual((status, body), (200, b""))
        self.assertGreater(int(headers["content-length"]), 10)
        status, headers, body = self.s.request("OPTIONS", "/v1/completions")
        self.assertEqual((status, headers["allow"]), (204, "POST, OPTIONS"))
        self.assertNotIn("access-control-allow-origin", headers)

    def test_the_request_id_comes_back(self):
        _, headers, _ = self.s.request("GET", "/health", headers={"X-Request-Id": "abc-1.2_3"})
        self.assertEqual(headers["x-request-id"], "abc-1.2_3")
        for bad in ("a b", "x" * 65, "<script>", ""):
            _, headers, _ = self.s.request("GET", "/health", headers={"X-Request-Id": bad})
            self.assertTrue(headers["x-request-id"].startswith("req-"), bad)

    def test_a_body_that_is_not_json_by_type_is_415(self):
        for headers in ({"Content-Type": "text/plain"}, {"Content-Type": ""},
                        {"Content-Type": "application/x-www-form-urlencoded"},
                        {"Content-Type": "application/jsonx"},
                        {"Content-Type": "application/json", "Content-Encoding": "gzip"}):
            status, _, body = self.s.request("POST", "/v1/completions", BODY, headers)
            self.assertEqual(status, 415, headers)
            self.assertEqual(json.loads(body)["error"]["code"], "unsupported_media_type")
        for line, status in ((b"", 200), (b"Origin: http://127.0.0.1\r\n", 415)):
            head = (b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" +
                    line + b"Content-Length: %d\r\n\r\n" % len(BODY))
            self.assertIn(b" %d " % status, self.s.raw(head + BODY).split(b"\r\n")[0], line)
        for good in ("application/json; charset=utf-8", "Application/JSON", "application/json;x"):
            status, _, _ = self.s.request("POST", "/v1/completions", BODY, {"Content-Type": good})
            self.assertEqual(status, 200, good)

    def test_a_connection_is_reused_also_after_errors(self):
        c = self.s.connection()
        for i in range(12):
            body = BODY if i % 3 else b'{"prompt":5}'
            path = "/v1/completions" if i % 4 else "/nothing"
            c.request("POST", path, body, {"Content-Type": "application/json"})
            r = c.getresponse()
            r.read()
            self.assertEqual(r.status, 404 if i % 4 == 0 else 400 if i % 3 == 0 else 200)
            if i == 0:
                sock = c.sock
            self.assertIs(c.sock, sock)
        c.close()

    def test_a_connection_is_reused_after_a_stream(self):
        st = Stream(self.s, "/v1/completions", {"prompt": "a", "max_tokens": 2, "stream": True})
        list(st.events())
        st.sock.sendall(get())
        self.assertIn(b"200 OK", st.file.readline())
        st.close()

    def test_among_many_idle_connections_nothing_that_came_early_is_lost(self):
        """Pools of idle connections are given back where there are many: not while one holds the
        beginning of a request, or a whole one."""
        s = Server(["--model", DEMO])
        ask = json.dumps({"prompt": "Once", "temperature": 0, "max_tokens": 300,
                          "ignore_eos": True}).encode()
        post = (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"x-request-id: mine-%d\r\nContent-Length: %d\r\n\r\n" % (7, len(ask)) + ask)
        idle = []
        try:
            for _ in range(300):
                c = s.connect()
                c.sendall(get(H))
                idle.append(c)
            for c in idle:
                c.recv(65536)
            whole = None
            for cut in (1, 2, 9, 40, 80, len(post) - 5, len(post)):
                for first in (1, 3):
                    c = s.connect(60)
                    c.sendall(get(H) * first + post[:cut])
                    got = b""
                    while len(statuses(got)) < first:
                        got += c.recv(65536)
                    s.get("/health")  # the worker has looked for events since
                    time.sleep(0.02)
                    c.sendall(post[cut:])
                    while b"finish_reason" not in got or got.count(b"}]") < 1:
                        piece = c.recv(65536)
                        self.assertTrue(piece, got[-600:])
                        got += piece
                    self.assertEqual(statuses(got), [200] * (first + 1), got[-600:])
                    self.assertIn(b"x-request-id: mine-7", got)
                    text = re.search(rb'"text":"(.*?[^\\])"', got).group(1)
                    whole = whole or text
                    self.assertEqual(text, whole)
                    c.sendall(get(H))  # and the connection is as good as before
                    self.assertEqual(statuses(c.recv(65536))[-1], 200)
                    c.close()
        finally:
            for c in idle:
                c.close()
            self.assertEqual(s.stop(), 0)

    def test_pipelined_requests_are_answered_in_order(self):
        reply = self.s.raw(post(b"Content-Length: 29\r\n") + get() + get(line=b"GET /version HTTP/1.1"),
                           3)
        self.assertEqual(statuses(reply), [200, 200, 200])
        self.assertLess(reply.index(b"text_completion"), reply.index(b'"status"'))

    def test_what_comes_before_a_malformed_request_is_answered(self):
        for good, status in ((get(), b'"status"'),
                             (post(b"Content-Length: 29\r\n"), b"text_completion"),
                             (chunked(b"1d;a=b\r\n" + BODY + b"\r\n0\r\nX: y\r\n\r\n"),
                              b"text_completion")):
            reply = self.s.raw(good + get(H + b"X : y\r\n") + HIDDEN, 3)
            self.assertEqual(statuses(reply), [200, 400])
            self.assertIn(status, reply)
            self.assertNotIn(b'"commit"', reply)

    def test_the_longest_head_is_read(self):
        for headers in (b"".join(b"a%d: b\r\n" % i for i in range(127)), b"a: " + b"b" * 16200 + b"\r\n"):
            self.assertEqual(statuses(self.s.raw(get(H + headers), 1)), [200])

    def test_http_10_gets_whole_replies_and_streams_that_end_by_closing(self):
        line = b"POST /v1/completions HTTP/1.0\r\n" + J
        reply = self.s.raw(line + b"Content-Length: 29\r\n\r\n" + BODY)
        self.assertEqual(statuses(reply), [200])
        body = b'{"prompt":"a","stream":true,"max_tokens":3,"ignore_eos":true}'
        for more in (b"", b"Connection: keep-alive\r\n"):
            reply = self.s.raw(line + more + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            self.assertEqual(statuses(reply), [200])
            head, frames = reply.split(b"\r\n\r\n", 1)
            self.assertNotIn(b"chunked", head.lower())
            self.assertTrue(frames.startswith(b"data: {"), frames[:80])
            self.assertTrue(frames.endswith(b"data: [DONE]\n\n"), frames[-80:])

    def test_a_host_must_be_ours_and_an_origin_allowed(self):
        s = server("--model", DEMO, "--hosts", "box.example", "--origins", "https://chat.example")
        def ask(host, origin=None, method="GET", path="/v1/models"):
            h = {"Host": host}
            if origin:
                h["Origin"] = origin
            return s.request(method, path, headers=h)
        for host in ("localhost", "127.0.0.1:%d" % s.port, "[::1]", "box.example:1", "a.localhost"):
            self.assertEqual(ask(host)[0], 200, host)
        for host in ("evil.example", "127.0.0.1.evil.example"):
            status, headers, body = ask(host)
            self.assertEqual((status, json.loads(body)["error"]["code"]),
                             (421, "misdirected_request"))
            self.assertIn("x-request-id", headers)
        for host in ("a/b", "a@b", "a, b", "a b", "a:99999999"):
            self.assertEqual(ask(host)[0], 400, host)
        own = "http://localhost:%d" % s.port
        self.assertEqual(ask(own[7:], own)[0], 200)
        for origin in ("http://evil.example", "null", "http://localhost:3000"):
            status, headers, body = ask("localhost", origin)
            self.assertEqual((status, json.loads(body)["error"]["code"]), (403, "origin_not_allowed"))
            self.assertNotIn("access-control-allow-origin", headers)
        status, headers, _ = ask("localhost", "https://chat.example")
        self.assertEqual((status, headers["access-control-allow-origin"], headers["vary"]),
                         (200, "https://chat.example", "Origin"))
        status, headers, _ = ask("localhost", "https://chat.example", "OPTIONS",
                                 "/v1/chat/completions")
        self.assertEqual(status, 204)
        self.assertIn("POST", headers["access-control-allow-methods"])
        self.assertIn("content-type", headers["access-control-allow-headers"])

    def test_413_can_be_read_by_a_client_that_sends_everything_first(self):
        for headers in ({}, {"Transfer-Encoding": "chunked"}):
            c = self.s.connection()
            body = b'{"prompt":"' + b"a" * (5 << 20) + b'"}'
            c.request("POST", "/v1/completions", body=iter([body]) if headers else body,
                      headers=dict(headers, **{"Content-Type": "application/json"}),
                      encode_chunked=bool(headers))
            r = c.getresponse()
            self.assertEqual((r.status, json.loads(r.read())["error"]["code"]),
                             (413, "request_too_large"))
            c.close()

    def test_the_longest_idle_connection_makes_room_for_a_newcomer(self):
        s = server("--model", DEMO, "--connections", "3")
        idle = []
        for _ in range(3):
            c = s.connection()
            c.request("GET", "/livez")
            c.getresponse().read()
            idle.append(c)
            time.sleep(0.1)
        for _ in range(2):
            self.assertEqual(s.get("/health")[0], 200)
        idle[2].request("GET", "/livez")  # the younger ones are still there
        self.assertEqual(idle[2].getresponse().status, 200)
        for c in idle:
            c.close()

    def test_bodies_have_one_budget_and_small_ones_find_room(self):
        s = server("--model", DEMO, "--body-memory", "8")
        body = b'{"prompt":"' + b"a" * (2 << 20)  # never ends
        held = []
        for _ in range(3):
            c = s.connect()
            c.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n" + J +
                      b"Content-Length: 3000000\r\n\r\n" + body)
            held.append(c)
        wait_for(lambda: s.metrics()["recurd_http_memory_bytes"] > 4 << 20)
        got = s.raw(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n" + J +
                    b"Content-Length: 3000000\r\n\r\n", 1)
        self.assertEqual(statuses(got), [503])
        self.assertEqual(s.complete("a", max_tokens=1)["usage"]["completion_tokens"], 1)
        for c in held:
            c.close()
        s.wait_idle()
        self.assertEqual(s.request("POST", "/tokenize", {"prompt": "a " * 100000})[0], 200)

    def test_parsed_json_and_replies_draw_on_the_same_budget(self):
        s = server("--model", DEMO, "--body-memory", "4")
        whole = dict(prompt="Once upon a time", ignore_eos=True, temperature=0)
        # 60,000 objects are 180 KB, and 100 times that when parsed: more than there ever is.
        status, _, reply = s.request("POST", "/tokenize", {"prompt": [{}] * 60000})
        self.assertEqual((status, json.loads(reply)["error"]["code"]), (413, "request_too_large"))
        # Replies that take more than the rest allows: told so, and all of it is given back.
        big = dict(whole, max_tokens=1500, n=8, logprobs=20)
        status, _, reply = s.request("POST", "/v1/completions", big)
        self.assertEqual(status, 503, reply)
        self.assertIn("memory", json.loads(reply)["error"]["message"])
        self.assertEqual(s.complete("a", max_tokens=1)["usage"]["completion_tokens"], 1)
        m = s.wait_idle()
        self.assertGreaterEqual(m["recurd_http_memory_refused_total"], 1)
        self.assertEqual(m["recurd_http_memory_bytes"], 0)
        self.assertEqual(m["recurd_http_memory_bytes_max"], 4 << 20)
        # A stream gives away what was read, and fits.
        events = list(Stream(s, "/v1/completions", dict(big, stream=True)).events())
        self.assertEqual(sum(1 for e in events if e["choices"][0]["finish_reason"]), 8)

    def test_a_body_encoded_as_itself_is_not_encoded(self):
        for encoding, status in ((b"identity", 200), (b"Identity", 200), (b"gzip", 415)):
            reply = self.s.raw(post(b"Content-Length: 29\r\nContent-Encoding: " + encoding + b"\r\n"),
                               1)
            self.assertEqual(statuses(reply), [status], encoding)

    def test_expect_100_is_answered_before_the_body_in_both_ways(self):
        s = self.s.connect()
        s.sendall(post(b"Content-Length: 29\r\nExpect: 100-continue\r\n", b""))
        self.assertIn(b"100", s.recv(4096))
        s.sendall(BODY)
        self.assertIn(b"200 OK", s.recv(65536))
        s.close()
        reply = self.s.raw(post(b"Content-Length: 4194305\r\nExpect: 100-continue\r\n", b""), 1)
        self.assertEqual(statuses(reply), [413])
        self.assertNotIn(b"100 Continue", reply)

    def test_the_body_limit_is_exact_and_covers_chunks(self):
        pad = 4194304 - len(BODY)
        status, _, _ = self.s.request("POST", "/v1/completions", BODY + b" " * pad)
        self.assertEqual(status, 200)
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        head = post(b"Transfer-Encoding: chunked\r\n", b"")
        s = self.s.connect()
        got = b""
        try:
            s.sendall(head + chunk * 64)
            s.sendall(chunk + b"0\r\n\r\n")
            got = s.recv(4096)
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.assertIn((statuses(got) or [0])[0], (413, 0))
        s.close()
        reply = self.s.raw(head + b"1d\r\n" + BODY + b"\r\n0\r\n\r\n", 1)
        self.assertEqual(statuses(reply), [200])

    def test_a_body_in_single_bytes_is_put_together(self):
        s = self.s.connect()
        for b in post(b"Content-Length: 29\r\n"):
            s.sendall(bytes([b]))
        self.assertIn(b"200 OK", s.recv(65536))
        s.close()


class Deadlines(unittest.TestCase):
    def setUp(self):
        self.s = server("--model", DEMO, "--header-timeout", "1", "--body-timeout", "1",
                        "--idle-timeout", "1")

    def cut(self, start, more):
        """Waits until the server closes a connection that sends a byte now and then."""
        s = self.s.connect()
        end = time.time() + common.Settings.patience(60)
        try:
            s.sendall(start)
            s.settimeout(0.2)
            while True:
                self.assertLess(time.time(), end, "it is still open")
                try:
                    if s.recv(4096) == b"":
                        break
                except socket.timeout:
                    s.sendall(more)
        except (BrokenPipeError, ConnectionResetError):
            pass
        s.close()

    def test_slow_headers_are_cut_however_often_a_byte_comes(self):
        self.cut(b"GET /health HT", b"x")
        self.cut(get()[:-2] + b"X-A: ", b"b")

    def test_a_slow_body_is_cut(self):
        self.cut(post(b"Content-Length: 100000\r\n", b""), b" ")

    def test_silence_is_cut_before_and_between_requests(self):
        self.cut(b"", b"")
        self.cut(get(), b"")

    def test_a_request_that_takes_too_long_is_504(self):
        s = server("--model", DEMO, "--request-timeout", "1")
        t = time.time()
        status, headers, body = s.request("POST", "/v1/completions",
                                          {"prompt": "a", "max_tokens": 1000000, "ignore_eos": True})
        self.assertEqual(status, 504)
        self.assertEqual(json.loads(body)["error"]["code"], "timeout")
        self.assertEqual(headers["x-should-retry"], "false")
        st = common.Stream(s, "/v1/completions", {"prompt": "a", "max_tokens": 1000000,
                                                  "ignore_eos": True, "stream": True})
        for event in st.events():  # a stream that moves may take longer
            self.assertNotIn("error", event)
            if time.time() > t + 4:
                break
        st.close()
        s.wait_idle()

    def test_too_many_connections_are_told(self):
        s = server("--model", DEMO, "--connections", "4")
        held = [s.connect() for _ in range(4)]

        def asked(status):
            got, headers, _ = s.request("GET", "/health")
            return got == status and headers
        self.assertEqual(wait_for(lambda: asked(503))["connection"], "close")
        for h in held:
            h.close()
        wait_for(lambda: asked(200))

    def test_a_burst_of_one_client_is_taken_as_far_as_slots_and_its_share_hold_it(self):
        s = server("--model", DEMO, "--slots", "8", "--queue", "8", "--queue-share", "4")
        body = {"prompt": "a", "max_tokens": 1000000, "ignore_eos": True, "stream": True}
        burst = dict(body, n=12)  # at once: no slot is taken yet when the last of them arrives
        status, _, _ = s.request("POST", "/v1/completions", dict(burst, n=13))
        self.assertEqual(status, 429)
        s.wait_idle()
        st = common.Stream(s, "/v1/completions", burst)
        next(st.events())
        status, _, _ = s.request("POST", "/v1/completions", {"prompt": "a", "max_tokens": 1})
        self.assertEqual(status, 429)
        end = time.time() + common.Settings.patience(20)
        while True:
            m = s.metrics()
            if (m["recurd_requests_running"], m["recurd_requests_waiting"]) == (8, 4):
                break
            self.assertLess(time.time(), end, "not 8 that run and 4 that wait")
            time.sleep(0.05)
        st.reset()
        s.wait_idle()

    def test_a_full_queue_is_429_with_retry_after(self):
        s = server("--model", DEMO, "--slots", "1", "--queue", "1")
        body = {"prompt": "a", "max_tokens": 1000000, "ignore_eos": True, "stream": True}
        first = common.Stream(s, "/v1/completions", body)
        next(first.events())
        second = common.Stream(s, "/v1/completions", body)
        status, headers, reply = s.request("POST", "/v1/completions", {"prompt": "a"})
        self.assertEqual(status, 429)
        self.assertEqual(json.loads(reply)["error"]["type"], "rate_limit_error")
        self.assertTrue(0 < int(headers["retry-after"]) <= 120)
        self.assertEqual(headers["x-should-retry"], "true")
        first.reset()
        second.reset()
        s.wait_idle()


if __name__ == "__main__":
    unittest.main()
