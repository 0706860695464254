#!/usr/bin/env python3
"""The same model under the other names and shapes in which it is published computes the same.

  respell.py GOLDEN [--device NAME ...]

Rewrites stored checkpoints (tensor names, packed experts, turned matrices, keys of config.json) and
runs the program GOLDEN on the results: the stored logits and the promises about bits must still
hold.
"""
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BYTES = {"F32": 4, "F16": 2, "BF16": 2}


class Tensor:
    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, list(shape), data

    def turned(self):
        rows, cols = self.shape
        n = BYTES[self.dtype]
        at = lambda r, c: (r * cols + c) * n
        data = b"".join(self.data[at(r, c):at(r, c) + n] for c in range(cols) for r in range(rows))
        return Tensor(self.dtype, [cols, rows], data)


def stacked(tensors, lead=None):
    """One after the other; lead: as a new first dimension."""
    first = tensors[0]
    rows = [sum(t.shape[0] for t in tensors)] + first.shape[1:]
    shape = [len(tensors)] + first.shape if lead else rows
    return Tensor(first.dtype, shape, b"".join(t.data for t in tensors))


def load(path):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head, blob = json.loads(f.read(n)), f.read()
    return {k: Tensor(m["dtype"], m["shape"], blob[slice(*m["data_offsets"])])
            for k, m in head.items() if k != "__metadata__"}


def store(path, tensors):
    head, at = {}, 0
    for name, t in tensors.items():
        head[name] = {"dtype": t.dtype, "shape": t.shape, "data_offsets": [at, at + len(t.data)]}
        at += len(t.data)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(t.data)


def renamed(tensors, rules):
    out = {}
    for name, t in tensors.items():
        for old, new in rules:
            name = re.sub(old, new, name)
        out[name] = t
    return out


def pack_experts(tensors, gate, up, down):
    """experts.<e>.<gate|up|down>.weight -> experts.gate_up_proj [E, 2I, D], experts.down_proj."""
    out, layers = {}, {}
    for name, t in tensors.items():
        m = re.match(r"(.*experts\.)(\d+)\.(\w+)\.weight$", name)
        if m:
            layers.setdefault(m[1], {})[int(m[2]), m[3]] = t
        else:
            out[name] = t
    for prefix, part in layers.items():
        n = 1 + max(e for e, _ in part)
        both = [stacked([part[e, gate], part[e, up]]) for e in range(n)]
        out[prefix + "gate_up_proj"] = stacked(both, lead=True)
        out[prefix + "down_proj"] = stacked([part[e, down] for e in range(n)], lead=True)
    return out


def qwen3_5_moe(config, t):
    tie = config.pop("tie_word_embeddings")
    outer = {"architectures": config.pop("architectures"), "model_type": "qwen3_5_moe",
             "tie_word_embeddings": tie, "text_config": config, "image_token_id": 7,
             "vision_config": {"depth": 1}}
    t = renamed(pack_experts(t, "gate_proj", "up_proj", "down_proj"),
                [(r"^model\.", "model.language_model.")])
    t["model.visual.patch_embed.proj.weight"] = Tensor("BF16", [2, 2], b"\0" * 8)
    t["mtp.fc.weight"] = Tensor("BF16", [2, 2], b"\0" * 8)
    return outer, t


def kimi_linear(config, t):
    for key in ("layer_types", "mlp_layer_types", "linear_conv_kernel_dim", "linear_head_dim",
                "linear_num_heads"):
        del config[key]
    out = {}
    for name, x in t.items():
        m = re.match(r"(.*\.)q_conv1d\.weight$", name)
        if m:
            out[m[1] + "conv1d.weight"] = stacked([t[m[1] + c + "_conv1d.weight"] for c in "qkv"])
        elif not name.endswith("_conv1d.weight"):
            out[name] = x
    out = renamed(pack_experts(out, "w1", "w3", "w2"), [
        (r"\.f_a_proj", ".forget_gate_down"), (r"\.f_b_proj", ".forget_gate_up"),
        (r"\.g_a_proj", ".output_gate_down"), (r"\.g_b_proj", ".output_gate_up"),
        (r"\.b_proj", ".beta_proj"), (r"\.block_sparse_moe\.", ".mlp.")])
    return config, out


def nemotron_h(config, t):
    letter = {"linear_attention": "M", "moe": "E", "full_attention": "*", "mlp": "-"}
    types = config.pop("layers_block_type")
    config["hybrid_override_pattern"] = "".join(letter[x] for x in types)
    config["num_hidden_layers"] = len(types)
    return config, t


def granite_hybrid(config, t):
    old = {"linear_attention": "mamba", "full_attention": "attention"}
    config["layer_types"] = [old[x] for x in config["layer_types"]]
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["rope_scaling"] = None
    return config, t


def lfm2_adjust(config, t):
    types = config.pop("layer_types")
    config["full_attn_idxs"] = [i for i, x in enumerate(types) if x == "full_attention"]
    config["block_ff_dim"] = config.pop("intermediate_size")
    return config, t


def jamba(config, t):
    config["layers_block_type"] = ["mamba", "mamba", "attention", "mamba"]
    return config, pack_experts(t, "gate_proj", "up_proj", "down_proj")


def minimax(config, t):
    config["attn_type_list"] = [int(x == "full_attention") for x in config.pop("layer_types")]
    t = pack_experts(t, "w1", "w3", "w2")
    return config, renamed(t, [(r"\.block_sparse_moe\.", ".mlp.")])


