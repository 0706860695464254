/* Pieces of softmax-like mixers, and the Gated DeltaNet mixer that several families embed. */
#include <stdio.h>

#include "models/build_int.h"

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

val b_qk_norm(struct build *b, val x, const char *name, int d, bool per_channel)
{
    return b_norm(b, x, NORM_RMS, d, w_vec(b, name, per_channel ? x.width : d), -1, 1e-5f, 1);
}

val b_log_forget(struct build *b, val z)
{
    val f = e_fn(b, EW_LOGSIGMOID, z);
    return b_rnn(b, e_affine(b, f, 0, 1), f); /* a recurrence with the factor 1 */
}

val b_attention_special(struct build *b, const struct special_args *a)
{
    int outputs = a->kind == OP_DELTAFORMER ? 2 : a->kind == OP_NSA ? 3 : 1;
    bool ring = a->kind == OP_PARALLAX && a->window > 0;
    int64_t row = 0;
    if (b_failed(b))
        return VIEW_NONE;
    val out = build_act(b, ROWS_TOKENS, outputs * a->heads * a->dv), in[6];
    for (int i = 0; i < 6; i++)
        in[i] = a->in[i];
    if (a->kind == OP_DELTAFORMER) /* u is written and cached by the op itself */
        in[2] = b_slice(out, a->heads * a->dv, a->heads * a->dv);
    for (int i = 1; i < 6; i++)
        row += view_given(in[i]) ? in[i].width : 0;
    int section = build_section(b, ring ? "window" : "kv", ring ? SECTION_FIXED : SECTION_PAGED,
                                ring ? row * a->window : row);
    for (int keep = 0; keep < 2; keep++) {
        struct op *op = build_op_to(b, keep ? OP_ATTENTION_KEEP : a->kind, keep ? VIEW_NONE : out);
        for (int i = 0; i < 6; i++)
            op->in[i] = in[i];
        op->section = section;
        op->p.attention.heads = a->heads;
        op->p.attention.kv_heads = op->p.attention.v_heads = a->kv_heads;
        op->p.attention.dk = a->dk;
        op->p.attention.dv = a->dv;
        op->p.attention.window = a->window;
        op->p.attention.block = a->block;
        op->p.attention.count = a->count;
        op->p.attention.scale = a->scale;
    }
    return out;
}

/* W_uk or W_uv of every head: rows [first, first + n) of each head's dn + dv, as blocks. Blocks
 * start at multiples of 16 rows; keys are stored turned, so that block h maps dn inputs to rank
 * outputs. */
static int up_blocks(struct build *b, const struct latent_args *a, bool keys)
{
    int each = a->dn + a->dv, n = keys ? a->rank : a->dv;
    int w = w_matrix(b, a->up, (int64_t)a->H * n, keys ? a->dn : a->rank);
    for (int h = 0; h < a->H; h++)
        w_block(b, w, a->up, &(struct block_part){
            .tensor_rows = (int64_t)a->H * each, .tensor_cols = a->rank,
            .row0 = (int64_t)h * each + (keys ? 0 : a->dn), .rows = keys ? a->dn : a->dv,
            .at = (int64_t)h * n, .transposed = keys});
    return w;
}

/* Query columns per head [nope dn | rope dr] -> [latent rank | rope dr]. */
static val latent_query(struct build *b, const struct latent_args *a)
{
    int each = a->dn + a->dr, wide = a->rank + a->dr, H = a->H;
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
    if (a->theta > 0)
        rope = b_rope(b, rope, a->dr, a->dr, a->theta, false);
    val all = e_cat(b, 2, (val[]){b_blocks(b, nope, H, up_blocks(b, a, true), -1, a->rank, false),
                                  rope});
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
                                  a->H > 0 && a->rank > 0 && a->dn > 0 && a->dr >= 0 && a->dv > 0 &&
                                      a->rank % 16 == 0 && a->dv % 16 == 0,
                                  "latent attention: rank %d and value width %d must be multiples "
                                  "of 16",
                                  a->rank, a->dv))
        return VIEW_NONE;
    val k = a->dr ? e_cat(b, 2, (val[]){a->latent, a->rope}) : a->latent;
    val o = b_attention(b, &(struct attention_args){
        .q = latent_query(b, a), .k = k, .v = VIEW_NONE, .bias = VIEW_NONE, .heads = a->H,
        .kv_heads = 1, .dk = a->rank + a->dr, .dv = a->rank, .scale = a->scale});
    return b_blocks(b, o, a->H, up_blocks(b, a, false), -1, a->dv, false);
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

val b_gdn(struct build *b, val x, const struct gdn_args *d)
{
    val q = b_conv_proj(b, x, "q", d->H * d->K, d->conv, ACT_SILU);
    val k = b_conv_proj(b, x, "k", d->H * d->K, d->conv, ACT_SILU);
    val v = b_conv_proj(b, x, "v", d->Hv * d->V, d->conv, ACT_SILU);
    q = b_l2(b, q, d->K, (float)(1 / sqrt(d->K)));
    k = b_l2(b, k, d->K, 1);

    val a = b_linear(b, x, "a_proj", d->Hv), beta = b_linear(b, x, "b_proj", d->Hv);
    beta = e_affine(b, e_fn(b, EW_SIGMOID, beta), d->neg ? 2 : 1, 0);
    val alpha = b_decay_gate(b, a, "A_log", d->Hv, "dt_bias");

    val o = b_gated_delta(b, &(struct gated_delta){
        .q = q, .k = k, .v = v, .alpha = alpha, .beta = beta, .H = d->H, .Hv = d->Hv, .K = d->K,
        .V = d->V});

    val gate = d->gate ? b_linear(b, x, "g_proj", d->Hv * d->V) : VIEW_NONE;
    o = b_head_norm(b, o, d->V, "o_norm.weight", gate, ACT_SILU, d->eps);
    return b_linear(b, o, "o_proj", d->D);
}
