/* ATTENTION: softmax over cached keys with a running maximum, a block of PAGE_TOKENS positions at
 * a time. Blocks are counted from position 0 and every sum inside a block has its fixed place: a
 * row's bits depend on its position alone. A work item is some rows of a sequence and some query
 * heads of one key head. */
#include "kernels/cpu/impl/scores.h"
#include "kernels/cpu/impl/values.h"

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
        scores[i] += f[head] - x->more[0][i][head];
}

/* Moves the maximum, the sum and the output of one pair on by a block's scores. */
static void add_block(const struct op *op, const struct keys *x, float *p, int head, int lo,
                      int hi, float *max, float *total, float *out)
{
    int hv = head / (op->p.attention.heads / op->p.attention.v_heads);
    add_values(op, x, p, soften(p, max, total), hv, lo, hi, out);
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
        a->max[i] = -FLT_MAX;
        a->total[i] = 0;
    }
    for (int r = 0; r < a->rows; r++)
        memset(host_row(s, op->out, a->row + r) + first, 0, (size_t)n * sizeof(float));
    for (int64_t b = first_seen(op, a->pos) / BLOCK * BLOCK; b < a->pos + a->rows; b += BLOCK)
        item_block(s, op, a, b);
    for (int i = 0; i < a->rows * heads; i++) {
        float *out = host_row(s, op->out, a->row + i / heads) + first + i % heads * dv;
        divide(out, (int)dv, a->total[i]);
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
