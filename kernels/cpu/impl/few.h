/* Up to FEW inputs by vectors, with the bits of the matrix unit (ref/ref_split.h): such products
 * wait for memory, which tiles are slow to ask for. A lane is an output. */
#ifndef RECURD_FEW_H
#define RECURD_FEW_H

#include "kernels/cpu/impl/split.h"

#define FEW 4 /* 6 chains of each, a sum of each, and weights fill 32 registers */

#define SPAN_FLOATS (PARTS * SPAN)

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
 * panel's. ahead: what is fetched meanwhile, or NULL. */
INLINE void few_lines(v16 sum[FEW], const char *b, const float *x, size_t step, int lines,
                      const char *ahead, int N)
{
    v16 even[FEW][PARTS], odd[FEW][PARTS];
    UNROLL for (int i = 0; i < N; i++)
        UNROLL for (int p = 0; p < PARTS; p++)
            even[i][p] = odd[i][p] = v16_zero();
    for (int k = 0; k < lines; k++, b += 64) {
        v16 w = v16_pair_even(v16_load_pairs(b)), v = v16_pair_odd(v16_load_pairs(b));
        if (ahead)
            __builtin_prefetch(ahead + k * 64);
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
    const char *b, *ahead; /* tiles of `spans`; what lies behind them, or NULL */
    const float *x;        /* [N][step], of which [spans][PARTS][SPAN] */
    size_t step;
    int spans, runs;       /* runs: 0 = a sum goes on from span to span, else each run has its own */
    float *sums;           /* [N] [16], sums_step apart; or [spans][runs][FEW][16] */
    size_t sums_step;
};

INLINE void few_spans(const struct few *f, int N)
{
    v16 sum[FEW];
    const int runs = MAX(f->runs, 1), lines = SPAN / 2 / runs;
    UNROLL for (int i = 0; i < N; i++)
        sum[i] = f->runs ? v16_zero() : v16_load(f->sums + (size_t)i * f->sums_step);
    for (int s = 0; s < f->spans; s++)
        for (int r = 0; r < runs; r++) {
            const size_t at = (size_t)s * TILE_BYTES + (size_t)(r * lines) * 64;
            few_lines(sum, f->b + at, f->x + (size_t)s * SPAN_FLOATS + r * lines * 2, f->step, lines,
                      f->ahead ? f->ahead + at : NULL, N);
            if (!f->runs)
                continue;
            float *out = f->sums + (size_t)((s * runs + r) * FEW) * PANEL;
            UNROLL for (int i = 0; i < N; i++) {
                v16_store(out + i * PANEL, sum[i]);
                sum[i] = v16_zero();
            }
        }
    if (f->runs)
        return;
    UNROLL for (int i = 0; i < N; i++)
        v16_store(f->sums + (size_t)i * f->sums_step, sum[i]);
}

/* Functions of their own, that nothing moves out of the mode in which they are called. */
#define FEW_OF(N) \
    __attribute__((noinline)) static void few_##N(const struct few *f) { few_spans(f, N); }
FEW_OF(1) FEW_OF(2) FEW_OF(3) FEW_OF(4)

/* In the unit's mode: to the nearest even, denormals are zero, nothing traps. */
static void few_run(const struct few *f, int64_t n)
{
    static void (*const of[FEW])(const struct few *) = {few_1, few_2, few_3, few_4};
    unsigned saved = _mm_getcsr();
    _mm_setcsr(0x9fc0);
    of[n - 1](f);
    _mm_setcsr(saved);
}

#endif
