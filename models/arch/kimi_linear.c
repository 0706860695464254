/* Kimi Linear (Kimi team, 2025): Kimi delta attention 3:1 latent attention without positions,
 * experts as in DeepSeek-V3.
 *
 *   q, k, v = silu(conv(W x));  q, k := l2 per head;  q *= K^-1/2;  beta = sigmoid(W_b x)
 *   alpha = exp(-exp(A_log_h) softplus(W_f2 W_f1 x + dt_bias)),
 *     or exp(L sigmoid(exp(A_log_h) (...)))
 *   S := diag(alpha) S;  S += k (beta (v - S^T k))^T
 *   y = W_o (rms(S^T q) (.) sigmoid(W_g2 W_g1 x))
 *   experts: scores sigmoid(W x), chosen by score + bias, renormalised, times a factor; + shared
 *
 * Two sets of names for the same tensors are in use, and layers counted from 1 or a list of
 * types. */
#include "models/build/build.h"

struct dims {
    int D, inner, shared, first_moe, moe_step;
    int heads, rank, q_rank, dn, dr, dv; /* latent attention */
    float eps;
    struct kda_args linear;
    struct moe_args experts;
};

#define LATENT_EPS 1e-6f /* of the norms inside latent attention, whatever rms_norm_eps says */

static val latent_attention(struct build *b, val x, const struct dims *d)
{
    int rows = d->heads * (d->dn + d->dr);
    val q, u = b_linear(b, x, "kv_a_proj_with_mqa", d->rank + d->dr);
    if (d->q_rank > 0)
        q = b_linear(b,
                     b_rms(b, b_linear(b, x, "q_a_proj", d->q_rank), "q_a_layernorm", LATENT_EPS),
                     "q_b_proj", rows);
    else
        q = b_linear(b, x, "q_proj", rows);
    val o =
        b_latent_attention(b, &(struct latent_args){.q = q,
                                                    .latent = b_rms(b, b_slice(u, 0, d->rank),
                                                                    "kv_a_layernorm", LATENT_EPS),
                                                    .rope = b_slice(u, d->rank, d->dr),
                                                    .up = "kv_b_proj.weight",
                                                    .H = d->heads,
                                                    .rank = d->rank,
                                                    .dn = d->dn,
                                                    .dr = d->dr,
                                                    .dv = d->dv,
                                                    .scale = (float)(1 / sqrt(d->dn + d->dr))});
    return b_linear(b, o, "o_proj", d->D);
}

static enum layer_type type_of(struct build *b, int layer)
{
    const struct config *la = config_obj(cfg(b), "linear_attn_config", b_err(b));
    bool full = (layer + 1) % 4 == 0;
    for (int64_t i = 0; la && i < config_len(la, "full_attn_layers"); i++)
        if (config_int_at(la, "full_attn_layers", i, 0, b_err(b)) == layer + 1)
            return b_layer_type(b, layer, LAYER_ATTENTION);
    return b_layer_type(b, layer, la || !full ? LAYER_LINEAR : LAYER_ATTENTION);
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    b_into(b, "self_attn.");
    return type_of(b, layer) == LAYER_LINEAR ? b_kda(b, x, &((struct dims *)family)->linear)
                                             : latent_attention(b, x, family);
}

static val ffn(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    bool sparse = b_sparse_layer(b, layer, layer >= d->first_moe && layer % d->moe_step == 0);
    bool under_moe = b_has(b, sparse ? "block_sparse_moe.gate.weight"
                                     : "block_sparse_moe.gate_proj.weight", sparse);
    b_into(b, under_moe ? "block_sparse_moe." : "mlp.");
    if (!sparse)
        return b_swiglu(b, x, "gate_proj", "up_proj", "down_proj", d->inner, "silu");
    struct moe_args a = d->experts;
    if (b_has(b, "experts.0.gate_proj.weight", false)) {
        a.gate = "gate_proj";
        a.up = "up_proj";
        a.down = "down_proj";
    }
    val y = b_moe(b, x, &a);
    if (d->shared == 0)
        return y;
    return e_add(b, y, b_swiglu(b, x, "shared_experts.gate_proj", "shared_experts.up_proj",
                                "shared_experts.down_proj", d->shared, "silu"));
}

