"""Several replicas behind HAProxy as etc/proxy has it: conversations stay, the dead and the leaving
are avoided, and the agent says how each one does.

The routing is skipped where HAProxy is not installed.
"""
import collections
import http.client
import json
import shutil
import socket
import threading
import time
import unittest

from common import DEMO, Server, Settings, Stream, free_port, wait_for
from test_proxies import haproxy, sample

NAMES = ["one", "two", "three"]
PROMPT = {"prompt": "Once upon a time", "temperature": 0, "max_tokens": 4, "ignore_eos": True}


def told(port):
    """What the agent says."""
    with socket.create_connection(("127.0.0.1", port), Settings.patience(10)) as s:
        s.settimeout(Settings.patience(10))
        got = b""
        while True:
            piece = s.recv(1000)
            if not piece:
                return got.decode()
            got += piece


class Agent(unittest.TestCase):
    def setUp(self):
        self.port = free_port()
        self.s = Server(["--model", DEMO, "--replica", "one", "--slots", "1", "--queue", "8",
                         "--agent-listen", "127.0.0.1:%d" % self.port])

    def tearDown(self):
        self.s.stop()

    def test_it_says_weight_and_drain(self):
        self.assertEqual(told(self.port), "up ready 100%\n")
        self.assertEqual(self.s.request("GET", "/health")[1]["x-recurd-replica"], "one")
        stream = Stream(self.s, "/v1/completions", dict(PROMPT, max_tokens=1000000, stream=True))
        next(stream.events())
        waiting = [threading.Thread(target=self.s.request, args=(
            "POST", "/v1/completions", PROMPT)) for _ in range(4)]
        for t in waiting:
            t.start()
        wait_for(lambda: told(self.port) == "up ready 50%\n")  # the queue is half full
        self.s.proc.send_signal(15)
        wait_for(lambda: told(self.port) == "drain\n")
        stream.reset()
        for t in waiting:
            t.join()
        self.assertEqual(self.s.stop(), 0)
        with self.assertRaises(OSError):
            told(self.port)

    def test_a_client_that_says_much_and_hears_nothing_harms_nobody(self):
        held = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(50)]
        for s in held:
            try:
                s.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
            except OSError:
                pass
        self.assertEqual(told(self.port), "up ready 100%\n")
        for s in held:
            s.close()


