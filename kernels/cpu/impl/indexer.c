/* Attention that an indexer leads: POOL, INDEXER, INDEXED. Scores are those of ATTENTION: a lane is
 * a key, or the pooled key of a block. INDEXED gathers BLOCK keys of the chosen blocks and the open
 * one at a time, so a sum's order depends on the choice and the position alone. */
#include "kernels/cpu/impl/scores.h"
#include "kernels/cpu/impl/values.h"

#include <stdlib.h>

/* ---- POOL: sixteen columns are sixteen lanes ---- */

struct pooled { v16 max, total, sum; };

static void pool_row(struct pooled *a, bool first, v16 x, v16 gate)
{
    v16 max = first ? v16_set1(-FLT_MAX) : a->max;
    v16 higher = v16_select(v16_nan(gate), max, v16_max(max, gate));
    v16 e = v16_exp(v16_sub(gate, higher));
    v16 keep = first ? v16_zero() : v16_exp(v16_sub(max, higher));
    a->sum = v16_fma(e, x, first ? v16_zero() : v16_mul(a->sum, keep));
    a->total = first ? e : v16_fma(a->total, keep, e);
    a->max = higher;
}

static void pool_columns(const struct host_step *s, const struct op *op, int32_t q, int64_t c)
{
    const struct batch *b = s->batch;
    const float *bias = host_vec(s, op->w[POOL_bias]);
    int64_t width = op->out.width, block = op->p.pool.block;
    int left = (int)MIN(width - c, LANES);
    bool gated = view_given(op->in[POOL_gate]);
    float *state = host_state(s, op->section, b->slots[q]) + c;
    struct pooled a = {load_left(state, left), v16_zero(), load_left(state, left)};
    if (gated)
        a = (struct pooled){a.max, load_left(state + width, left),
                            load_left(state + 2 * width, left)};
    for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++) {
        int64_t i = (b->pos[q] + t - b->cu_seqlens[q]) % block;
        v16 x = load_left(host_row(s, op->in[POOL_x], t) + c, left), out = v16_zero();
        if (gated) {
            v16 g = load_left(host_row(s, op->in[POOL_gate], t) + c, left);
            if (bias)
                g = v16_add(g, load_left(bias + i * width + c, left));
            pool_row(&a, i == 0, x, g);
        } else {
            a.sum = i ? v16_add(a.sum, x) : x;
        }
        if (i == block - 1)
            out = v16_div(a.sum, gated ? a.total : v16_set1((float)block));
        store_left(host_row(s, op->out, t) + c, left, out);
    }
    store_left(state, left, gated ? a.max : a.sum);
    if (gated) {
        store_left(state + width, left, a.total);
        store_left(state + 2 * width, left, a.sum);
    }
}

void FN(pool)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int item = 0;
    for (int32_t q = 0; q < s->batch->n_seqs; q++)
        for (int64_t c = 0; c < op->out.width; c += LANES)
            if (item++ % nth == ith)
                pool_columns(s, op, q, c);
}

/* ---- rows of cached keys in any order ---- */

/* The keys at n positions, as the first n of a block. */
static void gather(const struct host_step *s, const struct op *op, int32_t q, const int64_t *at,
                   int n, struct keys *x)
{
    int values = view_given(op->in[2]) ? 2 : 1;
    x->lo = 0;
    x->hi = n;
    for (int i = 0; i < n; i++) {
        const float *row = section_row(s, op, q, at[i]);
        x->k[i] = cached(s, op, q, at[i], row, 1);
        x->v[i] = cached(s, op, q, at[i], row, values);
    }
}

/* One row and its query heads [h0, h1). */
static void open_item(const struct host_step *s, struct item *a, int32_t row, int h0, int h1)
{
    a->q = s->row_seq[row];
    a->row = row;
    a->rows = 1;
    a->h0 = h0;
    a->h1 = h1;
    a->pos = s->batch->pos[a->q] + (row - s->batch->cu_seqlens[a->q]);
}

/* ---- INDEXER ---- */

/* The best so far, best first, ties in the order they came. */
struct best { int n, block[LIMIT_TOPK]; float score[LIMIT_TOPK]; };

static void offer(struct best *y, int count, int block, float score)
{
    if (!isfinite(score) || (y->n == count && !(score > y->score[count - 1])))
        return;
    int at = y->n < count ? y->n++ : count - 1;
    for (; at > 0 && score > y->score[at - 1]; at--) {
        y->score[at] = y->score[at - 1];
        y->block[at] = y->block[at - 1];
    }
    y->score[at] = score;
    y->block[at] = block;
}

/* Scores of blocks [b0, b0 + n); equal terms of two signs cancel: products are rounded first. */
static void score_blocks(const struct host_step *s, const struct op *op, struct item *a, int b0,
                         int n, float *out)
{
    int heads = op->p.attention.heads;
    const struct view w = op->in[INDEXER_weights];
    const float *weights = view_given(w) ? host_row(s, w, a->row) : NULL;
    v16 scale = v16_set1(op->p.attention.scale), zero = v16_zero();
    struct keys x;
    int64_t at[BLOCK];
    for (int i = 0; i < n; i++)
        at[i] = (int64_t)(b0 + i + 1) * op->p.attention.block - 1;
    gather(s, op, a->q, at, n, &x);
    memset(out, 0, BLOCK * sizeof *out);
    for (a->h0 = 0; a->h0 < heads; a->h0 = a->h1) {
        a->h1 = MIN(a->h0 + HEADS_MAX, heads);
        score_block(s, op, a, &x);
        for (int h = a->h0; h < a->h1; h++) {
            v16 by = v16_set1(weights ? weights[h] : 1);
            for (int i = 0; i < BLOCK; i += LANES) {
                v16 y = v16_mul(v16_load(a->scores[h - a->h0] + i), scale);
                y = v16_select(v16_lt(y, zero), zero, y); /* a NaN stays one */
                v16_store(out + i, v16_add(v16_load(out + i), v16_mul(y, by)));
            }
        }
    }
}

