/* Each op's operands, section and parameters against op_params.h: one function for every row of
 * ops.def. A sentence that was recorded stays; the functions go on, and need no error paths but
 * where a parameter is about to divide. */
#include "kernels/ngram.h"
#include "kernels/validate_int.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- words ---- */

bool walk_require(struct walk *w, bool ok, const char *fmt, ...)
{
    char text[200];
    va_list ap;
    if (ok || w->e->code)
        return ok;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(w->e, E_RANGE, "layer %d: %s: %s", w->op->layer,
            (unsigned)w->op->kind < OP_KINDS ? op_name(w->op->kind) : "no op", text);
    return false;
}

static const struct op_face *face(const struct walk *w) { return &op_faces[w->op->kind]; }

static void in_width(struct walk *w, int n, int64_t width)
{
    struct view v = w->op->in[n];
    walk_require(w, !view_given(v) || v.width == width, "%s is %d wide, %lld expected",
                 face(w)->in[n].name, v.width, (long long)width);
}

static void out_width(struct walk *w, int64_t width)
{
    walk_require(w, w->op->out.width == width, "the output is %d wide, %lld expected",
                 w->op->out.width, (long long)width);
}

static void given(struct walk *w, int n, bool wanted)
{
    walk_require(w, view_given(w->op->in[n]) == wanted, "%s is %s", face(w)->in[n].name,
                 wanted ? "missing" : "given, and not used in this form");
}

static const struct weight *weight_of(const struct walk *w, int n)
{
    return w->op->w[n] < 0 ? NULL : &w->plan->weights[w->op->w[n]];
}

static void vector(struct walk *w, int n, int64_t elems)
{
    const struct weight *x = weight_of(w, n);
    walk_require(w, !x || x->rows * x->cols == elems, "%s has %lld elements, %lld expected",
                 face(w)->w[n].name, x ? (long long)(x->rows * x->cols) : 0, (long long)elems);
}

static void matrix(struct walk *w, int n, int64_t rows, int64_t cols)
{
    const struct weight *x = weight_of(w, n);
    walk_require(w, x->rows == rows && x->cols == cols, "%s is %lld x %lld, %lld x %lld expected",
                 face(w)->w[n].name, (long long)x->rows, (long long)x->cols, (long long)rows,
                 (long long)cols);
}

static void section_elems(struct walk *w, int64_t elems)
{
    int64_t has = w->op->section < 0 ? 0 : w->plan->sections[w->op->section].elems;
    walk_require(w, has == elems, "section %d has %lld floats, %lld expected", w->op->section,
                 (long long)has, (long long)elems);
}

static bool at_least(struct walk *w, const char *what, int64_t value, int64_t least)
{
    return walk_require(w, value >= least, "%s is %lld, at least %lld", what, (long long)value,
                        (long long)least);
}

/* Of what the device's kernels have room for. */
static void at_most(struct walk *w, const char *what, int64_t value, int32_t most)
{
    if (w->limits && value > most && !w->e->code)
        err_set(w->e, E_UNSUPPORTED, "layer %d: %s: %s is %lld, this device has room for %d",
                w->op->layer, op_name(w->op->kind), what, (long long)value, most);
}
#define LIMITED(w, what, value, member) \
    at_most(w, what, value, (w)->limits ? (w)->limits->member : 0)

/* width is a whole number of groups. */
static bool grouped(struct walk *w, int32_t width, int32_t group)
{
    return at_least(w, "the group", group, 1) &&
           walk_require(w, width % group == 0, "%d columns in groups of %d", width, group);
}

/* `of` heads are shared out among `to`, or the other way round. */
static bool divides(struct walk *w, const char *what, int32_t of, int32_t to)
{
    return walk_require(w, of > 0 && to > 0 && of % to == 0, "%s: %d on %d", what, of, to);
}

/* ---- matrices ---- */

