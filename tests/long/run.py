#!/usr/bin/env python3
"""The long mode: what shows only in hundreds of rounds. One line each, with how many there were.

usage: run.py [--recurd PATH] [--crashsim PATH] [-k NAME] [--rounds N] [--tell]

  -k NAME     stops, kills, restarts, soak or crashes alone
  --rounds N  so many of each, minutes of the soak, thousands of crashes; else those of the table
  --tell      how far it is, every ten rounds
"""
import argparse
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "api"))
import common  # noqa: E402
import restarts  # noqa: E402
import soak  # noqa: E402
import stops  # noqa: E402


def kills(rounds, say):
    """tests/api/test_kill.py with so many rounds for each of its models."""
    done = subprocess.run([sys.executable, os.path.join(common.ROOT, "tests/api/run.py"), "--recurd",
                           common.Settings.recurd, "-k", "Kill"], capture_output=True, text=True,
                          env=dict(os.environ, RECURD_KILLS=str(rounds)))
    for line in done.stdout.splitlines():
        if "kill -9" in line:
            say(line)
    return done.returncode == 0, done.stderr[-3000:]


def crashes(thousands, say):
    done = subprocess.run([Settings.crashsim, "--crashes", str(1000 * thousands)],
                          capture_output=True, text=True)
    say(done.stdout.strip())
    return done.returncode == 0, done.stdout + done.stderr[-1000:]


class Settings:
    crashsim = os.path.join(common.ROOT, "build", "crashsim")


RUNS = [("stops", stops.run, 1000), ("kills", kills, 100), ("restarts", restarts.run, 100),
        ("soak", soak.run, 60), ("crashes", crashes, 1000)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--recurd", default=common.Settings.recurd)
    parser.add_argument("--crashsim", default=Settings.crashsim)
    parser.add_argument("-k", default="")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--tell", action="store_true")
    args = parser.parse_args()
    common.Settings.recurd = os.path.abspath(args.recurd)
    Settings.crashsim = os.path.abspath(args.crashsim)
    failed = 0
    for name, run, rounds in RUNS:
        if args.k not in name:
            continue
        said, t = [], time.time()

        def say(line):
            said.append(line)
            if args.tell and len(said) % 10 == 1:
                print("  ... " + line, flush=True)
        held, why = run(args.rounds or rounds, say)
        failed += not held
        # A figure that grows is said again and again: the last one. Several: all.
        lines = said if name == "kills" else said[-2:] if name == "soak" else said[-1:]
        print("%-7s %-9s %s (%.0f s)%s" % ("held" if held else "BROKEN", name, "; ".join(lines),
                                           time.time() - t, "" if held else ": " + str(why)),
              flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
