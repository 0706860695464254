/* NSA and MOBA: attention over means of blocks, over chosen blocks and over a window. Means and
 * sums of a block are formed from its cached rows by every row that looks at it, in the order of
 * positions; all query heads of a key head share them. A work item is one row and one key head
 * (NSA), or some of its query heads (MOBA). */
#include "kernels/cpu/impl/values.h"

#define DIM_MAX LIMIT_SPARSE_D
#define CHOOSERS 4   /* query heads of MOBA that share the sums of blocks; 256 KiB of scores */

/* One query head on its way over keys. */
struct head {
    const float *query;
    float max, total, *out;
};
static void start(struct head *x, const float *query, float *out, int dv)
{
    *x = (struct head){query, -FLT_MAX, 0, out};
    memset(out, 0, (size_t)dv * sizeof *out);
}

/* Keys [x->lo, x->hi) with these scores; the others of p count nothing. */
static void take(const struct op *op, struct head *a, const struct keys *x, float *p, int m)
{
    for (int i = 0; i < x->lo; i++)
        p[i] = -INFINITY;
    for (int i = x->hi; i < BLOCK; i++)
        p[i] = -INFINITY;
    v16 keep = soften(p, &a->max, &a->total);
    add_values(op, x, p, keep, m, x->lo, x->hi, a->out);
}

/* Scores of keys [x->lo, x->hi) of key head m. */
static void score(const struct op *op, const struct head *a, const struct keys *x, int m, float *p)
{
    int dk = op->p.attention.dk;
    for (int i = x->lo; i < x->hi; i++)
        p[i] = op->p.attention.scale * dot(a->query, x->k[i] + (int64_t)m * dk, dk);
}

/* Attention of one head over positions [from, to). */
static void attend(const struct host_step *s, const struct op *op, int32_t q, int64_t from,
                   int64_t to, int m, struct head *a)
{
    _Alignas(64) float p[BLOCK];
    for (int64_t b = from / BLOCK * BLOCK; b < to; b += BLOCK) {
        struct keys x;
        find_keys(s, op, q, b, from, to, &x);
        score(op, a, &x, m, p);
        take(op, a, &x, p, m);
    }
}

/* out = by * sum of operand `part` of key head m over n positions from `from`. */
static void sum_rows(const struct host_step *s, const struct op *op, int32_t q, int64_t from,
                     int n, int part, int m, float by, float *out)
{
    int d = part == 1 ? op->p.attention.dk : op->p.attention.dv;
    memset(out, 0, (size_t)d * sizeof *out);
    for (int64_t p = from; p < from + n; p++) {
        const float *x = cached(s, op, q, p, section_row(s, op, q, p), part) + (int64_t)m * d;
        for (int c = 0; c < d; c += LANES)
            store_left(out + c, d - c, v16_add(load_left(out + c, d - c), load_left(x + c, d - c)));
    }
    for (int c = 0; c < d; c += LANES)
        store_left(out + c, d - c, v16_mul(load_left(out + c, d - c), v16_set1(by)));
}

/* Marks the `count` best of n scores with infinity; ties to the lower index. A NaN or an infinity
 * is never one of them. */
static void mark_best(float *score, int n, int count)
{
    for (int i = 0; i < n; i++)
        score[i] = isfinite(score[i]) ? score[i] : -INFINITY;
    for (int c = 0; c < count; c++) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if (isfinite(score[i]) && (best < 0 || score[i] > score[best]))
                best = i;
        if (best < 0)
            return;
        score[best] = INFINITY;
    }
}

/* Positions of block b up to and with pos, if it is marked. */
static void attend_marked(const struct host_step *s, const struct op *op, int32_t q, int64_t pos,
                          const float *marked, int n, int m, struct head *a)
{
    int64_t B = op->p.attention.block;
    for (int b = 0; b < n; b++)
        if (marked[b] == INFINITY)
            attend(s, op, q, b * B, MIN((b + 1) * B, pos + 1), m, a);
}

/* ---- NSA ---- */

/* Means of blocks stand for keys, BLOCK of them at a time. */
struct means {
    struct keys x;
    float k[BLOCK][DIM_MAX], v[BLOCK][DIM_MAX];
};

/* Means of complete blocks [b0, min(b0 + BLOCK, nb)); of their values too, if asked. */
static void find_means(const struct host_step *s, const struct op *op, int32_t q, int m, int b0,
                       int nb, bool values, struct means *y)
{
    int B = op->p.attention.block;
    y->x.lo = 0;
    y->x.hi = MIN(nb - b0, BLOCK);
    for (int i = 0; i < y->x.hi; i++) {
        sum_rows(s, op, q, (int64_t)(b0 + i) * B, B, 1, m, 1.0f / (float)B, y->k[i]);
        if (values)
            sum_rows(s, op, q, (int64_t)(b0 + i) * B, B, 2, m, 1.0f / (float)B, y->v[i]);
        y->x.k[i] = y->k[i];
        y->x.v[i] = y->v[i];
    }
}