static void check_embed(struct walk *w)
{
    const struct weight *t = weight_of(w, EMBED_table);
    out_width(w, t->cols);
    walk_require(w, t->rows >= w->plan->vocab, "table has %lld rows for %d token ids",
                 (long long)t->rows, w->plan->vocab);
}

static void check_ngram(struct walk *w)
{
    const struct ngram *g = w->op->p.ngram;
    const struct weight *t = weight_of(w, NGRAM_table);
    if (!walk_require(w, g != NULL, "there is no hash") ||
        !walk_require(w, g->size >= 2 && g->size <= LIMIT_NGRAM && g->heads >= 1 &&
                             g->heads <= LIMIT_NGRAM_HEADS && g->heads % (g->size - 1) == 0,
                      "%d heads for up to %d tokens; at most %d and 2 to %d", g->heads, g->size,
                      LIMIT_NGRAM_HEADS, LIMIT_NGRAM))
        return;
    int64_t most = MAX(w->plan->vocab, (int64_t)g->eos + 1);
    walk_require(w, g->eos >= 0 && g->eos < LIMIT_VOCAB, "eos %d, 0 to %d", g->eos,
                 LIMIT_VOCAB - 1);
    for (int32_t s = 0; s < g->size; s++)
        walk_require(w, g->multiplier[s] > 0 && g->multiplier[s] <= INT64_MAX / MAX(most, 1),
                     "multiplier %d is %lld: products of %lld ids pass 63 bits", s,
                     (long long)g->multiplier[s], (long long)most);
    for (int32_t j = 0; j < g->heads; j++)
        walk_require(w, g->modulus[j] > 0 && g->first[j] >= 0 &&
                            (int64_t)g->first[j] + g->modulus[j] <= t->rows,
                     "head %d: %d rows from row %d of %lld", j, g->modulus[j], g->first[j],
                     (long long)t->rows);
    out_width(w, g->heads * t->cols);
    section_elems(w, (int64_t)g->heads * (g->size - 1));
}

static void check_gather(struct walk *w) { in_width(w, GATHER_x, w->op->out.width); }

static void activation(struct walk *w, enum activation a)
{
    walk_require(w, (unsigned)a <= ACT_GELU_ERF, "activation %d", (int)a);
}

static void check_linear(struct walk *w)
{
    int32_t width = w->op->out.width;
    matrix(w, LINEAR_matrix, width, w->op->in[LINEAR_x].width);
    vector(w, LINEAR_bias, width);
    in_width(w, LINEAR_residual, width);
    activation(w, w->op->p.linear.act);
}

/* Matrices of `rows` rows one above the other: a kernel finds one by a multiple of its panels. */
static void aligned_rows(struct walk *w, int64_t rows)
{
    int32_t by = w->limits ? w->limits->matrix_rows : 1;
    if (rows % MAX(by, 1) && !w->e->code)
        err_set(w->e, E_UNSUPPORTED,
                "layer %d: %s: matrices of %lld rows, a multiple of %d on this device",
                w->op->layer, op_name(w->op->kind), (long long)rows, by);
}

/* Whether the chosen view is what a TOPK wrote, so that its numbers are below n. */
static void chosen_by_topk(struct walk *w, int64_t n)
{
    struct view v = w->op->in[EXPERTS_chosen];
    int32_t by = w->writer[v.act];
    const struct op *t = by < 0 ? NULL : &w->plan->ops[by];
    bool topk = t && t->kind == OP_TOPK && !t->p.topk.dense && t->out.col == v.col &&
                t->out.width == 2 * t->p.topk.k && t->p.topk.k == w->op->p.experts.k;
    walk_require(w, topk && t->p.topk.n - t->p.topk.none <= n,
                 "chosen is not %d of at most %lld that a topk chose",
                 w->op->p.experts.k, (long long)n);
}

