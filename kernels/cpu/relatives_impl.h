/* PATH, WALL, PARALLAX, DELTAFORMER: attention with other scores or values. A work item is some
 * query heads of one row; keys come in blocks as in ATTENTION, upwards or (PATH) downwards from
 * the row, and every score is one sum over the lanes of a head's columns. So a row's bits depend
 * on its position alone. */
#include "kernels/cpu/values_impl.h"

#define PATH_DIM_MAX 512 /* the builder refuses wider heads */
#define VALUE_DIM_MAX 1024

/* Query heads [h0, h1) of one row; p and s are their scores in this block of keys. */
struct pairs {
    int32_t q, row;
    int64_t pos;
    int h0, h1;
    float max[HEADS_MAX], total[HEADS_MAX], mean[HEADS_MAX];
    _Alignas(64) float p[HEADS_MAX][BLOCK], s[HEADS_MAX][BLOCK];
    _Alignas(64) float query[HEADS_MAX][PATH_DIM_MAX];   /* PATH: as older keys see it */
    _Alignas(64) float second[HEADS_MAX][VALUE_DIM_MAX]; /* PARALLAX: values by p s */
};

static int key_head(const struct op *op, int h)
{
    return h / (op->p.attention.heads / op->p.attention.kv_heads);
}

static float dot(const float *a, const float *b, int n)
{
    v16 sum = v16_zero();
    for (int c = 0; c < n; c += LANES)
        sum = v16_fma(load_left(a + c, n - c), load_left(b + c, n - c), sum);
    return v16_sum(sum);
}

/* Scores of all pairs with keys [lo, hi) of the block into a->p (and a->s). */
typedef void score_fn(const struct host_step *s, const struct op *op, struct pairs *a,
                      const struct keys *x);

static void plain_scores(const struct host_step *s, const struct op *op, struct pairs *a,
                         const struct keys *x)
{
    int dk = op->p.attention.dk;
    const float *q = host_row(s, op->in[0], a->row);
    for (int h = a->h0; h < a->h1; h++)
        for (int i = x->lo; i < x->hi; i++)
            a->p[h - a->h0][i] =
                op->p.attention.scale * dot(q + h * dk, x->k[i] + key_head(op, h) * dk, dk);
}

static void parallax_scores(const struct host_step *s, const struct op *op, struct pairs *a,
                            const struct keys *x)
{
    int dk = op->p.attention.dk;
    const float *r = host_row(s, op->in[0], a->row) + op->p.attention.heads * dk;
    plain_scores(s, op, a, x);
    for (int h = a->h0; h < a->h1; h++)
        for (int i = x->lo; i < x->hi; i++)
            a->s[h - a->h0][i] = dot(r + h * dk, x->k[i] + key_head(op, h) * dk, dk);
}

static void wall_scores(const struct host_step *s, const struct op *op, struct pairs *a,
                        const struct keys *x)
{
    int dk = op->p.attention.dk;
    const float *q = host_row(s, op->in[0], a->row), *now = host_row(s, op->in[3], a->row);
    const float *c = view_given(op->in[4]) ? host_row(s, op->in[4], a->row) : NULL;
    for (int h = a->h0; h < a->h1; h++) {
        for (int i = x->lo; i < x->hi; i++) {
            const float *k = x->k[i] + key_head(op, h) * dk, *then = x->more[0][i] + h * dk;
            v16 sum = v16_zero();
            for (int d = 0; d < dk; d += LANES) {
                int left = dk - d;
                v16 gone = v16_sub(load_left(now + h * dk + d, left), load_left(then + d, left));
                v16 qk = v16_mul(load_left(q + h * dk + d, left), load_left(k + d, left));
                sum = v16_fma(qk, v16_exp(gone), sum);
            }
            float score = op->p.attention.scale * v16_sum(sum);
            a->p[h - a->h0][i] = c ? score + (c[h] - x->more[1][i][h]) : score;
        }
    }
}

/* Heads inside of keys: the chain of reflections of one head waits for its sums, those of others
 * meanwhile do not. */
