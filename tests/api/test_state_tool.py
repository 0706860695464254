"""recurd-state: what a state folder holds, beside a running daemon and after it."""
import os
import re
import subprocess
import tempfile
import threading
import time
import unittest

from common import DEMO7, Server, Settings

TOOL = os.path.join(os.path.dirname(Settings.recurd), "recurd-state")


class StateTool(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.dir = os.path.join(self.tmp.name, "states")

    def tearDown(self):
        self.tmp.cleanup()

    def tool(self, *args):
        r = subprocess.run([TOOL] + list(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=Settings.patience(60))
        return r.returncode, r.stdout.decode() + r.stderr.decode()

    def files(self):
        found = {}
        for at, _, names in os.walk(self.dir):
            for name in names:
                path = os.path.join(at, name)
                with open(path, "rb") as f:
                    found[path] = (os.stat(path).st_mtime_ns, f.read())
        return found

    def fill(self, tokens=60):
        s = Server(["--model", DEMO7, "--state-dir", self.dir])
        sid = s.post("/v1/sessions", {})["id"]
        for turn in range(2):
            s.complete([7 + turn] * tokens, session=sid, max_tokens=4, temperature=0)
        s.complete([9] * 100, max_tokens=2, temperature=0)
        return s, sid

    def test_beside_a_daemon_and_after_it(self):
        s, sid = self.fill()
        end = time.time() + Settings.patience(30)
        while True:  # a turn is in the log first; its state and its record follow
            code, out = self.tool("ls", self.dir)
            self.assertEqual(code, 0, out)
            self.assertRegex(out, r"log +[1-9]\d* files")
            if re.search(r"session %s +1\d\d " % sid, out) and "state   " in out:
                break
            self.assertLess(time.time(), end, out)
            time.sleep(0.1)
        self.assertRegex(out, r"state   [0-9a-f]{32} .*  (cpu-\w+|opencl)/\d.*\n")
        code, out = self.tool("check", self.dir)
        self.assertEqual(code, 0, out)
        self.assertIn("0 damaged", out)
        self.assertEqual(s.stop(), 0)
        before = self.files()
        for command in ("ls", "check", "show"):
            code, out = self.tool(command, self.dir)
            self.assertEqual(code, 0, out)
        self.assertEqual(before, self.files())
        code, out = self.tool("show", self.dir, sid)
        self.assertEqual(code, 0, out)
        self.assertIn("2 turns", out)
        self.assertRegex(out, r"state: [0-9a-f]{32} at 1\d\d")

    def test_a_busy_daemon_shows_nothing_damaged(self):
        s, sid = self.fill()
        stop = threading.Event()

        def turns():
            i = 0
            while not stop.is_set():
                i += 1
                s.complete([20 + i % 9] * 30, session=sid, max_tokens=2, temperature=0)

        t = threading.Thread(target=turns)
        t.start()
        try:
            for _ in range(Settings.rounds(15)):
                code, out = self.tool("check", self.dir)
                self.assertEqual(code, 0, out)
        finally:
            stop.set()
            t.join()
        self.assertEqual(s.stop(), 0)

    def test_paths_of_long_texts(self):
        s, sid = self.fill(4500)
        self.assertEqual(s.stop(), 0)
        code, out = self.tool("check", self.dir)
        self.assertEqual(code, 0, out)
        self.assertRegex(out, r"paths +[1-9]")
        paths = os.path.join(self.dir, "paths")
        name = sorted(os.listdir(paths))[0]
        os.unlink(os.path.join(paths, name))
        code, out = self.tool("check", self.dir)
        self.assertEqual(code, 1, out)
        self.assertIn("the path before its tokens is not there", out)

    def damage(self, room, change):
        at = os.path.join(self.dir, room)
        name = sorted(os.listdir(at))[0]
        path = os.path.join(at, name)
        with open(path, "rb") as f:
            good = f.read()
        with open(path, "wb") as f:
            f.write(change(good))
        code, out = self.tool("check", self.dir)
        with open(path, "wb") as f:
            f.write(good)
        self.assertEqual(code, 1, out)
        self.assertIn("BAD     %s/%s: " % (room, name), out)
        return out

    def test_damage_is_named(self):
        s, sid = self.fill()
        self.assertEqual(s.stop(), 0)

        def flip(at):
            return lambda b: b[:at] + bytes([b[at] ^ 1]) + b[at + 1:]

        self.assertIn("seal", self.damage("states", flip(200)))
        self.assertRegex(self.damage("states", flip(5000)), "part state(: block 1)? is damaged")
        self.assertIn("magic", self.damage("states", flip(0)))
        self.assertIn("a head alone has", self.damage("states", lambda b: b[:100]))
        self.assertIn("bytes", self.damage("states", lambda b: b[:-1]))
        self.assertIn("bytes", self.damage("states", lambda b: b + b"x"))
        self.assertIn("part session is damaged", self.damage("sessions", flip(730)))
        states = os.path.join(self.dir, "states")
        for name in os.listdir(states):
            os.unlink(os.path.join(states, name))
        code, out = self.tool("check", self.dir)
        self.assertEqual(code, 1, out)
        self.assertIn("BAD     sessions/%s: the state it names is not there" % sid, out)

    def test_kept_responses(self):
        s, _ = self.fill()
        ids = [s.post("/v1/responses", {"input": "Hi.", "max_output_tokens": 3})["id"]
               for _ in range(2)]
        code, out = self.tool("check", self.dir)
        self.assertEqual(code, 0, out)
        self.assertRegex(out, r"responses +2 files +[1-9]\d+ bytes\n")
        self.assertEqual(s.stop(), 0)
        before = self.files()
        self.assertRegex(self.tool("ls", self.dir)[1], r"reply   %s +- +\d+ " % ids[0])
        code, out = self.tool("show", self.dir, ids[1])
        self.assertEqual(code, 0, out)
        self.assertRegex(out, r"response +\d+ bytes\n +messages +\d+ bytes")
        self.assertNotIn(ids[0], out)
        self.assertEqual(before, self.files())

        def flip(at):
            return lambda b: b[:at] + bytes([b[at] ^ 1]) + b[at + 1:]

        self.assertIn("damaged, or of another key", self.damage("responses", flip(200)))
        self.assertIn("damaged, or of another key", self.damage("responses", lambda b: b[:-1]))
        self.assertIn("of another version", self.damage("responses", flip(8)))
        self.assertIn("no response", self.damage("responses", flip(0)))
        at = os.path.join(self.dir, "responses")
        os.rename(os.path.join(at, ids[0]), os.path.join(at, "resp_other"))
        code, out = self.tool("check", self.dir)
        self.assertEqual(code, 1, out)
        self.assertIn("BAD     responses/resp_other: renamed", out)
        self.assertRegex(out, r"\n1 damaged")

    def test_keys_and_folders(self):
        s, _ = self.fill()
        self.assertEqual(s.stop(), 0)
        other = os.path.join(self.tmp.name, "other")
        with open(other, "wb") as f:
            f.write(b"x" * 32)
        code, out = self.tool("--state-key", other, "check", self.dir)
        self.assertEqual(code, 1, out)
        self.assertIn("of another install key", out)
        code, out = self.tool("--state-key", os.path.join(self.dir, "key"), "check", self.dir)
        self.assertEqual(code, 0, out)
        with open(other, "wb") as f:
            f.write(b"short")
        for args, text in ((["--state-key", other, "ls", self.dir], "one that was changed, 5 found"),
                           (["ls", self.tmp.name], "is no state folder"),
                           (["show", self.dir, "00" * 16], "there is no file"),
                           (["frobnicate", self.dir], "usage"), (["ls"], "usage")):
            code, out = self.tool(*args)
            self.assertEqual(code, 2, out)
            self.assertIn(text, out)


if __name__ == "__main__":
    unittest.main()