static void read_linear(struct build *b, struct dims *d)
{
    const struct config *la = config_obj(cfg(b), "linear_attn_config", b_err(b));
    struct kda_args *k = &d->linear;
    *k = (struct kda_args){
        .D = d->D, .eps = d->eps,
        .H = b_count(b, "linear_num_heads", b_count(b, "linear_num_key_heads", 32)),
        .K = b_count(b, "linear_head_dim", b_count(b, "linear_key_head_dim", 128)),
        .conv = b_count(b, "linear_conv_kernel_dim", 4),
        .bounded = cfg_has(b, "forget_gate_lower_bound"),
        .bound = cfg_num(b, "forget_gate_lower_bound", 0),
        .full_gate = cfg_bool(b, "use_full_rank_output_gate", false)};
    b_require(b, b_count(b, "linear_num_value_heads", k->H) == k->H &&
                     b_count(b, "linear_value_head_dim", k->K) == k->K,
              "linear_num_value_heads, linear_value_head_dim: values have the keys' heads");
    if (!la)
        return;
    k->H = (int)config_int(la, "num_heads", k->H, 1, 4096, b_err(b));
    k->K = (int)config_int(la, "head_dim", k->K, 1, 4096, b_err(b));
    k->conv = (int)config_int(la, "short_conv_kernel_size", k->conv, 1, 64, b_err(b));
    (void)config_has(la, "kda_layers"); /* those that are not in full_attn_layers */
    (void)config_has(la, "full_attn_layers");
    b_leave_unread(b, la, "linear_attn_config.");
}

static void read_experts(struct build *b, struct dims *d)
{
    int inner = b_width(b, "moe_intermediate_size", 1024);
    const char *router = cfg_str(b, "moe_router_activation_func", "sigmoid");
    d->experts = (struct moe_args){
        .n = b_count(b, "num_experts", b_count(b, "n_routed_experts", 256)), .inner = inner,
        .k = b_count(b, "num_experts_per_token", b_count(b, "num_experts_per_tok", 8)),
        .n_groups = b_count(b, "num_expert_group", b_count(b, "n_group", 1)),
        .topk_groups = b_count(b, "topk_group", 1), .sigmoid = !strcmp(router, "sigmoid"),
        .norm = cfg_bool(b, "moe_renormalize", cfg_bool(b, "norm_topk_prob", true)),
        .eps = 1e-20f, .scale = (float)cfg_num(b, "routed_scaling_factor", 2.446), .router = "gate",
        .bias = "gate.e_score_correction_bias", .experts = "experts", .gate = "w1", .up = "w3",
        .down = "w2", .packed_in = "experts.gate_up_proj", .packed_out = "experts.down_proj",
        .act = ACT_SILU};
    b_require(b, d->experts.sigmoid || !strcmp(router, "softmax"),
              "moe_router_activation_func \"%s\" is not sigmoid or softmax", router);
    d->shared = inner * b_count(b, "num_shared_experts", b_count(b, "n_shared_experts", 1));
    d->first_moe = b_count(b, "first_k_dense_replace", 1);
    d->moe_step = b_count(b, "moe_layer_freq", 1);
    if (d->experts.n == 0)
        d->first_moe = INT32_MAX;
    b_require(b, d->moe_step > 0, "moe_layer_freq 0");
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 27, 1e-5);
    struct dims d = {.D = f.D,
                     .eps = f.eps,
                     .inner = b_width(b, "intermediate_size", 9216),
                     .heads = b_count(b, "num_attention_heads", 32),
                     .rank = b_width(b, "kv_lora_rank", 512),
                     .q_rank = b_width(b, "q_lora_rank", 0),
                     .dn = b_count(b, "qk_nope_head_dim", 128),
                     .dr = b_count(b, "qk_rope_head_dim", 64),
                     .dv = b_count(b, "v_head_dim", 128)};
    read_linear(b, &d);
    read_experts(b, &d);
    b_require(b, cfg_bool(b, "mla_use_nope", true),
              "mla_use_nope false: only layers without positions");
    b_same_act(b, "hidden_act", ACT_SILU);
    b_check_layer_types(b, f.layers);
    cfg_refuse(b, "attention_bias");
    cfg_irrelevant(b, "head_dim num_key_value_heads qk_head_dim model_max_length rope_theta "
                      "rope_scaling rope_parameters rope_interleave aux_loss_alpha "
                      "num_nextn_predict_layers num_mtp_layers use_grouped_topk ep_size seq_aux "
                      "topk_method scoring_func");
    f.mixer = mixer;
    f.ffn = ffn;
    f.family = &d;
    b_hybrid(b, &f);
}

const struct arch arch_kimi_linear = {"kimi_linear", build};
