#!/usr/bin/env python3
"""Makes tests/golden/plain: small checkpoints of families that no installable library runs, and the
logits of their published formulas, written here once more in float64, token by token.

  from_formulas.py OUT [name ...]        makes OUT/name (all of CASES)
  from_formulas.py --again DIR ...       says how far DIR's stored results are from the formulas
"""
import json
import math
import os
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file

import oracle

VOCAB = 160
F = torch.nn.functional
PACKAGES = ("torch", "safetensors")


def rms(x, weight, eps):
    y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    return y if weight is None else y * weight


def swiglu(w, p, x):
    return (F.silu(x @ w[p + "gate_proj.weight"].T) * (x @ w[p + "up_proj.weight"].T)
            ) @ w[p + "down_proj.weight"].T


def qwen_layers(mixer):
    """The logits of [T] ids through Qwen2's layers with another mixer; mixer(w, c, prefix, layer,
    rows of the normed stream, what one call leaves to the next layers)."""
    def run(w, c, ids):
        h, kept = w["model.embed_tokens.weight"][ids], {}
        for i in range(c["num_hidden_layers"]):
            p = f"model.layers.{i}."
            y = rms(h, w[p + "input_layernorm.weight"], c["rms_norm_eps"])
            h = h + mixer(w, c, p + "self_attn.", i, y, kept)
            y = rms(h, w[p + "post_attention_layernorm.weight"], c["rms_norm_eps"])
            h = h + swiglu(w, p + "mlp.", y)
        return rms(h, w["model.norm.weight"], c["rms_norm_eps"]) @ w["lm_head.weight"].T
    return run


def before(y):
    """The row before each; zero before the first."""
    return torch.cat([torch.zeros_like(y[:1]), y[:-1]])


def arwkv(w, c, p, layer, y, kept):
    """RWKV-7's time mixing; the decay as the authors write it, exp(-exp(-softplus(-z) - 1/2))."""
    p += "time_mixer."
    T, D = y.shape
    N = c["head_size"]
    H = D // N
    d = before(y) - y
    x = {n: y + d * w[p + "x_" + n].view(D) for n in "rwkva"}
    r, k, v = (x[n] @ w[f"{p}{m}.weight"].T
               for n, m in (("r", "receptance"), ("k", "key"), ("v", "value")))
    low = lambda n, z: z @ w[p + n + "1"] @ w[p + n + "2"] + w[p + n + "0"].view(D)
    z = torch.tanh(x["w"] @ w[p + "w1"]) @ w[p + "w2"] + w[p + "w0"].view(D)
    decay = torch.exp(-torch.exp(-F.softplus(-z) - .5))
    if layer == 0:
        kept["v"] = v
    else:
        v = v + (kept["v"] - v) * torch.sigmoid(low("v", x["v"]))
    a = torch.sigmoid(low("a", x["a"]))
    kk = F.normalize((k * w[p + "k_k"].view(D)).view(T, H, N), dim=-1)
    k = (k * (1 + (a - 1) * w[p + "k_a"].view(D))).view(T, H, N)
    r, v, a, decay = (t.view(T, H, N) for t in (r, v, a, decay))
    S, rows = torch.zeros(H, N, N, dtype=y.dtype), []  # [value][key]
    for t in range(T):
        removed = torch.einsum("hvk,hk->hv", S, kk[t])
        S = (S * decay[t][:, None] - torch.einsum("hv,hk->hvk", removed, kk[t] * a[t])
             + torch.einsum("hv,hk->hvk", v[t], k[t]))
        rows.append(torch.einsum("hvk,hk->hv", S, r[t]))
    o = torch.stack(rows)
    if c["wkv_has_group_norm"]:
        o = F.group_norm(o.reshape(T, D), H, w[p + "ln_x.weight"], w[p + "ln_x.bias"],
                         1e-5 * c["head_size_divisor"] ** 2).view(T, H, N)
    o = (o + (r * k * w[p + "r_k"]).sum(-1, keepdim=True) * v).reshape(T, D)
    if c["wkv_has_gate"]:
        xg = y + d * w[p + "x_g"].view(D)
        o = o * (torch.sigmoid(xg @ w[p + "g1"]) @ w[p + "g2"])
    return o @ w[p + "output.weight"].T


