#!/usr/bin/env python3
"""Black-box tests of recurd-bench against fake_server.py: what it reports must be what happened.

  run_tests.py [--bench build/recurd-bench] [--artifacts build/bench-tests] [--lanes N] [NAME...]

Each test is a function test_*, and has a folder of artifacts. Two run at a time, since most of them
wait; those marked by alone() when no other does. Timing tests compare with the moments that the
fake server wrote down, not with what it was told, so a busy machine does not fail them; they may
repeat twice.
"""
import argparse
import concurrent.futures
import contextlib
import io
import json
import math
import multiprocessing
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "api"))
from common import free_port, wait_for  # noqa: E402

HUNG_S = 1800  # a program that is not over by then
NAMES = (("p50", .5), ("p90", .9), ("p95", .95), ("p99", .99), ("p99.9", .999))


def hurry():
    """On a busy machine both ends would mostly measure how long they wait for a processor."""
    try:
        os.nice(-15)
    except OSError:
        pass  # only the privileged may; the timing tests then need a machine with time to spare


class Fake:
    """The fake server as a process, with its log."""

    def __init__(self, port=0):
        self.path = ART / ("fake-%d.log" % time.monotonic_ns())
        self.proc = subprocess.Popen([sys.executable, HERE / "fake_server.py", "--port", str(port),
                                      "--log", self.path], stdout=subprocess.PIPE, text=True,
                                     preexec_fn=hurry)
        self.port = int(self.proc.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.kill()
        self.proc.wait()
        self.proc.stdout.close()
        self.path.unlink(missing_ok=True)

    def over(self):
        """How many requests are."""
        return self.path.read_text().count("\n")

    def log(self, skip=1):
        """The requests in the order they arrived, without the warm-up."""
        rows = [json.loads(s) for s in self.path.read_text().splitlines()]
        return sorted(rows, key=lambda r: r["received"])[skip:]


def run(port, *args, model="ttft=5;itl=1", code=0, stdin=None, wait=True):
    out = ART / "result.json"
    out.unlink(missing_ok=True)
    cmd = [BENCH, "--url", "http://127.0.0.1:%d" % port, "--model", model, "--json", out,
           "--quiet", *map(str, args)]
    if not wait:
        return subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                preexec_fn=hurry)
    p = subprocess.run(cmd, capture_output=True, text=True, timeout=HUNG_S, preexec_fn=hurry)
    assert p.returncode == code, "exit code %d, not %d: %s" % (p.returncode, code, p.stderr)
    return json.loads(out.read_text()) if out.exists() else p.stderr


def quantile(values, q):
    v = sorted(values)
    at = q * (len(v) - 1)
    i = int(at)
    return v[i] if i + 1 >= len(v) else v[i] + (at - i) * (v[i + 1] - v[i])


class Machine(threading.Thread):
    """How late a sleeper of 5 ms is woken while a test runs: on a machine with more work than
    processors neither end can know the truth more exactly than that."""
    late = [0.0]  # ms

    def __init__(self):
        super().__init__(daemon=True)
        self.over = threading.Event()
        Machine.late = [0.0]

    def run(self):
        while not self.over.is_set():
            t = time.monotonic()
            time.sleep(0.005)
            Machine.late.append((time.monotonic() - t - 0.005) * 1e3)

    def __enter__(self):
        self.start()

    def __exit__(self, *_):
        self.over.set()
        self.join()
        if quantile(Machine.late, 0.95) > 1:
            print("      a busy machine: sleepers are woken %.1f ms late, %.1f at most" % (
                quantile(Machine.late, 0.95), max(Machine.late)))


def close(got, want, what):
    """Right within 1 ms or 1 %; more only where this machine itself is later than that."""
    tail = what.split()[1] in ("p99", "p99.9", "max", "std")
    noise = 2 * max(Machine.late) if tail else quantile(Machine.late, 0.95)
    assert abs(got - want) <= max(1.0, 0.01 * want, noise if noise > 1 else 0), \
        "%s: %.3f reported, %.3f true" % (what, got, want)


def alone(test):
    """It measures the machine, or fills it."""
    test.alone = True
    return test


def thrice(test):
    """A measurement may be disturbed by other programs; a wrong one fails every time."""
    def again():
        for left in (2, 1, 0):
            try:
                with Machine():
                    return test()
            except AssertionError:
                if not left:
                    raise
                time.sleep(1)
    again.__name__ = test.__name__
    again.__doc__ = test.__doc__
    return alone(again)