static void check_experts(struct walk *w)
{
    const struct op *op = w->op;
    const struct weight *x = weight_of(w, EXPERTS_matrix);
    int32_t k = op->p.experts.k, rows = op->p.experts.rows;
    if (!at_least(w, "k", k, 1) || !at_least(w, "rows", rows, 1))
        return;
    LIMITED(w, "k", k, topk);
    walk_require(w, x->rows % rows == 0, "matrix has %lld rows, a multiple of %d expected",
                 (long long)x->rows, rows);
    in_width(w, EXPERTS_x, x->cols * (op->p.experts.per_slot ? k : 1));
    out_width(w, (int64_t)k * rows);
    if (x->rows != rows)
        aligned_rows(w, rows);
    chosen_by_topk(w, x->rows / rows);
}

static void check_blocks(struct walk *w)
{
    const struct op *op = w->op;
    int32_t n = op->p.blocks.blocks;
    if (!grouped(w, op->in[BLOCKS_x].width, n) || !grouped(w, op->out.width, n))
        return;
    int64_t all = op->p.blocks.shared ? op->out.width / n : op->out.width;
    matrix(w, BLOCKS_matrix, all, op->in[BLOCKS_x].width / n);
    vector(w, BLOCKS_bias, all);
    if (n > 1 && !op->p.blocks.shared)
        aligned_rows(w, op->out.width / n);
}

/* ---- rows ---- */

static void group_vector(struct walk *w, int n)
{
    const struct weight *x = weight_of(w, n);
    int32_t width = w->op->out.width, group = w->op->p.norm.group;
    walk_require(w, !x || (x->rows == 1 && (x->cols == group || x->cols == width)),
                 "%s is %lld x %lld, 1 x %d or 1 x %d expected", face(w)->w[n].name,
                 x ? (long long)x->rows : 0, x ? (long long)x->cols : 0, group, width);
}

static void check_norm(struct walk *w)
{
    int32_t width = w->op->out.width;
    in_width(w, NORM_x, width);
    in_width(w, NORM_gate, width);
    if (!grouped(w, width, w->op->p.norm.group))
        return;
    group_vector(w, NORM_weight);
    group_vector(w, NORM_bias);
    activation(w, w->op->p.norm.gate_act);
    walk_require(w, (unsigned)w->op->p.norm.kind <= NORM_SUM, "norm %d", (int)w->op->p.norm.kind);
}

static void ew_input(struct walk *w, const struct ew_program *e, int i)
{
    const struct ew_in *in = &e->in[i];
    int64_t has = in->v.width;
    if (!view_given(in->v)) {
        const struct weight *x = &w->plan->weights[in->weight];
        has = x->rows * x->cols;
    }
    if (!walk_require(w, in->spread == EW_FULL || in->period > 0, "input %d has period %d", i,
                      in->period))
        return;
    int64_t wants = in->spread == EW_FULL    ? e->width
                    : in->spread == EW_GROUP ? (e->width + in->period - 1) / in->period
                                             : in->period;
    walk_require(w, (unsigned)in->spread <= EW_TILE && has >= wants,
                 "input %d is %lld wide, %lld expected", i, (long long)has, (long long)wants);
}

static void check_ew(struct walk *w)
{
    const struct ew_program *e = w->op->p.ew;
    for (int i = 0; i < e->n_in; i++)
        ew_input(w, e, i);
    for (int i = 0; i < e->n_code; i++) {
        const struct ew_ins *c = &e->code[i];
        int regs = e->n_in + i;
        walk_require(w, c->op < EW_OPS && c->a < regs && c->b < regs && c->c < regs,
                     "instruction %d: op %d of registers %d, %d, %d; %d ops and %d registers", i,
                     c->op, c->a, c->b, c->c, EW_OPS, regs);
    }
    for (int i = 0; i < e->n_out; i++)
        walk_require(w, e->out[i].v.width == e->width && e->out[i].reg >= 0 &&
                            e->out[i].reg < e->n_in + e->n_code,
                     "output %d is %d wide and register %d; %d and at most %d expected", i,
                     e->out[i].v.width, e->out[i].reg, e->width, e->n_in + e->n_code - 1);
}

