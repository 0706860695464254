/* DELTA: u = S^T a'; S = diag(w) S + b u^T + k v'^T; o = S^T q.
 *
 * One pass over the block per token: while a row is in registers it is updated, read for this
 * token's output, and read for the next token's u. Every sum is the same chain over k as in ref,
 * so the bits are ref's. */
#include "kernels/cpu/impl/state.h"

/* One micro-step; pointers are to this head's (and block's) part. */
struct step {
    const float *k, *v, *a, *b, *q;
    struct factor w;     /* decay of this step */
    struct factor first; /* what multiplies a: w, or 1 */
    float beta;
    float *out; /* NULL: not the token's last step */
};

static struct factor decay_of(const struct host_step *s, const struct op *op, int32_t t, int h)
{
    int hd = map_head(h, op->p.delta.state_heads, MAX(op->p.delta.d_heads, 1));
    if (op->p.delta.decay == DECAY_SCALAR)
        return (struct factor){host_row(s, op->in[3], t) + hd, 0};
    if (op->p.delta.decay == DECAY_KEY)
        return (struct factor){host_row(s, op->in[3], t) + (int64_t)hd * op->p.delta.K, 1};
    return (struct factor){&factor_one, 0};
}

static struct step step_at(const struct host_step *s, const struct op *op, int32_t t, int n,
                           int h, int col)
{
    int H = op->p.delta.state_heads, Hk = op->p.delta.k_heads, K = op->p.delta.K;
    int V = op->p.delta.V, hk = map_head(h, H, Hk);
    int64_t key = ((int64_t)n * Hk + hk) * K;
    bool dplr = op->p.delta.dplr;
    struct step x = {
        .k = host_row(s, op->in[1], t) + key,
        .v = host_row(s, op->in[2], t) + ((int64_t)n * H + h) * V + col,
        .q = host_row(s, op->in[0], t) + (int64_t)hk * K,
        .w = {&factor_one, 0},
        .first = {&factor_one, 0},
        .beta = 1,
    };
    x.a = view_given(op->in[4]) ? host_row(s, op->in[4], t) + key : x.k;
    if (dplr)
        x.b = host_row(s, op->in[5], t) + key;
    else if (view_given(op->in[5]))
        x.beta = host_row(s, op->in[5], t)[n * H + h];
    if (n == 0)
        x.w = decay_of(s, op, t, h);
    if (op->p.delta.decay_first)
        x.first = x.w;
    if (n == op->p.delta.steps - 1)
        x.out = host_row(s, op->out, t) + (int64_t)h * V + col;
    return x;
}

/* What the step at token t reads of this head: its rows lie a page apart, so nobody else fetches
 * them. */
INLINE void fetch_step(const struct host_step *s, const struct op *op, int32_t t, int h,
                       const struct block *b, bool dplr)
{
    struct step x = step_at(s, op, t, 0, h, b->col);
    for (int k = 0; k < b->K; k += LANES) {
        __builtin_prefetch(x.q + k);
        __builtin_prefetch(x.k + k);
        __builtin_prefetch(x.a + k);
        if (dplr)
            __builtin_prefetch(x.b + k);
        __builtin_prefetch(x.w.p + k * x.w.step);
    }
    for (int c = 0; c < b->n; c += LANES)
        __builtin_prefetch(x.v + c);
}
#define FETCH_TOKENS 4 /* ahead */

/* u of the first step of a run. */
INLINE void read_u(const void *s, int64_t stride, int K, const struct step *x, v16 *u, int NV,
                   enum rows_of of)
{
    UNROLL for (int i = 0; i < NV; i++)
        u[i] = v16_zero();
    for (int k = 0; k < K; k++) {
        v16 p = v16_set1(x->first.p[k * x->first.step] * x->a[k]);
        UNROLL for (int i = 0; i < NV; i++)
            u[i] = v16_fma(p, rows_load(s, k * stride + i * LANES, of), u[i]);
    }
}

/* Updates the block with step x, whose u is given; u becomes that of step `next`. After the last
 * (not `more`) memory has nothing to do: the block that follows is fetched. */
