/* NORM, GROUPSUM, SOFTMAX: sums over groups of a row, in an order that the group's width alone
 * decides: four accumulators of 16 lanes taken in turn, then a tree. The parallel axis is rows x
 * groups. */
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/impl/lanes.h"
#include "kernels/cpu/impl/vmath.h"

struct sums {
    v16 part[4];
};
INLINE struct sums sums_zero(void)
{
    return (struct sums){{v16_zero(), v16_zero(), v16_zero(), v16_zero()}};
}
INLINE float sums_total(const struct sums *a)
{
    return v16_sum(v16_add(v16_add(a->part[0], a->part[1]), v16_add(a->part[2], a->part[3])));
}

/* Calls body(i, c, left) for the vectors of a group, i = the accumulator's turn. Whole rounds
 * of four come first so that the compiler keeps the accumulators in registers. */
#define EACH_VECTOR(n, body) \
    do { \
        int c = 0; \
        for (; c + 4 * LANES <= (n); c += 4 * LANES) { \
            body(0, c, LANES); \
            body(1, c + LANES, LANES); \
            body(2, c + 2 * LANES, LANES); \
            body(3, c + 3 * LANES, LANES); \
        } \
        if (c < (n)) \
            body(0, c, (n) - c); \
        if (c + LANES < (n)) \
            body(1, c + LANES, (n) - c - LANES); \
        if (c + 2 * LANES < (n)) \
            body(2, c + 2 * LANES, (n) - c - 2 * LANES); \
        if (c + 3 * LANES < (n)) \
            body(3, c + 3 * LANES, (n) - c - 3 * LANES); \
    } while (0)

static float sum(const float *x, int n)
{
    struct sums a = sums_zero();
#define BODY(i, c, left) a.part[i] = v16_add(a.part[i], load_left(x + (c), left))
    EACH_VECTOR(n, BODY);
#undef BODY
    return sums_total(&a);
}

/* Sum of (x - mean)^2. */
static float sum_squares(const float *x, int n, float mean)
{
    struct sums a = sums_zero();
    v16 m = v16_set1(mean);
#define BODY(i, c, left) \
    do { \
        v16 d = keep_left(v16_sub(load_left(x + (c), left), m), left); \
        a.part[i] = v16_fma(d, d, a.part[i]); \
    } while (0)
    EACH_VECTOR(n, BODY);
#undef BODY
    return sums_total(&a);
}

static void multiply_gate(float *out, const float *x, const float *gate, int n,
                          enum activation act)
{
    for (int c = 0; c < n; c += LANES) {
        v16 g = v16_act(act, load_left(gate + c, n - c));
        store_left(out + c, n - c, v16_mul(load_left(x + c, n - c), g));
    }
}

/* One group. A gate that comes first is multiplied into out, which is normalised in place. */
static void norm_group(const struct op *op, const float *x, const float *gate, const float *w,
                       const float *b, float *out)
{
    int n = op->p.norm.group;
    enum activation act = op->p.norm.gate_act;
    float eps = op->p.norm.eps, mean = 0, inv = 1, sq;
    if (gate && op->p.norm.gate_first) {
        multiply_gate(out, x, gate, n, act);
        x = out;
        gate = NULL;
    }
    if (op->p.norm.kind == NORM_LAYER)
        mean = sum(x, n) / (float)n;
    if (op->p.norm.kind == NORM_SUM)
        sq = sum(x, n);
    else
        sq = sum_squares(x, n, mean);
    switch (op->p.norm.kind) {
    case NORM_RMS:
    case NORM_LAYER: inv = 1 / sqrtf(sq / (float)n + eps); break;
    case NORM_L2: inv = 1 / sqrtf(sq + eps); break;
    case NORM_L2MAX: inv = 1 / fmaxf(sqrtf(sq), eps); break;
    case NORM_SUM: inv = 1 / (sq + eps); break;
    }
    v16 m = v16_set1(mean), f = v16_set1(inv), scale = v16_set1(op->p.norm.scale);
    for (int c = 0; c < n; c += LANES) {
        int left = n - c;
        v16 y = v16_mul(v16_sub(load_left(x + c, left), m), f);
        if (w)
            y = v16_mul(y, load_left(w + c, left));
        if (b)
            y = v16_add(y, load_left(b + c, left));
        if (gate)
            y = v16_mul(y, v16_act(act, load_left(gate + c, left)));
        store_left(out + c, left, v16_mul(y, scale));
    }
}

