#!/usr/bin/env python3
"""FP8 checkpoints give the bits of the float32 values they stand for.

  fp8.py EVAL

Stored checkpoints are rewritten twice: their matrices as F8_E4M3 with scales beside them, in every
arrangement that is published, and the values of those bytes as F32. The program EVAL (recurd-eval)
must give the same logits for both; and it must refuse by name what it would misread.
"""
import bisect
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

from respell import HERE, Tensor, load, pack_experts, store

EVAL = sys.argv[1]
VALUES = [(2.0 ** ((q >> 3 & 15) - 7) * (1 + (q & 7) / 8) if q & 0x78 else (q & 7) * 2.0 ** -9)
          for q in range(127)]  # of the positive bytes, in order; 127 is no number
failures = 0


def say(ok, text):
    global failures
    failures += not ok
    print(("ok   " if ok else "FAIL ") + text, flush=True)


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def floats(t):
    if t.dtype == "BF16":
        n = len(t.data) // 2
        return struct.unpack(f"<{n}f", b"".join(b"\0\0" + t.data[2 * i:2 * i + 2] for i in range(n)))
    return struct.unpack(f"<{len(t.data) // 4}f", t.data)


def byte_of(x):
    i = bisect.bisect_left(VALUES, abs(x))
    if i == len(VALUES) or (i and abs(x) - VALUES[i - 1] < VALUES[i] - abs(x)):
        i -= 1
    return i | (0x80 if x < 0 else 0)


def stored(values, dtype):
    """The bytes of a list of floats in dtype, cut to it, and what they are then."""
    raw = struct.pack(f"<{len(values)}f", *values)
    if dtype == "F32":
        return raw, [f32(v) for v in values]
    cut = b"".join(raw[4 * i + 2:4 * i + 4] for i in range(len(values)))
    return cut, floats(Tensor("BF16", [len(values)], cut))


def quantized(t, arrangement, dtype):
    """(FP8 tensor, its scales, the values as F32) of a matrix or of experts."""
    x, (*lead, rows, cols) = floats(t), t.shape
    experts = len(x) // rows // cols
    down, right, shape = {"block": (128, 128, lead + [-(-rows // 128), -(-cols // 128)]),
                          "row": (1, cols, lead + [rows, 1]),
                          "matrix": (rows, cols, lead + [1, 1] if lead else [])}[arrangement]
    place = [(e, r // down, c // right) for e in range(experts) for r in range(rows)
             for c in range(cols)]
    most = {}
    for at, v in zip(place, x):
        most[at] = max(most.get(at, 1e-6), abs(v))
    keys = sorted(most)
    raw, scales = stored([most[k] / 440 for k in keys], dtype)
    scale = dict(zip(keys, scales))
    q = bytes(byte_of(v / scale[at]) for at, v in zip(place, x))
    sign = [-1.0 if b & 0x80 else 1.0 for b in q]
    back = [f32(s * VALUES[b & 0x7f] * scale[at]) for b, s, at in zip(q, sign, place)]
    return (Tensor("F8_E4M3", t.shape, q), Tensor(dtype, shape, raw),
            Tensor("F32", t.shape, struct.pack(f"<{len(back)}f", *back)))


def is_matrix(name, t):
    return (len(t.shape) > 1 and t.shape[-1] >= 16 and 1 not in t.shape and "conv" not in name and
            ("proj" in name or "experts" in name or "lora" in name or "ffn" in name or
             "lm_head" in name or name.endswith(".gate.weight")))


def write(folder, config, tensors):
    os.makedirs(folder, exist_ok=True)
    with open(folder + "/config.json", "w") as f:
        json.dump(config, f)
    store(folder + "/model.safetensors", tensors)


def logits(folder, ids):
    out = folder + "/logits.npy"
    r = subprocess.run([EVAL, "--model", folder, "--tokens", ids, "--logits", out],
                       capture_output=True, text=True)
    if r.returncode:
        return None, r.stderr.strip()
    with open(out, "rb") as f:
        return f.read(), ""


BLOCKS = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
          "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head"]}
ROWS = {"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
        "quantization_status": "compressed", "kv_cache_scheme": None, "config_groups": {"group_0": {
            "targets": ["Linear"], "input_activations": {"num_bits": 8, "dynamic": True},
            "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True,
                        "dynamic": False, "actorder": None}}}}
ONE = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"],
       "producer": {"name": "modelopt", "version": "0.33"}}