static void path_scores(const struct host_step *s, const struct op *op, struct pairs *a,
                        const struct keys *x)
{
    int dk = op->p.attention.dk;
    const float *g = view_given(op->in[5]) ? host_row(s, op->in[5], a->row) : NULL;
    for (int i = x->hi - 1; i >= x->lo; i--) {
        for (int h = a->h0; h < a->h1; h++) {
            int m = key_head(op, h);
            const float *k = x->k[i] + m * dk, *w = x->more[0][i] + m * dk;
            float *q = a->query[h - a->h0];
            v16 score = v16_zero(), seen = v16_zero();
            for (int c = 0; c < dk; c += LANES) {
                v16 y = v16_load(q + c);
                score = v16_fma(y, load_left(k + c, dk - c), score);
                seen = v16_fma(y, load_left(w + c, dk - c), seen);
            }
            float gone = g ? g[h] - x->more[2][i][h] : 0;
            a->p[h - a->h0][i] = op->p.attention.scale * (v16_sum(score) + gone);
            v16 by = v16_set1(x->more[1][i][m] * v16_sum(seen));
            for (int c = 0; c < dk; c += LANES)
                v16_store(q + c, v16_fnma(by, load_left(w + c, dk - c), v16_load(q + c)));
        }
    }
}

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

static void wall_row(const struct host_step *s, const struct op *op, struct pairs *a)
{
    begin(s, op, a);
    walk(s, op, a, 0, a->pos + 1, false, wall_scores);
}

static void path_row(const struct host_step *s, const struct op *op, struct pairs *a)
{
    int dk = op->p.attention.dk;
    begin(s, op, a);
    for (int h = a->h0; h < a->h1; h++) {
        float *q = a->query[h - a->h0];
        memset(q, 0, sizeof a->query[0]);
        memcpy(q, host_row(s, op->in[0], a->row) + (int64_t)h * dk, (size_t)dk * sizeof *q);
    }
    walk(s, op, a, 0, a->pos + 1, true, path_scores);
}

/* sum p (1 + m - s) v = (1 + m) sum p v - sum p s v, with m = sum p s. */
static void parallax_row(const struct host_step *s, const struct op *op, struct pairs *a)
{
    int dv = op->p.attention.dv;
    begin(s, op, a);
    memset(a->second, 0, (size_t)(a->h1 - a->h0) * sizeof a->second[0]);
    walk(s, op, a, first_seen(op, a->pos), a->pos + 1, false, parallax_scores);
    for (int h = a->h0; h < a->h1; h++) {
        int j = h - a->h0;
        float *out = host_row(s, op->out, a->row) + (int64_t)h * dv, *second = a->second[j];
        v16 by = v16_set1(1 + a->mean[j] / a->total[j]);
        for (int c = 0; c < dv; c += LANES)
            store_left(out + c, dv - c, v16_sub(v16_mul(by, load_left(out + c, dv - c)),
                                                load_left(second + c, dv - c)));
    }
}

/* The row's own u needs what the others already give; then its own key joins them. */
static void deltaformer_row(const struct host_step *s, const struct op *op, struct pairs *a)
{
    int H = op->p.attention.heads, dk = op->p.attention.dk, dv = op->p.attention.dv;
    const float *in = host_row(s, op->in[0], a->row), *v = in + H * dk, *beta = in + H * (dk + dv);
    float *o = host_row(s, op->out, a->row), *u = o + H * dv;
    begin(s, op, a);
    walk(s, op, a, 0, a->pos, false, plain_scores);
    for (int h = a->h0; h < a->h1; h++) {
        v16 by = v16_set1(beta[h]), total = v16_set1(a->total[h - a->h0]);
        for (int c = h * dv; c < (h + 1) * dv; c += LANES) {
            int left = (h + 1) * dv - c;
            v16 y = load_left(v + c, left);
            if (a->pos > 0)
                y = v16_fnma(by, v16_div(load_left(o + c, left), total), y);
            store_left(u + c, left, y);
        }
    }
    walk(s, op, a, a->pos, a->pos + 1, false, plain_scores);
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

void FN(wall)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    each_row(s, op, ith, nth, wall_row);
}

void FN(path)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    ASSERT(op->p.attention.dk <= PATH_DIM_MAX);
    each_row(s, op, ith, nth, path_row);
}

void FN(parallax)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    ASSERT(op->p.attention.dv <= VALUE_DIM_MAX); /* heads are never wider */
    each_row(s, op, ith, nth, parallax_row);
}

/* Rows of a sequence in order, by one thread: each reads the u of all before. */
void FN(deltaformer)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    struct pairs a;
    int each = heads_of(op, s->batch->n_seqs, nth), item = 0;
    for (a.q = 0; a.q < s->batch->n_seqs; a.q++)
        for (a.h0 = 0; a.h0 < op->p.attention.heads; a.h0 = a.h1) {
            a.h1 = MIN(a.h0 + each, op->p.attention.heads);
            if (item++ % nth != ith)
                continue;
            for (a.row = s->batch->cu_seqlens[a.q]; a.row < s->batch->cu_seqlens[a.q + 1]; a.row++)
                run_row(s, op, &a, deltaformer_row);
        }
}
