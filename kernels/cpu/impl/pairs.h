/* What attention's relatives do alike: some query heads of one row meet the keys, block by block,
 * upwards or downwards; each says how its scores come about. */
#include "kernels/cpu/impl/values.h"


/* Query heads [h0, h1) of one row; p and s are their scores in this block of keys. */
struct pairs {
    int32_t q, row;
    int64_t pos;
    int h0, h1;
    float max[HEADS_MAX], total[HEADS_MAX], mean[HEADS_MAX];
    _Alignas(64) float p[HEADS_MAX][BLOCK], s[HEADS_MAX][BLOCK];
    _Alignas(64) float query[HEADS_MAX][LIMIT_PATH_DK];   /* PATH: as older keys see it */
    _Alignas(64) float second[HEADS_MAX][LIMIT_PARALLAX_DV]; /* PARALLAX: values by p s */
};

static int key_head(const struct op *op, int h)
{
    return h / (op->p.attention.heads / op->p.attention.kv_heads);
}

/* Scores of all pairs with keys [lo, hi) of the block into a->p (and a->s). */
typedef void score_fn(const struct host_step *s, const struct op *op, struct pairs *a,
                      const struct keys *x);

static void begin(const struct host_step *s, const struct op *op, struct pairs *a)
{
    int64_t dv = op->p.attention.dv;
    memset(host_row(s, op->out, a->row) + a->h0 * dv, 0,
           (size_t)((a->h1 - a->h0) * dv) * sizeof(float));
    for (int i = 0; i < a->h1 - a->h0; i++) {
        a->max[i] = -FLT_MAX;
        a->total[i] = a->mean[i] = 0;
    }
}

/* Takes the block's scores in; those outside of [lo, hi) are made to count nothing. */
static void take_block(const struct host_step *s, const struct op *op, struct pairs *a,
                       const struct keys *x)
{
    int dv = op->p.attention.dv;
    for (int h = a->h0; h < a->h1; h++) {
        int j = h - a->h0;
        float *p = a->p[j], *out = host_row(s, op->out, a->row) + (int64_t)h * dv, t[LANES];
        for (int i = 0; i < BLOCK; i++)
            if (i < x->lo || i >= x->hi) {
                p[i] = -INFINITY;
                a->s[j][i] = 0;
            }
        v16 keep = soften(p, &a->max[j], &a->total[j]), sum = v16_zero();
        int hv = op->kind == OP_DELTAFORMER ? h : key_head(op, h); /* every head has its own u */
        add_values(op, x, p, keep, hv, x->lo, x->hi, out);
        if (op->kind != OP_PARALLAX)
            continue;
        for (int i = 0; i < BLOCK; i += LANES) {
            v16 ps = v16_mul(v16_load(p + i), v16_load(a->s[j] + i));
            v16_store(a->s[j] + i, ps);
            sum = v16_add(sum, ps);
        }
        v16_store(t, keep);
        a->mean[j] = fmaf(a->mean[j], t[0], v16_sum(sum));
        add_values(op, x, a->s[j], keep, hv, x->lo, x->hi, a->second[j]);
    }
}

/* Positions [from, to), block by block. */
static void walk(const struct host_step *s, const struct op *op, struct pairs *a, int64_t from,
                 int64_t to, bool down, score_fn *f)
{
    int64_t first = from / BLOCK, last = (to - 1) / BLOCK;
    for (int64_t n = 0; from < to && n <= last - first; n++) {
        struct keys x;
        find_keys(s, op, a->q, (down ? last - n : first + n) * BLOCK, from, to, &x);
        f(s, op, a, &x);
        take_block(s, op, a, &x);
    }
}

typedef void row_fn(const struct host_step *s, const struct op *op, struct pairs *a);

static void run_row(const struct host_step *s, const struct op *op, struct pairs *a, row_fn *f)
{
    int dv = op->p.attention.dv;
    a->pos = s->batch->pos[a->q] + (a->row - s->batch->cu_seqlens[a->q]);
    f(s, op, a);
    for (int h = a->h0; h < a->h1; h++)
        divide(host_row(s, op->out, a->row) + (int64_t)h * dv, dv, a->total[h - a->h0]);
}

/* Heads of one item: as many as fit, fewer when the threads would not all have work. */
static int heads_of(const struct op *op, int64_t rows, int nth)
{
    int n = MIN(op->p.attention.heads, HEADS_MAX);
    while (n > 1 && rows * op->p.attention.heads / n < 2 * nth)
        n /= 2;
    return n;
}

static void each_row(const struct host_step *s, const struct op *op, int ith, int nth, row_fn *f)
{
    struct pairs a;
    int each = heads_of(op, s->batch->n_tokens, nth), item = 0;
    for (a.row = 0; a.row < s->batch->n_tokens; a.row++)
        for (a.h0 = 0; a.h0 < op->p.attention.heads; a.h0 = a.h1) {
            a.h1 = MIN(a.h0 + each, op->p.attention.heads);
            a.q = s->row_seq[a.row];
            if (item++ % nth == ith)
                run_row(s, op, &a, f);
        }
}
