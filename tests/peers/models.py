"""Models of published shapes with random weights, as directories with safetensors: what speed and
memory depend on is there, and no download is needed. Deterministic by name."""
import json
import os
import struct
import zlib

import numpy as np

VECTORS = {  # the end of a name: mean, deviation
    "A_log": (1, 0.5), "dt_bias": (-3, 1), ".D": (1, 0.1), "k_k": (0.7, 0.1), "k_a": (1, 0.1),
    "w_lora.lora.2.bias": (-1, 1), "a_lora.lora.2.bias": (0, 0.5), "v_lora.lora.2.bias": (0, 0.5),
    "r_k": (0, 0.1), "norm.weight": (1, 0.1), "norm_f.weight": (1, 0.1), "bias": (0, 0.1)}


def rwkv7(D=1024, layers=24, inner=4096, vocab=65536):
    """RWKV-7 0.4B, or smaller."""
    ranks = {"w": 64, "a": 64, "v": 32, "g": 128}
    config = {"model_type": "rwkv7", "vocab_size": vocab, "hidden_size": D, "head_dim": 64,
              "num_hidden_layers": layers, "intermediate_size": inner, "hidden_act": "sqrelu",
              "norm_eps": 1e-5, "norm_first": True, "norm_bias": True, "fuse_norm": False,
              "decay_low_rank_dim": 64, "a_low_rank_dim": 64, "v_low_rank_dim": 32,
              "gate_low_rank_dim": 128, "tie_word_embeddings": False}
    shapes = {"model.embeddings.weight": (vocab, D), "lm_head.weight": (vocab, D)}
    norms = ["model.norm", "model.layers.0.pre_norm"]
    for i in range(layers):
        at = f"model.layers.{i}."
        norms += [at + "attn_norm", at + "ffn_norm", at + "attn.g_norm"]
        shapes.update({at + f"attn.{c}_proj.weight": (D, D) for c in "rkvo"})
        shapes.update({at + f"attn.x_{c}": (1, 1, D) for c in "rwkvag"})
        shapes.update({at + "attn.k_k": (D,), at + "attn.k_a": (D,), at + "attn.r_k": (D // 64, 64),
                       at + "ffn.x_k": (D,), at + "ffn.key.weight": (inner, D),
                       at + "ffn.value.weight": (D, inner)})
        for c, rank in ranks.items():
            if c == "v" and i == 0:
                continue
            low = at + f"attn.{c}_lora.lora."
            shapes.update({low + "0.weight": (rank, D), low + "2.weight": (D, rank)})
            shapes.update({} if c == "g" else {low + "2.bias": (D,)})
    for n in norms:
        shapes.update({n + ".weight": (D,), n + ".bias": (D,)})
    return config, shapes


def mamba2():
    """Mamba-2 370M."""
    D, layers, vocab, H, N = 1024, 48, 50288, 32, 128
    inner, conv = 2 * D, 2 * D + 2 * N
    config = {"model_type": "mamba2", "vocab_size": vocab, "hidden_size": D, "expand": 2,
              "num_hidden_layers": layers, "num_heads": H, "head_dim": 64, "state_size": N,
              "n_groups": 1, "conv_kernel": 4, "hidden_act": "silu", "norm_eps": 1e-5,
              "use_bias": False, "use_conv_bias": True, "tie_word_embeddings": True}
    shapes = {"backbone.embeddings.weight": (vocab, D), "backbone.norm_f.weight": (D,)}
    for i in range(layers):
        at = f"backbone.layers.{i}."
        shapes.update({
            at + "norm.weight": (D,), at + "mixer.A_log": (H,), at + "mixer.D": (H,),
            at + "mixer.dt_bias": (H,), at + "mixer.conv1d.weight": (conv, 1, 4),
            at + "mixer.conv1d.bias": (conv,), at + "mixer.in_proj.weight": (inner + conv + H, D),
            at + "mixer.norm.weight": (inner,), at + "mixer.out_proj.weight": (D, inner)})
    return config, shapes


def lfm2():
    """LFM2 350M: short convolutions and six layers of attention."""
    D, layers, inner, vocab, H, kv = 1024, 16, 4608, 65536, 16, 8
    attends = {2, 5, 8, 10, 12, 14}
    config = {"model_type": "lfm2", "vocab_size": vocab, "hidden_size": D, "norm_eps": 1e-5,
              "num_hidden_layers": layers, "num_attention_heads": H, "num_key_value_heads": kv,
              "intermediate_size": inner, "block_auto_adjust_ff_dim": False, "conv_L_cache": 3,
              "conv_bias": False, "max_position_embeddings": 128000,
              "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
              "layer_types": ["full_attention" if i in attends else "conv" for i in range(layers)],
              "tie_word_embeddings": True}
    shapes = {"model.embed_tokens.weight": (vocab, D), "model.embedding_norm.weight": (D,)}
    for i in range(layers):
        at = f"model.layers.{i}."
        shapes.update({at + "operator_norm.weight": (D,), at + "ffn_norm.weight": (D,),
                       at + "feed_forward.w1.weight": (inner, D),
                       at + "feed_forward.w2.weight": (D, inner),
                       at + "feed_forward.w3.weight": (inner, D)})
        if i in attends:
            wide = {"q": D, "k": kv * 64, "v": kv * 64}
            shapes.update({at + f"self_attn.{c}_proj.weight": (n, D) for c, n in wide.items()})
            shapes.update({at + f"self_attn.{c}_layernorm.weight": (64,) for c in "qk"})
            shapes[at + "self_attn.out_proj.weight"] = (D, D)
        else:
            shapes.update({at + "conv.conv.weight": (D, 1, 3),
                           at + "conv.in_proj.weight": (3 * D, D),
                           at + "conv.out_proj.weight": (D, D)})
    return config, shapes


MODELS = {"rwkv7-0.4b": rwkv7, "mamba2-370m": mamba2, "lfm2-350m": lfm2,
          "rwkv7-tiny": lambda: rwkv7(256, 2, 512, 512)}


def value(name, shape):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    x = rng.standard_normal(shape, np.float32)
    if ".x_" in name:
        return 1 / (1 + np.exp(-x))
    for end, (mean, deviation) in VECTORS.items():
        if name.endswith(end) and len(shape) < 2 or name.endswith("r_k"):
            return mean + deviation * x
    if name.endswith("layernorm.weight"):
        return 1 + 0.1 * x
    return x if "embed" in name else x / np.float32(np.prod(shape[1:]) ** 0.5)


def write_words(path, vocab):
    """A vocabulary of RWKV's kind, every byte and made-up words: llama.cpp's server needs one."""
    with open(path, "w", encoding="utf-8") as f:
        for i in range(1, vocab):
            word = "~%x" % i if i > 256 else bytes([i - 1]) if i > 128 else chr(i - 1)
            f.write("%d %r %d\n" % (i, word, len(word)))


def write(folder, name):
    """The directory of a model; kept when it is there."""
    out = os.path.join(folder, name)
    if os.path.exists(out + "/config.json"):
        return out
    os.makedirs(out, exist_ok=True)
    config, shapes = MODELS[name]()
    head, at = {}, 0
    for tensor, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        head[tensor] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(out + "/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for tensor, shape in shapes.items():
            x = value(tensor, shape).astype(np.float32)
            f.write((x.view(np.uint32) >> 16).astype(np.uint16).tobytes())
    write_words(out + "/rwkv_vocab_v20230424.txt", config["vocab_size"])
    with open(out + "/config.json", "w", encoding="utf-8") as f:
        json.dump(config, f)
    return out
