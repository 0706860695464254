/* A tile of a matrix product: P panels x T inputs with all sums in registers, each sum one fused
 * multiply-add chain over k = 0, 1, …, so that its bits depend on neither the tile, nor the number
 * of inputs, nor the threads, nor the instruction set.
 *
 * A lane is an output; P x T chains hide the latency of one another. One input (T = 1) is bound by
 * memory: the weights stream through once, prefetched AHEAD bytes in front. Several tiles over the
 * same panels: kept.h, or job.h. */
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/impl/vmath.h"

/* 4 panels x 6 tokens = 24 zmm sums + 4 weights + broadcast + mask fill 32 registers; with 16 ymm
 * it is 1 x 6. */
#define TILE_T 6
#define TILE_P 4
#define MANY_P (V16_REGS == 32 ? TILE_P : 1) /* panels of a tile of many tokens */
/* Bytes of one panel ahead that are fetched: +10 to +20 points of bandwidth (measured). */
#define AHEAD 4096

struct tile {
    const char *w;  /* first panel of the tile */
    size_t panel;   /* bytes from panel to panel */
    int64_t cols;
    bool fetch;     /* the first pass over these panels: prefetch */
    bool resume;    /* the chains go on from what sums holds */
    const char *then;  /* what is read after this tile: fetched towards its end */
    size_t then_panel;
    int64_t then_lines; /* without fetch: so many lines of it, from the start on */
    const float *x[TILE_T];
};

/* Loads stay where they are written: those that move up, or are kept for later, take registers from
 * sums, which then go to memory and back with every step (a fifth of the time). */
#define IN_ORDER __asm__ volatile("" ::: "memory")

/* One line of each panel: `per` inputs (2 for bf16, otherwise 1). ahead: the line to prefetch for
 * the first panel, if `fetch` says so. */
INLINE void tile_step(v16 acc[TILE_P][TILE_T], const char *w, size_t panel,
                      const float *const x[TILE_T], int64_t k, const char *ahead,
                      size_t ahead_panel, bool fetch, int P, int T, enum dtype type, int per)
{
    v16 m[TILE_P];
    UNROLL for (int p = 0; p < P; p++) {
        const char *line = w + (size_t)p * panel;
        if (type == DTYPE_F32)
            m[p] = v16_load((const float *)line);
        else if (type == DTYPE_F16)
            m[p] = v16_load_half(line);
        else
            m[p] = v16_pair_even(v16_load_pairs(line));
        if (fetch)
            __builtin_prefetch(ahead + (size_t)p * ahead_panel);
    }
    UNROLL for (int j = 0; j < T; j++) {
        IN_ORDER;
        v16 b = v16_set1(x[j][k]);
        UNROLL for (int p = 0; p < P; p++)
            acc[p][j] = v16_add_product(acc[p][j], m[p], b);
    }
    if (per == 1)
        return;
    UNROLL for (int p = 0; p < P; p++)
        m[p] = v16_load_odd(w + (size_t)p * panel);
    UNROLL for (int j = 0; j < T; j++) {
        IN_ORDER;
        v16 b = v16_set1(x[j][k + 1]);
        UNROLL for (int p = 0; p < P; p++)
            acc[p][j] = v16_add_product(acc[p][j], m[p], b);
    }
}

/* The sums of P panels and T tokens, to sums[T][P][16]. */
INLINE void tile_sums(const struct tile *t, float *sums, int P, int T, enum dtype type)
{
    const int per = type == DTYPE_BF16 ? 2 : 1;
    const size_t line = type == DTYPE_F16 ? 32 : 64;
    const int64_t lines = t->cols / per, tail = MIN(lines, (int64_t)(AHEAD / line));
    const char *w = t->w;
    const size_t panel = t->panel;
    const float *x[TILE_T];
    v16 acc[TILE_P][TILE_T];
    int64_t k = 0;
    UNROLL for (int j = 0; j < T; j++) {
        x[j] = t->x[j];
        UNROLL for (int p = 0; p < P; p++)
            acc[p][j] = t->resume ? v16_load(sums + (j * P + p) * PANEL) : v16_zero();
    }
    const char *then = t->then;
    const size_t then_panel = t->then_panel;
    const int64_t then_lines = t->then_lines;
    int64_t i = 0;
    if (t->fetch) {
        for (; i < lines - tail; i++, w += line, k += per)
            tile_step(acc, w, panel, x, k, w + AHEAD, panel, true, P, T, type, per);
        for (; i < lines; i++, w += line, k += per, then += line)
            tile_step(acc, w, panel, x, k, then, then_panel, true, P, T, type, per);
    }
    for (; i < then_lines; i++, w += line, k += per, then += line)
        tile_step(acc, w, panel, x, k, then, then_panel, true, P, T, type, per);
    for (; i < lines; i++, w += line, k += per)
        tile_step(acc, w, panel, x, k, NULL, 0, false, P, T, type, per);
    if (t->cols % per)
        tile_step(acc, w, panel, x, k, NULL, 0, false, P, T, type, 1);
    UNROLL for (int p = 0; p < P; p++)
        UNROLL for (int j = 0; j < T; j++)
            v16_store(sums + (j * P + p) * PANEL, acc[p][j]);
}

#if !defined(BY_TILES) && !defined(BY_INT16)
/* One function per tile shape and dtype. */
typedef void tile_fn(const struct tile *t, float *sums);
#define TILE(P, T, type) \
    static void tile_##P##x##T##_##type(const struct tile *t, float *sums) \
    { \
        tile_sums(t, sums, P, T, DTYPE_##type); \
    }
#define TILES_OF(P, type) \
    TILE(P, 1, type) TILE(P, 2, type) TILE(P, 3, type) TILE(P, 4, type) TILE(P, 5, type) \
    TILE(P, 6, type)
#define TILES(type) TILES_OF(1, type) TILES_OF(2, type) TILES_OF(4, type)
TILES(F32)
TILES(F16)
TILES(BF16)
#define ROW(P, type) \
    {tile_##P##x1_##type, tile_##P##x2_##type, tile_##P##x3_##type, tile_##P##x4_##type, \
     tile_##P##x5_##type, tile_##P##x6_##type}
/* By dtype, log2 of the panels, tokens - 1. */
static tile_fn *const tile_table[3][3][TILE_T] = {
    [DTYPE_F32] = {ROW(1, F32), ROW(2, F32), ROW(4, F32)},
    [DTYPE_F16] = {ROW(1, F16), ROW(2, F16), ROW(4, F16)},
    [DTYPE_BF16] = {ROW(1, BF16), ROW(2, BF16), ROW(4, BF16)},
};
#endif
