#!/usr/bin/env python3
"""Every published configuration is described, or refused for the reason that the table lists.

  run.py RECURD [--write]

published/NAME.json holds the facts of that checkpoint's config.json (sizes and switches, no
weights); table.txt has a row for each: the number of parameters this build finds a place for, which
tells at a glance whether it is that model, or "refused" and words of the reason. --write prints the
table as this build sees it.
"""
import concurrent.futures
import os
import re
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "published")
TIMES = 100  # no size of a published model may cost more than reading its numbers does


def table():
    rows = {}
    with open(os.path.join(HERE, "table.txt"), encoding="utf-8") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                name, *rest = line.rstrip("\n").split(None, 1)
                rows[name] = rest[0].strip() if rest else ""
    return rows


def describe(recurd, name):
    """What RECURD says of a model: (parameters, None) or (None, reason), and its processor time."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as out, \
            tempfile.TemporaryFile("w+") as err:
        os.symlink(os.path.join(FOLDER, name + ".json"), os.path.join(folder, "config.json"))
        p = subprocess.Popen([recurd, "--describe", "--model", folder, "--load-format", "dummy",
                              "--slots", "1"], stdout=out, stderr=err)
        _, status, used = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        took = used.ru_utime + used.ru_stime
        found = re.search(r"^parameters: (\d+)", out.read(), re.M)
        if p.returncode == 0 and found:
            return int(found[1]), None, took
        return None, (err.read().strip().splitlines() or [f"exit status {p.returncode}"])[-1], took


def differs(row, parameters, reason):
    if row is None:
        return "no row in table.txt"
    if row.startswith("refused: "):
        words = row[len("refused: "):]
        return None if reason and words in reason else f"not refused with '{words}': {reason}"
    if parameters is None:
        return reason
    return None if row == str(parameters) else f"{parameters} parameters, {row} expected"


def main():
    recurd, rows = sys.argv[1], table()
    names = sorted(n[:-len(".json")] for n in os.listdir(FOLDER) if n.endswith(".json"))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        said = list(pool.map(lambda n: describe(recurd, n), names))
    if "--write" in sys.argv:
        for name, (parameters, reason, _) in zip(names, said):
            print(f"{name:32} {parameters if parameters else 'refused: ' + reason}")
        return 0
    wrong = [f"{n}: {d}" for n, s in zip(names, said) if (d := differs(rows.get(n), *s[:2]))]
    most = TIMES * statistics.median(took for _, _, took in said)
    wrong += [f"{n}: took {s[2]:.1f} s, the others {most / TIMES:.3f}" for n, s in zip(names, said)
              if s[2] > most]
    wrong += [f"{n}: in table.txt, but not in published/" for n in rows if n not in names]
    for line in wrong:
        print(line)
    print(f"configs: {len(names) - len(wrong)} passed, {len(wrong)} failed")
    return 1 if wrong or len(names) < 60 else 0


if __name__ == "__main__":
    sys.exit(main())
