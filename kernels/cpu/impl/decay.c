/* DECAY: S = diag(a) S diag(c) + k v^T, o = S^T q, with or without a bonus for the current token.
 * One pass over the block per token; the bits are ref's. */
#include "kernels/cpu/impl/state.h"

/* Tokens that are worked on at once: as many as leave their sums and values in registers. */
#define TOKENS 4
#define TOKENS_OF(NV) (V16_REGS == 32 && (NV) <= 2 ? TOKENS : 2)

/* One token; pointers are to this head's (and block's) part. */
struct token {
    const float *k, *v, *q, *bonus;
    struct factor w;     /* by key, or one number */
    const float *by_col; /* DECAY_VALUE: one per column */
    float *out;
};

static struct token token_at(const struct host_step *s, const struct op *op, int32_t t, int h,
                             int col)
{
    int H = op->p.decay.state_heads, K = op->p.decay.K, V = op->p.decay.V;
    int hd = map_head(h, H, MAX(op->p.decay.d_heads, 1));
    int per = MAX(op->p.decay.q_heads / H, 1); /* queries of a state head */
    int query = per > 1 ? h * per : map_head(h, H, op->p.decay.q_heads);
    const float *d = view_given(op->in[3]) ? host_row(s, op->in[3], t) : NULL;
    const float *bonus = host_vec(s, op->w[0]);
    struct token x = {
        .k = host_row(s, op->in[1], t) + map_head(h, H, op->p.decay.k_heads) * K,
        .v = host_row(s, op->in[2], t) + map_head(h, H, op->p.decay.v_heads) * V + col,
        .q = host_row(s, op->in[0], t) + (int64_t)query * K,
        .bonus = bonus ? bonus + (int64_t)h * K : NULL,
        .w = {&factor_one, 0},
        .out = host_row(s, op->out, t) + (int64_t)h * per * V + col,
    };
    switch (op->p.decay.decay) {
    case DECAY_NONE: break;
    case DECAY_CONST: x.w.p = host_vec(s, op->w[1]) + h; break;
    case DECAY_SCALAR: x.w.p = d + hd; break;
    case DECAY_KEY: x.w = (struct factor){d + (int64_t)hd * K, 1}; break;
    case DECAY_VALUE: x.by_col = d + (int64_t)hd * V + col; break;
    }
    return x;
}

/* The token that is n after x. */
INLINE struct token token_after(const struct host_step *s, const struct op *op, struct token x,
                                int n)
{
    int64_t d = view_given(op->in[3]) ? (int64_t)n * host_stride(s, op->in[3]) : 0;
    x.k += n * host_stride(s, op->in[1]);
    x.v += n * host_stride(s, op->in[2]);
    x.q += n * host_stride(s, op->in[0]);
    x.out += n * host_stride(s, op->out);
    if (op->p.decay.decay == DECAY_SCALAR || op->p.decay.decay == DECAY_KEY)
        x.w.p += d;
    if (x.by_col)
        x.by_col += d;
    return x;
}

/* Updates the block with T tokens and reads it for the first query of each: before the update with
 * a bonus, else after. A row is loaded and stored once for all of them, and their sums hide one
 * another's latency. A token alone waits for memory: the block that follows is fetched. */
INLINE void advance(void *s, int64_t stride, int K, int n, const struct token *x, float scale,
                    const struct block *b, int NV, int T, bool by_col, bool bonus, enum rows_of of)
{
    v16 v[TOKENS][BLOCK_V], o[TOKENS][BLOCK_V], c[TOKENS][BLOCK_V];
    /* rows in order come by themselves */
    const void *then = V16_REGS == 32 && b->stride > NV * LANES ? b->then : NULL;
    UNROLL for (int t = 0; t < T; t++) {
        UNROLL for (int i = 0; i < NV; i++) {
            v[t][i] = load_columns(x[t].v, i, n);
            o[t][i] = v16_zero();
            if (by_col)
                c[t][i] = load_columns(x[t].by_col, i, n);
        }
    }
    for (int k = 0; k < K; k++) {
        v16 y[BLOCK_V];
        UNROLL for (int i = 0; i < NV; i++)
            y[i] = rows_load(s, k * stride + i * LANES, of);
        if (T == 1 && then)
            fetch_row(then, k * b->stride, NV, of != ROWS_FLOAT);
        UNROLL for (int t = 0; t < T; t++) {
            v16 key = v16_set1(x[t].k[k]), q = v16_set1(x[t].q[k]), w, extra;
            if (!by_col)
                w = v16_set1(x[t].w.p[k * x[t].w.step]);
            if (bonus)
                extra = v16_set1(x[t].bonus[k] * x[t].k[k]);
            UNROLL for (int i = 0; i < NV; i++) {
                v16 old = y[i];
                y[i] = v16_fma(key, v[t][i], v16_mul(old, by_col ? c[t][i] : w));
                if (of == ROWS_HALF && t + 1 == T)
                    y[i] = rows_store(s, k * stride + i * LANES, y[i], of);
                else
                    y[i] = rows_keep(y[i], of);
                o[t][i] = v16_fma(q, bonus ? v16_fma(extra, v[t][i], old) : y[i], o[t][i]);
            }
        }
        UNROLL for (int i = 0; i < NV && of != ROWS_HALF; i++)
            v16_store((float *)s + k * stride + i * LANES, y[i]);
    }
    UNROLL for (int t = 0; t < T; t++)
        UNROLL for (int i = 0; i < NV; i++)
            store_columns(x[t].out, i, n, v16_mul(o[t][i], v16_set1(scale)));
}

