/* Some panels meet all tiles of inputs (int16_tiles.h), over a few spans. Of one panel and one tile
 * of inputs the float sums stay in registers; a run's sums of products come from the unit by way of
 * memory, two runs behind. */
#ifndef RECURD_INT16_MEET_H
#define RECURD_INT16_MEET_H

#include "kernels/cpu/impl/int16_tiles_input.h"

#define TILED_CHUNK 8 /* spans; every block is as long or shorter */
_Static_assert(TILED_CHUNK * SPAN == FORMAT_BLOCK_MAX, "a chunk begins a block");

/* Each of P panels meets each of m_tiles tiles of inputs, over the same spans. */
struct meeting {
    const struct tiled_inputs *x; /* [m tile][spans] */
    const char *weights;          /* [panel][TILED_CHUNK] */
    struct run_scales (*scales)[TILED_CHUNK]; /* [panel] */
    float (*sums)[TILE_ROWS][PANEL]; /* [panel][m tile] */
    int m_tiles, P, spans;
    bool resume;
};
typedef void meet_fn(const struct meeting *m);

/* A run of them: tile of inputs, panel, run of the spans; panels change before inputs do. */
struct meeting_run { int m, p, s; };
/* To the next; true where another panel or tile begins. */
INLINE bool next_run(const struct meeting *m, struct meeting_run *r, int runs)
{
    if (++r->s < runs)
        return false;
    r->s = 0;
    if (++r->p == m->P) {
        r->p = 0;
        r->m++;
    }
    return true;
}

/* The products of run r, to tile c of sums, and d where there are two. */
#define PRODUCTS(c, d, r) \
    do { \
        const char *line_ = weights_of(m, r, t), *in_ = inputs_of(m, r, t); \
        TILE_LOAD(4, line_); \
        TILE_LOAD(6, in_); \
        TILE_ZERO(c); \
        if (t == BYTES) { \
            TILE_DP_SS(c, 6, 4); \
            TILE_LOAD(7, in_ + 32); \
            TILE_ZERO(d); \
            TILE_DP_US(d, 7, 4); \
        } else { \
            TILE_DP(c, 6, 4); \
        } \
        if (t == NARROW) { \
            TILE_LOAD(7, in_ + TILE_BYTES); \
            TILE_DP(c, 7, 4); \
        } \
    } while (0)
#define PRODUCTS_TO(c, d, to) \
    do { \
        TILE_STORE(c, (to)[0]); \
        if (t == BYTES) \
            TILE_STORE(d, (to)[1]); \
    } while (0)

INLINE const char *weights_of(const struct meeting *m, const struct meeting_run *r, enum tiling t)
{
    const size_t span = tiled_span_bytes(t), run = t == HALVES ? span / 2 : span;
    return m->weights + (size_t)r->p * span * TILED_CHUNK + (size_t)r->s * run;
}
INLINE const char *inputs_of(const struct meeting *m, const struct meeting_run *r, enum tiling t)
{
    const struct tiled_inputs *x = m->x + r->m * m->spans;
    return t == HALVES ? x[r->s / 2].part[r->s % 2] : x[r->s].part[0];
}

/* What run r adds to acc. */
INLINE void count_tiles(const struct meeting *m, const struct meeting_run *at,
                        float (*products)[TILE_ROWS][PANEL], v16 acc[TILE_ROWS], enum tiling t,
                        bool min, bool lift, int rows)
{
    const int s = t == HALVES ? at->s / 2 : at->s, r = t == HALVES ? at->s % 2 : 0;
    const struct tiled_inputs *x = m->x + at->m * m->spans + s;
    const struct run_scales *scales = &m->scales[at->p][s];
    const v16 by = v16_load(scales->by[r]), add = min ? v16_load(scales->min[r]) : v16_zero();
    UNROLL for (int i = 0; i < rows; i++) {
        v16 sum = v16_load(products[0][i]);
        if (t == BYTES) {
            v16 lower = v16_load(products[1][i]);
            sum = v16_from_int(v16_iadd(v16_shl(sum, 8), lower));
        }
        if (lift)
            sum = v16_add(sum, v16_set1(x->lift[i]));
        acc[i] = v16_fma(sum, v16_mul(by, v16_set1(x->by[i])), acc[i]);
        if (min)
            acc[i] = v16_fma(add, v16_set1(x->inputs[r][i]), acc[i]);
    }
    IN_ORDER;
}

