/* Activations for a unit that multiplies bf16: a float32 is the exact sum of three, its bits from
 * the top down, eight at a time. The definition of all that is made of them: ref/ref_split.h. */
#ifndef RECURD_SPLIT_H
#define RECURD_SPLIT_H

#include "kernels/cpu/impl/lanes.h"

#define PARTS 3

/* An infinity is its own first part; a NaN is one in all. */
INLINE void split(v16 x, v16 part[PARTS])
{
    const v16 top = v16_bits(0xffff0000u);
    m16 infinite = v16_eq(v16_and(x, v16_bits(0x7fffffffu)), v16_set1(INFINITY));
    part[0] = v16_and(x, top);
    v16 rest = v16_select(infinite, v16_zero(), v16_sub(x, part[0]));
    part[1] = v16_and(rest, top);
    part[2] = v16_and(v16_sub(rest, part[1]), top);
}

/* The upper halves of 32 floats, in order. */
INLINE __m512i upper_halves(v16 a, v16 b)
{
    const __m512i odd = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35,
                                         33, 31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3,
                                         1);
    return _mm512_permutex2var_epi16(_mm512_castps_si512(a), odd, _mm512_castps_si512(b));
}

/* Columns [0, n) of one input, n <= 32, zeros behind them: a row of each part, `step` bytes
 * apart. */
INLINE void split_row(const float *x, int n, char *out, size_t step)
{
    v16 a[PARTS], b[PARTS];
    split(load_left(x, MIN(n, LANES)), a);
    split(n > LANES ? load_left(x + LANES, n - LANES) : v16_zero(), b);
    UNROLL for (int i = 0; i < PARTS; i++)
        _mm512_storeu_si512(out + (size_t)i * step, upper_halves(a[i], b[i]));
}

/* Pairs of bf16 of 16 outputs from floats that are bf16: [n][16] to [n / 2][16][2]. */
INLINE void pair_lines(const float *v, int n, char *out)
{
    for (int k = 0; k < n; k += 2, out += 64)
        v16_store((float *)(void *)out,
                  v16_or(v16_shr(v16_load(v + k * PANEL), 16), v16_load(v + (k + 1) * PANEL)));
}

#endif
