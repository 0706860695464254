"""recurd-state on a shared store: what is whole, what is broken, whose it is, and what may go."""
import json
import os
import subprocess
import unittest

from common import Settings
from test_rotation import TOOL
from test_s3 import ENV, Moto, Rig as BucketRig, moto_python
from test_shared_sessions import create, replicas, turn
from test_shared import LONG, Rig, key_file, needs_redis, no_errors, replica, settled, up


class Upkeep(unittest.TestCase):
    def tool(self, r, *args, key=b"k", code=0):
        out = subprocess.run([TOOL, "--state-key", key_file(r.folder, key), "--json"] + list(args) +
                             [r.redis.url()], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             timeout=Settings.patience(120))
        self.assertEqual(out.returncode, code, out.stderr + out.stdout)
        return json.loads(out.stdout), out.stderr.decode()

    @needs_redis
    def test_two_clusters_on_one_store(self):
        with Rig() as r:
            a, other = r.replica(), r.replica(key=b"o")
            up(a), up(other)
            r.same(a, LONG)
            r.same(other, "Somebody else's. " + LONG)
            settled(a), settled(other)
            ours, errors = self.tool(r, "check")
            theirs, _ = self.tool(r, "check", key=b"o")
            self.assertEqual(errors, "")
            for n in ("states", "chunks"):
                self.assertGreater(ours[n], 0)
            self.assertEqual((ours["states"], ours["foreign"]),
                             (theirs["foreign"], theirs["states"]))
            self.assertEqual((ours["chunks"], ours["foreign_chunks"]),
                             (theirs["foreign_chunks"], theirs["chunks"]))
            for n in ("broken", "orphans", "unknown", "removed"):
                self.assertEqual((ours[n], theirs[n]), (0, 0), n)
            before = sorted(r.redis.keys())
            self.assertEqual(self.tool(r, "prune", "--older", "0")[0]["removed"], 0)
            self.assertEqual(sorted(r.redis.keys()), before)
            # All of our states lose their manifests: their chunks are orphans, at first too young.
            # Whose a key is, its box says: what `prune` leaves is exactly the others'.
            chunk = [k for k in before if k.startswith(b"recurd:c:")]
            r.redis.say("SET", b"recurd:c:" + b"0" * 64, "garbage of nobody")
            r.redis.say("LPUSH", b"recurd:s:" + b"0" * 32, "x")
            r.redis.say("SET", b"recurd:s:short", "no name")
            left = ours["states"]
            for k in [k for k in before if k.startswith(b"recurd:s:")]:
                kept = r.redis.say("GET", k)
                r.redis.say("SET", k, "x" * 900)  # garbage is of no key
                if self.tool(r, "check")[0]["states"] == left:
                    value = kept.split(b"\r\n", 1)[1][:-2]
                    r.redis.say("SET", k, value)  # it was another's
                else:
                    r.redis.say("DEL", k)
                    left -= 1
            self.assertEqual(left, 0)
            now, _ = self.tool(r, "prune")
            self.assertEqual((now["states"], now["orphans"], now["young"], now["removed"]),
                             (0, ours["chunks"], ours["chunks"], 0))
            now, _ = self.tool(r, "prune", "--older", "0")
            self.assertEqual(now["removed"], ours["chunks"])
            keys = r.redis.keys()
            self.assertEqual(len([k for k in keys if k in chunk]), theirs["chunks"])
            self.assertIn(b"recurd:c:" + b"0" * 64, keys)
            self.assertEqual(self.tool(r, "check", key=b"o")[0]["states"], theirs["states"])
            third = r.replica(key=b"o")
            up(third)
            self.assertGreater(r.same(third, "Somebody else's. " + LONG), 200)
            no_errors(third)

    @needs_redis
    def test_broken_states_go(self):
        with Rig() as r:
            a = r.replica()
            up(a)
            r.same(a, LONG)
            settled(a)
            whole, _ = self.tool(r, "check")
            chunk = [k for k in r.redis.keys() if k.startswith(b"recurd:c:")]
            r.redis.say("SETRANGE", chunk[0], 100, "garbage")
            found, errors = self.tool(r, "check", code=1)
            self.assertEqual(found["states"] + found["broken"], whole["states"])
            self.assertGreater(found["broken"], 0)
            self.assertIn("is not what was put", errors)
            r.redis.say("DEL", chunk[0])
            self.assertIn("is gone", self.tool(r, "check", code=1)[1])
            r.redis.say("SET", b"recurd:q:" + b"0" * 32, "of a later release")
            now, _ = self.tool(r, "prune", "--older", "0")
            self.assertEqual((now["unknown"], now["removed"]), (1, found["broken"]))
            r.redis.say("DEL", b"recurd:q:" + b"0" * 32)
            self.tool(r, "prune", "--older", "0")
            now, _ = self.tool(r, "check")
            self.assertEqual((now["broken"], now["orphans"]), (0, 0))
            b = r.replica()
            up(b)
            r.same(b, LONG)  # and it is put again, whole
            settled(b)
            self.assertEqual(self.tool(r, "check")[0]["broken"], 0)
            c = r.replica()
            up(c)
            self.assertGreater(r.same(c, LONG), 200)

    @needs_redis
    def test_the_stretches_of_a_session_stay(self):
        with Rig() as r:
            a, b = replicas(r)
            sid = create(a)["id"]
            path = [5 + i * i % 89 for i in range(9000)]
            turn(a, sid, path)
            settled(a)
            found, _ = self.tool(r, "check")
            self.assertGreater(found["sessions"], 0)
            self.assertEqual((found["unknown"], found["orphans"]), (0, 0))
            self.assertEqual(self.tool(r, "prune", "--older", "0")[0]["removed"], 0)
            turn(b, sid, [7, 8, 9])
            self.assertEqual(self.tool(r, "check", key=b"o")[0]["sessions"], 0)

    @needs_redis
    def test_what_is_refused(self):
        with Rig() as r:
            for args, text in ((["check", r.redis.url()], "give it with --state-key"),
                               (["prune", "--older", "x", r.redis.url()], "not 0 to 1000000"),
                               (["--state-key", key_file(r.folder), "check", "http://x"],
                                "begins with none"),
                               (["--state-key", key_file(r.folder), "check",
                                 "redis+unix:///nowhere"], "redis+unix:///nowhere")):
                out = subprocess.run([TOOL] + args, capture_output=True, text=True,
                                     timeout=Settings.patience(60))
                self.assertEqual(out.returncode, 2)
                self.assertIn(text, out.stderr)