void FN(norm)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int32_t n = op->p.norm.group, groups = op->in[0].width / n;
    const float *w = host_vec(s, op->w[0]), *b = host_vec(s, op->w[1]);
    int32_t w_step = w && s->weights[op->w[0]].cols == n ? 0 : 1; /* 0: one vector for all */
    int32_t b_step = b && s->weights[op->w[1]].cols == n ? 0 : 1;
    int64_t from, to;
    host_share((int64_t)host_rows(s, op) * groups, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int32_t t = (int32_t)(i / groups), c = (int32_t)(i % groups) * n;
        const float *gate = view_given(op->in[1]) ? host_row(s, op->in[1], t) + c : NULL;
        norm_group(op, host_row(s, op->in[0], t) + c, gate, w ? w + w_step * c : NULL,
                   b ? b + b_step * c : NULL, host_row(s, op->out, t) + c);
    }
}

/* Largest |x|; a NaN is passed over, as in ref. */
static float absmax(const float *x, int n)
{
    v16 m = v16_zero();
    for (int c = 0; c < n; c += LANES)
        m = v16_max(v16_abs(load_left(x + c, n - c)), m);
    return v16_largest(m);
}

void FN(groupsum)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int32_t n = op->p.groupsum.group, groups = op->out.width;
    int64_t from, to;
    host_share((int64_t)host_rows(s, op) * groups, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int32_t t = (int32_t)(i / groups), g = (int32_t)(i % groups);
        const float *x = host_row(s, op->in[0], t) + g * n;
        float y = op->p.groupsum.absmax ? absmax(x, n) : sum(x, n);
        host_row(s, op->out, t)[g] = y * op->p.groupsum.scale;
    }
}

static void softmax_group(const float *x, float *out, int n, float scale)
{
    v16 k = v16_set1(scale), none = v16_set1(-INFINITY), m = none;
    for (int c = 0; c < n; c += LANES) {
        int left = n - c;
        v16 y = v16_mul(load_left(x + c, left), k);
        if (left < LANES) { /* lanes past the end must not be the largest */
            float t[LANES];
            v16_store(t, none);
            v16_store_n(t, left, y);
            y = v16_load(t);
        }
        m = v16_max(m, y);
    }
    m = v16_set1(-v16_largest(m)); /* rounded once, the same for all: it cancels */
    struct sums a = sums_zero();
#define BODY(i, c, left) \
    do { \
        v16 e = keep_left(v16_exp(v16_fma(load_left(x + (c), left), k, m)), left); \
        store_left(out + (c), left, e); \
        a.part[i] = v16_add(a.part[i], e); \
    } while (0)
    EACH_VECTOR(n, BODY);
#undef BODY
    v16 total = v16_set1(sums_total(&a));
    for (int c = 0; c < n; c += LANES)
        store_left(out + c, n - c, v16_div(load_left(out + c, n - c), total));
}

void FN(softmax)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    int32_t n = op->p.softmax.group, groups = op->in[0].width / n;
    int64_t from, to;
    host_share((int64_t)host_rows(s, op) * groups, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int32_t t = (int32_t)(i / groups), c = (int32_t)(i % groups) * n;
        softmax_group(host_row(s, op->in[0], t) + c, host_row(s, op->out, t) + c, n,
                      op->p.softmax.scale);
    }
}
