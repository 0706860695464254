#!/usr/bin/env python3
"""Makes tests/golden/fla: small checkpoints of flash-linear-attention's families with switches that
the older sets leave alone. Its Triton kernels run on the CPU, interpreted.

  from_fla.py OUT [name ...]      makes OUT/name (all that are listed below)
  from_fla.py --again DIR ...     computes what DIR's own weights give, tells how far that is from
                                  what is stored; stores nothing
"""
import json
import os
import shutil
import sys

import fla_on_cpu
import torch
from fla.layers import simple_gla
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

import fla.layers
import oracle

PACKAGES = ("torch", "triton", "flash-linear-attention", "transformers", "safetensors")
VOCAB = 160
BASE = dict(vocab_size=VOCAB, hidden_size=64, num_hidden_layers=2, intermediate_size=96,
            bos_token_id=1, eos_token_id=2, fuse_cross_entropy=False, fuse_norm=False,
            fuse_swiglu=False)
GDN = dict(head_dim=16, num_heads=2, num_v_heads=4, expand_v=1.5)
ATTN = dict(num_heads=4, num_kv_heads=2)

CASES = {
    "linear_attn_dpfp": ("linear_attn", dict(
        num_heads=2, feature_map="dpfp", attn_mode="fused_recurrent")),
    "gated_deltanet_sigmoid": ("gated_deltanet", dict(output_gate_activation="sigmoid", **GDN)),
    "gated_deltanet_all_attn": ("gated_deltanet", dict(attn=dict(layers=[0, 1], **ATTN), **GDN)),
    "rodimus_attn": ("rodimus", dict(
        num_hidden_layers=3, block_type="rodimus", expand_ratio=16, attn_mode="fused_recurrent",
        attn=dict(layers=[1], **ATTN),
        residual_in_fp32=False)),
    "rodimus_plus_attn": ("rodimus", dict(
        num_hidden_layers=3, expand_ratio=16, attn_mode="fused_recurrent",
        attn=dict(layers=[1], window_size=16, **ATTN),
        ska_attn=dict(num_heads=4, window_size=32), residual_in_fp32=False)),
    "hgrn_wide": ("hgrn", dict(num_hidden_layers=3, expand_ratio=2)),
    "cyfa": ("cyclic_flow_attention", dict(
        num_hidden_layers=3, head_dim=16, num_heads=3, expand_v=1.5, num_slots=22)),
    "cyfa_plain": ("cyclic_flow_attention", dict(
        head_dim=32, num_heads=2, expand_k=.5, num_slots=16, use_short_conv=False)),
}


# Scales of matrices, where 1.2 makes float32 noise grow to the bound.
CALM = {"cyfa": .8}


def make(folder, name, seed, kind, keys):
    config = AutoConfig.for_model(kind, **{**BASE, **keys})
    model = AutoModelForCausalLM.from_config(config).float().eval()
    oracle.fill(model, seed, CALM.get(name, 1.2))

    def logits_of(ids):
        with torch.no_grad():
            return model(ids, use_cache=False).logits[0]

    want = oracle.expected(logits_of, VOCAB, (1, 9, 50))  # recurrent kernels up to 64
    model.bfloat16().save_pretrained(folder)
    oracle.store(folder, want, oracle.versions(*PACKAGES))
    os.remove(os.path.join(folder, "generation_config.json"))


def in_steps(model):
    """MoM forgets tokens beyond a share of each memory when it sees many at once, as in training;
    what it generates with is one token at a time."""
    def run(ids):
        past, rows = None, []
        for t in range(ids.shape[1]):
            out = model(ids[:, t:t + 1], past_key_values=past, use_cache=True)
            past = out.past_key_values
            rows.append(out.logits[0])
        return torch.cat(rows)
    return run


def logits_of(folder):
    """Of a set: its model class, or a mixer alone (keys and tensors of the layer's own)."""
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        keys = json.load(f)
    if "layer" not in keys:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        model = fla_on_cpu.token_by_token(model)
        if keys["model_type"] == "mom":
            return in_steps(model)
        return lambda ids: model(ids, use_cache=False).logits[0]
    keys.pop("model_type")
    name = keys.pop("layer")
    kind = getattr(fla.layers, name, None) or getattr(simple_gla, name)
    layer = fla_on_cpu.token_by_token(kind(**keys))
    layer.load_state_dict(load_file(os.path.join(folder, "model.safetensors")))
    return lambda x: layer(x)[0][0]


def again(folder):
    """(largest difference, prompt length) of each stored result, shortest first."""
    run = logits_of(folder)
    stored = load_file(os.path.join(folder, "expected.safetensors"))
    kinds = {"logits": "tokens", "output": "input"}
    names = [k for k in stored if k.split("_")[0] in kinds and k.split("_")[1].isdigit()]
    for name in sorted(names, key=lambda k: int(k.split("_")[1])):
        kind, n = name.split("_")
        given = stored[f"{kinds[kind]}_{n}"]
        with torch.no_grad():
            got = run(given.long()[None] if kind == "logits" else given[None])
        rows = stored.get(f"pos_{n}", torch.arange(len(got))).long()
        yield (got[rows].float() - stored[name].float()).abs().max().item(), int(n)


def main():
    if sys.argv[1] == "--again":
        for folder in sys.argv[2:]:
            try:
                for worst, n in again(folder):
                    print(f"{folder}: {n} tokens: {worst:.1e} from what is stored", flush=True)
            except Exception as e:  # what cannot be interpreted is said, and the next one tried
                print(f"{folder}: not computed: {type(e).__name__}: {str(e)[:300]}", flush=True)
        return
    for seed, (name, (kind, keys)) in enumerate(CASES.items(), 100):
        folder = os.path.join(sys.argv[1], name)
        if len(sys.argv) == 2 or name in sys.argv[2:]:
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
            make(folder, name, seed, kind, keys)
            print(name, flush=True)


if __name__ == "__main__":
    main()