def check_latencies(r, rows):
    true = {k: [] for k in ("ttft", "ttst", "itl", "tpot", "e2e")}
    for row in rows:
        w = [t / 1e6 for t in row["writes"]]
        true["ttft"].append(w[0] - row["received"] / 1e6)
        true["ttst"].append(w[1] - w[0])
        true["itl"] += [b - a for a, b in zip(w, w[1:])]
        true["tpot"].append((w[-1] - w[0]) / (len(w) - 1))
        true["e2e"].append(w[-1] - row["received"] / 1e6)
    for name, values in true.items():
        got = r["latency"][name]
        assert got["n"] == len(values), name
        mean = sum(values) / len(values)
        close(got["mean_ms"], mean, name + " mean")
        close(got["std_ms"], math.sqrt(sum((x - mean) ** 2 for x in values) / len(values)),
              name + " std")
        # The last per mille of thousands of gaps is one disturbed wake-up of this machine.
        for p, q in NAMES if name != "itl" else NAMES[:4]:
            close(got[p + "_ms"], quantile(values, q), "%s %s" % (name, p))


@thrice
def test_percentiles_are_those_of_the_server():
    with Fake() as f:
        r = run(f.port, "--rate", 40, "--requests", 160, "--output-tokens", 12,
                "--input-tokens", 20, model="ttft=250;itl=40;spread=1")
        assert r["requests"]["ok"] == 160 and r["requests"]["failed"] == 0
        check_latencies(r, f.log())
        assert r["tokens"]["output"] == 160 * 12 and r["tokens"]["prompt"] == 160 * 20
        assert r["tokens"]["streamed_outputs"] == 160 * 12


@thrice
def test_nominal_delays_are_reported():
    with Fake() as f:
        r = run(f.port, "--concurrency", 4, "--requests", 40, "--output-tokens", 10,
                model="ttft=300;itl=50")
        # Never earlier than told; how much later the fake's log says.
        for p in ("p50", "p90"):
            assert r["latency"]["ttft"][p + "_ms"] >= 300, r["latency"]["ttft"]
            assert r["latency"]["e2e"][p + "_ms"] >= 750, r["latency"]["e2e"]
        check_latencies(r, f.log())


def jsonl(path, by):
    return sorted(map(json.loads, path.read_text().splitlines()), key=lambda row: row[by])


def check_series(r, rows, start):
    """Tokens until the end of each second: the log's, but for those beside the border."""
    near = 5 + 2 * max(Machine.late)
    writes = [(w - start) / 1e6 for row in rows for w in row["writes"]]
    got = 0
    for second, tokens in enumerate(r["series"]["output_tokens"], 1):
        got += tokens
        least, most = (sum(w < second * 1e3 + d for w in writes) for d in (-near, near))
        assert least <= got <= most, (second, r["series"]["output_tokens"], least, most)


@thrice
def test_a_stall_shows_from_the_schedule_and_hides_from_the_send():
    with Fake() as f:
        lines = ART / "stall.jsonl"
        r = run(f.port, "--rate", 50, "--arrival", "constant", "--duration", 6,
                "--max-concurrency", 2, "--output-tokens", 3, "--warmup-requests", 0,
                "--jsonl", lines, model="ttft=10;itl=2;stall_at=2;stall=1.5")
        rows, log, due = jsonl(lines, "scheduled_ms"), f.log(0), r["latency"]["ttft_scheduled"]
        assert [round(row["scheduled_ms"]) for row in rows] == [20 * i for i in range(300)]
        # Of two that are sent at once the second may be received first: the sums are the same.
        start = min(a["received"] - b["sent_ms"] * 1e6
                    for a, b in zip(log, jsonl(lines, "sent_ms")))
        true = sum((row["writes"][0] - start) / 1e6 for row in log) / 300
        close(due["mean_ms"], true - 20 * 299 / 2, "ttft_scheduled mean")
        waited = [row["first_ms"] - row["scheduled_ms"] for row in rows]
        for p, q in NAMES:
            assert abs(due[p + "_ms"] - quantile(waited, q)) < 0.01, (p, due)
        # From the send only those that were open in the stall have met it.
        check_latencies(r, log)
        # Those due in the stall, 75, are sent after it: this late at least, whatever the machine.
        assert r["requests"]["late"] > 70 and due["p95_ms"] > 700 and due["max_ms"] > 1300, due
        check_series(r, log, start)