def qrwkv6(w, c, p, layer, y, kept):
    T, D = y.shape
    H, G = c["num_attention_heads"], c["num_key_value_heads"]
    K = D // H
    d = before(y) - y
    m = torch.tanh((y + d * w[p + "time_maa_x"].view(D)) @ w[p + "time_maa_w1"]).view(T, 5, -1)
    x = {n: y + d * (w[p + "time_maa_" + n].view(D) + m[:, i] @ w[p + "time_maa_w2"][i])
         for i, n in enumerate("rkvwg")}
    bias = lambda n: w.get(f"{p}{n}_proj.bias", 0)
    q = (x["r"] @ w[p + "q_proj.weight"].T + bias("q")).view(T, H, K)
    k = (x["k"] @ w[p + "k_proj.weight"].T + bias("k")).view(T, G, K).repeat_interleave(H // G, 1)
    v = (x["v"] @ w[p + "v_proj.weight"].T + bias("v")).view(T, G, K).repeat_interleave(H // G, 1)
    z = w[p + "time_decay"].view(D) + torch.tanh(
        x["w"] @ w[p + "time_decay_w1"]) @ w[p + "time_decay_w2"]
    a = (-z.exp()).clamp(-5).exp().view(T, H, K)
    k = k * (1 - a)
    S, rows = torch.zeros(H, K, K, dtype=y.dtype), []
    for t in range(T):
        S = S * a[t][:, :, None] + torch.einsum("hk,hv->hkv", k[t], v[t])
        rows.append(torch.einsum("hkv,hk->hv", S, q[t]) / math.sqrt(K))
    o = torch.stack(rows).reshape(T, D) * torch.sigmoid(x["g"] @ w[p + "gate.weight"].T)
    return o @ w[p + "o_proj.weight"].T


def plamo2(w, c, ids):
    eps, D, P = c["rms_norm_eps"], c["hidden_size"], c["hidden_size_per_head"]
    T = len(ids)
    h = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.layers.{i}."
        norm = lambda x, n, more: rms(x, w[f"{p}{n}_norm.weight"] + more, eps)
        mixer = plamo2_mamba if plamo2_is_mamba(c, i) else plamo2_attention
        h = h + norm(mixer(w, c, p + "mixer.", norm(h, "pre_mixer", 1)), "post_mixer", 1 / 5)
        gate, up = (norm(h, "pre_mlp", 1) @ w[p + "mlp.gate_up_proj.weight"].T).chunk(2, -1)
        y = (F.silu(gate) * up) @ w[p + "mlp.down_proj.weight"].T
        h = h + norm(y, "post_mlp", 5 ** -1.5)
    head = w["model.embed_tokens.weight" if c["tie_word_embeddings"] else "lm_head.weight"]
    return rms(h, w["model.norm.weight"] + 1, eps) @ head.T


def plamo2_is_mamba(c, i):
    half = c["mamba_step"] // 2
    if c["num_hidden_layers"] <= half:
        return i != c["num_hidden_layers"] - 1
    return i % c["mamba_step"] != half


def plamo2_mamba(w, c, p, y):
    T, H, P, N = len(y), c["mamba_num_heads"], c["hidden_size_per_head"], c["mamba_d_state"]
    eps = c["rms_norm_eps"]
    z, x = (y @ w[p + "in_proj.weight"].T).view(T, H, 2 * P).split(P, -1)
    x = x.reshape(T, H * P)
    taps = w[p + "conv1d.weight"].view(H * P, -1)
    n = taps.shape[1]
    late = torch.cat([torch.zeros(n - 1, H * P, dtype=y.dtype), x])
    x = F.silu(sum(late[k:k + T] * taps[:, k] for k in range(n)))
    B, C, dt = (x @ w[p + "bcdt_proj.weight"].T).split(
        [N, N, max(64, c["hidden_size"] // 16)], -1)
    B, C, dt = (rms(t, w[f"{p}{n}_norm_weight"], eps)
                for t, n in ((B, "B"), (C, "C"), (dt, "dt")))
    dt = F.softplus(dt @ w[p + "dt_proj.weight"].T + w[p + "dt_bias"])
    a = torch.exp(-torch.exp(w[p + "A_log"]) * dt)
    x = x.view(T, H, P)
    S, rows = torch.zeros(H, P, N, dtype=y.dtype), []
    for t in range(T):
        S = S * a[t][:, None, None] + torch.einsum("hp,n->hpn", x[t] * dt[t][:, None], B[t])
        rows.append(S @ C[t] + w[p + "D"][:, None] * x[t])
    return (torch.stack(rows) * F.silu(z)).reshape(T, H * P) @ w[p + "out_proj.weight"].T


def turned(x, theta=1e4):
    """Halves of each head [T, heads, d] turned by position."""
    T, _, d = x.shape
    angle = (torch.arange(T, dtype=x.dtype)[:, None]
             * theta ** (-torch.arange(0, d, 2, dtype=x.dtype) / d))[:, None]
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def plamo2_attention(w, c, p, y):
    T, H, G, P = (len(y), c["num_attention_heads"], c["num_key_value_heads"],
                  c["hidden_size_per_head"])
    q, k, v = (y @ w[p + "qkv_proj.weight"].T).view(T, H + 2 * G, P).split([H, G, G], 1)
    q = turned(rms(q, w[p + "q_weight"], 1e-6))
    k = turned(rms(k, w[p + "k_weight"], 1e-6)).repeat_interleave(H // G, 1)
    s = torch.einsum("thd,jhd->htj", q, k) / math.sqrt(P)
    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -math.inf).softmax(-1)
    o = torch.einsum("htj,jhd->thd", s, v.repeat_interleave(H // G, 1))
    return o.reshape(T, H * P) @ w[p + "o_proj.weight"].T


# ---- shapes ----

def plamo2_shapes(c):
    D, P, inner = c["hidden_size"], c["hidden_size_per_head"], c["intermediate_size"]
    M, N, R = c["mamba_num_heads"], c["mamba_d_state"], max(64, c["hidden_size"] // 16)
    H, G = c["num_attention_heads"], c["num_key_value_heads"]
    out = {"model.embed_tokens.weight": (VOCAB, D), "model.norm.weight": (D,)}
    if not c["tie_word_embeddings"]:
        out["lm_head.weight"] = (VOCAB, D)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.layers.{i}."
        out |= {f"{p}{n}_norm.weight": (D,) for n in ("pre_mixer", "post_mixer", "pre_mlp",
                                                      "post_mlp")}
        out |= {p + "mlp.gate_up_proj.weight": (2 * inner, D), p + "mlp.down_proj.weight": (D, inner)}
        p += "mixer."
        out |= {p + n: s for n, s in (
            {"in_proj.weight": (2 * M * P, D), "conv1d.weight": (M * P, 1, c["mamba_d_conv"]),
             "bcdt_proj.weight": (2 * N + R, M * P), "dt_proj.weight": (M, R), "dt_bias": (M,),
             "A_log": (M,), "D": (M,), "B_norm_weight": (N,), "C_norm_weight": (N,),
             "dt_norm_weight": (R,), "out_proj.weight": (D, M * P)} if plamo2_is_mamba(c, i) else
            {"qkv_proj.weight": ((H + 2 * G) * P, D), "q_weight": (H, P), "k_weight": (G, P),
             "o_proj.weight": (D, H * P)}).items()}
    return out


def qwen_shapes(c, mixer):
    D, inner = c["hidden_size"], c["intermediate_size"]
    out = {"model.embed_tokens.weight": (VOCAB, D), "model.norm.weight": (D,),
           "lm_head.weight": (VOCAB, D)}
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        out |= {p + "input_layernorm.weight": (D,), p + "post_attention_layernorm.weight": (D,),
                p + "mlp.gate_proj.weight": (inner, D), p + "mlp.up_proj.weight": (inner, D),
                p + "mlp.down_proj.weight": (D, inner)}
        out |= {p + "self_attn." + n: s for n, s in mixer(c, D).items()}
    return out


def arwkv_shapes(c, D):
    N = c["head_size"]
    out = {f"x_{n}": (1, 1, D) for n in "rwkvag"}
    for n, rank in (("w", 12), ("a", 20), ("v", 8)):
        out |= {n + "1": (D, rank), n + "2": (rank, D), n + "0": (1, 1, D)}
    if c["wkv_has_gate"]:
        out |= {"g1": (D, 24), "g2": (24, D)}
    if c["wkv_has_group_norm"]:
        out |= {"ln_x.weight": (D,), "ln_x.bias": (D,)}
    out |= {"k_k": (1, 1, D), "k_a": (1, 1, D), "r_k": (D // N, N)}
    out |= {n + ".weight": (D, D) for n in ("receptance", "key", "value", "output")}
    return {"time_mixer." + n: s for n, s in out.items()}


def qrwkv6_shapes(c, D):
    r, R = 12, 20
    kv = D // c["num_attention_heads"] * c["num_key_value_heads"]
    out = {f"time_maa_{n}": (1, 1, D) for n in "xrkvwg"}
    out |= {"time_maa_w1": (D, 5 * r), "time_maa_w2": (5, r, D), "time_decay": (1, 1, D),
            "time_decay_w1": (D, R), "time_decay_w2": (R, D), "gate.weight": (D, D),
            "q_proj.weight": (D, D), "k_proj.weight": (kv, D), "v_proj.weight": (kv, D),
            "o_proj.weight": (D, D)}
    if c.get("attention_bias", True):
        out |= {"q_proj.bias": (D,), "k_proj.bias": (kv,), "v_proj.bias": (kv,)}
    return out


def value(name, shape, r):
    """Numbers of a trained model's order, from normal ones."""
    last = name.split(".")[-1]
    if "layers.layers" in name and name.endswith("_norm.weight"):
        return .2 * r  # what is added to them is not stored
    if "norm" in name or name.endswith(("ln_x.weight", "q_weight", "k_weight")):
        return 1 + .2 * r
    if last.startswith("x_") or (last.startswith("time_maa_") and len(shape) == 3 and
                                 shape[0] == 1):
        return torch.sigmoid(r)
    if last in ("w0", "time_decay"):
        return r - 1
    if last in ("k_k", "k_a", "D"):
        return 1 + .2 * r
    if last == "A_log":
        return torch.log(1 + 15 * torch.sigmoid(r))
    if last in ("bias", "a0", "v0", "r_k", "dt_bias"):
        return .3 * r
    if last[-1] in "12":
        return .5 * r / shape[-2] ** .5  # [in, out]
    return r if "embed" in name else r / shape[-1] ** .5


# ---- cases ----

QWEN = dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=80, num_hidden_layers=3,
            rms_norm_eps=1e-6, hidden_act="silu", tie_word_embeddings=False)
ARWKV = QWEN | dict(model_type="rwkv_hybrid", num_attention_heads=2, num_key_value_heads=1,
                    head_size=16, head_size_divisor=8, wkv_version=7)
QRWKV6 = QWEN | dict(model_type="rwkv6qwen2", num_attention_heads=4, num_key_value_heads=2)

CASES = {
    "arwkv": (qwen_layers(arwkv), arwkv_shapes,
              ARWKV | dict(wkv_has_gate=True, wkv_has_group_norm=True)),
    "arwkv_7b": (qwen_layers(arwkv), arwkv_shapes,  # the switches of the published 7B model
                 ARWKV | dict(wkv_has_gate=False, wkv_has_group_norm=False)),
    "qrwkv6": (qwen_layers(qrwkv6), qrwkv6_shapes, QRWKV6 | dict(attention_bias=True)),
    "qrwkv6_wide": (qwen_layers(qrwkv6), qrwkv6_shapes,
                    QRWKV6 | dict(attention_bias=False, num_key_value_heads=4, hidden_size=48,
                                  rms_norm_eps=1e-4)),
}


PLAMO2 = dict(model_type="plamo2", vocab_size=VOCAB, hidden_size=64, intermediate_size=80,
              num_hidden_layers=4, rms_norm_eps=1e-6, tie_word_embeddings=True,
              num_attention_heads=4, num_key_value_heads=2, hidden_size_per_head=16,
              mamba_d_state=24, mamba_d_conv=4, mamba_num_heads=6, mamba_step=2,
              attention_window_size=2048, max_position_embeddings=2048)
CASES |= {
    "plamo2": (plamo2, plamo2_shapes, PLAMO2),
    "plamo2_few": (plamo2, plamo2_shapes,  # fewer layers than half a step
                   PLAMO2 | dict(num_hidden_layers=3, mamba_step=6, mamba_d_conv=3,
                                 rms_norm_eps=1e-4, tie_word_embeddings=False,
                                 num_key_value_heads=1)),
}


CALM = {"plamo2": .3, "plamo2_few": .3}  # at both ends of a model where rounding grows


def logits_of(name, w, config):
    run = CASES[name][0]
    wide = {n: t.double() for n, t in w.items()}
    return lambda ids: run(wide, config, ids[0])


def make(folder, name, seed):
    _, mixer, config = CASES[name]
    g = torch.Generator().manual_seed(seed)
    shapes = qwen_shapes(config, mixer) if mixer.__code__.co_argcount == 2 else mixer(config)
    calm = lambda n: 1 if ".layers." in n else CALM.get(name, 1)
    w = {n: (calm(n) * value(n, s, torch.randn(s, generator=g))).bfloat16()
         for n, s in shapes.items()}
    save_file(w, os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=1)
    oracle.store(folder, oracle.expected(logits_of(name, w, config), VOCAB),
                 oracle.versions(*PACKAGES))


def again(folder):
    name = os.path.basename(os.path.normpath(folder))
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    w = load_file(os.path.join(folder, "model.safetensors"))
    print(f"{name}: {oracle.again(folder, logits_of(name, w, config))[1]:.2g}")


def main():
    if sys.argv[1] == "--again":
        for folder in sys.argv[2:]:
            again(folder)
        return
    for seed, name in enumerate(CASES, 300):
        if len(sys.argv) == 2 or name in sys.argv[2:]:
            folder = os.path.join(sys.argv[1], name)
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
            make(folder, name, seed)
            print(name)


if __name__ == "__main__":
    main()
