/* GLM-5-Next (text part; GLM-5.3-Flash, 2026): several residual streams, Kimi delta attention 3:1
 * latent attention that an indexer leads, experts as in DeepSeek-V3.
 *
 *   streams (hyper-connections): of the n streams h_s, all of them a row, u = W rms(h);
 *     x = sum_s (sg(u_s a_1 + b) + eps) h_s is a sub-layer's input;  then, y its output,
 *     h_s := 2 sg(u_{n+s} a_2 + b) y + sum_r C_rs h_r, C = Sinkhorn(u_rest a_3 + b);
 *     at the end their mean
 *   linear attention: kimi_linear.c's, alpha = exp(L sg(exp(A_log_h) (...)))
 *   latent attention: kimi_linear.c's without rotated columns, over the rows that the indexer chose
 *   indexer: k = LN(W x) of 128; every `index_kpool` of them pooled, p = softmax over them of
 *     W_g x + ape, one weight a channel; a pool's score is sum_h w_h relu(<q_h, k>), q from the
 *     query's latent, w = W_w x; the index_topk / index_kpool best pools and the open one are
 *     attended to, here and in later layers whose indexer is "shared"
 *   SwiGLU: silu(min(g, c)) (.) clamp(u, -c, c) */
#include "models/build/build.h"

struct dims {
    int D, inner, shared, first_moe;
    int heads, rank, q_rank, dn, dv;  /* latent attention */
    int index_heads, index_dim, pool, count;
    float limit, eps;
    bool bias;
    struct hyper_args streams;
    struct kda_args linear;
    struct moe_args experts;
    val chosen; /* the last indexer's */
};

/* ---- latent attention ---- */

/* index_topk_freq and index_skip_topk_offset: every so many-th layer from an offset on has an
 * indexer of its own. */
static bool shares_by_turns(struct build *b, int layer)
{
    int freq = (int)MAX(cfg_int(b, "index_topk_freq", 1), 1);
    int64_t offset = cfg_int(b, "index_skip_topk_offset", 2);
    return MAX(layer - offset + 1, 0) % freq != 0;
}

static bool shares_choice(struct build *b, int layer)
{
    const char *key = cfg_has(b, "indexer_types") ? "indexer_types" : "index_topk_pattern";
    if (!cfg_has(b, key) || b_failed(b))
        return shares_by_turns(b, layer);
    const char *pattern = config_len(cfg(b), key) < 0 ? cfg_str(b, key, "") : NULL;
    if (pattern)
        return b_require(b, (int)strlen(pattern) > layer && strchr("FS", pattern[layer]),
                         "%s \"%s\" does not say F or S for layer %d", key, pattern, layer) &&
               pattern[layer] == 'S';
    const char *type = config_str_at(cfg(b), key, layer, b_err(b));
    bool shared = type && !strcmp(type, "shared");
    b_require(b, shared || (type && !strcmp(type, "full")), "%s[%d] \"%s\" is not full or shared",
              key, layer, type ? type : "");
    return shared;
}

static val choose(struct build *b, val x, val latent, const struct dims *d)
{
    int dim = d->index_dim;
    b_into(b, "indexer.");
    val q = b_linear(b, latent, "wq_b", d->index_heads * dim), k = b_linear(b, x, "wk", dim);
    val gate = b_linear_part(b, x, "index_kpool_compress_gate", NULL, dim, 0, dim, false);
    val w = b_linear(b, x, "weights_proj", d->index_heads);
    k = b_layer_norm(b, k, "k_norm", true, 1e-6f);
    k = b_pool(b, k, gate, w_vec(b, "index_kpool_compress_ape", (int64_t)d->pool * dim), d->pool);
    return b_attention(b, &(struct attention_args){
        .kind = OP_INDEXER, .q = q, .k = k, .asked = w, .heads = d->index_heads, .kv_heads = 1,
        .dk = dim, .dv = 1, .block = d->pool, .count = d->count,
        .scale = (float)(1 / sqrt(dim) / sqrt(d->index_heads))});
}

static val latent_attention(struct build *b, val x, int layer, struct dims *d, const char *prefix)
{
    val u = b_project(b, x, "q_a_proj", d->q_rank, d->bias);
    val c = b_project(b, x, "kv_a_proj_with_mqa", d->rank, d->bias);
    u = b_rms(b, u, "q_a_layernorm", d->eps);
    c = b_rms(b, c, "kv_a_layernorm", d->eps);
    val q = b_linear(b, u, "q_b_proj", d->heads * d->dn);
    if (!shares_choice(b, layer)) {
        d->chosen = choose(b, x, u, d);
        b_prefix(b, "%s", prefix);
    }
    if (!b_require(b, view_given(d->chosen), "indexer_types: layer %d shares an earlier layer's "
                   "choice, and there is none", layer))
        return VIEW_NONE;
    val o = b_latent_attention(b, &(struct latent_args){
        .q = q, .latent = c, .up = "kv_b_proj.weight", .H = d->heads, .rank = d->rank, .dn = d->dn,
        .dv = d->dv, .scale = (float)(1 / sqrt(d->dn)), .chosen = d->chosen, .block = d->pool});
    return b_project(b, o, "o_proj", d->D, d->bias);
}

