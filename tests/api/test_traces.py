"""Spans of requests at a collector of OpenTelemetry that the tests play (OTLP over HTTP, JSON)."""
import http.server
import json
import os
import subprocess
import tempfile
import threading
import time
import unittest

from common import DEMO, Server, Settings, Stream, command, wait_for

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Takes POST /v1/traces; answers `status` while there is one left of `refuse`."""

    def __init__(self, refuse=()):
        self.spans, self.headers, self.posts = [], [], 0
        self.refuse, self.news = list(refuse), threading.Condition()
        self.resources = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.news:
                    outer.posts += 1
                    status = outer.refuse.pop(0) if outer.refuse else 200
                    if status == 200:
                        outer.take(self.path, dict(self.headers), json.loads(body))
                    outer.news.notify_all()
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]

    def take(self, path, headers, body):
        assert path == "/v1/traces", path
        self.headers.append(headers)
        for resource in body["resourceSpans"]:
            self.resources.append(attributes(resource["resource"]))
            for scope in resource["scopeSpans"]:
                self.spans += scope["spans"]

    def wait(self, want):
        """The spans, once `want(spans)` holds."""
        with self.news:
            ok = self.news.wait_for(lambda: want(self.spans), Settings.patience(30))
            assert ok, self.spans
            return list(self.spans)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def attributes(owner):
    def value(v):
        kind, x = next(iter(v.items()))
        return int(x) if kind == "intValue" else [value(i) for i in x["values"]] \
            if kind == "arrayValue" else x
    return {a["key"]: value(a["value"]) for a in owner["attributes"]}


class Traces(unittest.TestCase):
    def start(self, *args, refuse=(), env=None):
        self.collector = Collector(refuse)
        self.addCleanup(self.collector.close)
        self.s = Server(["--model", DEMO, "--log-format", "json",
                         "--otlp-endpoint", self.collector.url] + list(args), env=env)
        self.addCleanup(self.s.stop)

    def complete(self, n=5, parent=None, n_choices=1):
        headers = {"traceparent": parent} if parent else {}
        status, _, body = self.s.request("POST", "/v1/completions", dict(
            {"prompt": "Once upon a time", "max_tokens": n, "ignore_eos": True}, n=n_choices), headers)
        self.assertEqual(status, 200, body)
        return json.loads(body)

    def test_a_request_and_its_phases_within_the_callers_trace(self):
        self.start("--otlp-service", "tests", env={"OTEL_EXPORTER_OTLP_HEADERS": "x-a=b%20c, x-d=e"})
        before = time.time_ns()
        usage = self.complete(7, "00-%s-%s-01" % (TRACE, SPAN))["usage"]
        spans = self.collector.wait(lambda s: len(s) >= 4)
        after = time.time_ns()
        self.assertEqual(sorted(s["name"] for s in spans),
                         ["completions", "decode", "prefill", "queue"])
        by_name = {s["name"]: s for s in spans}
        root = by_name["completions"]
        self.assertEqual((root["traceId"], root["parentSpanId"], root["kind"]), (TRACE, SPAN, 2))
        a = attributes(root)
        for key, want in (("http.request.method", "POST"), ("http.response.status_code", 200),
                          ("gen_ai.usage.input_tokens", usage["prompt_tokens"]),
                          ("gen_ai.usage.output_tokens", 7),
                          ("gen_ai.usage.cache_read.input_tokens", 0),
                          ("gen_ai.response.finish_reasons", ["length"])):
            self.assertEqual(a[key], want, key)
        times = []
        for name in ("queue", "prefill", "decode"):
            s = by_name[name]
            self.assertEqual((s["traceId"], s["parentSpanId"], s["kind"]),
                             (TRACE, root["spanId"], 1))
            times += [int(s["startTimeUnixNano"]), int(s["endTimeUnixNano"])]
        self.assertEqual(times[1::2][:2], times[2::2], "a phase begins where the one before ends")
        whole = [int(root["startTimeUnixNano"]), int(root["endTimeUnixNano"])]
        ordered = [before, whole[0]] + times + [whole[1], after]
        self.assertEqual(ordered, sorted(ordered))
        self.assertEqual(len({s["spanId"] for s in spans}), 4)
        self.assertEqual(self.collector.resources[0]["service.name"], "tests")
        self.assertEqual([self.collector.headers[0].get(h) for h in
                          ("Content-Type", "x-a", "x-d")], ["application/json", "b c", "e"])
        self.assertNotIn("Once", json.dumps(spans))
        line = wait_for(lambda: [l for l in self.s.text().splitlines() if '"request"' in l])[-1]
        self.assertEqual(json.loads(line)["trace"], TRACE)

    def test_who_decides_what_is_told(self):
        self.start("--otlp-share", "0")
        self.complete()                                                   # our share: none
        self.complete(parent="00-%s-%s-00" % (TRACE, SPAN))              # the caller does not
        self.complete(parent="00-%s-%s-01" % ("0" * 32, SPAN))           # malformed
        self.s.request("GET", "/health", headers={"traceparent": "00-%s-%s-01" % (TRACE, SPAN)})
        self.complete(parent="00-%s-%s-01" % (TRACE[::-1], SPAN))
        spans = self.collector.wait(lambda s: len(s) >= 4)
        self.assertEqual({s["traceId"] for s in spans}, {TRACE[::-1]})

    def test_without_a_caller_every_request_is_a_trace(self):
        self.start()
        self.complete()
        self.s.request("POST", "/v1/completions", {"prompt": 5})
        self.s.request("GET", "/v1/models")
        spans = self.collector.wait(lambda s: len(s) >= 6)
        roots = sorted((s for s in spans if s["kind"] == 2),  # told as they end, each on its thread
                       key=lambda s: int(s["startTimeUnixNano"]))
        self.assertEqual(len({s["traceId"] for s in roots}), 3)
        self.assertEqual([attributes(s)["http.response.status_code"] for s in roots],
                         [200, 400, 200])
        self.assertFalse([s for s in roots if "parentSpanId" in s])
        self.assertNotIn("status", roots[1], "a client's mistake is not ours")

    def test_a_client_that_leaves_and_several_choices(self):
        self.start()
        st = Stream(self.s, "/v1/completions", {"prompt": "Once", "max_tokens": 1000000,
                                                "ignore_eos": True, "stream": True})
        next(st.events())
        st.reset()
        left = self.collector.wait(lambda s: [x for x in s if x["kind"] == 2])
        root = [s for s in left if s["kind"] == 2][0]
        self.assertEqual(attributes(root)["gen_ai.response.finish_reasons"], ["cancelled"])
        self.complete(n_choices=3)
        spans = self.collector.wait(lambda s: len([x for x in s if x["kind"] == 2]) >= 2)
        self.assertEqual(len([s for s in spans if s["name"] == "decode"]), 1)

    def test_a_collector_that_refuses_and_comes_back(self):
        self.start(refuse=[503])
        self.complete(parent="00-%s-%s-01" % (TRACE, SPAN))
        self.collector.wait(lambda s: len(s) == 4)
        m = self.s.metrics()
        self.assertEqual((m["recurd_traces_failures_total"], m["recurd_traces_dropped_total"]), (1, 0))
        self.assertIn("the collector answered 503", self.s.text())
        self.collector.refuse = [400]
        posts = self.collector.posts
        self.complete()
        with self.collector.news:
            self.collector.news.wait_for(lambda: self.collector.posts > posts,
                                         Settings.patience(30))
        end = time.time() + Settings.patience(20)
        while self.s.metrics()["recurd_traces_dropped_total"] < 1:  # for good: not tried again
            self.assertLess(time.time(), end)
            time.sleep(0.05)

    def test_nobody_waits_for_a_dead_collector(self):
        self.start()
        self.collector.server.server_close()  # nobody accepts: posts hang or fail
        for _ in range(5):
            self.complete()
        self.assertEqual(self.s.stop(), 0)

    def test_what_is_told_before_a_stop(self):
        self.start()
        self.complete(parent="00-%s-%s-01" % (TRACE, SPAN))
        self.assertEqual(self.s.stop(), 0)
        self.collector.wait(lambda s: len(s) == 4)

    def test_exemplars_name_a_trace(self):
        self.start()
        self.complete(4, "00-%s-%s-01" % (TRACE, SPAN))
        self.s.wait_idle()  # counted behind the reply
        text = self.s.request("GET", "/metrics", headers={
            "Accept": "application/openmetrics-text"})[2].decode()
        marked = [l for l in text.splitlines() if ' # {trace_id="%s"} ' % TRACE in l]
        self.assertIn("recurd_output_length_tokens_bucket", " ".join(marked))
        self.assertTrue(all("_bucket{" in l for l in marked))
        plain = self.s.request("GET", "/metrics")[2].decode()
        self.assertNotIn(TRACE, plain)
        self.assertNotIn("\1", plain + text)

    def test_settings_that_are_wrong(self):
        for flags, env, words in (
                (["--otlp-endpoint", "localhost 4318"], {}, "is no URL"),
                (["--otlp-endpoint", "ftp://h/"], {}, "neither http nor https"),
                (["--otlp-endpoint", "http://h"], {"OTEL_EXPORTER_OTLP_HEADERS": "secret"},
                 "is no name=value"),
                (["--otlp-endpoint", "http://h"], {"OTEL_EXPORTER_OTLP_HEADERS": "a=b%0d%0ac: d"},
                 "is no name=value")):
            p = subprocess.run(command(["--model", DEMO, "--listen", "127.0.0.1:0"] + flags),
                               env=dict(os.environ, **env), capture_output=True, text=True,
                               timeout=Settings.patience(30))
            self.assertNotEqual(p.returncode, 0, flags)
            self.assertIn(words, p.stderr)


class OtherNames(unittest.TestCase):
    def test_the_same_numbers_under_names_of_other_servers(self):
        for names, pairs in (
                ("vllm", {'vllm:generation_tokens_total{model_name="%s"}': "recurd_output_tokens_total",
                          'vllm:request_success_total{model_name="%s",finished_reason="length"}':
                          'recurd_generations_total{finish_reason="length"}',
                          'vllm:time_to_first_token_seconds_count{model_name="%s"}':
                          "recurd_time_to_first_token_seconds_count",
                          'vllm:kv_cache_usage_perc{model_name="%s"}': "recurd_slots_used_ratio",
                          'vllm:gpu_cache_usage_perc{model_name="%s"}': "recurd_slots_used_ratio",
                          'vllm:num_requests_waiting{model_name="%s"}': "recurd_requests_waiting",
                          'vllm:num_requests_running{model_name="%s"}': "recurd_requests_running"}),
                ("sglang", {'sglang:num_running_reqs{model_name="%s"}': "recurd_requests_running"}),
                ("llama-server", {'llamacpp:tokens_predicted_total{model_name="%s"}':
                                  "recurd_output_tokens_total"})):
            s = Server(["--model", DEMO, "--alias", 'a"model"', "--metrics-names", names])
            self.addCleanup(s.stop)
            s.complete("Once", max_tokens=3, ignore_eos=True)
            s.wait_idle()
            m = s.metrics()
            for theirs, ours in pairs.items():
                self.assertEqual(m[theirs % r'a\"model\"'], m[ours], theirs)
            status, _, text = s.request("GET", "/metrics")
            helps = [l.split()[2] for l in text.decode().splitlines() if l.startswith("# HELP ")]
            self.assertEqual(len(helps), len(set(helps)))
            s.stop()
