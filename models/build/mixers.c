/* Pieces that several mixers share: projections, gates, feature maps, states, output norms.
 * Thread: loading. */
#include <stdio.h>

#include "models/build/build_int.h"

void b_unused(struct build *b, const char *name)
{
    const char *start = build_name(b, name, "");
    for (size_t i = 0; b->ck && i < checkpoint_count(b->ck); i++) {
        const char *full = checkpoint_at(b->ck, i)->name;
        if (!strncmp(full, start, strlen(start)))
            checkpoint_find(b->ck, full)->used = true;
    }
}

/* ---- inputs ---- */

bool b_head_split(struct build *b, int hidden, double expand_k, double expand_v,
                  struct head_split *s)
{
    double keys = hidden * cfg_num(b, "expand_k", expand_k);
    double values = hidden * cfg_num(b, "expand_v", expand_v);
    if (!b_require(b, keys >= 1 && keys < LIMIT_WIDTH && values >= 1 && values < LIMIT_WIDTH,
                   "keys of %g and values of %g columns", keys, values) ||
        !b_require(b, s->H > 0 && s->Hkv > 0 && s->H % s->Hkv == 0 && (int)keys % s->H == 0 &&
                   (int)values % s->H == 0, "keys of %d and values of %d in %d heads on %d",
                   (int)keys, (int)values, s->H, s->Hkv))
        return false;
    s->K = (int)keys / s->H;
    s->V = (int)values / s->H;
    return !b_failed(b);
}

int b_conv_size(struct build *b, bool dflt)
{
    int size = (int)cfg_int(b, "conv_size", 4);
    return cfg_bool(b, "use_short_conv", dflt) ? size : 0;
}

val b_conv_proj(struct build *b, val x, const char *name, int width, int size,
                enum activation act)
{
    char proj[64], conv[64];
    snprintf(proj, sizeof proj, "%s_proj", name);
    snprintf(conv, sizeof conv, "%s_conv1d.weight", name);
    val y = b_linear(b, x, proj, width);
    if (size == 0)
        return e_act(b, act, y);
    return b_conv(b, y, w_filter(b, conv, width, size), -1, size, act);
}

val b_conv_where(struct build *b, val x, val mask, int weight, int size, enum activation act)
{
    int before = b->plan->n_ops;
    val out = b_conv(b, x, weight, -1, size, act);
    if (b->plan->n_ops > before)
        b->plan->ops[before].in[CONV_mask] = mask;
    return out;
}

val b_low_rank(struct build *b, val x, const char *name, int rank, int width, bool bias)
{
    char down[64], weight[64], up[64];
    snprintf(down, sizeof down, "%s.0", name);
    snprintf(weight, sizeof weight, "%s.0.weight", name);
    snprintf(up, sizeof up, "%s.1", name);
    val y = b_linear(b, x, down, (int)b_rows(b, weight, rank));
    return bias ? b_linear_bias(b, y, up, width) : b_linear(b, y, up, width);
}

val b_decay_gate(struct build *b, val z, const char *A_log, int heads, const char *dt_bias)
{
    z = e_fn(b, EW_SOFTPLUS, e_addw(b, z, w_vec(b, dt_bias, z.width)));
    return e_fn(b, EW_EXP, e_mul_group_w(b, z, w_vec_as(b, A_log, heads, TENSOR_NEG_EXP)));
}

val b_bounded_gate(struct build *b, val z, const char *A_log, int heads, const char *dt_bias,
                   double bound)
{
    z = e_addw(b, z, w_vec(b, dt_bias, z.width));
    z = e_fn(b, EW_SIGMOID, e_mul_group_w(b, z, w_vec_as(b, A_log, heads, TENSOR_EXP)));
    return e_fn(b, EW_EXP, e_affine(b, z, (float)bound, 0));
}

val b_repeat_heads(struct build *b, val x, int from, int to)
{
    if (from == to || b_failed(b) ||
        !b_require(b, from > 0 && to % from == 0 && x.width % from == 0, "%d heads for %d", from,
                   to))
        return x;
    int width = x.width / from, n = to * width;
    float *index = arena_array(&b->m->arena, (size_t)n, sizeof *index);
    if (!index) {
        b_fail(b, E_NOMEM, "no memory to repeat %d heads", to);
        return VIEW_NONE;
    }
    for (int i = 0; i < n; i++)
        index[i] = (float)(i / width / (to / from) * width + i % width);
    return b_columns(b, x, index, n);
}

/* x + 1 above 0, e^x below: the two halves are 0 and 1 where they do not apply. */
val b_elu1(struct build *b, val x)
{
    return e_add(b, e_max(b, x, 0), e_fn(b, EW_EXP, e_min(b, x, 0)));
}

val b_feature(struct build *b, val x, const char *name)
{
    if (!name)
        return x;
    if (!strcmp(name, "logsigmoid"))
        return e_fn(b, EW_LOGSIGMOID, x);
    if (!strcmp(name, "gelu")) /* the tanh form, unlike an MLP's */
        return e_fn(b, EW_GELU_TANH, x);
    if (!activation_known(name))
        b_fail(b, E_UNSUPPORTED, "config.json: feature_map \"%s\" is not known", name);
    return e_act(b, activation_parse(name), x);
}

