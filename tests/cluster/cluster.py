"""The cluster under test: three replicas, a store with a mirror of it, HAProxy as etc/proxy has it,
and one server alone whose answers are the right ones. Each is a host of its own."""
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import sys
import time

import hosts
from hosts import WORLD, Patience, Process, Switch, wait_for

sys.path.insert(0, os.path.join(os.path.dirname(hosts.HERE), "api"))
from common import DEMO7, ROOT, Settings  # noqa: E402

REPLICAS = ("one", "two", "three")
PORT, AGENT_PORT, STORE_PORT = 8080, 8180, 6379
KEYS = ["key%d" % i for i in range(8)]


def secret(name):
    return name + "-0123456789abcdef"


def file_of(name, text, mode=0o600):
    path = os.path.join(WORLD, name)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as f:
        f.write(text)
    return path


class Replica:
    """A daemon: started, killed and started again with its state folder. One thread at a time."""

    def __init__(self, host, args, prefix=()):
        self.host, self.name, self.args = host, host.name, args
        self.process = Process(host, None, prefix)
        self.ended = []  # exit codes that nobody asked for
        self.program = None

    def command(self, program):
        return [program, "--listen", "%s:%d" % (self.host.address, PORT), "--replica", self.name,
                "--agent-listen", "%s:%d" % (self.host.address, AGENT_PORT)] + self.args

    def start(self, program=None, wait=True):
        self.program = program or Settings.recurd
        self.process.start(self.command(self.program))
        if wait:
            wait_for(self.ready, "%s is ready: %s" % (self.name, self.process.text()[-2000:]))

    def ready(self):
        if self.process.proc.poll() is not None:
            raise RuntimeError("%s ended with %s: %s" % (self.name, self.process.proc.returncode,
                                                         self.process.text()[-3000:]))
        try:
            return self.request("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def kill(self):
        code = self.process.kill()
        if code is not None:
            self.ended.append(code)

    def stop(self):
        """Ends it gently; what is not 0 is a fault."""
        code = self.process.stop()
        if code:
            self.ended.append(code)

    def request(self, method, path, body=None, key="key0"):
        return request(self.host.address, PORT, method, path, body, key)

    def metrics(self):
        text = self.request("GET", "/metrics", key="watch")[2].decode()
        return {m[0]: float(m[1]) for m in re.findall(r"^(recurd_\w+(?:{[^}]*})?) (\S+)$", text, re.M)}


def request(address, port, method, path, body=None, key="key0"):
    """-> (status, headers by lower-case name, bytes), on a connection of its own"""
    c = http.client.HTTPConnection(address, port, timeout=Patience.event)
    try:
        data = json.dumps(body).encode() if body is not None else None
        head = {"Authorization": "Bearer " + secret(key), "Content-Type": "application/json"}
        c.request(method, path, data, head)
        r = c.getresponse()
        return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
    finally:
        c.close()


class Store:
    """A redis-server. The first keeps what it has acknowledged through a kill; a mirror copies it."""

    def __init__(self, host, of=None):
        self.host = host
        self.folder = folder = os.path.join(WORLD, host.name)
        os.makedirs(folder)
        self.process = Process(host, [
            "redis-server", "--bind", host.address, "--port", str(STORE_PORT), "--save", "", "--dir",
            folder, "--protected-mode", "no", "--appendonly", "yes", "--appendfsync", "always",
            "--repl-diskless-sync-delay", "0"] + (
                ["--replicaof", of.address, str(STORE_PORT)] if of else []))

    def start(self, wait=True):
        self.process.start()
        if wait:
            wait_for(self.alive, self.host.name)

    def forget(self):
        """Its disk is another one."""
        shutil.rmtree(self.folder)
        os.makedirs(self.folder)

    def alive(self):
        try:
            return self.say("PING") == b"PONG"
        except OSError:
            return False

    def say(self, *words):
        """One command -> its reply: bytes, a number, or a list of them."""
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        with socket.create_connection((self.host.address, STORE_PORT), Patience.event) as s:
            s.sendall(b"*%d\r\n" % len(words) +
                      b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            with s.makefile("rb") as f:
                return self._reply(f)

    def _reply(self, f):
        line = f.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("the store closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else f.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self._reply(f) for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest


class Balancer:
    """HAProxy with etc/proxy/haproxy-replicas.cfg, in which only addresses are other ones."""

    def __init__(self, host, replicas):
        self.host = host
        with open(os.path.join(ROOT, "etc", "proxy", "haproxy-replicas.cfg"), encoding="utf-8") as f:
            text = f.read()
        text = self._swap(text, "bind 127.0.0.1:8091", "bind %s:%d" % (host.address, PORT))
        for port, name in zip((8080, 8082, 8083), replicas):
            address = replicas[name].host.address
            text = self._swap(text, "127.0.0.1:%d agent-addr 127.0.0.1 agent-port %d" % (
                port, port + 100), "%s:%d agent-addr %s agent-port %d" % (address, PORT, address,
                                                                        AGENT_PORT))
        self.note = ""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if hard < 20100:
            text = self._swap(text, "maxconn 10000", "maxconn %d" % (hard // 2 - 100))
            self.note = " and maxconn %d, what descriptors there are for" % (hard // 2 - 100)
        self.control = os.path.join(WORLD, "haproxy.sock")
        self.process = Process(host, [
            "haproxy", "-f", file_of("haproxy.cfg", text), "-f", file_of(
                "control.cfg", "global\n    stats socket %s level admin\n" % self.control)])

    @staticmethod
    def _swap(text, old, new):
        assert text.count(old) == 1, "haproxy-replicas.cfg has another line than: " + old
        return text.replace(old, new)

    def start(self, wait=True):
        self.process.start()
        if wait:
            wait_for(lambda: self.serving() >= 1, "HAProxy serves: " + self.process.text()[-1000:])

    def serving(self):
        """How many replicas are up, as it sees them."""
        try:
            lines = self.tell("show stat").splitlines()
        except OSError:
            return 0
        rows = [x.split(",") for x in lines]
        return sum(len(r) > 17 and r[0] == "replicas" and r[1] in REPLICAS and
                   r[17].startswith("UP") for r in rows)

    def tell(self, words):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(Patience.event)
            s.connect(self.control)
            s.sendall(words.encode() + b"\n")
            got = b""
            while True:
                piece = s.recv(65536)
                if not piece:
                    return got.decode()
                got += piece


class Cluster:
    """All of it, started. Options go to every replica; shares: what `share` gives to each."""

    def __init__(self, *options, share=None, alone=True, next_build=None):
        self.next_build = next_build  # a program with other numerics, which a restart may take
        self.switch = s = Switch(REPLICAS + ("store", "mirror", "balancer", "alone"))
        self.store = Store(s["store"])
        self.mirror = Store(s["mirror"], of=s["store"])
        keys = file_of("api-keys", "".join("%s %s requests=64 sessions=2000\n" % (k, secret(k))
                                           for k in KEYS) + "watch %s metrics\n" % secret("watch"))
        common = ["-m", DEMO7, "--api-keys", keys, "--slots", "16", "--log-level", "info"]
        own = common + ["--state-key", file_of("state-key", "k" * 32), "--shared",
                        "redis://%s:%d" % (s["store"].address, STORE_PORT)] + list(options)
        self.replicas = {}
        for n in REPLICAS:
            folder = ["--state-dir", os.path.join(WORLD, n), "--state-disk", "1000"]
            self.replicas[n] = Replica(s[n], own + folder,
                                       share.prefix(n) if share else ())
        self.alone = Replica(s["alone"], common + ["--state-memory", "0"]) if alone else None
        self.balancer = Balancer(s["balancer"], self.replicas)
        for part in [self.store, self.mirror] + list(self.replicas.values()):
            part.start(wait=False)
        wait_for(self.store.alive, "the store")
        wait_for(lambda: self.mirror.alive() and b"link_status:up" in self.mirror.say("INFO"),
                 "the mirror of the store")
        for r in self.replicas.values():
            wait_for(r.ready, r.name)
        if self.alone:
            self.alone.start()
        self.balancer.start()

    def whole(self):
        """Until all is as it should be, after whatever was done to it."""
        for r in self.replicas.values():
            if r.program != Settings.recurd:
                r.stop()
                r.start()
        wait_for(lambda: self.balancer.serving() == 3, "three replicas behind HAProxy")
        wait_for(self.connected, "every replica uses the store")

    def described(self):
        """What a fault is read with: who was up, and with which store."""
        lines = [x.split(",") for x in self.balancer.tell("show stat").splitlines()]
        seen = ", ".join("%s %s" % (r[1], r[17]) for r in lines if r[0] == "replicas")
        said = [n + ": " + line for n, r in self.replicas.items()
                for line in r.process.text().splitlines()
                if re.search(r"\b(warn|error)\b", line) and "shared store" not in line]
        return "HAProxy sees: %s; the store is up for: %s; last warnings: %s" % (seen, ", ".join(
            n for n, r in self.replicas.items() if r.metrics()["recurd_shared_up"]), said[-12:])

    def connected(self):
        """Every replica asks the store, and waits for what it says."""
        seen = [r.metrics() for r in self.replicas.values()]
        return all(m["recurd_shared_up"] and m["recurd_shared_waited_for"] for m in seen)

    def total(self, name):
        return sum(r.metrics()[name] for r in self.replicas.values())

    def settled(self):
        """Nothing is left that is to be put into the store."""
        wait_for(lambda: self.total("recurd_shared_pending") == 0, "all is put into the store")

    def close(self):
        """-> sentences about what ended as it should not have."""
        self.balancer.process.stop()
        ends = []
        for r in list(self.replicas.values()) + ([self.alone] if self.alone else []):
            r.stop()
            for code in r.ended:
                ends.append("%s ended with %d: %s" % (r.name, code, r.process.text()[-2000:]))
        for store in (self.store, self.mirror):
            store.process.signal(signal.SIGCONT)
            store.process.kill()
        self.switch.close()
        for name in os.listdir(WORLD):
            path = os.path.join(WORLD, name)
            (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)
        return ends
