"""What the recipes share: weights, prompts, and how a result is stored.

A set holds a small checkpoint and expected.safetensors: for every prompt length N tokens_N [N],
pos_N (the rows that are kept) and logits_N [rows, vocab], computed by the reference library without
a cache, in float64 on a CPU. Weights are random and exactly representable in bfloat16, in which
they are stored. `made_by` in the metadata names the libraries' versions.
"""
import importlib.metadata
import os

import torch
from safetensors import safe_open
from safetensors.torch import save_file

LENGTHS = (1, 9, 70)


def in_float64(model, logits_of):
    """logits_of(ids) with model in float64, its inner casts to float32 included: what is left of
    the library is its formulas."""
    model.double()

    def run(ids):
        single, to_float = torch.float32, torch.Tensor.float
        torch.float32, torch.Tensor.float = torch.float64, torch.Tensor.double
        torch.set_default_dtype(torch.float64)
        try:
            with torch.no_grad():
                return logits_of(ids)
        finally:
            torch.float32, torch.Tensor.float = single, to_float
            torch.set_default_dtype(single)

    return run


def versions(*packages):
    said = [f"{p} {importlib.metadata.version(p)}" for p in packages]
    return {"made_by": ", ".join(said)}


def value(name, shape, r, scale):
    """Numbers of a trained model's order for the parameter `name`, from normal ones."""
    if name.endswith("A_log"):
        return torch.log(1 + 15 * torch.sigmoid(r))
    if "recurrent_param" in name:
        return r - 2
    if "time_decay" in name:
        return r * .5 - 1
    if "time_mix" in name:
        return torch.sigmoid(r)
    if name.endswith(("gate_bias", "dt_bias")):
        return .5 * r
    if name.endswith("_hc.scale"):
        return 1 + .2 * r
    if "norm" in name.lower() or name.endswith(".D") or name.split(".")[-2].startswith("ln"):
        return 1 + .2 * r
    if len(shape) == 1 or "bias" in name:
        return .3 * r
    return r if "embed" in name else scale * r / shape[-1] ** .5


def fill(model, seed, scale=1.2):
    """scale: of the matrices; where rounding is amplified from layer to layer, less."""
    g = torch.Generator().manual_seed(seed)
    buffers = [(n, b) for n, b in model.named_buffers()
               if "expert_bias" in n or "correction" in n or "balancing" in n]
    for name, p in list(model.named_parameters()) + buffers:
        with torch.no_grad():
            x = value(name, p.shape, torch.randn(p.shape, generator=g), scale)
            p.copy_(x.bfloat16().float())


def prompts(vocab, lengths=LENGTHS):
    """{N: ids}; seeded by their length."""
    return {n: torch.randint(3, vocab, (1, n), generator=torch.Generator().manual_seed(n))
            for n in lengths}


def expected(logits_of, vocab, lengths=LENGTHS):
    """logits_of(ids [1, N]) -> [N, vocab]."""
    want = {}
    for n, ids in prompts(vocab, lengths).items():
        want[f"logits_{n}"] = logits_of(ids).to(torch.float).contiguous()
        want[f"tokens_{n}"], want[f"pos_{n}"] = ids[0].int(), torch.arange(n).int()
    return want


def again(folder, logits_of):
    """The same prompts as stored in folder, computed anew: (new tensors, largest difference)."""
    path = os.path.join(folder, "expected.safetensors")
    with safe_open(path, "pt") as f:
        old = {k: f.get_tensor(k) for k in f.keys()}
    new, worst = dict(old), 0.0
    run = lambda ids: logits_of(torch.tensor([ids]))
    for n in [k[len("logits_"):] for k in old if k.startswith("logits_")]:
        ids = old[f"tokens_{n}"].tolist()
        logits = run(ids)
        new[f"logits_{n}"] = logits[old[f"pos_{n}"].long()].to(torch.float).contiguous()
        worst = max(worst, (new[f"logits_{n}"] - old[f"logits_{n}"]).abs().max().item())
        if f"greedy_{n}" not in old:
            continue
        chosen, gaps = [], []
        for _ in old[f"greedy_{n}"]:
            top = logits[-1].topk(2)
            chosen.append(top.indices[0].item())
            gaps.append((top.values[0] - top.values[1]).item())
            logits = run(ids + chosen)
        new[f"greedy_{n}"] = torch.tensor(chosen).int()
        new[f"greedy_gap_{n}"] = torch.tensor(gaps, dtype=torch.float)
    return new, worst


def store(folder, want, made_by):
    save_file(want, os.path.join(folder, "expected.safetensors"), metadata=made_by)
