"""Allocations that fail, in one life of the daemon: some of them here, every one of them with
tests/fault/torture.py."""
import os
import shutil
import sys
import unittest

from common import ROOT, Settings

sys.path.insert(0, os.path.join(ROOT, "tests", "fault"))
import torture  # noqa: E402


class Torture(unittest.TestCase):
    def test_each_failed_allocation_is_an_error_in_json_or_a_clean_exit(self):
        if Settings.slow or Settings.valgrind:
            self.skipTest("the heap is the sanitizer's")
        if not shutil.which("cc") and not shutil.which("gcc"):
            self.skipTest("there is no C compiler")
        torture.run(Settings.recurd, step=7, start_step=399)