def test_any_cut_of_the_stream_gives_the_same_tokens():
    for how in ("cut=1", "cut=2", "cut=7;eol=crlf", "cut=3;eol=cr", "eol=cr", "until_close=1",
                "until_close=1;cut=5", "length=1", "length=1;eol=crlf"):
        for endpoint in ("completions", "chat"):
            with Fake() as f:
                r = run(f.port, "--concurrency", 3, "--requests", 6, "--output-tokens", 5,
                        "--endpoint", endpoint, model="ttft=2;itl=1;" + how)
                assert r["requests"]["ok"] == 6, (how, r["requests"])
                assert r["tokens"]["output"] == 30 == r["tokens"]["streamed_outputs"], how


def test_every_fault_has_its_class():
    cases = {
        "status=429": "http_429", "status=400": "http_4xx", "status=503": "http_5xx",
        "status=302": "bad_http", "malformed=2": "bad_event", "malformed=0": "bad_event",
        "error=2": "api_error", "close=2": "closed", "close=0": "closed", "reset=2": "reset",
        "half=2": "closed", "hang=2": "timeout", "nodone=1": "truncated", "garbage=1": "bad_http",
        "hugehead=1": "bad_http",
    }
    for fault, want in cases.items():
        with Fake() as f:
            r = run(f.port, "--rate", "inf", "--requests", 30, "--output-tokens", 6, "--timeout",
                    5 if want == "timeout" else 600, "--warmup-requests", 0,
                    model="ttft=5;itl=2;every=3;" + fault)
            assert r["requests"]["errors"] == {want: 10}, (fault, r["requests"])
            assert r["requests"]["ok"] == 20
            assert r["latency"]["ttft"]["n"] == 20, "failed requests stay out of the latencies"
            assert r["requests"]["error_samples"][want]


def test_a_dead_server_is_an_error_of_class_connect():
    with Fake() as f:
        assert "--retry" in run(f.port, "--retry", code=2)
        r = run(f.port, "--rate", 200, "--requests", 200, "--max-concurrency", 20,
                "--output-tokens", 20, model="ttft=5;itl=1;die=100")
        errors = r["requests"]["errors"]
        # What was open then may be among either.
        assert errors.get("connect", 0) >= 50 and r["requests"]["ok"] >= 79, r["requests"]
        assert set(errors) <= {"connect", "reset", "closed"}, errors
        assert sum(errors.values()) + r["requests"]["ok"] == 200 == r["requests"]["measured"]


def test_a_closed_loop_on_a_dead_server_does_not_spin():
    with Fake() as f:
        r = run(f.port, "--concurrency", 4, "--requests", 60, "--output-tokens", 20,
                model="ttft=5;itl=1;die=20")
        # Four at a time, and a tenth of a second between them.
        refused = r["requests"]["errors"]["connect"]
        assert refused >= 20 and r["wall_s"] > 0.1 * (refused / 4 - 2), (r["requests"], r["wall_s"])


def test_a_server_that_is_not_there_is_said_in_one_sentence():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    said = run(s.getsockname()[1], code=2)
    assert "refused" in said and said.count("\n") == 1, said


def test_a_stale_connection_is_asked_again():
    with Fake() as f:
        r = run(f.port, "--concurrency", 1, "--requests", 20, "--output-tokens", 2,
                model="ttft=1;itl=1;drop=1")
        assert r["requests"]["ok"] == 20, r["requests"]


def test_the_schedule_is_fixed_by_the_seed():
    def plan(seed, *more):
        with Fake() as f:
            lines = ART / "plan.jsonl"
            run(f.port, "--rate", 200, "--requests", 60, "--seed", seed, "--jsonl", lines,
                "--output-tokens", "uniform:1:5", "--input-tokens", "normal:50:10", *more)
            rows = sorted(map(json.loads, lines.read_text().splitlines()), key=lambda r: r["conv"])
            return [(r["scheduled_ms"], r["asked_prompt"], r["asked_output"]) for r in rows]
    one = plan(7)
    assert one == plan(7) != plan(8)
    gaps = [b[0] - a[0] for a, b in zip(one, one[1:])]
    assert abs(sum(gaps) / len(gaps) - 5) < 2.5
    even = [x[0] for x in plan(7, "--arrival", "constant")]
    assert max(abs(x - 5 * i) for i, x in enumerate(even)) < 0.01
    smooth = [x[0] for x in plan(7, "--arrival", "gamma", "--burstiness", "100")]
    gaps = [b - a for a, b in zip(smooth, smooth[1:])]
    assert max(gaps) < 8 and min(gaps) > 2.5, (min(gaps), max(gaps))


