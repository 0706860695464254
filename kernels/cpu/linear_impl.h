/* LINEAR: y = W x, one fused multiply-add chain per output over k = 0, 1, …, so that the bits
 * depend on neither the tile, nor the number of rows, nor the threads, nor the instruction set.
 *
 * A lane is an output row; a tile is P panels x T tokens, all of its sums in registers over the
 * whole of k: P x T chains hide the latency of one another. One token (T = 1) is bound by memory:
 * the weights stream through once, prefetched AHEAD bytes in front. With more tokens the panels
 * of a group stay in the second-level cache while the token tiles pass over them. */
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/vmath.h"

/* 4 panels x 6 tokens = 24 zmm sums + 4 weights + broadcast + mask fill 32 registers; with 16 ymm
 * it is 1 x 6. */
#define TILE_T 6
#define TILE_P 4
#define MANY_P (V16_REGS == 32 ? TILE_P : 1) /* panels of a tile of many tokens */
/* Bytes of one panel ahead that are fetched: +10 to +20 points of bandwidth (measured). */
#define AHEAD 4096

struct tile {
    const char *w;      /* first panel of the tile */
    const float *x;     /* first token's input */
    int64_t x_stride, cols;
    size_t panel;       /* bytes from panel to panel */
    bool fetch;         /* the first pass over these panels: prefetch them */
};

/* One line of each panel: `per` inputs (2 for bf16, otherwise 1). */
INLINE void tile_step(v16 acc[TILE_P][TILE_T], const char *w, size_t panel, const float *x,
                      int64_t x_stride, ptrdiff_t ahead, int P, int T, enum dtype type, int per)
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
        if (ahead)
            _mm_prefetch(line + ahead, _MM_HINT_T0);
    }
    UNROLL for (int j = 0; j < T; j++) {
        v16 b = v16_set1(x[j * x_stride]);
        UNROLL for (int p = 0; p < P; p++)
            acc[p][j] = v16_fma(m[p], b, acc[p][j]);
    }
    if (per == 1)
        return;
    UNROLL for (int p = 0; p < P; p++)
        m[p] = v16_pair_odd(v16_load_pairs(w + (size_t)p * panel));
    UNROLL for (int j = 0; j < T; j++) {
        v16 b = v16_set1(x[j * x_stride + 1]);
        UNROLL for (int p = 0; p < P; p++)
            acc[p][j] = v16_fma(m[p], b, acc[p][j]);
    }
}

/* The sums of P panels and T tokens, to sums[T][P][16]. */
INLINE void tile_sums(const struct tile *t, float *sums, int P, int T, enum dtype type)
{
    const int per = type == DTYPE_BF16 ? 2 : 1;
    const size_t line = type == DTYPE_F16 ? 32 : 64;
    const int64_t lines = t->cols / per, tail = MIN(lines, (int64_t)(AHEAD / line));
    /* Near the end of a panel the next thing needed is the start of the next group of panels. */
    const ptrdiff_t next = (ptrdiff_t)((size_t)P * t->panel - (size_t)(lines - tail) * line);
    const char *w = t->w;
    const float *x = t->x;
    const int64_t stride = t->x_stride;
    const size_t panel = t->panel;
    v16 acc[TILE_P][TILE_T];
    UNROLL for (int p = 0; p < P; p++)
        UNROLL for (int j = 0; j < T; j++)
            acc[p][j] = v16_zero();
    if (t->fetch) {
        for (int64_t i = 0; i < lines - tail; i++, w += line, x += per)
            tile_step(acc, w, panel, x, stride, AHEAD, P, T, type, per);
        for (int64_t i = 0; i < tail; i++, w += line, x += per)
            tile_step(acc, w, panel, x, stride, next, P, T, type, per);
    } else {
        for (int64_t i = 0; i < lines; i++, w += line, x += per)
            tile_step(acc, w, panel, x, stride, 0, P, T, type, per);
    }
    if (t->cols % per)
        tile_step(acc, w, panel, x, stride, 0, P, T, type, 1);
    UNROLL for (int p = 0; p < P; p++)
        UNROLL for (int j = 0; j < T; j++)
            v16_store(sums + (j * P + p) * PANEL, acc[p][j]);
}

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

