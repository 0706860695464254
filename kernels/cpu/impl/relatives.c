/* PATH, WALL, PARALLAX, DELTAFORMER: attention with other scores or values. A work item is some
 * query heads of one row; keys come in blocks as in ATTENTION, upwards or (PATH) downwards from
 * the row, and every score is one sum over the lanes of a head's columns. So a row's bits depend
 * on its position alone. */
#include "kernels/cpu/impl/pairs.h"

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

void FN(wall)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    each_row(s, op, ith, nth, wall_row);
}

void FN(path)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    ASSERT(op->p.attention.dk <= LIMIT_PATH_DK);
    each_row(s, op, ith, nth, path_row);
}

void FN(parallax)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    ASSERT(op->p.attention.dv <= LIMIT_PARALLAX_DV);
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
