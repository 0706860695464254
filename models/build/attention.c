/* Pieces of softmax-like mixers, and the Gated DeltaNet mixer that several families embed. */
#include <stdio.h>

#include "models/build/build_int.h"

struct softmax_dims b_softmax_dims(struct build *b, int heads)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), H = (int)cfg_int(b, "num_heads", heads);
    int kv = (int)cfg_int(b, "num_kv_heads", H);
    struct softmax_dims d = {.D = D, .H = H, .kv = kv, .bias = cfg_bool(b, "qkv_bias", false),
                             .d = (int)cfg_int(b, "head_dim", H > 0 ? D / H : 0),
                             .qk_norm = cfg_bool(b, "qk_norm", false),
                             .theta = cfg_num(b, "rope_theta", 10000),
                             .window = (int)cfg_int(b, "window_size", 0)};
    if (b_require(b, H > 0 && kv > 0 && H % kv == 0 && d.d > 0 && d.d <= 1024,
                  "%d heads of %d with %d key heads", H, d.d, kv))
        d.scale = (float)(1 / sqrt(d.d));
    else
        d = (struct softmax_dims){.D = 1, .H = 1, .kv = 1, .d = 1};
    cfg_irrelevant(b, "elementwise_affine");
    return d;
}

void b_join(char *out, size_t size, const char *first, const char *second)
{
    snprintf(out, size, "%s%s", first, second);
}

val b_project(struct build *b, val x, const char *name, int rows, bool bias)
{
    return bias ? b_linear_bias(b, x, name, rows) : b_linear(b, x, name, rows);
}

val b_log_forget(struct build *b, val z)
{
    val f = e_fn(b, EW_LOGSIGMOID, z);
    return b_rnn(b, e_affine(b, f, 0, 1), f); /* a recurrence with the factor 1 */
}

struct attention_args b_softmax_open(struct build *b, val x, const struct softmax_dims *d)
{
    int kv = d->kv * d->d, v = d->v_heads ? d->v_heads * d->d : kv;
    val q = b_project(b, x, "q_proj", d->H * d->d, d->bias);
    val k = b_project(b, x, "k_proj", kv, d->bias);
    struct attention_args a = {.v = b_project(b, x, "v_proj", v, d->bias),
                               .heads = d->H, .kv_heads = d->kv, .v_heads = d->v_heads, .dk = d->d,
                               .dv = d->d, .window = d->window, .scale = d->scale};
    a.q = b_softmax_turned(b, q, "q_norm.weight", d);
    a.k = b_softmax_turned(b, k, "k_norm.weight", d);
    return a;
}

val b_softmax_turned(struct build *b, val x, const char *norm, const struct softmax_dims *d)
{
    if (d->qk_norm)
        x = b_norm(b, x, NORM_RMS, d->d, w_vec(b, norm, d->wide_norm ? x.width : d->d), -1, 1e-5f,
                   1);
    return d->theta > 0 ? b_rope(b, x, d->d, d->d, d->theta, false) : x;
}

val b_softmax_attention(struct build *b, val x, const struct softmax_dims *d)
{
    struct attention_args a = b_softmax_open(b, x, d);
    return b_linear(b, b_attention(b, &a), "o_proj", d->D);
}

/* W_uk or W_uv of every head on its part of x: rows [first, first + n) of each head's dn + dv, as
 * blocks. Keys are stored turned, so that block h maps dn inputs to rank outputs; a GGUF file has
 * both as two tensors, the keys' turned already. */
static val up(struct build *b, val x, const struct latent_args *a, bool keys)
{
    int each = a->dn + a->dv, n = keys ? a->rank : a->dv, rows = b_padded(n);
    const char *own = keys ? "k_b_proj.weight" : "v_b_proj.weight";
    bool split = b_has(b, own, false);
    int w = w_matrix(b, split ? own : a->up, (int64_t)a->H * rows, keys ? a->dn : a->rank);
    for (int h = 0; h < a->H && split; h++)
        w_block(b, w, own, &(struct block_part){
            .tensor_rows = (int64_t)a->H * n, .tensor_cols = keys ? a->dn : a->rank,
            .row0 = (int64_t)h * n, .rows = n, .at = (int64_t)h * rows});
    for (int h = 0; h < a->H && !split; h++)
        w_block(b, w, a->up, &(struct block_part){
            .tensor_rows = (int64_t)a->H * each, .tensor_cols = a->rank,
            .row0 = (int64_t)h * each + (keys ? 0 : a->dn), .rows = keys ? a->dn : a->dv,
            .at = (int64_t)h * rows, .transposed = keys});
    return b_cut(b, b_blocks(b, x, a->H, w, -1, rows, false), a->H, n);
}

