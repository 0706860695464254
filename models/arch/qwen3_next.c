/* Qwen3-Next and Qwen3.5 (text part), dense and with experts: Gated DeltaNet 3:1 gated softmax
 * attention, zero-centred norms.
 *
 *   q, k, v = silu(conv(W_qkv x)), one convolution over all three;  q, k := l2;  q *= K^-1/2
 *   beta = sigmoid(W_b x);  alpha = exp(-exp(A_log) softplus(W_a x + dt_bias))
 *   S := alpha S;  S += k (beta (v - S^T k))^T;  y = W_o (rms(S^T q) (.) silu(W_z x))
 *   attention: rms per head of q and k, part of a head turns, out (.) sigmoid(gate)
 *   ffn: SwiGLU, or the k best experts by softmax, renormalised, + sigmoid(w x) shared(x)
 *
 * Qwen3-Next stores one matrix with rows [q K, k K, v rV, z rV] per key head, r = Hv / H, and one
 * of [b r, a r]; Qwen3.5 stores q|k|v, z, b and a apart; GGUF has the latter for the former's first
 * matrix. */
#include "models/build/build.h"

struct dims {
    int D, H, Hv, K, V, conv, every, inner, shared, sparse_step;
    bool grouped, moe;
    float eps;
    struct gqa_args attn;
    struct rope rope;
    struct moe_args experts;
};

/* Columns of W x, all heads of one part next to each other. */
static val part(struct build *b, val x, const char *name, const struct dims *d, int each,
                int first, int rows)
{
    return b_linear_heads(b, x, name, d->H, each, first, rows);
}

static val qkv(struct build *b, val x, const struct dims *d, int each, bool grouped)
{
    int k = d->H * d->K, n = 2 * k + d->Hv * d->V;
    if (!grouped)
        return b_linear(b, x, "in_proj_qkv", n);
    const char *name = "in_proj_qkvz.weight";
    int w = w_matrix(b, name, n, x.width);
    w_head_rows(b, w, name, d->H, each, 0, d->K, 0);
    w_head_rows(b, w, name, d->H, each, d->K, d->K, k);
    w_head_rows(b, w, name, d->H, each, 2 * d->K, d->Hv / d->H * d->V, 2 * k);
    return b_linear_weight(b, x, w, -1);
}

static val linear_attention(struct build *b, val x, const struct dims *d)
{
    int r = d->Hv / d->H, k = d->H * d->K, v = d->Hv * d->V, each = 2 * d->K + 2 * r * d->V;
    bool grouped = d->grouped && b_has(b, "in_proj_qkvz.weight", true);
    val u = qkv(b, x, d, each, grouped), z, beta, a;
    if (grouped)
        z = part(b, x, "in_proj_qkvz", d, each, 2 * d->K + r * d->V, r * d->V);
    else
        z = b_linear(b, x, "in_proj_z", v);
    if (d->grouped) {
        beta = part(b, x, "in_proj_ba", d, 2 * r, 0, r);
        a = part(b, x, "in_proj_ba", d, 2 * r, r, r);
    } else {
        beta = b_linear(b, x, "in_proj_b", d->Hv);
        a = b_linear(b, x, "in_proj_a", d->Hv);
    }
    u = b_conv(b, u, w_filter(b, "conv1d.weight", 2 * k + v, d->conv), -1, d->conv,
               ACT_SILU);
    beta = e_fn(b, EW_SIGMOID, beta);
    val alpha = b_decay_gate(b, a, "A_log", d->Hv, "dt_bias");
    val o = b_gated_delta(b, &(struct gated_delta){
        .q = b_l2(b, b_slice(u, 0, k), d->K),
        .k = b_l2(b, b_slice(u, k, k), d->K), .v = b_slice(u, 2 * k, v), .alpha = alpha,
        .beta = beta, .H = d->H, .Hv = d->Hv, .K = d->K, .V = d->V});
    o = b_gated_norm(b, o, z, NORM_RMS, d->V, w_vec(b, "norm.weight", d->V), -1, d->eps, ACT_SILU,
                     false);
    return b_linear(b, o, "out_proj", d->D);
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    bool full = (layer + 1) % d->every == 0;
    if (b_layer_type(b, layer, full ? LAYER_ATTENTION : LAYER_LINEAR) == LAYER_LINEAR) {
        b_into(b, "linear_attn.");
        return linear_attention(b, x, d);
    }
    b_into(b, "self_attn.");
    return b_gqa(b, x, &d->attn);
}

