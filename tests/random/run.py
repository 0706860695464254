#!/usr/bin/env python3
"""Random configurations of every family, run by tests/random/random.c.

    run.py PROGRAM [--cases N] [--seed S] [--device NAME] [--jobs N] [--family GLOB] [--keep DIR]

A case starts from the config.json of a golden model, so that every key its family reads is there, and
changes some of them: heads 1 to 8, head widths 4 to 256, odd vocabularies, 1 to 6 layers, windows
shorter and longer than the text, every switch. The program says of each "equal", "refused" with a
sentence, or "failed"; a crash is a failure of the case at hand. One table row a family. The same
seed gives the same cases. --keep DIR keeps the configurations that failed.
"""
import argparse
import concurrent.futures
import fnmatch
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
WIDTHS = [4, 5, 7, 8, 12, 16, 16, 20, 24, 32, 32, 40, 48, 64, 64, 80, 96, 128, 200, 256]
TEXT = 71  # tokens that random.c runs
BATCH = 8  # cases a process

HEADS = re.compile(r"^(num_heads|num_attention_heads|linear_num_(key_)?heads|n_mamba_heads|"
                   r"mamba_n(um)?_heads|mamba_num_heads|linear_num_key_heads)$")
KV = re.compile(r"(kv_heads|key_value_heads|num_v_heads|num_value_heads|num_query_groups)$")
WIDTH = re.compile(r"(head_dim|headdim|d_head|head_size|kv_channels|feature_dim|lru_width)$")
CONV = re.compile(r"(conv_size|conv_kernel|d_conv|conv1d_width|conv_L_cache|kernel_dim|kernel_size)$")
WINDOW = re.compile(r"window")
LAYERS = re.compile(r"^(num_hidden_layers)$")
STATE = re.compile(r"(state_size|d_state|num_slots|expand_ratio|num_memories)$")
RANK = re.compile(r"(rank|low_rank_dim|dt_rank|_dim)$")
COUNT = re.compile(r"(topk|top_k|num_experts|n_routed_experts|num_local_experts|experts_per_tok|"
                   r"block_counts|block_size|chunk_size|n_groups?|ngroups|householder|num_mem_blocks|"
                   r"num_dense_layers|topk_group|n_shared_experts|num_shared_experts|"
                   r"num_self_decoder_layers|attnres_block_size|period|offset|every)")
KEEP = re.compile(r"^(model_type|architectures|dtype|torch_dtype|transformers_version|"
                  r"bos_token_id|eos_token_id|pad_token_id|initializer_range|rope_type)$")
WORDS = {
    "hidden_act": ["swish", "silu", "relu", "gelu", "sqrelu", "sigmoid", "gelu_pytorch_tanh"],
    "feature_map": ["swish", "relu", "elu", "identity", "hedgehog", "t2r", "dpfp",
                    "elementwise_product", "hadamard"],
    "qk_activation": ["silu", "relu", "elu", "identity"],
    "qk_norm": ["l2", "sum"],
    "type": ["gated_deltanet", "gated_retention", "swa"],
    "rope_inv_freq": ["fla", "yoco"],
    "block_type": ["rodimus", "rodimus_plus"],
}
NULLS = {"num_kv_heads": KV, "num_v_heads": KV, "window_size": WINDOW, "intermediate_size": None,
         "attnres_block_size": COUNT, "lower_bound": None, "clamp_min": None, "q_lora_rank": RANK,
         "attn": None}


