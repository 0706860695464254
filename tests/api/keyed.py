"""Servers with API keys, and clients that have one. Not a test by itself."""
import http.client
import json
import os
import shutil
import tempfile

from common import DEMO, Server, Settings


def secret(name, generation=0):
    return "%s-secret.%d~0123456789" % (name, generation)


def line(name, generation=0, more=""):
    return "%s %s %s\n" % (name, secret(name, generation), more)


class Keyed:
    """A server, its key file and its state directory. lines: the key file."""

    def __init__(self, lines, *args, states=False):
        self.dir = tempfile.mkdtemp(prefix="recurd-keys-")
        self.path = os.path.join(self.dir, "api-keys")
        self.args = ["--model", DEMO, "--slots", "8", "--api-keys", self.path] + list(args)
        if states:
            self.args += ["--state-dir", os.path.join(self.dir, "states")]
        self.write(lines)
        self.logs = []
        self.server = Server(self.args)

    def write(self, lines, mode=0o600):
        with open(self.path, "w") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(lines)
        os.chmod(self.path, mode)

    def restart(self, sig=15):
        code = self.server.stop(sig)
        self.logs.append(self.server.text())
        self.server = Server(self.args)
        return code

    def close(self):
        """-> the exit code and everything that was logged"""
        code = self.server.stop()
        shutil.rmtree(self.dir)
        return code, "".join(self.logs) + self.server.text()

    def client(self, name, generation=0):
        return Client(self, secret(name, generation))


class Client:
    """Requests with one key over a kept connection. One thread."""

    def __init__(self, keyed, key):
        self.keyed, self.key = keyed, key
        self.server = self.connection = None

    def request(self, method, path, body=None, headers=None):
        """-> (status, headers by lower-case name, bytes)"""
        if self.server is not self.keyed.server:  # another process: another port
            self.server = self.keyed.server
            self.connection = None
        if not self.connection:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.server.port,
                                                         timeout=Settings.patience(60))
        h = dict(headers or {})
        if self.key is not None:
            h["Authorization"] = "Bearer " + self.key
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            h.setdefault("Content-Type", "application/json")
        elif body is not None:
            h.setdefault("Content-Type", "application/octet-stream")
        self.connection.request(method, path, body=body, headers=h)
        r = self.connection.getresponse()
        data = r.read()
        return r.status, {k.lower(): v for k, v in r.getheaders()}, data

    def json(self, method, path, body=None, expect=200):
        status, _, data = self.request(method, path, body)
        assert status == expect, "%s %s: %d, expected %d: %s" % (method, path, status, expect,
                                                               data[:600])
        return json.loads(data)

    def get(self, path, expect=200):
        return self.json("GET", path, None, expect)

    def post(self, path, body=None, expect=200):
        return self.json("POST", path, {} if body is None else body, expect)

    def complete(self, prompt, tokens=1, expect=200, **fields):
        body = dict(dict(prompt=prompt, max_tokens=tokens, temperature=0, ignore_eos=True), **fields)
        return self.post("/v1/completions", body, expect)

    def cached(self, prompt, **fields):
        u = self.complete(prompt, **fields)["usage"]
        return u["prompt_tokens_details"]["cached_tokens"]
