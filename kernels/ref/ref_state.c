/* The two matrix-state recurrences, one token at a time as the papers write them.
 * models/ARCHITECTURES.md, K1 and K2. */
#include "kernels/host.h"
#include "kernels/ref/ref_math.h"

/* A head's S, float32 or float16; what F16 does not keep of a number is lost as it is written. */
struct head {
    float *f;
    uint16_t *h; /* NULL: f */
};

static struct head head_at(const struct host_step *s, const struct op *op, int32_t slot, int64_t i)
{
    float *S = host_state(s, op->section, slot);
    bool half = s->plan->sections[op->section].dtype == DTYPE_F16;
    return half ? (struct head){NULL, (uint16_t *)S + i} : (struct head){S + i, NULL};
}
static float get(struct head S, int64_t i) { return S.h ? f32_of_f16(S.h[i]) : S.f[i]; }
static void put(struct head S, int64_t i, float x)
{
    if (S.h)
        S.h[i] = f16_kept(x);
    else
        S.f[i] = x;
}

/* The row-wise factor (decay of key k) and the column-wise one (of value v) of a state head. */
struct factors {
    const float *key, *value; /* NULL = 1 */
    float scalar;
};

static struct factors decay_factors(enum decay_mode mode, const float *d, const float *constant,
                                    int32_t head, int32_t state_heads, int32_t d_heads,
                                    int32_t K, int32_t V)
{
    struct factors f = {NULL, NULL, 1};
    int32_t h = d_heads > 0 ? (int32_t)((int64_t)head * d_heads / state_heads) : 0;
    switch (mode) {
    case DECAY_NONE: break;
    case DECAY_CONST: f.scalar = constant[head]; break;
    case DECAY_SCALAR: f.scalar = d[h]; break;
    case DECAY_KEY: f.key = d + (int64_t)h * K; break;
    case DECAY_VALUE: f.value = d + (int64_t)h * V; break;
    }
    return f;
}

static const float *row_or_null(const struct host_step *s, struct view v, int32_t t)
{
    return view_given(v) ? host_row(s, v, t) : NULL;
}

static int32_t map_head(int32_t h, int32_t of, int32_t to)
{
    return (int32_t)((int64_t)h * to / of);
}

/* o = scale * (S [+ diag(u) k v^T])^T q for every output head of state head h. */
static void decay_read(const struct op *op, struct head S, int32_t h, const float *q,
                       const float *bonus, const float *k, const float *v, float *out)
{
    int32_t K = op->p.decay.K, V = op->p.decay.V;
    int32_t H = op->p.decay.state_heads, Hq = op->p.decay.q_heads, per = MAX(Hq / H, 1);
    for (int32_t j = h * per; j < (h + 1) * per; j++) {
        const float *query = q + (int64_t)(per > 1 ? j : map_head(h, H, Hq)) * K;
        for (int32_t c = 0; c < V; c++) {
            float acc = 0;
            for (int32_t i = 0; i < K; i++) {
                float x = get(S, (int64_t)i * V + c);
                if (bonus)
                    x = fmaf(bonus[h * K + i] * k[i], v[c], x);
                acc = fmaf(query[i], x, acc);
            }
            out[j * V + c] = acc * op->p.decay.scale;
        }
    }
}

static void decay_token(const struct host_step *s, const struct op *op, int32_t h, int32_t t,
                        struct head S)
{
    int32_t K = op->p.decay.K, V = op->p.decay.V, H = op->p.decay.state_heads;
    const float *k = host_row(s, op->in[DECAY_k], t) + map_head(h, H, op->p.decay.k_heads) * K;
    const float *v = host_row(s, op->in[DECAY_v], t) + map_head(h, H, op->p.decay.v_heads) * V;
    const float *bonus = host_vec(s, op->w[DECAY_bonus]);
    struct factors f = decay_factors(op->p.decay.decay, row_or_null(s, op->in[DECAY_decay], t),
                                     host_vec(s, op->w[DECAY_constant]), h, H,
                                     op->p.decay.d_heads, K, V);
    if (bonus)
        decay_read(op, S, h, host_row(s, op->in[DECAY_q], t), bonus, k, v, host_row(s, op->out, t));
    for (int32_t i = 0; i < K; i++)
        for (int32_t c = 0; c < V; c++) {
            float d = f.key ? f.key[i] : f.value ? f.value[c] : f.scalar;
            put(S, (int64_t)i * V + c, fmaf(k[i], v[c], get(S, (int64_t)i * V + c) * d));
        }
    if (!bonus)
        decay_read(op, S, h, host_row(s, op->in[DECAY_q], t), NULL, k, v, host_row(s, op->out, t));
}