if __name__ == "__main__":
    unittest.main()


class Buckets(unittest.TestCase):
    """The same of a bucket."""

    def tool(self, r, *args, key=b"k", code=0):
        out = subprocess.run([TOOL, "--state-key", key_file(r.folder, key), "--json",
                              "--shared-endpoint", r.stub.endpoint()] + list(args) +
                             ["s3://states/cold"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=dict(os.environ, **ENV), timeout=Settings.patience(120))
        self.assertEqual(out.returncode, code, out.stderr + out.stdout)
        return json.loads(out.stdout), out.stderr.decode()

    def looked_after(self, r):
        a = r.replica()
        up(a)
        r.same(a, LONG)
        settled(a)
        whole, errors = self.tool(r, "check")
        self.assertEqual(errors, "")
        self.assertEqual((whole["states"], whole["chunks"]),
                         (len(r.stub.keys("s/")), len(r.stub.keys("c/"))))
        self.assertGreater(whole["states"], 0)
        for n in ("broken", "orphans", "unknown", "foreign", "foreign_chunks"):
            self.assertEqual(whole[n], 0, n)
        theirs, _ = self.tool(r, "prune", "--older", "0", key=b"o")
        self.assertEqual((theirs["foreign"], theirs["foreign_chunks"], theirs["removed"]),
                         (whole["states"], whole["chunks"], 0))
        chunk = r.stub.keys("c/")[:1]
        r.stub.change(chunk, lambda b: b[:100] + b"garbage" + b[107:])
        found, errors = self.tool(r, "check", code=1)
        self.assertEqual(found["states"] + found["broken"], whole["states"])
        self.assertGreater(found["broken"], 0)
        self.assertIn("is not what was put", errors)
        r.stub.change(chunk, lambda b: None)
        self.assertIn("is gone", self.tool(r, "check", code=1)[1])
        r.stub.place("cold/q/00", b"of a later release")
        now, _ = self.tool(r, "prune", "--older", "0")
        self.assertEqual((now["unknown"], now["removed"]), (1, found["broken"]))
        r.stub.change(["cold/q/00"], lambda b: None)
        r.stub.change(r.stub.keys("s/"), lambda b: None)  # all chunks that are left are orphans
        now, _ = self.tool(r, "prune")
        left = whole["chunks"] - 1
        self.assertEqual((now["orphans"], now["young"], now["removed"]), (left, left, 0))
        now, _ = self.tool(r, "prune", "--older", "0")
        self.assertEqual((now["removed"], r.stub.keys("c/")), (left, []))
        b = r.replica()
        up(b)
        r.same(b, LONG)  # and all is put again
        settled(b)
        self.assertEqual(self.tool(r, "check")[0]["states"], whole["states"])
        c = r.replica()
        up(c)
        self.assertGreater(r.same(c, LONG), 200)

    def test_a_bucket(self):
        with BucketRig() as r:
            self.looked_after(r)

    def test_a_bucket_of_moto(self):
        python = moto_python()
        if not python:
            print("skipped: recurd-state against moto, which cannot be had here (pip install "
                  "moto[server])")
            self.skipTest("no moto")
        with BucketRig(Moto(python)) as r:
            self.looked_after(r)
