#!/usr/bin/env python3
"""The capacity program (etc/capacity): its formulas against its events, its constants against the
sources, and what it prints. Deterministic, and independent of how fast the machine is."""
import contextlib
import io
import itertools
import json
import os
import random
import re
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "etc", "capacity"))
import capacity  # noqa: E402
import estimate  # noqa: E402
import events  # noqa: E402
import workload  # noqa: E402

MIB, GIB = 1 << 20, 1 << 30
# What the page promises: shares of turns by place, and what moves (relative, of the larger).
SHARES, MOVED = 0.08, 0.2

EXP = [(1, 600.0, None)]
HEAVY = [(1, 1800.0, 1.5)]
MIXED = [(0.7, 60.0, None), (0.3, 3600.0, 1.6)]


def setup(**more):
    base = dict(state=6 * MIB, logits=256 << 10, sessions=1000, ram=4 * GIB, disk=0)
    return workload.Setup(**dict(base, **more))


def grid():
    """Tiers that overflow and that do not, gaps of three kinds, one replica and more, both kinds."""
    for think, ram, disk in itertools.product((EXP, HEAVY, MIXED), (4 * GIB, 40 * GIB),
                                              (0, 30 * GIB, 400 * GIB)):
        yield setup(think=think, ram=ram, disk=disk)
    for think in (EXP, MIXED):
        yield setup(think=think, kind="session", ram=3 * GIB, disk=200 * GIB)
        yield setup(think=think, slots=40, ram=8 * GIB, disk=100 * GIB)
    four = dict(sessions=4000, replicas=4, disk=40 * GIB)
    yield setup(**four, misrouted=0.1)
    shared = dict(sessions=2000, replicas=4, kind="session", ram=3 * GIB, store=100 * GIB)
    yield setup(**shared, disk=100 * GIB, misrouted=0.1)
    yield setup(**shared, disk=100 * GIB, routing="random", think=MIXED)
    yield setup(**four, misrouted=0.1, store=100 * GIB)
    yield setup(**four, routing="random", store=40 * GIB, think=MIXED)
    yield setup(**four, routing="random", store=2000 * GIB)
    yield setup(sessions=100000, ram=300 * GIB, disk=8000 * GIB, turns=5, tokens_in=30, tokens_out=500)
    yield setup(kv=8192, ram=20 * GIB, disk=60 * GIB, first=2000)


class Agreement(unittest.TestCase):
    def test_formulas_and_events_agree(self):
        worst, worst_moved = (0.0, ""), (0.0, "")
        for s in grid():
            self.assertIsNone(s.check())
            e = estimate.Estimate(s)
            sim = events.Simulation(s, sample=500, gaps_before=12, gaps_after=8)
            self.assertGreater(sim.turns, 3000)
            for p in workload.PLACES:
                d = abs(e.places[p] - sim.places[p])
                worst = max(worst, (d, "%s: %.3f, %.3f: %s" % (p, e.places[p], sim.places[p], s)))
            self.assertAlmostEqual(sum(e.places.values()), 1, 6)
            r = sim.rates()
            for name, mine in (("computed", e.computed), ("disk_write", e.disk_write),
                               ("put", e.put_bytes_s)):
                d = abs(mine - r[name]) / max(mine, r[name], 1)
                worst_moved = max(worst_moved, (d, "%s: %.4g, %.4g: %s" % (name, mine, r[name], s)))
        print("largest differences: shares %.3f, what moves %.0f %%" % (worst[0], 100 * worst_moved[0]))
        self.assertLess(worst[0], SHARES, worst[1])
        self.assertLess(worst_moved[0], MOVED, worst_moved[1])

    def test_more_is_never_worse(self):
        """More RAM, more disk, better routing: more turns find their state."""
        hits = lambda **k: 1 - estimate.Estimate(setup(**k)).places["recompute"]
        for name, values in (("ram", (1 * GIB, 4 * GIB, 16 * GIB, 64 * GIB)),
                             ("disk", (0, 10 * GIB, 100 * GIB, 1000 * GIB))):
            found = [hits(**{name: v}) for v in values]
            self.assertEqual(found, sorted(found), name)
            self.assertGreater(found[-1], found[0] + 0.05)
        routed = [hits(replicas=8, sessions=8000, ram=40 * GIB, misrouted=p) for p in (0.5, 0.2, 0.0)]
        self.assertEqual(routed, sorted(routed))

    def test_the_same_seed_is_the_same_answer(self):
        runs = [events.Simulation(setup(sessions=100, seed=seed), gaps_before=3, gaps_after=3).place
                for seed in (1, 1, 2)]
        self.assertEqual(runs[0], runs[1])
        self.assertNotEqual(runs[0], runs[2])


