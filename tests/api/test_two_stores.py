"""A hot and a cold shared store, and copies of stores: what rests is in the bucket, what the hot
one forgot comes back from there, and what recurd-state copied is as good as what was there. Needs
redis-server (skipped, with a line, where there is none); the bucket is s3stub.py's."""
import json
import os
import subprocess
import unittest

import common
import s3stub
from common import Settings
from test_cache import ids
from test_rotation import TOOL
from test_s3 import ENV
from test_shared import LONG, Redis, Rig, key_file, metric, needs_redis, settled, up, wait_for
from test_shared_sessions import check, cost, create, records_up, turn

BUCKET = "s3://states/cold"


class Two(Rig):
    """Replicas on both."""

    def __init__(self):
        Rig.__init__(self)
        self.bucket = s3stub.Stub()

    def __exit__(self, *args):
        try:
            Rig.__exit__(self, *args)
        finally:
            self.bucket.stop()

    def both(self, *more, after=0):
        server = self.replica("--shared", BUCKET, "--shared-endpoint", self.bucket.endpoint(),
                              "--shared-cold-wait-ms", "60000", "--shared-cold-after", str(after),
                              *more, env=dict(os.environ, **ENV))
        up(server)
        wait_for(lambda: metric(server, "cold_up") == 1, "the bucket", 60)
        return server


def cold_settled(server):
    """What rests is put there; of a server that lets it rest for no time."""
    wait_for(lambda: metric(server, "cold_pending") == 0, "all states are in the bucket", 60)
    assert metric(server, "cold_writes_total") > 0


def fill(rig):
    """A replica puts the states of LONG into the hot store."""
    a = rig.replica()
    up(a)
    rig.same(a, LONG)
    settled(a)


