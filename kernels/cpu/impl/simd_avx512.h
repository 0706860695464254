/* The sixteen lanes as one zmm. Included by simd_x86.h. */
#ifndef RECURD_SIMD_AVX512_H
#define RECURD_SIMD_AVX512_H

#ifdef BY_TILES
#define FN(name) name##_amx
#elif defined(INT16_TILES)
#define FN(name) name##_int16_amx
#elif defined(BY_INT16) && defined(__AVX512VNNI__)
#define FN(name) name##_int16_vnni
#elif defined(BY_INT16)
#define FN(name) name##_int16_avx512
#else
#define FN(name) name##_avx512
#endif
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
/* (a & b) | c */
INLINE v16 v16_and_or(v16 a, v16 b, v16 c)
{
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(
        _mm512_castps_si512(a), _mm512_castps_si512(b), _mm512_castps_si512(c), 0xea));
}
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
#define v16_shr(a, n) _mm512_castsi512_ps(_mm512_srli_epi32(_mm512_castps_si512(a), n))
#define v16_sar(a, n) _mm512_castsi512_ps(_mm512_srai_epi32(_mm512_castps_si512(a), n))

/* 16 pairs of bf16: lane i holds pair i. */
INLINE v16 v16_load_pairs(const void *p) { return _mm512_loadu_ps(p); }
/* The second of each pair takes a load alone. */
#define V16_LOAD_ODD
INLINE v16 v16_load_odd(const void *p)
{
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(0xaaaaaaaau, p));
}
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
/* 16 bytes as floats; as int32 in the bits. */
INLINE v16 v16_load_i8(const void *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
}
INLINE v16 v16_load_u8(const void *p)
{
    return _mm512_castsi512_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p)));
}
/* Of 16 entries that of the low 4 bits of each lane; of 32 in two vectors that of the low 5. */
INLINE v16 v16_look_up(v16 index, v16 lo)
{
    return _mm512_permutexvar_ps(_mm512_castps_si512(index), lo);
}
INLINE v16 v16_look_up_32(v16 index, v16 lo, v16 hi)
{
    return _mm512_permutex2var_ps(lo, _mm512_castps_si512(index), hi);
}

/* Eight doubles: one zmm. */
typedef __m512d d8;
INLINE d8 d8_set1(double x) { return _mm512_set1_pd(x); }
INLINE d8 d8_load(const double *p) { return _mm512_loadu_pd(p); }
INLINE void d8_store(double *p, d8 x) { _mm512_storeu_pd(p, x); }
INLINE d8 d8_mul(d8 x, d8 y) { return _mm512_mul_pd(x, y); }
INLINE d8 d8_fma(d8 x, d8 y, d8 z) { return _mm512_fmadd_pd(x, y, z); }
INLINE d8 d8_fnma(d8 x, d8 y, d8 z) { return _mm512_fnmadd_pd(x, y, z); }
INLINE d8 d8_low(v16 a) { return _mm512_cvtps_pd(_mm512_castps512_ps256(a)); }
INLINE d8 d8_high(v16 a) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)); }
INLINE v16 v16_doubles(d8 low, d8 high)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high),
                              1);
}

INLINE __m256 v8_low(v16 a) { return _mm512_castps512_ps256(a); }
INLINE __m256 v8_high(v16 a) { return _mm512_extractf32x8_ps(a, 1); }

#endif