static void check_groupsum(struct walk *w)
{
    at_least(w, "the group", w->op->p.groupsum.group, 1);
    in_width(w, GROUPSUM_x, (int64_t)w->op->out.width * w->op->p.groupsum.group);
}

static void check_softmax(struct walk *w)
{
    in_width(w, SOFTMAX_x, w->op->out.width);
    grouped(w, w->op->out.width, w->op->p.softmax.group);
}

static void check_topk(struct walk *w)
{
    const struct op *op = w->op;
    int32_t n = op->p.topk.n, k = op->p.topk.k, ranges = MAX(op->p.topk.n_groups, 1);
    if (!grouped(w, op->in[TOPK_scores].width, n) || !at_least(w, "k", k, 1))
        return;
    walk_require(w, k <= n && ranges <= n && n % ranges == 0, "%d of %d in %d ranges", k, n,
                 ranges);
    walk_require(w, op->p.topk.none >= 0 && op->p.topk.none < n, "%d of %d choices are none",
                 op->p.topk.none, n);
    LIMITED(w, "k", k, topk);
    LIMITED(w, "n_groups", ranges, topk);
    vector(w, TOPK_bias, op->in[TOPK_scores].width);
    out_width(w, (int64_t)(op->in[TOPK_scores].width / n) * (op->p.topk.dense ? n : 2 * k));
}

static void check_sinkhorn(struct walk *w)
{
    int32_t n = w->op->p.sinkhorn.n;
    in_width(w, SINKHORN_x, w->op->out.width);
    at_least(w, "iters", w->op->p.sinkhorn.iters, 1);
    if (walk_require(w, n >= 1 && n <= LIMIT_SINKHORN, "matrices of %d rows, 1 to %d", n,
                     LIMIT_SINKHORN))
        grouped(w, w->op->out.width, n * n);
}

static void check_columns(struct walk *w) { vector(w, COLUMNS_index, w->op->out.width); }
static void check_first(struct walk *w) { out_width(w, 1); }

static void check_rope(struct walk *w)
{
    int32_t head = w->op->p.rope.head, rot = w->op->p.rope.rot;
    if (!grouped(w, w->op->out.width, head))
        return;
    walk_require(w, rot > 0 && rot % 2 == 0 && rot <= head, "%d rotated columns of a head of %d",
                 rot, head);
    vector(w, ROPE_frequencies, rot / 2);
}

/* ---- within a channel ---- */

static void check_conv(struct walk *w)
{
    int32_t size = w->op->p.conv.size, width = w->op->out.width;
    if (!at_least(w, "size", size, 1))
        return;
    LIMITED(w, "size", size, conv_size);
    in_width(w, CONV_x, width);
    in_width(w, CONV_mask, 1);
    vector(w, CONV_filter, (int64_t)width * size);
    vector(w, CONV_bias, width);
    activation(w, w->op->p.conv.act);
    section_elems(w, (int64_t)(size - 1) * width);
}

static void check_shift(struct walk *w)
{
    in_width(w, SHIFT_x, w->op->out.width);
    section_elems(w, w->op->out.width);
}

static void check_rnn(struct walk *w)
{
    in_width(w, RNN_factor, w->op->out.width);
    in_width(w, RNN_input, w->op->out.width);
    section_elems(w, w->op->out.width);
}

static void check_logsum(struct walk *w)
{
    out_width(w, 2 * (int64_t)w->op->in[LOGSUM_x].width);
    section_elems(w, w->op->in[LOGSUM_x].width);
}

static void check_wkv(struct walk *w)
{
    int32_t width = w->op->out.width;
    in_width(w, WKV_k, width);
    in_width(w, WKV_v, width);
    vector(w, WKV_decay, width);
    vector(w, WKV_bonus, width);
    section_elems(w, 3 * (int64_t)width);
}

static void check_scan(struct walk *w)
{
    int64_t width = w->op->out.width, N = w->op->p.scan.N;
    at_least(w, "N", N, 1);
    in_width(w, SCAN_x, width);
    in_width(w, SCAN_dt, width);
    in_width(w, SCAN_B, N);
    in_width(w, SCAN_C, N);
    vector(w, SCAN_A, width * N);
    vector(w, SCAN_D, width);
    section_elems(w, width * N);
}