/* All heads of the group over the means; share [nb] becomes the mean of their probabilities. */
static void nsa_means(const struct host_step *s, const struct op *op, int32_t row, int m, int nb,
                      float *share)
{
    int32_t q = s->row_seq[row];
    int dk = op->p.attention.dk, dv = op->p.attention.dv;
    int per = op->p.attention.heads / op->p.attention.kv_heads;
    struct means y;
    struct head a[HEADS_MAX];
    _Alignas(64) float p[BLOCK];
    memset(share, 0, (size_t)nb * sizeof *share);
    for (int h0 = 0; h0 < per; h0 += HEADS_MAX) {
        int n = MIN(per - h0, HEADS_MAX);
        for (int h = 0; h < n; h++)
            start(&a[h], host_row(s, op->in[0], row) + (int64_t)(m * per + h0 + h) * dk,
                  host_row(s, op->out, row) + (int64_t)(m * per + h0 + h) * dv, dv);
        for (int b = 0; b < nb; b += BLOCK) {
            find_means(s, op, q, m, b, nb, true, &y);
            for (int h = 0; h < n; h++) {
                score(op, &a[h], &y.x, 0, p);
                take(op, &a[h], &y.x, p, 0);
            }
        }
        for (int b = 0; b < nb; b += BLOCK) {
            if (nb > BLOCK) /* else the means are still there */
                find_means(s, op, q, m, b, nb, false, &y);
            for (int h = 0; h < n; h++) {
                score(op, &a[h], &y.x, 0, p);
                float by = 1 / (a[h].total * (float)per);
                for (int i = 0; i < y.x.hi; i += LANES) {
                    v16 e = v16_exp(v16_sub(v16_load(p + i), v16_set1(a[h].max)));
                    e = v16_fma(e, v16_set1(by), load_left(share + b + i, y.x.hi - i));
                    store_left(share + b + i, y.x.hi - i, e);
                }
            }
        }
        for (int h = 0; h < n && nb > 0; h++)
            divide(a[h].out, dv, a[h].total);
    }
}

static void nsa_group(const struct host_step *s, const struct op *op, int32_t row, int m)
{
    int32_t q = s->row_seq[row];
    int64_t pos = s->batch->pos[q] + (row - s->batch->cu_seqlens[q]);
    int dk = op->p.attention.dk, dv = op->p.attention.dv, H = op->p.attention.heads;
    int per = H / op->p.attention.kv_heads, W = op->p.attention.window, B = op->p.attention.block;
    int nb = (int)((pos + 1) / B), cur = (int)(pos / B), n = MAX(nb, cur + 1);
    float share[SPARSE_BLOCKS_MAX];
    nsa_means(s, op, row, m, nb, share);
    share[0] = share[cur] = share[MAX(cur - 1, 0)] = 1;
    mark_best(share, n, op->p.attention.count);
    for (int h = m * per; h < (m + 1) * per; h++) {
        const float *query = host_row(s, op->in[0], row) + (int64_t)h * dk;
        float *chosen = host_row(s, op->out, row) + (int64_t)(H + h) * dv;
        struct head a;
        start(&a, query, chosen, dv);
        attend_marked(s, op, q, pos, share, n, m, &a);
        divide(chosen, dv, a.total);
        start(&a, query, chosen + (int64_t)H * dv, dv);
        if (W == 0)
            continue;
        attend(s, op, q, MAX(pos - W + 1, 0), pos + 1, m, &a);
        divide(a.out, dv, a.total);
    }
}

void FN(nsa)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int item = 0;
    for (int32_t row = 0; row < s->batch->n_tokens; row++)
        for (int m = 0; m < op->p.attention.kv_heads; m++)
            if (item++ % nth == ith)
                nsa_group(s, op, row, m);
}

/* ---- MOBA ---- */

/* Query heads [h0, h1) of one key head. */
static void moba_heads(const struct host_step *s, const struct op *op, int32_t row, int h0, int h1)
{
    int32_t q = s->row_seq[row];
    int64_t pos = s->batch->pos[q] + (row - s->batch->cu_seqlens[q]);
    int dk = op->p.attention.dk, dv = op->p.attention.dv, C = op->p.attention.block;
    int m = h0 / (op->p.attention.heads / op->p.attention.kv_heads), cur = (int)(pos / C);
    float marked[CHOOSERS][SPARSE_BLOCKS_MAX], sum[DIM_MAX];
    const float *query = host_row(s, op->in[0], row);
    for (int b = 0; b < cur; b++) {
        sum_rows(s, op, q, (int64_t)b * C, C, 1, m, 1, sum);
        for (int h = h0; h < h1; h++)
            marked[h - h0][b] = dot(query + (int64_t)h * dk, sum, dk);
    }
    for (int h = h0; h < h1; h++) {
        struct head a;
        start(&a, query + (int64_t)h * dk, host_row(s, op->out, row) + (int64_t)h * dv, dv);
        mark_best(marked[h - h0], cur, op->p.attention.count - 1);
        marked[h - h0][cur] = INFINITY;
        attend_marked(s, op, q, pos, marked[h - h0], cur + 1, m, &a);
        divide(a.out, dv, a.total);
    }
}

void FN(moba)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int heads = op->p.attention.heads, per = heads / op->p.attention.kv_heads, item = 0;
    for (int32_t row = 0; row < s->batch->n_tokens; row++)
        for (int h0 = 0, h1; h0 < heads; h0 = h1) {
            h1 = MIN(h0 + CHOOSERS, (h0 / per + 1) * per); /* of one key head */
            if (item++ % nth == ith)
                moba_heads(s, op, row, h0, h1);
        }
}
