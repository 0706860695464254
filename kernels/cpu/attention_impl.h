/* ATTENTION: softmax over cached keys with a running maximum, a block of PAGE_TOKENS positions at
 * a time. Blocks are counted from position 0 and every sum inside a block has its fixed place: a
 * row's bits depend on its position alone. A work item is some rows of a sequence and some query
 * heads of one key head. */
#include "kernels/cpu/scores_impl.h"

/* scale <q, k> + F - F_i for keys [lo, hi), -inf for the others. */
static void finish_scores(const struct op *op, const struct keys *x, const float *f, int head,
                          int lo, int hi, float *scores)
{
    float scale = op->p.attention.scale;
    for (int i = 0; i < lo; i++)
        scores[i] = -INFINITY;
    for (int i = hi; i < BLOCK; i++)
        scores[i] = -INFINITY;
    for (int j = 0; j < BLOCK; j += LANES)
        v16_store(scores + j, v16_mul(v16_load(scores + j), v16_set1(scale)));
    for (int i = lo; f && i < hi; i++)
        scores[i] += f[head] - x->f[i][head];
}

/* out = out * keep + sum of p_i v_i over keys [lo, hi), four vectors of columns at a time. */
static void add_values(const struct op *op, const struct keys *x, const float *p, v16 keep,
                       int head, int lo, int hi, float *out)
{
    int dv = op->p.attention.dv, hv = head / (op->p.attention.heads / op->p.attention.v_heads);
    for (int c = 0; c < dv; c += 4 * LANES) {
        int n = dv - c;
        int64_t at = (int64_t)hv * dv + c;
        v16 a[4];
        if (n >= 4 * LANES) {
            UNROLL for (int j = 0; j < 4; j++)
                a[j] = v16_mul(v16_load(out + c + j * LANES), keep);
            for (int i = lo; i < hi; i++) {
                v16 w = v16_set1(p[i]);
                UNROLL for (int j = 0; j < 4; j++)
                    a[j] = v16_fma(w, v16_load(x->v[i] + at + j * LANES), a[j]);
            }
            UNROLL for (int j = 0; j < 4; j++)
                v16_store(out + c + j * LANES, a[j]);
            continue;
        }
        for (int d = 0; d < n; d += LANES) {
            a[0] = v16_mul(load_left(out + c + d, n - d), keep);
            for (int i = lo; i < hi; i++)
                a[0] = v16_fma(v16_set1(p[i]), load_left(x->v[i] + at + d, n - d), a[0]);
            store_left(out + c + d, n - d, a[0]);
        }
    }
}

/* Moves the maximum, the sum and the output of one pair on by a block's scores. */
static void add_block(const struct op *op, const struct keys *x, float *p, int head, int lo,
                      int hi, float *max, float *total, float *out)
{
    v16 m = v16_set1(*max), sum = v16_zero();
    for (int i = 0; i < BLOCK; i += LANES)
        m = v16_max(m, v16_load(p + i));
    float higher = v16_largest(m), t[LANES];
    v16 h = v16_set1(higher), keep = v16_exp(v16_sub(v16_set1(*max), h));
    for (int i = 0; i < BLOCK; i += LANES) {
        v16 e = v16_exp(v16_sub(v16_load(p + i), h));
        v16_store(p + i, e);
        sum = v16_add(sum, e);
    }
    v16_store(t, keep);
    *total = fmaf(*total, t[0], v16_sum(sum));
    *max = higher;
    add_values(op, x, p, keep, head, lo, hi, out);
}

/* First position that a row at `pos` sees. */
static int64_t first_seen(const struct op *op, int64_t pos)
{
    int64_t W = op->p.attention.window;
    return W && pos >= W ? pos - W + 1 : 0;
}

static void item_block(const struct host_step *s, const struct op *op, struct item *a,
                       int64_t block)
{
    struct keys x;
    int heads = a->h1 - a->h0;
    int64_t last = a->pos + a->rows - 1;
    find_keys(s, op, a->q, block, first_seen(op, a->pos), last + 1, &x);
    score_block(s, op, a, &x);
    for (int r = 0; r < a->rows; r++) {
        int64_t pos = a->pos + r;
        int lo = (int)MAX(first_seen(op, pos) - block, 0), hi = (int)MIN(pos + 1 - block, BLOCK);
        const float *f = view_given(op->in[3]) ? host_row(s, op->in[3], a->row + r) : NULL;
        for (int h = a->h0; h < a->h1 && lo < hi; h++) {
            int i = r * heads + h - a->h0;
            finish_scores(op, &x, f, h, lo, hi, a->scores[i]);
            add_block(op, &x, a->scores[i], h, lo, hi, &a->max[i], &a->total[i],
                      host_row(s, op->out, a->row + r) + (int64_t)h * op->p.attention.dv);
        }
    }
}

static void attend(const struct host_step *s, const struct op *op, struct item *a)
{
    int heads = a->h1 - a->h0;
    int64_t dv = op->p.attention.dv, first = a->h0 * dv, n = heads * dv;
    for (int i = 0; i < a->rows * heads; i++) {
        a->max[i] = -FLT_MAX; /* not -inf: a score of -inf then has no weight wherever it comes */
        a->total[i] = 0;
    }
    for (int r = 0; r < a->rows; r++)
        memset(host_row(s, op->out, a->row + r) + first, 0, (size_t)n * sizeof(float));
    for (int64_t b = first_seen(op, a->pos) / BLOCK * BLOCK; b < a->pos + a->rows; b += BLOCK)
        item_block(s, op, a, b);
    for (int i = 0; i < a->rows * heads; i++) {
        v16 t = v16_set1(a->total[i]);
        float *out = host_row(s, op->out, a->row + i / heads) + first + i % heads * dv;
        for (int c = 0; c < dv; c += LANES)
            store_left(out + c, (int)dv - c, v16_div(load_left(out + c, (int)dv - c), t));
    }
}

/* Items in turn to the threads: later rows see more keys, a deal is even. Fewer heads and rows an
 * item when there would not be enough to go round. */
void FN(attention)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    struct item a;
    int heads = op->p.attention.heads, group = heads / op->p.attention.kv_heads, next = 0;
    int per = MIN(group, HEADS_MAX), rows = MIN(PAIRS / per, ROWS_MAX);
    while (rows > 1 && (int64_t)b->n_tokens * heads / (rows * per) < 2 * nth)
        rows /= 2;
    while (per > 1 && (int64_t)b->n_tokens * heads / (rows * per) < 2 * nth)
        per /= 2;
    for (a.q = 0; a.q < b->n_seqs; a.q++) {
        for (int32_t t = b->cu_seqlens[a.q]; t < b->cu_seqlens[a.q + 1]; t += rows) {
            a.row = t;
            a.rows = MIN(rows, b->cu_seqlens[a.q + 1] - t);
            a.pos = b->pos[a.q] + (t - b->cu_seqlens[a.q]);
            for (a.h0 = 0; a.h0 < heads; a.h0 = a.h1) { /* no item spans two key heads */
                a.h1 = MIN(a.h0 + per, (a.h0 / group + 1) * group);
                if (next++ % nth == ith)
                    attend(s, op, &a);
            }
        }
    }
}