def test_the_arrivals_of_a_trace_are_kept():
    trace = ART / "trace.jsonl"
    trace.write_text("".join(json.dumps({
        "timestamp": 100 + 20 * i, "input_length": 600 + i, "output_length": 1 + i % 3,
        "hash_ids": [1, 2 + i % 2]}) + "\n" for i in range(10)))
    with Fake() as f:
        lines = ART / "plan.jsonl"
        r = run(f.port, "--trace", trace, "--jsonl", lines)
        rows = sorted(map(json.loads, lines.read_text().splitlines()), key=lambda x: x["conv"])
        assert [x["prompt_tokens"] for x in rows] == [600 + i for i in range(10)]
        assert [x["output_tokens"] for x in rows] == [1 + i % 3 for i in range(10)]
        assert all(abs(x["scheduled_ms"] - 20 * i) < 0.01 for i, x in enumerate(rows))
        assert r["requests"]["ok"] == 10


def test_ramps_raise_the_rate():
    with Fake() as f:
        lines = ART / "ramp.jsonl"
        run(f.port, "--ramp", "linear:10:100:3", "--duration", 3, "--arrival", "constant",
            "--output-tokens", 2, "--jsonl", lines)
        rows = jsonl(lines, "scheduled_ms")
        assert all(row["sent_ms"] >= row["scheduled_ms"] for row in rows), "sent before it is due"
        due = [row["scheduled_ms"] / 1e3 for row in rows]
        assert 164 <= len(due) <= 166, len(due)
        for i, t in enumerate(due):
            assert abs(10 * t + 15 * t * t - i) < 1.1, "%d is due at %.3f s" % (i, t)
        # Nothing is answered before all workers have come.
        r = run(f.port, "--ramp", "linear:1:8:2", "--concurrency", 8, "--requests", 16,
                "--output-tokens", 10, "--warmup-requests", 0, "--jsonl", lines, model="together=8")
        rows = jsonl(lines, "scheduled_ms")
        assert all(row["sent_ms"] >= row["scheduled_ms"] for row in rows), "sent before it is due"
        due = [row["scheduled_ms"] for row in rows]
        assert all(abs(t - 2000 * i / 7) < 2 for i, t in enumerate(due[:8])), due
        assert r["self"]["peak_open_requests"] == 8


def test_warm_up_and_cancelled_requests_are_counted_apart():
    with Fake() as f:
        r = run(f.port, "--rate", 50, "--arrival", "constant", "--duration", 2, "--warmup", 1,
                "--output-tokens", 5)
        assert r["requests"]["warmup"] == 50 == r["requests"]["measured"], r["requests"]
        r = run(f.port, "--rate", "inf", "--requests", 200, "--cancel", 0.25, "--cancel-after", 60,
                "--output-tokens", 20, model="ttft=20;itl=100")
        n = r["requests"]["cancelled"]
        assert 30 <= n <= 70 and r["requests"]["ok"] == 200 - n and not r["requests"]["failed"]


def test_interrupt_prints_what_was_measured():
    said = ART / "progress"
    with Fake() as f, open(said, "w", encoding="utf-8") as err:
        # Every fifth stream goes silent: so many are open when this is interrupted.
        p = subprocess.Popen([BENCH, "--url", "http://127.0.0.1:%d" % f.port, "--rate", "50",
                              "--duration", "600", "--output-tokens", "40", "--json",
                              ART / "result.json", "--progress", "--model",
                              "ttft=5;itl=10;every=5;hang=3"],
                             stdout=subprocess.PIPE, stderr=err, text=True)
        wait_for(lambda: f.over() > 30 and "tok/s" in said.read_text(), 600)
        p.send_signal(signal.SIGINT)
        out = p.communicate(timeout=HUNG_S)[0]
        assert p.returncode == 130, (p.returncode, said.read_text())
        assert "interrupted" in out and "TTFT" in out
        r = json.loads((ART / "result.json").read_text())
        assert r["requests"]["interrupted"] and r["requests"]["ok"] > 20
        assert r["requests"]["unfinished"] > 2 and not r["requests"]["failed"]


