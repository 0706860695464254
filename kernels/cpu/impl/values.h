/* The second half of ATTENTION: scores of a block of keys become weights of its values, with a
 * running maximum. It starts at the lowest float, not at -inf: a score of -inf then has no weight
 * wherever it comes. */
#include "kernels/cpu/impl/keys.h"

/* out = out * keep + sum of p_i v_i over keys [lo, hi), NV vectors of columns from column `at` of
 * the values on. */
INLINE void add_vectors(const struct keys *x, const float *p, v16 keep, int64_t at, int lo, int hi,
                        float *out, int NV)
{
    v16 a[8];
    UNROLL for (int j = 0; j < NV; j++)
        a[j] = v16_mul(v16_load(out + j * LANES), keep);
    for (int i = lo; i < hi; i++) {
        v16 w = v16_set1(p[i]);
        UNROLL for (int j = 0; j < NV; j++)
            a[j] = v16_fma(w, v16_load(x->v[i] + at + j * LANES), a[j]);
    }
    UNROLL for (int j = 0; j < NV; j++)
        v16_store(out + j * LANES, a[j]);
}

/* The same for value head hv: eight vectors at a time where there are registers for more than their
 * sums, so that these hide one another's latency, or four. */
static void add_values(const struct op *op, const struct keys *x, const float *p, v16 keep,
                       int hv, int lo, int hi, float *out)
{
    int dv = op->p.attention.dv, c = 0;
    int64_t at = (int64_t)hv * dv;
    for (; V16_REGS == 32 && c + 8 * LANES <= dv; c += 8 * LANES)
        add_vectors(x, p, keep, at + c, lo, hi, out + c, 8);
    for (; c + 4 * LANES <= dv; c += 4 * LANES)
        add_vectors(x, p, keep, at + c, lo, hi, out + c, 4);
    for (; c < dv; c += LANES) {
        v16 a = v16_mul(load_left(out + c, dv - c), keep);
        for (int i = lo; i < hi; i++)
            a = v16_fma(v16_set1(p[i]), load_left(x->v[i] + at + c, dv - c), a);
        store_left(out + c, dv - c, a);
    }
}

/* Takes a block's scores into the running maximum and sum: p becomes weights relative to the new
 * maximum. Returns what everything before is worth now. */
static v16 soften(float *p, float *max, float *total)
{
    v16 m = v16_set1(*max), sum = v16_zero();
    for (int i = 0; i < BLOCK; i += LANES)
        m = v16_max(m, v16_load(p + i));
    float higher = v16_largest(m), t[LANES];
    v16 h = v16_set1(higher), keep = v16_exp(v16_sub(v16_set1(*max), h));
    for (int i = 0; i < BLOCK; i += LANES) {
        v16 e = v16_exp(v16_sub(v16_load(p + i), h));
        v16_store(p + i, e);
        sum = v16_add(sum, e);
    }
    v16_store(t, keep);
    *total = fmaf(*total, t[0], v16_sum(sum));
    *max = higher;
    return keep;
}

static void divide(float *out, int n, float by)
{
    for (int c = 0; c < n; c += LANES)
        store_left(out + c, n - c, v16_div(load_left(out + c, n - c), v16_set1(by)));
}

/* First position that a row at `pos` sees. */
INLINE int64_t first_seen(const struct op *op, int64_t pos)
{
    int64_t W = op->p.attention.window;
    return W && pos >= W ? pos - W + 1 : 0;
}

/* <a, b>: one sum over the lanes. */
INLINE float dot(const float *a, const float *b, int n)
{
    v16 sum = v16_zero();
    for (int c = 0; c < n; c += LANES)
        sum = v16_fma(load_left(a + c, n - c), load_left(b + c, n - c), sum);
    return v16_sum(sum);
}
