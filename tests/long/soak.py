"""A mixed load for minutes: memory stays, descriptors and slots go back to what they were."""
import http.client
import json
import os
import random
import shutil
import tempfile
import threading
import time

from common import DEMO7, Server

WORKERS = 4
SAMPLE_S = 5
SLOPE_MIB_H = 1.0
WARM = 3000  # operations until every budget is full, that of evicted states (1 MiB) last


class Worker:
    """One client: prompts, chats, streams that it leaves, and sessions with all that they can."""

    def __init__(self, server, seed):
        self.s, self.rng, self.sessions, self.n = server, random.Random(seed), [], 0

    def ask(self, method, path, body=None):
        status, _, data = self.s.request(method, path, body)
        assert status in (200, 404, 409, 429, 503), (status, data[:200])
        return json.loads(data) if status == 200 and data[:1] == b"{" else {}

    def session(self):
        if len(self.sessions) < 4:
            made = self.ask("POST", "/v1/sessions", {})
            self.sessions += [made["id"]] if made else []
            return
        one = self.rng.choice(self.sessions)
        kind = self.rng.randrange(6)
        if kind == 0:
            self.sessions.remove(one)
            self.ask("DELETE", "/v1/sessions/" + one)
        elif kind == 1:
            made = self.ask("POST", "/v1/sessions/%s/fork" % one, {})
            if made:
                self.ask("DELETE", "/v1/sessions/" + made["id"])
        elif kind == 2:
            self.ask("POST", "/v1/sessions/%s/rewind" % one, {"position": 0})
        elif kind == 3:
            status, _, blob = self.s.request("GET", "/v1/sessions/%s/state" % one)
            if status == 200:
                status, _, data = self.s.request("PUT", "/v1/sessions", blob,
                                                 {"Content-Type": "application/octet-stream"})
                if status == 200:
                    self.ask("DELETE", "/v1/sessions/" + json.loads(data)["id"])
        else:
            self.ask("POST", "/v1/completions", {"prompt": self.words(30), "session": one,
                                                 "max_tokens": 8, "ignore_eos": True})

    def words(self, n):
        return " ".join(self.rng.choice(("once", "a", "mouse", "was", "brave", "and", "sunny"))
                        for _ in range(self.rng.randrange(1, n)))

    def leave(self):
        c = self.s.connection()
        c.request("POST", "/v1/completions", json.dumps(
            {"prompt": self.words(20), "stream": True, "max_tokens": 5000, "ignore_eos": True}),
            {"Content-Type": "application/json"})
        c.getresponse().read(self.rng.randrange(1, 3000))
        c.close()

    def one(self):
        kind = self.rng.randrange(10)
        if kind < 3:
            self.ask("POST", "/v1/completions", {"prompt": self.words(200), "max_tokens": 10})
        elif kind < 5:
            self.ask("POST", "/v1/chat/completions", {
                "messages": [{"role": "user", "content": self.words(50)}], "max_tokens": 10})
        elif kind < 6:
            self.leave()
        elif kind < 7:
            self.ask("POST", "/tokenize", {"prompt": self.words(2000)})
        else:
            self.session()
        self.n += 1


def look(s):
    pid = s.proc.pid
    with open("/proc/%d/statm" % pid) as f:
        mib = int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
    return mib, len(os.listdir("/proc/%d/fd" % pid))


def slope(points):
    """MiB an hour, by least squares."""
    n = max(len(points), 1)
    mt, mm = sum(t for t, _ in points) / n, sum(m for _, m in points) / n
    below = sum((t - mt) ** 2 for t, _ in points)
    return 3600 * sum((t - mt) * (m - mm) for t, m in points) / below if below else 0


def each(warm):
    """Bytes an operation, by the same."""
    return slope([(n, mib) for _, mib, n in warm]) / 3600 * 2**20


def is_warm(seconds, operations, minutes):
    return seconds > 20 * minutes and operations > WARM


def run(minutes, say):
    folder = tempfile.mkdtemp(prefix="recurd-soak-")
    # Little memory for states, so that it is full when the warm-up is over.
    s = Server(["--model", DEMO7, "--state-dir", folder, "--state-memory", "8", "--state-disk", "64"])
    done, faults = threading.Event(), []
    workers = [Worker(s, i) for i in range(WORKERS)]

    def work(w):
        try:
            while not done.is_set():
                w.one()
        except (OSError, http.client.HTTPException, AssertionError) as e:
            faults.append("%s: %s" % (type(e).__name__, e))
    threads = [threading.Thread(target=work, args=(w,)) for w in workers]
    fds = look(s)[1]
    for t in threads:
        t.start()
    begin, warm, nodes = time.time(), [], []
    while time.time() < begin + 60 * minutes and not faults:
        time.sleep(SAMPLE_S)
        seconds, n, mib = time.time() - begin, sum(w.n for w in workers), look(s)[0]
        if is_warm(seconds, n, minutes):
            warm.append((seconds, mib, n))
            nodes.append(s.metrics()["recurd_cache_nodes"])
        if len(warm) > 2:
            say("%.1f min, %d operations: %.1f MiB, slope after the warm-up %+.2f MiB an hour, %+.1f "
                "bytes an operation; %d to %d nodes" % (
                    seconds / 60, n, mib, slope([w[:2] for w in warm]), each(warm), min(nodes),
                    max(nodes)))
    done.set()
    for t in threads:
        t.join()
    m = s.wait_idle(60)
    time.sleep(1)
    left = look(s)[1] - fds
    code = s.stop()
    shutil.rmtree(folder)
    bad = [x for x, so in (
        ("faults: %s" % faults, not faults), ("exit code %s" % code, code == 0),
        ("%d descriptors are left" % left, left <= 2),  # the log's segment and a state
        ("%d slots are left" % m["recurd_slots_used"], m["recurd_slots_used"] == 0),
        ("it was too short to be warm", len(warm) > 2),
        ("the slope is %.2f MiB an hour, %.1f bytes an operation" % (
            slope([w[:2] for w in warm]), each(warm)),
         slope([w[:2] for w in warm]) < SLOPE_MIB_H)) if not so]
    say("afterwards %+d descriptors, %d slots" % (left, m["recurd_slots_used"]))
    return not bad, "; ".join(bad)
