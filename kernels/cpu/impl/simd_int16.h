/* Words for lanes that hold two whole numbers of 16 bits, in halves. */
#ifndef RECURD_SIMD_INT16_H
#define RECURD_SIMD_INT16_H

#include "kernels/cpu/impl/lanes.h"

/* Sixteen lanes of integers. */
#if defined(__AVX512F__)
typedef __m512i i16;
INLINE i16 i16_set1(int32_t x) { return _mm512_set1_epi32(x); }
INLINE i16 i16_load(const void *p) { return _mm512_loadu_si512(p); }
INLINE void i16_store(void *p, i16 x) { _mm512_storeu_si512(p, x); }
INLINE i16 i16_of(v16 x) { return _mm512_castps_si512(x); }
INLINE v16 i16_float(i16 x) { return _mm512_cvtepi32_ps(x); }
#else
typedef struct { __m256i a, b; } i16;
INLINE i16 i16_set1(int32_t x) { return (i16){_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
INLINE i16 i16_load(const void *p)
{
    const __m256i *half = p;
    return (i16){_mm256_loadu_si256(half), _mm256_loadu_si256(half + 1)};
}
INLINE void i16_store(void *p, i16 x)
{
    __m256i *half = p;
    _mm256_storeu_si256(half, x.a);
    _mm256_storeu_si256(half + 1, x.b);
}
INLINE i16 i16_of(v16 x) { return (i16){V16_SI(x.a), V16_SI(x.b)}; }
INLINE v16 i16_float(i16 x) { return (v16){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
#endif

/* acc + the products of both halves of every lane. */
INLINE i16 i16_dot(i16 acc, i16 x, i16 y)
{
#if defined(__AVX512VNNI__)
    /* not the intrinsic, whose types are others: gcc 12 then copies sums to other registers */
    __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(y));
    return acc;
#elif defined(__AVX512F__)
    return _mm512_add_epi32(acc, _mm512_madd_epi16(x, y));
#else
    return (i16){_mm256_add_epi32(acc.a, _mm256_madd_epi16(x.a, y.a)),
                 _mm256_add_epi32(acc.b, _mm256_madd_epi16(x.b, y.b))};
#endif
}

/* Both halves of every lane moved right on their own, zeros from the left. */
INLINE v16 v16_shr_halves(v16 a, int n)
{
#if defined(__AVX512F__)
    return _mm512_castsi512_ps(_mm512_srli_epi16(_mm512_castps_si512(a), (unsigned)n));
#else
    return (v16){V16_PS(_mm256_srli_epi16(V16_SI(a.a), n)),
                 V16_PS(_mm256_srli_epi16(V16_SI(a.b), n))};
#endif
}

/* The entry of 16 that the low 4 bits of each half choose; the table as pair_table made it. */
INLINE v16 v16_look_up_halves(v16 index, v16 table)
{
#if defined(__AVX512F__)
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
