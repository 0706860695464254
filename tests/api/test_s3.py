"""Replicas that share states in a bucket of S3: every answer is that of one server alone, whatever
the service does. Against a bucket of our own that checks signatures (s3stub.py), and against moto,
which others wrote (from PyPI; skipped, with a line, where it cannot be had)."""
import contextlib
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import common
import s3stub
from test_shared import LONG, ask, key_file, metric, no_errors, settled, up, wait_for

ENV = {"AWS_ACCESS_KEY_ID": s3stub.ID, "AWS_SECRET_ACCESS_KEY": s3stub.SECRET,
       "AWS_SESSION_TOKEN": "", "AWS_REGION": s3stub.REGION}


class Rig:
    """Replicas on one bucket, and a server alone that says what every answer must be."""

    def __init__(self, stub=None):
        self.folder = tempfile.mkdtemp(prefix="recurd-s3-")
        self.stub = stub or s3stub.Stub()
        self.servers = []
        self.alone = common.Server(["-m", common.DEMO7, "--state-memory", "0"])

    def __enter__(self):
        return self

    def replica(self, *more, env=None, wait_ms=10000, url="s3://states/cold"):
        self.servers.append(common.Server(
            ["-m", common.DEMO7, "--shared", url, "--shared-endpoint", self.stub.endpoint(),
             "--state-key", key_file(self.folder), "--shared-wait-ms", str(wait_ms)] + list(more),
            env=ENV if env is None else env))
        return self.servers[-1]

    def __exit__(self, *_):
        codes = [s.stop() for s in self.servers + [self.alone]]
        self.stub.stop()
        shutil.rmtree(self.folder)
        assert all(c == 0 for c in codes), codes

    def same(self, server, prompt, n=12):
        seen, cached = ask(server, prompt, n)
        wanted, _ = ask(self.alone, prompt, n)
        assert seen == wanted, (seen, wanted)
        return cached


