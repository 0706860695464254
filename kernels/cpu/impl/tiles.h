/* The matrix unit of x86 (AMX): eight tile registers of up to 16 rows of 64 bytes, a product of
 * bf16 tiles and two of tiles of bytes. The words below are its instructions, or a plain C model
 * of them (TILES_EMULATED: build/tests/kernelcheck-tiles and golden-tiles) for tests on a CPU
 * without.
 *
 * TILE_DP(c, a, b): c[m][n] += sum over pairs k of a[m][2k] b[k][2n] and a[m][2k+1] b[k][2n+1], as
 * the Intel SDM writes it (TDPBF16PS): from zero one chain of fused multiply-adds over the first
 * of each pair and one over the second; their sum; then c plus that. Round to nearest even,
 * denormals are zero, results too.
 * TILE_DP_SS, TILE_DP_US: c[m][n] += sum over fours k of a[m][4k + i] b[k][4n + i], i from 0 to 3,
 * in int32; b signed, a signed or unsigned bytes (TDPBSSD, TDPBUSD).
 *
 * Tile numbers are literals. Between TILE_CONFIG and TILE_RELEASE a thread keeps 8 KiB of state,
 * which the system may use once it was asked (cpuid.c). */
#ifndef RECURD_TILES_H
#define RECURD_TILES_H

#include "kernels/cpu/impl/lanes.h"

#define TILE_ROWS 16
#define TILE_BYTES 1024

struct tile_config {
    uint8_t palette, start_row, zero[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "what ldtilecfg reads");

#ifndef TILES_EMULATED

/* All 64 bytes are an operand: gcc 12's own intrinsic names eight of them, and the compiler drops
 * the others. */
#define TILE_CONFIG(config) __asm__ volatile("ldtilecfg %0" : : "m"(*(config)))
#define TILE_RELEASE() __asm__ volatile("tilerelease")
#define TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t : :)
#define TILE_LOAD(t, from) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(from), "r"((int64_t)64) : "memory")
#define TILE_STORE(t, to) \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(to), "r"((int64_t)64) : "memory")
#define TILE_DP(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)
#define TILE_DP_SS(c, a, b) \
    __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)
#define TILE_DP_US(c, a, b) \
    __asm__ volatile("tdpbusd %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)

#else

struct tile_register { float row[16][16]; };
static _Thread_local struct tile_register tile_model[8];
static _Thread_local struct tile_config tile_shape;

static void tile_model_load(int t, const char *from, int64_t step)
{
    ASSERT(tile_shape.palette == 1 && tile_shape.rows[t] <= 16 && tile_shape.row_bytes[t] <= 64);
    memset(&tile_model[t], 0, sizeof tile_model[t]);
    for (int i = 0; i < tile_shape.rows[t]; i++)
        memcpy(tile_model[t].row[i], from + i * step, tile_shape.row_bytes[t]);
}
static void tile_model_store(int t, char *to, int64_t step)
{
    for (int i = 0; i < tile_shape.rows[t]; i++)
        memcpy(to + i * step, tile_model[t].row[i], tile_shape.row_bytes[t]);
}
static float tile_model_half(const struct tile_register *r, int row, int i)
{
    uint16_t h;
    memcpy(&h, (const char *)r->row[row] + 2 * i, sizeof h);
    return f32_of_bf16(h);
}
static void tile_model_fit(int c, int a, int b)
{
    const struct tile_config *s = &tile_shape;
    ASSERT(s->rows[c] == s->rows[a] && s->row_bytes[c] == s->row_bytes[b] &&
           s->row_bytes[a] == 4 * s->rows[b]);
}
__attribute__((unused)) /* this and the next, each by its users */
static void tile_model_dp(int c, int a, int b)
{
    const struct tile_config *s = &tile_shape;
    const struct tile_register *x = &tile_model[a], *w = &tile_model[b];
    unsigned saved = _mm_getcsr();
    tile_model_fit(c, a, b);
    _mm_setcsr(0x9fc0); /* all masked, nearest even, denormals zero on both sides */
    for (int m = 0; m < s->rows[c]; m++)
        for (int n = 0; n < s->row_bytes[c] / 4; n++) {
            float first = 0, second = 0;
            for (int k = 0; k < s->rows[b]; k++) {
                first = fmaf(tile_model_half(x, m, 2 * k), tile_model_half(w, k, 2 * n), first);
                second = fmaf(tile_model_half(x, m, 2 * k + 1), tile_model_half(w, k, 2 * n + 1),
                              second);
            }
            tile_model[c].row[m][n] += first + second;
        }
    _mm_setcsr(saved);
}
__attribute__((unused))
static void tile_model_dp_bytes(int c, int a, int b, bool is_signed)
{
    const struct tile_config *s = &tile_shape;
    tile_model_fit(c, a, b);
    for (int m = 0; m < s->rows[c]; m++)
        for (int n = 0; n < s->row_bytes[c] / 4; n++) {
            const uint8_t *x = (const void *)tile_model[a].row[m];
            int32_t sum;
            memcpy(&sum, &tile_model[c].row[m][n], sizeof sum);
            for (int k = 0; k < s->row_bytes[a]; k++) {
                const int8_t *w = (const void *)tile_model[b].row[k / 4];
                sum += (is_signed ? (int8_t)x[k] : x[k]) * w[4 * n + k % 4];
            }
            memcpy(&tile_model[c].row[m][n], &sum, sizeof sum);
        }
}
#define TILE_CONFIG(config) (tile_shape = *(config))
#define TILE_RELEASE() memset(&tile_shape, 0, sizeof tile_shape)
#define TILE_ZERO(t) memset(&tile_model[t], 0, sizeof tile_model[t])
#define TILE_LOAD(t, from) tile_model_load(t, (const char *)(from), 64)
#define TILE_STORE(t, to) tile_model_store(t, (char *)(to), 64)
#define TILE_DP(c, a, b) tile_model_dp(c, a, b)
#define TILE_DP_SS(c, a, b) tile_model_dp_bytes(c, a, b, true)
#define TILE_DP_US(c, a, b) tile_model_dp_bytes(c, a, b, false)

#endif
#endif
