/* Qwen4-Exp (text part; Qwen3.8-Flash-Next, 2026): several residual streams, Gated DeltaNet 3:1
 * sparse softmax attention, experts everywhere, hashed n-grams in a few layers.
 *
 *   streams: n = rms of each of the hc streams h_s, all of them a row;  x = mean_s sg(U silu(D n /
 *     hc))_s (.) n_s is a sub-layer's input, and the last norm;  h_s += 2 sg(W n / hc)_s y
 *   linear attention: Gated DeltaNet as in qwen3_next.c, gate silu or sigmoid
 *   attention: gated, rms per head of q and k, part of a head turns; over the tokens of the
 *     indexer_budget / r best complete blocks of r = indexer_compress_ratio tokens and of the open
 *     one. A block's score is sum_h relu(<q_h, k>) / sqrt(d), k the rms of its tokens' mean key,
 *     turned as its first token
 *   ffn: the k best experts by softmax, renormalised, + sigmoid(w x) shared(x)
 *   n-grams (ple), before a layer: e = rows of a table chosen by hashes of the last tokens;
 *     k_s = rms(W_k e)_s, v = W_v e, q_s = rms(h)_s;  g = <k_s, q_s> / sqrt(D);
 *     u_s = sg(sign(g) sqrt(max(|g|, 1e-6))) v;  h += u + silu(conv(rms(u))), a convolution whose
 *     taps are ngram_size tokens apart */
#include "models/build/build.h"

/* heads 0: the config has no indexer. */
struct indexer { int heads, dim, block, count; struct rope rope, block_rope; };

struct dims {
    int D, hc, low, H, Hv, K, V, conv, shared, every;
    int ple_width, ple_conv;
    float eps;
    enum activation gate;
    struct ngram_args ngram;
    struct gqa_args attn;
    struct rope rope;
    struct indexer indexer;
    struct moe_args experts;
};

/* Tensors of a layer's part from here on. */
static void into(struct build *b, const struct hybrid *f, int layer, const char *part)
{
    b_prefix(b, "%slayers.%d.%s", f->root, layer, part);
}

/* ---- streams ---- */

static val stream_norm(struct build *b, val h, const char *name, const struct dims *d)
{
    int w = w_vec_as(b, name, h.width, TENSOR_ADD_ONE);
    return b_norm(b, h, NORM_RMS, d->D, w, -1, d->eps, 1);
}

/* A sub-layer's input from the normed streams n. */
static val collapsed(struct build *b, val n, const struct dims *d)
{
    val low = b_linear(b, n, "input_mix_weight_down", d->low), x = VIEW_NONE;
    low = e_fn(b, EW_SILU, e_affine(b, low, 1.0f / (float)d->hc, 0));
    val mix = b_linear(b, low, "input_mix_weight_up", n.width);
    for (int s = 0; s < d->hc && !b_failed(b); s++) {
        val own = e_fn(b, EW_SIGMOID, b_slice(mix, s * d->D, d->D));
        own = e_mul(b, own, b_slice(n, s * d->D, d->D));
        x = s ? e_add(b, x, own) : own;
    }
    return e_affine(b, x, 1.0f / (float)d->hc, 0);
}

/* What of a sub-layer's output each stream takes. */
static val injected(struct build *b, val n, const struct dims *d)
{
    val w = e_affine(b, b_linear(b, n, "block_inject_weight", d->hc), 1.0f / (float)d->hc, 0);
    return e_affine(b, e_fn(b, EW_SIGMOID, w), 2, 0);
}

/* ---- sub-layers ---- */

static val linear_attention(struct build *b, val x, const struct dims *d)
{
    int k = d->H * d->K, v = d->Hv * d->V, n = 2 * k + v;
    val u = b_linear(b, x, "in_proj_qkv", n), z = b_linear(b, x, "in_proj_z", v);
    val beta = b_linear(b, x, "in_proj_b", d->Hv), a = b_linear(b, x, "in_proj_a", d->Hv);
    u = b_conv(b, u, w_filter(b, "conv1d.weight", n, d->conv), -1, d->conv, ACT_SILU);
    beta = e_fn(b, EW_SIGMOID, beta);
    val o = b_gated_delta(b, &(struct gated_delta){
        .q = b_l2(b, b_slice(u, 0, k), d->K), .k = b_l2(b, b_slice(u, k, k), d->K),
        .v = b_slice(u, 2 * k, v), .alpha = b_decay_gate(b, a, "A_log", d->Hv, "dt_bias"),
        .beta = beta, .H = d->H, .Hv = d->Hv, .K = d->K, .V = d->V});
    o = b_gated_norm(b, o, z, NORM_RMS, d->V, w_vec(b, "norm.weight", d->V), -1, d->eps, d->gate,
                     false);
    return b_linear(b, o, "out_proj", d->D);
}

