/* Panels of blocks multiplied or decoded, 32 inputs at a time: weights are decoded in registers
 * (quant.h) before the multiply-add chain of tile.h takes them, so that a product has the bits of
 * its decoded twin. */
#include "kernels/cpu/impl/quant.h"

/* What becomes of a step's 32 inputs of P panels: added to acc times x, or (P = 1) stored to
 * out[32][16] as values, or as the numbers that are scaled. */
enum quant_use { QUANT_SUM, QUANT_VALUES, QUANT_NUMBERS };

/* Where they are. */
struct quant_step {
    const char *lines, *record;
    size_t panel;
    int run;           /* of the block: the first of the step */
    const float *x;
    float *out;
    const char *ahead; /* lines to prefetch */
    size_t ahead_panel;
};

INLINE void quant_take(struct quant f, const struct quant_step *s, v16 acc[], const v16 v[],
                       v16 scale[][2], v16 add[][2], int k, int P, enum quant_use use)
{
    int r = f.run < SPAN ? k / f.run : 0;
    v16 x = use == QUANT_SUM ? v16_set1(s->x[k]) : v16_zero();
    if (use == QUANT_NUMBERS) {
        float fold = quant_fold(f);
        v16_store(s->out + k * PANEL, fold == 0 ? v[0] : v16_sub(v[0], v16_set1(fold)));
        return;
    }
    UNROLL for (int p = 0; p < P; p++) {
        bool plain = f.head != HEAD_F16_MIN && quant_fold(f) == 0;
        v16 w = plain ? v16_mul(scale[p][r], v[p]) : v16_fma(scale[p][r], v[p], add[p][r]);
        if (use == QUANT_VALUES)
            v16_store(s->out + k * PANEL, w);
        else
            acc[p] = v16_fma(w, x, acc[p]);
    }
}

INLINE void quant_span(struct quant f, const struct quant_step *s, struct quant_table t,
                       v16 acc[], int P, enum quant_use use)
{
    const int group = panel_group(f.bits);
    const int lines = group * f.bits / 32, per = 32 / f.bits;
    const int runs = f.run < SPAN ? SPAN / f.run : 1;
    v16 scale[TILE_P][2], add[TILE_P][2], v[TILE_P], line[TILE_P];
    UNROLL for (int p = 0; p < P; p++)
        UNROLL for (int r = 0; r < runs; r++)
            quant_scales(f, s->record + (size_t)p * s->panel, s->run + r, &scale[p][r],
                         &add[p][r]);
    UNROLL for (int g = 0; g < SPAN / group; g++) {
        UNROLL for (int l = 0; l < lines; l++) {
            const size_t at = (size_t)(g * lines + l) * 64;
            UNROLL for (int p = 0; p < P; p++) {
                line[p] = v16_load(
                    (const float *)(const void *)(s->lines + (size_t)p * s->panel + at));
                __builtin_prefetch(s->ahead + (size_t)p * s->ahead_panel + at);
            }
            UNROLL for (int i = 0; i < per; i++) {
                UNROLL for (int p = 0; p < P; p++)
                    v[p] = quant_value(f, line[p], i * f.bits, t);
                quant_take(f, s, acc, v, scale, add, g * group + l * per + i, P, use);
            }
        }
        UNROLL for (int i = 0; i < group - lines * per; i++) {
            UNROLL for (int p = 0; p < P; p++)
                v[p] = quant_value(f, left_over(f, s->lines + (size_t)p * s->panel +
                                                       (size_t)(g * lines) * 64, i), 0, t);
            quant_take(f, s, acc, v, scale, add, g * group + lines * per + i, P, use);
        }
    }
}

/* The sums of P panels and one input; all of its columns are whole spans. */
INLINE void quant_sums(const struct tile *t, float *sums, int P, struct quant f)
{
    const struct quant_table table = quant_tables(f);
    const size_t plane = (size_t)(t->cols * f.bits / 8 * PANEL), step = (size_t)f.bits * 64;
    const size_t block = step * (size_t)(f.block / SPAN);
    struct quant_step s = {.lines = t->w, .panel = t->panel, .x = t->x[0]};
    s.record = t->w + (plane + block - 1) / block * block;
    v16 acc[TILE_P];
    UNROLL for (int p = 0; p < P; p++)
        acc[p] = v16_zero();
    for (size_t at = 0; at < plane; at += step) {
        bool inside = at + AHEAD < plane;
        s.ahead = inside ? t->w + at + AHEAD : t->then + (at + AHEAD - plane);
        s.ahead_panel = inside ? t->panel : t->then_panel;
        UNROLL for (int p = 0; p < P; p++)
            __builtin_prefetch(s.record + (size_t)p * t->panel + 1024);
        quant_span(f, &s, table, acc, P, QUANT_SUM);
        s.lines += step;
        s.x += SPAN;
        s.run += MAX(SPAN / f.run, 1);
        if ((at + step) % block == 0) {
            s.run = 0;
            s.record += quant_record(f);
        } else if (f.run > SPAN) {
            s.run = 0;
        }
    }
    UNROLL for (int p = 0; p < P; p++)
        v16_store(sums + p * PANEL, acc[p]);
}

#define QUANT_FORMATS(X) \
    X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_NL) \
    X(IQ4_XS) X(MXFP4) X(FP8)
/* One that is missing would be NULL in the tables below, or count as plain. */
#define QUANT_BIT(ID) 1u << DTYPE_##ID |
_Static_assert((QUANT_FORMATS(QUANT_BIT) 0u) == (1u << DTYPES) - (2u << DTYPE_BF16),
               "every format that is not plain");

/* The others have their own use of the above, or none (job_tiles.h, job_int16.h). */
#if !defined(BY_TILES) && !defined(BY_INT16)

/* Columns [k, k + 32) of one panel to out[32][16]. */
typedef void quant_decode_fn(const char *panel, size_t scales_at, int64_t k, float *out);
INLINE void quant_decode(const char *panel, size_t scales_at, int64_t k, float *out,
                         struct quant f)
{
    struct quant_step s = {.lines = panel + k * f.bits / 8 * PANEL, .out = out};
    s.record = panel + scales_at + k / f.block * quant_record(f);
    s.run = (int)(k % f.block) / f.run;
    s.ahead = s.lines + AHEAD;
    quant_span(f, &s, quant_tables(f), NULL, 1, QUANT_VALUES);
}

#define QUANT(P, ID) \
    static void quant_##P##_##ID(const struct tile *t, float *sums) \
    { \
        quant_sums(t, sums, P, quant_##ID); \
    }
#if V16_REGS == 32
#define QUANT_SIZES(ID) QUANT(1, ID) QUANT(2, ID) QUANT(4, ID)
#define QUANT_ROW(ID) [DTYPE_##ID] = {quant_1_##ID, quant_2_##ID, quant_4_##ID},
#else
#define QUANT_SIZES(ID) QUANT(1, ID)
#define QUANT_ROW(ID) [DTYPE_##ID] = {quant_1_##ID},
#endif
#define QUANTS(ID) \
    QUANT_SIZES(ID) \
    static void quant_decode_##ID(const char *panel, size_t scales_at, int64_t k, float *out) \
    { \
        quant_decode(panel, scales_at, k, out, quant_##ID); \
    }
QUANT_FORMATS(QUANTS)
static tile_fn *const quant_table[DTYPES][3] = {QUANT_FORMATS(QUANT_ROW)};
#define QUANT_DECODE(ID) [DTYPE_##ID] = quant_decode_##ID,
static quant_decode_fn *const quant_decoders[DTYPES] = {QUANT_FORMATS(QUANT_DECODE)};

#endif