/* The other queries of a head that several read. */
static void read_more(const struct op *op, const void *s, int64_t stride, const struct block *b,
                      const struct token *x, enum rows_of of)
{
    int K = op->p.decay.K, per = op->p.decay.q_heads / op->p.decay.state_heads;
    for (int j = 1; j < per; j++) {
        const float *q = x->q + (int64_t)j * K;
        for (int i = 0; i < b->nv; i++) {
            v16 o = v16_zero(), v = load_columns(x->v, i, b->n);
            for (int k = 0; k < K; k++) {
                v16 y = rows_load(s, k * stride + i * LANES, of);
                if (x->bonus)
                    y = v16_fma(v16_set1(x->bonus[k] * x->k[k]), v, y);
                o = v16_fma(v16_set1(q[k]), y, o);
            }
            store_columns(x->out + (int64_t)j * op->p.decay.V, i, b->n,
                          v16_mul(o, v16_set1(op->p.decay.scale)));
        }
    }
}

typedef void advance_fn(void *, int64_t, int, int, const struct token *, float,
                        const struct block *);
#define ADVANCE_BY(T, NV, form, by_col, bonus, of) \
    static void advance_##T##_##NV##_##form##_##of(void *s, int64_t stride, int K, int n, \
                                                   const struct token *x, float scale, \
                                                   const struct block *b) \
    { \
        advance(s, stride, K, n, x, scale, b, NV, T_##T(NV), by_col, bonus, of); \
    }
#define T_one(NV) 1
#define T_some(NV) TOKENS_OF(NV)
#define ADVANCE(NV, form, by_col, bonus, of) \
    ADVANCE_BY(one, NV, form, by_col, bonus, of) ADVANCE_BY(some, NV, form, by_col, bonus, of)
#define ADVANCES_OF(NV, of) \
    ADVANCE(NV, key, false, false, of) ADVANCE(NV, key_bonus, false, true, of) \
    ADVANCE(NV, col, true, false, of) ADVANCE(NV, col_bonus, true, true, of)
#define ADVANCES(NV) \
    ADVANCES_OF(NV, ROWS_FLOAT) ADVANCES_OF(NV, ROWS_ROUNDED) ADVANCES_OF(NV, ROWS_HALF)
#define ADVANCE_FORMS(T, NV, of) \
    {{advance_##T##_##NV##_key_##of, advance_##T##_##NV##_key_bonus_##of}, \
     {advance_##T##_##NV##_col_##of, advance_##T##_##NV##_col_bonus_##of}}
#define ADVANCE_ROW(T, NV) \
    {ADVANCE_FORMS(T, NV, ROWS_FLOAT), ADVANCE_FORMS(T, NV, ROWS_ROUNDED), \
     ADVANCE_FORMS(T, NV, ROWS_HALF)}
ADVANCES(1)
#if V16_REGS == 32
ADVANCES(2)
ADVANCES(3)
ADVANCES(4)
#endif
/* One token or some, by vectors, rows, decay by column or not, bonus or not. */
static advance_fn *const advances[2][BLOCK_V][ROWS_KINDS][2][2] = {
#if V16_REGS == 32
    {ADVANCE_ROW(one, 1), ADVANCE_ROW(one, 2), ADVANCE_ROW(one, 3), ADVANCE_ROW(one, 4)},
    {ADVANCE_ROW(some, 1), ADVANCE_ROW(some, 2), ADVANCE_ROW(some, 3), ADVANCE_ROW(some, 4)},
#else
    {ADVANCE_ROW(one, 1)},
    {ADVANCE_ROW(some, 1)},
#endif
};

static void decay_block(const struct host_step *s, const struct op *op, int q, int h,
                        const struct block *b)
{
    int32_t t = s->batch->cu_seqlens[q], end = s->batch->cu_seqlens[q + 1];
    _Alignas(64) float copy[COPY_FLOATS];
    bool copied = block_copied(b, end - t), bonus = op->w[0] >= 0;
    enum rows_of of = rows_of(b, copied);
    void *p = copied ? copy : b->s;
    float scale = op->p.decay.scale;
    int64_t stride = copied ? b->nv * LANES : b->stride;
    bool by_col = op->p.decay.decay == DECAY_VALUE;
    int some = op->p.decay.q_heads > op->p.decay.state_heads ? 1 : TOKENS_OF(b->nv), n;
    struct token x[TOKENS];
    if (copied)
        block_in(b, copy);
    for (x[0] = token_at(s, op, t, h, b->col); t < end; t += n) {
        n = end - t >= some ? some : 1;
        for (int i = 1; i < n; i++)
            x[i] = token_after(s, op, x[0], i);
        if (bonus)
            read_more(op, p, stride, b, x, of);
        advances[n > 1][b->nv - 1][of][by_col][bonus](p, stride, b->K, b->n, x, scale, b);
        if (!bonus)
            read_more(op, p, stride, b, x, of);
        x[0] = token_after(s, op, x[0], n);
    }
    if (copied)
        block_out(b, copy);
}

void FN(decay)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int K = op->p.decay.K;
    if (K * LANES > COPY_FLOATS) /* larger than any model's head: ref, the same bits */
        ref_decay(s, op, ith, nth);
    else
        each_block(s, op, op->p.decay.state_heads, K, op->p.decay.V, ith, nth, decay_block);
}
