"""Allocations that fail, in one life of the daemon: some of them here, every one of them with
tests/fault/torture.py. How much memory a daemon holds."""
import os
import re
import shutil
import subprocess
import sys
import unittest

from common import DEMO, ROOT, Server, Settings, in_threads

sys.path.insert(0, os.path.join(ROOT, "tests", "fault"))
import torture  # noqa: E402


class Torture(unittest.TestCase):
    def test_each_failed_allocation_is_an_error_in_json_or_a_clean_exit(self):
        if Settings.slow or Settings.valgrind:
            self.skipTest("the heap is the sanitizer's")
        if not shutil.which("cc") and not shutil.which("gcc"):
            self.skipTest("there is no C compiler")
        torture.run(Settings.recurd, step=7, start_step=399)


def described(*args):
    """Bytes that --describe tells: weights, and the states of one sequence."""
    out = subprocess.run([Settings.recurd, "--describe", *args], capture_output=True, text=True,
                         check=True).stdout
    weights = re.search(r"^weights: ([\d.]+) MiB", out, re.M).group(1)
    return float(weights) * 2**20, int(re.search(r"^session bytes, fixed: (\d+)", out, re.M).group(1))


@unittest.skipIf(Settings.slow or Settings.valgrind, "the heap is the sanitizer's")
@unittest.skipIf(Settings.device, "weights are elsewhere")
class Resident(unittest.TestCase):
    """Weights, slots in use, states that are kept, and 60 MiB."""
    SLOTS = 512  # of 0.6 MiB: far more than the rest

    def test_memory_is_what_is_in_use(self):
        args = ["--model", DEMO, "--slots", str(self.SLOTS)]
        weights, state = described(*args)
        self.assertGreater(self.SLOTS * state, 250 << 20)
        s = Server(args)
        self.addCleanup(lambda: s.stop(9))
        self.assertLess(s.metrics()["process_resident_memory_bytes"], weights + (60 << 20))

        def talk(client):
            for k in range(6):
                prompt = [(client * 7919 + k * 104729 + i * i * 31) % 4000 + 10 for i in range(400)]
                s.complete(prompt, max_tokens=4, ignore_eos=True)
        in_threads([lambda client=client: talk(client) for client in range(8)])
        m = s.wait_idle()
        kept = m['recurd_cache_bytes{tier="ram"}']
        self.assertGreater(kept, 60 << 20)  # so a state kept twice would show
        # Whoever ends a turn may have had one slot while the next one had another.
        self.assertLess(m["process_resident_memory_bytes"],
                        weights + 2 * 8 * state + kept + (60 << 20))