class Parts(unittest.TestCase):
    def test_constants_are_those_of_the_cache(self):
        def find(path, pattern):
            with open(os.path.join(ROOT, "statecache", path), encoding="utf-8") as f:
                m = re.search(pattern, f.read())
            self.assertTrue(m, path + ": " + pattern)
            return float(m[1])
        for mine, path, pattern in (
                (workload.GRID, "index/planner.h", r"PLANNER_GRID (\d+)"),
                (workload.LATEST, "index/planner.h", r"PLANNER_LATEST (\d+)"),
                (workload.POINT_SHARE, "index/planner.c", r"POINT_SHARE (\d+)"),
                (workload.CANDIDATES, "value/tiers.c", r"CANDIDATES (\d+)"),
                (workload.HALF_LIFE_S, "index/evict.h", r"HALF_LIFE_S ([\d.]+)"),
                (workload.EVICT_INNER, "index/evict.h", r"EVICT_INNER ([\d.]+)"),
                (workload.EVICT_END_TOKENS, "index/evict.h", r"EVICT_END_TOKENS ([\d.]+)"),
                (workload.BEHIND_BYTES_S / MIB, "value/behind.c", r"bytes_s = MIB\((\d+)\)"),
                (workload.BEHIND_LATE_S, "value/behind.c", r"LATE_S (\d+)"),
                (workload.HEAD, "store/codec.h", r"CODEC_HEAD (\d+)"),
                (workload.SHARED_GAIN, "shared/object.h", r"SHARED_GAIN (\d+)"),
                (workload.CHUNK / MIB, "shared/seal.h", r"MANIFEST_CHUNK MIB\((\d+)\)"),
                (workload.TAG, "shared/seal.h", r"SHARED_TAG (\d+)"),
                (workload.PUT_SHARE, "shared/shared.c", r"PUT_SHARE (\d+)")):
            self.assertEqual(mine, find(path, pattern), path)

    def test_the_grid_is_the_latest_eight_of_every_spacing(self):
        for end in (64, 700, 2000, 5000, 100000):
            wanted = set()
            for k in range(12):
                step = 64 << k
                wanted |= set(range(step, end + 1, step)[-8:])
            self.assertEqual({p for p in range(1, end + 1) if workload.on_grid(p, end)}, wanted)
        # In one piece or in turns: the grid that is left is the same.
        s = setup(turns=12)
        last = workload.profile(s)[0, 11]
        end = last[-1][0]
        self.assertEqual([p for p, _, _ in last if p % 64 == 0],
                         [p for p in range(64, end + 1, 64) if workload.on_grid(p, end)])

    def test_gaps(self):
        for parts in (EXP, HEAVY, MIXED):
            g = workload.Gaps(parts, 4.0)
            rng = random.Random(3)
            drawn = [g.draw(rng) for _ in range(40000)]
            for x in (5.0, 100.0, 2000.0):
                self.assertAlmostEqual(sum(d <= x for d in drawn) / len(drawn), g.within(x), 2)
                n = 20000  # the integral of 1 - F, by steps
                area = sum(g.later((i + 0.5) * x / n) for i in range(n)) * x / n
                self.assertAlmostEqual(area / g.mean, g.age(x), 3)
            for share in (0.1, 0.5, 0.95):
                self.assertAlmostEqual(g.within(g.inverse(g.within, share)), share, 6)

    def test_size_classes(self):
        self.assertEqual([workload.size_class(n) for n in (1, 100, 129, 4096, 5000, MIB + 16)],
                         [16, 112, 160, 4096, 5120, MIB + MIB // 4])


class Printed(unittest.TestCase):
    def run_it(self, *args):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            capacity.main(list(args))
        return out.getvalue()

    def test_json_has_what_is_printed(self):
        args = ["--state", "6M", "--sessions", "200", "--think", "exp:5m", "--ram", "1G", "--disk", "8G"]
        r = json.loads(self.run_it(*args, "--json", "--simulate"))
        self.assertAlmostEqual(sum(r["places"].values()), 1, 6)
        self.assertAlmostEqual(sum(r["simulated"]["places"].values()), 1, 6)
        text = self.run_it(*args)
        for p, share in r["places"].items():
            self.assertRegex(text, r"(?m)^%s +%.1f %%" % (p, 100 * share))
        self.assertGreater(r["buy"][0]["amount"], 0)

    def test_sizes_come_from_describe(self):
        path = os.path.join(os.environ.get("TMPDIR", "/tmp"), "recurd-describe-%d" % os.getpid())
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        with open(path, "w", encoding="ascii") as f:
            f.write("vocabulary: 4096\nsession bytes, fixed: 294912 (0.28 MiB)\n"
                    "session bytes, per token: 512\n")
        _, s = capacity.arguments(["--describe", path])
        self.assertEqual((s.state, s.kv, s.logits), (294912, 512, 16384))

    def test_what_makes_no_sense_is_said(self):
        for args, words in ((["--sessions", "10"], "no size of a state"),
                            (["--state", "6M", "--think", "pareto:60:1"], "no mean"),
                            (["--state", "6M", "--think", "weibull:3"], "neither"),
                            (["--state", "6M", "--kind", "session", "--replicas", "2", "--routing",
                              "random"], "sessions live"),
                            (["--state", "6Q"], "no size like"),
                            (["--state", "6M", "--turns", "0"], "at least"),
                            (["--describe", os.devnull], "has no line")):
            err = io.StringIO()
            with self.assertRaises(SystemExit), contextlib.redirect_stderr(err):
                capacity.arguments(args)
            self.assertIn(words, err.getvalue())


if __name__ == "__main__":
    unittest.main()
