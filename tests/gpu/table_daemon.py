"""The rows of table.py that the daemon gives over HTTP: streams, prompts, the state cache, turns of
sessions, starts. Each function takes the run, a device and a model."""
import http.client
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time


class Server:
    """The daemon with random weights (the demo models have their own)."""

    def __init__(self, bench, device, model, name, *flags, slots=None, state_mib=0):
        bench.in_time()
        self.log = bench.log(name)
        size, self.limit_s = bench.size, 90
        args = [bench.program("recurd"), "--model", bench.size.models[model], "--device", device,
                "--listen", "127.0.0.1:0", "--cache-dir", os.path.join(bench.a.out, "kernels"),
                "--slots", str(slots or size.slots), "--state-memory", str(state_mib),
                "--step-tokens", str(max(size.step_tokens, 2 * (slots or 0))),
                "--queue", "4096", "--queue-share", "4096", *flags]
        if not bench.a.quick:
            args += ["--load-format", "dummy"]
        self.started = time.monotonic()
        with open(self.log, "w", encoding="utf-8") as log:
            self.proc = subprocess.Popen(args, stdout=log, stderr=log)
        try:
            self.wait()
        except BaseException:
            self.stop(signal.SIGKILL)
            raise

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait(self):
        while True:
            found = re.search(r" on http://127\.0\.0\.1:(\d+);(.*)", self.text())
            self.ready_s = time.monotonic() - self.started
            if found and "ready after" in found.group(2):
                self.port = int(found.group(1))
                return
            if self.proc.poll() is not None or self.ready_s > self.limit_s:
                last = self.text().strip().splitlines()
                state = "ended" if self.proc.poll() is not None else "is not ready"
                raise RuntimeError(f"the daemon {state} after {self.ready_s:.1f} s: "
                                   f"{last[-1] if last else 'silent'}")
            time.sleep(0.01)

    def stop(self, sig=signal.SIGTERM):
        if self.proc.poll() is None:
            self.proc.send_signal(sig)
        try:
            return self.proc.wait(60)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            return self.proc.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        code = self.stop()
        if code and not any(exc):
            raise RuntimeError(f"the daemon ended with exit code {code}")

    def steps(self):
        return [self.metric(f"recurd_{x}_total") for x in ("steps", "step_tokens", "step_seconds")]

    def load(self, bench, name, *args):
        """One run of recurd-bench: its result, and what steps it took ("steps")."""
        before = self.steps()
        path = os.path.join(bench.a.out, name + ".json")
        bench.output([bench.program("recurd-bench"), "--url", f"http://127.0.0.1:{self.port}",
                      "--prompt-as", "ids", "--vocab", "10:4000", "--ignore-eos", "--quiet",
                      "--json", path, *args], (name,), bench.size.limit_s)
        with open(path, encoding="utf-8") as f:
            d = json.load(f)
        if d["requests"]["failed"]:
            raise RuntimeError(f"{d['requests']['failed']} requests failed: "
                               f"{d['requests']['error_samples']}")
        n, tokens, s = (b - a for a, b in zip(before, self.steps()))
        n = max(n, 1)
        d["steps"] = f"{n:.0f} steps of {tokens / n:.0f} tokens and {s / n * 1e3:.1f} ms"
        return d

    def post(self, path, body):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            c.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            reply = c.getresponse()
            text = reply.read()
        finally:
            c.close()
        if reply.status not in (200, 201):
            raise RuntimeError(f"{path} answered {reply.status}: {text[:200]}")
        return json.loads(text)

    def metric(self, name):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        c.request("GET", "/metrics")
        text = c.getresponse().read().decode()
        c.close()
        return sum(float(x) for x in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.M))


def decode(bench, server, model, n, part):
    d = server.load(bench, f"{model}-{part}-{n}", "--concurrency", str(n), "--requests",
                    str(bench.size.requests[n]), "--duration", str(bench.size.load_s),
                    "--input-tokens", "64", "--output-tokens", str(bench.size.written))
    t = d["latency"]
    return d["throughput"]["output_tokens_per_s"], \
        f"TPOT p50 {t['tpot']['p50_ms']:.2f} ms, TTFT p50 {t['ttft']['p50_ms']:.0f} ms, " + d["steps"]


def prompts(bench, server, model, at_once, tokens, requests, part):
    d = server.load(bench, f"{model}-{part}-prompt-{at_once}x{tokens}", "--concurrency",
                    str(at_once), "--requests", str(requests), "--input-tokens", str(tokens),
                    "--output-tokens", "1")
    p50 = d["latency"]["ttft"]["p50_ms"]
    if at_once == 1:
        return tokens / p50 * 1e3, f"TTFT p50 {p50:.1f} ms, {d['steps']}"
    return d["tokens"]["prompt"] / d["throughput"]["window_s"], \
        f"TTFT p50 {p50:.0f} ms, {d['steps']}"


