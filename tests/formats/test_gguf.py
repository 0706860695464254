"""GGUF files written by the `gguf` package of PyPI, with its own names and key functions and with
the transformations its users make, written down here once more in numpy: they must give the logits of
the safetensors they come from to the bit. And files of recurd-convert, read by the package.

    python3 tests/formats/test_gguf.py build

The package is installed into BUILD/venv-formats when it is not there; without network the test says
so and passes."""
import ctypes
import json
import os
import struct
import subprocess
import sys
import tempfile
import venv

BUILD = sys.argv[1]
VENV = os.environ.get("FORMATS_VENV", os.path.join(BUILD, "venv-formats"))
PYTHON = os.path.join(VENV, "bin", "python")


def enter():
    """Runs this file again inside the environment that has the package."""
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
        return
    try:
        if not os.path.exists(PYTHON):
            venv.create(VENV, with_pip=True)
        if subprocess.run([PYTHON, "-c", "import gguf"], capture_output=True).returncode:
            subprocess.run([PYTHON, "-m", "pip", "install", "-q", "gguf"], check=True,
                           capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as e:
        print(f"skipped: the gguf package could not be installed ({e})")
        sys.exit(0)
    sys.exit(subprocess.run([PYTHON] + sys.argv).returncode)


enter()
import numpy as np  # noqa: E402
import gguf  # noqa: E402

GOLDEN = "tests/golden/"
EXPF = ctypes.CDLL("libm.so.6").expf
EXPF.argtypes, EXPF.restype = [ctypes.c_float], ctypes.c_float
TYPES = gguf.GGMLQuantizationType
failures = 0


def say(ok, text):
    global failures
    failures += not ok
    print(("ok   " if ok else "FAIL ") + text, flush=True)


def load(path):
    """{name: (float32 values, type stored)} of a safetensors file, in order."""
    with open(path, "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
        data = f.read()
    out = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        raw = data[t["data_offsets"][0]:t["data_offsets"][1]]
        if t["dtype"] == "BF16":
            x = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            x = np.frombuffer(raw, {"F32": np.float32, "F16": np.float16}[t["dtype"]])
        out[name] = x.astype(np.float32).reshape(t["shape"]), t["dtype"]
    return out


def heads(w, axis, keys, each):
    """Value heads, grouped by key head, to tiled."""
    shape = w.shape
    w = w.reshape(shape[:axis] + (keys, -1, each) + shape[axis + 1:])
    return np.swapaxes(w, axis, axis + 1).reshape(shape)


def permute(w, n):
    """Rows of q or k for rotations of neighbours."""
    return w.reshape(n, 2, w.shape[0] // n // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def neg_exp(x):
    """By the C library's function: another's last bit may differ."""
    return -np.float32([EXPF(float(v)) for v in x.reshape(-1)]).reshape(x.shape)


# ---- one function a family: (name, values) -> [(name for the package's map, values)] ------------

def qwen(c):
    hk, hv = c["linear_num_key_heads"], c["linear_num_value_heads"]
    dk, dv = c["linear_key_head_dim"], c["linear_value_head_dim"]

    def one(name, x):
        if name.endswith("A_log"):
            x = heads(neg_exp(x).reshape(-1), 0, hk, 1)
        elif name.endswith("dt_bias"):
            return name.replace("dt_bias", "dt_proj.bias"), heads(x, 0, hk, 1)
        elif "in_proj_qkv." in name or "conv1d" in name:
            x, n = x.squeeze(), 2 * hk * dk
            x = np.concatenate([x[:n], heads(x[n:], 0, hk, dv)])
        elif "in_proj_z." in name:
            x = heads(x, 0, hk, dv)
        elif "in_proj_a." in name or "in_proj_b." in name:
            x = heads(x, 0, hk, 1)
        elif "linear_attn.out_proj" in name:
            x = heads(x, 1, hk, dv)
        elif name.endswith("norm.weight") and "linear_attn.norm" not in name:
            x = x + np.float32(1)
        return name, x

    def keys(w):
        w.add_head_count(c["num_attention_heads"])
        w.add_head_count_kv(c["num_key_value_heads"])
        w.add_key_length(c["head_dim"])
        w.add_value_length(c["head_dim"])
        w.add_layer_norm_rms_eps(c["rms_norm_eps"])
        w.add_feed_forward_length(c["intermediate_size"])
        w.add_rope_freq_base(c["rope_parameters"]["rope_theta"])
        w.add_rope_dimension_count(int(c["head_dim"] * c["partial_rotary_factor"]))
        w.add_rope_dimension_sections([2, 1, 1, 0])
        w.add_ssm_conv_kernel(c["linear_conv_kernel_dim"])
        w.add_ssm_state_size(dk)
        w.add_ssm_group_count(hk)
        w.add_ssm_time_step_rank(hv)
        w.add_ssm_inner_size(dv * hv)
        w.add_full_attention_interval(4)
    return one, keys


def mamba2(c, inner, ranks, groups, state, conv, root=""):
    def one(name, x):
        if name.endswith("A_log"):
            x = neg_exp(x).reshape(-1, 1)
        elif name.endswith(".D"):
            x = x.reshape(-1, 1)
        elif name.endswith("dt_bias"):
            name = name.replace("dt_bias", "dt_proj.bias")
        elif "conv1d" in name:
            x = x.squeeze()
        elif name.endswith(("mixer.norm.weight", "mamba.norm.weight")):
            x = x.reshape(groups, -1)
        return name, x

    def keys(w):
        w.add_ssm_conv_kernel(conv)
        w.add_ssm_inner_size(inner)
        w.add_ssm_state_size(state)
        w.add_ssm_time_step_rank(ranks)
        w.add_ssm_group_count(groups)
    return one, keys


def plain_mamba2(c):
    one, more = mamba2(c, c["num_heads"] * c["head_dim"], c["num_heads"], c["n_groups"],
                       c["state_size"], c["conv_kernel"])

    def keys(w):
        more(w)
        w.add_layer_norm_rms_eps(c["norm_eps"])
        w.add_head_count(0)
    return one, keys


def granite(c):
    ssm, more = mamba2(c, c["mamba_n_heads"] * c["mamba_d_head"], c["mamba_n_heads"],
                       c["mamba_n_groups"], c["mamba_d_state"], c["mamba_d_conv"])

    def one(name, x):
        if "q_proj" in name:
            x = permute(x, c["num_attention_heads"])
        elif "k_proj" in name:
            x = permute(x, c["num_key_value_heads"])
        elif "shared_mlp.input_linear" in name:
            gate, up = np.split(x, 2)
            return [(name.replace("shared_mlp.input_linear", "mlp.gate_proj"), gate),
                    (name.replace("shared_mlp.input_linear", "mlp.up_proj"), up)]
        elif "shared_mlp.output_linear" in name:
            name = name.replace("shared_mlp.output_linear", "mlp.down_proj")
        return ssm(name, x)

    def keys(w):
        more(w)
        attends = [t == "full_attention" for t in c["layer_types"]]
        w.add_head_count(c["num_attention_heads"])
        w.add_head_count_kv([c["num_key_value_heads"] if a else 0 for a in attends])
        w.add_layer_norm_rms_eps(c["rms_norm_eps"])
        w.add_feed_forward_length(c["intermediate_size"])
        w.add_expert_shared_feed_forward_length(c["shared_intermediate_size"])
        w.add_attention_scale(c["attention_multiplier"])
        w.add_embedding_scale(c["embedding_multiplier"])
        w.add_residual_scale(c["residual_multiplier"])
        w.add_logit_scale(c["logits_scaling"])
        w.add_rope_scaling_finetuned(False)
        w.add_rope_freq_base(c["rope_parameters"]["rope_theta"])
    return one, keys


def falcon(c):
    ssm, more = mamba2(c, c["mamba_d_ssm"], c["mamba_n_heads"], c["mamba_n_groups"],
                       c["mamba_d_state"], c["mamba_d_conv"])
    inner, gn = c["mamba_d_ssm"], c["mamba_n_groups"] * c["mamba_d_state"]
    rows = np.repeat(np.float32(c["ssm_multipliers"]), [inner, inner, gn, gn, c["mamba_n_heads"]])
    by = {"down_proj": c["mlp_multipliers"][1], "gate_proj": c["mlp_multipliers"][0],
          "k_proj": c["key_multiplier"] * c["attention_in_multiplier"],
          "q_proj": c["attention_in_multiplier"], "v_proj": c["attention_in_multiplier"],
          "o_proj": c["attention_out_multiplier"], "out_proj": c["ssm_out_multiplier"],
          "lm_head": c["lm_head_multiplier"], "embed_tokens": c["embedding_multiplier"]}

    def one(name, x):
        name, x = ssm(name, x)
        part = name.split(".")[-2]
        if part == "in_proj":
            x = x * (rows * np.float32(c["ssm_in_multiplier"]))[:, None]
        elif part in by:
            x = x * np.float32(by[part])
        return name, x

    def keys(w):
        more(w)
        w.add_head_count(c["num_attention_heads"])
        w.add_head_count_kv(c["num_key_value_heads"])
        w.add_key_length(c["head_dim"])
        w.add_value_length(c["head_dim"])
        w.add_layer_norm_rms_eps(c["rms_norm_eps"])
        w.add_feed_forward_length(c["intermediate_size"])
        w.add_rope_freq_base(c["rope_parameters"]["rope_theta"])
    return one, keys


def lfm2(c):
    def one(name, x):
        return name, x.squeeze(1) if "conv.conv" in name else x

    def keys(w):
        w.add_head_count(c["num_attention_heads"])
        w.add_head_count_kv([c["num_key_value_heads"] if t != "conv" else 0
                             for t in c["layer_types"]])
        w.add_layer_norm_rms_eps(c["norm_eps"])
        w.add_feed_forward_length(c["intermediate_size"])
        w.add_shortconv_l_cache(c["conv_L_cache"])
        w.add_rope_freq_base(c["rope_parameters"]["rope_theta"])
    return one, keys


def rwkv6(c):
    """Of the project's own names; halved every second layer, which the norms' epsilon notices."""
    c.update(num_hidden_layers=3, hidden_size=64, vocab_size=160)

    def one(name, x):
        layer = int(name.split(".")[1]) if name.startswith("blocks") else 0
        if name.endswith(("maa_w1", "decay_w1", "decay_w2")):
            x = x.T
        elif name.endswith("maa_w2"):
            x = x.swapaxes(1, 2)
        elif name.endswith(("att.output.weight", "ffn.value.weight")):
            x = x / np.float32(2 ** (layer // 2))
        elif x.ndim == 3:
            x = x.squeeze()
        for ours, theirs in (("emb.", "rwkv.embeddings."), ("ln_out", "rwkv.ln_out"),
                             ("blocks.0.ln0", "rwkv.blocks.0.pre_ln"), ("blocks", "rwkv.blocks"),
                             (".att.", ".attention."), (".ffn.", ".feed_forward."),
                             ("rwkv.rwkv", "rwkv")):
            name = name.replace(ours, theirs)
        return name if name.endswith(("weight", "bias")) else name + ".weight", x

    def keys(w):
        w.add_layer_norm_eps(1e-5)
        w.add_rescale_every_n_layers(2)
        w.add_wkv_head_size(c["head_size"])
        w.add_time_mix_extra_dim(12)
        w.add_time_decay_extra_dim(20)
        w.add_feed_forward_length(100)
        w.add_head_count(0)
    return one, keys


FAMILIES = [  # directory, architecture, function, bound (0: to the bit)
    ("hf/hf_qwen3_5", "QWEN35", qwen, 0), ("public/mamba2", "MAMBA2", plain_mamba2, 0),
    ("hf/hf_granite_dense", "GRANITE_HYBRID", granite, 0), ("hf/hf_lfm2", "LFM2", lfm2, 0),
    ("hf/hf_falcon_h1", "FALCON_H1", falcon, 1e-3), ("rwkv/own_v6", "RWKV6", rwkv6, 1e-3)]


def write(path, arch, c, tensors, one, keys, blocks=None, decoded=False):
    """blocks: the type of matrices whose rows it fits; decoded: their values, as float32."""
    names = gguf.get_tensor_name_map(arch, c["num_hidden_layers"])
    w = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    w.add_block_count(c["num_hidden_layers"])
    w.add_embedding_length(c["hidden_size"])
    w.add_context_length(c.get("max_position_embeddings", 1 << 20))
    w.add_vocab_size(c["vocab_size"])
    keys(w)
    for name, (x, stored) in tensors.items():
        made = one(name, x)
        for other, y in made if isinstance(made, list) else [made]:
            full = names.get_name(other, try_suffixes=(".weight", ".bias"))
            if full is None:
                raise SystemExit(f"the package has no name for {other}")
            matrix = x.ndim == 2 and stored == "BF16" and y.shape[-1] > 1 and "norm" not in other
            if matrix and "conv" not in other and arch != gguf.MODEL_ARCH.FALCON_H1:
                fits = blocks and y.shape[-1] % gguf.GGML_QUANT_SIZES[blocks][0] == 0
                kind = blocks if fits else TYPES.BF16
                packed = gguf.quants.quantize(np.ascontiguousarray(y), kind)
                if decoded and fits:
                    w.add_tensor(full, gguf.quants.dequantize(packed, kind))
                else:
                    w.add_tensor(full, packed, raw_dtype=kind)
            else:
                w.add_tensor(full, np.ascontiguousarray(y, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def logits(model, ids, folder, *flags):
    out = os.path.join(folder, "logits.npy")
    r = subprocess.run([os.path.join(BUILD, "recurd-eval"), "--model", model, "--tokens", ids,
                        "--logits", out, *flags], capture_output=True, text=True)
    if r.returncode:
        raise SystemExit(f"FAIL {model}: {r.stderr.strip()}")
    return np.load(out)


def written_by_the_package(folder):
    ids = os.path.join(folder, "ids.json")
    with open(ids, "w") as f:
        json.dump([(i * 37 + i * i * 11) % 150 for i in range(60)], f)
    for name, arch, family, bound in FAMILIES:
        if not hasattr(gguf.MODEL_ARCH, arch):
            print(f"skipped: this gguf package has no {arch}")
            continue
        source = GOLDEN + name
        with open(source + "/config.json") as f:
            c = json.load(f)
        path = os.path.join(folder, "a.gguf")
        made = family(c)
        write(path, gguf.MODEL_ARCH[arch], c, load(source + "/model.safetensors"), *made)
        want, got = logits(source, ids, folder), logits(path, ids, folder)
        worst = float(np.abs(want - got).max())
        say(worst <= bound, f"{name}: written by the package: largest difference {worst:.1e}")


def blocks_are_their_values(folder):
    """By float32 a file of blocks gives the bits of the same values stored as float32; to rounding
    where heads are stored in another order, since sums then run in another order, too."""
    ids = os.path.join(folder, "ids.json")
    for name, arch, family, _ in FAMILIES[:4]:
        source = GOLDEN + name
        with open(source + "/config.json") as f:
            c = json.load(f)
        for kind in (TYPES.Q8_0, TYPES.Q4_0, TYPES.Q5_1):
            a, b = os.path.join(folder, "c.gguf"), os.path.join(folder, "d.gguf")
            for path, decoded in ((a, False), (b, True)):
                write(path, gguf.MODEL_ARCH[arch], c, load(source + "/model.safetensors"),
                      *family(c), blocks=kind, decoded=decoded)
            values = [logits(x, ids, folder, "--kernels", "float32") for x in (a, b)]
            worst = float(np.abs(values[0] - values[1]).max())
            bound = 1e-4 if arch.startswith("QWEN") else 0
            say(worst <= bound, f"{name}: {kind.name} and its values: difference {worst:.1e}")


def read_by_the_package(folder):
    for name, arch, family, _ in FAMILIES[:4]:
        source = GOLDEN + name
        with open(source + "/config.json") as f:
            c = json.load(f)
        one, _ = family(c)
        path = os.path.join(folder, "b.gguf")
        subprocess.run([os.path.join(BUILD, "recurd-convert"), source, path], check=True,
                       capture_output=True)
        reader = gguf.GGUFReader(path)
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch], c["num_hidden_layers"])
        have = {t.name: t for t in reader.tensors}
        wrong, seen = [], 0
        for tensor, (x, _) in load(source + "/model.safetensors").items():
            made = one(tensor, x)
            for other, y in made if isinstance(made, list) else [made]:
                t = have.get(names.get_name(other, try_suffixes=(".weight", ".bias")))
                seen += 1
                if t is None:
                    wrong.append(other + " is missing")
                    continue
                got = gguf.quants.dequantize(t.data, t.tensor_type).reshape(y.shape)
                if not np.allclose(got, y, rtol=1e-6 if other.endswith("A_log") else 0, atol=0):
                    wrong.append(other)
        field = reader.fields[gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH[arch]] + ".block_count"]
        say(not wrong and seen == len(have) and field.parts[-1][0] == c["num_hidden_layers"],
            f"{name}: {seen} tensors of recurd-convert read by the package {wrong or ''}")


with tempfile.TemporaryDirectory() as temporary:
    written_by_the_package(temporary)
    blocks_are_their_values(temporary)
    read_by_the_package(temporary)
sys.exit(failures != 0)
