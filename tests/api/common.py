"""What every API test shares: the daemon under test, HTTP by raw sockets and http.client, SSE.

Python's standard library only. Servers are started on a free port when first asked for, kept
for all tests that want the same flags, and stopped by stop_all(), which reports every exit code
that is not 0 (a sanitizer's or valgrind's finding is one).
"""
import fcntl
import http.client
import json
import os
import random
import re
import socket
import subprocess
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEMO = os.path.join(ROOT, "models", "demo", "gated-deltanet")
DEMO7 = os.path.join(ROOT, "models", "demo", "rwkv7")


# How long a server waits for others, in seconds: ten times what it does by default. Where a test
# says nothing of one, no clock that it is not about runs out, on a slow build or beside company.
CLOCKS = {"--header-timeout": 100, "--body-timeout": 600, "--stall-timeout": 300,
          "--request-timeout": 3600,
          "--drain": 30}  # as by default: it waits for streams that a failed test left open
CLOCK_MOST = 3600  # what the flags take


class Settings:
    recurd = os.path.join(ROOT, "build", "recurd")
    valgrind = False
    slow = False  # valgrind or a sanitizer: fewer rounds, longer waits
    device = None  # of servers that do not ask for one: the same tests on any device

    @classmethod
    def kernels(cls):
        """Where a device's built kernels are kept between servers."""
        folder = os.path.join(os.path.dirname(cls.recurd), "test", "kernels")
        os.makedirs(folder, exist_ok=True)
        return folder

    @classmethod
    def rounds(cls, n):
        return max(4, n // 10) if cls.slow else n

    @classmethod
    def patience(cls, seconds):
        return seconds * (20 if cls.valgrind else 5 if cls.slow else 1)


def command(args):
    if not Settings.valgrind:
        return [Settings.recurd] + args
    return ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full",
            "--errors-for-leak-kinds=definite", "--num-callers=25", Settings.recurd] + args