static void check_pool(struct walk *w)
{
    int64_t width = w->op->out.width, block = w->op->p.pool.block;
    bool gated = view_given(w->op->in[POOL_gate]);
    at_least(w, "block", block, 1);
    in_width(w, POOL_x, width);
    in_width(w, POOL_gate, width);
    vector(w, POOL_bias, block * width);
    walk_require(w, gated || w->op->w[POOL_bias] < 0, "bias is given, and there is no gate");
    section_elems(w, gated ? 3 * width : width);
}

/* ---- matrix states ---- */

static bool state_sizes(struct walk *w, int32_t heads, int32_t K, int32_t V)
{
    return at_least(w, "heads", heads, 1) && at_least(w, "K", K, 1) && at_least(w, "V", V, 1);
}

/* Factors of so many heads: columns of the operand, 0 = none. */
static int64_t decay_width(enum decay_mode mode, int64_t heads, int64_t K, int64_t V)
{
    switch (mode) {
    case DECAY_NONE:
    case DECAY_CONST: return 0;
    case DECAY_SCALAR: return heads;
    case DECAY_KEY: return heads * K;
    case DECAY_VALUE: return heads * V;
    }
    return -1;
}

static void check_decay(struct walk *w)
{
    const struct op *op = w->op;
    int32_t H = op->p.decay.state_heads, q = op->p.decay.q_heads, K = op->p.decay.K;
    int32_t V = op->p.decay.V, outputs = MAX(H, q);
    enum decay_mode mode = op->p.decay.decay;
    if (!state_sizes(w, H, K, V) || !divides(w, "query and state heads", outputs, MIN(H, q)) ||
        !divides(w, "state on key heads", H, op->p.decay.k_heads) ||
        !divides(w, "state on value heads", H, op->p.decay.v_heads))
        return;
    int64_t factors = decay_width(mode, op->p.decay.d_heads, K, V);
    walk_require(w, factors >= 0, "decay mode %d", (int)mode);
    in_width(w, DECAY_q, (int64_t)q * K);
    in_width(w, DECAY_k, (int64_t)op->p.decay.k_heads * K);
    in_width(w, DECAY_v, (int64_t)op->p.decay.v_heads * V);
    bool by_token = mode != DECAY_NONE && mode != DECAY_CONST;
    given(w, DECAY_decay, by_token);
    if (by_token)
        divides(w, "state on decay heads", H, op->p.decay.d_heads);
    in_width(w, DECAY_decay, factors);
    vector(w, DECAY_bonus, (int64_t)H * K);
    vector(w, DECAY_constant, H);
    walk_require(w, mode != DECAY_CONST || op->w[DECAY_constant] >= 0, "constant is missing");
    out_width(w, (int64_t)outputs * V);
    section_elems(w, (int64_t)H * K * V);
}

static void check_delta(struct walk *w)
{
    const struct op *op = w->op;
    int32_t H = op->p.delta.state_heads, k = op->p.delta.k_heads, n = op->p.delta.steps;
    int32_t K = op->p.delta.K, V = op->p.delta.V;
    enum decay_mode mode = op->p.delta.decay;
    if (!state_sizes(w, H, K, V) || !divides(w, "state on key heads", H, k) ||
        !at_least(w, "steps", n, 1))
        return;
    walk_require(w, mode == DECAY_NONE || mode == DECAY_SCALAR || mode == DECAY_KEY,
                 "decay mode %d", (int)mode);
    walk_require(w, n == 1 || !op->p.delta.dplr, "%d steps of the form with b", n);
    in_width(w, DELTA_q, (int64_t)k * K);
    in_width(w, DELTA_k, (int64_t)n * k * K);
    in_width(w, DELTA_v, (int64_t)n * H * V);
    given(w, DELTA_w, mode != DECAY_NONE);
    if (mode != DECAY_NONE)
        divides(w, "state on decay heads", H, op->p.delta.d_heads);
    in_width(w, DELTA_w, decay_width(mode, op->p.delta.d_heads, K, V));
    in_width(w, DELTA_a, (int64_t)n * k * K);
    if (op->p.delta.dplr)
        given(w, DELTA_b, true);
    in_width(w, DELTA_b, op->p.delta.dplr ? (int64_t)k * K : (int64_t)n * H);
    out_width(w, (int64_t)H * V);
    section_elems(w, (int64_t)H * K * V);
}

