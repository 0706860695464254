/* Weights as whole numbers of 16 bits, two to a lane: what a product is made of whose definition is
 * ref/ref_int16.h. A lane is an output; one instruction multiplies two of its numbers by two inputs
 * (int16_input.h) and adds both products.
 *
 * Two numbers of a lane come from a line of a panel (pack.c) by shifts and masks, so which two
 * inputs meet is decided by the layout of panels: order[] says it for each width of numbers. */
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
    const int group = panel_group(bits);
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
    const int per = 32 / f.bits, group = panel_group(f.bits);
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

#endif
