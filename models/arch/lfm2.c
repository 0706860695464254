/* LFM2 (Liquid AI, 2025), dense and with experts: gated short convolutions and softmax attention.
 *
 *   B, C, X = W_in x;  y = W_out (C (.) conv(B (.) X));  the state is the convolution's tail
 *   attention: rms per head of q and k, then rotation
 *   experts: scores sigmoid(W x), chosen by score + bias, renormalised */
#include "models/build/build.h"

struct dims {
    int D, conv, inner, dense_layers;
    bool conv_bias;
    struct gqa_args attn;
    struct rope rope;
    struct moe_args experts;
};

static val short_conv(struct build *b, val x, const struct dims *d)
{
    val u = b_project(b, x, "in_proj", 3 * d->D, d->conv_bias);
    val in = e_mul(b, b_slice(u, 0, d->D), b_slice(u, 2 * d->D, d->D));
    val y = b_conv(b, in, w_filter(b, "conv.weight", d->D, d->conv),
                   d->conv_bias ? w_vec(b, "conv.bias", d->D) : -1, d->conv, ACT_NONE);
    return b_project(b, e_mul(b, b_slice(u, d->D, d->D), y), "out_proj", d->D, d->conv_bias);
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    bool full = b_listed(b, "full_attn_idxs", layer) || !cfg_has(b, "full_attn_idxs");
    if (b_layer_type(b, layer, full ? LAYER_ATTENTION : LAYER_LINEAR) == LAYER_LINEAR) {
        b_into(b, "conv.");
        return short_conv(b, x, d);
    }
    b_into(b, "self_attn.");
    return b_gqa(b, x, &d->attn);
}

static val ffn(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    b_into(b, "feed_forward.");
    if (layer >= d->dense_layers)
        return b_moe(b, x, &d->experts);
    return b_swiglu(b, x, "w1", "w3", "w2", d->inner, "silu");
}

/* block_ff_dim * 2/3, times a factor, up to a multiple, unless the config says "as it is". */
static int ffn_width(struct build *b)
{
    int64_t n = b_width(b, "block_ff_dim", b_width(b, "intermediate_size", 12288));
    int64_t unit = b_width(b, "block_multiple_of", 256);
    double by = cfg_num(b, "block_ffn_dim_multiplier", 1);
    cfg_irrelevant(b, "intermediate_size");
    if (!cfg_bool(b, "block_auto_adjust_ff_dim", true) ||
        !b_require(b, unit > 0, "block_multiple_of 0"))
        return (int)n;
    n = (int64_t)(by * (double)(2 * n / 3));
    return (int)((n + unit - 1) / unit * unit);
}

static void read_experts(struct build *b, struct dims *d)
{
    d->inner = b_width(b, "intermediate_size", 7168);
    d->dense_layers = b_count(b, "num_dense_layers", 2);
    d->experts = (struct moe_args){
        .n = b_count(b, "num_experts", 32), .k = b_count(b, "num_experts_per_tok", 4),
        .inner = b_width(b, "moe_intermediate_size", 1792), .sigmoid = true, .eps = 1e-6f,
        .norm = cfg_bool(b, "norm_topk_prob", true),
        .scale = (float)cfg_num(b, "routed_scaling_factor", 1), .router = "gate",
        .bias = cfg_bool(b, "use_expert_bias", true) ? "expert_bias" : NULL, .experts = "experts",
        .gate = "w1", .up = "w3", .down = "w2", .packed_in = "experts.gate_up_proj",
        .packed_out = "experts.down_proj", .act = ACT_SILU};
}

static void build_kind(struct build *b, bool moe)
{
    struct hybrid f = b_hybrid_read(b, 32, 1e-5);
    f.eps = (float)cfg_num(b, "norm_eps", cfg_num(b, "block_norm_eps", f.eps));
    struct dims d = {.D = f.D, .conv = b_count(b, "conv_L_cache", 3), .dense_layers = f.layers,
                     .conv_bias = cfg_bool(b, "conv_bias", false), .attn = b_gqa_read(b, 32, 8)};
    if (moe)
        read_experts(b, &d);
    else
        d.inner = ffn_width(b);
    b_rope_read(b, &d.rope, d.attn.d, cfg_num(b, "theta", 1e6), 1);
    d.attn.q_norm = "q_layernorm";
    d.attn.k_norm = "k_layernorm";
    d.attn.out = "out_proj";
    d.attn.rope = &d.rope;
    d.attn.eps = f.eps;
    b_check_layer_types(b, f.layers);
    b_require(b, cfg_bool(b, "use_pos_enc", true) && cfg_bool(b, "block_use_swiglu", true),
              "use_pos_enc and block_use_swiglu must be true");
    cfg_irrelevant(b, "full_attn_idxs block_dim block_norm_eps block_mlp_init_scale "
                      "block_out_init_scale block_use_xavier_init conv_dim conv_dim_out "
                      "conv_use_xavier_init num_heads");
    f.tied = cfg_bool(b, "tie_embedding", true);
    f.mixer = mixer;
    f.ffn = ffn;
    f.family = &d;
    f.mixer_norm = "operator_norm";
    f.ffn_norm = "ffn_norm";
    f.last_norm = "embedding_norm";
    b_hybrid(b, &f);
}

static void build(struct build *b) { build_kind(b, false); }
static void build_moe(struct build *b) { build_kind(b, true); }

const struct arch arch_lfm2 = {"lfm2", build};
const struct arch arch_lfm2_moe = {"lfm2_moe", build_moe};
