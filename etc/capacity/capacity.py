#!/usr/bin/env python3
"""What a number of conversations needs: where turns find their state, what that takes of memory, disks and
networks, what is short first, and what to buy.

By formulas at once, with --simulate also by events. The page etc/guide/capacity.md explains the numbers.
Sizes may end in K, M, G, T (of 1024), times in s, m, h, d. Python's standard library only."""
import argparse
import json
import math
import re
import subprocess
import sys

import estimate
import events
import workload

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def size(text):
    m = re.fullmatch(r"([0-9.]+)([KMGT]?)i?B?", text)
    if not m:
        raise argparse.ArgumentTypeError("%r is no size like 64G" % text)
    return float(m[1]) * UNITS[m[2]]


def seconds(text):
    m = re.fullmatch(r"([0-9.]+)([smhd]?)", text)
    if not m or float(m[1]) <= 0:
        raise argparse.ArgumentTypeError("%r is no time like 90 or 5m" % text)
    return float(m[1]) * SECONDS[m[2]]


def think(text):
    """[WEIGHT*]exp:MEAN or [WEIGHT*]pareto:MEAN:TAIL"""
    m = re.fullmatch(r"(?:([0-9.]+)\*)?(?:exp:([0-9.]+[smhd]?)|pareto:([0-9.]+[smhd]?):([0-9.]+))", text)
    if not m:
        raise argparse.ArgumentTypeError("%r is neither exp:MEAN nor pareto:MEAN:TAIL" % text)
    return (float(m[1] or 1), seconds(m[2] or m[3]), float(m[4]) if m[4] else None)


FLAGS = (  # name, type, what it is; the defaults are workload.Setup's
    ("the model", (
        ("state", size, "bytes of a state that do not grow (recurd --describe: session bytes, fixed)"),
        ("kv", size, "… that grow, per token (hybrids)"),
        ("logits", size, "bytes of a row of logits: four for each entry of the vocabulary"))),
    ("who asks", (
        ("sessions", int, "conversations that are parked at any moment"),
        ("turns", int, "turns of a conversation; then another one begins"),
        ("first", int, "tokens before its first turn: a system prompt of its own, a document"),
        ("tokens-in", int, "new prompt tokens of a turn"),
        ("tokens-out", int, "tokens of an answer"))),
    ("what there is: of each replica", (
        ("replicas", int, "how many"),
        ("misrouted", float, "share of the turns that come to another replica"),
        ("slots", int, "slots of a GPU that parked states may have"),
        ("ram", size, "--state-memory"),
        ("disk", size, "--state-disk; 0: none"),
        ("ram-rate", size, "bytes a second from memory to the device"),
        ("disk-read", size, "… from the disk"),
        ("disk-write", size, "… to it"),
        ("disk-s", seconds, "time until a disk begins to answer"),
        ("tbw", size, "bytes that may be written to it in its life"),
        ("net", size, "bytes a second of the network"),
        ("net-s", seconds, "time to the store and back"),
        ("cores", int, "processors"),
        ("prompt-speed", float, "prompt tokens a second"),
        ("stream-speed", float, "tokens a second of one answer"),
        ("decode-speed", float, "… of all answers together"))),
    ("the shared store", (
        ("store", size, "its memory; 0: none"),
        ("store-net", size, "bytes a second of its network"),
        ("shared-rate", size, "--shared-rate, bytes a second; 0: no bound"))),
)


def arguments(argv):
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", help="asks recurd --describe for the sizes of this model's states")
    p.add_argument("--describe", metavar="FILE", help="… or reads what it printed; -: standard input")
    p.add_argument("--kind", choices=("chat", "session"), default="chat",
                   help="chat: all of a conversation is sent each time; session: /v1/sessions")
    p.add_argument("--think", action="append", type=think,
                   metavar="[W*]exp:MEAN|[W*]pareto:MEAN:TAIL",
                   help="time from an answer to the next question; more than one: a mixture")
    p.add_argument("--routing", choices=("sticky", "random"), default="sticky")
    fields = {f.name: f.default for f in workload.dataclasses.fields(workload.Setup)}
    for title, rows in FLAGS:
        group = p.add_argument_group(title)
        for name, kind, what in rows:
            default = fields[name.replace("-", "_")]
            group.add_argument("--" + name, type=kind, default=default, metavar="N",
                               help="%s (%g)" % (what, default))
    p.add_argument("--hits", type=float, default=0.9, help="what to buy RAM for: a share of turns (0.9)")
    p.add_argument("--simulate", action="store_true", help="by events, too: seconds to a minute")
    p.add_argument("--sample", type=int, default=1500, help="conversations that are simulated (1500)")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--json", action="store_true")
    a = p.parse_args(argv)
    try:
        described(a)
    except (OSError, ValueError, subprocess.SubprocessError) as e:
        p.error(str(e))
    s = workload.Setup(**{n: getattr(a, n) for n in fields if n != "think"},
                       think=a.think or fields_default())
    wrong = s.check()
    if wrong:
        p.error(wrong)
    if not 0 < a.hits < 1:
        p.error("hits is %g, a share between 0 and 1" % a.hits)
    return a, s


def fields_default():
    return workload.Setup().think