def olmo_hybrid(config, t):
    attention = [n.split("self_attn")[0] for n in t if n.endswith("self_attn.q_proj.weight")]
    t = {(n.replace("feedforward_layer_norm", "post_attention_layernorm")
          if any(n.startswith(a) for a in attention) else n): x for n, x in t.items()}
    return config, renamed(t, [(r"attention_layer_norm", "input_layernorm"),
                               (r"feedforward_layer_norm", "post_attention_layernorm")])


def rwkv7(config, t):
    t = renamed(t, [
        (r"^model\.embeddings\.", "emb."), (r"^lm_head\.", "head."), (r"^model\.norm\.", "ln_out."),
        (r"^model\.layers\.", "blocks."), (r"\.pre_norm\.", ".ln0."), (r"\.attn_norm\.", ".ln1."),
        (r"\.ffn_norm\.", ".ln2."), (r"\.attn\.", ".att."), (r"\.r_proj", ".receptance"),
        (r"\.k_proj", ".key"), (r"\.v_proj", ".value"), (r"\.o_proj", ".output"),
        (r"\.g_norm", ".ln_x"), (r"\.(\w)_lora\.lora\.0\.weight", r".\g<1>1"),
        (r"\.(\w)_lora\.lora\.2\.weight", r".\g<1>2"), (r"\.(\w)_lora\.lora\.2\.bias", r".\g<1>0")])
    turn = re.compile(r"\.att\.[wavg][12]$")
    return config, {n: x.turned() if turn.search(n) else x for n, x in t.items()}


def rwkv5(config, t):
    """As the project's converted checkpoints have it."""
    config.update(hidden_size=64, num_hidden_layers=3, intermediate_size=100, vocab_size=160,
                  attention_hidden_size=64, head_size_divisor=8, rescale_every=6)
    return config, renamed(t, [
        (r"^(emb|ln_out|blocks)\.", r"rwkv.\1."), (r"\.emb\.", ".embeddings."),
        (r"\.ln0\.", ".pre_ln."), (r"\.att\.", ".attention."), (r"\.ffn\.", ".feed_forward."),
        (r"time_mix_k$", "time_mix_key"), (r"time_mix_v$", "time_mix_value"),
        (r"time_mix_r$", "time_mix_receptance"), (r"time_mix_g$", "time_mix_gate")])


def bailing_hybrid(config, t):
    """As the library names things, and with a head that drafts."""
    config["num_nextn_predict_layers"] = 1
    t = renamed(t, [
        (r"word_embeddings", "embed_tokens"), (r"\.attention\.", ".self_attn."),
        (r"\.(f_proj|dt_bias|A_log)", r".forget_gate.\1"), (r"\.dense\.", ".o_proj."),
        (r"expert_bias", "e_score_correction_bias")])
    t["model.layers.4.eh_proj.weight"] = Tensor("BF16", [2, 2], b"\0" * 8)
    return config, t


BAGGAGE = {"unsloth_version": "2026.1", "unsloth_fixed": True, "transformers.js_config": {"a": 1},
           "_commit_hash": "0123", "_attn_implementation_autoset": True, "model_name": "m",
           "tokenizer_class": "T", "do_sample": True, "temperature": 0.6, "top_k": 20,
           "max_length": 20, "tie_encoder_decoder": False, "is_decoder": False,
           "gradient_checkpointing": True, "use_something_new": False, "something_else": None}


def baggage(config, t):
    """What exporters and tools leave behind, and what other programs store."""
    for name in ("model.layers.0.self_attn.rotary_emb.inv_freq", "mtp.layers.0.fc.weight"):
        t[name] = Tensor("F32", [2, 2], b"\0" * 16)
    return {**config, **BAGGAGE}, t


CASES = {"hf/hf_qwen3_5_moe": qwen3_5_moe, "hf/hf_kimi_linear": kimi_linear,
         "hf/hf_nemotron_h": nemotron_h, "hf/hf_granite_hybrid": granite_hybrid,
         "hf/hf_lfm2_adjust": lfm2_adjust, "hf/hf_jamba": jamba, "hf/hf_minimax": minimax,
         "hf/hf_olmo_hybrid": olmo_hybrid, "public/rwkv7": rwkv7,
         "rwkv/own_v5_2": rwkv5, "more/bailing_hybrid": bailing_hybrid}
BURDENED = ["hf/hf_bamba", "hf/hf_falcon_h1", "hf/hf_falcon_mamba", "hf/hf_granite_dense",
            "hf/hf_granite_hybrid", "hf/hf_jamba", "hf/hf_kimi_linear", "hf/hf_lfm2",
            "hf/hf_mamba2", "hf/hf_minimax", "hf/hf_nemotron_h", "hf/hf_olmo_hybrid",
            "hf/hf_qwen3_5", "hf/hf_qwen3_next", "hf/hf_recurrent_gemma", "hf/hf_rwkv4",
            "hf/hf_zamba2", "public/gla", "public/gated_deltanet", "public/rwkv7", "public/mla"]


def main():
    with tempfile.TemporaryDirectory() as root:
        dirs = []
        for i, (case, respell) in enumerate([*CASES.items(), *((c, baggage) for c in BURDENED)]):
            source = os.path.join(HERE, case)
            target = os.path.join(root, str(i), os.path.basename(case))
            os.makedirs(target)
            with open(os.path.join(source, "config.json"), encoding="utf-8") as f:
                config = json.load(f)
            config, tensors = respell(config, load(os.path.join(source, "model.safetensors")))
            with open(os.path.join(target, "config.json"), "w", encoding="utf-8") as f:
                json.dump(config, f)
            store(os.path.join(target, "model.safetensors"), tensors)
            shutil.copy(os.path.join(source, "expected.safetensors"), target)
            dirs.append(target)
        sys.exit(subprocess.run(sys.argv[1:] + dirs, check=False).returncode)


if __name__ == "__main__":
    main()
