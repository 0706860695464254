/* Inputs as whole numbers of 16 bits, in pairs as the numbers of weights meet them (int16.h): made
 * once for all panels. */
#ifndef RECURD_INT16_INPUT_H
#define RECURD_INT16_INPUT_H

#include "kernels/cpu/impl/int16.h"

/* A span of one input. start: what the sum of a run starts from, so that `center` is taken off. */
struct int16_span {
    int32_t pair[PAIRS]; /* in pair_order */
    float by, inputs[2]; /* by; of each run the sum of q times by */
    int32_t start[2];
    int32_t unused[3];
};
_Static_assert(sizeof(struct int16_span) == 96, "half lines apart");

/* From numbers as an instruction packs them to pairs. */
#if defined(__AVX512F__)
typedef __m512i pair_layout; /* where each half of a lane comes from */
INLINE pair_layout layout_of(const uint8_t order[SPAN])
{
    __m512i k = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)order));
    __m512i four = _mm512_slli_epi16(_mm512_and_si512(k, _mm512_set1_epi16(12)), 1);
    __m512i half = _mm512_srli_epi16(_mm512_and_si512(k, _mm512_set1_epi16(16)), 2);
    return _mm512_or_si512(_mm512_and_si512(k, _mm512_set1_epi16(3)), _mm512_or_si512(four, half));
}
INLINE pair_layout pair_layout_of(int bits) { return layout_of(pair_order(bits)); }
#elif defined(__AVX2__)
/* Of the lower and the upper pairs: their bytes in each 16 of the 64, or none. */
typedef struct { __m256i from[2][4]; } pair_layout;
INLINE pair_layout pair_layout_of(int bits)
{
    const uint8_t *order = pair_order(bits);
    pair_layout l;
    for (int i = 0; i < 2; i++) {
        __m256i k = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(order + 16 * i)));
        __m256i four = _mm256_slli_epi16(_mm256_and_si256(k, _mm256_set1_epi16(4)), 1);
        __m256i eight = _mm256_srli_epi16(_mm256_and_si256(k, _mm256_set1_epi16(8)), 1);
        __m256i at = _mm256_or_si256(_mm256_and_si256(k, _mm256_set1_epi16(19)),
                                     _mm256_or_si256(four, eight));
        __m256i bytes = _mm256_add_epi16(_mm256_mullo_epi16(at, _mm256_set1_epi16(0x0202)),
                                         _mm256_set1_epi16(0x0100));
        for (int j = 0; j < 4; j++) /* what is not within becomes negative */
            l.from[i][j] = _mm256_adds_epu8(
                _mm256_sub_epi8(bytes, _mm256_set1_epi8((char)(16 * j))), _mm256_set1_epi8(0x70));
    }
    return l;
}
#else
typedef const uint8_t *pair_layout;
INLINE pair_layout pair_layout_of(int bits) { return pair_order(bits); }
#endif