/* The numbers of the blocks that a row attends to. A block's mean lies in its last row, and turns
 * as its first. */
static val chosen(struct build *b, val x, const struct dims *d)
{
    const struct indexer *i = &d->indexer;
    b_into(b, "indexer.");
    val qk = b_linear(b, x, "index_qk_proj", (i->heads + 1) * i->dim);
    val q = b_slice(qk, 0, i->heads * i->dim), k = b_slice(qk, i->heads * i->dim, i->dim);
    int wq = w_vec_as(b, "q_layernorm.weight", i->dim, TENSOR_ADD_ONE);
    int wk = w_vec_as(b, "k_layernorm.weight", i->dim, TENSOR_ADD_ONE);
    q = b_norm(b, q, NORM_RMS, i->dim, wq, -1, d->eps, 1);
    k = b_norm(b, b_pool(b, k, VIEW_NONE, -1, i->block), NORM_RMS, i->dim, wk, -1, d->eps, 1);
    return b_attention(b, &(struct attention_args){
        .kind = OP_INDEXER, .q = b_rotary(b, q, &i->rope), .k = b_rotary(b, k, &i->block_rope),
        .heads = i->heads, .kv_heads = 1, .dk = i->dim, .dv = 1, .block = i->block,
        .count = i->count, .scale = (float)(1 / sqrt(i->dim))});
}

static val attention(struct build *b, val x, const struct hybrid *f, int layer,
                     const struct dims *d)
{
    struct gqa_args a = d->attn;
    if (!b_require(b, d->indexer.heads > 0, "layer %d chooses blocks, and there is no "
                   "indexer_n_heads", layer))
        return VIEW_NONE;
    a.chosen = chosen(b, x, d);
    a.block = d->indexer.block;
    into(b, f, layer, "self_attn.");
    return b_gqa(b, x, &a);
}

static bool is_linear(struct build *b, int layer, const struct dims *d)
{
    static const char *const sparse[] = {"full_attention", "attention", "indexed_attention",
                                         "qwen_sparse_attention"};
    if (!cfg_has(b, "layer_types"))
        return (layer + 1) % d->every != 0;
    const char *name = config_str_at(cfg(b), "layer_types", layer, b_err(b));
    for (size_t i = 0; name && i < ARRAY_LEN(sparse); i++)
        if (!strcmp(name, sparse[i]))
            return false;
    b_require(b, name && !strcmp(name, "linear_attention"),
              "layer_types[%d] \"%s\" is not linear_attention or indexed_attention", layer,
              name ? name : "");
    return true;
}

static val mixer(struct build *b, val x, const struct hybrid *f, int layer, const struct dims *d)
{
    bool linear = is_linear(b, layer, d);
    b_into(b, linear ? "linear_attn." : "self_attn.");
    return linear ? linear_attention(b, x, d) : attention(b, x, f, layer, d);
}

static val ffn(struct build *b, val x, const struct dims *d)
{
    b_into(b, "mlp.");
    val y = b_moe(b, x, &d->experts);
    val own = b_swiglu(b, x, "shared_expert.gate_proj", "shared_expert.up_proj",
                       "shared_expert.down_proj", d->shared, "silu");
    val gate = e_fn(b, EW_SIGMOID, b_linear(b, x, "shared_expert_gate", 1));
    return e_add(b, y, e_mul(b, own, gate));
}

/* ---- n-grams ---- */

/* sign(g) sqrt(max(|g|, 1e-6)); the sign by a product that saturates. */
static val signed_root(struct build *b, val g)
{
    val sign = e_min(b, e_max(b, e_affine(b, g, 1e38f, 0), -1), 1);
    return e_mul(b, e_fn(b, EW_SQRT, e_max(b, e_fn(b, EW_ABS, g), 1e-6f)), sign);
}

