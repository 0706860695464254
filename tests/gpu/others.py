#!/usr/bin/env python3
"""What others reach on this card, for table.py: torch's matrix products, and fla's Gated DeltaNet
of 1.3 B parameters with random weights through its own model class, in bf16.

    others.py [--quick | --tune I/N]

Prints a line of JSON for every figure, {"key": [a row of table.py], "value", "note"}, and for every
version, {"fact", "value"}. Without fla only torch's; without a card that torch sees, nothing but
the reason. Timed with a synchronised clock; what is tuned on the way is not counted.

For prompts fla tries many variants of each kernel when it is first used, and compiles them one
after the other: minutes. So they come last, and some processes (--tune) compile a share of them
each before, into triton's cache."""
import json
import os
import statistics
import subprocess
import sys
import time

QUICK = "--quick" in sys.argv
GDN = "gdn-1.3b"
MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), GDN, "config.json")
STREAMS, PROMPT, BATCH, LONG, STEPS = (1, 64, 256), 2048, 16, 16384, 24
TUNERS = max(1, min(12, (os.cpu_count() or 1) // 2))


def say(key, value, note):
    print(json.dumps({"key": key, "value": value, "note": note}), flush=True)


def fact(name, value):
    print(json.dumps({"fact": name, "value": str(value)}), flush=True)


def seconds(torch, do, rounds):
    """Median of `rounds`, after two that are not counted."""
    times = []
    for i in range(rounds + 2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        do()
        torch.cuda.synchronize()
        if i > 1:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def products(torch):
    for n in (256,) if QUICK else (4096, 8192):
        a, b = (torch.randn(n, n, device="cuda").bfloat16() for _ in range(2))
        repeat = 8 if n < 8192 else 2
        s = seconds(torch, lambda: [a @ b for _ in range(repeat)], 7) / repeat
        say(["products", "product bf16", f"{n}³"], 2 * n ** 3 / s / 1e12, "")


def copy(torch):
    x = torch.empty(1 << (24 if QUICK else 32), dtype=torch.uint8, device="cuda").random_()
    y = torch.empty_like(x)
    say(["products", "copy", "read and written"], 2 * x.numel() / seconds(
        torch, lambda: y.copy_(x), 5) / 1e9, "")


def build(torch, layers=None):
    from fla.models import GatedDeltaNetConfig, GatedDeltaNetForCausalLM
    with open(MODEL, encoding="utf-8") as f:
        config = json.load(f)
    for key in ("architectures", "model_type", "transformers_version", "torch_dtype"):
        del config[key]
    config["num_hidden_layers"] = layers or config["num_hidden_layers"]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = GatedDeltaNetForCausalLM(GatedDeltaNetConfig(**config))
    torch.set_default_dtype(before)
    return model.eval()


def decode(torch, model, n):
    """Prompts of 64 tokens, then steps of one token each, drawn greedily."""
    x = torch.randint(10, 4000, (n, 64), device="cuda")
    cache, times = None, []
    for i in range(STEPS + 9):
        torch.cuda.synchronize()
        start = time.perf_counter()
        out = model(input_ids=x, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        x = out.logits[:, -1:].argmax(-1)
        torch.cuda.synchronize()
        if i > 8:
            times.append(time.perf_counter() - start)
    s = statistics.median(times)
    say(["serve", GDN, f"{n} streams"], n / s, f"fla: {s * 1e3:.2f} ms a step, without a server")


def prompt(torch, model, n, tokens, row):
    x = torch.randint(10, 4000, (n, tokens), device="cuda")
    s = seconds(torch, lambda: model(input_ids=x, use_cache=True, logits_to_keep=1), 3)
    say(["serve", GDN, row], n * tokens / s, f"fla: {s * 1e3:.1f} ms")


def tune(torch, share):
    """Compiles every TUNERS-th variant of each kernel that prompts and steps use."""
    from triton.runtime.autotuner import Autotuner
    i, n = (int(x) for x in share.split("/"))
    whole = Autotuner.prune_configs

    def some(self, *a):
        configs = whole(self, *a)
        return configs[i % len(configs)::n]

    Autotuner.prune_configs = some
    model = build(torch, 2)
    x = torch.randint(10, 4000, (1, 256), device="cuda")
    out = model(input_ids=x, use_cache=True, logits_to_keep=1)
    model(input_ids=x[:, :1], past_key_values=out.past_key_values, use_cache=True)


def tune_all():
    env = dict(os.environ, FLA_CACHE_RESULTS="0")  # a share's best is nobody's
    start = time.monotonic()
    children = [subprocess.Popen([sys.executable, __file__, "--tune", f"{i}/{TUNERS}"], env=env,
                                 stdout=subprocess.DEVNULL) for i in range(TUNERS)]
    codes = [c.wait() for c in children]
    fact("fla's variants", f"compiled in {time.monotonic() - start:.1f} s by {TUNERS} processes, "
         f"{sum(map(bool, codes))} failed")


def main():
    try:
        import torch
    except ImportError as e:
        fact("torch", f"not there: {e}")
        return
    if not torch.cuda.is_available():
        fact("torch", f"{torch.__version__} sees no card")
        return
    if "--tune" in sys.argv:
        with torch.inference_mode():
            tune(torch, sys.argv[sys.argv.index("--tune") + 1])
        return
    fact("torch", torch.__version__)
    with torch.inference_mode():
        copy(torch)
        products(torch)
        if QUICK:
            return
        try:
            import fla
            import triton
        except ImportError as e:
            fact("fla", f"not there: {e}")
            return
        fact("fla", f"{fla.__version__}, triton {triton.__version__}")
        model = build(torch)
        for n in STREAMS:
            decode(torch, model, n)
        tune_all()
        for n, tokens, row in ((1, PROMPT, f"prompt of {PROMPT}"),
                               (BATCH, PROMPT, f"prompts {BATCH} x {PROMPT}"),
                               (1, LONG, f"prompt of {LONG}")):
            prompt(torch, model, n, tokens, row)


if __name__ == "__main__":
    main()