def test_conversations_send_their_history_again():
    with Fake() as f:
        for more in ((), ("--return-token-ids",)):
            r = run(f.port, "--concurrency", 2, "--requests", 4, "--turns", 3, "--think", 0.05,
                    "--input-tokens", 10, "--output-tokens", 4, *more)
            turns = [t["prompt_tokens_mean"] for t in r["by_turn"]]
            assert turns == [10, 24, 38], turns
            assert set(r["by_kind"]) == {"first", "turn"}
        r = run(f.port, "--concurrency", 2, "--requests", 4, "--turns", 2, "--endpoint", "chat",
                "--input-tokens", 10, "--output-tokens", 4)
        turns = [t["prompt_tokens_mean"] for t in r["by_turn"]]
        assert r["requests"]["ok"] == 8 and turns[1] > turns[0]


def test_sessions_send_only_the_new_turn():
    with Fake() as f:
        args = ("--concurrency", 2, "--requests", 4, "--input-tokens", 10, "--output-tokens", 4)
        r = run(f.port, *args, "--turns", 3, "--session")
        assert [t["cached_tokens_mean"] for t in r["by_turn"]] == [0, 14, 28]
        assert r["requests"]["sessions"] == 4
        r = run(f.port, *args, "--fork", 3)
        assert r["by_kind"]["fork"]["n"] == 12 and r["requests"]["forks"] == 12
        assert r["by_kind"]["fork"]["cached_tokens_mean"] == 14
        r = run(f.port, *args, "--turns", 2, "--session", "--turn-tokens", 3)
        assert [t["prompt_tokens_mean"] for t in r["by_turn"]] == [10, 17]
        r = run(f.port, *args, "--idle", 0.5)
        assert r["by_kind"]["resume"]["n"] == 4 and r["wall_s"] > 1
        assert r["by_kind"]["resume"]["cached_tokens_mean"] == 14


def test_restart_then_resume_waits_for_the_server():
    with Fake(free_port()) as f:
        script = ART / "restart.sh"
        script.write_text("kill -9 %d; sleep 0.3; (exec %s %s --port %d >/dev/null 2>&1 & "
                          "echo $! > %s)\n" % (f.proc.pid, sys.executable, HERE / "fake_server.py",
                                               f.port, ART / "restarted.pid"))
        r = run(f.port, "--rate", 50, "--requests", 10, "--input-tokens", 10, "--output-tokens", 4,
                "--restart", "sh %s" % script)
        os.kill(int((ART / "restarted.pid").read_text()), signal.SIGKILL)
        # The fake server forgets its sessions, but the turns are asked again all the same.
        assert r["by_kind"]["first"]["n"] == 10 == r["by_kind"]["resume"]["n"]
        assert r["requests"]["restart_ms"] > 300


def test_datasets_are_read():
    text = ART / "p.txt"
    text.write_text('one "quoted" line\n\nzwei Zeilen äöü\n')
    lines = ART / "p.jsonl"
    lines.write_text('{"prompt":"a b c","max_tokens":3}\n[1,2,3]\n"just text"\n'
                     '{"turns":["one","two"],"output_tokens":2}\n')
    chat = ART / "c.jsonl"
    chat.write_text('{"messages":[{"role":"user","content":"hi \\u00e9"}],"max_tokens":2}\n')
    share = ART / "s.json"
    share.write_text(json.dumps([
        {"conversations": [{"from": "human", "value": "hello there"},
                           {"from": "gpt", "value": "x" * 40}]},
        {"conversations": [{"from": "gpt", "value": "no question"}]}]))
    with Fake() as f:
        for path, endpoint, want in ((text, "completions", 8 * 5), (lines, "completions", None),
                                     (chat, "chat", 16), (share, "completions", 80),
                                     (share, "chat", 80)):
            more = ("--output-tokens", 5) if path == text else ()
            r = run(f.port, "--dataset", path, "--endpoint", endpoint, "--requests", 8,
                    "--rate", "inf", *more)
            assert r["requests"]["ok"] == 8, (path, r["requests"])
            assert want is None or r["tokens"]["output"] == want, (path, r["tokens"])
        said = run(f.port, "--dataset", chat, code=2)
        assert "cannot send" in said, said
        lines.write_text('{"prompt": 3}\n')
        assert "line 1" in run(f.port, "--dataset", lines, code=2)


def test_verify_finds_one_wrong_digit():
    with Fake() as f:
        args = ("--verify", "--requests", 12, "--concurrency", 6, "--output-tokens", 5,
                "--return-token-ids")
        for endpoint in ("completions", "chat"):
            r = run(f.port, *args, "--endpoint", endpoint)
            assert r["mismatches"] == 0 and r["replies_compared"] == 24 == r["replies_with_ids"]
            assert r["logprob_rows_compared"] == 120, r
            r = run(f.port, *args, "--endpoint", endpoint, model="ttft=20;itl=5;wrong=1", code=1)
            assert r["mismatches"] > 12 and r["samples"][0]["what"] == "tokens or logprobs"


