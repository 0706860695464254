/* DECAY: S = diag(a) S diag(c) + k v^T, o = S^T q, with or without a bonus for the current token.
 * One pass over the block per token; the bits are ref's. */
#include "kernels/cpu/impl/state.h"

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

/* Updates the block and reads it for the first query: before the update with a bonus, else
 * after. */
INLINE void advance(float *s, int64_t stride, int K, int n, const struct token *x, float scale,
                    int NV, bool by_col, bool bonus)
{
    v16 v[BLOCK_V], o[BLOCK_V], c[BLOCK_V];
    UNROLL for (int i = 0; i < NV; i++) {
        v[i] = load_columns(x->v, i, n);
        o[i] = v16_zero();
        if (by_col)
            c[i] = load_columns(x->by_col, i, n);
    }
    for (int k = 0; k < K; k++) {
        v16 key = v16_set1(x->k[k]), q = v16_set1(x->q[k]), w, extra;
        if (!by_col)
            w = v16_set1(x->w.p[k * x->w.step]);
        if (bonus)
            extra = v16_set1(x->bonus[k] * x->k[k]);
        UNROLL for (int i = 0; i < NV; i++) {
            float *at = s + k * stride + i * LANES;
            v16 old = v16_load(at), y = v16_fma(key, v[i], v16_mul(old, by_col ? c[i] : w));
            v16_store(at, y);
            o[i] = v16_fma(q, bonus ? v16_fma(extra, v[i], old) : y, o[i]);
        }
    }
    UNROLL for (int i = 0; i < NV; i++)
        store_columns(x->out, i, n, v16_mul(o[i], v16_set1(scale)));
}

/* The other queries of a head that several read. */
static void read_more(const struct op *op, const float *s, int64_t stride, const struct block *b,
                      const struct token *x)
{
    int K = op->p.decay.K, per = op->p.decay.q_heads / op->p.decay.state_heads;
    for (int j = 1; j < per; j++) {
        const float *q = x->q + (int64_t)j * K;
        for (int i = 0; i < b->nv; i++) {
            v16 o = v16_zero(), v = load_columns(x->v, i, b->n);
            for (int k = 0; k < K; k++) {
                v16 y = v16_load(s + k * stride + i * LANES);
                if (x->bonus)
                    y = v16_fma(v16_set1(x->bonus[k] * x->k[k]), v, y);
                o = v16_fma(v16_set1(q[k]), y, o);
            }
            store_columns(x->out + (int64_t)j * op->p.decay.V, i, b->n,
                          v16_mul(o, v16_set1(op->p.decay.scale)));
        }
    }
}

typedef void advance_fn(float *, int64_t, int, int, const struct token *, float);
#define ADVANCE(NV, form, by_col, bonus) \
    static void advance_##NV##_##form(float *s, int64_t stride, int K, int n, \
                                      const struct token *x, float scale) \
    { \
        advance(s, stride, K, n, x, scale, NV, by_col, bonus); \
    }
#define ADVANCES(NV) \
    ADVANCE(NV, key, false, false) ADVANCE(NV, key_bonus, false, true) \
    ADVANCE(NV, col, true, false) ADVANCE(NV, col_bonus, true, true)
#define ADVANCE_ROW(NV) \
    {{advance_##NV##_key, advance_##NV##_key_bonus}, {advance_##NV##_col, advance_##NV##_col_bonus}}
ADVANCES(1)
#if V16_REGS == 32
ADVANCES(2)
ADVANCES(3)
ADVANCES(4)
#endif
/* By vectors, decay by column or not, bonus or not. */
static advance_fn *const advances[BLOCK_V][2][2] = {
    ADVANCE_ROW(1),
#if V16_REGS == 32
    ADVANCE_ROW(2), ADVANCE_ROW(3), ADVANCE_ROW(4),
#endif
};

static void decay_block(const struct host_step *s, const struct op *op, int q, int h,
                        const struct block *b)
{
    int32_t t = s->batch->cu_seqlens[q], end = s->batch->cu_seqlens[q + 1];
    _Alignas(64) float copy[COPY_FLOATS];
    bool copied = block_copied(b, end - t), bonus = op->w[0] >= 0;
    float *p = copied ? copy : b->s;
    int64_t stride = copied ? b->nv * LANES : b->stride;
    advance_fn *fn = advances[b->nv - 1][op->p.decay.decay == DECAY_VALUE][bonus];
    if (copied)
        block_in(b, copy);
    for (; t < end; t++) {
        struct token x = token_at(s, op, t, h, b->col);
        if (bonus)
            read_more(op, p, stride, b, &x);
        fn(p, stride, b->K, b->n, &x, op->p.decay.scale);
        if (!bonus)
            read_more(op, p, stride, b, &x);
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
