/* Jamba (AI21, 2024): Mamba-1 7:1 softmax attention without positions; experts in every second
 * layer, their softmax weights not renormalised. Mamba's dt, B and C are normed with weights. */
#include "models/build/build.h"

struct dims {
    int inner, attn_period, attn_offset, moe_period, moe_offset;
    struct gqa_args attn;
    struct mamba1_args mamba;
    struct moe_args experts;
};

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    bool full = layer % d->attn_period == d->attn_offset;
    if (b_layer_type(b, layer, full ? LAYER_ATTENTION : LAYER_LINEAR) == LAYER_LINEAR) {
        b_into(b, "mamba.");
        return b_mamba1(b, x, &d->mamba);
    }
    b_into(b, "self_attn.");
    return b_gqa(b, x, &d->attn);
}

static val ffn(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    bool sparse = d->experts.n > 1 && layer % d->moe_period == d->moe_offset;
    b_into(b, "feed_forward.");
    if (b_has(b, "router.weight", sparse))
        return b_moe(b, x, &d->experts);
    return b_swiglu(b, x, "gate_proj", "up_proj", "down_proj", d->inner, "silu");
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 32, 1e-6);
    struct dims d = {
        .inner = b_width(b, "intermediate_size", 14336), .attn = b_gqa_read(b, 32, 8),
        .attn_period = b_count(b, "attn_layer_period", 8),
        .attn_offset = b_count(b, "attn_layer_offset", 4),
        .moe_period = b_count(b, "expert_layer_period", 2),
        .moe_offset = b_count(b, "expert_layer_offset", 1)};
    d.mamba = (struct mamba1_args){.width = f.D,
                                   .inner = b_times(b, f.D, "mamba_expand", 2),
                                   .N = b_count(b, "mamba_d_state", 16),
                                   .rank = b_auto_int(b, "mamba_dt_rank", (f.D + 15) / 16),
                                   .conv = b_count(b, "mamba_d_conv", 4),
                                   .bias = cfg_bool(b, "mamba_proj_bias", false),
                                   .conv_bias = cfg_bool(b, "mamba_conv_bias", true),
                                   .named_norms = true,
                                   .part_eps = f.eps};
    d.experts = (struct moe_args){
        .n = b_count(b, "num_experts", 16), .k = b_count(b, "num_experts_per_tok", 2),
        .inner = d.inner, .router = "router", .experts = "experts", .gate = "gate_proj",
        .up = "up_proj", .down = "down_proj", .packed_in = "experts.gate_up_proj",
        .packed_out = "experts.down_proj", .act = ACT_SILU};
    b_check_layer_types(b, f.layers);
    b_same_act(b, "hidden_act", ACT_SILU);
    cfg_refuse(b, "sliding_window");
    cfg_irrelevant(b, "use_mamba_kernels use_mambapy use_associative_scan mamba_inner_layernorms "
                      "calc_logits_for_entire_prompt");
    f.mixer = mixer;
    f.ffn = ffn;
    f.family = &d;
    f.ffn_norm = "pre_ff_layernorm";
    f.last_norm = "final_layernorm";
    if (b_require(b, d.attn_period > 0 && d.moe_period > 0,
                  "attn_layer_period, expert_layer_period 0"))
        b_hybrid(b, &f);
}

const struct arch arch_jamba = {"jamba", build};