/* ---- feed-forward ---- */

static val dense(struct build *b, val x, const char *part, int inner, const struct dims *d)
{
    b_into(b, part);
    val g = e_min(b, b_linear(b, x, "gate_proj", inner), d->limit);
    val u = e_max(b, e_min(b, b_linear(b, x, "up_proj", inner), d->limit), -d->limit);
    return b_linear(b, e_mul(b, e_fn(b, EW_SILU, g), u), "down_proj", d->D);
}

static val ffn(struct build *b, val x, int layer, const struct dims *d)
{
    if (!b_sparse_layer(b, layer, layer >= d->first_moe))
        return dense(b, x, "mlp.", d->inner, d);
    b_into(b, "mlp.");
    val y = b_moe(b, x, &d->experts);
    return d->shared ? e_add(b, y, dense(b, x, "shared_experts.", d->shared, d)) : y;
}

/* ---- frame ---- */

static bool is_linear(struct build *b, int layer)
{
    static const char *const indexed[] = {"indexed_attention", "full_attention",
                                          "deepseek_sparse_attention"};
    if (!cfg_has(b, "layer_types"))
        return layer % 4 != 3;
    const char *name = config_str_at(cfg(b), "layer_types", layer, b_err(b));
    for (size_t i = 0; name && i < ARRAY_LEN(indexed); i++)
        if (!strcmp(name, indexed[i]))
            return false;
    b_require(b, name && !strcmp(name, "linear_attention"),
              "layer_types[%d] \"%s\" is not linear_attention or indexed_attention", layer,
              name ? name : "");
    return true;
}

static val sub_layer(struct build *b, const struct hybrid *f, val h, int layer, bool mix,
                     struct dims *d)
{
    char prefix[LIMIT_TENSOR_NAME];
    b_hybrid_layer(b, f, layer);
    struct hyper m = b_hyper_collapse(b, h, mix ? "attn" : "ffn", &d->streams);
    val x = b_hybrid_norm(b, f, m.x, mix ? "input_layernorm" : "post_attention_layernorm"), y;
    snprintf(prefix, sizeof prefix, "%slayers.%d.self_attn.", f->root, layer);
    if (mix) {
        b_prefix(b, "%s", prefix);
        y = is_linear(b, layer) ? b_kda(b, x, &d->linear)
                                : latent_attention(b, x, layer, d, prefix);
    } else {
        y = ffn(b, x, layer, d);
    }
    return b_hyper_expand(b, h, y, &m);
}

static void run(struct build *b, const struct hybrid *f, struct dims *d)
{
    val h = b_hyper_open(b, b_hybrid_open(b, f), &d->streams);
    for (int i = 0; i < f->layers && !b_failed(b); i++) {
        h = sub_layer(b, f, h, i, true, d);
        h = sub_layer(b, f, h, i, false, d);
    }
    b_hybrid_close(b, f, b_hyper_mean(b, h, &d->streams));
}

/* ---- sizes ---- */

/* A key whose null means something else than its absence. */
static bool named(const struct config *c, const char *key)
{
    bool found = false;
    for (const char *k = NULL; c && (k = config_next_key(c, k));)
        found |= !strcmp(k, key);
    return found;
}

/* linear_* or, over them, linear_attn_config. */
static void read_linear(struct build *b, struct dims *d)
{
    const struct config *la = config_obj(cfg(b), "linear_attn_config", b_err(b));
    struct kda_args *k = &d->linear;
    *k = (struct kda_args){.D = d->D, .eps = d->eps, .H = b_count(b, "linear_num_heads", 64),
                           .K = b_count(b, "linear_head_dim", 128),
                           .conv = b_count(b, "linear_conv_kernel_dim", 4),
                           .bounded = cfg_has(b, "linear_lower_bound") ||
                                      !named(cfg(b), "linear_lower_bound"),
                           .bound = cfg_num(b, "linear_lower_bound", -5)};
    if (!la)
        return;
    k->H = (int)config_int(la, "num_heads", k->H, 1, 4096, b_err(b));
    k->K = (int)config_int(la, "head_dim", k->K, 1, 4096, b_err(b));
    k->conv = (int)config_int(la, "short_conv_kernel_size", k->conv, 1, 64, b_err(b));
    if (named(la, "gate_lower_bound"))
        k->bounded = config_has(la, "gate_lower_bound");
    k->bound = config_num(la, "gate_lower_bound", k->bounded ? k->bound : -5, b_err(b));
    k->bounded |= config_bool(la, "safe_gate", true, b_err(b));
    (void)config_has(la, "kda_layers"); /* layer_types says it */
    (void)config_has(la, "full_attn_layers");
    b_leave_unread(b, la, "linear_attn_config.");
}