def test_sweeps_go_from_level_to_level():
    with Fake() as f:
        r = run(f.port, "--sweep", "concurrency:1,2,4", "--duration", 1, "--output-tokens", 5,
                model="ttft=20;itl=5")
        assert [x["load"]["concurrency"] for x in r["levels"]] == [1, 2, 4]
        assert [x["self"]["peak_open_requests"] for x in r["levels"]] == [1, 2, 4]
        for x in r["levels"]:
            rate, window = (x["throughput"][k] for k in ("output_tokens_per_s", "window_s"))
            assert abs(rate * window - x["tokens"]["output"]) < 0.01, x["throughput"]
            assert x["tokens"]["output"] == 5 * x["requests"]["ok"] > 0, x["requests"]
        said = run(f.port, "--sweep", "nonsense", code=2)
        assert "--sweep" in said


def test_checks_fail_the_exit_code():
    with Fake() as f:
        run(f.port, "--requests", 5, "--rate", "inf", "--fail-if", "requests.failed>0")
        run(f.port, "--requests", 5, "--rate", "inf", "--fail-if", "latency.ttft.p99_ms>1", code=1)
        run(f.port, "--requests", 5, "--rate", "inf", "--fail-if", "no.such.thing>1", code=2)
        r = run(f.port, "--requests", 20, "--rate", "inf", "--slo", "ttft=1", "--slo", "e2e=9000",
                model="ttft=20")
        assert r["throughput"]["good_share"] == 0 and r["throughput"]["slo_ms"]["e2e"] == 9000


def test_metrics_are_scraped_before_and_after():
    with Fake() as f:
        r = run(f.port, "--requests", 7, "--rate", "inf", "--output-tokens", 3)
        assert r["server_metrics"]["fake_requests_total"] == {"before": 1, "after": 8}
        assert r["server"]["version"] == {"version": "fake-1"}
        assert "server_metrics" not in run(f.port, "--requests", 1, "--metrics", "none")


def test_replies_without_stream():
    with Fake() as f:
        for endpoint in ("completions", "chat"):
            r = run(f.port, "--requests", 10, "--rate", "inf", "--no-stream", "--output-tokens", 4,
                    "--endpoint", endpoint, model="ttft=30;itl=10")
            assert r["requests"]["ok"] == 10 and r["tokens"]["output"] == 40
            assert r["latency"]["ttft"]["n"] == 0 and r["latency"]["e2e"]["p50_ms"] > 59


