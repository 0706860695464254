"""rediss://: a store behind TLS is used if its certificate is the right one, and never otherwise.

Certificates are made here by openssl. Skipped, with a line, where there is no openssl, no
redis-server, or one without TLS."""
import os
import shutil
import subprocess
import tempfile
import unittest

import common
import test_shared
from common import free_port

LONG = test_shared.LONG
CONFIG = """
[ca]
default_ca = own
[own]
dir = %(dir)s
database = %(dir)s/index.txt
new_certs_dir = %(dir)s
serial = %(dir)s/serial
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
"""
VALID = ("20200101000000Z", "20991231000000Z")
OVER = ("20200101000000Z", "20210101000000Z")


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder, name):
        self.dir = os.path.join(folder, name)
        os.mkdir(self.dir)
        self.config = self.write("config", CONFIG % {"dir": self.dir})
        self.write("index.txt", "")
        self.write("serial", "01\n")
        self.cert, self.key = self.path("ca.pem"), self.path("ca.key")
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-subj", "/CN=" + name, "-days", "3000", "-extensions", "root",
                     "-keyout", self.key, "-out", self.cert)

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="ascii") as f:
            f.write(text)
        return self.path(name)

    def openssl(self, command, *args):
        r = subprocess.run(["openssl", command, "-config", self.config] + list(args),
                           capture_output=True, text=True, timeout=common.Settings.patience(60))
        assert r.returncode == 0, r.stderr

    def certify(self, name, alternatives, dates=VALID):
        """-> files of a certificate for that subjectAltName, and of its key."""
        key, request, cert = (self.path(name + e) for e in (".key", ".csr", ".pem"))
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-subj", "/CN=" + name, "-addext", "subjectAltName=" + alternatives,
                     "-keyout", key, "-out", request)
        self.openssl("ca", "-batch", "-notext", "-keyfile", self.key, "-cert", self.cert,
                     "-startdate", dates[0], "-enddate", dates[1], "-in", request, "-out", cert)
        return cert, key


def tls_flags(cert, key, ca, port):
    return ["--tls-port", str(port), "--tls-cert-file", cert, "--tls-key-file", key,
            "--tls-ca-cert-file", ca, "--tls-auth-clients", "no", "--bind", "127.0.0.1"]


def why_not():
    for program in ("openssl", "redis-server"):
        if not shutil.which(program):
            return "there is no " + program
    # One that was built without TLS does not know the word.
    r = subprocess.run(["redis-server", "--port", "0", "--tls-auth-clients", "no", "--bogus-end", "x"],
                       capture_output=True, text=True, timeout=common.Settings.patience(60))
    known = "tls-auth-clients" not in r.stdout + r.stderr
    return None if known else "redis-server was built without TLS"


class SharedTls(unittest.TestCase):
    def setUp(self):
        why = why_not()
        if why:
            self.skipTest(why)
        self.folder = tempfile.mkdtemp(prefix="recurd-tls-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.own = Authority(self.folder, "own")
        self.port = free_port()

    def rig(self, files):
        return test_shared.Rig("--requirepass", "open sesame",
                               *tls_flags(*files, self.own.cert, self.port))

    def store(self, r, words="DBSIZE"):
        """What a client that knows the password is answered through the Unix socket."""
        s = r.redis.connect()
        with s:
            s.sendall(b"AUTH \"open sesame\"\r\n" + words.encode() + b"\r\n")
            f = s.makefile("rb")
            assert f.readline() == b"+OK\r\n"
            head = f.readline()
            return f.read(int(head[1:])) if head[:1] == b"$" else head

    def url(self, host="localhost"):
        return "rediss://:open%%20sesame@%s:%d" % (host, self.port)

    def refused(self, files, host="localhost", ca=None, words=("certificate", "SSL")):
        """Serving goes on, the store has nothing, and was told no password."""
        with self.rig(files) as r:
            s = r.replica("--shared-ca", ca or self.own.cert, url=self.url(host))
            r.same(s, LONG)
            test_shared.wait_for(lambda: test_shared.metric(s, "errors_total") >= 1, "a refusal")
            r.same(s, LONG + " And once more.")
            assert test_shared.metric(s, "up") == 0
            assert test_shared.metric(s, "writes_total") == 0
            assert any(w in s.text() for w in words), s.text()
            assert "sesame" not in s.text(), s.text()
            assert self.store(r) == b":0\r\n"
            told = self.store(r, "INFO commandstats").decode()
            mine = told.split("cmdstat_auth:calls=")[1].split(",")[0]
            assert int(mine) == 2, told  # those of store(), here and above

    def test_the_right_name_is_used(self):
        """By name and by address; what one puts the other finds, to the bit."""
        files = self.own.certify("store", "DNS:localhost,IP:127.0.0.1")
        with self.rig(files) as r:
            a = r.replica("--shared-ca", self.own.cert, url=self.url())
            b = r.replica("--shared-ca", self.own.cert, url=self.url("127.0.0.1"))
            test_shared.up(a), test_shared.up(b)
            assert r.same(a, LONG) == 0
            test_shared.settled(a)
            assert r.same(b, LONG) > 200
            assert self.store(r) != b":0\r\n"

    def test_a_wrong_name_is_not(self):
        self.refused(self.own.certify("other", "DNS:other.example,IP:127.0.0.2"))
        self.refused(self.own.certify("name", "DNS:localhost"), host="127.0.0.1")

    def test_a_wrong_authority_is_not(self):
        """One that we were not told of, by the right name; and the system's own do not count."""
        other = Authority(self.folder, "other")
        self.refused(other.certify("store", "DNS:localhost,IP:127.0.0.1"))
        self.refused(self.own.certify("store", "DNS:localhost"), ca=other.cert)

    def test_an_expired_certificate_is_not(self):
        self.refused(self.own.certify("old", "DNS:localhost,IP:127.0.0.1", OVER),
                     words=("expired", "certificate"))

    def test_a_store_without_tls_is_not(self):
        """rediss:// to a port that speaks plain: an error, and nothing is said in the clear."""
        with test_shared.Rig("--bind", "127.0.0.1", "--requirepass", "open sesame",
                             port=self.port) as r:
            s = r.replica("--shared-ca", self.own.cert, url=self.url())
            r.same(s, LONG)
            test_shared.wait_for(lambda: test_shared.metric(s, "errors_total") >= 1, "a refusal")
            assert test_shared.metric(s, "up") == 0
            assert self.store(r) == b":0\r\n"