void ref_decay(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    int32_t H = op->p.decay.state_heads;
    int64_t from, to, size = (int64_t)op->p.decay.K * op->p.decay.V;
    host_share((int64_t)b->n_seqs * H, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int32_t q = (int32_t)(i / H), h = (int32_t)(i % H);
        struct head S = head_at(s, op, b->slots[q], h * size);
        for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++)
            decay_token(s, op, h, t, S);
    }
}

/* One micro-step on column c: u = S^T a', then the rank-1 updates. */
static void delta_column(const struct op *op, struct head S, int32_t c, struct factors f,
                         const float *k, const float *v, const float *a, const float *b,
                         float beta)
{
    int32_t K = op->p.delta.K, V = op->p.delta.V;
    float u = 0;
    for (int32_t i = 0; i < K; i++) {
        float w = f.key ? f.key[i] : f.scalar;
        float p = op->p.delta.decay_first ? w * a[i] : a[i];
        u = fmaf(p, get(S, (int64_t)i * V + c), u);
    }
    float d = op->p.delta.dplr ? v[c] : beta * (v[c] - u);
    for (int32_t i = 0; i < K; i++) {
        float x = get(S, (int64_t)i * V + c) * (f.key ? f.key[i] : f.scalar);
        if (op->p.delta.dplr)
            x = fmaf(b[i], u, x);
        put(S, (int64_t)i * V + c, fmaf(k[i], d, x));
    }
}

static void delta_token(const struct host_step *s, const struct op *op, int32_t h, int32_t t,
                        struct head S)
{
    int32_t K = op->p.delta.K, V = op->p.delta.V, H = op->p.delta.state_heads;
    int32_t Hk = op->p.delta.k_heads, hk = map_head(h, H, Hk);
    struct factors f = decay_factors(op->p.delta.decay, row_or_null(s, op->in[DELTA_w], t), NULL,
                                     h, H, op->p.delta.d_heads, K, V);
    const float *beta = op->p.delta.dplr ? NULL : row_or_null(s, op->in[DELTA_b], t);
    for (int32_t n = 0; n < op->p.delta.steps; n++) {
        int64_t key = ((int64_t)n * Hk + hk) * K;
        const float *k = host_row(s, op->in[DELTA_k], t) + key;
        const float *v = host_row(s, op->in[DELTA_v], t) + ((int64_t)n * H + h) * V;
        const float *a = view_given(op->in[DELTA_a]) ? host_row(s, op->in[DELTA_a], t) + key : k;
        const float *b = op->p.delta.dplr ? host_row(s, op->in[DELTA_b], t) + key : NULL;
        for (int32_t c = 0; c < V; c++)
            delta_column(op, S, c, f, k, v, a, b, beta ? beta[n * H + h] : 1);
        f = (struct factors){NULL, NULL, 1};
    }
    const float *q = host_row(s, op->in[DELTA_q], t) + (int64_t)hk * K;
    float *out = host_row(s, op->out, t) + (int64_t)h * V;
    for (int32_t c = 0; c < V; c++) {
        float acc = 0;
        for (int32_t i = 0; i < K; i++)
            acc = fmaf(q[i], get(S, (int64_t)i * V + c), acc);
        out[c] = acc * op->p.delta.scale;
    }
}

void ref_delta(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct batch *b = s->batch;
    int32_t H = op->p.delta.state_heads;
    int64_t from, to, size = (int64_t)op->p.delta.K * op->p.delta.V;
    host_share((int64_t)b->n_seqs * H, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int32_t q = (int32_t)(i / H), h = (int32_t)(i % H);
        struct head S = head_at(s, op, b->slots[q], h * size);
        for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++)
            delta_token(s, op, h, t, S);
    }
}
