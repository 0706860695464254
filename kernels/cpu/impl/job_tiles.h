/* A job by the matrix unit (tiles.h): which tiles of inputs meet which panels (tile_work.h).
 * Definition: ref/ref_split.h.
 *
 * Tiles 0 to 3 hold sums, 4, 5 and 3 weights, 6 and 7 inputs: two tiles of inputs meet two panels,
 * or one tile three, so that three or four products hide the latency of one another. */
#include "kernels/cpu/impl/tile_work.h"

/* Cutting an input into parts is repeated by every thread that shares it (linear.c). */
#define SHARE_PANELS 32
#define SHARE_INPUTS (4 * TILE_ROWS)
#define APART_INPUTS INPUTS
#define MAY_CUT(n) true

/* M tiles of inputs meet P panels: both 1 or 2, or M 1 and P 3. */
struct piece {
    const char *a[2], *b[3];
    float *c[2][3];       /* sums [16][16] */
    int spans;
    const char *ahead[3]; /* what lies in memory after b, or NULL: fetched already */
};

INLINE void multiply_span(const char *const a[2], const char *const b[3], int M, int P)
{
    TILE_LOAD(4, b[0]);
    if (P > 1)
        TILE_LOAD(5, b[1]);
    if (P > 2)
        TILE_LOAD(3, b[2]);
    UNROLL for (int part = 0; part < PARTS; part++) {
        if (M == 1 && part % 2) { /* the next part is loaded while this one is used */
            TILE_LOAD(7, a[0] + part * TILE_BYTES);
            TILE_DP(0, 7, 4);
            if (P > 1)
                TILE_DP(1, 7, 5);
            if (P > 2)
                TILE_DP(2, 7, 3);
            continue;
        }
        TILE_LOAD(6, a[0] + part * TILE_BYTES);
        TILE_DP(0, 6, 4);
        if (P > 1)
            TILE_DP(1, 6, 5);
        if (P > 2)
            TILE_DP(2, 6, 3);
        if (M > 1) {
            TILE_LOAD(7, a[1] + part * TILE_BYTES);
            TILE_DP(2, 7, 4);
            if (P > 1)
                TILE_DP(3, 7, 5);
        }
    }
}

INLINE void store_sums(float *const c[2][3], int M, int P)
{
    TILE_STORE(0, c[0][0]);
    if (P > 1)
        TILE_STORE(1, c[0][1]);
    if (P > 2)
        TILE_STORE(2, c[0][2]);
    if (M > 1)
        TILE_STORE(2, c[1][0]);
    if (M > 1 && P > 1)
        TILE_STORE(3, c[1][1]);
}

/* Weights in bf16: sums go on from span to span. */
INLINE void multiply(const struct piece *x, int M, int P)
{
    const char *a[2] = {x->a[0], x->a[1]}, *b[3] = {x->b[0], x->b[1], x->b[2]};
    TILE_LOAD(0, x->c[0][0]);
    if (P > 1)
        TILE_LOAD(1, x->c[0][1]);
    if (P > 2)
        TILE_LOAD(2, x->c[0][2]);
    if (M > 1)
        TILE_LOAD(2, x->c[1][0]);
    if (M > 1 && P > 1)
        TILE_LOAD(3, x->c[1][1]);
    for (int s = 0; s < x->spans; s++) {
        for (int p = 0; p < P && x->ahead[p]; p++)
            for (int line = 0; line < TILE_BYTES; line += 64)
                __builtin_prefetch(x->ahead[p] + s * TILE_BYTES + line);
        multiply_span(a, b, M, P);
        for (int m = 0; m < M; m++)
            a[m] += PARTS * TILE_BYTES;
        for (int p = 0; p < P; p++)
            b[p] += TILE_BYTES;
    }
    store_sums(x->c, M, P);
}

/* Weights with scales, the first of which are in place 0: every run has sums of its own. */
INLINE void multiply_runs(struct work *w, const struct piece *x, int m, int M, int P)
{
    int runs = w->format.run < SPAN ? SPAN / w->format.run : 1;
    float *const products[2][3] = {
        {w->products[0][0], w->products[1][0], w->products[2][0]},
        {w->products[2][0], w->products[3][0], NULL}};
    for (int s = 0; s < x->spans; s++)
        for (int r = 0; r < runs; r++) {
            /* sixteen columns: half of a tile's columns of inputs, half of its lines of weights */
            size_t at_a = (size_t)s * PARTS * TILE_BYTES + (size_t)r * 32;
            size_t at_b = (size_t)s * TILE_BYTES + (size_t)r * (TILE_BYTES / 2);
            const char *a[2] = {x->a[0] + at_a, M > 1 ? x->a[1] + at_a : NULL};
            const char *b[3] = {x->b[0] + at_b, P > 1 ? x->b[1] + at_b : NULL,
                                P > 2 ? x->b[2] + at_b : NULL};
            TILE_ZERO(0);
            TILE_ZERO(1);
            TILE_ZERO(2);
            if (M > 1)
                TILE_ZERO(3);
            multiply_span(a, b, M, P);
            store_sums(products, M, P);
            for (int i = 0; i < M; i++)
                for (int p = 0; p < P; p++)
                    count_in(w, (float (*)[PANEL])(void *)x->c[i][p],
                             (const float (*)[PANEL])(const void *)products[i][p],
                             &w->scales[p][s], w->x_sums[(m + i) * w->spans + s][r], r,
                             (int)MIN(w->job->n - (m + i) * TILE_ROWS, TILE_ROWS));
        }
}

