"""schemathesis: the daemon's own OpenAPI document, and random requests made from it. The longest
answers are bounded, so that the time is; nothing else of the document is changed."""
import json
import os
import re
import subprocess
import urllib.request

from feature import BASE, BIN, feature, main

FOLDER = os.environ["HOME"]
LENGTHS = ("max_tokens", "n_predict", "num_predict")


def bound(v):
    """Lengths of answers become 1 … 4 and must be named."""
    for key, value in v.items() if isinstance(v, dict) else enumerate(v):
        if key in LENGTHS:
            v[key] = {"type": "integer", "minimum": 1, "maximum": 4}
        elif isinstance(value, (dict, list)):
            bound(value)
    if isinstance(v, dict) and isinstance(v.get("properties"), dict):
        named = [x for x in v["properties"] if x in LENGTHS or x == "options"]
        if named:
            v["required"] = sorted(set(v.get("required", []) + named))


@feature("the document is valid OpenAPI 3.1, no 5xx, no violation")
def run():
    with urllib.request.urlopen(BASE + "/openapi.json") as r:
        document = json.load(r)
    assert document["openapi"].startswith("3.1") and len(document["paths"]) > 20
    bound(document)
    path = os.path.join(FOLDER, "openapi.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(document, f)
    r = subprocess.run(
        [os.path.join(BIN, "schemathesis"), "run", path, "--url", BASE, "--seed", "1",
         "--phases", "examples,coverage,fuzzing", "--max-examples", "12", "--workers", "1",
         "--request-timeout", "60", "--exclude-path-regex", "^/metrics$", "--checks",
         "not_a_server_error,status_code_conformance,content_type_conformance,"
         "response_schema_conformance"],
        capture_output=True, text=True, timeout=500, cwd=FOLDER, stdin=subprocess.DEVNULL)
    text = re.sub(r"\x1b\[[0-9;]*m", "", r.stdout + r.stderr)
    with open(os.path.join(FOLDER, "schemathesis.log"), "w", encoding="utf-8") as f:
        f.write(text)
    summary = [x.strip() for x in text.splitlines() if "generated" in x or "test cases" in x.lower()]
    print("#     schemathesis  " + "; ".join(summary)[:200], flush=True)
    if r.returncode:
        at = max(text.find("= FAILURES"), text.find("= ERRORS"), 0)
        raise AssertionError(text[at:at + 900] or "exit code %d" % r.returncode)


main()
