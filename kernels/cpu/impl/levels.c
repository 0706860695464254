/* FENWICK and TRAPEZOID: states of rank-1 writes that DECAY does not have. A lane is a column of
 * the state and every sum over k is ref's chain, so the bits are ref's. Work is cut by sequence,
 * head and, for FENWICK, columns. */
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/impl/lanes.h"

#define WIDE_V (V16_REGS == 32 ? 4 : 1) /* vectors of columns that stay in registers */
#define LEVELS_MAX 32                   /* bits of a position that a level can stand for */

/* A level that holds something at this position. */
struct level {
    float *s;     /* first row of the block */
    float lambda; /* how much of it is read */
    bool moves;   /* joins a higher level with this token */
};

/* One token on a block of NV vectors of columns, n columns in all. into: the level that takes the
 * token and those that move, NULL past the last. */
INLINE void fenwick_token(const struct level *l, int levels, float *into, int K, int64_t stride,
                          const float *q, const float *k, const float *v, float alpha,
                          float lambda, float *out, int n, int NV)
{
    v16 value[WIDE_V], o[WIDE_V], a = v16_set1(alpha);
    UNROLL for (int j = 0; j < NV; j++) {
        value[j] = load_left(v + j * LANES, n - j * LANES);
        o[j] = v16_zero();
    }
    for (int i = 0; i < K; i++) {
        v16 merged[WIDE_V], key = v16_set1(k[i]), own = v16_set1(lambda * q[i]);
        UNROLL for (int j = 0; j < NV; j++) {
            merged[j] = v16_mul(key, value[j]);
            o[j] = v16_fma(own, merged[j], o[j]);
        }
        for (int x = 0; x < levels; x++) {
            v16 read = v16_set1(l[x].lambda * q[i]);
            float *row = l[x].s + i * stride;
            UNROLL for (int j = 0; j < NV; j++) {
                v16 s = v16_mul(load_left(row + j * LANES, n - j * LANES), a);
                store_left(row + j * LANES, n - j * LANES, s);
                o[j] = v16_fma(read, s, o[j]);
                if (l[x].moves)
                    merged[j] = v16_add(merged[j], s);
            }
        }
        if (into)
            UNROLL for (int j = 0; j < NV; j++)
                store_left(into + i * stride + j * LANES, n - j * LANES, merged[j]);
    }
    UNROLL for (int j = 0; j < NV; j++)
        store_left(out + j * LANES, n - j * LANES, o[j]);
}

/* All tokens of a sequence on columns [c, c + n) of one head. */
static void fenwick_block(const struct host_step *s, const struct op *op, int q, int h, int c,
                          int n)
{
    const struct batch *b = s->batch;
    int H = op->p.fenwick.heads, K = op->p.fenwick.K, V = op->p.fenwick.V;
    int L = op->p.fenwick.levels;
    int64_t size = (int64_t)K * V;
    float *first = host_state(s, op->section, b->slots[q]) + h * size + c;
    for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++) {
        const float *lambda = host_row(s, op->in[4], t) + (int64_t)h * L;
        int64_t pos = b->pos[q] + (t - b->cu_seqlens[q]);
        struct level l[LEVELS_MAX];
        int levels = 0, into = 1;
        while ((pos >> (into - 1)) & 1)
            into++;
        for (int x = 1; x < L; x++)
            if ((pos >> (x - 1)) & 1)
                l[levels++] = (struct level){first + (x - 1) * H * size, lambda[x], x < into};
        float *to = into < L ? first + (into - 1) * H * size : NULL;
        const float *query = host_row(s, op->in[0], t), *key = host_row(s, op->in[1], t);
        const float *v = host_row(s, op->in[2], t) + (int64_t)h * V + c;
        float alpha = host_row(s, op->in[3], t)[h], *out = host_row(s, op->out, t) +
                                                          (int64_t)h * V + c;
        if (n > (WIDE_V - 1) * LANES)
            fenwick_token(l, levels, to, K, V, query, key, v, alpha, lambda[0], out, n, WIDE_V);
        else
            for (int d = 0; d < n; d += LANES) {
                for (int x = 0; d && x < levels; x++)
                    l[x].s += LANES;
                fenwick_token(l, levels, to ? to + d : NULL, K, V, query, key, v + d, alpha,
                              lambda[0], out + d, n - d, 1);
            }
    }
}