def number(rng, key, value, heads):
    """Another whole number for a key, by what the key means."""
    if HEADS.match(key):
        return heads
    if KV.search(key):
        return rng.choice([d for d in range(1, heads + 1) if heads % d == 0] + [2 * heads, 3])
    if WIDTH.search(key):
        return rng.choice(WIDTHS)
    if CONV.search(key):
        return rng.choice([1, 2, 3, 4, 4, 5, 9])
    if WINDOW.search(key):
        return rng.choice([1, 3, 16, 33, 64, TEXT, 200])
    if key == "hidden_size":
        return heads * rng.choice([8, 12, 16, 32, 40]) if rng.random() < 0.9 else rng.choice([33, 70])
    if key in ("clamp_min", "lower_bound"):  # of logarithms of decays
        return -rng.choice([0.5, 1, 4])
    if key == "vocab_size":
        return rng.choice([1, 2, 17, 31, 97, 129, 255, 301])
    if key == "intermediate_size" or key.endswith("_intermediate_size"):
        return rng.choice([1, 16, 31, 48, 96, 130])
    if STATE.search(key):
        return rng.choice([1, 2, 3, 8, 16, 32, 40])
    if COUNT.search(key):
        return rng.choice([0, 1, 1, 2, 2, 3, 4, 8, 16])
    if RANK.search(key):
        return rng.choice([1, 4, 8, 16, 24, 32])
    return max(0, rng.choice([value, value + 1, value * 2, value // 2]))


def change(rng, key, value, chance, heads):
    if KEEP.match(key):
        return value
    if isinstance(value, dict):
        return {k: change(rng, k, v, chance, heads) for k, v in value.items()}
    if rng.random() >= chance:
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return number(rng, key, value, heads)
    if isinstance(value, float):
        return value * rng.choice([0.5, 1, 2, 4]) if value == value and abs(value) < 1e30 else value
    if value is None and key in NULLS:
        if key == "attn":
            return {"layers": [rng.randrange(3)], "num_heads": heads,
                    "num_kv_heads": number(rng, "num_kv_heads", 1, heads),
                    "qkv_bias": rng.random() < 0.5, "rope_theta": 10000.0,
                    "window_size": rng.choice([None, 3, 33, 200])}
        return number(rng, key, 1, heads)
    if isinstance(value, str):
        if key == "hidden_act" and rng.random() < 0.7:  # most families know one
            return value
        return rng.choice(WORDS.get(key, [value]))
    return value


def layers(rng, config):
    """Lists of layers follow the number of layers."""
    n = config.get("num_hidden_layers")
    for key, value in config.items():
        if not isinstance(value, list) or not value or not isinstance(n, int) or n < 1:
            continue
        if all(isinstance(x, str) for x in value) and "layer" in key or key in (
                "block_types", "indexer_types"):
            config[key] = [rng.choice(value) for _ in range(n)]
        elif all(isinstance(x, int) for x in value) and ("layer" in key or "idx" in key or
                                                         "ids" in key):
            first = 1 if key == "ple_layer_ids" else 0  # qwen4_exp counts from 1
            config[key] = sorted(rng.sample(range(first, n + first), min(n, len(value))))


def consistent(rng, config):
    """Most cases keep the equations that every config of a family keeps."""
    if rng.random() < 0.1:
        return
    hidden, expand = config.get("hidden_size"), config.get("expand", config.get("mamba_expand"))
    for heads, width in (("num_heads", "head_dim"), ("mamba_n_heads", "mamba_d_head"),
                         ("n_mamba_heads", "mamba_headdim")):
        if expand and heads in config and width in config and config["model_type"] != "nemotron_h":
            inner = int(hidden * expand)
            config[width] = rng.choice([d for d in range(4, 257) if inner % d == 0] or [4])
            config[heads] = inner // config[width]
    if "mamba_d_ssm" in config:
        config["mamba_d_ssm"] = config["mamba_n_heads"] * config["mamba_d_head"]
    for total, a, b in (("qk_head_dim", "qk_nope_head_dim", "qk_rope_head_dim"),):
        if total in config and a in config and b in config:
            config[b] += config[b] % 2
            config[total] = config[a] + config[b]
    if config.get("indexer_budget"):
        config["indexer_kv_heads"] = 1
        config["indexer_compress_ratio"] = max(1, config["indexer_compress_ratio"])
        config["indexer_budget"] = config["indexer_compress_ratio"] * rng.choice([1, 2, 3, 7, 40])
    if "ple_embed_dim" in config:  # a row is as many columns of every head
        config["ngram_size"] = max(2, config["ngram_size"])
        config["heads_per_ngram"] = max(1, config["heads_per_ngram"])
        config["ple_embed_dim"] = ((config["ngram_size"] - 1) * config["heads_per_ngram"] *
                                   rng.choice([1, 4, 5, 16]))
    if "index_kpool" in config:
        config["index_topk"] = config["index_kpool"] * rng.choice([1, 2, 5])
        config["qk_rope_head_dim"] = 0
        config["index_kpool_always_select_tail"] = True
    if "attention_head_dim" in config and "num_attention_heads" in config:  # zamba2
        config["attention_hidden_size"] = 2 * hidden
        config["attention_head_dim"] = 2 * hidden // config["num_attention_heads"]


def case(rng, base):
    if "text_config" in base:
        return {**base, "text_config": case(rng, base["text_config"])}
    heads = rng.randrange(1, 9)
    chance = rng.choice([0.05, 0.15, 0.3, 0.6])
    config = {k: change(rng, k, v, chance, heads) for k, v in base.items()}
    if "num_hidden_layers" in config and rng.random() < 0.6:
        config["num_hidden_layers"] = rng.randrange(1, 7)
    if rng.random() < 0.5:
        config["hidden_size"] = number(rng, "hidden_size", 64, heads)
        for key in list(config):
            if HEADS.match(key) and config[key] is not None:
                config[key] = heads
            elif KV.search(key) and config[key] is not None:
                config[key] = rng.choice([d for d in range(1, heads + 1) if heads % d == 0])
    layers(rng, config)
    consistent(rng, config)
    return config


def bases():
    for path in sorted(GOLDEN.glob("*/*/config.json")):
        config = json.loads(path.read_text())
        # Some tell their sizes by their tensors alone; without those they are a model of billions.
        if not config["model_type"].startswith("layer_") and "vocab_size" in json.dumps(config):
            yield path.parent.name, config


def run_some(program, device, dirs, env):
    """(directory, verdict) of each; a process that dies is started again behind the one it died of."""
    verdicts = {}
    while dirs:
        p = subprocess.run([program, "--device", device, *dirs], env=env, capture_output=True,
                           text=True, timeout=1800, errors="replace")
        lines = [l for l in p.stdout.splitlines() if l.startswith("/")]
        for line in lines:
            where, _, what = line.partition(" ")
            verdicts[where] = what
        left = [d for d in dirs if not verdicts.get(d)]
        if not left:
            break
        trouble = [l for l in p.stderr.splitlines() if "ERROR" in l or "runtime error" in l or
                   "assert" in l.lower()]
        verdicts[left[0]] = f"failed crash {p.returncode}: {(trouble or [p.stderr[-200:]])[0][:200]}"
        dirs = left[1:]
    return verdicts


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("program")
    ap.add_argument("--cases", type=int, default=160)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--device", default="cpu")
    ap.add_argument("--jobs", type=int, default=os.cpu_count())
    ap.add_argument("--family", default="*")
    ap.add_argument("--keep")
    ap.add_argument("--refusals", action="store_true")
    a = ap.parse_args()
    rng = random.Random(a.seed)
    every = [b for b in bases() if fnmatch.fnmatch(b[0], a.family)]
    with tempfile.TemporaryDirectory(prefix="recurd-random-") as top:
        cases = {}  # directory -> (family, config)
        for i in range(a.cases):
            name, base = every[i % len(every)]
            config = case(rng, base)
            where = f"{top}/{name}.{i}"
            os.mkdir(where)
            pathlib.Path(where, "config.json").write_text(json.dumps(config))
            cases[where] = (name, config)
        names = list(cases)
        verdicts = {}
        env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1"}
        with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
            for got in pool.map(lambda d: run_some(a.program, a.device, d, env),
                                [names[i:i + BATCH] for i in range(0, len(names), BATCH)]):
                verdicts.update(got)
        table, reasons, failed = {}, {}, []
        for where, (name, config) in cases.items():
            what = verdicts[where].split(" ")[0]
            row = table.setdefault(config["model_type"], {"cases": 0, "equal": 0, "refused": 0,
                                                          "failed": 0})
            row["cases"] += 1
            row[what] += 1
            if what == "failed":
                failed.append((where, verdicts[where]))
            elif what == "refused":
                text = re.sub(r"[-+]?[0-9][0-9.e+-]*", "N", verdicts[where].partition(" ")[2])
                reasons[(config["model_type"], text)] = reasons.get(
                    (config["model_type"], text), 0) + 1
        print("| family | cases | equal | refused | failed |\n| --- | ---: | ---: | ---: | ---: |")
        for family, row in sorted(table.items()):
            print(f"| {family} | " + " | ".join(str(row[k]) for k in row) + " |")
        if a.refusals:
            for (family, text), n in sorted(reasons.items()):
                print(f"  {n:4} {family}: {text}")
        for where, what in failed:
            print(f"FAIL {pathlib.Path(where).name} (seed {a.seed}): {what}")
            if a.keep:
                shutil.copytree(where, pathlib.Path(a.keep, pathlib.Path(where).name),
                                dirs_exist_ok=True)
        total = sum(r["equal"] for r in table.values())
        print(f"random on {a.device}: {len(cases)} cases, {total} equal, {len(failed)} failed")
        if total < len(cases) / 4:
            print("FAIL too few cases were not refused")
            return 1
        return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