static val with_ngrams(struct build *b, const struct hybrid *f, val h, int layer, struct dims *d)
{
    int size = (d->ple_conv - 1) * d->ngram.size + 1;
    into(b, f, layer, "ple.ple_embedding.");
    val e = b_ngram(b, &d->ngram);
    d->ngram.index++;
    into(b, f, layer, "ple.");
    val k = b_linear(b, e, "key_proj", d->hc * d->D), v = b_linear(b, e, "value_proj", d->D);
    k = stream_norm(b, k, "norm_key.weight", d);
    val q = stream_norm(b, h, "norm_query.weight", d);
    val g = b_groupsum(b, e_mul(b, k, q), d->D, (float)(1 / sqrt(d->D)));
    g = e_fn(b, EW_SIGMOID, signed_root(b, g));
    val u = e_mul(b, e_tile(b, v, d->hc), g);
    val c = stream_norm(b, u, "norm_conv.weight", d);
    c = b_conv(b, c, w_filter_apart(b, "conv1d.weight", d->hc * d->D, d->ple_conv, d->ngram.size),
               -1, size, ACT_SILU);
    return e_add(b, h, e_add(b, u, c));
}

/* ---- frame ---- */

static val sub_layer(struct build *b, const struct hybrid *f, val h, int layer, bool mix,
                     const struct dims *d)
{
    into(b, f, layer, mix ? "attn_hyper_connection." : "mlp_hyper_connection.");
    val n = stream_norm(b, h, "hc_norm.weight", d);
    val x = collapsed(b, n, d), w = injected(b, n, d);
    into(b, f, layer, "");
    val y = mix ? mixer(b, x, f, layer, d) : ffn(b, x, d);
    return e_add(b, h, e_mul(b, e_tile(b, y, d->hc), w));
}

static void run(struct build *b, const struct hybrid *f, struct dims *d)
{
    val h = e_tile(b, b_hybrid_open(b, f), d->hc);
    for (int i = 0; i < f->layers && !b_failed(b); i++) {
        b_layer(b, i);
        if (b_listed(b, "ple_layer_ids", i + 1))
            h = with_ngrams(b, f, h, i, d);
        h = sub_layer(b, f, h, i, true, d);
        h = sub_layer(b, f, h, i, false, d);
    }
    b_prefix(b, "%shyper_connection_mixer.", f->root);
    h = collapsed(b, stream_norm(b, b_gather(b, h), "hc_norm.weight", d), d);
    b_hybrid_logits(b, f, h);
}

static void read_experts(struct build *b, struct dims *d)
{
    d->shared = b_width(b, "shared_expert_intermediate_size", 512);
    d->experts = (struct moe_args){
        .n = b_count(b, "num_experts", 512), .k = b_count(b, "num_experts_per_tok", 10),
        .inner = b_width(b, "moe_intermediate_size", 512),
        .norm = cfg_bool(b, "norm_topk_prob", true), .router = "gate", .experts = "experts",
        .gate = "gate_proj", .up = "up_proj", .down = "down_proj",
        .packed_in = "experts.gate_up_proj", .packed_out = "experts.down_proj", .act = ACT_SILU};
    b_require(b, d->shared > 0, "shared_expert_intermediate_size 0");
}

/* The id that ends a text, the first of several; -1: none. */
static int end_of_text(struct build *b)
{
    if (config_len(cfg(b), "eos_token_id") > 0)
        return (int)MIN(config_int_at(cfg(b), "eos_token_id", 0, -1, b_err(b)), INT32_MAX);
    return cfg_has(b, "eos_token_id") ? (int)cfg_int(b, "eos_token_id", 0) : -1;
}

static void read_ngrams(struct build *b, struct dims *d, int layers)
{
    struct ngram_args *g = &d->ngram;
    *g = (struct ngram_args){.vocab = b_width(b, "vocab_size", 248320),
                             .size = b_count(b, "ngram_size", 3),
                             .heads = b_count(b, "heads_per_ngram", 8),
                             .shards = b_count(b, "split_ngram_parts", 512),
                             .divisor = b_width(b, "make_ngram_vocab_size_divisible_by", 128),
                             .base = cfg_int(b, "ngram_vocab_size_base", 20000000),
                             .seed = cfg_int(b, "seed", 1234)};
    d->ple_width = b_width(b, "ple_embed_dim", d->D);
    d->ple_conv = b_count(b, "ple_conv_kernel_size", 4);
    if (config_len(cfg(b), "ple_layer_ids") <= 0 || b_failed(b))
        return;
    for (int64_t i = 0; i < config_len(cfg(b), "ple_layer_ids"); i++)
        b_require(b, config_int_at(cfg(b), "ple_layer_ids", i, 0, b_err(b)) >= 1 &&
                         config_int_at(cfg(b), "ple_layer_ids", i, 0, b_err(b)) <= layers,
                  "ple_layer_ids[%lld] is not a layer, 1 to %d", (long long)i, layers);
    int heads = (MIN(g->size, COUNT_MAX) - 1) * g->heads;
    g->eos = end_of_text(b);
    if (b_require(b, heads > 0 && d->ple_width % heads == 0,
                  "ple_embed_dim %d for %d heads of n-grams", d->ple_width, heads))
        g->width = d->ple_width / heads;
    b_require(b, d->ple_conv >= 1 && (d->ple_conv - 1) * g->size < LIMIT_CONV_SIZE,
              "ple_conv_kernel_size %d, %d tokens apart: at most %d tokens", d->ple_conv, g->size,
              LIMIT_CONV_SIZE);
}