def credentials(path, key, secret, token=""):
    """As those do who change such a file: another one takes its place."""
    with open(os.open(path + "~", os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write("# made for a test\n[default]\naws_access_key_id = %s\naws_secret_access_key=%s\n" %
                (key, secret))
        if token:
            f.write("aws_session_token = %s\n" % token)
        f.write("[other]\naws_access_key_id = nobody\n")
    os.rename(path + "~", path)


def certificate(folder, name):
    """-> its file and that of its key; None where there is no openssl."""
    if not shutil.which("openssl"):
        return None
    cert, key = os.path.join(folder, name + ".pem"), os.path.join(folder, name + ".key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-keyout", key, "-out", cert, "-subj", "/CN=" + name,
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return cert, key


class S3(unittest.TestCase):
    def test_another_replica_goes_on(self):
        """What one replica computed the others find, to the bit, with few questions; names say
        nothing; a service that knows no conditions will do."""
        with Rig() as r:
            a, b = r.replica("--shared-ttl", "60"), r.replica()
            up(a), up(b)
            assert "knows no times to live" in a.text() and "no times" not in b.text()
            assert r.same(a, LONG) == 0
            settled(a)
            before = r.stub.count()
            whole = r.same(b, LONG)
            asked = r.stub.count() - before
            # A list of groups, those of blocks that have a state, a manifest, its chunk; and the
            # end of this answer may be on its way already.
            assert whole > 200 and asked <= 20, (whole, asked)
            assert metric(b, "hits_total") == 1 and metric(b, "requests_total") >= 3
            r.stub.no_conditions = True
            c = r.replica()
            up(c)
            assert r.same(c, LONG + " Then it went on in another way.") >= whole - 1
            settled(c)
            keys = r.stub.keys()
            assert len(keys) == len(r.stub.keys("s/") + r.stub.keys("c/") + r.stub.keys("i/") +
                                    r.stub.keys("g/")), keys
            assert all(set(k[7:]) <= set("0123456789abcdef") for k in keys), keys
            no_errors(a, c)

    def test_bucket_in_the_host_name(self):
        """An endpoint whose name begins with the bucket's: there the path has only the prefix."""
        with Rig(s3stub.Stub(in_host=True)) as r:
            a, b = r.replica(), r.replica()
            up(a), up(b)
            r.same(a, LONG)
            settled(a)
            assert r.same(b, LONG) > 200

    def test_garbage_is_never_answered_from(self):
        """Every object is cut, altered, much longer, or gone: the answers stay, and heal."""
        with Rig() as r:
            a = r.replica()
            up(a)
            r.same(a, LONG)
            settled(a)
            chunks = r.stub.keys("c/")
            r.stub.change(chunks[1:], lambda b: b[:100] + b"garbage" + b[107:])
            r.stub.change(chunks[:1], lambda b: None)
            b = r.replica()
            up(b)
            assert r.same(b, LONG) == 0
            settled(b)  # it put them again, whole
            r.stub.change(r.stub.keys("s/"), lambda b: b + b"x" * (1 << 20))
            r.stub.change(r.stub.keys("g/"), lambda b: b"\xff" * 8)
            c = r.replica()
            up(c)
            assert r.same(c, LONG) == 0
            assert metric(c, "errors_total") >= 1 and metric(c, "up") == 1
            settled(c)
            d = r.replica()
            up(d)
            assert r.same(d, LONG) > 200
            r.stub.change(r.stub.keys("i/") + r.stub.keys("g/"), lambda b: b + b"more")
            e = r.replica()
            up(e)
            assert r.same(e, LONG) == 0 and metric(e, "up") == 1

    def test_busy_and_dead(self):
        """503 for a while is waited out; a service that is gone, and back, is found again."""
        with Rig() as r:
            a, b = r.replica(), r.replica()
            up(a), up(b)
            tried = {}

            def slow_down(h, body):
                tried[h.command, h.path] = tried.get((h.command, h.path), 0) + 1
                if tried[h.command, h.path] == 1:
                    h.refuse(s3stub.Refused(503, "SlowDown"))
                    return True
                return False
            r.stub.fault = slow_down
            r.same(a, LONG)
            settled(a)
            assert metric(a, "repeated_total") >= 3
            no_errors(a)
            assert r.same(b, LONG) > 200
            r.stub.fault = None
            r.stub.stop()
            r.same(a, "While it is dead: " + LONG)
            up(a, 0)
            r.stub.start()
            up(a), up(b)
            there = len(r.stub.keys("s/"))
            r.same(a, "It is back. " + LONG)
            wait_for(lambda: len(r.stub.keys("s/")) > there, "a state in the bucket")
            settled(a)
            up(b)
            assert r.same(b, "It is back. " + LONG) > 200

    def test_hostile_service(self):
        """Endless, cut, silent, not HTTP, lies about lengths: one wait each, the answers stay."""
        def endless(h, body):
            h.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
            for _ in range(100000):
                h.wfile.write(b"x" * 65536)

        def cut(h, body):
            h.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
            h.close_connection = True
            return True

        def silent(h, body):
            time.sleep(common.Settings.patience(1))
            h.close_connection = True
            return True

        def no_http(h, body):
            h.wfile.write(b"\x00\xffwhat?\n" * 50)
            h.close_connection = True
            return True

        def endless_headers(h, body):
            h.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for _ in range(100000):
                h.wfile.write(b"x-a: " + b"y" * 8000 + b"\r\n")

        def endless_refusal(h, body):
            h.wfile.write(b"HTTP/1.1 403 No\r\n\r\n<Error><Code>")
            for _ in range(100000):
                h.wfile.write(b"x" * 65536)
        with Rig() as r:
            a = r.replica(wait_ms=300)
            up(a)
            r.same(a, LONG)
            settled(a)
            for i, fault in enumerate((endless, cut, silent, no_http, endless_headers,
                                       endless_refusal)):
                b = r.replica(wait_ms=300)
                up(b)
                r.stub.fault = fault
                assert r.same(b, LONG, n=4) == 0, fault
                r.same(b, "%d %s" % (i, LONG), n=4)
                r.stub.fault = None
                up(b, waits=False)  # what was late is waited for again by and by
                assert b.stop() == 0
                r.servers.remove(b)

    def test_what_is_refused_is_said(self):
        """Credentials, region, clock, bucket, rights, another place: a sentence, no secret, and
        serving goes on; put right, it is found again."""
        def moved(h, body):
            h.answer(301, b"<Error><Code>PermanentRedirect</Code></Error>",
                     [("x-amz-bucket-region", "mars-north-1"), ("Location", "http://evil/")])
            return True

        def forbidden(h, body):
            h.refuse(s3stub.Refused(403, "AccessDenied"))
            return True
        wrong = "wrong/SECRET/of/forty/characters/0123456"
        with Rig() as r:
            rows = (
                ({"AWS_SECRET_ACCESS_KEY": wrong}, {}, "secret access key is another one"),
                ({"AWS_ACCESS_KEY_ID": "nobody"}, {}, "does not know the access key's id"),
                ({"AWS_REGION": "us-east-1"}, {}, "in region %s, not in us-east-1" % s3stub.REGION),
                ({}, {"clock": 7200}, "seconds before ours"),
                ({}, {"fault": moved}, "in region mars-north-1"),
                ({}, {"fault": forbidden}, "s3:ListBucket"),
                ({}, {"url": "s3://other/x"}, "no such bucket"),
            )
            for env, what, words in rows:
                s = r.stub
                s.clock, s.fault = what.get("clock", 0), what.get("fault")
                a = r.replica(env=dict(ENV, **env), url=what.get("url", "s3://states/cold"))
                wait_for(lambda: words in a.text(), words + " in " + a.text())
                r.same(a, LONG, n=4)
                assert metric(a, "up") == 0 and metric(a, "errors_total") >= 1
                assert wrong not in a.text() and s3stub.SECRET not in a.text()
                s.clock, s.fault = 0, None
                if not env and "url" not in what:
                    up(a)
                assert a.stop() == 0
                r.servers.remove(a)

    def test_credentials_that_change(self):
        """A file that others may read is refused; a new one is taken while it runs."""
        with Rig() as r:
            path = os.path.join(r.folder, "credentials")
            credentials(path, "AKFIRST", "first-secret", "a/session+token==")
            r.stub.users = {"AKFIRST": ("first-secret", "a/session+token==")}
            nobody = {k: "" for k in ENV}
            nobody["AWS_REGION"] = s3stub.REGION
            flags = ["--shared-credentials", path]
            a, b = r.replica(*flags, env=nobody), r.replica(*flags, env=nobody)
            up(a), up(b)
            r.same(a, LONG)
            settled(a)
            r.stub.users = {"AKSECOND": ("second-secret", "")}
            credentials(path, "AKSECOND", "second-secret")
            time.sleep(1.5)  # it is looked at every second
            assert r.same(b, LONG) > 200 and metric(b, "up") == 1
            out = subprocess.run(common.command(
                ["-m", common.DEMO7, "--shared", "s3://states/cold", "--shared-credentials", path,
                 "--state-key", key_file(r.folder), "--check-config"]),
                capture_output=True, text=True, timeout=common.Settings.patience(120))
            assert "second-secret" not in out.stdout + out.stderr and out.returncode == 0, out
            for text in (a.text(), b.text()):
                assert "-secret" not in text and "session+token" not in text
            os.chmod(path, 0o644)
            self.refused(["--shared", "s3://states/cold"] + flags, "others than its owner may read",
                         r.folder)

    def refused(self, flags, words, folder, env=None):
        out = subprocess.run(common.command(
            ["-m", common.DEMO7, "--listen", "127.0.0.1:0", "--state-key", key_file(folder)] +
            flags), capture_output=True, text=True, timeout=common.Settings.patience(120),
            env=dict(os.environ, **(env or {})))
        assert out.returncode != 0 and words in out.stderr, (flags, out.stderr)

    def test_what_makes_no_sense(self):
        """Addresses and flags that do not go together: one sentence, no start."""
        with tempfile.TemporaryDirectory() as folder:
            ok = ["--shared", "s3://states/cold"]
            empty = os.path.join(folder, "empty")
            with open(os.open(empty, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
                f.write("[default]\naws_access_key_id = x\n")
            for flags, words in (
                    (["--shared", "s3://"], "bucket's name has 0"),
                    (["--shared", "s3://UPPER"], "byte 0 of the bucket"),
                    (["--shared", "s3://states/a//b"], "empty part"),
                    (["--shared", "s3://states/a b"], "byte 1 of the prefix"),
                    (ok + ["--shared-endpoint", "ftp://x"], "neither https:// nor"),
                    (ok + ["--shared-endpoint", "http://u:p@x"], "credentials do not stand there"),
                    (ok + ["--shared-region", "a b"], "shared-region"),
                    (ok + ["--shared-credentials", empty], "no aws_secret_access_key"),
                    (["--shared", "redis://127.0.0.1", "--shared-region", "x"], "for s3:// only")):
                self.refused(flags, words, folder, ENV)
            self.refused(ok, "no credentials", folder, {k: "" for k in ENV})

    def test_tls(self):
        """A certificate that nobody vouches for is refused; with --shared-ca it is the right one."""
        with tempfile.TemporaryDirectory() as folder:
            right, impostor = certificate(folder, "right"), certificate(folder, "impostor")
            if not right:
                self.skipTest("there is no openssl")
            with Rig(s3stub.Stub(tls=impostor)) as r:
                a = r.replica("--shared-ca", right[0])
                wait_for(lambda: "certificate" in a.text(), "a refusal")
                r.same(a, LONG)
                assert metric(a, "up") == 0 and not r.stub.asked
                r.stub.stop()
                r.stub.tls = right
                r.stub.start()
                up(a)
                r.same(a, "Now to the right one: " + LONG)
                settled(a)
                b = r.replica("--shared-ca", right[0])
                up(b)
                assert r.same(b, "Now to the right one: " + LONG) > 200


# ---- moto: a service that others wrote -------------------------------------------------------

def moto_python():
    """The interpreter of an environment that has moto; None: it cannot be had here."""
    folder = os.path.join(common.ROOT, "build", "moto")
    python = os.path.join(folder, "bin", "python")
    has = [python, "-c", "import moto.server, flask"]
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    cannot = contextlib.suppress(OSError, subprocess.SubprocessError)
    with cannot, open(folder + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another lane may be making it
        if os.path.exists(python) and subprocess.run(has, capture_output=True).returncode == 0:
            return python
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
        subprocess.run([python, "-m", "pip", "-q", "--disable-pip-version-check", "install",
                        "moto[s3,server]==5.2.5"], check=True, capture_output=True, timeout=300)
        if subprocess.run(has, capture_output=True).returncode == 0:
            return python
    return None


class Moto:
    WHO = {"Authorization": "AWS4-HMAC-SHA256 Credential=x/20200101/us-east-1/s3/aws4_request"}

    def __init__(self, python):
        self.port = common.free_port()
        self.proc = subprocess.Popen([python, "-m", "moto.server", "-H", "127.0.0.1", "-p",
                                      str(self.port)], stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
        wait_for(self.make_bucket, "moto", 120)

    def make_bucket(self):
        try:
            self.say("PUT", "")
            return True
        except (OSError, urllib.error.URLError):
            return False

    def endpoint(self):
        return "http://127.0.0.1:%d" % self.port

    def say(self, method, path, body=None):
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                urllib.request.Request(self.endpoint() + "/states" + path, body, self.WHO,
                                       method=method), timeout=common.Settings.patience(20)) as r:
            return r.read()

    def keys(self, kind=""):
        names = self.say("GET", "?list-type=2&max-keys=1000&prefix=cold/" + kind)
        return re.findall("<Key>([^<]+)</Key>", names.decode())

    def place(self, key, body):
        self.say("PUT", "/" + key, body)

    def change(self, keys, how):
        for k in keys:
            body = how(self.say("GET", "/" + k))
            if body is None:
                self.say("DELETE", "/" + k)
            else:
                self.place(k, body)

    def stop(self):
        self.proc.kill()
        self.proc.wait()


class OthersService(unittest.TestCase):
    def test_moto(self):
        """The same against moto: what one replica put the other finds."""
        python = moto_python()
        if not python:
            print("skipped: S3 against moto, which cannot be had here (pip install moto[server])")
            self.skipTest("no moto")
        with Rig(Moto(python)) as r:
            a, b = r.replica(), r.replica()
            up(a), up(b)
            r.same(a, LONG)
            settled(a)
            assert r.same(b, LONG) > 200
            no_errors(a, b)
            assert r.same(b, LONG + " And on it went.") > 200
