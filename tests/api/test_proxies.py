"""nginx and HAProxy in front, each as etc/proxy has it and in other ways that people set them up:
replies and streams are those of the daemon itself, and a client that leaves is noticed.

Skipped where the proxy is not installed.
"""
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

from common import DEMO, ROOT, Settings, Stream, connect, free_port, server

PROMPT = {"prompt": "Once upon a time", "temperature": 0, "max_tokens": 40, "ignore_eos": True}
LONG = dict(PROMPT, max_tokens=1000000)


def sample(name):
    with open(os.path.join(ROOT, "etc", "proxy", name), encoding="utf-8") as f:
        return f.read()


class Proxy:
    """A proxy before `behind`; for Stream it looks like a server."""

    def __init__(self, behind, config, command):
        self.behind, self.port = behind, free_port()
        self.dir = tempfile.TemporaryDirectory(prefix="recurd-proxy-")
        text = config.replace("127.0.0.1:8080", "127.0.0.1:%d" % behind.port)
        text = re.sub(r"127\.0\.0\.1:809[01]", "127.0.0.1:%d" % self.port, text)
        path = os.path.join(self.dir.name, "proxy.conf")
        self.log = open(os.path.join(self.dir.name, "log"), "w+", encoding="utf-8")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace("@DIR@", self.dir.name))
        self.proc = subprocess.Popen([x.replace("@CONF@", path) for x in command],
                                     stdout=self.log, stderr=self.log, cwd=self.dir.name)
        end = time.time() + Settings.patience(20)
        while True:
            try:
                if self.request("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            if time.time() > end or self.proc.poll() is not None:
                self.close()
                raise AssertionError("it does not answer: " + self.said)
            time.sleep(0.05)

    def close(self):
        self.proc.terminate()  # nginx's workers go with it, which they do not when it is killed
        try:
            self.proc.wait(Settings.patience(20))
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        self.log.seek(0)
        self.said = self.log.read()[-3000:]
        self.log.close()
        self.dir.cleanup()

    def connect(self, timeout=10, room=None):
        return connect(self.port, timeout, room)

    def request(self, method, path, body=None, headers=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=Settings.patience(60))
        try:
            h = dict({"Content-Type": "application/json"} if body else {}, **(headers or {}))
            c.request(method, path, json.dumps(body).encode() if body else None, h)
            r = c.getresponse()
            return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
        finally:
            c.close()


def nginx(behind, config):
    whole = ("worker_processes 1;\n%spid @DIR@/pid;\ndaemon off;\nerror_log stderr;\n"
             "events { worker_connections 256; }\nhttp {\naccess_log off;\n%s\n%s\n}\n" % (
                 "user root;\n" if os.getuid() == 0 else "",
                 "".join("%s_temp_path @DIR@/%s;\n" % (x, x) for x in
                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")), config))
    return Proxy(behind, whole, [shutil.which("nginx"), "-p", ".", "-e", "stderr", "-c", "@CONF@"])


def haproxy(behind, config):
    config = config.replace("maxconn 10000", "maxconn 100")  # what descriptors there are for
    return Proxy(behind, config, [shutil.which("haproxy"), "-f", "@CONF@"])


BARE = "server { listen 127.0.0.1:8090; location / { proxy_pass http://127.0.0.1:8080; %s } }"
# What is in front, and how: (name, program, configuration).
IN_FRONT = [
    ("nginx_as_in_etc", nginx, lambda: sample("nginx.conf")),
    ("nginx_bare_speaks_1_0", nginx, lambda: BARE % ""),
    ("nginx_1_1_and_buffered", nginx, lambda: BARE %
     'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering on;'),
    ("nginx_passes_bodies_as_they_come", nginx, lambda: BARE %
     "proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;"),
    ("nginx_1_0_not_buffered", nginx, lambda: BARE % "proxy_buffering off;"),
    ("haproxy_as_in_etc", haproxy, lambda: sample("haproxy.cfg")),
    ("haproxy_not_buffered", haproxy,
     lambda: sample("haproxy.cfg").replace("option http-buffer-request", "")),
    ("haproxy_closes_after_each", haproxy,
     lambda: sample("haproxy.cfg").replace("http-reuse safe", "option httpclose")),
]


def texts(events):
    return "".join(e["choices"][0]["text"] for e in events if e["choices"])


class Proxies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.s = server("--model", DEMO, "--hosts", "x,localhost,127.0.0.1,llm.example.org")
        cls.whole = cls.s.complete(**PROMPT)["choices"][0]["text"]

    def check(self, p):
        # Whole replies, many on one connection.
        c = http.client.HTTPConnection("127.0.0.1", p.port, timeout=Settings.patience(60))
        for _ in range(3):
            c.request("POST", "/v1/completions", json.dumps(PROMPT),
                      {"Content-Type": "application/json"})
            r = c.getresponse()
            reply = json.loads(r.read())
            self.assertEqual((r.status, reply["choices"][0]["text"]), (200, self.whole))
        c.close()
        # A stream, to its end.
        st = Stream(p, "/v1/completions", dict(PROMPT, stream=True))
        self.assertEqual(st.status, 200)
        self.assertEqual((texts(st.events()), st.done), (self.whole, True))
        st.close()
        # Errors are the daemon's, and can be read; a long body, too.
        status, headers, reply = p.request("POST", "/v1/completions", dict(PROMPT, top_p=7))
        self.assertEqual((status, json.loads(reply)["error"]["param"]), (400, "top_p"))
        self.assertTrue(headers["x-request-id"])
        status, _, reply = p.request("POST", "/tokenize", {"prompt": "a " * 100000})
        self.assertEqual((status, json.loads(reply)["count"] > 10000), (200, True))
        # Tokens come while it runs, and a client that leaves is noticed.
        st = Stream(p, "/v1/completions", dict(LONG, stream=True))
        events = st.events()
        for _ in range(3):
            next(events)
        self.assertGreaterEqual(self.s.metrics()["recurd_http_generations"], 1)
        st.reset()
        end = time.time() + Settings.patience(20)
        while self.s.metrics()["recurd_http_generations"]:
            self.assertLess(time.time(), end, "the daemon did not hear that the client left")
            time.sleep(0.05)


class OneZero(unittest.TestCase):
    """Clients that speak HTTP/1.0 themselves, straight and through a proxy."""

    def stream(self, port):
        body = json.dumps(dict(PROMPT, stream=True)).encode()
        s = socket.create_connection(("127.0.0.1", port), Settings.patience(30))
        s.sendall(b"POST /v1/completions HTTP/1.0\r\nHost: localhost\r\n"
                  b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        got = b""
        while True:
            piece = s.recv(65536)
            if not piece:
                break
            got += piece
        s.close()
        head, data = got.split(b"\r\n\r\n", 1)
        self.assertIn(b" 200 ", head.split(b"\r\n")[0])
        self.assertNotIn(b"chunked", head.lower())
        events = [f[6:] for f in data.decode().split("\n\n") if f.startswith("data: ")]
        self.assertEqual(events[-1], "[DONE]")
        return texts(json.loads(e) for e in events[:-1])

    def test_streams_end_with_the_connection(self):
        s = server("--model", DEMO, "--hosts", "x,localhost,127.0.0.1,llm.example.org")
        whole = s.complete(**PROMPT)["choices"][0]["text"]
        self.assertEqual(self.stream(s.port), whole)
        for name, program, config in IN_FRONT[:2] + IN_FRONT[5:6]:
            if not shutil.which(program.__name__):
                continue
            p = program(s, config())
            try:
                self.assertEqual(self.stream(p.port), whole, name)
            finally:
                p.close()


def add(name, program, config):
    def test(self):
        if not shutil.which(program.__name__):
            self.skipTest("%s is not installed" % program.__name__)
        p = program(self.s, config())
        try:
            self.check(p)
        finally:
            p.close()
    setattr(Proxies, "test_" + name, test)


for row in IN_FRONT:
    add(*row)
