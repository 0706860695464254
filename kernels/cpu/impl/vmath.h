/* Functions of sixteen floats: exp, log and what is made of them. Polynomials in fused
 * multiply-adds, so that a lane's result depends on its input alone. Errors, measured against
 * double precision by kernelcheck: at most 2 units in the last place where not said otherwise.
 * Infinities and NaN behave as in C; denormal results are zero. */
#ifndef RECURD_VMATH_H
#define RECURD_VMATH_H

#include "kernels/cpu/impl/simd.h"

INLINE v16 v16_abs(v16 x) { return v16_and(x, v16_bits(0x7fffffffu)); }
INLINE v16 v16_neg(v16 x) { return v16_xor(x, v16_bits(0x80000000u)); }

/* exp(x + tail) for a small correction `tail`. x = n ln2 + r, |r| <= ln2/2; 2^n in two factors,
 * because n reaches 128 and -149. */
INLINE v16 v16_exp2part(v16 x, v16 tail)
{
    v16 c = v16_min(v16_set1(89.0f), v16_max(v16_set1(-104.0f), x)); /* NaN passes both */
    v16 n = v16_round(v16_mul(c, v16_set1(1.44269504f)));
    v16 r = v16_fnma(n, v16_set1(0.693359375f), c);
    r = v16_fnma(n, v16_set1(-2.12194440e-4f), r);
    r = v16_add(r, tail);
    v16 p = v16_set1(1.98412698e-4f);
    p = v16_fma(p, r, v16_set1(1.38888889e-3f));
    p = v16_fma(p, r, v16_set1(8.33333333e-3f));
    p = v16_fma(p, r, v16_set1(4.16666667e-2f));
    p = v16_fma(p, r, v16_set1(1.66666667e-1f));
    p = v16_fma(p, r, v16_set1(0.5f));
    p = v16_fma(v16_mul(p, r), r, r);
    p = v16_add(p, v16_set1(1.0f));
    v16 i = v16_to_int(n), half = v16_sar(i, 1), one = v16_bits(127);
    p = v16_mul(p, v16_shl(v16_iadd(half, one), 23));
    return v16_mul(p, v16_shl(v16_iadd(v16_isub(i, half), one), 23));
}
INLINE v16 v16_exp(v16 x) { return v16_exp2part(x, v16_zero()); }

/* x = 2^e m, m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m-1)/(m+1). */
INLINE v16 v16_log(v16 x)
{
    v16 e = v16_sar(v16_isub(x, v16_bits(0x3f3504f3u)), 23);
    v16 m = v16_isub(x, v16_shl(e, 23));
    v16 f = v16_sub(m, v16_set1(1.0f)), s = v16_div(f, v16_add(m, v16_set1(1.0f)));
    v16 z = v16_mul(s, s), n = v16_from_int(e);
    v16 p = v16_set1(0.222222222f);
    p = v16_fma(p, z, v16_set1(0.285714286f));
    p = v16_fma(p, z, v16_set1(0.4f));
    p = v16_fma(p, z, v16_set1(0.666666667f));
    p = v16_mul(p, z);
    /* log m = 2s + s p = f - s (f - p): the form that rounds once where f is exact. */
    v16 y = v16_fma(n, v16_set1(-2.12194440e-4f), v16_mul(s, v16_sub(p, f)));
    y = v16_fma(n, v16_set1(0.693359375f), v16_add(y, f));
    y = v16_select(v16_eq(x, v16_zero()), v16_set1(-INFINITY), y);
    y = v16_select(v16_lt(x, v16_zero()), v16_set1(NAN), y);
    y = v16_select(v16_eq(x, v16_set1(INFINITY)), x, y);
    return v16_select(v16_nan(x), x, y);
}

/* log(1 + y) for y >= 0: the rounding of 1 + y is put right afterwards. */
INLINE v16 v16_log1p(v16 y)
{
    v16 one = v16_set1(1.0f), u = v16_add(one, y), d = v16_sub(u, one);
    v16 fixed = v16_add(v16_log(u), v16_div(v16_sub(y, d), u));
    return v16_select(v16_eq(u, v16_set1(INFINITY)), u, fixed);
}

