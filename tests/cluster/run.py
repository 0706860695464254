#!/usr/bin/env python3
"""A cluster on one machine: replicas, a shared store and HAProxy on hosts of their own, and what
happens when they fail. One line a row, with its figure and its bound.

usage: run.py [--recurd PATH] [--next PATH] [--short] [-k NAME] [--seed N] [--seconds N]

  --next PATH  a build with other numerics, which some restarts take (build/tests/recurd-next)
  --short      some hundred operations, and no row whose figure depends on the machine
  --seed N     another order of operations and faults
  --seconds N  after so long no other row begins, and those are told as skipped; 0: all run
"""
import argparse
import os
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hosts  # noqa: E402
import rows  # noqa: E402
import takeover  # noqa: E402,F401  they add theirs
import slow_store  # noqa: E402,F401
import scale  # noqa: E402,F401
from cluster import Settings  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--recurd", default=Settings.recurd)
    parser.add_argument("--next")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("-k", default="")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=0)
    args = parser.parse_args()
    hosts.enter()
    Settings.recurd = os.path.abspath(args.recurd)
    rows.Settings.next_build = os.path.abspath(args.next) if args.next else None
    rows.Settings.short, rows.Settings.seed = args.short, args.seed
    if args.short:
        hosts.Patience.long()
    failed, begin = 0, time.time()
    for name, run, short in rows.ROWS:
        if args.k not in name or (args.short and not short):
            continue
        t = time.time()
        if args.seconds and t - begin > args.seconds:
            print("skipped: the cluster: %s: the rows before it took %.0f s, and after %d no other "
                  "begins" % (name, t - begin, args.seconds), flush=True)
            continue
        try:
            r = run()
        except Exception as e:  # the other rows are run all the same
            traceback.print_exc()
            r = rows.Result("%s: %s" % (type(e).__name__, e), "-", False, [("it ran", False)])
            rows.Common.close()
        broken = [what for what, so in r.facts if not so]
        # What depends on how fast the machine is decides in the long form alone.
        held = not broken and (r.held or args.short)
        failed += not held
        print("%-7s %-20s %s (bound: %s; %.0f s)%s" % (
            "held" if held else "BROKEN", name, " ".join(r.figure.split()), r.bound,
            time.time() - t, "".join("; not so: " + what for what in broken)), flush=True)
    rows.Common.close()
    for end in rows.Common.ends:
        print("BROKEN  " + end)
    failed += len(rows.Common.ends)
    print("cluster: %d failed, %.0f s" % (failed, time.time() - begin))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