/* What one thread computes: panels [p0, p1) of rows (tokens) [t0, t1). */
struct part {
    const struct host_step *s;
    const struct op *op;
    int64_t p0, p1, t0, t1;
};

/* Bias, activation and residual, then the store: rows [r0, r0 + P * 16) of token t. */
static void finish(const struct part *a, const float *sums, int64_t r0, int P, int32_t t)
{
    const struct op *op = a->op;
    const float *bias = host_vec(a->s, op->w[1]);
    const float *add = view_given(op->in[1]) ? host_row(a->s, op->in[1], t) : NULL;
    float *out = host_row(a->s, op->out, t);
    for (int p = 0; p < P; p++, r0 += PANEL) {
        int n = (int)MIN(op->out.width - r0, PANEL);
        v16 y = v16_load(sums + p * PANEL);
        if (bias)
            y = v16_add(y, v16_load_n(bias + r0, n));
        y = v16_act(op->p.linear.act, y);
        if (add)
            y = v16_add(y, v16_load_n(add + r0, n));
        v16_store_n(out + r0, n, y);
    }
}

/* All tokens of the part over one group of P panels, in tiles of nearly equal size. */
static void group(const struct part *a, const struct host_weight *w, int64_t p0, int log2_p)
{
    int P = 1 << log2_p;
    int64_t n = a->t1 - a->t0, tiles = (n + TILE_T - 1) / TILE_T;
    float sums[TILE_T * TILE_P * PANEL];
    struct tile t = {.panel = panel_bytes(w->dtype, w->cols), .cols = w->cols, .fetch = true};
    t.w = (const char *)w->data + (size_t)p0 * t.panel;
    t.x_stride = host_stride(a->s, a->op->in[0]);
    for (int64_t i = 0; i < tiles; i++) {
        int64_t from = a->t0 + n * i / tiles, to = a->t0 + n * (i + 1) / tiles;
        t.x = host_row(a->s, a->op->in[0], (int32_t)from);
        tile_table[w->dtype][log2_p][to - from - 1](&t, sums);
        for (int64_t j = from; j < to; j++)
            finish(a, sums + (j - from) * P * PANEL, p0 * PANEL, P, (int32_t)j);
        t.fetch = false;
    }
}

/* Threads share the panels; when those are few and the tokens many, also the tokens. */
static struct part share(const struct host_step *s, const struct op *op, int64_t panels,
                         int64_t tokens, int ith, int nth)
{
    int by_token = 1;
    while (nth % (by_token * 2) == 0 && panels * by_token / nth < 8 &&
           tokens / by_token >= 2 * TILE_T)
        by_token *= 2;
    struct part a = {.s = s, .op = op};
    host_share(panels, ith / by_token, nth / by_token, &a.p0, &a.p1);
    host_share(tokens, ith % by_token, by_token, &a.t0, &a.t1);
    return a;
}

void FN(linear)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct host_weight *w = &s->weights[op->w[0]];
    struct part a = share(s, op, (w->rows + PANEL - 1) / PANEL, host_rows(s, op), ith, nth);
    int64_t n = a.t1 - a.t0;
    int most = n * TILE_P <= V16_REGS - 4 ? TILE_P : MAX(MANY_P, n == 2 ? 2 : 1);
    for (int64_t p = a.p0; n > 0 && p < a.p1;) {
        int64_t left = MIN(a.p1 - p, most);
        int log2_p = left >= 4 ? 2 : left >= 2 ? 1 : 0;
        group(&a, w, p, log2_p);
        p += 1 << log2_p;
    }
}
