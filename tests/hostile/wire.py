"""What may be sent: framing, names, sizes."""
import http.client
import json
import os
import subprocess
import tempfile

from common import DEMO, Server, command
from probes import Result, probe
from test_http import HIDDEN, MALFORMED, statuses


@probe(long=True)
def malformed():
    """R11, R19, R22: what two parsers could read in two ways, with a request hidden behind it."""
    s = Server(["--model", DEMO, "--header-timeout", "1", "--body-timeout", "1",
                "--idle-timeout", "1"])
    hidden = other = wrong = fault = 0
    try:
        for _, data, right in MALFORMED:
            reply = s.raw(data + HIDDEN, timeout=6)
            got = statuses(reply) or [0]
            wrong += got[0] not in right
            fault += got[0] >= 500
            if got[0] == 404:
                continue
            hidden += len(got) > 1
            head, _, body = reply.partition(b"\r\n\r\n")
            try:
                json.loads(body)["error"]["message"]
                other += b"x-request-id: " not in head
            except (ValueError, KeyError):
                other += 1
        return Result("%d rows: %d accepted or of another status, %d hidden requests answered, %d "
                      "replies without JSON or id, %d are 5xx" % (len(MALFORMED), wrong, hidden,
                                                                  other, fault), "0 of each",
                      not (wrong or hidden or other or fault), [])
    finally:
        s.stop(9)


@probe(long=True)
def other_names():
    """R10, R22: Hosts and Origins that are not this server's."""
    s = Server(["--model", DEMO])
    asked = [({"Host": "evil.example"}, 421), ({"Host": "localhost", "Origin": "http://evil.example"},
                                              403),
             ({"Host": "evil.example", "Origin": "http://evil.example"}, 421),
             ({"Host": "localhost", "Origin": "null"}, 403)]
    asked += [({"Host": h}, 400) for h in ("a/b", "a@b", "a, b", "a b", "a:99999999")]
    served = 0
    try:
        for headers, right in asked:
            for path in ("/v1/models", "/v1/sessions", "/metrics"):
                served += s.request("GET", path, headers=headers)[0] != right
        return Result("%d of %d served or of another status" % (served, 3 * len(asked)), "0",
                      served == 0, [])
    finally:
        s.stop(9)


@probe(long=True)
def too_large():
    """R20: clients that send 4.2 MB before they read find out why not."""
    s = Server(["--model", DEMO])
    lost = 0
    try:
        for i in range(10):
            c = s.connection()
            try:
                c.request("POST", "/v1/completions", b'{"prompt":"' + b"a" * 4300000 + b'"}',
                          {"Content-Type": "application/json"})
                lost += c.getresponse().status != 413
            except (OSError, http.client.HTTPException):
                lost += 1
            c.close()
        return Result("%d of 10 replies lost" % lost, "0", lost == 0, [])
    finally:
        s.stop(9)


def ends(*args):
    """-> the exit code, None: it serves"""
    try:
        return subprocess.run(command(list(args)), capture_output=True, timeout=5).returncode
    except subprocess.TimeoutExpired:
        return None


@probe()
def open_doors():
    """R16, R18: everybody's address without keys; a key and a folder that others may change."""
    with tempfile.TemporaryDirectory(prefix="recurd-doors-") as d:
        key, states = os.path.join(d, "key"), os.path.join(d, "states")
        with open(key, "wb") as f:
            f.write(bytes(range(32)))
        os.mkdir(states)
        os.chmod(key, 0o644)
        one = ends("--model", DEMO, "--listen", "127.0.0.1:0", "--state-dir", states, "--state-key",
                   key)
        os.chmod(key, 0o600)
        os.chmod(states, 0o777)
        two = ends("--model", DEMO, "--listen", "127.0.0.1:0", "--state-dir", states, "--state-key",
                   key)
    codes = [ends("--model", DEMO, "--listen", x) for x in ("0.0.0.0:0", "[::]:0")] + [one, two]
    return Result("0.0.0.0, [::], a readable key, a folder of all: exit codes %s" % codes,
                  "each refused", all(codes),
                  [("no door is left open (%s)" % codes, all(codes))])
