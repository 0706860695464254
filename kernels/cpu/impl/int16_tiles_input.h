/* Inputs of 16 bits as tiles of two parts of 8 bits (int16_tiles.h): made once for all panels. */
#ifndef RECURD_INT16_TILES_INPUT_H
#define RECURD_INT16_TILES_INPUT_H

#include "kernels/cpu/impl/int16_tiles.h"

/* A span of a tile of inputs: by; of each run the sum of q times by; what LIFT takes off. */
struct tiled_inputs {
    _Alignas(64) char part[2][TILE_BYTES]; /* BYTES: [input][upper 32, lower 32] in the first;
                                              HALVES: [run][input][part][16] */
    float by[TILE_ROWS], inputs[2][TILE_ROWS], lift[TILE_ROWS];
};

/* The upper halves of 32 floats, in an order: of the first sixteen words with even numbers. */
INLINE __m512i halves_of(v16 a, v16 b, __m512i order)
{
    return _mm512_permutex2var_epi16(_mm512_castps_si512(a), order, _mm512_castps_si512(b));
}
INLINE pair_layout halves_layout_of(int bits)
{
    const __m256i *order = (const void *)pair_order(bits);
    __m512i k = _mm512_cvtepu8_epi16(_mm256_loadu_si256(order));
    return _mm512_add_epi16(_mm512_add_epi16(k, k), _mm512_set1_epi16(1));
}
INLINE pair_layout tiled_layout_of(struct quant f)
{
    if (tiling_of(f) != BYTES)
        return halves_layout_of(f.bits);
    return layout_of(f.bits == 8 ? order_bytes_8 : order_bytes_4);
}

/* Numbers q of 32 inputs, as floats: two parts, the upper eight bits of each and the others. */
INLINE void input_halves(v16 lo, v16 hi, enum tiling t, const pair_layout *layout,
                         struct tiled_inputs *to, int row)
{
    const v16 top = v16_bits(0xffff0000u);
    v16 a = v16_and(lo, top), b = v16_and(hi, top);
    __m512i upper = halves_of(a, b, *layout);
    __m512i lower = halves_of(v16_sub(lo, a), v16_sub(hi, b), *layout);
    char *first = to->part[0] + row * 64, *second = to->part[1] + row * 64;
    if (t == NARROW) {
        _mm512_store_si512(first, upper);
        _mm512_store_si512(second, lower);
    } else {
        _mm512_store_si512(first, _mm512_inserti64x4(upper, _mm512_castsi512_si256(lower), 1));
        _mm512_store_si512(second, _mm512_shuffle_i64x2(upper, lower, 0xee));
    }
}

INLINE void input_bytes(v16 lo, v16 hi, const pair_layout *layout, struct tiled_inputs *to, int row)
{
    __m512i q = _mm512_packs_epi32(_mm512_cvtps_epi32(lo), _mm512_cvtps_epi32(hi));
    __m256i *at = (void *)(to->part[0] + row * 64);
    q = _mm512_permutexvar_epi16(*layout, q);
    _mm256_store_si256(at, _mm512_cvtepi16_epi8(_mm512_srli_epi16(q, 8)));
    _mm256_store_si256(at + 1, _mm512_cvtepi16_epi8(q));
}

INLINE void no_input(struct tiled_inputs *to, int row, float by)
{
    memset(to->part[0] + row * 64, 0, 64);
    memset(to->part[1] + row * 64, 0, 64);
    to->by[row] = by;
    to->inputs[0][row] = to->inputs[1][row] = 0 * by;
    to->lift[row] = 0;
}

INLINE void tiled_input(const float *x, struct quant f, const pair_layout *layout,
                        struct tiled_inputs *to, int row)
{
    const uint32_t bits = int16_largest(x);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    if (!(largest >= INT16_LEAST) || isinf(largest)) {
        no_input(to, row, bits < 0x7f800000 ? 0 : NAN);
        return;
    }
    const v16 times = v16_set1(32767 / largest);
    v16 lo = v16_round(v16_mul(v16_load(x), times));
    v16 hi = v16_round(v16_mul(v16_load(x + LANES), times));
    const float by = to->by[row] = largest / 32767;
    if (tiling_of(f) == BYTES)
        input_bytes(lo, hi, layout, to, row);
    else
        input_halves(lo, hi, tiling_of(f), layout, to, row);
    if (f.head != HEAD_F16_MIN)
        return;
    if (f.run == SPAN) { /* whole numbers below 2^24: any order */
        float sum = v16_sum(v16_add(lo, hi));
        to->inputs[0][row] = sum * by;
        to->lift[row] = LIFT * sum;
    } else {
        to->inputs[0][row] = (v16_sum(lo) + 0.0f) * by; /* a sum of whole numbers is never -0 */
        to->inputs[1][row] = (v16_sum(hi) + 0.0f) * by;
    }
}

#endif