CASES = [  # checkpoint, arrangement, type of the scales, their suffix, quantization_config, experts
    ("hf/hf_qwen3_5", "block", "BF16", "_scale_inv", BLOCKS, None),
    ("hf/hf_kimi_linear", "block", "F32", "_scale_inv", BLOCKS, None),
    ("more/kimi_odd", "block", "F32", "_scale_inv", BLOCKS, None),
    ("more/granite_dynamic", "block", "F32", "_scale_inv", BLOCKS, None),
    ("hf/hf_qwen3_5_moe", "block", "F32", "_scale_inv", BLOCKS, ("gate_proj", "up_proj", "down_proj")),
    ("hf/hf_qwen3_5_moe", "matrix", "F32", "_scale", ONE, ("gate_proj", "up_proj", "down_proj")),
    ("hf/hf_nemotron_h", "matrix", "F32", "_scale", ONE, None),
    ("hf/hf_granite_hybrid", "row", "BF16", "_scale", ROWS, None),
    ("public/rwkv7", "row", "F32", "_scale", ROWS, None)]


def twins(folder, ids):
    for name, arrangement, dtype, suffix, section, experts in CASES:
        with open(f"{HERE}/{name}/config.json") as f:
            config = json.load(f)
        tensors = load(f"{HERE}/{name}/model.safetensors")
        if experts:
            tensors = pack_experts(tensors, *experts)
        a, b, n = {}, {}, 0
        for key, t in tensors.items():
            a[key] = b[key] = t
            if is_matrix(key, t):
                a[key], scales, b[key] = quantized(t, arrangement, dtype)
                a[key + suffix] = scales
                if arrangement == "matrix" and key.endswith(".weight"):
                    a[key[:-6] + "input_scale"] = Tensor("F32", [], struct.pack("<f", 0.5))
                n += 1
        write(folder + "/a", dict(config, quantization_config=section), a)
        write(folder + "/b", config, b)
        (x, why), (y, other) = logits(folder + "/a", ids), logits(folder + "/b", ids)
        say(n > 3 and x and x == y, f"{name}: {n} FP8 matrices, a {dtype} scale a {arrangement} "
            f"{'(packed experts) ' if experts else ''}{why or other or ('' if x == y else 'differ')}")


def refusals(folder, ids):
    with open(f"{HERE}/hf/hf_qwen3_5/config.json") as f:
        config = json.load(f)
    tensors = load(f"{HERE}/hf/hf_qwen3_5/model.safetensors")
    key = next(k for k, t in tensors.items() if k.endswith("down_proj.weight"))
    fp8, scales, _ = quantized(tensors[key], "block", "F32")
    good = dict(tensors, **{key: fp8, key + "_scale_inv": scales})
    three = Tensor("F32", [3], b"\0\0\x80\x3f" * 3)
    for what, section, t in (
            ("there is no", BLOCKS, dict(tensors, **{key: fp8})),
            ("does not lie over", BLOCKS, dict(good, **{key + "_scale_inv": three})),
            ("quantization_config.quant_method", dict(BLOCKS, quant_method="awq"), good),
            ("quantization_config.fmt", dict(BLOCKS, fmt="e5m2"), good),
            ("weight_block_size", dict(BLOCKS, weight_block_size=[64, 64]), good),
            ("quantization_config.kv_cache_scheme", dict(ROWS, kv_cache_scheme={"num_bits": 8}), good),
            ("num_bits", json.loads(json.dumps(ROWS).replace('"num_bits": 8, "type"',
                                                             '"num_bits": 4, "type"')), good),
            ("_scale", BLOCKS, dict(tensors, **{key + "_scale_inv": scales}))):
        write(folder + "/c", dict(config, quantization_config=section), t)
        x, why = logits(folder + "/c", ids)
        say(x is None and what in why, f"refused: {why}")


with tempfile.TemporaryDirectory() as temporary:
    tokens = temporary + "/ids.json"
    with open(tokens, "w") as f:
        json.dump([(i * 37 + i * i * 11) % 150 for i in range(60)], f)
    twins(temporary, tokens)
    refusals(temporary, tokens)
print(f"fp8: {failures} failures")
sys.exit(failures > 0)
