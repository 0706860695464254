#!/usr/bin/env python3
"""Makes tests/golden/more: small checkpoints of production families with switches that the other
sets leave alone, and the logits that transformers computes for them in float64.

  from_transformers.py OUT [name ...]      makes OUT/name (all that are listed below)
  from_transformers.py --again DIR ...     computes what DIR's own weights give, tells how far that
                                           is from what is stored, and stores it if that is too far
"""
import contextlib
import os
import shutil
import sys

sys.modules["fla"] = None  # transformers would take its kernels, which need a GPU

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.initialization import no_init_weights

import oracle

VOCAB = 160
EAGER = dict(attn_implementation="eager", experts_implementation="eager")
PACKAGES = ("torch", "transformers", "safetensors")
BASE = dict(vocab_size=VOCAB, hidden_size=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
HEADS = dict(num_attention_heads=4, num_key_value_heads=2)
MAMBA2 = dict(mamba_d_conv=3, mamba_d_head=16, mamba_d_state=16, mamba_n_heads=8,
              mamba_chunk_size=16)
LFM2 = dict(conv_L_cache=4, norm_eps=1e-5)
NEMOTRON = dict(head_dim=24, intermediate_size=80, mamba_head_dim=16, mamba_num_heads=8,
                ssm_state_size=16, n_groups=4, conv_kernel=3, chunk_size=16,
                moe_intermediate_size=32, moe_shared_expert_intermediate_size=40,
                n_routed_experts=8, num_experts_per_tok=3, routed_scaling_factor=1.7,
                use_mamba_kernels=False)
QWEN = dict(num_hidden_layers=4, head_dim=24, linear_num_key_heads=2, linear_num_value_heads=6,
            linear_key_head_dim=16, linear_value_head_dim=24, linear_conv_kernel_dim=3,
            intermediate_size=80)
MOE = dict(moe_intermediate_size=32, shared_expert_intermediate_size=48, num_experts=8,
           num_experts_per_tok=3)
# With few heads some pools score exactly 0: which of them is chosen, the library leaves open.
GLM5 = dict(intermediate_size=72, moe_intermediate_size=24, kv_lora_rank=32, q_lora_rank=40,
            qk_nope_head_dim=20, v_head_dim=12, index_n_heads=12, index_head_dim=24,
            linear_num_heads=2, linear_head_dim=24, linear_conv_kernel_dim=3,
            vision_config=dict(depth=1, hidden_size=16, num_heads=2, image_size=28,
                               out_hidden_size=64, intermediate_size=16,
                               projection_intermediate_size=16))
# The end of text, 33, stands twice in the prompt of 70 tokens.
QWEN4 = dict(eos_token_id=[33, 2], ple_embed_dim=32, ngram_size=3, heads_per_ngram=2,
             ngram_vocab_size_base=50, make_ngram_vocab_size_divisible_by=8, split_ngram_parts=4)


def rope(kind, **keys):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=10000.0, **keys))


def stretched(kind, **keys):
    return rope(kind, original_max_position_embeddings=32, **keys)