/* Tiles [m, m + M) of the inputs over panels [g, g + P) of the group. */
static void meet(struct work *w, struct piece *x, int m, int M, int64_t g, int P)
{
    for (int i = 0; i < M; i++) {
        x->a[i] = w->a[(m + i) * w->spans][0];
        for (int p = 0; p < P; p++)
            x->c[i][p] = w->sums[g + p][m + i][0];
    }
    x->spans = w->spans;
#define SHAPE(m_, p_) \
    if (M == (m_) && P == (p_)) { \
        if (w->stage) \
            multiply_runs(w, x, m, m_, p_); \
        else \
            multiply(x, m_, p_); \
    }
    SHAPE(2, 2) SHAPE(2, 1) SHAPE(1, 3) SHAPE(1, 2) SHAPE(1, 1)
#undef SHAPE
}

/* Where memory is read after panel g of this group: a later panel of the chunk, the next chunk of
 * panel i, or what the thread reads after the job. */
static const char *read_next(const struct work *w, int64_t p, int64_t n, int64_t g, int i)
{
    const struct host_weight *h = w->job->w;
    const size_t panel = panel_bytes(h->dtype, h->cols);
    const char *base = (const char *)h->data + (size_t)(w->job->panel0 + p) * panel;
    int64_t next = w->k0 + w->spans * SPAN;
    if (g < n)
        return base + (size_t)g * panel + w->k0 * 2 * PANEL;
    if (next < h->cols)
        return base + (size_t)i * panel + next * 2 * PANEL;
    return w->job->then ? w->job->then + (size_t)i * w->job->then_panel : NULL;
}

/* Panels [p, p + n) of the job over this chunk of columns, all inputs. */
static void chunk(struct work *w, int64_t p, int64_t n)
{
    const int most = w->m_tiles == 1 ? 3 : 2;
    split_inputs(w);
    for (int64_t g = 0; g < n && w->few; g++)
        meet_few(w, p + g, g);
    for (int m = 0; m < w->m_tiles && !w->few; m += 2) {
        /* weights with scales are made once and meet all inputs; others stay where they are, and
         * two tiles of inputs in the first-level cache meet all of them */
        int last = w->stage ? w->m_tiles : MIN(m + 2, w->m_tiles);
        for (int64_t g = 0; g < n; g += most) {
            struct piece x = {{NULL}, {NULL}, {{NULL}}, 0, {NULL}};
            int P = (int)MIN(n - g, most);
            for (int i = 0; i < P; i++) {
                x.b[i] = weight_tiles(w, p + g + i, i);
                x.ahead[i] = m == 0 && !w->stage ? read_next(w, p, n, g + most + i, i) : NULL;
            }
            for (int i = m; i < last; i += 2)
                meet(w, &x, i, MIN(last - i, 2), g, P);
        }
        if (w->stage)
            break;
    }
}

/* One configuration for the job: as many rows as the first tile has inputs, and the `span` columns
 * of a run. */
static void configure(int m_tiles, int64_t n, int span)
{
    struct tile_config c = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        bool weights = t == 4 || t == 5 || (t == 3 && m_tiles == 1), inputs = t >= 6;
        c.rows[t] = (uint8_t)(weights ? span / 2 : MIN(n, TILE_ROWS));
        c.row_bytes[t] = (uint16_t)(inputs ? 2 * span : 64);
    }
    TILE_CONFIG(&c);
}

/* How many spans are next. Weights of few inputs pass once, in order: the longer, the better. */
static int spans_at(const struct work *w)
{
    int64_t left = w->job->w->cols - w->k0, most = w->m_tiles == 1 ? FEW_COLS : MANY_COLS;
    if (!w->few || left < SPAN)
        return (int)((MIN(left, most) + SPAN - 1) / SPAN);
    return (int)MIN(left / SPAN, FEW_SPANS / w->job->n);
}

/* Panels [p0, p1) of the job. */
static void panels(const struct job *job, const struct ends *ends, int64_t p0, int64_t p1)
{
    struct work w;
    w.job = job;
    w.ends = ends;
    w.stage = staged[job->w->dtype].stage;
    w.format = w.stage ? *staged[job->w->dtype].format : quant_BF16;
    w.format.run = w.stage ? w.format.run : SPAN;
    w.m_tiles = (int)((job->n + TILE_ROWS - 1) / TILE_ROWS);
    w.few = job->n <= FEW;
    if (job->n == 0 || p0 >= p1)
        return;
    if (!w.few)
        configure(w.m_tiles, job->n, MIN(w.format.run, SPAN));
    for (int64_t p = p0, n; p < p1; p += n) {
        n = MIN(p1 - p, GROUP);
        for (int64_t i = 0; i < n; i++)
            memset(w.sums[i], 0, (size_t)w.m_tiles * sizeof w.sums[i][0]);
        for (w.k0 = 0; w.k0 < job->w->cols; w.k0 += w.spans * SPAN) {
            w.spans = spans_at(&w);
            chunk(&w, p, n);
        }
        for (int64_t i = 0; i < n; i++)
            for (int j = 0; j < job->n; j++)
                finish(job, w.sums[i][j / TILE_ROWS][j % TILE_ROWS], p + i, 1, &ends[j]);
    }
    if (!w.few)
        TILE_RELEASE();
}