/* q of 32 inputs, and its sums over both halves. */
INLINE void int16_numbers(const float *x, float times, const pair_layout *layout, int32_t *pair,
                          int32_t sum[2])
{
    v16 t = v16_set1(times);
    v16 lo = v16_to_int(v16_mul(v16_load(x), t)), hi = v16_to_int(v16_mul(v16_load(x + LANES), t));
#if defined(__AVX512F__)
    __m512i q = _mm512_packs_epi32(_mm512_castps_si512(lo), _mm512_castps_si512(hi));
    _mm512_storeu_si512(pair, _mm512_permutexvar_epi16(*layout, q));
    __m512i two = _mm512_madd_epi16(q, _mm512_set1_epi16(1)); /* of four lanes two are of lo */
    __m256i four = _mm256_add_epi32(_mm512_castsi512_si256(two), _mm512_extracti64x4_epi64(two, 1));
    __m128i all = _mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
#elif defined(__AVX2__)
    __m256i low = _mm256_packs_epi32(V16_SI(lo.a), V16_SI(lo.b));
    __m256i high = _mm256_packs_epi32(V16_SI(hi.a), V16_SI(hi.b));
    const __m256i lanes[4] = {
        _mm256_permute2x128_si256(low, low, 0x00), _mm256_permute2x128_si256(low, low, 0x11),
        _mm256_permute2x128_si256(high, high, 0x00), _mm256_permute2x128_si256(high, high, 0x11)};
    UNROLL for (int i = 0; i < 2; i++) {
        __m256i p = _mm256_shuffle_epi8(lanes[0], layout->from[i][0]);
        UNROLL for (int j = 1; j < 4; j++)
            p = _mm256_or_si256(p, _mm256_shuffle_epi8(lanes[j], layout->from[i][j]));
        _mm256_storeu_si256((void *)(pair + 8 * i), p);
    }
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i two = _mm256_hadd_epi32(_mm256_madd_epi16(low, ones), _mm256_madd_epi16(high, ones));
    __m128i all = _mm_add_epi32(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
#else
    int32_t q[SPAN];
    memcpy(q, &lo, sizeof lo);
    memcpy(q + LANES, &hi, sizeof hi);
    sum[0] = sum[1] = 0;
    for (int k = 0; k < LANES; k++) {
        sum[0] += q[k];
        sum[1] += q[k + LANES];
    }
    const uint8_t *order = *layout;
    for (int i = 0; i < PAIRS; i++)
        pair[i] = (int32_t)((uint32_t)q[order[2 * i + 1]] << 16 | (q[order[2 * i]] & 0xffff));
#endif
#if defined(__AVX2__)
    all = _mm_add_epi32(all, _mm_shuffle_epi32(all, 0xb1));
    sum[0] = _mm_cvtsi128_si32(all);
    sum[1] = _mm_extract_epi32(all, 2);
#endif
}

/* The bits of the largest magnitude of 32 inputs: infinities and NaNs are above all numbers. */
INLINE uint32_t int16_largest(const float *x)
{
    const v16 magnitude = v16_bits(0x7fffffffu);
    v16 a = v16_and(v16_load(x), magnitude), b = v16_and(v16_load(x + LANES), magnitude);
#if defined(__AVX512F__)
    return (uint32_t)_mm512_reduce_max_epi32(
        _mm512_max_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
#elif defined(__aarch64__)
    int32x4_t m = vmaxq_s32(vmaxq_s32(V16_I(a.a), V16_I(a.b)), vmaxq_s32(V16_I(a.c), V16_I(a.d)));
    int32x4_t n = vmaxq_s32(vmaxq_s32(V16_I(b.a), V16_I(b.b)), vmaxq_s32(V16_I(b.c), V16_I(b.d)));
    return (uint32_t)vmaxvq_s32(vmaxq_s32(m, n));
#else
    __m256i m = _mm256_max_epi32(_mm256_max_epi32(V16_SI(a.a), V16_SI(a.b)),
                                 _mm256_max_epi32(V16_SI(b.a), V16_SI(b.b)));
    __m128i h = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    h = _mm_max_epi32(h, _mm_shuffle_epi32(h, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epi32(h, _mm_shuffle_epi32(h, 0xb1)));
#endif
}

INLINE void int16_input(const float *x, struct quant f, const pair_layout *layout,
                        struct int16_span *out)
{
    const uint32_t bits = int16_largest(x);
    int32_t sum[2];
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    if (!(largest >= INT16_LEAST) || isinf(largest)) {
        *out = (struct int16_span){.by = bits < 0x7f800000 ? 0 : NAN};
        out->inputs[0] = out->inputs[1] = 0 * out->by;
        return;
    }
    out->by = largest / 32767;
    int16_numbers(x, 32767 / largest, layout, out->pair, sum);
    if (f.run == SPAN)
        sum[0] += sum[1];
    for (int r = 0; r < 2; r++) {
        out->inputs[r] = (float)sum[r] * out->by;
        out->start[r] = f.map == MAP_LINEAR ? -f.center * sum[r] : 0;
    }
}

#endif