def described(a):
    """Takes the sizes of a state from recurd --describe."""
    if a.model:
        text = subprocess.run(["recurd", "--describe", "--model", a.model], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
    elif a.describe:
        with sys.stdin if a.describe == "-" else open(a.describe, encoding="utf-8") as f:
            text = f.read()
    else:
        return
    for name, line, times in (("state", "session bytes, fixed", 1), ("kv", "session bytes, per token", 1),
                              ("logits", "vocabulary", 4)):
        m = re.search(r"^%s: (\d+)" % line, text, re.M)
        if not m:
            raise ValueError("what recurd --describe printed has no line \"%s: …\"" % line)
        if not getattr(a, name):
            setattr(a, name, int(m[1]) * times)


def finite(x):
    return None if x is None or math.isinf(x) else x


def result(a, s, e, sim):
    """All that is printed, as --json has it."""
    r = {"turns_per_second": e.turn_rate, "gap_s": e.gaps.mean, "context_tokens": s.context(),
         "places": e.places, "computed_tokens": e.computed,
         "first_token_s": {p: finite(x) for p, x in e.first_token.items()},
         "queue_s": finite(e.queue),
         "kept_s": {"device": finite(e.t_device), "ram": finite(e.t_ram), "disk": finite(e.t_disk),
                    "shared": finite(e.t_store)},
         "replica": {"disk_read": e.disk_read, "disk_write": e.disk_write, "put": e.put_bytes_s,
                     "got": e.got_bytes_s, "busy": e.prompt_load + e.decode_load},
         "written_behind": e.behind if s.disk and s.kind == "chat" else None,
         "disk_bytes_a_day": e.disk_write * 86400,
         "disk_years": finite(s.tbw / (e.disk_write * 86400 * 365) if e.disk_write else None),
         "loads": [{"what": w, "used": u, "there_is": m, "unit": x} for w, u, m, x in e.loads()],
         "buy": [{"what": w, "amount": n, "so_that": y} for w, n, y in e.buy(a.hits)]}
    if sim:
        r["simulated"] = {"places": sim.places, "turns": sim.turns, **sim.rates()}
    return r


def sized(n, unit="B"):
    for name in ("", "Ki", "Mi", "Gi", "Ti", "Pi"):
        if n < 1000 or name == "Pi":
            return "%.*f %s%s" % (0 if not name and n == int(n) else 1, n, name, unit)
        n /= 1024
    return ""


def timed(x):
    if x is None:
        return "-"
    for unit, least in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if x >= 2 * least or unit == "s" and x >= 1:
            return "%.1f %s" % (x / least, unit)
    return "%.0f ms" % (x * 1000)


def amount(n, unit):
    return sized(n, unit) if unit != "of a replica" else "%.0f %%" % (100 * n)


def report(s, r):
    out = ["%s of state, %s a token, %s of logits; %d %ss of %d turns on %d replica%s" % (
        sized(s.state), sized(s.kv), sized(s.logits), s.sessions, s.kind, s.turns, s.replicas,
        "" if s.replicas == 1 else "s"),
        "%.2f turns a second, %.0f tokens when one comes, %s between two" % (
            r["turns_per_second"], r["context_tokens"], timed(r["gap_s"])), ""]
    sim = r.get("simulated")
    out.append("%-10s %8s%s %12s %12s" % ("state in", "turns", "  by events" if sim else "", "first token",
                                        "kept for"))
    for p in workload.PLACES:
        out.append("%-10s %6.1f %%%s %12s %12s" % (
            p, 100 * r["places"][p], "   %6.1f %%" % (100 * sim["places"][p]) if sim else "",
            timed(r["first_token_s"][p]), timed(r["kept_s"].get(p))))
    out += ["", "computed: %.0f prompt tokens a turn%s; queue: %s" % (
        r["computed_tokens"], " (%.0f by events)" % sim["computed"] if sim else "",
        timed(r["queue_s"]) if r["queue_s"] is not None else "without end: too few replicas")]
    if s.disk:
        out.append("written to a disk: %s a day; it lasts %s" % (
            sized(r["disk_bytes_a_day"]), "%.1f years" % r["disk_years"] if r["disk_years"] else "for ever"))
    if r["written_behind"] is not None:
        out.append("written within a second, so that a crash keeps them: %.0f %% of the ends of prompts and "
                   "answers" % (100 * r["written_behind"]))
    out += ["", "%-26s %14s %14s %7s" % ("fullest first", "used", "there is", "")]
    for x in r["loads"]:
        out.append("%-26s %14s %14s %5.0f %%" % (x["what"], amount(x["used"], x["unit"]),
                                                 amount(x["there_is"], x["unit"]),
                                                 100 * x["used"] / x["there_is"]))
    out += ["", "to buy"]
    for x in r["buy"]:
        n = "%d" % x["amount"] if x["what"] == "replicas" else sized(x["amount"])
        out.append("%-26s %14s   %s" % (x["what"], n, x["so_that"]))
    return "\n".join(out)


def main(argv=None):
    a, s = arguments(argv)
    e = estimate.Estimate(s)
    sim = events.Simulation(s, a.sample) if a.simulate else None
    r = result(a, s, e, sim)
    print(json.dumps(r, indent=1) if a.json else report(s, r))


if __name__ == "__main__":
    main()