@alone
def test_ten_thousand_streams():
    """As many as this process may open, at most 10,000: all open at once, none fails."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    n = min(10000, hard - 200)
    with Fake() as f:
        r = run(f.port, "--rate", "inf", "--requests", n, "--output-tokens", 3, "--input-tokens", 8,
                "--warmup-requests", 0, model="together=%d;itl=10" % n)
        assert r["requests"]["ok"] == n, r["requests"]
        assert r["self"]["peak_open_requests"] == n == r["self"]["peak_connections"]
        print("      %d streams: %.0f MiB, %.1f us CPU an event, longest loop turn %.1f ms" % (
            n, r["self"]["peak_memory_mib"], r["self"]["cpu_us_per_event"],
            r["self"]["loop_turn_max_ms"]))


def test_the_report_renders_and_fits_a_phone():
    """Screenshots go to the artifacts, to be looked at."""
    page = ART / "report.html"
    with Fake() as f:
        files = []
        for name, args, model in (
                ("open", ("--rate", 30, "--duration", 3, "--slo", "ttft=60",
                          "--label", "<script>alert(1)</script> & \"x\""), "ttft=50;itl=5;spread=1"),
                ("turns", ("--concurrency", 4, "--requests", 12, "--turns", 3, "--session",
                           "--output-tokens", 5, "--label", "turns"), "ttft=5;itl=1;every=9;error=2"),
                ("sweep", ("--sweep", "concurrency:1,2,4", "--duration", 1, "--output-tokens", 5,
                           "--label", "sweep"), "ttft=20;itl=5"),
                ("verify", ("--verify", "--requests", 4, "--label", "verify"), "ttft=20;wrong=1")):
            r = run(f.port, *args, model=model, code=1 if name == "verify" else 0)
            files.append(ART / (name + ".json"))
            files[-1].write_text(json.dumps(r))
    table = ART / "table.md"
    subprocess.run([BENCH, "report", "--html", page, "--markdown", table, "--title", "a <b>title",
                    *files], check=True)
    text = page.read_text()
    assert "<script>" not in text and "&lt;script&gt;" in text and "a &lt;b&gt;title" in text
    assert "http://" not in text.replace(json.dumps(f.port)[1:-1], "").split("<details>")[0]
    assert text.count("<svg") >= 15 and "nan" not in text.split("<details>")[0].lower()
    assert table.read_text().count("\n|") >= 7
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        print("      no chromium: the page was not looked at")
        return
    probe = ART / "probe.html"
    flags = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    for width, height in ((390, 2400), (1200, 1800)):
        shot = ART / ("report-%d.png" % width)
        shot.unlink(missing_ok=True)
        size = "--window-size=%d,%d" % (width, height)
        subprocess.run([*flags, size, "--screenshot=%s" % shot, page.as_uri()], check=True,
                       capture_output=True, timeout=HUNG_S)
        assert shot.stat().st_size > 50000
        # In a frame, because a headless window has a smallest width of its own.
        frame = "<iframe id=f width=%d height=900 style='border:0'></iframe><script>f.onload=()=>" \
            "document.title='width '+f.contentDocument.documentElement.scrollWidth;f.srcdoc=%s" \
            "</script>" % (width, json.dumps(text).replace("</", "<\\/"))
        probe.write_text("<!doctype html><title></title>" + frame)
        dom = subprocess.run([*flags, size, "--dump-dom", probe.as_uri()], check=True,
                             capture_output=True, text=True, timeout=HUNG_S).stdout
        said = dom.split("<title>")[1].split("</title>")[0]
        assert said == "width %d" % width, "the page is wider than its window: " + said


class Daemon:
    """recurd itself on its bundled model, where it was built."""

    def __init__(self, *args):
        self.port = free_port()
        self.proc = subprocess.Popen([DAEMON, "--listen", "127.0.0.1:%d" % self.port, "--model",
                                      HERE.parent.parent / "models" / "demo" / MODEL, *args],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(self.serves, 600)
        except BaseException:
            self.__exit__()
            raise

    def serves(self):
        """it serves"""
        assert self.proc.poll() is None, "recurd ended with %s" % self.proc.returncode
        try:  # it listens while the model is loaded
            urllib.request.urlopen("http://127.0.0.1:%d/health" % self.port).close()
            return True
        except OSError:
            return False

    def metric(self, name):
        with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % self.port) as r:
            rows = [line.rsplit(" ", 1) for line in r.read().decode().splitlines()]
        return sum(float(row[1]) for row in rows if row[0].split("{")[0] == name)

    __enter__ = Fake.__enter__

    def __exit__(self, *_):
        self.proc.kill()
        self.proc.wait()


MODEL = "rwkv7"  # the faster of the two


class Held:
    """Streams that are read and do not end: they have the slots until they are closed."""

    def __init__(self, daemon, n):
        body = json.dumps({"prompt": "Once", "max_tokens": 1 << 24, "ignore_eos": True,
                           "stream": True}).encode()
        self.socks = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(n)]
        self.readers = [threading.Thread(target=self.read, args=(s,)) for s in self.socks]
        for s, reader in zip(self.socks, self.readers):
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
                      b"application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            status = s.recv(12, socket.MSG_WAITALL)
            assert status == b"HTTP/1.1 200", status
            reader.start()

    @staticmethod
    def read(s):
        with contextlib.suppress(OSError):  # closed by either end
            while s.recv(1 << 20):
                pass

    def close(self):
        for s, reader in zip(self.socks, self.readers):
            s.shutdown(socket.SHUT_RDWR)
            reader.join()
            s.close()


def test_daemon_is_the_same_alone_and_under_load():
    with Daemon() as d:
        r = run(d.port, "--verify", "--requests", 16, "--concurrency", 16, "--input-tokens",
                "uniform:5:120", "--output-tokens", "uniform:5:30", "--ignore-eos",
                "--return-token-ids", model=MODEL)
        assert r["mismatches"] == 0 and r["replies_compared"] == 32 == r["replies_with_ids"]
        r = run(d.port, "--verify", "--requests", 6, "--concurrency", 6, "--turns", 3, "--session",
                "--input-tokens", 40, "--output-tokens", 10, "--ignore-eos", model=MODEL)
        assert r["mismatches"] == 0 and r["replies_compared"] == 36


@alone
def test_daemon_holds_ten_thousand_streams():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    n = min(10000, hard - 500)
    room = str(n + 100)  # one client may fill the queue here
    # On a busy machine a client of so many needs more than ten seconds to send all heads.
    with Daemon("--slots", "8", "--queue", room, "--queue-share", room, "--connections", room,
                "--header-timeout", "3600", "--request-timeout", "3600") as d:
        held = Held(d, 8)
        wait_for(lambda: d.metric("recurd_requests_running") == 8, 600)
        p = run(d.port, "--rate", "inf", "--requests", n, "--input-tokens", 4, "--output-tokens", 2,
                "--ignore-eos", "--warmup-requests", 0, "--timeout", 3600, model=MODEL, wait=False)
        # None is answered before all are there.
        wait_for(lambda: d.metric("recurd_requests_waiting") == n or p.poll() is not None, 1200, 1)
        held.close()
        assert p.wait(HUNG_S) == 0, p.stderr.read()
        r = json.loads((ART / "result.json").read_text())
        assert r["requests"]["ok"] == n == r["self"]["peak_open_requests"], r["requests"]
        print("      %d streams open at once" % n)


def test_daemon_killed_amid_a_run_is_counted():
    with Daemon() as d:
        p = run(d.port, "--rate", "inf", "--requests", 5000, "--max-concurrency", 8,
                "--input-tokens", 20, "--output-tokens", 60, "--ignore-eos", model=MODEL,
                wait=False)
        wait_for(lambda: d.metric("recurd_requests_total") > 40, 600)
        d.proc.kill()
        assert p.wait(HUNG_S) == 0, p.stderr.read()
        r = json.loads((ART / "result.json").read_text())
        errors = r["requests"]["errors"]
        assert errors["connect"] > 10 and r["requests"]["ok"] > 10, errors
        assert set(errors) <= {"connect", "reset", "closed"}, errors


def test_daemon_with_a_full_queue_says_429():
    with Daemon("--queue", "4", "--queue-share", "4", "--slots", "2") as d:
        held = Held(d, 6)
        wait_for(lambda: d.metric("recurd_requests_waiting") == 4, 600)
        r = run(d.port, "--rate", "inf", "--requests", 40, "--input-tokens", 20,
                "--output-tokens", 10, "--warmup-requests", 0, model=MODEL)
        held.close()
        assert r["requests"]["errors"] == {"http_429": 40}, r["requests"]
        wait_for(lambda: d.metric("recurd_requests_waiting") == 0, 600)
        r = run(d.port, "--concurrency", 2, "--requests", 10, "--input-tokens", 20,
                "--output-tokens", 10, "--ignore-eos", model=MODEL)
        assert r["requests"]["ok"] == 10, r["requests"]


def one(name, artifacts):
    """-> whether it passed, and what there is to say"""
    global ART
    ART = artifacts / name
    ART.mkdir(parents=True, exist_ok=True)
    t, said = time.monotonic(), io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            globals()[name]()
        return True, "%sok    %s  %.1f s" % (said.getvalue(), name, time.monotonic() - t)
    except Exception:  # a test that breaks is a test that fails
        return False, "%sFAIL  %s\n%s" % (said.getvalue(), name, traceback.format_exc())


def in_lanes(names, lanes):
    """How many failed."""
    failed = 0
    with concurrent.futures.ProcessPoolExecutor(lanes, multiprocessing.get_context("fork")) as pool:
        for f in concurrent.futures.as_completed([pool.submit(one, n, ART) for n in names]):
            passed, text = f.result()
            failed += not passed
            print(text, flush=True)
    return failed


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bench", default="build/recurd-bench")
    p.add_argument("--daemon", default="build/recurd", help="tested too where it exists")
    p.add_argument("--artifacts", default="build/bench-tests")
    p.add_argument("--lanes", type=int, default=2)
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    global BENCH, DAEMON, ART
    BENCH, DAEMON = os.path.abspath(a.bench), os.path.abspath(a.daemon)
    ART = pathlib.Path(a.artifacts).resolve()
    ART.mkdir(parents=True, exist_ok=True)
    tests = [(k, v) for k, v in globals().items() if k.startswith("test_")
             and (not a.names or any(n in k for n in a.names))
             and ("_daemon_" not in k or os.path.exists(DAEMON))]
    failed = 0
    for by_itself in (False, True):
        some = [name for name, t in tests if hasattr(t, "alone") == by_itself]
        failed += in_lanes(some, 1 if by_itself else a.lanes) if some else 0
    print("%d tests, %d failed" % (len(tests), failed))
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