/* Query columns per head [nope dn | rope dr] -> [latent rank | rope dr]. */
static val latent_query(struct build *b, const struct latent_args *a)
{
    int each = a->dn + a->dr, wide = a->rank + a->dr, H = a->H;
    if (a->dr == 0)
        return up(b, a->q, a, true);
    float *at = mem_array((size_t)H * (size_t)(wide + each), sizeof *at);
    if (!at) {
        b_fail(b, E_NOMEM, "no memory for %d heads", H);
        return VIEW_NONE;
    }
    for (int h = 0; h < H; h++)
        for (int i = 0; i < a->dn; i++)
            at[h * a->dn + i] = (float)(h * each + i);
    val nope = b_columns(b, a->q, at, H * a->dn);
    for (int h = 0; h < H; h++)
        for (int i = 0; i < a->dr; i++)
            at[h * a->dr + i] = (float)(h * each + a->dn + i);
    val rope = b_columns(b, a->q, at, H * a->dr);
    if (a->turn)
        rope = b_rotary(b, rope, a->turn);
    else if (a->theta > 0)
        rope = b_rope(b, rope, a->dr, a->dr, a->theta, false);
    val all = e_cat(b, 2, (val[]){up(b, nope, a, true), rope});
    for (int h = 0; h < H; h++)
        for (int i = 0; i < wide; i++)
            at[h * wide + i] = (float)(i < a->rank ? h * a->rank + i
                                                   : H * a->rank + h * a->dr + i - a->rank);
    val q = b_columns(b, all, at, H * wide);
    mem_free(at);
    return q;
}

val b_latent_attention(struct build *b, const struct latent_args *a)
{
    if (b_failed(b) || !b_require(b,
                                  a->H > 0 && a->rank > 0 && a->dn > 0 && a->dr >= 0 && a->dv > 0,
                                  "latent attention: %d heads, rank %d, key width %d, value width "
                                  "%d", a->H, a->rank, a->dn, a->dv))
        return VIEW_NONE;
    val k = a->dr ? e_cat(b, 2, (val[]){a->latent, a->rope}) : a->latent;
    val o = b_attention(b, &(struct attention_args){
        .q = latent_query(b, a), .k = k, .heads = a->H, .kv_heads = 1, .dk = a->rank + a->dr,
        .dv = a->rank, .scale = a->scale, .kind = a->chosen.width > 0 ? OP_INDEXED : OP_ATTENTION,
        .asked = a->chosen, .block = a->block, .count = a->chosen.width});
    return up(b, o, a, false);
}

val b_linear_as(struct build *b, val x, const char *weight, int rows, enum transform t)
{
    int w = w_matrix(b, weight, rows, x.width);
    struct binding_part *part =
        build_part(b, w, build_name(b, weight, ""), rows, 0, rows, 0, false);
    if (part)
        part->transform = t;
    return b_blocks(b, x, 1, w, -1, rows, true);
}

val b_absmax(struct build *b, val x, int group)
{
    int before = b->plan->n_ops;
    val out = b_groupsum(b, x, group, 1);
    if (!b_failed(b) && b->plan->n_ops > before)
        b->plan->ops[before].p.groupsum.absmax = true;
    return out;
}

struct gdn_args b_gdn_read(struct build *b, int heads, int head_dim, double expand_v)
{
    int H = (int)cfg_int(b, "num_heads", heads), K = (int)cfg_int(b, "head_dim", head_dim);
    return (struct gdn_args){.D = (int)cfg_int(b, "hidden_size", 2048), .H = H, .K = K,
                             .Hv = (int)cfg_int(b, "num_v_heads", H),
                             .V = (int)(K * cfg_num(b, "expand_v", expand_v)),
                             .conv = b_conv_size(b, true),
                             .neg = cfg_bool(b, "allow_neg_eigval", false),
                             .eps = (float)cfg_num(b, "norm_eps", 1e-6)};
}

struct qkv b_gdn_qkv(struct build *b, val x, const struct gdn_args *d, int steps)
{
    struct qkv p = {.q = b_conv_proj(b, x, "q", d->H * d->K, d->conv, ACT_SILU)};
    p.k = b_conv_proj(b, x, "k", steps * d->H * d->K, d->conv, ACT_SILU);
    p.v = b_conv_proj(b, x, "v", steps * d->Hv * d->V, d->conv, ACT_SILU);
    return p;
}

val b_write_gate(struct build *b, val z, bool neg)
{
    return e_affine(b, e_fn(b, EW_SIGMOID, z), neg ? 2 : 1, 0);
}

val b_gdn_out(struct build *b, val o, val gate, enum activation act, const struct gdn_args *d)
{
    return b_linear(b, b_head_norm(b, o, d->V, "o_norm.weight", gate, act, d->eps), "o_proj", d->D);
}

val b_gdn(struct build *b, val x, const struct gdn_args *d)
{
    struct qkv p = b_gdn_qkv(b, x, d, 1);
    p.q = b_l2(b, p.q, d->K);
    p.k = b_l2(b, p.k, d->K);
    val a = b_linear(b, x, "a_proj", d->Hv), beta = b_linear(b, x, "b_proj", d->Hv);
    beta = b_write_gate(b, beta, d->neg);
    val alpha = b_decay_gate(b, a, "A_log", d->Hv, "dt_bias");

    val o = b_gated_delta(b, &(struct gated_delta){
        .q = p.q, .k = p.k, .v = p.v, .alpha = alpha, .beta = beta, .H = d->H, .Hv = d->Hv,
        .K = d->K, .V = d->V});
    val gate = d->gate ? b_linear(b, x, "g_proj", d->Hv * d->V) : VIEW_NONE;
    return b_gdn_out(b, o, gate, d->sigmoid ? ACT_SIGMOID : ACT_SILU, d);
}
