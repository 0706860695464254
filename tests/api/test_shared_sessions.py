"""Sessions that replicas have together: one writer, one history, whoever is asked, whatever dies.
Needs redis-server (skipped, with a line, where there is none)."""
import json
import random
import signal
import socket
import threading
import time
import unittest
import uuid

from common import Settings, Stream
from test_cache import ids
from test_shared import Rig, metric, needs_redis, up, wait_for

ASK = dict(temperature=0, ignore_eos=True, logprobs=3, return_token_ids=True)


def replicas(rig, n=2, *more):
    servers = [rig.replica(*more) for _ in range(n)]
    for s in servers:
        up(s)
        records_up(s)
    return servers


def records_up(server):
    """Its third connection works: a new session is shared."""
    create(server)


def create(server):
    """A shared one, at once or, where the store's answer was late, when it is put there."""
    made = server.post("/v1/sessions", {})
    if not made["shared"]:
        wait_for(lambda: show(server, made["id"])["shared"], "a shared session", 60)
        made = show(server, made["id"])
    return made


def send(server, path, body=None, method="POST", **more):
    """-> status, headers, reply; as official clients do, 409 and 503 are sent again. So no answer
    of the store that comes too late, after a second, is a fault."""
    end = time.time() + Settings.patience(60)
    while True:
        status, headers, data = server.request(method, path, body, **more)
        if status not in (409, 503) or headers.get("x-should-retry") != "true":
            return status, headers, json.loads(data)
        assert headers.get("retry-after"), headers
        assert time.time() < end, data
        time.sleep(0.1)


def turn(server, session, prompt, n=8, **fields):
    """Done once, however often it is sent."""
    fields = dict(ASK, prompt=prompt, session=session, max_tokens=n, **fields)
    status, _, reply = send(server, "/v1/completions", dict({"turn_id": uuid.uuid4().hex}, **fields))
    assert status == 200, reply
    return reply


def fork(server, session):
    status, _, reply = send(server, "/v1/sessions/%s/fork" % session, {})
    assert status == 200, reply
    return reply


def holding(server, session, n=100000, room=None, **more):
    """A turn that goes on until its stream is reset; its first token is there, `left` the rest."""
    body = dict(more, prompt=ids(20, 2), session=session, max_tokens=n, stream=True,
                ignore_eos=True)
    end = time.time() + Settings.patience(60)
    while True:  # as send() does
        stream = Stream(server, "/v1/completions", body, room=room)
        if stream.status == 200:
            stream.left = stream.frames()
            first = next(stream.left)
            assert '"error"' not in first, first
            return stream
        assert stream.status in (409, 503) and time.time() < end, stream.status
        stream.close()
        time.sleep(0.1)


def alone(rig, path, n=8):
    return rig.alone.complete(path, max_tokens=n, **ASK)["choices"][0]


def check(rig, path, new, reply, n=8):
    """The turn is that of one server alone; -> the path behind it."""
    want, got = alone(rig, path + new, n), reply["choices"][0]
    assert got["token_ids"] == want["token_ids"], (got, want)
    assert got["logprobs"] == want["logprobs"]
    assert reply["session"]["shared"], reply["session"]
    path = path + new + got["token_ids"]
    assert reply["session"]["position"] == len(path), (reply["session"], len(path))
    return path


def cost(reply):
    u = reply["usage"]
    return u["prompt_tokens"] - u["prompt_tokens_details"]["cached_tokens"]


def show(server, session):
    return send(server, "/v1/sessions/" + session, method="GET")[2]


class Cable:
    """Between a replica and the store: pulled, nothing comes through in either way and nobody is told."""

    def __init__(self, redis):
        self.redis, self.there, self.ends = redis, threading.Event(), []
        self.there.set()
        self.path = redis.path + "-%d" % id(self)
        self.door = socket.socket(socket.AF_UNIX)
        self.door.bind(self.path)
        self.door.listen(32)
        threading.Thread(target=self.accept, daemon=True).start()

    def url(self):
        return "redis+unix://" + self.path

    def accept(self):
        while True:
            try:
                one, other = self.door.accept()[0], socket.socket(socket.AF_UNIX)
                other.connect(self.redis.path)
            except OSError:
                return  # closed
            self.ends += [one, other]
            for pair in ((one, other), (other, one)):
                threading.Thread(target=self.hand_on, args=pair, daemon=True).start()

    def hand_on(self, one, other):
        try:
            while (data := one.recv(65536)):
                self.there.wait()  # late, as by a network that was repaired
                other.sendall(data)
        except OSError:
            pass
        for s in (one, other):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is gone already

    def pull(self):
        self.there.clear()

    def plug(self):
        self.there.set()

    def close(self):
        self.plug()
        for s in [self.door] + self.ends:
            s.close()


