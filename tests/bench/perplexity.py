"""Perplexity of the demo models with smaller weights, on text they have never seen:

    python3 tests/bench/perplexity.py build/recurd-eval [--text FILE] [MODEL_DIR ...]

Without --text: tests/bench/stories.txt, written for this. Fails when 8 bits
change the perplexity in bf16 by more than 0.2 %, or 4 bits by more than 3 %."""
import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
DEMO = os.path.join(HERE, "..", "..", "models", "demo")
BOUNDS = {"q8": 0.002, "q4": 0.03}

p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
p.add_argument("eval")
p.add_argument("--text", default=os.path.join(HERE, "stories.txt"))
p.add_argument("models", nargs="*")
a = p.parse_args()


def measure(model, how):
    out = subprocess.run([a.eval, "--model", model, "--perplexity", a.text, "--quantize", how],
                         stdout=subprocess.PIPE, check=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


failures = 0
print("| model | weights | tokens | nats per token | perplexity | against bf16 |")
print("|---|---|---:|---:|---:|---:|")
for model in a.models or [os.path.join(DEMO, m) for m in ("gated-deltanet", "rwkv7")]:
    base = measure(model, "none")
    for how in ("none", "q8", "q4"):
        r = base if how == "none" else measure(model, how)
        change = r["perplexity"] / base["perplexity"] - 1
        failures += abs(change) > BOUNDS.get(how, 0)
        print(f"| {os.path.basename(os.path.normpath(model))} | {how} | {r['tokens']} | "
              f"{r['nats_per_token']:.5f} | {r['perplexity']:.4f} | {100 * change:+.2f} % |")
sys.exit(failures > 0)
