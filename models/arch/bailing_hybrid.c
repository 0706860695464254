/* Ling 3 and Ring 3 (Ant group, 2026): Kimi delta attention 5:1 latent attention with positions
 * and a gate per head, experts as in DeepSeek-V3.
 *
 *   q, k, v = silu(conv(W x));  q, k := l2 per head;  q *= K^-1/2;  beta = sigmoid(W_b x)
 *   alpha = exp(L sigmoid(exp(A_log_h) (W_f x + dt_bias))), or, without a bound,
 *     exp(-exp(A_log_h) softplus(W_f x + dt_bias))
 *   S := diag(alpha) S;  S += k (beta (v - S^T k))^T;  y = W_o (rms(S^T q) (.) sigmoid(W_g x))
 *   latent attention: o_h sigmoid(g_h), g = W_g x
 *   experts: scores sigmoid(W x), chosen by score + bias within groups, renormalised; + shared
 *
 * Published files say attention and dense where the library says self_attn and o_proj. */
#include "models/build/build.h"

#define LATENT_EPS 1e-6f /* of the norms inside latent attention, whatever rms_norm_eps says */

struct dims {
    int D, H, inner, shared, first_moe, period;
    int rank, q_rank, dn, dr, dv;
    bool bias;
    struct kda_args linear;
    struct rope rope;
    struct moe_args experts;
};

/* What of two names for a matrix the file has. */
static const char *either(struct build *b, const char *name, const char *newer)
{
    char weight[64];
    snprintf(weight, sizeof weight, "%s.weight", newer);
    return b_has(b, weight, false) ? newer : name;
}

static val latent_attention(struct build *b, val x, const struct dims *d)
{
    int rows = d->H * (d->dn + d->dr);
    val u = b_project(b, x, "kv_a_proj_with_mqa", d->rank + d->dr, d->bias), q;
    val gate = e_fn(b, EW_SIGMOID, b_linear(b, x, "g_proj", d->H));
    if (d->q_rank > 0) {
        q = b_project(b, x, "q_a_proj", d->q_rank, d->bias);
        q = b_linear(b, b_rms(b, q, "q_a_layernorm", LATENT_EPS), "q_b_proj", rows);
    } else {
        q = b_linear(b, x, "q_proj", rows);
    }
    val o = b_latent_attention(b, &(struct latent_args){
        .q = q, .latent = b_rms(b, b_slice(u, 0, d->rank), "kv_a_layernorm", LATENT_EPS),
        .rope = b_rotary(b, b_slice(u, d->rank, d->dr), &d->rope), .turn = &d->rope,
        .up = "kv_b_proj.weight", .H = d->H, .rank = d->rank, .dn = d->dn, .dr = d->dr,
        .dv = d->dv, .scale = (float)(1 / sqrt(d->dn + d->dr))});
    return b_project(b, e_mul(b, o, gate), either(b, "o_proj", "dense"), d->D, d->bias);
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    bool full = (layer + 1) % d->period == 0;
    enum layer_type type = b_layer_type(b, layer, full ? LAYER_ATTENTION : LAYER_LINEAR);
    b_into(b, b_has(b, "attention.g_proj.weight", true) ? "attention." : "self_attn.");
    return type == LAYER_LINEAR ? b_kda(b, x, &d->linear) : latent_attention(b, x, d);
}

static val ffn(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    b_into(b, "mlp.");
    if (!b_sparse_layer(b, layer, layer >= d->first_moe))
        return b_swiglu(b, x, "gate_proj", "up_proj", "down_proj", d->inner, "silu");
    struct moe_args a = d->experts;
    if (b_has(b, "gate.expert_bias", true))
        a.bias = "gate.expert_bias";
    val y = b_moe(b, x, &a);
    return e_add(b, y, b_swiglu(b, x, "shared_experts.gate_proj", "shared_experts.up_proj",
                                "shared_experts.down_proj", d->shared, "silu"));
}

/* The library's names for the same keys, which its saved files have. */
static int count_of(struct build *b, const char *key, const char *other, int dflt)
{
    return b_count(b, key, b_count(b, other, dflt));
}

static void read_experts(struct build *b, struct dims *d)
{
    int inner = b_width(b, "moe_intermediate_size", 768);
    d->experts = (struct moe_args){
        .n = count_of(b, "num_experts", "num_local_experts", 512), .inner = inner,
        .k = count_of(b, "num_experts_per_tok", "num_experts_per_token", 8),
        .n_groups = count_of(b, "n_group", "num_expert_group", 8),
        .topk_groups = b_count(b, "topk_group", 4), .sigmoid = true,
        .norm = cfg_bool(b, "norm_topk_prob", cfg_bool(b, "moe_renormalize", true)), .eps = 1e-20f,
        .scale = (float)cfg_num(b, "routed_scaling_factor", 2.5), .router = "gate",
        .bias = "gate.e_score_correction_bias", .experts = "experts", .gate = "gate_proj",
        .up = "up_proj", .down = "down_proj", .packed_in = "experts.gate_up_proj",
        .packed_out = "experts.down_proj", .act = ACT_SILU};
    d->shared = inner * count_of(b, "n_shared_experts", "num_shared_experts", 1);
    d->first_moe = b_count(b, "first_k_dense_replace", 2);
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 42, 1e-6);
    struct dims d = {.D = f.D, .H = b_count(b, "num_attention_heads", 32),
                     .inner = b_width(b, "intermediate_size", 6144),
                     .period = b_count(b, "layer_group_size", 6),
                     .rank = b_width(b, "kv_lora_rank", 512),
                     .q_rank = b_width(b, "q_lora_rank", 0),
                     .dn = b_count(b, "qk_nope_head_dim", 128),
                     .dr = b_count(b, "qk_rope_head_dim", 64), .dv = b_count(b, "v_head_dim", 128),
                     .bias = cfg_bool(b, "attention_bias", false)};
    d.linear = (struct kda_args){
        .D = d.D, .H = d.H, .eps = f.eps, .K = count_of(b, "linear_head_dim", "head_dim", 128),
        .conv = count_of(b, "linear_conv_kernel_dim", "short_conv_kernel_size", 4),
        .bounded = cfg_bool(b, "kda_safe_gate", true),
        .bound = cfg_num(b, "kda_lower_bound", -5), .full_gate = true, .full_decay = true};
    read_experts(b, &d);
    b_rope_read(b, &d.rope, d.dr, 6e6, 1);
    d.rope.interleaved = true;
    b_require(b, d.period > 0 && d.rope.rot == d.dr, "layer_group_size %d; %d of %d columns turn",
              d.period, d.rope.rot, d.dr);
    b_require(b, d.rope.scale == 1, "rope: a factor on scores is not supported");
    b_same_act(b, "hidden_act", ACT_SILU);
    b_check_layer_types(b, f.layers);
    int linear = b_count(b, "linear_num_heads", d.H);
    b_require(b, linear == d.H, "linear_num_heads %d is not num_attention_heads %d", linear, d.H);
    cfg_irrelevant(b, "num_key_value_heads head_dim qk_head_dim model_max_length");
    b_prefix(b, "%s", "model.");
    f.embed = b_has(b, "word_embeddings.weight", true) ? "word_embeddings" : "embed_tokens";
    f.mixer = mixer;
    f.ffn = ffn;
    f.family = &d;
    b_hybrid(b, &f);
}

const struct arch arch_bailing_hybrid = {"bailing_hybrid", build};