/* 1 / (1 + exp(-x)), from exp(-|x|) so that nothing overflows. */
INLINE v16 v16_sigmoid(v16 x)
{
    v16 e = v16_exp(v16_neg(v16_abs(x))), one = v16_set1(1.0f);
    v16 top = v16_select(v16_lt(x, v16_zero()), e, one);
    return v16_div(top, v16_add(one, e));
}
INLINE v16 v16_silu(v16 x) { return v16_mul(x, v16_sigmoid(x)); }

/* Odd polynomial below 0.625, 1 - 2/(exp(2|x|) + 1) above. */
INLINE v16 v16_tanh(v16 x)
{
    v16 a = v16_abs(x), z = v16_mul(x, x), one = v16_set1(1.0f);
    v16 p = v16_set1(-5.70498872745e-3f);
    p = v16_fma(p, z, v16_set1(2.06390887954e-2f));
    p = v16_fma(p, z, v16_set1(-5.37397155531e-2f));
    p = v16_fma(p, z, v16_set1(1.33314422036e-1f));
    p = v16_fma(p, z, v16_set1(-3.33332819422e-1f));
    v16 small = v16_fma(v16_mul(p, z), x, x);
    v16 e = v16_exp(v16_add(a, a));
    v16 big = v16_sub(one, v16_div(v16_set1(2.0f), v16_add(e, one)));
    big = v16_or(big, v16_and(x, v16_bits(0x80000000u)));
    return v16_select(v16_lt(a, v16_set1(0.625f)), small, big);
}

INLINE v16 v16_softplus(v16 x)
{
    v16 e = v16_exp(v16_neg(v16_abs(x)));
    /* log1p(exp x) = max(x, 0) + log1p(exp -|x|) */
    v16 y = v16_add(v16_max(x, v16_zero()), v16_log1p(e));
    y = v16_select(v16_lt(v16_set1(20.0f), x), x, y);
    return v16_select(v16_nan(x), x, y);
}
INLINE v16 v16_logsigmoid(v16 x)
{
    v16 e = v16_exp(v16_neg(v16_abs(x)));
    v16 y = v16_sub(v16_min(x, v16_zero()), v16_log1p(e));
    return v16_select(v16_nan(x), x, y);
}

/* max(x, 0), and a NaN stays one. */
INLINE v16 v16_relu(v16 x) { return v16_max(v16_zero(), x); }
INLINE v16 v16_sqrelu(v16 x)
{
    v16 r = v16_relu(x);
    return v16_mul(r, r);
}

/* 0.5 x (1 + tanh y) = x sigmoid(2 y), which keeps its relative precision where x is negative. */
INLINE v16 v16_gelu_tanh(v16 x)
{
    v16 z = v16_mul(x, x);
    v16 y = v16_mul(x, v16_fma(z, v16_set1(2 * 0.7978845608f * 0.044715f),
                               v16_set1(2 * 0.7978845608f)));
    return v16_mul(x, v16_sigmoid(y));
}

/* For functions too rare for a polynomial: the C library, lane by lane. */
INLINE v16 v16_each(float (*f)(float), v16 x)
{
    float t[LANES];
    v16_store(t, x);
    for (int i = 0; i < LANES; i++)
        t[i] = f(t[i]);
    return v16_load(t);
}
static inline float one_gelu_erf(float z)
{
    return (float)(0.5 * z * erfc(z * -0.7071067811865476));
}

INLINE v16 v16_act(enum activation a, v16 x)
{
    switch (a) {
    case ACT_NONE: return x;
    case ACT_SILU: return v16_silu(x);
    case ACT_SIGMOID: return v16_sigmoid(x);
    case ACT_RELU: return v16_relu(x);
    case ACT_SQRELU: return v16_sqrelu(x);
    case ACT_TANH: return v16_tanh(x);
    case ACT_GELU_TANH: return v16_gelu_tanh(x);
    case ACT_GELU_ERF: return v16_each(one_gelu_erf, x);
    }
    return x;
}

#endif