class Together(unittest.TestCase):
    @needs_redis
    def test_continues_elsewhere(self):
        """Turns, rewinds and forks go on wherever they are sent, to the bit."""
        with Rig() as r:
            a, b, c = replicas(r, 3)
            s, path = create(a)["id"], []
            for i, server in enumerate((a, b, c, a, a, b)):
                new = ids(40 + 10 * i, 700 + i)
                path = check(r, path, new, turn(server, s, new))
                for other in (a, b, c):
                    at = show(other, s)
                    self.assertEqual((at["position"], at["turns"]), (len(path), i + 1))
            status, _, at = send(c, "/v1/sessions/%s/rewind" % s, {"position": len(path) - 20})
            self.assertEqual((status, at["shared"], at["position"]), (200, True, len(path) - 20))
            path = path[:-20]
            path = check(r, path, ids(9, 1), turn(a, s, ids(9, 1)))
            second = fork(b, s)
            self.assertTrue(second["shared"])
            check(r, path, ids(7, 2), turn(c, second["id"], ids(7, 2)))
            path = check(r, path, ids(5, 3), turn(b, s, ids(5, 3)))
            send(b, "/v1/sessions/" + s, method="DELETE")
            for other in (a, b, c):
                status, _, reply = send(other, "/v1/completions", {"prompt": [5], "session": s})
                self.assertEqual((status, reply["error"]["code"]), (404, "session_not_found"))
                self.assertEqual(send(other, "/v1/sessions/" + s, method="GET")[0], 404)

    @needs_redis
    def test_another_arithmetic_computes_the_path(self):
        """As while replicas are upgraded: float32 and int16 of the same quantised weights."""
        q8 = ("--device", "cpu", "--quantize", "q8", "--kernels")
        with Rig() as rig:
            old, new = (rig.replica(*q8, kernels) for kernels in ("float32", "int16,float32"))
            for s in (old, new):
                up(s)
                records_up(s)
            s, path = create(old)["id"], []
            for i, server in enumerate((old, new, old, new)):
                prompt = ids(30 + len(path), len(path) + 1)
                reply = turn(server, s, prompt)
                if i < 2:  # nothing that the other made is of use
                    assert cost(reply) == len(path) + len(prompt), reply["usage"]
                path += prompt
                whole = server.complete(path, max_tokens=8, **ASK)["choices"][0]
                assert reply["choices"][0]["token_ids"] == whole["token_ids"]
                assert reply["choices"][0]["logprobs"] == whole["logprobs"]
                path += whole["token_ids"]
            assert show(old, s)["position"] == len(path)

    @needs_redis
    def test_a_long_path(self):
        """More than two stretches, which are put once and read by the next."""
        with Rig() as r:
            a, b = replicas(r)
            s, path = create(a)["id"], []
            for i, server in enumerate((a, b, a)):
                new = ids(5000, 40 + i)
                path = check(r, path, new, turn(server, s, new))
            self.assertGreater(metric(b, "session_reads_total"), 0)

    @needs_redis
    def test_the_turn_that_was_repeated(self):
        """A turn id is good on every replica."""
        with Rig() as r:
            a, b = replicas(r)
            s = create(a)["id"]
            first = turn(a, s, ids(50, 1), turn_id="t1", expected_position=0)
            for server in (b, a):
                again = turn(server, s, ids(50, 1), turn_id="t1", expected_position=0)
                self.assertEqual(again["choices"][0]["text"], first["choices"][0]["text"])
                self.assertEqual(again["choices"][0]["token_ids"],
                                 first["choices"][0]["token_ids"])
                self.assertEqual(again["usage"], first["usage"])
            self.assertEqual(show(b, s)["position"], 58)
            self.assertEqual(send(b, "/v1/completions",
                                  dict(prompt=[5], session=s, expected_position=50))[0], 412)

    @needs_redis
    def test_one_writer(self):
        """While a turn runs on one replica the others say 409 and when to try again."""
        with Rig() as r:
            a, b = replicas(r)
            s = create(a)["id"]
            paths = [check(r, [], ids(50, 1), turn(a, s, ids(50, 1)))]

            def told():
                """False where a's sign of life was late, by a second: then it is b's session."""
                stream = holding(a, s)
                status, headers, body = b.request("POST", "/v1/completions", dict(
                    ASK, prompt=[5], session=s, max_tokens=1))
                busy = show(b, s)["busy"]
                stream.reset()
                reply = json.loads(body)
                if status == 409:
                    self.assertEqual(reply["error"]["code"], "session_busy")
                    self.assertEqual((headers["retry-after"], headers["x-should-retry"]),
                                     ("1", "true"))
                    return busy
                if status == 200:
                    paths.append(check(r, paths[-1], [5], reply, 1))
                return False
            wait_for(told, "409", 60)
            check(r, paths[-1], ids(9, 3), turn(b, s, ids(9, 3)))

    @needs_redis
    def test_the_holder_is_killed(self):
        """Its turn did not happen; the next goes on elsewhere, as soon as it is known to be dead."""
        with Rig() as r:
            a, b = replicas(r)
            s = create(a)["id"]
            path = check(r, [], ids(300, 1), turn(a, s, ids(300, 1)))
            stream = holding(a, s)
            a.stop(signal.SIGKILL)
            r.servers.remove(a)
            path = check(r, path, ids(9, 3), turn(b, s, ids(9, 3)))
            check(r, path, ids(9, 4), turn(b, s, ids(9, 4)))

    @needs_redis
    def test_a_paused_holder_is_fenced(self):
        """It comes back after another went on: its turn is refused, and there is one history."""
        with Rig() as r:
            a, b = replicas(r)
            s = create(a)["id"]
            path = check(r, [], ids(300, 1), turn(a, s, ids(300, 1)))
            # Of more bytes than lie between the two: it cannot be over before it is read.
            stream = holding(a, s, 2000, room=32768, logprobs=20)
            a.proc.send_signal(signal.SIGSTOP)
            path = check(r, path, ids(9, 3), turn(b, s, ids(9, 3)))
            a.proc.send_signal(signal.SIGCONT)
            self.assertIn("session_moved", "".join(stream.left))
            self.assertGreater(metric(a, "session_conflicts_total"), 0)
            check(r, path, ids(9, 4), turn(a, s, ids(9, 4)))

    @needs_redis
    def test_both_at_once(self):
        """Exactly one of two turns with one expected position wins."""
        with Rig() as r:
            a, b = replicas(r)
            s = create(a)["id"]
            path = []
            for i in range(4):
                got = {}

                def one(k, server):
                    body = dict(ASK, prompt=ids(20, 10 * i + k), session=s, max_tokens=8,
                                expected_position=len(path), turn_id="%d by %d" % (i, k))
                    got[k] = send(server, "/v1/completions", body)

                threads = [threading.Thread(target=one, args=x) for x in ((0, a), (1, b))]
                for t in threads:
                    t.start()
                for t in threads:
                    t.join()
                self.assertEqual(sorted(g[0] for g in got.values()), [200, 412], got)
                k = 0 if got[0][0] == 200 else 1
                path = check(r, path, ids(20, 10 * i + k), got[k][2])

    @needs_redis
    def test_the_store_goes_and_comes(self):
        """Without it sessions that it has wait, new ones go on here, and are shared when it heals;
        a store that forgot everything gets it back from who knows most."""
        with Rig() as r:
            a, b = replicas(r)
            s = create(a)["id"]
            path = check(r, [], ids(50, 1), turn(a, s, ids(50, 1)))
            path = check(r, path, ids(50, 2), turn(b, s, ids(50, 2)))
            r.redis.kill()
            status, headers, body = b.request("POST", "/v1/completions",
                                              dict(prompt=[5], session=s))
            self.assertEqual((status, json.loads(body)["error"]["code"]),
                             (503, "shared_store_away"), body)
            self.assertTrue(headers["retry-after"])
            new = b.post("/v1/sessions", {})
            self.assertFalse(new["shared"])
            reply = b.complete(ids(30, 3), session=new["id"], max_tokens=8, **ASK)
            self.assertFalse(reply["session"]["shared"])
            other = ids(30, 3) + reply["choices"][0]["token_ids"]
            r.redis.start()
            wait_for(lambda: show(b, new["id"])["shared"], "what was local is shared")
            check(r, other, ids(9, 4), turn(a, new["id"], ids(9, 4)))
            path = check(r, path, ids(9, 5), turn(b, s, ids(9, 5)))
            check(r, path, ids(9, 6), turn(a, s, ids(9, 6)))

    @needs_redis
    def test_a_partition(self):
        """The holder is cut from the store in the middle of a turn: another goes on when its sign of
        life is over, the turn of the one that was cut never happened, whatever it still sends, and it
        goes on from the other's history when it is connected again."""
        with Rig() as r:
            cable = Cable(r.redis)
            self.addCleanup(cable.close)
            a, b = r.replica(url=cable.url()), r.replica()
            for s in (a, b):
                up(s), records_up(s)
            for i in range(2):
                s = create(a)["id"]
                path = check(r, [], ids(200, i), turn(a, s, ids(200, i)))
                stream = holding(a, s)
                cable.pull()
                path = check(r, path, ids(9, 3), turn(b, s, ids(9, 3)))
                stream.reset()
                # Alone it neither goes on nor, once it knows that its turn is over, answers from what
                # it remembers.
                self.assertIn(a.request("POST", "/v1/completions", {
                    "prompt": [5], "session": s, "max_tokens": 1})[0], (409, 503))
                wait_for(lambda: a.request("GET", "/v1/sessions/" + s)[0] == 503, "503")
                path = check(r, path, ids(9, 4), turn(b, s, ids(9, 4)))
                cable.plug()
                path = check(r, path, ids(9, 5), turn(a, s, ids(9, 5)))
                for server in (a, b):
                    self.assertEqual(show(server, s)["position"], len(path))

    @needs_redis
    def test_a_planned_end_hands_over_what_was_left_out(self):
        """Putting has no room for most states while it serves; at its end all sessions' last ones
        go, and the other computes only what is new."""
        with Rig() as r:
            a, b = replicas(r, 2, "--shared-rate", "1")
            sessions = [(create(a)["id"], []) for _ in range(8)]
            for i in range(3):
                sessions = [(s, check(r, path, ids(150, 10 * i + k), turn(a, s, ids(150, 10 * i + k))))
                            for k, (s, path) in enumerate(sessions)]
            self.assertEqual(a.stop(), 0)
            for k, (s, path) in enumerate(sessions):
                reply = turn(b, s, ids(9, k))
                check(r, path, ids(9, k), reply)
                self.assertLessEqual(cost(reply), 9)

    @needs_redis
    def test_a_planned_end_hands_over(self):
        """What the one that leaves had the other goes on from, computing only what is new."""
        with Rig() as r:
            a, b = replicas(r)
            s = create(a)["id"]
            path = check(r, [], ids(500, 1), turn(a, s, ids(500, 1)))
            self.assertEqual(a.stop(), 0)
            reply = turn(b, s, ids(9, 2))
            check(r, path, ids(9, 2), reply)
            self.assertLessEqual(cost(reply), 9)

    @needs_redis
    def test_what_the_store_forgets_newer_turns_outlive(self):
        """Its record is evicted, and a replica with an old copy is asked first: it goes on from what
        another one had acknowledged. After a restart without data records are there again by
        themselves, and who never saw the session goes on with it."""
        with Rig() as r:
            a, b, c = replicas(r, 3)
            before = set(r.redis.keys())
            s = create(a)["id"]
            key = next(k for k in set(r.redis.keys()) - before if k.startswith(b"recurd:r:"))
            path = check(r, [], ids(20, 1), turn(a, s, ids(20, 1)))
            path = check(r, path, ids(20, 2), turn(b, s, ids(20, 2)))
            for i in range(3):  # b has an old copy
                path = check(r, path, ids(20, 3 + i), turn(a, s, ids(20, 3 + i)))
            r.redis.say("DEL", key)
            path = check(r, path, ids(9, 6), turn(b, s, ids(9, 6)))
            self.assertGreaterEqual(metric(b, "session_calls_total"), 1)
            path = check(r, path, ids(9, 7), turn(a, s, ids(9, 7)))
            # The record of some turns ago is put back, as by a mirror that was behind.
            old = r.redis.say("GET", key)
            old = old[old.index(b"\r\n") + 2:-2]
            for i in range(2):
                path = check(r, path, ids(9, 8 + i), turn(a, s, ids(9, 8 + i)))
            r.redis.say("SET", key, old)
            path = check(r, path, ids(9, 10), turn(a, s, ids(9, 10)))
            path = check(r, path, ids(9, 11), turn(b, s, ids(9, 11)))
            r.redis.say("FLUSHALL")
            wait_for(lambda: key in r.redis.keys(), "the record again")
            path = check(r, path, ids(9, 12), turn(c, s, ids(9, 12)))
            for server in (a, b, c):
                self.assertEqual(show(server, s)["position"], len(path))

    @needs_redis
    def test_garbage_is_no_session(self):
        """Cut, altered, another's, another type: the replica that has it goes on, others know none."""
        with Rig() as r:
            a, b = replicas(r)
            one, two = create(a)["id"], create(a)["id"]
            before = set(r.redis.keys())
            s = create(a)["id"]
            key = next(k for k in set(r.redis.keys()) - before if k.startswith(b"recurd:r:"))
            path, good = [], None
            for i in range(5):
                path = check(r, path, ids(20, i), turn(a, s, ids(20, i)))
                if i == 0:
                    r.redis.say("SET", key, "garbage " * 20)
                elif i == 1:
                    r.redis.say("DEL", key)
                    r.redis.say("LPUSH", key, "x")
                elif i == 2:
                    r.redis.say("SETRANGE", key, 100, "garbage")
                elif i == 3:
                    others = [k for k in r.redis.keys() if k.startswith(b"recurd:r:") and k != key]
                    r.redis.say("COPY", others[0], key, "REPLACE")
                if i < 4:
                    asked = send(b, "/v1/completions", dict(prompt=[5], session=s))
                    self.assertEqual(asked[0], 404)
            self.assertGreater(metric(b, "errors_total"), 0)
            check(r, path, ids(9, 9), turn(b, s, ids(9, 9)))
            self.assertEqual({show(b, x)["position"] for x in (one, two)}, {0})

    @needs_redis
    def test_random_operations(self):
        """Several clients, each with its sessions, at two replicas: as one server alone."""
        with Rig() as r:
            servers = replicas(r)
            faults = []

            def client(seed):
                rnd = random.Random(seed)
                mine = []
                try:
                    for step in range(Settings.rounds(20)):
                        server = rnd.choice(servers)
                        what = rnd.random()
                        if not mine or what < 0.15:
                            mine.append([create(server)["id"], []])
                            continue
                        s = rnd.choice(mine)
                        if what < 0.25 and s[1]:
                            to = rnd.randrange(len(s[1]))
                            status, _, at = send(server, "/v1/sessions/%s/rewind" % s[0],
                                                 {"position": to})
                            assert status == 200 and at["position"] == to, at
                            s[1] = s[1][:to]
                        elif what < 0.35:
                            at = fork(server, s[0])
                            assert at["position"] == len(s[1]), (at, len(s[1]))
                            mine.append([at["id"], list(s[1])])
                        else:
                            new = ids(rnd.randrange(5, 60), rnd.randrange(1 << 30))
                            s[1] = check(r, s[1], new, turn(server, s[0], new))
                except BaseException as e:  # told by the test's own thread
                    faults.append(e)

            threads = [threading.Thread(target=client, args=(i,)) for i in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            if faults:
                raise faults[0]


if __name__ == "__main__":
    unittest.main()
