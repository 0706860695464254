"""Restarts behind the socket unit while clients connect in a loop: nobody is refused.

The listening socket is held here as the service manager holds it, with the unit's own backlog.
"""
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

from common import DEMO, ROOT, command

CLIENTS = 8
BODY = b'{"prompt":"Once","max_tokens":2}'
GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
POST = (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY)) + BODY


def unit_value(name):
    with open(os.path.join(ROOT, "systemd", "recurd.socket")) as f:
        return re.search(r"^%s=(.*)$" % name, f.read(), re.M).group(1)


class Clients:
    def __init__(self, address):
        self.address, self.done = address, threading.Event()
        self.answers, self.slowest, self.faults = 0, 0.0, []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.loop, args=(i,)) for i in range(CLIENTS)]
        for t in self.threads:
            t.start()

    def ask(self, request):
        """-> the whole reply of one connection"""
        with socket.create_connection(self.address, timeout=120) as s:
            s.sendall(request)
            got = b""
            while True:
                piece = s.recv(65536)
                if not piece:
                    return got
                got += piece

    def loop(self, i):
        while not self.done.is_set():
            t = time.time()
            try:
                got = self.ask(POST if i % 2 else GET)
                fault = None if got.startswith(b"HTTP/1.1 200 ") else repr(got[:200])
            except OSError as e:
                fault = "%s: %s" % (type(e).__name__, e)
            with self.lock:
                self.answers += fault is None
                self.slowest = max(self.slowest, time.time() - t)
                if fault:
                    self.faults.append(fault)

    def stop(self):
        self.done.set()
        for t in self.threads:
            t.join()


def start(listener, log):
    script = 'exec 3<&%d; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"' % listener.fileno()
    return subprocess.Popen(["bash", "-c", script, "sh"] + command(["--model", DEMO, "--drain", "30"]),
                            stdout=log, stderr=log, pass_fds=[listener.fileno()])


def run(rounds, say):
    listener, log = socket.socket(), tempfile.TemporaryFile()
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, unit_value("NoDelay") == "yes")
    listener.bind(("127.0.0.1", 0))
    listener.listen(int(unit_value("Backlog")))
    p = start(listener, log)
    c = Clients(listener.getsockname())
    code = n = 0
    try:
        for n in range(1, rounds + 1):
            before, end = c.answers, time.time() + 120
            while c.answers < before + 20 and time.time() < end and not c.faults:
                time.sleep(0.02)
            p.send_signal(signal.SIGTERM)
            code = p.wait(120)
            if code or c.faults or time.time() > end:
                break
            p = start(listener, log)
            say("%d restarts, %d clients in a loop: %d answers, %d refused, cut or answered by an "
                "error, longest wait %.2f s" % (n, CLIENTS, c.answers, len(c.faults), c.slowest))
    finally:
        c.done.set()
        if p.poll() is not None:
            p = start(listener, log)  # whoever still waits is answered
        c.stop()
        p.terminate()
        code = p.wait(120) or code
        listener.close()
    if code or c.faults:
        return False, "restart %d: exit code %s, %d faults: %s" % (n, code, len(c.faults),
                                                                   c.faults[:5])
    return True, None
