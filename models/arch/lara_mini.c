/* Lara 4 Mini (Translated, 2026): Gated DeltaNet between windowed attention with positions and full
 * attention without, experts everywhere.
 *
 *   q, k, v = silu(conv(W_qkv x)), one convolution over all three;  q, k := l2;  q *= K^-1/2
 *   beta = sigmoid(W_b x);  alpha = exp(-exp(A_log) softplus(W_a x + dt_bias))
 *   S := alpha S;  S += k (beta (v - S^T k))^T;  y = W_o (rms(S^T q) (.) silu(W_z x))
 *   attention: rms per head of q and k
 *   ffn: the k best experts by softmax, renormalised, + shared(x), without a gate
 *
 * Published files keep q|k|v|z|b|a in one matrix and say out_norm. */
#include "models/build/build.h"

struct dims {
    int D, H, Hv, K, V, conv, shared;
    float eps;
    struct gqa_args full, window;
    struct rope rope;
    struct moe_args experts;
};

/* Rows of the fused matrix, or a matrix of their own. */
static val part(struct build *b, val x, const char *own, const struct dims *d, int row, int rows)
{
    int all = 2 * d->H * d->K + 2 * d->Hv * d->V + 2 * d->Hv;
    if (b_has(b, "in_proj.weight", true))
        return b_linear_part(b, x, "in_proj.weight", NULL, all, row, rows, false);
    return b_linear(b, x, own, rows);
}

static val linear_attention(struct build *b, val x, const struct dims *d)
{
    int k = d->H * d->K, v = d->Hv * d->V, n = 2 * k + v;
    val u = part(b, x, "in_proj_qkv", d, 0, n), z = part(b, x, "in_proj_z", d, n, v);
    val beta = part(b, x, "in_proj_b", d, n + v, d->Hv);
    val a = part(b, x, "in_proj_a", d, n + v + d->Hv, d->Hv);
    const char *norm = b_has(b, "norm.weight", false) ? "norm.weight" : "out_norm.weight";
    u = b_conv(b, u, w_filter(b, "conv1d.weight", n, d->conv), -1, d->conv, ACT_SILU);
    beta = e_fn(b, EW_SIGMOID, beta);
    val o = b_gated_delta(b, &(struct gated_delta){
        .q = b_l2(b, b_slice(u, 0, k), d->K), .k = b_l2(b, b_slice(u, k, k), d->K),
        .v = b_slice(u, 2 * k, v), .alpha = b_decay_gate(b, a, "A_log", d->Hv, "dt_bias"),
        .beta = beta, .H = d->H, .Hv = d->Hv, .K = d->K, .V = d->V});
    o = b_gated_norm(b, o, z, NORM_RMS, d->V, w_vec(b, norm, d->V), -1, d->eps, ACT_SILU, false);
    return b_linear(b, o, "out_proj", d->D);
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    static const enum layer_type usual[] = {LAYER_LINEAR, LAYER_WINDOW, LAYER_LINEAR,
                                            LAYER_ATTENTION, LAYER_WINDOW};
    const struct dims *d = family;
    enum layer_type type = b_layer_type(b, layer, usual[layer % (int)ARRAY_LEN(usual)]);
    b_into(b, type == LAYER_LINEAR ? "linear_attn." : "self_attn.");
    if (type == LAYER_LINEAR)
        return linear_attention(b, x, d);
    return b_gqa(b, x, type == LAYER_WINDOW ? &d->window : &d->full);
}

static val ffn(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    b_into(b, "mlp.");
    val y = b_moe(b, x, &d->experts);
    return e_add(b, y, b_swiglu(b, x, "shared_expert.gate_proj", "shared_expert.up_proj",
                                "shared_expert.down_proj", d->shared, "silu"));
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 34, 1e-6);
    struct dims d = {.D = f.D, .eps = f.eps, .H = b_count(b, "linear_num_key_heads", 8),
                     .Hv = b_count(b, "linear_num_value_heads", 16),
                     .K = b_count(b, "linear_key_head_dim", 128),
                     .V = b_count(b, "linear_value_head_dim", 128),
                     .conv = b_count(b, "linear_conv_kernel_dim", 4),
                     .shared = b_width(b, "shared_expert_intermediate_size", 512),
                     .full = b_gqa_read(b, 16, 4)};
    d.experts = (struct moe_args){
        .n = b_count(b, "num_experts", 128), .k = b_count(b, "num_experts_per_tok", 4),
        .inner = b_width(b, "moe_intermediate_size", 512),
        .norm = cfg_bool(b, "norm_topk_prob", true), .router = "gate", .experts = "experts",
        .gate = "gate_proj", .up = "up_proj", .down = "down_proj",
        .packed_in = "experts.gate_up_proj", .packed_out = "experts.down_proj", .act = ACT_SILU};
    d.full.q_norm = "q_norm";
    d.full.k_norm = "k_norm";
    d.full.eps = f.eps;
    d.window = d.full;
    d.window.window = (int)cfg_int(b, "sliding_window", 512);
    b_rope_read(b, &d.rope, d.full.d, 10000, 1);
    d.window.rope = &d.rope;
    b_check_layer_types(b, f.layers);
    b_same_act(b, "hidden_act", ACT_SILU);
    f.tied = true;
    f.mixer = mixer;
    f.ffn = ffn;
    f.family = &d;
    if (b_require(b, d.H > 0 && d.Hv > 0 && d.Hv % d.H == 0, "%d value heads for %d key heads",
                  d.Hv, d.H))
        b_hybrid(b, &f);
}

const struct arch arch_lara_mini = {"lara_mini", build};