static void read_experts(struct build *b, struct dims *d)
{
    int inner = b_width(b, "moe_intermediate_size", 2048);
    d->experts = (struct moe_args){
        .n = b_count(b, "n_routed_experts", b_count(b, "num_local_experts", 288)), .inner = inner,
        .k = b_count(b, "num_experts_per_tok", 8), .n_groups = b_count(b, "n_group", 1),
        .topk_groups = b_count(b, "topk_group", 1), .sigmoid = true,
        .norm = cfg_bool(b, "norm_topk_prob", true), .eps = 1e-20f,
        .scale = (float)cfg_num(b, "routed_scaling_factor", 2.5), .router = "gate",
        .bias = "gate.e_score_correction_bias", .experts = "experts", .gate = "gate_proj",
        .up = "up_proj", .down = "down_proj", .packed_in = "experts.gate_up_proj",
        .packed_out = "experts.down_proj", .act = ACT_SILU, .limit = d->limit};
    d->shared = inner * b_count(b, "n_shared_experts", 1);
    b_require(b, d->experts.scale != 0, "routed_scaling_factor 0");
}

static void read_indexer(struct build *b, struct dims *d)
{
    int topk = b_width(b, "index_topk", 2048);
    d->index_heads = b_count(b, "index_n_heads", 32);
    d->index_dim = b_count(b, "index_head_dim", 128);
    d->pool = b_count(b, "index_kpool", 16);
    b_require(b, d->pool > 0 && topk > 0 && topk % d->pool == 0 && d->index_heads > 0 &&
                     d->index_dim > 0,
              "index_topk %d of pools of index_kpool %d, index_n_heads %d, index_head_dim %d", topk,
              d->pool, d->index_heads, d->index_dim);
    d->count = d->pool > 0 ? topk / d->pool : 0;
    cfg_irrelevant(b, "indexer_types index_topk_pattern"); /* where no layer asks for them */
    b_require(b, cfg_bool(b, "index_kpool_always_select_tail", true) &&
                     cfg_bool(b, "index_kpool_compress", true),
              "index_kpool_always_select_tail or index_kpool_compress false");
}

static void build(struct build *b)
{
    b_text_config(b);
    struct hybrid f = b_hybrid_read(b, 45, 1e-5);
    struct dims d = {.D = f.D, .eps = f.eps, .inner = b_width(b, "intermediate_size", 12288),
                     .first_moe = b_count(b, "first_k_dense_replace", 3),
                     .heads = b_count(b, "num_attention_heads", 64),
                     .rank = b_width(b, "kv_lora_rank", 512),
                     .q_rank = b_width(b, "q_lora_rank", 1536),
                     .dn = b_count(b, "qk_nope_head_dim", 256),
                     .dv = b_count(b, "v_head_dim", 256),
                     .limit = (float)cfg_num(b, "swiglu_limit", 10), .chosen = VIEW_NONE,
                     .bias = cfg_bool(b, "attention_bias", false),
                     .streams = {.D = f.D, .n = b_count(b, "hc_mult", 4), .eps = f.eps,
                                 .iters = b_count(b, "hc_sinkhorn_iters", 20),
                                 .floor = (float)cfg_num(b, "hc_eps", 1e-6)}};
    read_linear(b, &d);
    read_experts(b, &d);
    read_indexer(b, &d);
    b_same_act(b, "hidden_act", ACT_SILU);
    b_check_layer_types(b, f.layers);
    b_require(b, b_count(b, "qk_rope_head_dim", 0) == 0 && cfg_bool(b, "mla_use_nope", true),
              "qk_rope_head_dim %d, mla_use_nope: only attention without positions",
              b_count(b, "qk_rope_head_dim", 0));
    b_require(b, d.limit > 0, "swiglu_limit %g", (double)d.limit);
    cfg_irrelevant(b, "head_dim num_key_value_heads qk_head_dim mhc index_share_for_mtp_iteration "
                      "indexer_rope_interleave moe_router_dtype rope_parameters topk_method "
                      "scoring_func use_grouped_topk");
    f.root = b_text_root(b);
    run(b, &f, &d);
}

const struct arch arch_glm5_next = {"glm5_next", build};
const struct arch arch_glm5_next_text = {"glm5_next_text", build};
