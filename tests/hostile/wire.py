"""What may be sent: framing, names, sizes."""
import http.client
import json
import os
import statistics
import tempfile
import time

from common import DEMO, Server
from keyed import Keyed, line
from probes import Result, probe
from test_cache import ids
from test_http import HIDDEN, MALFORMED, statuses


@probe(long=True)
def malformed():
    """R11, R19, R22: what two parsers could read in two ways, with a request hidden behind it."""
    s = Server(["--model", DEMO])
    hidden = other = wrong = fault = 0
    try:
        for _, data, right in MALFORMED:
            reply = s.raw(data + HIDDEN, 2)
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


@probe(long=True)
def foreign_sessions():
    """Another key's session is refused as fast as one that never was."""
    k = Keyed(line("alice") + line("bob"))
    try:
        alice, bob = k.client("alice"), k.client("bob")
        foreign = alice.post("/v1/sessions")["id"]
        alice.complete(ids(200, 7), 4, session=foreign)
        took = {foreign: [], "0" * 32: []}
        for i in range(2000):
            for one in list(took)[::1 if i % 2 else -1]:
                t = time.perf_counter()
                bob.request("GET", "/v1/sessions/" + one)
                took[one].append(time.perf_counter() - t)
        a, b = (statistics.median(v) for v in took.values())
        return Result("%.0f us for a foreign session, %.0f us for an unknown one" %
                      (a * 1e6, b * 1e6), "within a tenth", max(a, b) / min(a, b) < 1.1, [])
    finally:
        k.close()


def refusal(*args):
    """What it says where it ends instead of serving; None: it serves."""
    try:
        s = Server(list(args))
    except AssertionError as e:
        return str(e)
    s.stop(9)
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
        one = refusal("--model", DEMO, "--listen", "127.0.0.1:0", "--state-dir", states, "--state-key",
                   key)
        os.chmod(key, 0o600)
        os.chmod(states, 0o777)
        two = refusal("--model", DEMO, "--listen", "127.0.0.1:0", "--state-dir", states, "--state-key",
                   key)
    told = [refusal("--model", DEMO, "--listen", x) for x in ("0.0.0.0:0", "[::]:0")] + [one, two]
    refused = all(t and "open-to-all" in t for t in told[:2]) and \
        all(t and "others than its owner" in t for t in told[2:])
    return Result("0.0.0.0, [::], a readable key, a folder of all: %d of 4 refused" %
                  sum(map(bool, told)), "each", refused,
                  [("no door is left open (%s)" % told, refused)])
