/* Products by inputs of 16 bits (ref/ref_int16.h) as products of tiles (tiles.h), exact: an input
 * is the sum of two parts of 8 bits, and every sum below is a whole number that its 32 bits hold.
 * What weights and inputs become for it, by the format's numbers c:
 *
 * NARROW, run of 32: |c| <= 16, so that a sum over a run stays within 16 x 32767 x 32 < 2^24 and
 *   float32 is exact. Parts and numbers are bf16, and both parts add to one tile of sums. Numbers
 *   from 0 to 31 are taken 16 lower, which is made good after (`lifted`).
 * HALVES, run of 16: |c| <= 32, likewise. A line of inputs is both parts of one run, 16 and 16, and
 *   meets the run's weights twice.
 * BYTES, run of 32: any c of 8 bits. Numbers are bytes, and so are the parts: the upper one signed,
 *   the lower one not. Each has int32 sums of its own; the run's is 256 times one plus the
 *   other. */
#ifndef RECURD_INT16_TILES_H
#define RECURD_INT16_TILES_H

#include "kernels/cpu/impl/int16_input.h"
#include "kernels/cpu/impl/tiles.h"

enum tiling { NARROW, HALVES, BYTES };
#define TILINGS 3

INLINE enum tiling tiling_of(struct quant f)
{
    if (f.bits == 8 || f.map == MAP_IQ4)
        return BYTES;
    return f.run == SPAN ? NARROW : HALVES;
}
#define LIFT 16
INLINE bool lifted(struct quant f) { return f.bits == 5 && f.center == 0; }