INLINE void take_sums(const struct meeting *m, const struct meeting_run *r, v16 acc[TILE_ROWS],
                      int rows)
{
    float (*sums)[PANEL] = m->sums[r->p * m->m_tiles + r->m];
    UNROLL for (int i = 0; i < rows; i++)
        acc[i] = m->resume ? v16_load(sums[i]) : v16_zero();
}
INLINE void leave_sums(const struct meeting *m, const struct meeting_run *r, v16 acc[TILE_ROWS],
                       int rows)
{
    float (*sums)[PANEL] = m->sums[r->p * m->m_tiles + r->m];
    UNROLL for (int i = 0; i < rows; i++)
        v16_store(sums[i], acc[i]);
}

/* Counts run r in and goes on. */
#define COUNT(products_) \
    do { \
        const struct meeting_run was_ = counted; \
        count_tiles(m, &counted, products_, acc, t, min, lift, rows); \
        if (next_run(m, &counted, runs)) { \
            leave_sums(m, &was_, acc, rows); \
            if (counted.m < m->m_tiles) \
                take_sums(m, &counted, acc, rows); \
        } \
    } while (0)

INLINE void meet(const struct meeting *meeting, enum tiling t, bool min, bool lift, int rows)
{
    _Alignas(64) float products[2][2][TILE_ROWS][PANEL];
    const struct meeting own = *meeting, *m = &own;
    const int runs = t == HALVES ? 2 * m->spans : m->spans, n = runs * m->P * m->m_tiles;
    struct meeting_run next = {0, 0, 0}, counted = next;
    v16 acc[TILE_ROWS];
    PRODUCTS(0, 1, &next);
    next_run(m, &next, runs);
    if (n > 1)
        PRODUCTS(2, 3, &next);
    next_run(m, &next, runs);
    take_sums(m, &counted, acc, rows);
    PRODUCTS_TO(0, 1, products[0]);
    for (int i = 0; i < n; i += 2) {
        if (i + 2 < n)
            PRODUCTS(0, 1, &next);
        next_run(m, &next, runs);
        if (i + 1 < n)
            PRODUCTS_TO(2, 3, products[1]);
        COUNT(products[0]);
        if (i + 1 == n)
            break;
        if (i + 3 < n)
            PRODUCTS(2, 3, &next);
        next_run(m, &next, runs);
        if (i + 2 < n)
            PRODUCTS_TO(0, 1, products[0]);
        COUNT(products[1]);
    }
}

#define MEET(name, t, min, lift, rows) \
    static void name##_##rows(const struct meeting *m) { meet(m, t, min, lift, rows); }
#define MEETS(name, t, min, lift) \
    MEET(name, t, min, lift, 14) MEET(name, t, min, lift, 16)
#define MEET_ROW(name) {name##_14, name##_16}
MEETS(meet_bytes, BYTES, false, false)
MEETS(meet_narrow, NARROW, false, false)
MEETS(meet_narrow_min, NARROW, true, false)
MEETS(meet_lifted, NARROW, true, true)
MEETS(meet_halves, HALVES, false, false)
MEETS(meet_halves_min, HALVES, true, false)

/* For tiles of up to `rows` inputs, which is made even. */
static meet_fn *meet_of(struct quant f, int *rows)
{
    static meet_fn *const fns[TILINGS][3][2] = {
        [BYTES] = {MEET_ROW(meet_bytes)},
        [NARROW] = {MEET_ROW(meet_narrow), MEET_ROW(meet_narrow_min), MEET_ROW(meet_lifted)},
        [HALVES] = {MEET_ROW(meet_halves), MEET_ROW(meet_halves_min)}};
    *rows += *rows % 2;
    return fns[tiling_of(f)][f.head != HEAD_F16_MIN ? 0 : lifted(f) ? 2 : 1][*rows == 16];
}

#endif