INLINE void advance(void *s, int64_t stride, int n, const struct step *x, const struct step *next,
                    float scale, const struct block *block, v16 *u, int NV, bool dplr,
                    enum rows_of of, bool more)
{
    v16 d[BLOCK_V], o[BLOCK_V], un[BLOCK_V];
    UNROLL for (int i = 0; i < NV; i++) {
        d[i] = load_columns(x->v, i, n);
        if (!dplr)
            d[i] = v16_mul(v16_set1(x->beta), v16_sub(d[i], u[i]));
        o[i] = un[i] = v16_zero();
    }
    for (int k = 0; k < block->K; k++) {
        v16 w = v16_set1(x->w.p[k * x->w.step]), key = v16_set1(x->k[k]), q = v16_set1(x->q[k]);
        v16 b, p;
        if (dplr)
            b = v16_set1(x->b[k]);
        if (more)
            p = v16_set1(next->first.p[k * next->first.step] * next->a[k]);
        else
            fetch_row(block->then, k * block->stride, NV, of != ROWS_FLOAT);
        UNROLL for (int i = 0; i < NV; i++) {
            int64_t at = k * stride + i * LANES;
            v16 y = v16_mul(rows_load(s, at, of), w);
            if (dplr)
                y = v16_fma(b, u[i], y);
            y = rows_store(s, at, v16_fma(key, d[i], y), of);
            o[i] = v16_fma(q, y, o[i]);
            if (more)
                un[i] = v16_fma(p, y, un[i]);
        }
    }
    UNROLL for (int i = 0; i < NV; i++) {
        if (x->out)
            store_columns(x->out, i, n, v16_mul(o[i], v16_set1(scale)));
        u[i] = un[i];
    }
}

/* All steps of a sequence on one block of NV vectors. */
INLINE void walk(const struct host_step *s, const struct op *op, int q, int h,
                 const struct block *b, void *p, int64_t stride, int NV, bool dplr, enum rows_of of)
{
    int32_t t = s->batch->cu_seqlens[q], end = s->batch->cu_seqlens[q + 1];
    int steps = op->p.delta.steps, n = 0;
    v16 u[BLOCK_V];
    struct step x = step_at(s, op, t, 0, h, b->col), next;
    read_u(p, stride, b->K, &x, u, NV, of);
    for (; t < end; x = next) {
        n = n + 1 < steps ? n + 1 : 0;
        t += n == 0;
        if (n == 0 && t + FETCH_TOKENS < end)
            fetch_step(s, op, t + FETCH_TOKENS, h, b, dplr);
        if (t < end) {
            next = step_at(s, op, t, n, h, b->col);
            advance(p, stride, b->n, &x, &next, op->p.delta.scale, b, u, NV, dplr, of,
                    true);
        } else {
            advance(p, stride, b->n, &x, &x, op->p.delta.scale, b, u, NV, dplr, of, false);
        }
    }
}

#define WALK(NV, form, dplr, of) \
    static void walk_##NV##_##form##_##of(const struct host_step *s, const struct op *op, int q, \
                                          int h, const struct block *b, void *p, int64_t stride) \
    { \
        walk(s, op, q, h, b, p, stride, NV, dplr, of); \
    }
typedef void walk_fn(const struct host_step *, const struct op *, int, int, const struct block *,
                     void *, int64_t);
#define WALKS(NV) \
    WALK(NV, delta, false, ROWS_FLOAT) WALK(NV, dplr, true, ROWS_FLOAT) \
    WALK(NV, delta, false, ROWS_ROUNDED) WALK(NV, dplr, true, ROWS_ROUNDED) \
    WALK(NV, delta, false, ROWS_HALF) WALK(NV, dplr, true, ROWS_HALF)
#define WALKS_ROW(NV) \
    {{walk_##NV##_delta_ROWS_FLOAT, walk_##NV##_dplr_ROWS_FLOAT}, \
     {walk_##NV##_delta_ROWS_ROUNDED, walk_##NV##_dplr_ROWS_ROUNDED}, \
     {walk_##NV##_delta_ROWS_HALF, walk_##NV##_dplr_ROWS_HALF}}
WALKS(1)
#if V16_REGS == 32
WALKS(2)
WALKS(3)
WALKS(4)
#endif
static walk_fn *const walks[BLOCK_V][ROWS_KINDS][2] = {
    WALKS_ROW(1),
#if V16_REGS == 32
    WALKS_ROW(2), WALKS_ROW(3), WALKS_ROW(4),
#endif
};

static void delta_block(const struct host_step *s, const struct op *op, int q, int h,
                        const struct block *b)
{
    int tokens = s->batch->cu_seqlens[q + 1] - s->batch->cu_seqlens[q];
    bool copied = block_copied(b, tokens);
    walk_fn *fn = walks[b->nv - 1][rows_of(b, copied)][op->p.delta.dplr];
    _Alignas(64) float copy[COPY_FLOATS];
    if (!copied) {
        fn(s, op, q, h, b, b->s, b->stride);
        return;
    }
    block_in(b, copy);
    fn(s, op, q, h, b, copy, b->nv * LANES);
    block_out(b, copy);
}

void FN(delta)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int K = op->p.delta.K;
    if (K * LANES > COPY_FLOATS)
        ref_delta(s, op, ith, nth); /* larger than any model's head; the same bits */
    else
        each_block(s, op, op->p.delta.state_heads, K, op->p.delta.V, ith, nth, delta_block);
}