static void check_fenwick(struct walk *w)
{
    const struct op *op = w->op;
    int64_t H = op->p.fenwick.heads, K = op->p.fenwick.K, V = op->p.fenwick.V;
    int64_t levels = op->p.fenwick.levels;
    if (!state_sizes(w, (int32_t)H, (int32_t)K, (int32_t)V))
        return;
    walk_require(w, levels >= 2 && levels <= 62, "%lld levels, 2 to 62", (long long)levels);
    in_width(w, FENWICK_q, K);
    in_width(w, FENWICK_k, K);
    in_width(w, FENWICK_v, H * V);
    in_width(w, FENWICK_alpha, H);
    in_width(w, FENWICK_lambda, H * levels);
    out_width(w, H * V);
    section_elems(w, (levels - 1) * H * K * V);
}

static void check_mesa(struct walk *w)
{
    const struct op *op = w->op;
    int64_t H = op->p.mesa.heads, K = op->p.mesa.K, V = op->p.mesa.V;
    if (!state_sizes(w, (int32_t)H, (int32_t)K, (int32_t)V))
        return;
    LIMITED(w, "K", K, mesa_K);
    in_width(w, MESA_q, H * K);
    in_width(w, MESA_k, H * K);
    in_width(w, MESA_v, H * V);
    in_width(w, MESA_alpha, H);
    in_width(w, MESA_beta, H);
    vector(w, MESA_lambda, H * K);
    out_width(w, H * V);
    section_elems(w, H * K * (K + V));
}

static void check_trapezoid(struct walk *w)
{
    const struct op *op = w->op;
    int64_t H = op->p.trapezoid.heads, K = op->p.trapezoid.K, V = op->p.trapezoid.V;
    if (!state_sizes(w, (int32_t)H, (int32_t)K, (int32_t)V))
        return;
    in_width(w, TRAPEZOID_q, H * K);
    in_width(w, TRAPEZOID_k, H * K);
    in_width(w, TRAPEZOID_v, H * V);
    in_width(w, TRAPEZOID_alpha, H);
    in_width(w, TRAPEZOID_now, H);
    in_width(w, TRAPEZOID_before, H);
    out_width(w, H * V);
    section_elems(w, H * (K * V + K + V));
}

static void check_rotate(struct walk *w)
{
    const struct op *op = w->op;
    int64_t H = op->p.rotate.heads, head = op->p.rotate.head, angles = op->p.rotate.angles;
    if (!at_least(w, "heads", H, 1) || !at_least(w, "angles", angles, 1) ||
        !at_least(w, "parts", op->p.rotate.parts, 1))
        return;
    walk_require(w, 2 * angles <= head, "%lld angles for a head of %lld", (long long)angles,
                 (long long)head);
    out_width(w, op->p.rotate.parts * H * head);
    in_width(w, ROTATE_angles, H * angles);
    section_elems(w, H * angles);
}

static void check_square(struct walk *w)
{
    const struct op *op = w->op;
    int64_t H = op->p.square.heads, kv = op->p.square.kv_heads, d = op->p.square.d;
    int64_t V = op->p.square.V;
    if (!state_sizes(w, (int32_t)kv, (int32_t)d, (int32_t)V) ||
        !divides(w, "query on key heads", (int32_t)H, (int32_t)kv))
        return;
    LIMITED(w, "heads / kv_heads", H / kv, square_per);
    in_width(w, SQUARE_q, H * d);
    in_width(w, SQUARE_k, kv * d);
    in_width(w, SQUARE_v, kv * V);
    out_width(w, H * V);
    section_elems(w, kv * d * (d + 1) * (V + 1));
}