static int ascending(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static void choose_blocks(const struct host_step *s, const struct op *op, struct item *a,
                          int32_t row)
{
    int count = op->p.attention.count;
    _Alignas(64) float scores[BLOCK], *out = host_row(s, op->out, row);
    struct best y;
    y.n = 0;
    open_item(s, a, row, 0, 0);
    int complete = (int)((a->pos + 1) / op->p.attention.block);
    for (int b0 = 0; b0 < complete; b0 += BLOCK) {
        int n = MIN(complete - b0, BLOCK);
        score_blocks(s, op, a, b0, n, scores);
        for (int i = 0; i < n; i++)
            offer(&y, count, b0 + i, scores[i]);
    }
    qsort(y.block, (size_t)y.n, sizeof *y.block, ascending);
    for (int i = 0; i < count; i++)
        out[i] = i < y.n ? (float)y.block[i] : -1;
}

void FN(indexer)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    struct item a;
    for (int32_t row = ith; row < s->batch->n_tokens; row += nth)
        choose_blocks(s, op, &a, row);
}

/* ---- INDEXED ---- */

/* Walks the positions that a row attends to. */
struct walk { const float *chosen; int count, block, i; int64_t pos, complete, at, end; };

static void next_run(struct walk *w)
{
    for (; w->i < w->count; w->i++) {
        float b = w->chosen[w->i];
        if (b >= 0 && b < (float)w->complete) {
            w->at = (int64_t)b * w->block;
            w->end = w->at + w->block;
            w->i++;
            return;
        }
    }
    bool open = w->i++ == w->count;
    w->at = open ? w->complete * w->block : 0;
    w->end = open ? w->pos + 1 : 0;
}

/* The next positions, at most BLOCK; 0: that was all. */
static int next_keys(struct walk *w, int64_t *at)
{
    int n = 0;
    while (n < BLOCK && (w->at < w->end || w->i <= w->count)) {
        if (w->at == w->end)
            next_run(w);
        while (n < BLOCK && w->at < w->end)
            at[n++] = w->at++;
    }
    return n;
}

static void add_keys(const struct host_step *s, const struct op *op, struct item *a,
                     const struct keys *x)
{
    int per = op->p.attention.heads / op->p.attention.v_heads;
    v16 scale = v16_set1(op->p.attention.scale);
    score_block(s, op, a, x);
    for (int h = a->h0; h < a->h1; h++) {
        int i = h - a->h0;
        float *p = a->scores[i];
        for (int j = 0; j < BLOCK; j += LANES)
            v16_store(p + j, v16_mul(v16_load(p + j), scale));
        for (int j = x->hi; j < BLOCK; j++)
            p[j] = -INFINITY;
        v16 keep = soften(p, &a->max[i], &a->total[i]);
        add_values(op, x, p, keep, h / per, x->lo, x->hi,
                   host_row(s, op->out, a->row) + (int64_t)h * op->p.attention.dv);
    }
}

static void attend(const struct host_step *s, const struct op *op, struct item *a)
{
    int dv = op->p.attention.dv, block = op->p.attention.block;
    float *out = host_row(s, op->out, a->row) + (int64_t)a->h0 * dv;
    struct walk w = {.chosen = host_row(s, op->in[INDEXED_chosen], a->row),
                     .count = op->p.attention.count, .block = block, .pos = a->pos,
                     .complete = (a->pos + 1) / block};
    struct keys x;
    int64_t at[BLOCK];
    bool any = false;
    for (int i = 0; i < a->h1 - a->h0; i++) {
        a->max[i] = -FLT_MAX;
        a->total[i] = 0;
    }
    memset(out, 0, (size_t)((a->h1 - a->h0) * dv) * sizeof *out);
    for (int n; (n = next_keys(&w, at)) > 0; any = true) {
        gather(s, op, a->q, at, n, &x);
        add_keys(s, op, a, &x);
    }
    for (int i = 0; any && i < a->h1 - a->h0; i++)
        divide(out + (int64_t)i * dv, dv, a->total[i]);
}

/* A work item is a row and some query heads of one key head; fewer when there would not be enough
 * to go round. */
void FN(indexed)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    struct item a;
    int heads = op->p.attention.heads, group = heads / op->p.attention.kv_heads, next = 0;
    int per = MIN(group, HEADS_MAX);
    while (per > 1 && (int64_t)s->batch->n_tokens * heads / per < 2 * nth)
        per /= 2;
    for (int32_t row = 0; row < s->batch->n_tokens; row++)
        for (int h0 = 0, h1; h0 < heads; h0 = h1) {
            h1 = MIN(h0 + per, (h0 / group + 1) * group);
            if (next++ % nth != ith)
                continue;
            open_item(s, &a, row, h0, h1);
            attend(s, op, &a);
        }
}
