#!/usr/bin/env python3
"""Clients that people use, each of its own package of PyPI, against the daemon.

usage: run.py [--recurd build/recurd] [--cache build/clients] [--only CLIENT[,CLIENT]]
              [--feature WORD] [--list]
The cache (or $CLIENTS_CACHE) holds an environment for each client; it may be shared. A line for
each client and feature; the last one is "N passed, N failed, N skipped". A client that cannot be
installed is skipped, by name and reason; exit 1 when a feature failed."""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "api")]
import common  # noqa: E402
import environments  # noqa: E402
import model  # noqa: E402
from clients import CLIENTS  # noqa: E402

PATIENCE = 600  # seconds for one client's features
counts = {"ok": 0, "FAIL": 0, "skip": 0}


def say(word, client, text):
    counts[word] += 1
    print("%s %-13s %s" % ("skipped:" if word == "skip" else "%-5s" % word, client, text),
          flush=True)


def drive(name, script, bin_folder, server, args, scratch):
    """Runs one client's features; its lines become ours."""
    env = dict(os.environ, CLIENT=name, BASE="http://127.0.0.1:%d" % server.port,
               MODEL="demo", BIN=bin_folder, ONLY=args.feature, HOME=scratch,
               PYTHONPATH=HERE, PYTHONWARNINGS="ignore", NO_PROXY="127.0.0.1",
               HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    p = subprocess.Popen([os.path.join(bin_folder, "python"), os.path.join(HERE, script)], env=env,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=scratch)
    try:
        out, err = p.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        p.kill()
        out, err = p.communicate()
        err += "\nnot done within %d s" % PATIENCE
        p.returncode = 1
    seen = 0
    for line in out.splitlines():
        word, _, rest = line.partition(" ")
        if word in counts and rest.strip().startswith(name):
            seen += 1
            say(word, name, rest.strip()[len(name):].strip())
        elif word == "#":
            print(line, flush=True)
    if p.returncode or (not seen and not args.feature):
        last = [x for x in err.strip().splitlines() if x.strip()] or ["it printed nothing"]
        say("FAIL", name, "the client's program: " + last[-1][:300])


def main():
    parse = argparse.ArgumentParser(description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--recurd", default=os.path.join(ROOT, "build", "recurd"))
    parse.add_argument("--cache", default=os.environ.get(
        "CLIENTS_CACHE", os.path.join(ROOT, "build", "clients")))
    parse.add_argument("--only", default="")
    parse.add_argument("--feature", default="")
    parse.add_argument("--list", action="store_true")
    args = parse.parse_args()
    if args.list:
        for name, packages, _ in CLIENTS:
            print("%-13s %s" % (name, " ".join(packages)))
        return 0
    wanted = [c for c in args.only.split(",") if c]
    unknown = set(wanted) - {c[0] for c in CLIENTS}
    if unknown:
        parse.error("no such client: " + ", ".join(sorted(unknown)))
    common.Settings.recurd = os.path.abspath(args.recurd)
    scratch = tempfile.mkdtemp(prefix="recurd-clients-")
    envs = environments.Environments(os.path.abspath(args.cache))
    server = common.Server(["--model", model.make(common.DEMO7, os.path.join(scratch, "demo")),
                            "--state-dir", os.path.join(scratch, "state"),
                            "--hosts", "127.0.0.1"])
    try:
        for name, packages, script in CLIENTS:
            if wanted and name not in wanted:
                continue
            try:
                folder = envs.get(name, packages)
            except environments.Failed as e:
                say("skip", name, "not installed: %s" % e)
                continue
            print("--    %-13s %s %s" % (name, packages[0], envs.version(name, packages[0])),
                  flush=True)
            drive(name, script, folder, server, args, scratch)
            if server.proc.poll() is not None:
                say("FAIL", name, "the daemon ended: " + server.text()[-600:])
                break
        code = server.stop()
        if code:
            say("FAIL", "recurd", "exit code %d: %s" % (code, server.text()[-600:]))
    finally:
        if server.proc.poll() is None:
            server.proc.kill()
        shutil.rmtree(scratch, ignore_errors=True)
    print("%d passed, %d failed, %d skipped" % (counts["ok"], counts["FAIL"], counts["skip"]))
    return 1 if counts["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
