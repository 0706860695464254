/* Up to FEW inputs by vectors, with the bits of the matrix unit (ref/ref_split.h): such products
 * wait for memory, which tiles are slow to ask for. A lane is an output. */
#ifndef RECURD_FEW_H
#define RECURD_FEW_H

#include "kernels/cpu/impl/split.h"

#define FEW 4 /* 6 chains of each, a sum of each, and weights fill 32 registers */

#define SPAN_FLOATS (PARTS * SPAN)
#define FEW_SPANS 64 /* of all inputs together: their parts fill half of a first-level cache */

/* The parts of columns [0, n) of one input, n <= SPAN, as floats: [PARTS][SPAN], zeros behind. */
INLINE void split_floats(const float *x, int n, float *out)
{
    v16 part[PARTS];
    for (int h = 0; h < SPAN; h += LANES) {
        split(n > h ? load_left(x + h, MIN(n - h, LANES)) : v16_zero(), part);
        UNROLL for (int p = 0; p < PARTS; p++)
            v16_store(out + p * SPAN + h, part[p]);
    }
}

/* sum[i] += `lines` pairs of columns of N inputs, whose parts are `step` floats apart, times one
 * panel's: pairs of bf16, fetched AHEAD, or floats in cache. */
INLINE void few_lines(v16 sum[FEW], const char *b, const float *x, size_t step, int lines, int N,
                      bool floats)
{
    v16 even[FEW][PARTS], odd[FEW][PARTS];
    UNROLL for (int i = 0; i < N; i++)
        UNROLL for (int p = 0; p < PARTS; p++)
            even[i][p] = odd[i][p] = v16_zero();
    for (int k = 0; k < lines; k++, b += floats ? 128 : 64) {
        v16 w, v;
        if (floats) {
            w = v16_load((const float *)(const void *)b);
            v = v16_load((const float *)(const void *)(b + 64));
            __asm__("" : "+v"(w), "+v"(v)); /* in registers: each is used for every part */
        } else {
            w = v16_load_pairs(b);
            v = v16_pair_odd(w);
            w = v16_pair_even(w);
            __builtin_prefetch(b + AHEAD);
        }
        UNROLL for (int i = 0; i < N; i++)
            UNROLL for (int p = 0; p < PARTS; p++) {
                const float *at = x + (size_t)i * step + p * SPAN + 2 * k;
                even[i][p] = v16_fma(v16_set1(at[0]), w, even[i][p]);
                odd[i][p] = v16_fma(v16_set1(at[1]), v, odd[i][p]);
            }
    }
    UNROLL for (int i = 0; i < N; i++)
        UNROLL for (int p = 0; p < PARTS; p++)
            sum[i] = v16_add(sum[i], v16_add(even[i][p], odd[i][p]));
}

/* N inputs and one panel. */
struct few {
    const char *b;   /* `spans` tiles of bf16; or numbers [spans][SPAN][16] with runs */
    const float *x;  /* [N][step], of which [spans][PARTS][SPAN] */
    size_t step;
    int spans, runs; /* of a span; 0: sums go on from span to span, else each run has its own */
    float *sums;     /* [N][16]; or [spans][runs][FEW][16] */
};

INLINE void few_sums(const struct few *f, int N)
{
    v16 sum[FEW];
    UNROLL for (int i = 0; i < N; i++)
        sum[i] = v16_load(f->sums + i * PANEL);
    for (int s = 0; s < f->spans; s++)
        few_lines(sum, f->b + s * TILE_BYTES, f->x + s * SPAN_FLOATS, f->step, SPAN / 2, N, false);
    UNROLL for (int i = 0; i < N; i++)
        v16_store(f->sums + i * PANEL, sum[i]);
}

INLINE void few_runs(const struct few *f, int N)
{
    const int run = SPAN / f->runs;
    float *out = f->sums;
    for (int i = 0; i < f->spans * f->runs; i++, out += FEW * PANEL) {
        const float *x = f->x + i / f->runs * SPAN_FLOATS + i % f->runs * run;
        v16 sum[FEW] = {v16_zero(), v16_zero(), v16_zero(), v16_zero()};
        few_lines(sum, f->b + i * run * 64, x, f->step, run / 2, N, true);
        UNROLL for (int k = 0; k < N; k++)
            v16_store(out + k * PANEL, sum[k]);
    }
}

#define FEW_OF(N) \
    static void few_sums_##N(const struct few *f) { few_sums(f, N); } \
    static void few_runs_##N(const struct few *f) { few_runs(f, N); }
FEW_OF(1) FEW_OF(2) FEW_OF(3) FEW_OF(4)

static void few_run(const struct few *f, int64_t n)
{
    static void (*const of[2][FEW])(const struct few *) = {
        {few_sums_1, few_sums_2, few_sums_3, few_sums_4},
        {few_runs_1, few_runs_2, few_runs_3, few_runs_4},
    };
    of[f->runs > 0][n - 1](f);
}

#endif