/* The largest |c|: that 24 bits hold what bf16 makes of it. 12: of FP4, doubled. */
#define NARROW_MOST(bits, map, center) \
    (MAP_##map == MAP_FP4 ? 12 : (center) ? (center) : (bits) == 5 ? LIFT : (1 << (bits)) - 1)
#define FORMAT(ID, name, block, bytes, st, gguf, bits, run, head, sub, map, center) \
    _Static_assert((bits) > 6 || MAP_##map == MAP_IQ4 || \
                   (int64_t)NARROW_MOST(bits, map, center) * 32767 * (run) <= 1 << 24, #ID);
#include "kernels/formats.def"
#undef FORMAT

/* ---- weights ---------------------------------------------------------------------------- */

/* Tiles of a span: 8 lines of bytes; 16 of bf16; two of 16. */
INLINE size_t tiled_span_bytes(enum tiling t)
{
    return t == BYTES ? TILE_BYTES / 2 : t == NARROW ? TILE_BYTES : 2 * TILE_BYTES;
}

/* What scales the runs of a span. */
struct run_scales { _Alignas(64) float by[2][PANEL], min[2][PANEL]; };

/* The numbers that stored values stand for, as bf16, or those of 4 bits as bytes. */
struct number_table { v16 lo, hi; };
static struct number_table number_table(enum dtype t, struct quant f)
{
    _Alignas(64) uint16_t half[64];
    _Alignas(64) int8_t byte[64];
    struct number_table n;
    for (int i = 0; i < 64; i++) {
        float c = format_number(t, (uint8_t)(i & ((1 << MIN(f.bits, 6)) - 1)));
        half[i] = bf16_of_f32(c - (lifted(f) ? LIFT : 0));
        byte[i] = (int8_t)c;
    }
    if (tiling_of(f) == BYTES) {
        memcpy(&n.lo, byte, sizeof n.lo);
        n.hi = n.lo;
    } else {
        memcpy(&n.lo, half, sizeof n.lo);
        memcpy(&n.hi, half + 32, sizeof n.hi);
    }
    return n;
}

/* Pair i of a span as bf16. */
INLINE v16 number_pair(struct quant f, const char *lines, int i, const struct number_table *t)
{
    if (f.bits == 4) { /* the table has them twice: what lies above is not looked at */
        const struct pair_place p = pair_place(4, order_4[2 * i]);
        v16 x = v16_load((const float *)(const void *)(lines + p.line * 64));
        return v16_look_up_halves(p.bit ? v16_shr(x, (unsigned)p.bit) : x, t->lo);
    }
    v16 x = pair_of(f, lines, i, t->lo);
    if (f.bits < 6)
        return v16_look_up_halves(x, t->lo);
    return _mm512_castsi512_ps(_mm512_permutex2var_epi16(
        _mm512_castps_si512(t->lo), _mm512_castps_si512(x), _mm512_castps_si512(t->hi)));
}

/* The inputs that four bytes of a lane meet, line after line. */
static const uint8_t order_bytes_8[SPAN] = {
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
    26, 27, 28, 29, 30, 31};
static const uint8_t order_bytes_4[SPAN] = {
    0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15, 16, 18, 20, 22, 17, 19, 21, 23, 24, 26,
    28, 30, 25, 27, 29, 31};

INLINE void number_bytes(struct quant f, const char *lines, const struct number_table *t, char *to)
{
    const __m512i low = _mm512_set1_epi8(15), table = _mm512_castps_si512(t->lo);
    UNROLL for (int l = 0; l < f.bits; l++) {
        __m512i x = _mm512_loadu_si512(lines + l * 64);
        if (f.bits == 8) {
            _mm512_store_si512(to + l * 64, _mm512_xor_si512(x, _mm512_set1_epi8((char)0x80)));
            continue;
        }
        __m512i even = _mm512_and_si512(x, low);
        __m512i odd = _mm512_and_si512(_mm512_srli_epi16(x, 4), low);
        _mm512_store_si512(to + l * 128, _mm512_shuffle_epi8(table, even));
        _mm512_store_si512(to + l * 128 + 64, _mm512_shuffle_epi8(table, odd));
    }
}

/* The tiles of one span. */
INLINE void number_tiles(struct quant f, const char *lines, const struct number_table *t, char *to)
{
    if (tiling_of(f) == BYTES) {
        number_bytes(f, lines, t, to);
        return;
    }
    UNROLL for (int i = 0; i < PAIRS; i++) {
        v16 x = number_pair(f, lines, i, t);
        if (tiling_of(f) == NARROW) {
            v16_store((float *)(void *)(to + i * 64), x);
            continue;
        }
        const int at = i < PAIRS / 2 ? i : i + PAIRS / 2;
        v16_store((float *)(void *)(to + at * 64), x);
        v16_store((float *)(void *)(to + (at + PAIRS / 2) * 64), x);
    }
}

/* Spans [0, n) of a panel from column k, which begins a block. ahead: as many lines to fetch. */
INLINE void stage(struct quant f, const char *panel, size_t scales_at, int64_t k, int n,
                  const char *ahead, const struct number_table *t, char *to,
                  struct run_scales *scales)
{
    const char *lines = panel + k * f.bits / 8 * PANEL;
    const char *record = panel + scales_at + k / f.block * quant_record(f);
    const int per = f.block / SPAN, runs = SPAN / f.run;
    for (int i = 0, in = 0; i < n; i++, lines += f.bits * 64, ahead += f.bits * 64) {
        UNROLL for (int l = 0; l < f.bits; l++)
            __builtin_prefetch(ahead + l * 64, 0, 2);
        number_tiles(f, lines, t, to + (size_t)i * tiled_span_bytes(tiling_of(f)));
        UNROLL for (int r = 0; r < runs; r++) {
            v16 by, min;
            quant_scales(f, record, in * runs + r, &by, &min);
            v16_store(scales[i].by[r], by);
            v16_store(scales[i].min[r], min);
        }
        if (++in == per) {
            in = 0;
            record += quant_record(f);
        }
    }
}

typedef void stage_fn(const char *panel, size_t scales_at, int64_t k, int n, const char *ahead,
                      const struct number_table *t, char *to, struct run_scales *scales);
#define STAGE(ID) \
    static void stage_##ID(const char *panel, size_t scales_at, int64_t k, int n, \
                           const char *ahead, const struct number_table *t, char *to, \
                           struct run_scales *scales) \
    { \
        stage(quant_##ID, panel, scales_at, k, n, ahead, t, to, scales); \
    }
INT16_FORMATS(STAGE)
#define STAGE_ROW(ID) [DTYPE_##ID] = {&quant_##ID, stage_##ID},
static const struct {
    const struct quant *format;
    stage_fn *stage;
} tiled_formats[DTYPES] = {INT16_FORMATS(STAGE_ROW)};

#endif