static val ffn(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    b_into(b, "mlp.");
    bool sparse =
        d->moe && (layer + 1) % d->sparse_step == 0 && !b_listed(b, "mlp_only_layers", layer);
    if (!sparse)
        return b_swiglu(b, x, "gate_proj", "up_proj", "down_proj", d->inner, "silu");
    val y = b_moe(b, x, &d->experts);
    if (d->shared == 0)
        return y;
    val own = b_swiglu(b, x, "shared_expert.gate_proj", "shared_expert.up_proj",
                       "shared_expert.down_proj", d->shared, "silu");
    val gate = e_fn(b, EW_SIGMOID, b_linear(b, x, "shared_expert_gate", 1));
    return e_add(b, y, e_mul(b, own, gate));
}

static void read_experts(struct build *b, struct dims *d)
{
    d->shared = b_width(b, "shared_expert_intermediate_size", 512);
    d->sparse_step = b_count(b, "decoder_sparse_step", 1);
    d->experts = (struct moe_args){
        .n = b_count(b, "num_experts", 512), .k = b_count(b, "num_experts_per_tok", 10),
        .inner = b_width(b, "moe_intermediate_size", 512),
        .norm = cfg_bool(b, "norm_topk_prob", true), .router = "gate", .experts = "experts",
        .gate = "gate_proj", .up = "up_proj", .down = "down_proj",
        .packed_in = "experts.gate_up_proj", .packed_out = "experts.down_proj", .act = ACT_SILU};
    d->moe = d->experts.n > 0;
    b_require(b, d->sparse_step > 0, "decoder_sparse_step 0");
}

static void build_kind(struct build *b, bool grouped, bool moe)
{
    b_text_config(b);
    struct hybrid f = b_hybrid_read(b, 48, 1e-6);
    struct dims d = {.D = f.D,
                     .H = b_count(b, "linear_num_key_heads", 16),
                     .Hv = b_count(b, "linear_num_value_heads", 32),
                     .eps = f.eps,
                     .grouped = grouped,
                     .K = b_count(b, "linear_key_head_dim", 128),
                     .V = b_count(b, "linear_value_head_dim", 128),
                     .conv = b_count(b, "linear_conv_kernel_dim", 4),
                     .attn = b_gqa_read(b, 16, 2),
                     .every = b_count(b, "full_attention_interval", 4),
                     .sparse_step = 1,
                     .inner = b_width(b, "intermediate_size", 5632)};
    if (moe)
        read_experts(b, &d);
    b_rope_read(b, &d.rope, d.attn.d, 10000, 0.25);
    d.attn.gate = cfg_bool(b, "attn_output_gate", true);
    d.attn.q_norm = "q_norm";
    d.attn.k_norm = "k_norm";
    d.attn.norm = f.norm = TENSOR_ADD_ONE;
    d.attn.rope = &d.rope;
    d.attn.eps = f.eps;
    b_check_layer_types(b, f.layers);
    b_same_act(b, "hidden_act", ACT_SILU);
    cfg_refuse(b, "use_sliding_window");
    cfg_irrelevant(b, "sliding_window max_window_layers mlp_only_layers mtp_num_hidden_layers "
                      "mtp_use_dedicated_embeddings "
                      "mamba_ssm_dtype");
    f.mixer = mixer;
    f.ffn = ffn;
    f.family = &d;
    f.root = b_text_root(b);
    if (b_require(b, d.H > 0 && d.Hv % d.H == 0 && d.every > 0,
                  "%d value heads for %d key heads, attention every %d layers", d.Hv, d.H, d.every))
        b_hybrid(b, &f);
}

static void build_next(struct build *b) { build_kind(b, true, true); }
static void build_dense(struct build *b) { build_kind(b, false, false); }
static void build_moe(struct build *b) { build_kind(b, false, true); }

const struct arch arch_qwen3_next = {"qwen3_next", build_next};
const struct arch arch_qwen3_5 = {"qwen3_5", build_dense};
const struct arch arch_qwen3_5_text = {"qwen3_5_text", build_dense};
const struct arch arch_qwen3_5_moe = {"qwen3_5_moe", build_moe};
const struct arch arch_qwen3_5_moe_text = {"qwen3_5_moe_text", build_moe};