CASES = {
    "bamba_biases": ("bamba", dict(
        num_hidden_layers=3, attn_layer_indices=[0, 2], num_attention_heads=4,
        num_key_value_heads=1, intermediate_size=80, attention_bias=True, mlp_bias=True,
        mamba_proj_bias=True, mamba_conv_bias=False, mamba_n_groups=4,
        time_step_limit=(0.01, 0.3), tie_word_embeddings=True, **MAMBA2)),
    "falcon_h1_norm": ("falcon_h1", dict(
        num_hidden_layers=2, head_dim=32, intermediate_size=96, mamba_d_ssm=128, mamba_n_groups=2,
        ssm_multipliers=[.5, .7, .9, 1.1, 1.3], mlp_multipliers=[.7, .8], key_multiplier=.6,
        attention_out_multiplier=.7, ssm_out_multiplier=.8, lm_head_multiplier=.9,
        mamba_rms_norm=True, mamba_norm_before_gate=False, mamba_proj_bias=True,
        mamba_conv_bias=False, **rope("linear", factor=4.0), **HEADS, **MAMBA2)),
    "granite_llama3": ("granitemoehybrid", dict(
        num_hidden_layers=4, layer_types=["mamba", "attention"] * 2, shared_intermediate_size=48,
        embedding_multiplier=4., residual_multiplier=.4, attention_multiplier=.3,
        logits_scaling=2.5, mamba_n_groups=2, num_local_experts=6, num_experts_per_tok=3,
        intermediate_size=32, attention_bias=True, mamba_proj_bias=True,
        position_embedding_type="rope", **HEADS, **MAMBA2,
        **stretched("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0))),
    "jamba_periods": ("jamba", dict(
        num_hidden_layers=5, intermediate_size=48, mamba_d_state=8, mamba_d_conv=3,
        use_mamba_kernels=False, attn_layer_period=3, attn_layer_offset=1, expert_layer_period=2,
        expert_layer_offset=0, num_experts=6, num_experts_per_tok=3, mamba_proj_bias=True,
        mamba_conv_bias=False, **HEADS)),
    "kimi_groups": ("kimi_linear", dict(
        num_hidden_layers=4, num_attention_heads=3, num_key_value_heads=3, intermediate_size=80,
        kv_lora_rank=32, q_lora_rank=24, qk_nope_head_dim=24, qk_rope_head_dim=12, v_head_dim=16,
        moe_intermediate_size=16, num_experts=8, num_experts_per_token=2, num_shared_experts=2,
        num_expert_group=4, topk_group=2, linear_attn_config=dict(
            full_attn_layers=[1], kda_layers=[2, 3, 4], num_heads=2, head_dim=32,
            short_conv_kernel_size=4))),
    "lfm2_yarn": ("lfm2", dict(
        num_hidden_layers=3, intermediate_size=100, block_multiple_of=16,
        block_ffn_dim_multiplier=1.3, full_attn_idxs=[1], tie_word_embeddings=True,
        **stretched("yarn", factor=4.0), **HEADS, **LFM2)),
    "lfm2_moe": ("lfm2_moe", dict(
        num_hidden_layers=4, layer_types=["conv", "full_attention"] * 2, intermediate_size=80,
        moe_intermediate_size=32, num_experts=6, num_experts_per_tok=3, num_dense_layers=1,
        use_expert_bias=True, routed_scaling_factor=1.5, **HEADS, **LFM2)),
    "lfm2_moe_plain": ("lfm2_moe", dict(
        num_hidden_layers=3, layer_types=["conv", "full_attention", "conv"], intermediate_size=80,
        moe_intermediate_size=32, num_experts=6, num_experts_per_tok=2, num_dense_layers=0,
        use_expert_bias=False, norm_topk_prob=False, conv_bias=True, **HEADS, **LFM2)),
    "nemotron_h_mlp": ("nemotron_h", dict(
        layers_block_type=["mlp", "linear_attention", "full_attention", "moe", "mlp"],
        attention_bias=True, mlp_bias=True, use_bias=True, use_conv_bias=False,
        norm_topk_prob=False, time_step_min=0.05, **HEADS, **NEMOTRON)),
    "nemotron_h_latent": ("nemotron_h", dict(
        layers_block_type=["linear_attention", "moe", "full_attention", "moe"],
        moe_latent_size=32, n_group=4, topk_group=2, **HEADS, **NEMOTRON)),
    "olmo_hybrid_heads": ("olmo_hybrid", dict(
        num_hidden_layers=4, intermediate_size=80, linear_num_key_heads=2,
        linear_num_value_heads=4, linear_key_head_dim=16, linear_value_head_dim=24,
        linear_conv_kernel_dim=3, linear_allow_neg_eigval=False, attention_bias=True,
        layer_types=["full_attention", "linear_attention"] * 2, **HEADS)),
    "qwen3_next_yarn": ("qwen3_next", dict(
        mlp_only_layers=[1], decoder_sparse_step=2, norm_topk_prob=False,
        layer_types=["full_attention", "linear_attention", "linear_attention", "full_attention"],
        **stretched("yarn", factor=8.0, partial_rotary_factor=.5), **HEADS, **QWEN, **MOE)),
    "qwen3_5_mscale": ("qwen3_5_text", dict(
        **stretched("yarn", factor=4.0, mscale=.8, mscale_all_dim=.5, partial_rotary_factor=.5,
                    mrope_interleaved=True, mrope_section=[2, 2, 2]), **HEADS, **QWEN)),
    "recurrent_gemma": ("recurrent_gemma", dict(
        num_hidden_layers=4, head_dim=16, intermediate_size=96, lru_width=128,
        attention_window_size=256, block_types=["recurrent", "attention"], attention_bias=True,
        conv1d_width=3, logits_soft_cap=5.0, **rope("default", partial_rotary_factor=.5),
        **HEADS)),
    "rwkv4_rescale": ("rwkv", dict(
        num_hidden_layers=5, attention_hidden_size=96, intermediate_size=100, context_length=256,
        rescale_every=2)),
    "zamba2_shared": ("zamba2", dict(
        num_hidden_layers=6, mamba_d_conv=3, mamba_d_state=16, mamba_headdim=16, n_mamba_heads=8,
        chunk_size=16, num_attention_heads=4, num_key_value_heads=4, intermediate_size=48,
        adapter_rank=8, layers_block_type=["hybrid", "mamba"] * 3, use_mamba_kernels=False,
        num_mem_blocks=1, use_shared_attention_adapter=True, use_mem_rope=True, mamba_ngroups=2)),
    # widths that are no multiple of 16, and the other ways to stretch rope
    "kimi_odd": ("kimi_linear", dict(
        num_hidden_layers=3, hidden_size=40, num_attention_heads=3, num_key_value_heads=3,
        intermediate_size=56, kv_lora_rank=24, qk_nope_head_dim=20, qk_rope_head_dim=12,
        v_head_dim=10, moe_intermediate_size=24, num_experts=6, num_experts_per_token=2,
        num_shared_experts=1, linear_attn_config=dict(
            full_attn_layers=[1], kda_layers=[2, 3], num_heads=2, head_dim=20,
            short_conv_kernel_size=4))),
    "qwen3_next_bias": ("qwen3_next", dict(
        attention_bias=True, hidden_size=72, layer_types=["full_attention", "linear_attention"] * 2,
        **HEADS, **QWEN, **{**MOE, "moe_intermediate_size": 20})),
    "recurrent_gemma_odd": ("recurrent_gemma", dict(
        num_hidden_layers=3, head_dim=16, intermediate_size=96, lru_width=96,
        attention_window_size=48, num_attention_heads=4, num_key_value_heads=1)),
    "zamba2_untied": ("zamba2", dict(
        num_hidden_layers=6, mamba_d_state=16, mamba_headdim=16, n_mamba_heads=8, chunk_size=16,
        num_attention_heads=4, num_key_value_heads=4, intermediate_size=48, adapter_rank=8,
        layers_block_type=["hybrid", "mamba"] * 3, use_mamba_kernels=False, num_mem_blocks=2,
        use_shared_attention_adapter=True, tie_word_embeddings=False)),
    "granite_dynamic": ("granitemoehybrid", dict(
        num_hidden_layers=2, layer_types=["attention", "mamba"], shared_intermediate_size=48,
        num_local_experts=0, max_position_embeddings=128, position_embedding_type="rope",
        attention_multiplier=.25, **HEADS, **MAMBA2, **rope("dynamic", factor=4.0))),
    "lfm2_longrope": ("lfm2", dict(
        num_hidden_layers=3, intermediate_size=96, full_attn_idxs=[1], **HEADS, **LFM2,
        **rope("longrope", factor=8.0, original_max_position_embeddings=128,
               short_factor=[1 + .25 * i for i in range(8)], long_factor=[8.0] * 8))),
    "lfm3": ("lfm3", dict(
        num_hidden_layers=6, intermediate_size=96, head_dim=24, sliding_window=20, conv_bias=True,
        attention_bias=True, conv_L_cache=5, **HEADS)),
    "lfm3_plain": ("lfm3", dict(
        num_hidden_layers=3, intermediate_size=96, head_dim=16, use_sandwich_norm=False,
        use_attention_gate=False, layer_types=["full_attention", "conv", "sliding_attention"],
        tie_word_embeddings=False, **HEADS)),
    "bailing_hybrid": ("bailing_hybrid", dict(
        num_hidden_layers=4, layer_group_size=3, intermediate_size=80, moe_intermediate_size=24,
        num_attention_heads=3, num_key_value_heads=3, head_dim=20, num_local_experts=8,
        num_experts_per_tok=2, n_group=4, topk_group=2, first_k_dense_replace=1, kv_lora_rank=24,
        qk_nope_head_dim=20, qk_rope_head_dim=12, v_head_dim=16)),
    "bailing_unbounded": ("bailing_hybrid", dict(
        num_hidden_layers=2, layer_group_size=2, intermediate_size=80, moe_intermediate_size=32,
        num_attention_heads=2, num_key_value_heads=2, head_dim=16, num_local_experts=4,
        num_experts_per_tok=2, n_group=1, topk_group=1, first_k_dense_replace=0, kv_lora_rank=32,
        q_lora_rank=24, qk_nope_head_dim=16, qk_rope_head_dim=16, v_head_dim=16,
        attention_bias=True, kda_safe_gate=False)),
    "zamba": ("zamba", dict(
        num_hidden_layers=6, attn_layer_period=2, attn_layer_offset=1, num_attention_heads=4,
        num_key_value_heads=4, intermediate_size=80, mamba_d_state=8, n_mamba_heads=2,
        mamba_dt_rank=12)),
    "zamba_heads": ("zamba", dict(
        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, intermediate_size=80,
        mamba_d_state=16, n_mamba_heads=4, mamba_proj_bias=True, mamba_conv_bias=False,
        layers_block_type=["hybrid", "mamba", "hybrid"])),
    "xlstm": ("xlstm", dict(
        num_hidden_layers=3, num_heads=2, chunk_size=16, ffn_round_up_to_multiple_of=16,
        mode="inference", autocast_kernel_dtype="float32")),
    "xlstm_fused": ("xlstm", dict(
        num_hidden_layers=2, num_heads=4, chunk_size=16, weight_mode="fused", use_bias=True,
        qk_dim_factor=1.0, v_dim_factor=1.5, gate_soft_cap=8.0, output_logit_soft_cap=12.0,
        autocast_kernel_dtype="float32")),
    "lara_mini": ("lara_mini", dict(
        num_hidden_layers=5, head_dim=24, sliding_window=20, linear_num_key_heads=2,
        linear_num_value_heads=6, linear_key_head_dim=16, linear_value_head_dim=20,
        linear_conv_kernel_dim=3, moe_intermediate_size=24, shared_expert_intermediate_size=40,
        num_experts=6, num_experts_per_tok=2, attention_bias=True, **HEADS)),
    "zaya": ("zaya", dict(
        num_hidden_layers=3, head_dim=16, num_attention_heads=4, num_key_value_heads=2,
        moe_intermediate_size=24, num_experts=3, router_hidden_size=20, cca_time0=3,
        sliding_window=12, layer_types=["hybrid", "hybrid_sliding", "hybrid"])),
    "mamba2_gate_first": ("mamba2", dict(
        num_hidden_layers=2, head_dim=16, num_heads=8, state_size=16, n_groups=4, conv_kernel=4,
        chunk_size=16, norm_before_gate=True)),
    "rwkv4_eps": ("rwkv", dict(num_hidden_layers=3, layer_norm_epsilon=1e-3, rescale_every=0)),
    # a pool is chosen of up to 17, by an indexer or the layer before
    "glm5_next": ("glm5_next", dict(
        num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=4, hc_mult=4,
        layer_types=["linear_attention", "indexed_attention", "indexed_attention",
                     "linear_attention", "indexed_attention"],
        indexer_types=["full", "full", "shared", "full", "full"], index_topk=16, index_kpool=4,
        mlp_layer_types=["dense", "sparse", "sparse", "dense", "sparse"], n_routed_experts=8,
        num_experts_per_tok=3, n_group=4, topk_group=2, **GLM5)),
    "glm5_next_odd": ("glm5_next", dict(
        num_hidden_layers=3, hidden_size=40, num_attention_heads=3, num_key_value_heads=3,
        hc_mult=3, hc_sinkhorn_iters=3, layer_types=["indexed_attention", "linear_attention",
                                                     "indexed_attention"],
        index_topk=3, index_kpool=3, linear_lower_bound=None, swiglu_limit=.4, n_shared_experts=2,
        mlp_layer_types=["sparse", "dense", "dense"], n_routed_experts=5, num_experts_per_tok=2,
        norm_topk_prob=False, routed_scaling_factor=1.5, rms_norm_eps=1e-4, attention_bias=True,
        **GLM5)),
    "qwen4_exp_linear": ("qwen4_exp_text", dict(
        layer_types=["linear_attention"] * 2, hc_count=3, hc_lowrank=24, ple_layer_ids=[1, 2],
        output_gate_type="sigmoid", **QWEN4, **HEADS, **{**QWEN, "num_hidden_layers": 2},
        **{**MOE, "num_experts": 5})),
    "qwen4_exp": ("qwen4_exp_text", dict(
        layer_types=["linear_attention", "indexed_attention", "full_attention"], hc_count=2,
        hc_lowrank=20, ple_layer_ids=[1], indexer_n_heads=8, indexer_kv_heads=1,
        indexer_head_dim=20, indexer_budget=16, indexer_compress_ratio=4,
        **rope("default", partial_rotary_factor=.5), **QWEN4, **HEADS,
        **{**QWEN, "num_hidden_layers": 3}, **{**MOE, "num_experts": 5})),
}

# Families of which the library has the model for text and images only.
WITH_IMAGES = {"glm5_next"}


def auto(kind):
    return AutoModelForImageTextToText if kind in WITH_IMAGES else AutoModelForCausalLM


# What the library cannot initialise; all weights are filled anyway.
UNSTARTED = {"xlstm_fused"}

# Scales of matrices, where 1.2 makes float32 noise grow to 1e-2 of a logit.
CALM = {"zamba2_shared": .8, "qwen3_5_mscale": .5, "zamba2_untied": .8, "qwen3_next_bias": .5,
        "zaya": .8, "lara_mini": .6, "zamba": .8, "zamba_heads": .8}


# Cases that moved in the list since their weights were made; others have their number in it.
SEEDS = {"mamba2_gate_first": 22, "rwkv4_eps": 23, "qwen4_exp_linear": 34, "qwen4_exp": 35}


def split_convolutions(folder):
    """The library writes its packed convolution as three equal parts; q, k, v differ in width."""
    path = os.path.join(folder, "model.safetensors")
    t = load_file(path)
    for name in [n for n in t if n.endswith("q_conv1d.weight")]:
        start = name[:-len("q_conv1d.weight")]
        names = [start + c + "_conv1d.weight" for c in "qkv"]
        whole, n = torch.cat([t[x] for x in names]), t[start + "q_proj.weight"].shape[0]
        for x, part in zip(names, whole.split([n, n, whole.shape[0] - 2 * n])):
            t[x] = part.clone()
    save_file(t, path)


def run(model):
    return oracle.in_float64(model, lambda ids: model(ids, use_cache=False).logits[0])


def make(folder, name, seed, kind, keys):
    keys = {**BASE, **keys}
    if kind in WITH_IMAGES:
        keys = dict(text_config=keys, vision_config=keys.pop("vision_config"))
    config = AutoConfig.for_model(kind, **keys)
    with no_init_weights() if name in UNSTARTED else contextlib.nullcontext():
        model = auto(kind).from_config(config, **EAGER).float().eval()
    oracle.fill(model, seed, CALM.get(name, 1.2))
    want = oracle.expected(run(model), VOCAB)
    model.float()
    if kind == "rwkv":  # it scales its weights for inference: back to those of the file
        model.train()
        model.rwkv._rescale_layers()
    model.bfloat16().save_pretrained(folder)
    oracle.store(folder, want, oracle.versions(*PACKAGES))
    os.remove(os.path.join(folder, "generation_config.json"))
    if kind == "olmo_hybrid":
        split_convolutions(folder)


def exact_tables(model):
    """Tables derived from the sizes, which the file holds rounded to bfloat16."""
    for m in model.modules():
        if hasattr(m, "get_slope_rate"):
            m.slope_rate.copy_(m.get_slope_rate())
            for buffer, x in zip((m.query_decay, m.key_decay, m.diagonal_decay),
                                 m.decay_factors(m.slope_rate)):
                buffer.copy_(x)


def again(folder):
    """A set whose weights stay: the reference may have changed its mind."""
    kind = AutoConfig.from_pretrained(folder).model_type
    model = auto(kind).from_pretrained(folder, dtype=torch.float32, **EAGER).eval()
    exact_tables(model)
    want, worst = oracle.again(folder, run(model))
    print(f"{folder}: {worst:.1e} from what is stored")
    if worst > 1e-3:
        oracle.store(folder, want, oracle.versions(*PACKAGES))


def main():
    if sys.argv[1] == "--again":
        for folder in sys.argv[2:]:
            again(folder)
        return
    for seed, (name, (kind, keys)) in enumerate(CASES.items()):
        folder = os.path.join(sys.argv[1], name)
        if len(sys.argv) == 2 or name in sys.argv[2:]:
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
            make(folder, name, SEEDS.get(name, seed), kind, keys)
            print(name)


if __name__ == "__main__":
    main()