class TwoStores(unittest.TestCase):
    @needs_redis
    def test_what_the_hot_one_forgot_comes_back(self):
        with Two() as r:
            a = r.both()
            r.same(a, LONG)
            settled(a)
            cold_settled(a)
            b = r.both()
            self.assertGreater(r.same(b, LONG), 0)
            self.assertEqual((metric(b, "hits_total"), metric(b, "cold_hits_total")), (1, 0))
            r.redis.say("FLUSHALL")
            c = r.both()
            self.assertGreater(r.same(c, LONG), 256)
            self.assertEqual((metric(c, "hits_total"), metric(c, "cold_hits_total")), (0, 1))
            # It is in the hot one again.
            wait_for(lambda: metric(c, "writes_total") >= 1, "a state put back")
            d = r.both()
            self.assertGreater(r.same(d, LONG), 256)
            self.assertEqual((metric(d, "hits_total"), metric(d, "cold_hits_total")), (1, 0))

    @needs_redis
    def test_the_cold_one_is_asked_for_what_is_deeper(self):
        """The hot one has only the beginning."""
        with Two() as r:
            a = r.both()
            r.same(a, LONG)
            settled(a), cold_settled(a)
            r.redis.say("FLUSHALL")
            # A replica without a bucket puts a short beginning of it into the hot one.
            short = LONG[:len(LONG) // 8]
            b = r.replica()
            up(b)
            r.same(b, short)
            settled(b)
            c = r.both()
            self.assertGreater(r.same(c, LONG), 300)
            self.assertEqual((metric(c, "hits_total"), metric(c, "cold_hits_total")), (0, 1))

    @needs_redis
    def test_the_hot_one_is_fetched_when_the_cold_one_has_nothing(self):
        with Two() as r:
            a = r.both(after=3600)
            short = LONG[:len(LONG) // 3]
            r.same(a, short)
            settled(a)
            b = r.both(after=3600)
            self.assertGreater(r.same(b, LONG), 100)
            self.assertEqual((metric(b, "hits_total"), metric(b, "cold_hits_total"),
                              metric(b, "cold_misses_total")), (1, 0, 1))

    @needs_redis
    def test_only_what_rests_is_put_there(self):
        with Two() as r:
            a = r.both(after=3600)
            path = []
            s = create(a)["id"]
            for i in range(4):
                path = check(r, path, ids(70, 80 + i), turn(a, s, ids(70, 80 + i)))
            settled(a)
            self.assertEqual((metric(a, "cold_writes_total"), r.bucket.keys()), (0, []))
            hot = len([k for k in r.redis.keys() if k.startswith(b"recurd:s:")])
            # At its end what it has rests: the session's last state, not those of its turns.
            self.assertEqual(a.stop(), 0)
            r.servers.remove(a)
            cold = len(r.bucket.keys("s/"))
            self.assertTrue(1 <= cold < hot, (cold, hot))
            # All of the hot store's states are lost; its records are not.
            for k in r.redis.keys():
                if k[:9] in (b"recurd:s:", b"recurd:i:"):
                    r.redis.say("DEL", k)
            b = r.both()
            records_up(b)
            reply = turn(b, s, ids(9, 3))
            check(r, path, ids(9, 3), reply)
            self.assertLess(cost(reply), 40)
            self.assertEqual(metric(b, "cold_hits_total"), 1)

    @needs_redis
    def test_either_away(self):
        with Two() as r:
            a = r.both()
            r.same(a, LONG)
            settled(a), cold_settled(a)
            r.redis.kill()
            b = r.replica("--shared", BUCKET, "--shared-endpoint", r.bucket.endpoint(),
                          "--shared-cold-wait-ms", "60000", env=dict(os.environ, **ENV))
            wait_for(lambda: metric(b, "cold_up") == 1, "the bucket", 60)
            self.assertEqual(metric(b, "up"), 0)
            self.assertGreater(r.same(b, LONG), 256)
            self.assertEqual(metric(b, "cold_hits_total"), 1)
            r.redis.start()
            up(b)
            r.bucket.stop()
            self.assertGreaterEqual(r.same(b, LONG + " And more of it. " * 40), 256)

    def test_bad_lists(self):
        for urls, said in ((("redis://h", "redis://h"), "store 2 is store 1 once more"),
                           (("redis://h", "redis://i", "s3://bucket"), "more than 2 stores"),
                           (("redis://h", "file://x"), "host"),
                           (("s3://b", "redis://h"), "bucket")):
            with self.subTest(urls=urls):
                args = [x for u in urls for x in ("--shared", u)]
                out = subprocess.run([Settings.recurd, "-m", common.DEMO7, "--state-key",
                                      "/dev/null"] + args, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, timeout=Settings.patience(30))
                self.assertNotEqual(out.returncode, 0)


class Copies(unittest.TestCase):
    def store(self):
        """One more, until the test is over."""
        other = Redis()
        self.addCleanup(other.stop)
        return other

    def copy(self, r, source, to, *more, code=0, key=b"k"):
        place = ["--shared-endpoint", r.bucket.endpoint()] if BUCKET in (source, to) else []
        out = subprocess.run([TOOL, "--state-key", key if os.path.exists(key) else
                              key_file(r.folder, key), "--json"] + place + list(more) +
                             ["copy", source, to], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             timeout=Settings.patience(120), env=dict(os.environ, **ENV))
        self.assertEqual(out.returncode, code, out.stderr + out.stdout)
        return json.loads(out.stdout), out.stderr.decode()

    @needs_redis
    def test_from_store_to_bucket_to_store(self):
        """A session of more than one stretch, and plain prompts, by way of a bucket into a store
        that knows nothing: they go on there, to the bit."""
        other = self.store()
        with Two() as r:
            a = r.replica()
            up(a), records_up(a)
            s, path = create(a)["id"], []
            for i, n in enumerate((4200, 60)):
                path = check(r, path, ids(n, 900 + i), turn(a, s, ids(n, 900 + i)))
            r.same(a, LONG)
            settled(a)
            there, errors = self.copy(r, r.redis.url(), BUCKET)
            self.assertEqual((errors, there["broken"], there["foreign"]), ("", 0, 0))
            self.assertGreater(there["states"], 2)
            self.assertGreaterEqual(there["sessions"], 1)
            again, _ = self.copy(r, r.redis.url(), BUCKET)
            self.assertEqual((again["states"], again["sessions"]), (0, 0))
            self.assertEqual(again["already"], there["states"] + there["sessions"])
            back, _ = self.copy(r, BUCKET, other.url())
            self.assertEqual((back["states"], back["sessions"]),
                             (there["states"], there["sessions"]))
            # Interrupted: the half of it is gone, and it goes on.
            states = [k for k in other.keys() if k.startswith(b"recurd:s:")]
            for k in states[::2]:
                other.say("DEL", k)
            rest, _ = self.copy(r, BUCKET, other.url())
            self.assertEqual(rest["states"], len(states[::2]))
            b = r.replica(url=other.url())
            up(b), records_up(b)
            reply = turn(b, s, ids(9, 4))
            path = check(r, path, ids(9, 4), reply)
            self.assertLess(cost(reply), 40)
            self.assertGreater(r.same(b, LONG), 256)
            # The newer record stays, wherever it is copied from and to.
            self.copy(r, r.redis.url(), other.url())
            check(r, path, ids(9, 5), turn(b, s, ids(9, 5)))
            r.servers.remove(b)
            self.assertEqual(b.stop(), 0)

    @needs_redis
    def test_what_is_broken_or_anothers_is_left(self):
        other = self.store()
        with Two() as r:
            fill(r)
            chunks = [k for k in r.redis.keys() if k.startswith(b"recurd:c:")]
            r.redis.say("SETRANGE", chunks[0], 40, "garbage")
            r.redis.say("SET", b"recurd:s:" + b"0" * 32, "x" * 1000)
            r.redis.say("LPUSH", b"recurd:s:" + b"1" * 32, "x")
            r.redis.say("SET", b"recurd:r:" + b"2" * 32, "RECURDCL" + "x" * 200)
            told, errors = self.copy(r, r.redis.url(), other.url(), code=1)
            self.assertGreaterEqual(told["broken"], 1)
            self.assertIn("BAD     s:", errors)
            self.assertGreaterEqual(told["foreign"], 1)
            foreign, _ = self.copy(r, r.redis.url(), BUCKET, key=b"o")
            self.assertEqual((foreign["states"], r.bucket.keys()), (0, []))
            self.assertGreater(foreign["foreign"], told["states"])

    @needs_redis
    def test_to_another_key(self):
        """What the key of before sealed is the new one's in the copy."""
        other = self.store()
        with Two() as r:
            fill(r)
            old = key_file(r.folder)
            new = key_file(r.folder, b"n")
            with open(new, "wb") as f:
                f.write(b"n" * 32 + b"k" * 32)  # the half that names stays
            told, _ = self.copy(r, r.redis.url(), other.url(), "--state-key-old", old, key=new)
            self.assertGreater(told["states"], 0)
            again, _ = self.copy(r, other.url(), BUCKET, key=new)
            self.assertEqual(again["states"], told["states"])
            none, _ = self.copy(r, other.url(), r.redis.url())
            self.assertEqual((none["states"], none["foreign"]), (0, told["states"]))


if __name__ == "__main__":
    unittest.main()
