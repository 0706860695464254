/* Weights and inputs as whole numbers of 16 bits, two to a lane: what a product is made of whose
 * definition is ref/ref_int16.h. A lane is an output; one instruction multiplies two of its
 * numbers by two inputs and adds both products.
 *
 * Two numbers of a lane come from a line of a panel (pack.c) by shifts and masks, so which two
 * inputs meet is decided by the layout of panels: order[] says it for each width of numbers, and
 * inputs are laid out by it, once for all panels. */
#ifndef RECURD_INT16_H
#define RECURD_INT16_H

#include "kernels/cpu/impl/simd_int16.h"
#include "kernels/ref/ref_int16.h"

#define PAIRS 16 /* of a span of 32 inputs */
_Static_assert(SPAN == INT16_GROUP && SPAN == 2 * PAIRS, "a span is a group");

/* The inputs of pair i of a span are order[2 i] and order[2 i + 1]: as far apart in a line as 16
 * bits where the width allows, and of the same run. */
static const uint8_t order_2[SPAN] = {0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15,
                                      16, 24, 17, 25, 18, 26, 19, 27, 20, 28, 21, 29, 22, 30, 23,
                                      31};
static const uint8_t order_3[SPAN] = {0, 5, 1, 6, 2, 7, 3, 8, 4, 9, 10, 13, 11, 14, 12, 15,
                                      16, 18, 17, 19, 20, 25, 21, 26, 22, 27, 23, 28, 24, 29, 30,
                                      31};
static const uint8_t order_4[SPAN] = {0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15,
                                      16, 20, 17, 21, 18, 22, 19, 23, 24, 28, 25, 29, 26, 30, 27,
                                      31};
static const uint8_t order_5[SPAN] = {0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, 12, 15, 13, 16,
                                      14, 17, 18, 21, 19, 22, 20, 23, 24, 27, 25, 28, 26, 29, 30,
                                      31};
static const uint8_t order_6[SPAN] = {0, 3, 1, 4, 5, 8, 6, 9, 10, 13, 11, 14, 2, 7, 12, 15,
                                      16, 19, 17, 20, 21, 24, 22, 25, 26, 29, 27, 30, 18, 23, 28,
                                      31};
static const uint8_t order_8[SPAN] = {0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15,
                                      16, 18, 17, 19, 20, 22, 21, 23, 24, 26, 25, 27, 28, 30, 29,
                                      31};

INLINE const uint8_t *pair_order(int bits)
{
    return bits == 2   ? order_2
           : bits == 3 ? order_3
           : bits == 4 ? order_4
           : bits == 5 ? order_5
           : bits == 6 ? order_6
                       : order_8;
}

/* ---- weights ---------------------------------------------------------------------------- */

INLINE bool pair_looks_up(struct quant f) { return f.map == MAP_IQ4 || f.map == MAP_FP4; }

INLINE v16 pair_table(struct quant f)
{
    const int8_t *values = f.map == MAP_FP4 ? format_fp4 : format_iq4;
    v16 t = v16_zero();
#if defined(__AVX512F__)
    int16_t entry[2 * LANES]; /* twice: five bits of an index count */
    for (int i = 0; i < 2 * LANES; i++)
        entry[i] = values[i % 16];
    memcpy(&t, entry, sizeof t);
#elif defined(__aarch64__)
    t.a = vreinterpretq_f32_s8(vld1q_s8(values));
#else
    const __m128i *entries = (const void *)values;
    t.a = V16_PS(_mm256_broadcastsi128_si256(_mm_loadu_si128(entries)));
#endif
    return t;
}

/* Value k of a span: of which line, and from which bit; -1: from the twos of bits left over. */
struct pair_place { int line, bit; };
INLINE struct pair_place pair_place(int bits, int k)
{
    const int group = bits == 6 ? 16 : bits == 5 || bits == 3 ? 32 : 32 / bits;
    const int lines = group * bits / 32, per = 32 / bits, v = k % group;
    struct pair_place p = {k / group * lines + v / per, v % per * bits};
    if (v >= per * lines)
        p = (struct pair_place){k / group * lines, -1};
    return p;
}

/* Pair i of a span: two numbers, each center too large, in the halves of every lane. */
INLINE v16 pair_of(struct quant f, const char *lines, int i, v16 table)
{
    const int a = pair_order(f.bits)[2 * i], b = pair_order(f.bits)[2 * i + 1];
    const struct pair_place p = pair_place(f.bits, a), q = pair_place(f.bits, b);
    const uint32_t ones = (1u << f.bits) - 1;
    const int per = 32 / f.bits, group = f.bits == 6 ? 16 : SPAN;
    v16 x = v16_load((const float *)(const void *)(lines + p.line * 64)), y;
    if (p.line == q.line && q.bit == p.bit + 16 && p.bit >= 0) {
        if (pair_looks_up(f))
            return v16_look_up_halves(p.bit ? v16_shr(x, (unsigned)p.bit) : x, table);
        if (p.bit + f.bits == 16)
            return v16_shr_halves(x, p.bit);
        return v16_and(move_bits(x, p.bit), v16_bits(ones * 0x10001u));
    }
    if (p.bit < 0)
        x = left_over(f, lines + p.line * 64, a % group - group * f.bits / 32 * per);
    else
        x = v16_and(move_bits(x, p.bit), v16_bits(ones));
    if (q.bit < 0) {
        y = v16_shl(left_over(f, lines + q.line * 64, b % group - group * f.bits / 32 * per), 16);
        return v16_or(x, y);
    }
    y = move_bits(v16_load((const float *)(const void *)(lines + q.line * 64)), q.bit - 16);
#if defined(__AVX512F__)
    return v16_and_or(y, v16_bits(ones << 16), x);
#else
    return v16_or(v16_and(y, v16_bits(ones << 16)), x);
#endif
}

/* ---- inputs ----------------------------------------------------------------------------- */

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
INLINE pair_layout pair_layout_of(int bits)
{
    const __m256i *order = (const void *)pair_order(bits);
    __m512i k = _mm512_cvtepu8_epi16(_mm256_loadu_si256(order));
    __m512i four = _mm512_slli_epi16(_mm512_and_si512(k, _mm512_set1_epi16(12)), 1);
    __m512i half = _mm512_srli_epi16(_mm512_and_si512(k, _mm512_set1_epi16(16)), 2);
    return _mm512_or_si512(_mm512_and_si512(k, _mm512_set1_epi16(3)), _mm512_or_si512(four, half));
}
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
