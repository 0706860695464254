/* ATTENTION: softmax over cached keys with a running maximum, a block of PAGE_TOKENS positions at
 * a time. Blocks are counted from position 0 and every sum inside a block has its fixed place, so
 * a row's bits depend on its position alone. Lanes run along the head's columns. */
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/vmath.h"

#define BLOCK PAGE_TOKENS
#define HEADS_MAX 16 /* query heads of one work item: they share the block's key pointers */

/* The positions [lo, hi) of a block that the row sees, and their cached operands. */
struct keys {
    int lo, hi;
    const float *k[BLOCK], *v[BLOCK], *f[BLOCK]; /* whole rows, all heads; f = forget sums */
};

/* Where operand `part` of the cached row at position p of sequence q is. */
static const float *cached(const struct host_step *s, const struct op *op, int32_t q, int64_t p,
                           const float *row, int part)
{
    int64_t first = s->batch->pos[q];
    if (p >= first)
        return host_row(s, op->in[part], s->batch->cu_seqlens[q] + (int32_t)(p - first));
    for (int i = 1; i < part; i++)
        row += op->in[i].width;
    return row;
}

static const float *section_row(const struct host_step *s, const struct op *op, int32_t q,
                                int64_t p)
{
    int64_t W = op->p.attention.window, width = 0;
    if (p >= s->batch->pos[q])
        return NULL;
    if (!W)
        return host_page_row(s, op->section, q, p);
    for (int i = 1; i < 6; i++)
        width += op->in[i].width;
    return host_state(s, op->section, s->batch->slots[q]) + p % W * width;
}

static void find_keys(const struct host_step *s, const struct op *op, int32_t q, int64_t block,
                      int64_t from, int64_t to, struct keys *x)
{
    int vpart = view_given(op->in[2]) ? 2 : 1;
    x->lo = (int)(MAX(from, block) - block);
    x->hi = (int)(MIN(to, block + BLOCK) - block);
    for (int i = x->lo; i < x->hi; i++) {
        const float *row = section_row(s, op, q, block + i);
        x->k[i] = cached(s, op, q, block + i, row, 1);
        x->v[i] = cached(s, op, q, block + i, row, vpart);
        x->f[i] = view_given(op->in[3]) ? cached(s, op, q, block + i, row, 3) : NULL;
    }
}

/* scores[i] = scale <query, key i> (+ F - F_i); -inf where the row sees no key. */
static void score_keys(const struct op *op, const struct keys *x, const float *query,
                       const float *f, int head, float *scores)
{
    int dk = op->p.attention.dk, hk = head / (op->p.attention.heads / op->p.attention.kv_heads);
    for (int i = 0; i < BLOCK; i += LANES)
        v16_store(scores + i, v16_set1(-INFINITY));
    for (int i = x->lo; i < x->hi; i++) {
        const float *k = x->k[i] + (int64_t)hk * dk;
        v16 a = v16_zero();
        for (int c = 0; c < dk; c += LANES)
            a = v16_fma(load_left(query + c, dk - c), load_left(k + c, dk - c), a);
        float y = v16_sum(a) * op->p.attention.scale;
        scores[i] = f ? y + (f[head] - x->f[i][head]) : y;
    }
}

/* out = out * keep + sum of p_i v_i, four vectors of columns at a time. */
static void add_values(const struct op *op, const struct keys *x, const float *p, v16 keep,
                       int head, float *out)
{
    int dv = op->p.attention.dv, hv = head / (op->p.attention.heads / op->p.attention.v_heads);
    for (int c = 0; c < dv; c += 4 * LANES) {
        int n = dv - c;
        int64_t at = (int64_t)hv * dv + c;
        v16 a[4];
        if (n >= 4 * LANES) {
            UNROLL for (int j = 0; j < 4; j++)
                a[j] = v16_mul(v16_load(out + c + j * LANES), keep);
            for (int i = x->lo; i < x->hi; i++) {
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
            for (int i = x->lo; i < x->hi; i++)
                a[0] = v16_fma(v16_set1(p[i]), load_left(x->v[i] + at + d, n - d), a[0]);
            store_left(out + c + d, n - d, a[0]);
        }
    }
}

/* One block of keys for one head: moves the maximum, the sum and the output on. */
static void add_block(const struct op *op, const struct keys *x, const float *query,
                      const float *f, int head, float *max, float *total, float *out)
{
    _Alignas(64) float p[BLOCK];
    score_keys(op, x, query, f, head, p);
    v16 m = v16_set1(*max);
    for (int i = 0; i < BLOCK; i += LANES)
        m = v16_max(m, v16_load(p + i));
    float higher = v16_largest(m);
    v16 h = v16_set1(higher), keep = v16_exp(v16_sub(v16_set1(*max), h)), sum = v16_zero();
    for (int i = 0; i < BLOCK; i += LANES) {
        v16 e = v16_exp(v16_sub(v16_load(p + i), h));
        v16_store(p + i, e);
        sum = v16_add(sum, e);
    }
    float t[LANES];
    v16_store(t, keep);
    *total = fmaf(*total, t[0], v16_sum(sum));
    *max = higher;
    add_values(op, x, p, keep, head, out);
}

/* Query heads [h0, h1) of one row. */
static void attend(const struct host_step *s, const struct op *op, int32_t row, int h0, int h1)
{
    int32_t q = s->row_seq[row], dk = op->p.attention.dk, dv = op->p.attention.dv;
    int64_t pos = s->batch->pos[q] + (row - s->batch->cu_seqlens[q]), W = op->p.attention.window;
    int64_t from = W && pos >= W ? pos - W + 1 : 0;
    const float *query = host_row(s, op->in[0], row);
    const float *f = view_given(op->in[3]) ? host_row(s, op->in[3], row) : NULL;
    float *out = host_row(s, op->out, row), max[HEADS_MAX], total[HEADS_MAX];
    for (int h = h0; h < h1; h++) {
        max[h - h0] = -INFINITY;
        total[h - h0] = 0;
        memset(out + h * dv, 0, (size_t)dv * sizeof *out);
    }
    for (int64_t block = from / BLOCK * BLOCK; block <= pos; block += BLOCK) {
        struct keys x;
        find_keys(s, op, q, block, from, pos + 1, &x);
        for (int h = h0; h < h1; h++)
            add_block(op, &x, query + (int64_t)h * dk, f, h, &max[h - h0], &total[h - h0],
                      out + (int64_t)h * dv);
    }
    for (int h = h0; h < h1; h++) {
        v16 t = v16_set1(total[h - h0]);
        float *o = out + (int64_t)h * dv;
        for (int c = 0; c < dv; c += LANES)
            store_left(o + c, dv - c, v16_div(load_left(o + c, dv - c), t));
    }
}

/* (row, some heads) in turn to the threads: later rows see more keys, a deal is even. */
void FN(attention)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int heads = op->p.attention.heads, per = MIN(heads, HEADS_MAX), item = 0;
    while (per > 1 && (int64_t)s->batch->n_tokens * ((heads + per - 1) / per) < 2 * nth)
        per = (per + 1) / 2;
    for (int32_t row = 0; row < s->batch->n_tokens; row++)
        for (int h = 0; h < heads; h += per)
            if (item++ % nth == ith)
                attend(s, op, row, h, MIN(h + per, heads));
}
