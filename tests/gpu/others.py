#!/usr/bin/env python3
"""What others reach on this card, for table.py: torch's matrix products, and fla's Gated DeltaNet
of 1.3 B parameters with random weights through its own model class, in bf16.

    others.py [--quick]

Prints a line of JSON for every figure, {"key": [a row of table.py], "value", "note"}, and for every
version, {"fact", "value"}. Without fla only torch's; without a card that torch sees, nothing but
the reason. Timed with events or a synchronised clock; what is tuned on the way is not counted."""
import json
import os
import statistics
import sys
import time

QUICK = "--quick" in sys.argv
GDN = "gdn-1.3b"
MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), GDN, "config.json")
STREAMS, PROMPT, BATCH, LONG, STEPS = (1, 64, 256), 2048, 16, 16384, 24


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


def build(torch):
    from fla.models import GatedDeltaNetConfig, GatedDeltaNetForCausalLM
    with open(MODEL, encoding="utf-8") as f:
        config = json.load(f)
    for key in ("architectures", "model_type", "transformers_version", "torch_dtype"):
        del config[key]
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


def main():
    import torch
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no card")
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
        for n, tokens, row in ((1, PROMPT, f"prompt of {PROMPT}"),
                               (BATCH, PROMPT, f"prompts {BATCH} x {PROMPT}"),
                               (1, LONG, f"prompt of {LONG}")):
            prompt(torch, model, n, tokens, row)


if __name__ == "__main__":
    main()
