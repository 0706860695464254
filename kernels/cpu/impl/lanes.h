/* The ends of vectors: loads and stores of what is left, sums over lanes. */
#ifndef RECURD_LANES_H
#define RECURD_LANES_H

#include "kernels/cpu/impl/simd.h"

/* 16 elements, or those left; the other lanes are zero, or not stored. */
INLINE v16 load_left(const float *p, int left)
{
    return left >= LANES ? v16_load(p) : v16_load_n(p, left);
}
INLINE void store_left(float *p, int left, v16 x)
{
    if (left >= LANES)
        v16_store(p, x);
    else
        v16_store_n(p, left, x);
}
INLINE v16 keep_left(v16 x, int left) { return left >= LANES ? x : v16_keep(x, left); }

/* Sum and maximum over the lanes: 8 and 8, 4 and 4, 2 and 2, 1 and 1. Always this order. */
INLINE float v16_sum(v16 x)
{
    __m256 h = _mm256_add_ps(v16_low(x), v16_high(x));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
INLINE float v16_largest(v16 x)
{
    __m256 h = _mm256_max_ps(v16_low(x), v16_high(x));
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}

#endif