/* ---- cached rows ---- */

/* What ATTENTION, its relatives and ATTENTION_KEEP have in common. */
static bool cached_rows(struct walk *w)
{
    const struct op *op = w->op;
    int32_t window = op->p.attention.window;
    int64_t row = 0;
    if (!state_sizes(w, op->p.attention.heads, op->p.attention.dk, op->p.attention.dv) ||
        !divides(w, "query on key heads", op->p.attention.heads, op->p.attention.kv_heads) ||
        !divides(w, "query on value heads", op->p.attention.heads, op->p.attention.v_heads) ||
        !at_least(w, "window", window, 0))
        return false;
    for (int i = 1; i < OP_CACHED_END; i++)
        row += op->in[i].width;
    bool ring = w->plan->sections[op->section].kind == SECTION_FIXED;
    if (face(w)->sections == OP_SECTIONS_RING)
        walk_require(w, op->kind == OP_ATTENTION_KEEP ? !ring || window > 0 : ring == (window > 0),
                     "a window of %d on a %s section", window, ring ? "fixed" : "paged");
    section_elems(w, ring ? row * window : row);
    return true;
}

static void check_attention_keep(struct walk *w) { cached_rows(w); }

_Static_assert(ATTENTION_q == INDEXED_q && ATTENTION_k == INDEXED_k && ATTENTION_v == INDEXED_v,
               "in the same places");

/* Of ATTENTION and INDEXED: the widths of queries, keys, values and what comes out. */
static void queries_keys_values(struct walk *w)
{
    const struct op *op = w->op;
    int64_t H = op->p.attention.heads, dk = op->p.attention.dk, dv = op->p.attention.dv;
    int64_t keys = op->p.attention.kv_heads * dk, values = op->p.attention.v_heads * dv;
    in_width(w, ATTENTION_q, H * dk);
    in_width(w, ATTENTION_k, keys);
    in_width(w, ATTENTION_v, values);
    walk_require(w, view_given(op->in[ATTENTION_v]) || values <= keys,
                 "values are the first %lld of %lld columns of the keys", (long long)values,
                 (long long)keys);
    out_width(w, H * dv);
}

static void check_attention(struct walk *w)
{
    if (!cached_rows(w))
        return;
    queries_keys_values(w);
    in_width(w, ATTENTION_forget, w->op->p.attention.heads);
}

/* kv: a relative whose keys and values share their heads; q and out in columns a head. */
static bool relative(struct walk *w, int64_t q, int64_t out, bool window)
{
    const struct op *op = w->op;
    int64_t H = op->p.attention.heads, kv = op->p.attention.kv_heads;
    if (!cached_rows(w))
        return false;
    walk_require(w, op->p.attention.v_heads == kv, "%d value heads, %lld expected",
                 op->p.attention.v_heads, (long long)kv);
    walk_require(w, window || op->p.attention.window == 0, "a window of %d, none expected",
                 op->p.attention.window);
    in_width(w, PATH_q, H * q);
    in_width(w, PATH_k, kv * op->p.attention.dk);
    out_width(w, H * out);
    return true;
}

static void check_path(struct walk *w)
{
    const struct op *op = w->op;
    int64_t kv = op->p.attention.kv_heads, dk = op->p.attention.dk, dv = op->p.attention.dv;
    if (!relative(w, dk, dv, false))
        return;
    LIMITED(w, "dk", dk, path_dk);
    in_width(w, PATH_v, kv * dv);
    in_width(w, PATH_w, kv * dk);
    in_width(w, PATH_beta, kv);
    in_width(w, PATH_forget, op->p.attention.heads);
}