@unittest.skipUnless(shutil.which("haproxy"), "haproxy is not installed")
class Replicas(unittest.TestCase):
    def setUp(self):
        self.agents = [free_port() for _ in NAMES]
        self.servers = [Server(["--model", DEMO, "--replica", n, "--hosts", "localhost,127.0.0.1,x",
                                "--drain", "600", "--agent-listen", "127.0.0.1:%d" % a])
                        for n, a in zip(NAMES, self.agents)]
        config = sample("haproxy-replicas.cfg")
        for server, agent, port in zip(self.servers, self.agents, (8080, 8082, 8083)):
            config = config.replace("127.0.0.1:%d" % port, "127.0.0.1:%d" % server.port)
            config = config.replace("agent-port %d" % (port + 100), "agent-port %d" % agent)
        # One that is slow beside company is not taken for dead, but for the one that will be.
        self.assertEqual(config.count(" inter 2s fall 2 "), 1)
        config = config.replace(" inter 2s fall 2 ", " inter 60s fall 2 ")
        config = config.replace("    server two ", "    default-server inter 2s\n    server two ")
        config = config.replace("    server three ", "    default-server inter 60s\n    server three ")
        self.p = haproxy(self.servers[0], config)
        self.c = http.client.HTTPConnection("127.0.0.1", self.p.port,
                                            timeout=Settings.patience(60))
        seen = set()

        def all_are_up():
            seen.add(self.ask({"prompt_cache_key": "k%d" % time.time_ns()})[0])
            return len(seen) == 3
        wait_for(all_are_up)

    def tearDown(self):
        self.c.close()
        self.p.close()
        for s in self.servers:
            s.stop(9 if s.proc.poll() is None else 15)

    def request(self, method, path, body=None, headers=None):
        """On one connection: where a request has ended before the next begins, the bound of loads
        (hash-balance-factor) has nothing to weigh."""
        data = json.dumps(body).encode() if body is not None else None
        head = dict({"Content-Type": "application/json"} if data else {}, **(headers or {}))
        self.c.request(method, path, data, head)
        r = self.c.getresponse()
        return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()

    def ask(self, more=None, headers=None):
        status, head, body = self.request("POST", "/v1/completions", dict(PROMPT, **(more or {})),
                                          headers)
        self.assertEqual(status, 200, body)
        return head.get("x-recurd-replica"), head

    def test_conversations_stay_where_they_are(self):
        places = {}
        for i in range(24):
            key = "user %d" % i
            places[key] = self.ask({"prompt_cache_key": key})[0]
        counts = collections.Counter(places.values())
        self.assertEqual(set(counts), set(NAMES), counts)
        for _ in range(3):
            for key, place in places.items():
                self.assertEqual(self.ask({"prompt_cache_key": key})[0], place)
        for name in ("x-session-token", "Authorization", "x-api-key"):
            got = {self.ask(headers={name: "Bearer t"})[0] for _ in range(4)}
            self.assertEqual(len(got), 1, name)
        # A session is made wherever its maker's hash leads, and every turn goes there, whoever asks.
        homes = collections.Counter()
        for i in range(12):
            status, head, body = self.request("POST", "/v1/sessions", {},
                                                {"x-session-token": "maker %d" % i})
            self.assertEqual(status, 200)
            home, sid = head["x-recurd-replica"], head["x-recurd-session"]
            homes[home] += 1
            for k in range(3):
                place, head = self.ask({"session": sid}, {"x-session-token": "other %d" % k})
                self.assertEqual((place, head["x-recurd-session"]), (home, sid))
            status, head, _ = self.request("GET", "/v1/sessions/" + sid)
            self.assertEqual((status, head["x-recurd-replica"]), (200, home))
            status, head, _ = self.request("POST", "/v1/sessions/%s/fork" % sid, {})
            self.assertEqual((status, head["x-recurd-replica"]), (200, home))
            self.assertEqual(self.ask({"session": head["x-recurd-session"]})[0], home)
        self.assertGreater(len(homes), 1)

    def test_the_dead_and_the_leaving_are_avoided(self):
        keys = ["user %d" % i for i in range(18)]
        before = {k: self.ask({"prompt_cache_key": k})[0] for k in keys}
        self.servers[1].stop(9)
        after = {k: self.ask({"prompt_cache_key": k})[0] for k in keys}  # each is answered, at once
        self.assertNotIn("two", after.values())
        # HAProxy has seen it: the others' conversations are where they were.
        wait_for(lambda: all(self.ask({"prompt_cache_key": k})[0] == before[k]
                             for k in keys if before[k] != "two"))
        # One more leaves while it streams: its stream ends whole, and nobody is refused. It has more
        # bytes than fit between here and there, so it cannot be over before it is read.
        st = None
        for i in range(200):
            st = Stream(self.p, "/v1/completions", dict(PROMPT, max_tokens=2000, stream=True, logprobs=20,
                                                        prompt_cache_key="stream %d" % i), room=32768)
            if st.headers.get("x-recurd-replica") == "one":
                break
            st.reset()
        self.assertEqual(st.headers.get("x-recurd-replica"), "one")
        events = st.events()
        next(events)
        self.servers[0].proc.send_signal(15)
        wait_for(lambda: told(self.agents[0]) == "drain\n")
        # Connections that it has may ask once more; and in a moment nothing goes there.
        wait_for(lambda: {self.ask({"prompt_cache_key": k})[0] for k in keys} == {"three"})
        rest = list(events)
        self.assertNotIn("error", rest[-1])
        finish = [e["choices"][0]["finish_reason"] for e in rest if e["choices"]]
        self.assertEqual((finish[-1], st.done), ("length", True))
        self.assertEqual(self.servers[0].stop(), 0)


if __name__ == "__main__":
    unittest.main()