/* Columns index[f] of every head of x; the constant 1 is the last column of x. */
static val pick(struct build *b, val x, int heads, const struct products *p, const int *index)
{
    size_t n = (size_t)heads * (size_t)p->F;
    float *at = b_failed(b) ? NULL : arena_array(&b->m->arena, n, sizeof *at);
    if (!at) {
        b_fail(b, E_NOMEM, "no memory for the %zu products of a feature map", n);
        return VIEW_NONE;
    }
    for (size_t i = 0; i < n; i++) {
        int c = index[i % (size_t)p->F], h = (int)(i / (size_t)p->F);
        at[i] = (float)(c == p->d ? heads * p->d : h * p->d + c);
    }
    return b_columns(b, x, at, (int)n);
}

val b_products(struct build *b, val x, const struct products *p)
{
    if (b_failed(b) || !b_require(b, p->d > 0 && x.width % p->d == 0 &&
                                     (int64_t)x.width / p->d * p->F < LIMIT_WIDTH,
                                  "a feature map of %d columns in heads of %d", x.width, p->d))
        return VIEW_NONE;
    int heads = x.width / p->d;
    bool one = false;
    for (int f = 0; f < p->F; f++)
        one |= p->left[f] == p->d || p->right[f] == p->d;
    if (one)
        x = e_cat(b, 2, (val[]){x, e_affine(b, b_slice(x, 0, 1), 0, 1)});
    val y = e_mul(b, pick(b, x, heads, p, p->left), pick(b, x, heads, p, p->right));
    return e_mulw(b, y, w_values(b, p->scale, p->F));
}

val b_per_head(struct build *b, val x, const char *name, int d, int rows, bool bias)
{
    char weight[64], off[64];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(off, sizeof off, "%s.bias", name);
    int w = w_matrix(b, weight, rows, d);
    w_rows(b, w, weight, rows, 0, rows, 0, false);
    return b_blocks(b, x, x.width / MAX(d, 1), w, bias ? w_vec(b, off, rows) : -1, rows, true);
}

val b_linear_weight(struct build *b, val x, int weight, int bias)
{
    int rows = weight >= 0 ? (int)b->plan->weights[weight].rows : 0;
    val out = build_act(b, build_rows(b, x), rows);
    struct op *op = build_op(b, OP_LINEAR, out);
    op->in[LINEAR_x] = x;
    op->w[LINEAR_matrix] = weight;
    op->w[LINEAR_bias] = bias;
    return out;
}

/* ---- states ---- */

val b_gated_delta(struct build *b, const struct gated_delta *a)
{
    bool channels = a->alpha.width != a->Hv;
    return b_delta(b, &(struct delta_args){
        .q = a->q, .k = a->k, .v = a->v, .w = a->alpha, .a = a->predict, .b = a->beta,
        .k_heads = a->H, .state_heads = a->Hv, .K = a->K, .V = a->V,
        .decay = channels ? DECAY_KEY : DECAY_SCALAR, .decay_first = true,
        .scale = (float)(1 / sqrt(a->K))});
}

val b_slots(struct build *b, const struct slots_args *a)
{
    struct decay_args keys = {
        .q = a->q, .k = a->k, .v = a->s, .d = a->f, .q_heads = a->H, .state_heads = a->Hkv,
        .K = a->K, .V = a->M, .decay = DECAY_VALUE, .scale = a->scale};
    struct decay_args values = keys;
    values.q = b_softmax(b, b_decay(b, &keys), a->M, 1);
    values.k = a->s;
    values.v = a->v;
    values.K = a->M;
    values.V = a->V;
    values.decay = DECAY_KEY;
    values.scale = 1;
    return b_decay(b, &values);
}

val b_square(struct build *b, const struct square_args *a)
{
    if (b_failed(b) || !b_require(b, a->Hkv > 0 && a->H % a->Hkv == 0 && a->H / a->Hkv <= LIMIT_SQUARE_PER &&
                                  a->q.width == a->H * a->d && a->k.width == a->Hkv * a->d &&
                                  a->v.width == a->Hkv * a->V, "%d heads on %d of %d columns", a->H,
                                  a->Hkv, a->d))
        return VIEW_NONE;
    val out = build_act(b, ROWS_TOKENS, a->H * a->V);
    struct op *op = build_op(b, OP_SQUARE, out);
    op->in[SQUARE_q] = a->q;
    op->in[SQUARE_k] = a->k;
    op->in[SQUARE_v] = a->v;
    op->p.square.heads = a->H;
    op->p.square.kv_heads = a->Hkv;
    op->p.square.d = a->d;
    op->p.square.V = a->V;
    op->p.square.eps = a->eps;
    op->section = build_section(b, "S", SECTION_FIXED,
                                (int64_t)a->Hkv * (a->d * (a->d + 1)) * (a->V + 1));
    return out;
}

/* ---- outputs ---- */

/* Weight of an output norm, none if config elementwise_affine is false. */
static int norm_weight(struct build *b, const char *name, int n)
{
    return cfg_bool(b, "elementwise_affine", true) ? w_vec(b, name, n) : -1;
}

val b_head_norm(struct build *b, val o, int V, const char *weight, val gate, enum activation act,
                float eps)
{
    return b_gated_norm(b, o, gate, NORM_RMS, V, norm_weight(b, weight, V), -1, eps, act, false);
}