static void read_indexer(struct build *b, struct dims *d)
{
    struct indexer *i = &d->indexer;
    int budget = b_width(b, "indexer_budget", 0), kv = b_count(b, "indexer_kv_heads", 1);
    *i = (struct indexer){.heads = b_count(b, "indexer_n_heads", 0),
                          .dim = b_count(b, "indexer_head_dim", 0),
                          .block = b_count(b, "indexer_compress_ratio", 0), .rope = d->rope};
    if (i->heads == 0 && i->dim == 0 && i->block == 0 && budget == 0)
        return;
    b_require(b, kv == 1, "indexer_kv_heads %d, 1 expected", kv);
    if (!b_require(b, i->heads > 0 && i->block > 0 && budget > 0 && budget % i->block == 0,
                   "an indexer of %d heads that chooses %d tokens in blocks of %d", i->heads,
                   budget, i->block) ||
        !b_require(b, i->dim > 0 && d->rope.rot <= i->dim,
                   "%d columns turn in an indexer's head of %d", d->rope.rot, i->dim))
        return;
    i->count = budget / i->block;
    i->rope.head = i->dim;
    i->block_rope = i->rope;
    i->block_rope.back = i->block - 1;
}

static void build(struct build *b)
{
    b_text_config(b);
    struct hybrid f = b_hybrid_read(b, 40, 1e-6);
    struct dims d = {.D = f.D, .eps = f.eps, .hc = b_count(b, "hc_count", 4),
                     .low = b_width(b, "hc_lowrank", 320),
                     .H = b_count(b, "linear_num_key_heads", 16),
                     .Hv = b_count(b, "linear_num_value_heads", 32),
                     .K = b_count(b, "linear_key_head_dim", 128),
                     .V = b_count(b, "linear_value_head_dim", 128),
                     .conv = b_count(b, "linear_conv_kernel_dim", 4),
                     .every = b_count(b, "full_attention_interval", 4),
                     .attn = b_gqa_read(b, 16, 2)};
    read_experts(b, &d);
    read_ngrams(b, &d, f.layers);
    b_rope_read(b, &d.rope, d.attn.d, 10000, 1);
    read_indexer(b, &d);
    d.attn.gate = true;
    d.attn.q_norm = "q_norm";
    d.attn.k_norm = "k_norm";
    d.attn.norm = TENSOR_ADD_ONE;
    d.attn.rope = &d.rope;
    d.attn.eps = f.eps;
    const char *gate = cfg_str(b, "output_gate_type", "silu");
    d.gate = activation_parse(gate);
    b_require(b, d.gate == ACT_SILU || d.gate == ACT_SIGMOID,
              "output_gate_type \"%s\" is not silu or sigmoid", gate);
    b_check_layer_types(b, f.layers);
    b_same_act(b, "hidden_act", ACT_SILU);
    cfg_irrelevant(b, "intermediate_size number_of_conv_states mlp_only_layers attn_output_gate "
                      "mtp_num_hidden_layers mtp_use_dedicated_embeddings mamba_ssm_dtype");
    f.root = b_text_root(b);
    f.family = &d;
    if (b_require(b, d.H > 0 && d.Hv > 0 && d.Hv % d.H == 0 && d.every > 0,
                  "%d value heads for %d key heads, attention every %d layers", d.Hv, d.H,
                  d.every) &&
        b_require(b, d.hc > 1 && d.hc <= LIMIT_WIDTH / MAX(d.D, 1) && d.low > 0,
                  "hc_count %d streams of %d, hc_lowrank %d", d.hc, d.D, d.low) &&
        !b_failed(b))
        run(b, &f, &d);
}

const struct arch arch_qwen4_exp = {"qwen4_exp", build};
const struct arch arch_qwen4_exp_text = {"qwen4_exp_text", build};
