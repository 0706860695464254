#!/usr/bin/env python3
"""Black-box tests of the daemon through a real socket.

usage: run.py [--recurd PATH] [--valgrind] [--slow] [--device SPEC] [--lanes N] [-k PATTERN] [-v]

  --valgrind  every server runs under valgrind; its findings fail the run
  --slow      fewer rounds and longer waits, for builds with a sanitizer
  --device    of the servers, e.g. opencl:nvidia
  --lanes     so many tests at a time, each lane with servers of its own; 1: one after the other in
              this process. What each class took is kept beside PATH: the longest begin first
  -k PATTERN  only tests whose name contains PATTERN (may be given several times)
"""
import argparse
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import common  # noqa: E402
import lanes  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--recurd", default=common.Settings.recurd)
    parser.add_argument("--valgrind", action="store_true")
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--device")
    parser.add_argument("--lanes", type=int, default=min(8, 2 * len(os.sched_getaffinity(0))))
    parser.add_argument("-k", action="append", default=None)
    parser.add_argument("-v", action="store_true")
    args = parser.parse_args()
    common.Settings.recurd = os.path.abspath(args.recurd)
    common.Settings.valgrind = args.valgrind
    common.Settings.device = args.device
    sanitizer = any("/%s/" % s in common.Settings.recurd
                    for s in ("asan", "address", "undefined", "thread"))
    common.Settings.slow = args.slow or args.valgrind or sanitizer
    loader = unittest.TestLoader()
    if args.k:
        loader.testNamePatterns = ["*%s*" % k for k in args.k]
    suite = loader.discover(HERE, pattern="test_*.py")
    if args.lanes > 1 and len({type(t) for t in lanes.tests_of(suite)}) > 1:
        times = os.path.join(os.path.dirname(common.Settings.recurd), "test", "api-seconds.json")
        return 0 if lanes.run(suite, args.lanes, args.v, times, not args.k) else 1
    result = unittest.TextTestRunner(verbosity=2 if args.v else 1).run(suite)
    faults = common.stop_all()
    for fault in faults:
        print(fault, file=sys.stderr)
    return 0 if result.wasSuccessful() and not faults else 1


if __name__ == "__main__":
    sys.exit(main())
