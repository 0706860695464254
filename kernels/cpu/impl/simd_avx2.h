/* The sixteen lanes as two ymm; what a word means says simd_avx512.h. Included by simd_x86.h. */
#ifndef RECURD_SIMD_AVX2_H
#define RECURD_SIMD_AVX2_H

#ifdef BY_INT16
#define FN(name) name##_int16_avx2
#else
#define FN(name) name##_avx2
#endif
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
/* z + x y in the register that holds z: 16 are too few for what the compiler prefers, the product's
 * place taken and the old one moved. */
#define V16_ADD_PRODUCT
INLINE v16 v16_add_product(v16 z, v16 x, v16 y)
{
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(z.a) : "x"(x.a), "x"(y.a));
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(z.b) : "x"(x.b), "x"(y.b));
    return z;
}
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
#define v16_shr(x, n) V16_SHIFT(_mm256_srli_epi32, x, n)
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
INLINE v16 v16_load_i8(const void *p)
{
    __m128i b = _mm_loadu_si128(p);
    return (v16){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(b)),
                 _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(b, 8)))};
}
INLINE v16 v16_load_u8(const void *p)
{
    __m128i b = _mm_loadu_si128(p);
    return (v16){V16_PS(_mm256_cvtepu8_epi32(b)),
                 V16_PS(_mm256_cvtepu8_epi32(_mm_srli_si128(b, 8)))};
}
/* Permutations know 8 entries; the fourth bit chooses. */
INLINE v16 v16_look_up(v16 index, v16 lo)
{
    __m256i a = V16_SI(index.a), b = V16_SI(index.b);
    return (v16){_mm256_blendv_ps(_mm256_permutevar8x32_ps(lo.a, a),
                                  _mm256_permutevar8x32_ps(lo.b, a),
                                  V16_PS(_mm256_slli_epi32(a, 28))),
                 _mm256_blendv_ps(_mm256_permutevar8x32_ps(lo.a, b),
                                  _mm256_permutevar8x32_ps(lo.b, b),
                                  V16_PS(_mm256_slli_epi32(b, 28)))};
}

typedef struct { __m256d a, b; } d8;
INLINE d8 d8_set1(double x) { return (d8){_mm256_set1_pd(x), _mm256_set1_pd(x)}; }
INLINE d8 d8_load(const double *p) { return (d8){_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
INLINE void d8_store(double *p, d8 x)
{
    _mm256_storeu_pd(p, x.a);
    _mm256_storeu_pd(p + 4, x.b);
}
INLINE d8 d8_mul(d8 x, d8 y)
{
    return (d8){_mm256_mul_pd(x.a, y.a), _mm256_mul_pd(x.b, y.b)};
}
INLINE d8 d8_fma(d8 x, d8 y, d8 z)
{
    return (d8){_mm256_fmadd_pd(x.a, y.a, z.a), _mm256_fmadd_pd(x.b, y.b, z.b)};
}
INLINE d8 d8_fnma(d8 x, d8 y, d8 z)
{
    return (d8){_mm256_fnmadd_pd(x.a, y.a, z.a), _mm256_fnmadd_pd(x.b, y.b, z.b)};
}
INLINE d8 d8_floats(__m256 x)
{
    return (d8){_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
                _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
}
INLINE d8 d8_low(v16 x) { return d8_floats(x.a); }
INLINE d8 d8_high(v16 x) { return d8_floats(x.b); }
INLINE v16 v16_doubles(d8 low, d8 high)
{
    return (v16){_mm256_set_m128(_mm256_cvtpd_ps(low.b), _mm256_cvtpd_ps(low.a)),
                 _mm256_set_m128(_mm256_cvtpd_ps(high.b), _mm256_cvtpd_ps(high.a))};
}

INLINE __m256 v8_low(v16 x) { return x.a; }
INLINE __m256 v8_high(v16 x) { return x.b; }

#endif