static void check_wall(struct walk *w)
{
    const struct op *op = w->op;
    int64_t H = op->p.attention.heads, dk = op->p.attention.dk, dv = op->p.attention.dv;
    if (!relative(w, dk, dv, false))
        return;
    in_width(w, WALL_v, op->p.attention.kv_heads * dv);
    in_width(w, WALL_decay, H * dk);
    in_width(w, WALL_bias, H);
}

static void check_parallax(struct walk *w)
{
    const struct op *op = w->op;
    int64_t dv = op->p.attention.dv;
    if (!relative(w, 2 * (int64_t)op->p.attention.dk, dv, true))
        return;
    LIMITED(w, "dv", dv, parallax_dv);
    in_width(w, PARALLAX_v, op->p.attention.kv_heads * dv);
}

static void check_deltaformer(struct walk *w)
{
    const struct op *op = w->op;
    int64_t H = op->p.attention.heads, dk = op->p.attention.dk, dv = op->p.attention.dv;
    if (!relative(w, dk + dv + 1, 2 * dv, false))
        return;
    in_width(w, DELTAFORMER_u, H * dv);
    walk_require(w, op->in[DELTAFORMER_u].col == op->out.col + H * dv,
                 "u is not the second half of the output");
}

static void check_sparse(struct walk *w, int64_t outs)
{
    const struct op *op = w->op;
    int64_t dk = op->p.attention.dk, dv = op->p.attention.dv;
    if (!relative(w, dk, outs * dv, outs > 1))
        return;
    LIMITED(w, "dk", dk, sparse_d);
    LIMITED(w, "dv", dv, sparse_d);
    in_width(w, NSA_v, op->p.attention.kv_heads * dv);
    at_least(w, "block", op->p.attention.block, 1);
    at_least(w, "count", op->p.attention.count, 1);
}

static void check_nsa(struct walk *w) { check_sparse(w, 3); }
static void check_moba(struct walk *w) { check_sparse(w, 1); }

static bool blocks_of(struct walk *w)
{
    const struct op *op = w->op;
    if (!cached_rows(w))
        return false;
    walk_require(w, op->p.attention.window == 0, "a window of %d, none expected",
                 op->p.attention.window);
    LIMITED(w, "dk", op->p.attention.dk, sparse_d);
    LIMITED(w, "dv", op->p.attention.dv, sparse_d);
    LIMITED(w, "count", op->p.attention.count, topk);
    return at_least(w, "block", op->p.attention.block, 1) &&
           at_least(w, "count", op->p.attention.count, 1);
}

static void check_indexer(struct walk *w)
{
    const struct op *op = w->op;
    int64_t H = op->p.attention.heads, dk = op->p.attention.dk;
    if (!blocks_of(w))
        return;
    walk_require(w, op->p.attention.kv_heads == 1, "%d key heads, 1 expected",
                 op->p.attention.kv_heads);
    in_width(w, INDEXER_q, H * dk);
    in_width(w, INDEXER_k, dk);
    in_width(w, INDEXER_weights, H);
    out_width(w, op->p.attention.count);
}

/* The numbers of blocks are what an INDEXER wrote, of blocks of the same size. */
static void chosen_by_indexer(struct walk *w)
{
    struct view v = w->op->in[INDEXED_chosen];
    int32_t by = w->writer[v.act], block = w->op->p.attention.block;
    const struct op *x = by < 0 ? NULL : &w->plan->ops[by];
    walk_require(w, x && x->kind == OP_INDEXER && x->out.col == v.col &&
                        x->out.width == v.width && x->p.attention.block == block,
                 "chosen is not what an indexer of blocks of %d wrote", block);
}

static void check_indexed(struct walk *w)
{
    if (!blocks_of(w))
        return;
    queries_keys_values(w);
    in_width(w, INDEXED_chosen, w->op->p.attention.count);
    chosen_by_indexer(w);
}

void validate_op(struct walk *w)
{
    static void (*const table[OP_KINDS])(struct walk *) = {
#define OP(KIND, name, rows, sections, cost, factor, what) [OP_##KIND] = check_##name,
#include "kernels/ops.def"
    };
    table[w->op->kind](w);
}