def serve(bench, device, model):
    size = bench.size
    with Server(bench, device, model, f"{model}-first", slots=1) as s:
        bench.put(("serve", model, "start, kernels to build"), s.ready_s)
    with Server(bench, device, model, f"{model}-serve") as s:
        bench.put(("serve", model, "start"), s.ready_s, f"{size.slots} slots")
        for n in size.streams:
            with bench.attempt("serve", model, str(n)):
                key = ("serve", model, f"{n} streams")
                bench.put(key, *decode(bench, s, model, n, "serve"))
        for at_once, tokens, requests in ((size.batch, size.prompt, 4 * size.batch),
                                          (1, size.prompt, 10), (1, size.long_prompt, 3)):
            with bench.attempt("serve", model, "prompts", f"{at_once} x {tokens}"):
                key = f"prompts {at_once} x {tokens}" if at_once > 1 else f"prompt of {tokens}"
                bench.put(("serve", model, key),
                          *prompts(bench, s, model, at_once, tokens, requests, "serve"))


def cache(bench, device, model):
    """Each row in % of the same without cache; the order is that of rising need for memory."""
    size = bench.size
    with Server(bench, device, model, f"{model}-cache", state_mib=size.state_mib) as s:
        for n in size.streams:
            with bench.attempt("cache", model, str(n)):
                compare(bench, model, f"{n} streams", *decode(bench, s, model, n, "cache"))
        with bench.attempt("cache", model, "prompts"):
            compare(bench, model, f"prompts {size.batch} x {size.prompt}",
                    *prompts(bench, s, model, size.batch, size.prompt, 4 * size.batch, "cache"))
        with bench.attempt("cache", model, "bits"):
            n = str(size.compared)
            bench.output([bench.program("recurd-bench"), "--url", f"http://127.0.0.1:{s.port}",
                          "--verify", "--requests", n, "--concurrency", n, "--input-tokens",
                          "100", "--output-tokens", "32", "--ignore-eos", "--prompt-as", "ids",
                          "--vocab", "10:4000", "--quiet"], (f"{model}-verify",), size.limit_s)
            bench.put(("cache", model, "bits alone and together"), 0, f"{n} requests")
        bench.facts[f"{model} captures"] = [s.metric("recurd_cache_captures_total"),
                                            s.metric("recurd_cache_captures_skipped_total")]


def compare(bench, model, which, rate, note):
    off = bench.rows[("serve", model, which)].value
    if not off:
        raise RuntimeError(f"{rate:.0f} tokens/s, and nothing was measured without cache")
    bench.put(("cache", model, which), rate / off * 100, f"{rate:.0f} tokens/s, {note}")


def ids(rng, n):
    return [rng.randrange(10, 4000) for _ in range(n)]


class Session:
    """A durable conversation; turns of 16 tokens in and one out."""

    def __init__(self, server, tokens):
        self.rng = random.Random(tokens)
        self.id = server.post("/v1/sessions", {})["id"]
        self.turn(server, tokens)

    def turn(self, server, tokens=16):
        """Milliseconds from the request to the end of its reply, which is when it is kept."""
        body = {"session": self.id, "prompt": ids(self.rng, tokens), "max_tokens": 1,
                "temperature": 0, "ignore_eos": True}
        start = time.perf_counter()
        reply = server.post("/v1/completions", body)
        ms = (time.perf_counter() - start) * 1e3
        if reply["session"]["persist"] != "durable":
            raise RuntimeError(f"the turn is not durable: {reply['session']}")
        computed = reply["usage"]["prompt_tokens"] - \
            reply["usage"]["prompt_tokens_details"]["cached_tokens"]
        if computed > tokens:
            raise RuntimeError(f"a turn of {tokens} tokens computed {computed}")
        return ms


def crowd(server, n):
    """Other conversations take every slot, so that parked states go to memory."""
    def one(i):
        server.post("/v1/completions", {"prompt": ids(random.Random(time.time_ns() + i), 20),
                                        "max_tokens": 8, "ignore_eos": True})
    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def turns(bench, device, model):
    size, slots = bench.size, 8
    folder = tempfile.mkdtemp(prefix="states-", dir=bench.a.out)
    flags = ("--state-dir", folder, "--state-disk", "65536")
    memory = min(8192, size.state_mib)
    try:
        with Server(bench, device, model, f"{model}-turns", *flags, slots=slots,
                    state_mib=memory) as s:
            known = {n: Session(s, n) for n in (size.short_session, size.long_session)}
            for n, x in known.items():
                for where in ("resident", "from memory"):
                    ms = []
                    for _ in range(size.turns):
                        if where == "from memory":
                            crowd(s, slots)
                        ms.append(x.turn(s))
                    bench.put(("turns", model, f"session of {n}, {where}"), statistics.median(ms),
                              f"worst {max(ms):.1f} ms")
        for again in range(2):
            with Server(bench, device, model, f"{model}-turns-again-{again}", *flags, slots=slots,
                        state_mib=memory) as s:
                crowd(s, 1)  # the first request of a process pays for what is not a session's
                for n, x in known.items():
                    key, ms = ("turns", model, f"session of {n}, from disk"), x.turn(s)
                    before = bench.rows[key].value
                    bench.put(key, max(ms, before or 0), f"worst of {again + 1} restarts")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def more_slots(bench, device, model):
    size = bench.size
    with Server(bench, device, model, "size-more", slots=size.more_slots) as s:
        bench.put(("size", model, f"start with {size.more_slots} slots"), s.ready_s)
    start = time.monotonic()
    try:
        with Server(bench, device, model, "size-too-many", slots=size.too_many_slots) as s:
            note = f"it started, after {s.ready_s:.1f} s"
    except RuntimeError as e:
        note = str(e).split(": ", 1)[-1]
    bench.put(("size", model, f"{size.too_many_slots} slots refused in"), time.monotonic() - start,
              note)
