"""What an operator sees: the line of a request, metrics, what was chosen at start."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

import common
from common import DEMO, ROOT, Server, Settings, Stream, command

SECRET = "s3cret-" + "x" * 32


def lines(s, want, seconds=10):
    """The request lines of a server with --log-format json, once there are so many."""
    end = time.time() + Settings.patience(seconds)
    while True:
        all_lines = [json.loads(l) for l in s.text().splitlines() if l.startswith("{")]
        found = [l for l in all_lines if l["message"] == "request"]
        if len(found) >= want:
            return found
        assert time.time() < end, s.text()
        time.sleep(0.02)


class RequestLine(unittest.TestCase):
    def setUp(self):
        self.s = Server(["--model", DEMO, "--log-format", "json", "--alias", "first,second"],
                        env={"RECURD_API_KEY": SECRET})
        self.addCleanup(self.s.stop)
        self.auth = {"Authorization": "Bearer " + SECRET}
        self.lines = 0

    def ask(self, method, path, body=None, headers=None):
        """The reply, once its line is there: it comes after the reply, by any of two threads."""
        reply = self.s.request(method, path, body, headers)
        self.lines += 1
        lines(self.s, self.lines)
        return reply

    def post(self, body, path="/v1/completions", **headers):
        return self.ask("POST", path, body, dict(self.auth, **headers))

    def test_fields_of_requests_of_every_kind(self):
        text = "A secret word: zanzibar"
        r = json.loads(self.post({"prompt": text, "max_tokens": 7, "ignore_eos": True},
                                 **{"X-Request-Id": "mine-1"})[2])
        self.post({"prompt": text, "max_tokens": 2.5})
        self.ask("POST", "/v1/completions", {"prompt": text})  # without a key
        self.post({"messages": [{"role": "user", "content": text}], "max_tokens": 300,
                   "temperature": 0}, "/v1/chat/completions")
        self.s.request("GET", "/v1/models", headers=self.auth)  # a question: no line at info
        self.ask("GET", "/nowhere", headers=self.auth)
        done, bad, denied, chat, nowhere = lines(self.s, 5)[:5]
        self.assertEqual(done["id"], "mine-1")
        for key, want in (("key", "default"), ("endpoint", "completions"), ("status", 200),
                          ("model", "first"), ("method", "POST"), ("level", "info"),
                          ("prompt_tokens", r["usage"]["prompt_tokens"]), ("output_tokens", 7),
                          ("cached_tokens", 0), ("finish", "length")):
            self.assertEqual(done[key], want, key)
        self.assertGreater(done["first_token_ms"], 0)
        self.assertGreaterEqual(done["queue_ms"], 0)
        self.assertGreaterEqual(done["total_ms"], done["first_token_ms"])
        self.assertEqual((bad["status"], bad["key"], "model" in bad), (400, "default", False))
        self.assertEqual((denied["status"], "key" in denied), (401, False))
        self.assertEqual((chat["endpoint"], chat["status"]), ("chat", 200))
        self.assertIn(chat["finish"], ("stop", "length"))
        self.assertEqual((nowhere["status"], nowhere["endpoint"]), (404, "unknown"))
        for word in ("zanzibar", SECRET, r["choices"][0]["text"].strip() or "zanzibar"):
            self.assertNotIn(word, self.s.text())

    def test_a_client_that_leaves_a_cached_prompt_and_several_choices(self):
        body = {"prompt": "Once upon a time there was a mouse " * 8, "max_tokens": 3}
        self.post(body)
        n = json.loads(self.post(dict(body, n=3, ignore_eos=True))[2])["usage"]
        st = Stream(self.s, "/v1/completions", dict(body, max_tokens=1000000, ignore_eos=True,
                                                    stream=True),
                    headers="Authorization: Bearer %s\r\n" % SECRET)
        next(st.events())
        st.reset()
        first, three, left = lines(self.s, 3)
        self.assertEqual(first["cached_tokens"], 0)
        self.assertEqual((three["prompt_tokens"], three["output_tokens"]),
                         (n["prompt_tokens"], n["completion_tokens"]))
        self.assertEqual(three["cached_tokens"], n["prompt_tokens_details"]["cached_tokens"])
        self.assertGreater(three["cached_tokens"], 0)
        self.assertEqual((left["finish"], left["status"]), ("cancelled", 200))
        self.assertGreater(left["output_tokens"], 0)


class Metrics(unittest.TestCase):
    def test_lengths_queue_and_ends_are_counted(self):
        s = Server(["--model", DEMO])
        self.addCleanup(s.stop)
        s.complete([5, 6, 7], max_tokens=9, ignore_eos=True)
        m = s.wait_idle()
        self.assertEqual(m['recurd_generations_total{finish_reason="length"}'], 1)
        self.assertEqual(m['recurd_generations_total{finish_reason="error"}'], 0)
        self.assertEqual(m["recurd_prompt_length_tokens_sum"], 3)
        self.assertEqual(m['recurd_prompt_length_tokens_bucket{le="1"}'], 0)
        self.assertEqual(m['recurd_prompt_length_tokens_bucket{le="4"}'], 1)
        self.assertEqual(m["recurd_output_length_tokens_sum"], 9)
        self.assertEqual(m["recurd_queue_time_seconds_count"], 1)

    def test_openmetrics_by_negotiation(self):
        s = common.server("--model", DEMO)
        s.complete("Once", max_tokens=2)
        status, headers, plain = s.request("GET", "/metrics")
        self.assertTrue(headers["content-type"].startswith("text/plain; version=0.0.4"))
        status, headers, text = s.request("GET", "/metrics", headers={
            "Accept": "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5"})
        self.assertTrue(headers["content-type"].startswith("application/openmetrics-text"))
        text = text.decode()
        self.assertTrue(text.endswith("\n# EOF\n"))
        families = {}
        for line in text.splitlines()[:-1]:
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                self.assertNotIn(name, families)
                families[name] = kind
            elif not line.startswith("#"):
                name = re.match(r"[a-z_]+", line).group(0)
                ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
                self.assertTrue(any(families.get(name[:len(name) - len(e)]) == kind
                                    for kind, es in ends.items() for e in es
                                    if name.endswith(e)), line)
        self.assertEqual(families["recurd_requests"], "counter")
        self.assertEqual(len(families), plain.count(b"# TYPE "))

    def test_promtool_finds_nothing(self):
        if not shutil.which("promtool"):
            print("skipped: promtool is not installed (Debian package prometheus)")
            self.skipTest("promtool is not installed (Debian package prometheus)")
        s = common.server("--model", DEMO)
        p = subprocess.run(["promtool", "check", "metrics"], input=s.request("GET", "/metrics")[2],
                           capture_output=True, timeout=Settings.patience(30))
        self.assertEqual((p.returncode, p.stdout + p.stderr), (0, b""))


class Limits(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="recurd-limits-")
        self.addCleanup(shutil.rmtree, self.dir)

    def start(self, *args):
        s = Server(list(args))
        self.addCleanup(s.stop)
        return s

    def hybrid(self, **changes):
        """A hybrid's configuration alone, with a context of its own."""
        with open(os.path.join(ROOT, "tests", "configs", "published", "Qwen3.5-0.8B.json")) as f:
            config = json.load(f)
        text = config.get("text_config", config)
        text.update(num_hidden_layers=4, hidden_size=256, intermediate_size=256, vocab_size=512,
                    layer_types=["linear_attention"] * 3 + ["full_attention"], **changes)
        with open(os.path.join(self.dir, "config.json"), "w") as f:
            json.dump(config, f)
        return ["--model", self.dir, "--load-format", "dummy", "--slots", "2"]

    def test_the_context_is_what_the_model_was_made_for_and_told(self):
        s = self.start(*self.hybrid(max_position_embeddings=40000))
        self.assertEqual(s.get("/v1/models")[1]["data"][0]["max_model_len"], 40000)
        self.assertEqual(s.get("/limits")[1]["context"], 40000)
        self.assertNotIn("warn a sequence", s.text())

    def test_less_is_never_silent(self):
        s = self.start(*self.hybrid(max_position_embeddings=262144), "--kv-memory", "16")
        told = s.get("/v1/models")[1]["data"][0]["max_model_len"]
        self.assertLess(told, 262144)
        self.assertEqual(told % 64, 0)
        found = re.search(r"warn a sequence may have (\d+) tokens and not 262144: that would take "
                          r"kv-memory (\d+)", s.text())
        self.assertEqual(int(found.group(1)), told)
        whole = self.start(*self.hybrid(max_position_embeddings=262144), "--kv-memory", found.group(2))
        self.assertEqual(whole.get("/v1/models")[1]["data"][0]["max_model_len"], 262144)
        r = s.post("/v1/completions", {"prompt": [1] * (told + 1), "max_tokens": 1}, 400)
        self.assertEqual(r["error"]["code"], "context_length_exceeded")

    def test_a_table_says_what_was_chosen(self):
        s = self.start("--model", DEMO)
        for row in (r"memory: weights +\d+\.\d MiB", r"states +\d+\.\d MiB, (64|256) slots of \d+\.\d+ MiB "
                    r"\(auto\); twice as many would take \d+\.\d MiB more", r"state cache +1024\.0 MiB",
                    r"left +\d+\.\d MiB"):
            self.assertRegex(s.text(), row)
        self.assertIn(s.get("/limits")[1]["slots"], (64, 256) if Settings.device else (64,))

    def test_more_threads_than_cpus_are_warned_of(self):
        many = len(os.sched_getaffinity(0)) + 3
        s = self.start("--model", DEMO, "--threads", str(many))
        self.assertRegex(s.text(), r"warn threads %d: this process may keep \d+ CPUs? busy" % many)

    def test_bounds_of_attention_without_attention_are_warned_of(self):
        s = self.start("--model", DEMO, "--context", "100", "--kv-memory", "7")
        for bound in ("context 100", "kv-memory 7"):
            self.assertIn("warn %s changes nothing: it bounds rows of attention, and there are none in "
                          "gated-deltanet" % bound, s.text())
        self.assertNotIn("changes nothing", self.start("--model", DEMO).text())

    def test_every_alias_is_the_model(self):
        s = self.start("--model", DEMO, "-a", "org/first", "--alias", "second")
        self.assertEqual([m["id"] for m in s.get("/v1/models")[1]["data"]], ["org/first", "second"])
        self.assertEqual(s.get("/v1/models/org/first")[1]["id"], "org/first")
        for name in ("org/first", "second"):
            self.assertEqual(s.complete("a", model=name, max_tokens=1)["model"], "org/first")
        s.complete("a", expect=404, model="gated-deltanet", max_tokens=1)

    def test_a_hub_snapshot_is_named_after_its_repository(self):
        d = os.path.join(self.dir, "models--an-org--a--model", "snapshots", "0123abc")
        os.makedirs(os.path.dirname(d))
        os.symlink(DEMO, d)
        s = self.start("--model", d)
        self.assertEqual(s.get("/v1/models")[1]["data"][0]["id"], "an-org/a--model")


class ManyFaults(unittest.TestCase):
    def test_all_are_told_at_once(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
            f.write("slots = 0\n\nstate-dri = a\n")
            f.flush()
            p = subprocess.run(command(["--config", f.name, "--modle", "x", "--port", "x"]),
                               capture_output=True, text=True, timeout=Settings.patience(30))
        self.assertEqual(p.returncode, 2)
        told = p.stderr.splitlines()
        self.assertEqual(len(told), 4, p.stderr)
        for line, words in zip(told, (("line 1", "slots"), ("line 3", "state-dir?"), ("--model?",),
                                      ("--port",))):
            self.assertTrue(line.startswith("recurd: "))
            for w in words:
                self.assertIn(w, line)

    def test_an_alias_must_be_a_word(self):
        for alias in ("a b", "a,,b", "x" * 200, ",".join("n%d" % i for i in range(20))):
            p = subprocess.run(command(["--model", DEMO, "--listen", "127.0.0.1:0", "-a", alias]),
                               capture_output=True, text=True, timeout=Settings.patience(30))
            self.assertEqual(p.returncode, 4, alias)
            self.assertIn("recurd: alias: ", p.stderr)


if __name__ == "__main__":
    unittest.main()