void FN(fenwick)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int V = op->p.fenwick.V, item = 0;
    if (op->p.fenwick.levels > LEVELS_MAX) {
        ref_fenwick(s, op, ith, nth); /* the same bits */
        return;
    }
    for (int q = 0; q < s->batch->n_seqs; q++)
        for (int h = 0; h < op->p.fenwick.heads; h++)
            for (int c = 0; c < V; c += WIDE_V * LANES)
                if (item++ % nth == ith)
                    fenwick_block(s, op, q, h, c, MIN(V - c, WIDE_V * LANES));
}

/* One token of TRAPEZOID on NV vectors of columns. */
struct trapezoid_token {
    const float *q, *k, *v, *k_before, *v_before;
    float alpha, now, before;
    float *out;
};
INLINE void trapezoid_token(float *s, int64_t stride, int K, int n, const struct trapezoid_token *x,
                            int NV)
{
    v16 v[WIDE_V], old[WIDE_V], o[WIDE_V], alpha = v16_set1(x->alpha);
    UNROLL for (int j = 0; j < NV; j++) {
        v[j] = load_left(x->v + j * LANES, n - j * LANES);
        old[j] = load_left(x->v_before + j * LANES, n - j * LANES);
        o[j] = v16_zero();
    }
    for (int i = 0; i < K; i++) {
        v16 before = v16_set1(x->before * x->k_before[i]), now = v16_set1(x->now * x->k[i]);
        v16 q = v16_set1(x->q[i]);
        UNROLL for (int j = 0; j < NV; j++) {
            float *at = s + i * stride + j * LANES;
            v16 y = v16_mul(alpha, load_left(at, n - j * LANES));
            y = v16_fma(now, v[j], v16_fma(before, old[j], y));
            store_left(at, n - j * LANES, y);
            o[j] = v16_fma(q, y, o[j]);
        }
    }
    UNROLL for (int j = 0; j < NV; j++)
        store_left(x->out + j * LANES, n - j * LANES, o[j]);
}

/* All tokens of a sequence on one head. The token before the first is in the state, the others
 * in the batch; the state takes the last at the end. */
static void trapezoid_head(const struct host_step *s, const struct op *op, int q, int h)
{
    const struct batch *b = s->batch;
    int H = op->p.trapezoid.heads, K = op->p.trapezoid.K, V = op->p.trapezoid.V;
    float *S = host_state(s, op->section, b->slots[q]), *kept_k = S + (int64_t)H * K * V;
    float *kept_v = kept_k + (int64_t)H * K + (int64_t)h * V;
    S += (int64_t)h * K * V;
    kept_k += (int64_t)h * K;
    int32_t from = b->cu_seqlens[q], to = b->cu_seqlens[q + 1];
    for (int c = 0; c < V; c += WIDE_V * LANES) {
        for (int32_t t = from; t < to; t++) {
            int n = MIN(V - c, WIDE_V * LANES);
            struct trapezoid_token x = {
                .q = host_row(s, op->in[0], t) + (int64_t)h * K,
                .k = host_row(s, op->in[1], t) + (int64_t)h * K,
                .v = host_row(s, op->in[2], t) + (int64_t)h * V + c,
                .k_before = t > from ? host_row(s, op->in[1], t - 1) + (int64_t)h * K : kept_k,
                .v_before =
                    t > from ? host_row(s, op->in[2], t - 1) + (int64_t)h * V + c : kept_v + c,
                .alpha = host_row(s, op->in[3], t)[h], .now = host_row(s, op->in[4], t)[h],
                .before = host_row(s, op->in[5], t)[h],
                .out = host_row(s, op->out, t) + (int64_t)h * V + c};
            if (n > (WIDE_V - 1) * LANES)
                trapezoid_token(S + c, V, K, n, &x, WIDE_V);
            else
                for (int d = 0; d < n; d += LANES) {
                    trapezoid_token(S + c + d, V, K, n - d, &x, 1);
                    x.v += LANES;
                    x.v_before += LANES;
                    x.out += LANES;
                }
        }
    }
    memcpy(kept_k, host_row(s, op->in[1], to - 1) + (int64_t)h * K, (size_t)K * sizeof *kept_k);
    memcpy(kept_v, host_row(s, op->in[2], to - 1) + (int64_t)h * V, (size_t)V * sizeof *kept_v);
}

void FN(trapezoid)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int item = 0;
    for (int q = 0; q < s->batch->n_seqs; q++)
        for (int h = 0; h < op->p.trapezoid.heads; h++)
            if (item++ % nth == ith && s->batch->cu_seqlens[q] < s->batch->cu_seqlens[q + 1])
                trapezoid_head(s, op, q, h);
}
