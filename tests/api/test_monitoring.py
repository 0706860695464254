"""What etc/monitoring brings: every name in it is one that a daemon really tells."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from common import DEMO, ROOT, Server, Settings
from test_shared import key_file

ETC = os.path.join(ROOT, "etc", "monitoring")
NAME = re.compile(r"\b(?:recurd|process)_[a-z0-9_]+")


def read(name):
    with open(os.path.join(ETC, name)) as f:
        return f.read()


class Monitoring(unittest.TestCase):
    def told(self):
        """Names of series of a daemon that has everything on."""
        folder = tempfile.mkdtemp(prefix="recurd-monitoring-")
        self.addCleanup(shutil.rmtree, folder)
        secret, keys = "a-key-of-enough-letters-0123456789", os.path.join(folder, "keys")
        with open(os.open(keys, os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
            f.write("mine %s metrics\n" % secret)
        states = os.path.join(folder, "states")
        flags = ["--model", DEMO, "--state-dir", states, "--api-keys", keys,
                 "--otlp-endpoint", "http://127.0.0.1:9", "--state-key", key_file(folder)]
        try:  # a store that is not there has all its series
            s = Server(flags + ["--shared", "redis+unix:///nowhere"])
        except AssertionError as e:
            if "built without hiredis" not in str(e):
                raise
            self.skipTest("built without hiredis: the shared store's series are not there")
        self.addCleanup(s.stop)
        auth = {"Authorization": "Bearer " + secret}
        s.request("POST", "/v1/completions", {"prompt": "Once", "max_tokens": 2}, auth)
        text = s.request("GET", "/metrics", headers=auth)[2].decode()
        return {line.split("{")[0].split(" ")[0] for line in text.splitlines()
                if line and not line.startswith("#")}

    def test_every_series_asked_for_is_told(self):
        told = self.told()
        for file in ("grafana.json", "alerts.yml"):
            asked = set(NAME.findall("\n".join(
                self.expressions() if file == "grafana.json" else
                re.findall(r"expr: (?:>-\n)?((?:.|\n)*?)\n +(?:for|labels):", read(file)))))
            self.assertGreater(len(asked), 8, file)
            self.assertEqual(asked - told, set(), file)

    def expressions(self):
        return [t["expr"] for p in self.panels() for t in p.get("targets", [])]

    def panels(self):
        return json.loads(read("grafana.json"))["panels"]

    def test_the_dashboard_is_one(self):
        d = json.loads(read("grafana.json"))
        self.assertGreaterEqual(d["schemaVersion"], 36)
        variables = {v["name"] for v in d["templating"]["list"]}
        panels, taken = d["panels"], set()
        self.assertEqual(len({p["id"] for p in panels}), len(panels))
        for p in panels:
            g = p["gridPos"]
            self.assertLessEqual(g["x"] + g["w"], 24, p["title"])
            cells = {(x, y) for x in range(g["x"], g["x"] + g["w"])
                     for y in range(g["y"], g["y"] + g["h"])}
            self.assertFalse(cells & taken, p["title"] + " covers another panel")
            taken |= cells
            if p["type"] == "row":
                continue
            self.assertIn(p["type"], ("stat", "timeseries"))
            self.assertTrue(p["title"] and p["targets"], p)
            self.assertEqual(len({t["refId"] for t in p["targets"]}), len(p["targets"]))
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(panels)))
        self.assertEqual(used - variables, {"__rate_interval"})

    @staticmethod
    def shared(label, up=1, **counts):
        """Series of a shared store of which so much happens every minute."""
        rates = dict.fromkeys(("hits", "misses", "timeouts", "writes", "dropped", "errors"), 0)
        rates.update(counts)
        return [{"series": "recurd_shared_up" + label, "values": "%dx40" % up}] + [
            {"series": "recurd_shared_%s_total%s" % (name, label), "values": "0+%dx40" % n}
            for name, n in rates.items()]

    def test_promtool_takes_the_expressions_and_the_rules(self):
        if not shutil.which("promtool"):
            self.skipTest("promtool is not installed (Debian package prometheus)")
        folder = tempfile.mkdtemp(prefix="recurd-rules-")
        self.addCleanup(shutil.rmtree, folder)
        shutil.copy(os.path.join(ETC, "alerts.yml"), folder)
        rules = {"groups": [{"name": "g", "rules": [
            {"record": "x:%d" % i, "expr": e.replace("$__rate_interval", "5m")}
            for i, e in enumerate(self.expressions())]}]}
        with open(os.path.join(folder, "dashboard.yml"), "w") as f:
            json.dump(rules, f)  # JSON is YAML
        alert = lambda name, series, at, fires: {
            "interval": "1m", "input_series": series,
            "alert_rule_test": [{"eval_time": at, "alertname": name,
                                 "exp_alerts": [{"exp_labels": l} for l in fires]}]}
        one = {"instance": "a", "job": "recurd"}
        label = '{instance="a",job="recurd"}'
        tests = {"rule_files": ["bare.yml"], "evaluation_interval": "1m", "tests": [
            alert("RecurdDown", [{"series": "up" + label, "values": "1 0 0 0 0"}], "4m",
                  [dict(one, severity="critical")]),
            alert("RecurdStuck", [{"series": "recurd_requests_running" + label, "values": "3x9"},
                                  {"series": "recurd_steps_total" + label, "values": "7x9"}], "8m",
                  [dict(one, severity="critical")]),
            alert("RecurdStuck", [{"series": "recurd_requests_running" + label, "values": "3x9"},
                                  {"series": "recurd_steps_total" + label, "values": "0+9x9"}],
                  "8m", []),
            alert("RecurdDiskOff", [{"series": "recurd_cache_disk_on" + label, "values": "0x9"}],
                  "5m", [dict(one, severity="critical")]),
            alert("RecurdSharedDown", [{"series": "recurd_shared_up" + label, "values": "1 0x9"}],
                  "8m", [dict(one, severity="warning")]),
            alert("RecurdSharedDown", [{"series": "recurd_shared_up" + label, "values": "0 0 0 1x9"}],
                  "8m", []),
            alert("RecurdSharedLate", self.shared(label) + [
                {"series": "recurd_shared_waited_for" + label, "values": "1 0x9"}], "8m",
                [dict(one, severity="warning")]),
            alert("RecurdSharedLate", self.shared(label, up=0) + [
                {"series": "recurd_shared_waited_for" + label, "values": "0x9"}], "8m", []),
            alert("RecurdSharedFaults", self.shared(label, errors=6), "25m",
                  [dict(one, severity="warning")]),
            alert("RecurdSharedFaults", self.shared(label, errors=1), "25m", []),
            alert("RecurdSharedFaults", self.shared(label, errors=6, up=0), "25m", []),
            alert("RecurdSharedSlow", self.shared(label, hits=80, misses=5, timeouts=15), "25m",
                  [{"instance": "a", "severity": "warning"}]),
            alert("RecurdSharedSlow", self.shared(label, hits=80, misses=15, timeouts=5), "25m", []),
            alert("RecurdSharedLeftOut", self.shared(label, writes=70, dropped=30), "35m",
                  [{"instance": "a", "severity": "info"}]),
            alert("RecurdSharedLeftOut", self.shared(label, writes=90, dropped=10), "35m", []),
            alert("RecurdSharedLeftOut", self.shared(label, dropped=30, up=0), "35m", []),
            alert("RecurdErrors",
                  [{"series": 'recurd_http_responses_total{instance="a",status="500"}',
                    "values": "0+2x20"},
                   {"series": 'recurd_http_responses_total{instance="a",status="200"}',
                    "values": "0+98x20"}], "15m", [{"instance": "a", "severity": "warning"}]),
        ]}
        # What annotations say is not compared, so a copy has none.
        with open(os.path.join(folder, "bare.yml"), "w") as f:
            f.write(re.sub(r" +annotations:\n(?: {10}.*\n)+", "", read("alerts.yml")))
        with open(os.path.join(folder, "tests.yml"), "w") as f:
            json.dump(tests, f)
        for args in (["check", "rules", "alerts.yml", "dashboard.yml"], ["test", "rules", "tests.yml"],
                     ["check", "config", os.path.join(ETC, "prometheus.yml")]):
            p = subprocess.run(["promtool"] + args, cwd=folder, capture_output=True, text=True,
                               timeout=Settings.patience(60))
            self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