def free_port():
    """Not one of those that the system gives to whoever asks for any, before it is used."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
        low = int(f.read().split()[0])
    while True:
        with socket.socket() as s:
            port = random.randrange(max(1024, low - 10000), max(2048, low))
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def stacks(pid):
    """Where a process's threads are: by gdb, else what the system says each waits for."""
    try:
        return subprocess.run(["gdb", "-p", str(pid), "-batch", "-ex", "thread apply all bt"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
                              timeout=Settings.patience(60)).stdout[-20000:]
    except (OSError, subprocess.SubprocessError) as e:
        lines = ["(no stacks: %s)" % e]
    for tid in sorted(os.listdir("/proc/%d/task" % pid), key=int):
        said = []
        for name in ("comm", "wchan", "syscall"):
            try:
                with open("/proc/%d/task/%s/%s" % (pid, tid, name), encoding="ascii") as f:
                    said.append(f.read().strip())
            except OSError as e:
                said.append(e.strerror)
        lines.append("thread %s: %s" % (tid, ", ".join(said)))
    return "\n".join(lines)


def wait_for(what, seconds=60, every=0.02):
    """Until what() is true; returns it. Else fails, saying what."""
    end = time.time() + Settings.patience(seconds)
    while True:
        got = what()
        if got:
            return got
        assert time.time() < end, "it did not happen: " + (what.__doc__ or what.__name__)
        time.sleep(every)


def connect(port, timeout=10, room=None):
    """room: bytes that may wait here to be read."""
    s = socket.socket()
    try:
        if room:  # before it connects: the window is agreed then
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        s.settimeout(Settings.patience(timeout))
        s.connect(("127.0.0.1", port))
    except OSError:
        s.close()
        raise
    return s


class Server:
    def __init__(self, args, env=None, pass_fds=()):
        # Appended to: reading moves the offset that the server's writes share.
        self.log = tempfile.TemporaryFile(mode="w+b")
        fcntl.fcntl(self.log, fcntl.F_SETFL, os.O_RDWR | os.O_APPEND)
        flags = list(args)
        if "--listen" not in flags:
            flags += ["--listen", "127.0.0.1:0"]
        if "--hosts" not in flags:
            flags += ["--hosts", "x"]  # what raw requests here say
        if Settings.device and "--device" not in flags:
            flags += ["--device", Settings.device]
            if "--cache-dir" not in flags:
                flags += ["--cache-dir", Settings.kernels()]
        for flag, seconds in CLOCKS.items():
            if flag not in flags:
                flags += [flag, str(min(Settings.patience(seconds), CLOCK_MOST))]
        self.args = flags
        full = dict(os.environ, **(env or {}))
        full.pop("NOTIFY_SOCKET", None) if not env else None
        self.proc = subprocess.Popen(command(flags), stdout=self.log, stderr=self.log, env=full,
                                     pass_fds=pass_fds)
        self.port = self._wait_for_port()

    def text(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    def _wait_for_port(self):
        end = time.time() + Settings.patience(120)  # PoCL compiles, on a machine with company
        while time.time() < end:
            line = re.search(r"serving \S+ on (.*)\n", self.text())  # the whole line
            if line:
                found = re.match(r"http://[^ ]*:(\d+);", line.group(1))
                return int(found.group(1)) if found else 0  # a Unix socket
            if self.proc.poll() is not None:
                break
            time.sleep(0.02)
        self.proc.kill()  # nobody else knows of it
        self.proc.wait()
        raise AssertionError("the server did not start: " + self.text())

    def stop(self, sig=15, timeout=60):
        if self.proc.poll() is None:
            self.proc.send_signal(sig)
        try:
            return self.proc.wait(Settings.patience(timeout))
        except subprocess.TimeoutExpired:
            where = stacks(self.proc.pid)
            self.proc.kill()
            self.proc.wait()
            raise AssertionError("recurd %s did not end within %d s of signal %d:\n%s\n%s" % (
                " ".join(self.args), Settings.patience(timeout), sig, self.text()[-4000:],
                where)) from None

    # ---- requests ----

    def connection(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port,
                                          timeout=Settings.patience(timeout))

    def request(self, method, path, body=None, headers=None):
        """-> (status, headers by lower-case name, bytes)"""
        c = self.connection()
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body).encode()
            h = dict(headers or {})
            if body is not None and "Content-Type" not in h:
                h["Content-Type"] = "application/json"
            c.request(method, path, body=body, headers=h)
            r = c.getresponse()
            return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
        finally:
            c.close()

    def get(self, path):
        status, _, body = self.request("GET", path)
        return status, json.loads(body)

    def post(self, path, body, expect=200):
        status, _, data = self.request("POST", path, body)
        reply = json.loads(data)
        assert status == expect, "status %d, expected %d: %s" % (status, expect, data[:600])
        return reply

    def complete(self, prompt, expect=200, **fields):
        return self.post("/v1/completions", dict(fields, prompt=prompt), expect)

    def chat(self, text, expect=200, **fields):
        messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
        return self.post("/v1/chat/completions", dict(fields, messages=messages), expect)

    def stream(self, path, body, **kw):
        return Stream(self, path, body, **kw)

    def raw(self, data, replies=None, half_close=False):
        """What the server answers to these bytes: until it closes, or so many replies are whole."""
        s = self.connect(60)
        try:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            got = b""
            try:
                while replies is None or whole_replies(got) < replies:
                    piece = s.recv(65536)
                    if not piece:
                        break
                    got += piece
            except ConnectionResetError:
                pass
            return got
        except socket.timeout:
            raise AssertionError("silence, and the connection is open, after %r" % got) from None
        finally:
            s.close()

    def connect(self, timeout=10, room=None):
        return connect(self.port, timeout, room)

    def metrics(self):
        _, _, body = self.request("GET", "/metrics")
        values = {}
        for line in body.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def processor_time(self, path, body):
        """-> seconds of processors that a POST took, while there is no other; its status"""
        before = self.metrics()["process_cpu_seconds_total"]
        status, _, _ = self.request("POST", path, body)
        return self.metrics()["process_cpu_seconds_total"] - before, status

    def wait_idle(self, seconds=60):
        """Until nothing is left of earlier requests; returns the metrics, or fails."""
        end = time.time() + Settings.patience(seconds)
        while True:
            m = self.metrics()
            busy = {k: m[k] for k in ("recurd_slots_used", "recurd_requests_running",
                                      "recurd_requests_waiting", "recurd_http_generations",
                                      "recurd_http_suspended") if m[k]}
            if m["recurd_http_connections"] > 1:
                busy["connections"] = m["recurd_http_connections"]
            if not busy:
                return m
            assert time.time() < end, "left behind: %s" % busy
            time.sleep(0.05)

    def wait_written(self):
        """Until nothing runs, and all that is to be on disk of what was answered is there."""
        self.wait_idle()
        wait_for(lambda: self.metrics()["recurd_cache_pending"] == 0)

    def kill(self):
        """With SIGKILL."""
        self.proc.kill()
        self.proc.wait()


def whole_replies(data):
    """How many HTTP replies with a Content-Length these bytes have, each of them whole."""
    n = 0
    while b"\r\n\r\n" in data:
        head, data = data.split(b"\r\n\r\n", 1)
        if b" 100 " in head.split(b"\r\n")[0]:
            continue
        length = int(re.search(rb"(?mi)^content-length: *(\d+)", head).group(1))
        if len(data) < length:
            break
        data = data[length:]
        n += 1
    return n


class Stream:
    """One SSE reply over a raw socket: the bytes as they come, dechunked and split."""

    def __init__(self, server, path, body, headers="", timeout=60, room=None):
        self.sock = server.connect(timeout, room)
        data = json.dumps(body).encode()
        self.sock.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                          b"Content-Length: %d\r\n%s\r\n" % (path.encode(), len(data),
                                                             headers.encode()) + data)
        self.file = self.sock.makefile("rb")
        line = self.file.readline().split(b" ", 2)
        self.status = int(line[1])
        self.headers = {}
        while True:
            h = self.file.readline().rstrip(b"\r\n")
            if not h:
                break
            k, v = h.split(b":", 1)
            self.headers[k.decode().lower()] = v.strip().decode()

    def chunks(self):
        """The raw HTTP chunks; stops after the last, fails when it is missing."""
        while True:
            size = int(self.file.readline(), 16)
            data = self.file.read(size)
            assert self.file.read(2) == b"\r\n"
            if size == 0:
                return
            yield data

    def frames(self):
        """The frames as text: 'data: …' or ': …', without the blank line."""
        rest = b""
        for chunk in self.chunks():
            rest += chunk
            while b"\n\n" in rest:
                frame, rest = rest.split(b"\n\n", 1)
                yield frame.decode("utf-8")  # strict: every frame is valid UTF-8
        assert rest == b"", "a frame without its end: %r" % rest

    def events(self):
        """The parsed JSON of every data frame; checks that [DONE] is the last."""
        done = False
        for frame in self.frames():
            if frame.startswith(":"):
                continue
            assert not done, "a frame after [DONE]: " + frame
            assert frame.startswith("data: ") and "\n" not in frame, frame
            if frame == "data: [DONE]":
                done = True
                continue
            yield json.loads(frame[6:])
        self.done = done

    def close(self):
        self.file.close()
        self.sock.close()

    def reset(self):
        """Closes with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.file.close()
        self.sock.close()


_servers = {}
_lock = threading.Lock()


def server(*args):
    """A shared server with these flags."""
    with _lock:
        s = _servers.get(args)
        if s is None or s.proc.poll() is not None:
            s = _servers[args] = Server(args)
        return s


def stop_all():
    """Stops every shared server; returns sentences about those that ended badly."""
    faults = []
    for args, s in _servers.items():
        code = s.proc.poll()
        if code is not None:
            faults.append("recurd %s ended by itself with %d:\n%s" % (" ".join(args), code,
                                                                      s.text()[-4000:]))
            continue
        try:
            code = s.stop()
        except AssertionError as e:
            faults.append(str(e))
            continue
        if code != 0:
            faults.append("recurd %s: exit code %d:\n%s" % (" ".join(args), code,
                                                            s.text()[-8000:]))
    _servers.clear()
    return faults


def expected(model):
    with open(os.path.join(model, "expected.json"), encoding="utf-8") as f:
        return json.load(f)["prompts"]


def in_threads(jobs):
    """Runs the callables at once; returns their results, or raises the first failure."""
    results, failures = [None] * len(jobs), []

    def run(i):
        try:
            results[i] = jobs[i]()
        except BaseException as e:  # handed to the caller below
            failures.append(e)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(jobs))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]
    return results
