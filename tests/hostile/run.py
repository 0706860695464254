#!/usr/bin/env python3
"""The hostile campaign: every attack with its figure and its bound, one line each.

usage: run.py [--recurd PATH] [--short] [-k PATTERN]
"""
import argparse
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import probes  # noqa: E402
import faults  # noqa: E402,F401  they add theirs
import memory  # noqa: E402,F401
import wire  # noqa: E402,F401


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--recurd", default=probes.Settings.recurd)
    parser.add_argument("--short", action="store_true", help="only what takes seconds")
    parser.add_argument("-k", default="")
    args = parser.parse_args()
    probes.Settings.recurd = os.path.abspath(args.recurd)
    failed = 0
    for name, run, long in probes.PROBES:
        if args.k not in name or (args.short and long):
            continue
        t = time.time()
        r = run()
        broken = [what for what, so in r.facts if not so]
        held = r.held and not broken
        failed += not held
        print("%-7s %-22s %s (bound: %s; %.0f s)%s" % (
            "held" if held else "BROKEN", name, " ".join(r.figure.split()), r.bound,
            time.time() - t,
            "".join("; not so: " + what for what in broken)), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
