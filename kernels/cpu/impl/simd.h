/* Sixteen float lanes: one zmm, or two ymm. Every SIMD kernel is written once in these words and
 * compiled per instruction set; both sets do the same operations in the same order, so they give
 * the same bits. Included by the files of this folder only, which are compiled once per set. */
#ifndef RECURD_SIMD_H
#define RECURD_SIMD_H

#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/host.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define LANES 16

#if defined(__AVX512F__)

#define FN(name) name##_avx512
#define V16_REGS 32 /* registers that hold a whole v16 */
typedef __m512 v16;
typedef __mmask16 m16;

INLINE v16 v16_zero(void) { return _mm512_setzero_ps(); }
INLINE v16 v16_set1(float x) { return _mm512_set1_ps(x); }
INLINE v16 v16_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void v16_store(float *p, v16 a) { _mm512_storeu_ps(p, a); }
INLINE __mmask16 v16_first(int n) { return (__mmask16)((1u << n) - 1); }
INLINE v16 v16_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(v16_first(n), p); }
INLINE void v16_store_n(float *p, int n, v16 a) { _mm512_mask_storeu_ps(p, v16_first(n), a); }
INLINE v16 v16_keep(v16 a, int n) { return _mm512_maskz_mov_ps(v16_first(n), a); }
INLINE v16 v16_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
INLINE v16 v16_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
INLINE v16 v16_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
INLINE v16 v16_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
INLINE v16 v16_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
INLINE v16 v16_fnma(v16 a, v16 b, v16 c) { return _mm512_fnmadd_ps(a, b, c); }
INLINE v16 v16_max(v16 a, v16 b) { return _mm512_max_ps(a, b); } /* b when either is a NaN */
INLINE v16 v16_min(v16 a, v16 b) { return _mm512_min_ps(a, b); }
INLINE v16 v16_sqrt(v16 a) { return _mm512_sqrt_ps(a); }
INLINE v16 v16_round(v16 a) { return _mm512_roundscale_ps(a, 8); } /* nearest even, quiet */
INLINE v16 v16_and(v16 a, v16 b) { return _mm512_and_ps(a, b); }
INLINE v16 v16_or(v16 a, v16 b) { return _mm512_or_ps(a, b); }
INLINE v16 v16_xor(v16 a, v16 b) { return _mm512_xor_ps(a, b); }
INLINE m16 v16_lt(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
INLINE m16 v16_eq(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
INLINE m16 v16_nan(v16 a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
INLINE v16 v16_select(m16 m, v16 yes, v16 no) { return _mm512_mask_blend_ps(m, no, yes); }
/* Bit patterns as integers: float(int), int(nearest float), shifts, sums. */
INLINE v16 v16_bits(uint32_t u) { return _mm512_castsi512_ps(_mm512_set1_epi32((int)u)); }
INLINE v16 v16_to_int(v16 a) { return _mm512_castsi512_ps(_mm512_cvtps_epi32(a)); }
INLINE v16 v16_from_int(v16 a) { return _mm512_cvtepi32_ps(_mm512_castps_si512(a)); }
INLINE v16 v16_iadd(v16 a, v16 b)
{
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}
INLINE v16 v16_isub(v16 a, v16 b)
{
    return _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}
#define v16_shl(a, n) _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), n))
#define v16_sar(a, n) _mm512_castsi512_ps(_mm512_srai_epi32(_mm512_castps_si512(a), n))

/* 16 pairs of bf16: lane i holds pair i. */
INLINE v16 v16_load_pairs(const void *p) { return _mm512_loadu_ps(p); }
INLINE v16 v16_load_half(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
/* p[0], p[step], … for the first n lanes, 0 in the others. */
INLINE v16 v16_gather_n(const float *p, int step, int n)
{
    __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), v16_first(n),
                                    _mm512_mullo_epi32(lane, _mm512_set1_epi32(step)), p, 4);
}
INLINE __m256 v16_low(v16 a) { return _mm512_castps512_ps256(a); }
INLINE __m256 v16_high(v16 a) { return _mm512_extractf32x8_ps(a, 1); }

#else /* AVX2 */

#define FN(name) name##_avx2
#define V16_REGS 8
typedef struct { __m256 a, b; } v16;
typedef v16 m16;

#define V16_1(f, x) ((v16){f((x).a), f((x).b)})
#define V16_2(f, x, y) ((v16){f((x).a, (y).a), f((x).b, (y).b)})
#define V16_3(f, x, y, z) ((v16){f((x).a, (y).a, (z).a), f((x).b, (y).b, (z).b)})

INLINE v16 v16_zero(void) { return (v16){_mm256_setzero_ps(), _mm256_setzero_ps()}; }
INLINE v16 v16_set1(float x) { return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE v16 v16_load(const float *p) { return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void v16_store(float *p, v16 x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
/* All ones in the first n lanes. */
INLINE __m256i v16_half_mask(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE v16 v16_load_n(const float *p, int n)
{
    return (v16){_mm256_maskload_ps(p, v16_half_mask(n)),
                 _mm256_maskload_ps(p + 8, v16_half_mask(n - 8))};
}
INLINE void v16_store_n(float *p, int n, v16 x)
{
    _mm256_maskstore_ps(p, v16_half_mask(n), x.a);
    _mm256_maskstore_ps(p + 8, v16_half_mask(n - 8), x.b);
}
INLINE v16 v16_keep(v16 x, int n)
{
    return (v16){_mm256_and_ps(x.a, _mm256_castsi256_ps(v16_half_mask(n))),
                 _mm256_and_ps(x.b, _mm256_castsi256_ps(v16_half_mask(n - 8)))};
}
INLINE v16 v16_add(v16 x, v16 y) { return V16_2(_mm256_add_ps, x, y); }
INLINE v16 v16_sub(v16 x, v16 y) { return V16_2(_mm256_sub_ps, x, y); }
INLINE v16 v16_mul(v16 x, v16 y) { return V16_2(_mm256_mul_ps, x, y); }
INLINE v16 v16_div(v16 x, v16 y) { return V16_2(_mm256_div_ps, x, y); }
INLINE v16 v16_fma(v16 x, v16 y, v16 z) { return V16_3(_mm256_fmadd_ps, x, y, z); }
INLINE v16 v16_fnma(v16 x, v16 y, v16 z) { return V16_3(_mm256_fnmadd_ps, x, y, z); }
INLINE v16 v16_max(v16 x, v16 y) { return V16_2(_mm256_max_ps, x, y); }
INLINE v16 v16_min(v16 x, v16 y) { return V16_2(_mm256_min_ps, x, y); }
INLINE v16 v16_sqrt(v16 x) { return V16_1(_mm256_sqrt_ps, x); }
INLINE v16 v16_round(v16 x) { return (v16){_mm256_round_ps(x.a, 8), _mm256_round_ps(x.b, 8)}; }
INLINE v16 v16_and(v16 x, v16 y) { return V16_2(_mm256_and_ps, x, y); }
INLINE v16 v16_or(v16 x, v16 y) { return V16_2(_mm256_or_ps, x, y); }
INLINE v16 v16_xor(v16 x, v16 y) { return V16_2(_mm256_xor_ps, x, y); }
#define V16_CMP(x, y, how) \
    ((m16){_mm256_cmp_ps((x).a, (y).a, how), _mm256_cmp_ps((x).b, (y).b, how)})
INLINE m16 v16_lt(v16 x, v16 y) { return V16_CMP(x, y, _CMP_LT_OQ); }
INLINE m16 v16_eq(v16 x, v16 y) { return V16_CMP(x, y, _CMP_EQ_OQ); }
INLINE m16 v16_nan(v16 x) { return V16_CMP(x, x, _CMP_UNORD_Q); }
INLINE v16 v16_select(m16 m, v16 yes, v16 no) { return V16_3(_mm256_blendv_ps, no, yes, m); }
#define V16_PS(i) _mm256_castsi256_ps(i)
#define V16_SI(f) _mm256_castps_si256(f)
INLINE v16 v16_bits(uint32_t u)
{
    __m256 x = V16_PS(_mm256_set1_epi32((int)u));
    return (v16){x, x};
}
INLINE v16 v16_to_int(v16 x)
{
    return (v16){V16_PS(_mm256_cvtps_epi32(x.a)), V16_PS(_mm256_cvtps_epi32(x.b))};
}
INLINE v16 v16_from_int(v16 x)
{
    return (v16){_mm256_cvtepi32_ps(V16_SI(x.a)), _mm256_cvtepi32_ps(V16_SI(x.b))};
}
INLINE v16 v16_iadd(v16 x, v16 y)
{
    return (v16){V16_PS(_mm256_add_epi32(V16_SI(x.a), V16_SI(y.a))),
                 V16_PS(_mm256_add_epi32(V16_SI(x.b), V16_SI(y.b)))};
}
INLINE v16 v16_isub(v16 x, v16 y)
{
    return (v16){V16_PS(_mm256_sub_epi32(V16_SI(x.a), V16_SI(y.a))),
                 V16_PS(_mm256_sub_epi32(V16_SI(x.b), V16_SI(y.b)))};
}
#define V16_SHIFT(f, x, n) ((v16){V16_PS(f(V16_SI((x).a), n)), V16_PS(f(V16_SI((x).b), n))})
#define v16_shl(x, n) V16_SHIFT(_mm256_slli_epi32, x, n)
#define v16_sar(x, n) V16_SHIFT(_mm256_srai_epi32, x, n)
INLINE v16 v16_load_pairs(const void *p) { return v16_load(p); }
INLINE v16 v16_load_half(const void *p)
{
    const __m128i *h = p;
    return (v16){_mm256_cvtph_ps(_mm_loadu_si128(h)), _mm256_cvtph_ps(_mm_loadu_si128(h + 1))};
}
INLINE v16 v16_gather_n(const float *p, int step, int n)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i at = _mm256_mullo_epi32(lane, _mm256_set1_epi32(step));
    __m256 a = _mm256_castsi256_ps(v16_half_mask(n)), b = _mm256_castsi256_ps(v16_half_mask(n - 8));
    return (v16){_mm256_mask_i32gather_ps(_mm256_setzero_ps(), p, at, a, 4),
                 _mm256_mask_i32gather_ps(_mm256_setzero_ps(), p + 8 * (int64_t)step, at, b, 4)};
}
INLINE __m256 v16_low(v16 x) { return x.a; }
INLINE __m256 v16_high(v16 x) { return x.b; }

#endif

/* bf16 is the upper half of a float32: the first of a pair by shift, the second by mask. */
INLINE v16 v16_pair_even(v16 pair) { return v16_shl(pair, 16); }
INLINE v16 v16_pair_odd(v16 pair) { return v16_and(pair, v16_bits(0xffff0000u)); }

#endif
