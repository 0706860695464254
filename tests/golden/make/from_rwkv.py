#!/usr/bin/env python3
"""Makes tests/golden/rwkv: small checkpoints under the RWKV project's own tensor names, versions 4
to 6, and the logits of the project's own package.

  from_rwkv.py OUT [name ...]
"""
import json
import os
import shutil
import sys
import tempfile

os.environ.update(RWKV_JIT_ON="0", RWKV_CUDA_ON="0", RWKV_V7_ON="0")

import torch
from rwkv.model import RWKV
from safetensors.torch import save_file

import oracle

PACKAGES = ("torch", "rwkv", "safetensors")
VOCAB, D, K, LAYERS = 160, 64, 16, 3
H = D // K


def norm(name):
    return {name + ".weight": (D,), name + ".bias": (D,)}


def attention(version, inner):
    if version == 6:
        maa = {f"time_maa_{c}": (1, 1, D) for c in "xwkvrg"}
        return {**maa, "time_maa_w1": (D, 5 * 12), "time_maa_w2": (5, 12, D),
                "time_decay": (1, 1, D), "time_decay_w1": (D, 20), "time_decay_w2": (20, D),
                "time_faaaa": (H, K), **norm("ln_x"), "gate.weight": (D, D)}
    out = {f"time_mix_{c}": (1, 1, D) for c in "kvr"}
    if version == 4:
        return {**out, "time_decay": (inner,), "time_first": (inner,)}
    out.update(norm("ln_x"))
    if version > 5:
        out.update({"time_mix_g": (1, 1, D), "gate.weight": (D, D)})
    if version == 5.2:
        return {**out, "time_decay": (H, K), "time_faaaa": (H, K)}
    return {**out, "time_decay": (H,), "time_first": (H,)}


def shapes(version):
    """Names and shapes of all tensors."""
    inner, wide = (96 if version == 4 else D), 100
    out = {"emb.weight": (VOCAB, D), "head.weight": (VOCAB, D), **norm("ln_out")}
    for i in range(LAYERS):
        b = f"blocks.{i}."
        out.update(norm(b + "ln0") if i == 0 else {})
        out.update({**norm(b + "ln1"), **norm(b + "ln2")})
        for name, shape in attention(version, inner).items():
            out[b + "att." + name] = shape
        for name in ("key", "value", "receptance"):
            out[f"{b}att.{name}.weight"] = (inner, D)
        out[b + "att.output.weight"] = (D, inner)
        mix = "time_maa" if version == 6 else "time_mix"
        out.update({f"{b}ffn.{mix}_k": (1, 1, D), f"{b}ffn.{mix}_r": (1, 1, D)})
        out.update({b + "ffn.key.weight": (wide, D), b + "ffn.value.weight": (D, wide),
                    b + "ffn.receptance.weight": (D, D)})
    return out


def value(name, shape, r):
    if "time_mix" in name or name.split(".")[-1] in [f"time_maa_{c}" for c in "xwkvrg"]:
        return torch.sigmoid(r)
    if name.endswith("time_decay"):
        return r - 1
    if name.endswith(("time_faaaa", "time_first")):
        return .5 * r
    if ".ln" in name or name.startswith("ln"):
        return .2 * r if name.endswith("bias") else 1 + .2 * r
    if name.endswith(("_w1", "_w2")):
        return .5 * r / shape[-2] ** .5
    return r if name.startswith("emb") else r / shape[-1] ** .5


def make(folder, seed, version, model_type):
    g = torch.Generator().manual_seed(seed)
    w = {n: value(n, s, torch.randn(s, generator=g)).bfloat16() for n, s in shapes(version).items()}
    with tempfile.TemporaryDirectory() as temporary:
        torch.save({n: t.float() for n, t in w.items()}, os.path.join(temporary, "m.pth"))
        model = RWKV(model=os.path.join(temporary, "m"), strategy="cpu fp32", verbose=False)

    def logits_of(ids):  # one token at a time: the definition, without the chunked form's powers
        state, rows = None, []
        for t in ids[0].tolist():
            out, state = model.forward([t], state)
            rows.append(out.clone())
        return torch.stack(rows)

    want = oracle.expected(logits_of, VOCAB)
    save_file(w, os.path.join(folder, "model.safetensors"))
    config = {"model_type": model_type} | ({} if version == 4 else {"head_size": K})
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    oracle.store(folder, want, oracle.versions(*PACKAGES))


CASES = {"own_v4": (4, "rwkv"), "own_v5_0": (5, "rwkv5"), "own_v5_1": (5.1, "rwkv5"),
         "own_v5_2": (5.2, "rwkv5"), "own_v6": (6, "rwkv6")}


def main():
    for seed, (name, (version, kind)) in enumerate(CASES.items(), 200):
        folder = os.path.join(sys.argv[1], name)
        if len(sys.argv) == 2 or name in sys.argv[2:]:
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
            make(folder, seed, version, kind)
            print(name)


if __name__ == "__main__":
    main()
