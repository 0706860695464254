/* Numbers of float16 that are written: v16_store_half returns what it stores, v16_as_half is that
 * without a place. To nearest even; what is too large becomes infinite; denormals of float16 stay,
 * whatever the processor does with its own. Reading them: v16_load_half. */
#ifndef RECURD_SIMD_HALF_H
#define RECURD_SIMD_HALF_H

#include "kernels/cpu/impl/simd.h"

#if defined(__AVX512F__)
INLINE v16 v16_store_half(void *p, v16 a)
{
    __m256i h = _mm512_cvtps_ph(a, 0);
    _mm256_storeu_si256((__m256i *)p, h);
    return _mm512_cvtph_ps(h);
}
INLINE v16 v16_as_half(v16 a) { return _mm512_cvtph_ps(_mm512_cvtps_ph(a, 0)); }
#elif defined(__x86_64__)
INLINE v16 v16_store_half(void *p, v16 x)
{
    __m128i *h = p, a = _mm256_cvtps_ph(x.a, 0), b = _mm256_cvtps_ph(x.b, 0);
    _mm_storeu_si128(h, a);
    _mm_storeu_si128(h + 1, b);
    return (v16){_mm256_cvtph_ps(a), _mm256_cvtph_ps(b)};
}
INLINE v16 v16_as_half(v16 x)
{
    return (v16){_mm256_cvtph_ps(_mm256_cvtps_ph(x.a, 0)),
                 _mm256_cvtph_ps(_mm256_cvtps_ph(x.b, 0))};
}
#else
INLINE float32x4_t store_half_4(uint16_t *p, float32x4_t x)
{
    float16x4_t h = vcvt_f16_f32(x);
    vst1_u16(p, vreinterpret_u16_f16(h));
    return vcvt_f32_f16(h);
}
INLINE v16 v16_store_half(void *p, v16 x)
{
    uint16_t *h = p;
    return (v16){store_half_4(h, x.a), store_half_4(h + 4, x.b), store_half_4(h + 8, x.c),
                 store_half_4(h + 12, x.d)};
}
INLINE float32x4_t as_half_4(float32x4_t x) { return vcvt_f32_f16(vcvt_f16_f32(x)); }
INLINE v16 v16_as_half(v16 x) { return V16_1(as_half_4, x); }
#endif

#endif
