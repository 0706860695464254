"""Replicas that share states through a Redis store: every answer is that of one server alone,
whatever the store does. Needs redis-server (skipped, with a line, where there is none)."""
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import common

LONG = " ".join("word%d and another thing, said once." % i for i in range(40))


class Redis:
    """A redis-server of our own on a Unix socket, or a port; nothing of it outlives stop()."""

    def __init__(self, *args, port=None):
        self.dir = tempfile.mkdtemp(prefix="recurd-redis-")
        self.path = os.path.join(self.dir, "s")
        self.args = ["redis-server", "--port", str(port or 0), "--unixsocket", self.path,
                     "--save", "", "--appendonly", "no", "--dir", self.dir] + list(args)
        self.proc = None
        self.start()

    def start(self):
        self.proc = subprocess.Popen(self.args, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
        wait_for(lambda: self.alive(), "redis-server")

    def alive(self):
        try:
            return self.say("PING")[:1] in (b"+", b"-")
        except OSError:
            return False

    def url(self):
        return "redis+unix://" + self.path

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(common.Settings.patience(20))
        s.connect(self.path)
        return s

    def say(self, *words):
        """One command, the bytes of its reply (whole only if it is short)."""
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        with self.connect() as s:
            s.sendall(b"*%d\r\n" % len(words) +
                      b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            return s.recv(1 << 16)

    def keys(self):
        with self.connect() as s:
            f = s.makefile("rb")
            s.sendall(b"KEYS *\r\n")
            n = int(f.readline()[1:])
            out = []
            for _ in range(n):
                f.readline()
                out.append(f.readline().strip())
            return out

    def kill(self):
        if self.proc:
            self.proc.kill()
            self.proc.wait()
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.proc = None

    def stop(self):
        self.kill()
        shutil.rmtree(self.dir)


class Relay:
    """Between a replica and the store: what the store says is handed on `late` seconds later."""

    def __init__(self, redis):
        self.redis, self.late = redis, 0.0
        self.path = os.path.join(redis.dir, "relay")
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen(16)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                one = self.socket.accept()[0]
                other = self.redis.connect()
            except OSError:
                return  # closed
            other.settimeout(None)
            for ends in ((one, other, False), (other, one, True)):
                threading.Thread(target=self.hand_on, args=ends, daemon=True).start()

    def hand_on(self, one, other, late):
        try:
            while data := one.recv(65536):
                if late:
                    time.sleep(self.late)
                other.sendall(data)
            other.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # either end is gone

    def close(self):
        self.socket.close()


def wait_for(true, what, seconds=30):
    end = time.time() + common.Settings.patience(seconds)
    while not true():
        assert time.time() < end, "not in time: " + what
        time.sleep(0.05)


def key_file(folder, byte=b"k"):
    path = os.path.join(folder, "key-" + byte.decode())
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
        f.write(byte * 32)
    return path


def replica(redis, folder, *more, key=b"k", url=None, env=None):
    """Its requests wait as long as may be: what the store has is found, however slow the machine."""
    return common.Server(["-m", common.DEMO7, "--shared", url or redis.url(), "--state-key",
                          key_file(folder, key), "--shared-wait-ms", "10000"] + list(more), env=env)


def metric(server, name):
    text = server.request("GET", "/metrics")[2].decode()
    return float(re.search(r"^recurd_shared_%s (\S+)$" % name, text, re.M).group(1))


def up(server, wanted=1, waits=True):
    """It is in use, and requests wait for it; or, with 0, it is away."""
    wait_for(lambda: metric(server, "up") == wanted, "shared_up %d" % wanted, 60)
    if wanted and waits:
        wait_for(lambda: metric(server, "waited_for") == 1, "shared_waited_for 1", 60)


def settled(server):
    """All that the server took is put, or left out."""
    server.wait_idle()
    wait_for(lambda: metric(server, "pending") == 0, "all states are put", 60)
    assert metric(server, "writes_total") > 0


def no_errors(*servers):
    """The store failed in nothing but time: an answer may take two seconds, and a busy machine's
    does."""
    for s in servers:
        told = [x for x in s.text().splitlines() if "shared store" in x and
                ("recurd_shared_errors_total" in x or "goes on without it" in x)]
        late = [x for x in told if re.search("in time|not waited for|late|[Tt]imed? ?out", x)]
        assert metric(s, "errors_total") == 0 or told and told == late, s.text()


def ask(server, prompt, n=12):
    """-> what must be equal, and how many tokens came from the cache"""
    reply = server.post("/v1/completions", {"prompt": prompt, "max_tokens": n, "seed": 7,
                                            "temperature": 0.8, "logprobs": 3})
    choice = reply["choices"][0]
    return (choice["text"], choice["logprobs"], choice["finish_reason"]), \
        reply["usage"]["prompt_tokens_details"]["cached_tokens"]


class Rig:
    def __init__(self, *args, **named):
        self.folder = tempfile.mkdtemp(prefix="recurd-shared-")
        self.redis = Redis(*args, **named)
        self.servers = []
        self.alone = common.Server(["-m", common.DEMO7, "--state-memory", "0"])

    def __enter__(self):
        return self

    def replica(self, *more, **named):
        s = replica(self.redis, self.folder, *more, **named)
        self.servers.append(s)
        return s

    def __exit__(self, *_):
        codes = [s.stop() for s in self.servers + [self.alone] if s]
        self.redis.stop()
        shutil.rmtree(self.folder)
        assert all(c == 0 for c in codes), codes

    def same(self, server, prompt, n=12):
        seen, cached = ask(server, prompt, n)
        wanted, _ = ask(self.alone, prompt, n)
        assert seen == wanted, (seen, wanted)
        return cached


needs_redis = unittest.skipUnless(shutil.which("redis-server"),
                                  "there is no redis-server (apt-get install redis-server)")


class Shared(unittest.TestCase):
    @needs_redis
    def test_another_replica_goes_on(self):
        """What one replica computed the others find, to the bit; chats too; names say nothing."""
        with Rig() as r:
            a, b, c = r.replica(), r.replica(), r.replica()
            for s in (a, b, c):
                up(s)
            assert r.same(a, LONG) == 0
            settled(a)
            whole = r.same(b, LONG)
            assert whole > 200, whole
            assert r.same(c, LONG + " Then it went on in another way.") >= whole - 1
            assert metric(b, "hits_total") >= 1 and metric(c, "hits_total") >= 1
            chat = {"messages": [{"role": "system", "content": LONG},
                                 {"role": "user", "content": "Tell a story."}],
                    "max_tokens": 16, "seed": 3, "logprobs": True}
            want = r.alone.post("/v1/chat/completions", chat)["choices"]
            first = a.post("/v1/chat/completions", chat)
            settled(a)
            second = b.post("/v1/chat/completions", chat)
            assert first["choices"] == want and second["choices"] == want
            assert second["usage"]["prompt_tokens_details"]["cached_tokens"] > 200
            text = b"".join(r.redis.keys())
            assert text and re.fullmatch(rb"(recurd:[sci]:[0-9a-f]+)+", text), text[:200]
            no_errors(a)

    @needs_redis
    def test_others_see_nothing(self):
        """Another state-key, another model: nothing is found, and nothing of it is an error."""
        with Rig() as r:
            a, other = r.replica(), r.replica(key=b"o")
            model = r.replica("-m", common.DEMO)
            up(a), up(other), up(model)
            r.same(a, LONG)
            settled(a)
            assert r.same(other, LONG) == 0
            assert ask(model, LONG)[1] == 0
            for s in (other, model):
                assert metric(s, "hits_total") == 0
                no_errors(s)

    @needs_redis
    def test_another_arithmetic_sees_nothing(self):
        """As while replicas are upgraded: float32 and int16 of the same quantised weights."""
        q8 = ("--device", "cpu", "--quantize", "q8", "--kernels")
        with Rig() as r:
            old, new, again = (r.replica(*q8, kernels) for kernels in
                               ("float32", "int16,float32", "int16,float32"))
            for s in (old, new, again):
                up(s)
            ask(old, LONG)
            settled(old)
            answer, cached = ask(new, LONG)
            assert cached == 0 and metric(new, "hits_total") == 0
            settled(new)
            same, cached = ask(again, LONG)
            assert same == answer and cached > 200, cached
            no_errors(old, new, again)

    @needs_redis
    def test_garbage_is_never_answered_from(self):
        """Every value of the store is garbage, cut, or another's: the answers stay, errors count."""
        with Rig() as r:
            a = r.replica()
            up(a)
            r.same(a, LONG)
            settled(a)
            keys = r.redis.keys()
            manifests = [k for k in keys if k.startswith(b"recurd:s:")]
            chunks = [k for k in keys if k.startswith(b"recurd:c:")]
            assert len(manifests) >= 1 and len(chunks) >= 1
            for k in chunks:  # cut, or gone
                r.redis.say("SETRANGE", k, 100, "garbage") if k != chunks[0] else r.redis.say("DEL", k)
            b = r.replica()
            up(b)
            r.same(b, LONG)
            assert metric(b, "hits_total") == 0
            settled(b)  # it put them again, whole
            for k in manifests:
                r.redis.say("SET", k, "x" * 900)
            c = r.replica()
            up(c)
            assert r.same(c, LONG) == 0
            assert metric(c, "errors_total") >= 1 and "seal does not match" in c.text()
            settled(c)
            d = r.replica()
            up(d)
            assert r.same(d, LONG) > 200
            for k in r.redis.keys():  # another type altogether
                r.redis.say("DEL", k)
                r.redis.say("LPUSH", k, "x")
            e = r.replica()
            up(e)
            assert r.same(e, LONG) == 0
            r.redis.say("FLUSHALL")
            assert r.same(e, LONG + " after the flood") >= 0

    @needs_redis
    def test_dead_store_heals(self):
        """Killed and back: answers go on, one line each way, and what comes next is shared again."""
        with Rig() as r:
            a, b = r.replica(), r.replica()
            up(a), up(b)
            r.redis.kill()
            r.same(a, LONG)
            up(a, 0)
            r.same(b, "A prompt while it is dead: " + LONG)
            r.redis.start()
            up(a), up(b)
            r.same(a, "It is back. " + LONG)
            settled(a)
            assert r.same(b, "It is back. " + LONG) > 200
            assert len(re.findall("serving goes on without it", a.text())) == 1, a.text()

    @needs_redis
    def test_silent_store_costs_one_wait(self):
        """A store that takes connections and says nothing: no request waits for it for long."""
        with Rig() as r:
            s = socket.socket(socket.AF_UNIX)
            path = os.path.join(r.folder, "silent")
            s.bind(path)
            s.listen(16)
            a = r.replica("--shared-wait-ms", "50", url="redis+unix://" + path)
            for i in range(3):
                r.same(a, "%d %s" % (i, LONG))
            assert metric(a, "up") == 0 and metric(a, "hits_total") == 0
            s.close()
            b = r.replica("--shared-wait-ms", "50")
            up(b)
            r.redis.say("CLIENT", "PAUSE", 100000000)
            r.same(b, LONG)
            up(b, 0)
            r.same(b, "It is silent. " + LONG)

    @needs_redis
    def test_late_store_is_not_waited_for(self):
        """That it is late, and that it is not any more, is found out without a request."""
        def waits(s):
            text = s.request("GET", "/metrics")[2].decode()
            return {k: int(n) for k, n in re.findall(
                r'^recurd_shared_waits_total{outcome="(\w+)"} (\d+)$', text, re.M)}

        with Rig() as r:
            relay = Relay(r.redis)
            a = r.replica("--shared-wait-ms", "1000", url="redis+unix://" + relay.path)
            wait_for(lambda: metric(a, "waited_for") == 1, "an answer in time", 60)
            relay.late = 1.5
            wait_for(lambda: metric(a, "waited_for") == 0, "late answers", 60)
            before = waits(a)
            for i in range(3):
                r.same(a, "%d, and it is late. %s" % (i, LONG))
            self.assertEqual(waits(a), dict(before, skipped=before["skipped"] + 3))
            relay.late = 0
            wait_for(lambda: metric(a, "waited_for") == 1, "answers in time again", 60)
            for words in ("late again and again", "it answers in time"):
                self.assertIn(words, a.text())
            relay.close()

    @needs_redis
    def test_credentials(self):
        """A password in the variable or the URL; a wrong one is said once, and serving goes on."""
        with Rig("--requirepass", "open sesame") as r:
            good = r.replica(env={"RECURD_SHARED_PASSWORD": "open sesame"})
            also = r.replica(url="redis+unix://:open%20sesame@" + r.redis.path + "?db=0")
            up(good), up(also)
            bad = r.replica(env={"RECURD_SHARED_PASSWORD": "guess"})
            r.same(bad, LONG)
            wait_for(lambda: metric(bad, "errors_total") >= 1, "a refusal")
            assert metric(bad, "up") == 0
            assert "WRONGPASS" in bad.text() and "guess" not in bad.text(), bad.text()

    @needs_redis
    def test_tcp_and_limits(self):
        """Over TCP, with a time to live; a store that is full drops states and nothing else."""
        port = common.free_port()
        with Rig("--bind", "127.0.0.1", port=port) as r:
            url = "redis://127.0.0.1:%d/3" % port
            a, b = r.replica("--shared-ttl", "1000", url=url), r.replica(url=url)
            up(a), up(b)
            r.same(a, LONG)
            settled(a)
            assert r.same(b, LONG) > 200
            assert b"expires=" in r.redis.say("INFO", "keyspace")
            assert b"expires=0" not in r.redis.say("INFO", "keyspace")
            r.redis.say("CONFIG", "SET", "maxmemory", "1")
            before = metric(a, "dropped_total")
            r.same(a, "There is no room for this. " + LONG)
            wait_for(lambda: metric(a, "dropped_total") > before, "drops")
            assert metric(a, "up") == 1

    def test_what_is_refused(self):
        """Addresses that make no sense, and no key to share with: one sentence, exit 2 or 3."""
        with tempfile.TemporaryDirectory() as folder:
            key = key_file(folder)
            for url, words in (("http://x", "begins with none"), ("redis://", "host's name"),
                               ("redis://h:99999", "port"), ("redis://u:p@h/x", "database"),
                               ("redis+unix://rel", "absolute path"), ("redis://u:@h", "password")):
                out = subprocess.run(common.command(["-m", common.DEMO7, "--listen", "127.0.0.1:0",
                                                     "--shared", url, "--state-key", key]),
                                     capture_output=True, text=True, timeout=common.Settings.patience(120))
                if "built without hiredis" in out.stderr:
                    self.skipTest("built without hiredis")
                assert out.returncode != 0 and words in out.stderr, (url, out.stderr)
            out = subprocess.run(common.command(["-m", common.DEMO7, "--listen", "127.0.0.1:0",
                                                 "--shared", "redis://127.0.0.1"]),
                                 capture_output=True, text=True, timeout=common.Settings.patience(120))
            assert out.returncode != 0 and "no state-key" in out.stderr, out.stderr
