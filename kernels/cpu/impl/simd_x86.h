/* What the lanes of both x86 sets share: their ends, and sums over them. */
#ifndef RECURD_SIMD_X86_H
#define RECURD_SIMD_X86_H

#include <immintrin.h>

#if defined(__AVX512F__)
#include "kernels/cpu/impl/simd_avx512.h"
#else
#include "kernels/cpu/impl/simd_avx2.h"
#endif

/* Sum and maximum over the lanes: 8 and 8, 4 and 4, 2 and 2, 1 and 1. Always this order. */
INLINE float v16_sum(v16 x)
{
    __m256 h = _mm256_add_ps(v8_low(x), v8_high(x));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
INLINE float v16_largest(v16 x)
{
    __m256 h = _mm256_max_ps(v8_low(x), v8_high(x));
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}

INLINE float half_float(uint16_t h) { return _cvtsh_ss(h); }

/* Four floats of each of four rows, turned: those of one column at out, out + step, … */
INLINE void turn_4x4(const float *const row[4], float *out, int64_t step)
{
    __m128 r0 = _mm_loadu_ps(row[0]), r1 = _mm_loadu_ps(row[1]);
    __m128 r2 = _mm_loadu_ps(row[2]), r3 = _mm_loadu_ps(row[3]);
    _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
    _mm_storeu_ps(out, r0);
    _mm_storeu_ps(out + step, r1);
    _mm_storeu_ps(out + 2 * step, r2);
    _mm_storeu_ps(out + 3 * step, r3);
}

#endif
