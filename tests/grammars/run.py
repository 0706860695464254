#!/usr/bin/env python3
"""Grammars in the long run.

usage: run.py --masks PROGRAM --recurd PROGRAM --work DIR [--only PART] [--schemas N] [--answers N]
              [--compare N] [--steps N]
  walks    texts the engine lets through, of --schemas random schemas, against jsonschema
  answers  of the daemon, with the demo models and random weights, against jsonschema
  masks    against an independent engine (llguidance), of --compare schemas
  costs    compiling, masks, their share of a step, hostile definitions
What it needs from PyPI goes into DIR; a part whose packages cannot be had is printed as skipped.
Exit 1: a fault was found."""
import argparse
import os
import sys
import time

import answers
import costs
import masks
from engine import Ours, Skipped, vocabulary


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--masks", required=True)
    a.add_argument("--recurd", required=True)
    a.add_argument("--work", required=True)
    a.add_argument("--only", choices=["walks", "answers", "masks", "costs"])
    a.add_argument("--schemas", type=int, default=500)
    a.add_argument("--answers", type=int, default=500)
    a.add_argument("--compare", type=int, default=200)
    a.add_argument("--steps", type=int, default=40)
    o = a.parse_args()
    work = os.path.abspath(o.work)
    os.makedirs(work, exist_ok=True)

    def engine(count):
        tokens = vocabulary(work, count)
        return Ours(o.masks, work, tokens), tokens

    parts = {
        "walks": lambda: answers.walks(*engine(answers.WALK_TOKENS), answers.Judge(work), o.schemas,
                                       150),
        "answers": lambda: answers.answers(os.path.abspath(o.recurd), work, answers.Judge(work),
                                           o.answers),
        "masks": lambda: masks.run(*engine(150000), work, o.compare, o.steps),
        "costs": lambda: costs.run(*engine(150000), o.recurd, work),
    }
    faults = 0
    for name, part in parts.items():
        if o.only not in (None, name):
            continue
        start = time.time()
        try:
            found = part()
        except Skipped as e:
            print("skipped: %s: %s" % (name, e))
            continue
        print("%s: %d faults; %.0f s" % (name, found, time.time() - start), flush=True)
        faults += found
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
