/* Words for lanes that hold two whole numbers of 16 bits, in halves. */
#ifndef RECURD_SIMD_INT16_H
#define RECURD_SIMD_INT16_H

#include "kernels/cpu/impl/lanes.h"

/* Sixteen lanes of integers. i16_of is for numbers that are multiplied, i16_set1 for what meets
 * them, and for sums. */
#if defined(__aarch64__)
/* Numbers: of 8 lanes the lower halves, then their upper halves; the same of the other 8. */
typedef struct { int32x4_t a, b, c, d; } i16;
INLINE i16 i16_set1(int32_t x)
{
    int32x4_t q = vdupq_n_s32(x);
    return (i16){q, q, q, q};
}
#define I16_HALVES(f, x, y) \
    vreinterpretq_s32_s16(f(vreinterpretq_s16_f32(x), vreinterpretq_s16_f32(y)))
INLINE i16 i16_of(v16 x)
{
    return (i16){I16_HALVES(vuzp1q_s16, x.a, x.b), I16_HALVES(vuzp2q_s16, x.a, x.b),
                 I16_HALVES(vuzp1q_s16, x.c, x.d), I16_HALVES(vuzp2q_s16, x.c, x.d)};
}
INLINE v16 i16_float(i16 x)
{
    return (v16){vcvtq_f32_s32(x.a), vcvtq_f32_s32(x.b), vcvtq_f32_s32(x.c), vcvtq_f32_s32(x.d)};
}
INLINE i16 i16_add(i16 x, i16 y)
{
    return (i16){vaddq_s32(x.a, y.a), vaddq_s32(x.b, y.b), vaddq_s32(x.c, y.c),
                 vaddq_s32(x.d, y.d)};
}
INLINE i16 i16_load(const int32_t *p)
{
    return (i16){vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)};
}
INLINE void i16_store(int32_t *p, i16 x)
{
    vst1q_s32(p, x.a);
    vst1q_s32(p + 4, x.b);
    vst1q_s32(p + 8, x.c);
    vst1q_s32(p + 12, x.d);
}
#elif defined(__AVX512F__)
typedef __m512i i16;
INLINE i16 i16_load(const int32_t *p) { return _mm512_loadu_si512(p); }
INLINE void i16_store(int32_t *p, i16 x) { _mm512_storeu_si512(p, x); }
INLINE i16 i16_set1(int32_t x) { return _mm512_set1_epi32(x); }
INLINE i16 i16_of(v16 x) { return _mm512_castps_si512(x); }
INLINE v16 i16_float(i16 x) { return _mm512_cvtepi32_ps(x); }
INLINE i16 i16_add(i16 x, i16 y) { return _mm512_add_epi32(x, y); }
#else
typedef struct { __m256i a, b; } i16;
INLINE i16 i16_set1(int32_t x) { return (i16){_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
INLINE i16 i16_load(const int32_t *p)
{
    const __m256i *half = (const void *)p;
    return (i16){_mm256_loadu_si256(half), _mm256_loadu_si256(half + 1)};
}
INLINE void i16_store(int32_t *p, i16 x)
{
    __m256i *half = (void *)p;
    _mm256_storeu_si256(half, x.a);
    _mm256_storeu_si256(half + 1, x.b);
}
INLINE i16 i16_of(v16 x) { return (i16){V16_SI(x.a), V16_SI(x.b)}; }
INLINE v16 i16_float(i16 x) { return (v16){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
INLINE i16 i16_add(i16 x, i16 y)
{
    return (i16){_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
#endif

/* i16_of moves numbers. */
#if defined(__aarch64__)
#define I16_SPLITS 1
#else
#define I16_SPLITS 0
#endif

/* acc + the products of both halves of every lane. */
INLINE i16 i16_dot(i16 acc, i16 x, i16 y)
{
#if defined(__aarch64__)
    const int16x8_t by = vreinterpretq_s16_s32(y.a);
    const int16x8_t low = vreinterpretq_s16_s32(x.a), high = vreinterpretq_s16_s32(x.b);
    const int16x8_t low2 = vreinterpretq_s16_s32(x.c), high2 = vreinterpretq_s16_s32(x.d);
    acc.a = vmlal_laneq_s16(acc.a, vget_low_s16(low), by, 0);
    acc.b = vmlal_high_laneq_s16(acc.b, low, by, 0);
    acc.c = vmlal_laneq_s16(acc.c, vget_low_s16(low2), by, 0);
    acc.d = vmlal_high_laneq_s16(acc.d, low2, by, 0);
    acc.a = vmlal_laneq_s16(acc.a, vget_low_s16(high), by, 1);
    acc.b = vmlal_high_laneq_s16(acc.b, high, by, 1);
    acc.c = vmlal_laneq_s16(acc.c, vget_low_s16(high2), by, 1);
    acc.d = vmlal_high_laneq_s16(acc.d, high2, by, 1);
    return acc;
#elif defined(__AVX512VNNI__)
    /* not the intrinsic, whose types are others: gcc 12 then copies sums to other registers */
    __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(y));
    return acc;
#elif defined(__AVX512F__)
    acc = _mm512_add_epi32(acc, _mm512_madd_epi16(x, y));
    __asm__ volatile("" : "+v"(acc)); /* now, or products are kept to be added in another order */
    return acc;
#else
    acc.a = _mm256_add_epi32(acc.a, _mm256_madd_epi16(x.a, y.a));
    acc.b = _mm256_add_epi32(acc.b, _mm256_madd_epi16(x.b, y.b));
    __asm__ volatile("" : "+x"(acc.a), "+x"(acc.b)); /* as above */
    return acc;
#endif
}

/* Both halves of every lane moved right on their own, zeros from the left. */
#if defined(__aarch64__)
INLINE float32x4_t shr_halves_4(float32x4_t x, int n)
{
    return vreinterpretq_f32_u16(vshlq_u16(vreinterpretq_u16_f32(x), vdupq_n_s16((int16_t)-n)));
}
#endif
INLINE v16 v16_shr_halves(v16 a, int n)
{
#if defined(__aarch64__)
    return V16_SHIFT(shr_halves_4, a, n);
#elif defined(__AVX512F__)
    return _mm512_castsi512_ps(_mm512_srli_epi16(_mm512_castps_si512(a), (unsigned)n));
#else
    return (v16){V16_PS(_mm256_srli_epi16(V16_SI(a.a), n)),
                 V16_PS(_mm256_srli_epi16(V16_SI(a.b), n))};
#endif
}

/* The entry of 16 that the low 4 bits of each half choose; the table as pair_table made it. */
#if defined(__aarch64__)
INLINE float32x4_t look_up_halves_4(float32x4_t index, int8x16_t table)
{
    uint8x16_t low = vandq_u8(vreinterpretq_u8_f32(index), vreinterpretq_u8_u16(vdupq_n_u16(15)));
    int16x8_t x = vreinterpretq_s16_s8(vqtbl1q_s8(table, low)); /* the lower byte counts */
    return vreinterpretq_f32_s16(vshrq_n_s16(vshlq_n_s16(x, 8), 8));
}
#endif
INLINE v16 v16_look_up_halves(v16 index, v16 table)
{
#if defined(__aarch64__)
    const int8x16_t t = vreinterpretq_s8_f32(table.a);
    return (v16){look_up_halves_4(index.a, t), look_up_halves_4(index.b, t),
                 look_up_halves_4(index.c, t), look_up_halves_4(index.d, t)};
#elif defined(__AVX512F__)
    return _mm512_castsi512_ps(
        _mm512_permutexvar_epi16(_mm512_castps_si512(index), _mm512_castps_si512(table)));
#else
    const __m256i low = _mm256_set1_epi16(15);
    __m256i a = _mm256_and_si256(V16_SI(index.a), low), b = _mm256_and_si256(V16_SI(index.b), low);
    a = _mm256_slli_epi16(_mm256_shuffle_epi8(V16_SI(table.a), a), 8);
    b = _mm256_slli_epi16(_mm256_shuffle_epi8(V16_SI(table.a), b), 8);
    return (v16){V16_PS(_mm256_srai_epi16(a, 8)), V16_PS(_mm256_srai_epi16(b, 8))};
#endif
}

#endif
