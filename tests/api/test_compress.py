"""States on disk, compressed and not: the same answers after a restart, fewer bytes, told in numbers."""
import os
import re
import subprocess
import tempfile
import unittest

from common import DEMO7, Server, Settings
from test_shared import wait_for

TOOL = os.path.join(os.path.dirname(Settings.recurd), "recurd-state")
TEXT = " ".join("Once a %s rabbit met %d foxes near the river, and they talked." % (word, i)
                for i, word in enumerate(("small", "brave", "sad", "quick") * 8))


def numbers(server, *names):
    """Of the disk tier, all of one moment; None for one that is not told."""
    text = server.request("GET", "/metrics")[2].decode()
    found = [re.search(r'^recurd_%s\{tier="disk"\} (\S+)$' % name, text, re.M) for name in names]
    return [float(f.group(1)) if f else None for f in found]


def number(server, name):
    return numbers(server, name)[0]


class Compress(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()

    def tearDown(self):
        self.tmp.cleanup()

    def serve(self, folder, how):
        return Server(["--model", DEMO7, "--state-dir", os.path.join(self.tmp.name, folder),
                       "--compress", how])

    def bytes_of(self, folder):
        folder = os.path.join(self.tmp.name, folder, "states")
        return sum(os.path.getsize(os.path.join(folder, x)) for x in os.listdir(folder))

    def turn(self, server, sid, prompt):
        reply = server.complete(prompt, session=sid, max_tokens=8, temperature=0, logprobs=3)
        choice = reply["choices"][0]
        return choice["text"], choice["logprobs"]

    def life(self, folder, first, then):
        """-> two turns, with a restart between them"""
        server = self.serve(folder, first)
        sid = server.post("/v1/sessions", {})["id"]
        turns = [self.turn(server, sid, TEXT)]
        packed = first in ("both", "disk")
        wait_for(lambda: number(server, "cache_entries") > 0, "a state on disk", 60)
        if packed:
            wait_for(lambda: number(server, "compress_content_bytes_total") > 0, "one", 60)
            content, stored, seconds = numbers(server, "compress_content_bytes_total",
                                               "compress_stored_bytes_total", "compress_seconds_total")
            self.assertGreater(content, stored * 1.08)
            self.assertGreater(seconds, 0)
        else:
            self.assertEqual(number(server, "compress_content_bytes_total"), 0)
        self.assertEqual(server.stop(), 0)
        server = self.serve(folder, then)
        turns.append(self.turn(server, sid, " The end."))
        self.assertEqual(number(server, "expand_content_bytes_total") > 0, packed)
        self.assertLessEqual(self.bytes_of(folder), number(server, "cache_bytes"))
        self.assertEqual(server.stop(), 0)
        return turns

    def available(self):
        try:
            self.serve("none", "disk").stop()
        except AssertionError:
            self.skipTest("built without libzstd")

    def test_bits_bytes_and_the_tool(self):
        self.available()
        plain = self.life("plain", "off", "off")
        for first, then in (("both", "both"), ("disk", "off"), ("off", "disk")):
            folder = first + then
            self.assertEqual(self.life(folder, first, then), plain)
        self.assertLess(self.bytes_of("bothboth"), self.bytes_of("plain") * 0.93)
        for command, text in (("check", "0 damaged"), ("show", "compressed: "),
                              ("ls", "if nothing were compressed")):
            r = subprocess.run([TOOL, command, os.path.join(self.tmp.name, "bothboth")],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               timeout=Settings.patience(60))
            self.assertEqual(r.returncode, 0, r.stdout)
            self.assertIn(text, r.stdout.decode())
        packed, whole = re.search(r"all of these +(\d+) bytes, (\d+) if", r.stdout.decode()).groups()
        self.assertLess(int(packed), int(whole))

    def test_a_damaged_block_is_quarantined_and_computed_again(self):
        self.available()
        plain = self.life("plain", "off", "off")
        server = self.serve("bad", "both")
        sid = server.post("/v1/sessions", {})["id"]
        self.turn(server, sid, TEXT)
        self.assertEqual(server.stop(), 0)
        folder = os.path.join(self.tmp.name, "bad", "states")
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "r+b") as f:
                size = os.path.getsize(f.name)
                f.seek(size // 2)
                byte = f.read(1)[0]
                f.seek(size // 2)
                f.write(bytes([byte ^ 64]))
        r = subprocess.run([TOOL, "check", os.path.dirname(folder)], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=Settings.patience(60))
        self.assertEqual(r.returncode, 1)
        self.assertIn("another tag", r.stdout.decode())
        server = self.serve("bad", "both")
        self.assertEqual(self.turn(server, sid, " The end."), plain[1])
        server.stop()


if __name__ == "__main__":
    unittest.main()
