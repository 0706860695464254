/* What a job by the matrix unit works on: inputs split into bf16 (split.h), and weights as tiles.
 * Those in bf16 are tiles as they lie in their panels; those of other formats become tiles of the
 * numbers that their bits stand for, in the first-level cache. */
#include "kernels/cpu/impl/ends.h"
#include "kernels/cpu/impl/tiles.h"
#include "kernels/cpu/impl/few.h"
#include "kernels/cpu/impl/split.h"

#define M_TILES (INPUTS / TILE_ROWS)
#define GROUP 32          /* panels whose sums are kept at once */
#define FEW_COLS 256      /* columns at a time: of one tile of inputs, and of more */
#define MANY_COLS 128
#define SPANS (FEW_COLS / SPAN)
#define A_TILES (M_TILES * MANY_COLS / SPAN)
#define X_TILES MAX(A_TILES, FEW_SPANS)

/* Scales and minima of the runs of a span, and the numbers of it as a tile of weights. */
struct scales { _Alignas(64) float by[2][PANEL], add[2][PANEL]; };
typedef void stage_fn(const char *panel, size_t scales_at, int64_t k, char *tile, bool few,
                      struct scales *s);

struct work {
    const struct job *job;
    const struct ends *ends;
    int m_tiles, spans;
    int64_t k0;
    struct quant format;
    stage_fn *stage; /* NULL: weights are tiles already */
    _Alignas(64) char a[A_TILES][PARTS][TILE_BYTES]; /* [m tile][span] */
    _Alignas(64) char b[3][SPANS][TILE_BYTES];
    struct scales scales[3][SPANS];
    bool few;                                        /* by vectors: */
    float x[FEW_SPANS * SPAN_FLOATS];                /* [input][span][PARTS][SPAN] */
    float x_sums[X_TILES][2][TILE_ROWS]; /* of each run of each input */
    _Alignas(64) float sums[GROUP][M_TILES][TILE_ROWS][PANEL];
    _Alignas(64) float products[4][TILE_ROWS][PANEL]; /* few: [SPANS][2 runs][FEW][PANEL] */
};
_Static_assert(SPANS * 2 * FEW <= 4 * TILE_ROWS, "products of few inputs have the room of others");
_Static_assert(SPANS <= A_TILES, "either shape fits");

/* ---- weights ---------------------------------------------------------------------------- */

/* few: the numbers as floats. */
INLINE void stage(const char *panel, size_t scales_at, int64_t k, char *tile, bool few,
                  struct scales *out, struct quant f)
{
    _Alignas(64) float numbers[SPAN][PANEL];
    struct quant_step s = {.lines = panel + k * f.bits / 8 * PANEL,
                           .out = few ? (float *)(void *)tile : numbers[0]};
    s.record = panel + scales_at + k / f.block * quant_record(f);
    s.run = (int)(k % f.block) / f.run;
    s.ahead = s.lines + AHEAD;
    quant_span(f, &s, quant_tables(f), NULL, 1, QUANT_NUMBERS);
    if (!few)
        pair_lines(numbers[0], SPAN, tile);
    for (int r = 0; r < (f.run < SPAN ? SPAN / f.run : 1); r++) {
        v16 by, add;
        quant_scales(f, s.record, s.run + r, &by, &add);
        v16_store(out->by[r], by);
        v16_store(out->add[r], add);
    }
}
#define STAGE(ID) \
    static void stage_##ID(const char *panel, size_t scales_at, int64_t k, char *tile, bool few, \
                           struct scales *s) \
    { \
        stage(panel, scales_at, k, tile, few, s, quant_##ID); \
    }
QUANT_FORMATS(STAGE)
#define STAGE_ROW(ID) [DTYPE_##ID] = {stage_##ID, &quant_##ID},
static const struct { stage_fn *stage; const struct quant *format; } staged[DTYPES] = {
    QUANT_FORMATS(STAGE_ROW)
};

static const char *panel_of(const struct work *w, int64_t p)
{
    const struct host_weight *h = w->job->w;
    return (const char *)h->data + (size_t)(w->job->panel0 + p) * panel_bytes(h->dtype, h->cols);
}

/* Spans [from, from + n) of the chunk of panel p, made in place i. */
static void make_tiles(struct work *w, int64_t p, int i, int from, int n)
{
    const struct host_weight *h = w->job->w;
    size_t scales_at = panel_scales_at(h->dtype, h->cols), size = TILE_BYTES * (w->few ? 2 : 1);
    for (int s = 0; s < n; s++)
        w->stage(panel_of(w, p), scales_at, w->k0 + (from + s) * SPAN,
                 w->b[i][0] + (size_t)s * size, w->few, &w->scales[i][s]);
}

/* Panel p of the job from column k0: its tiles, made if need be in place i. */
static const char *weight_tiles(struct work *w, int64_t p, int i)
{
    const char *panel = panel_of(w, p) + w->k0 * 2 * PANEL;
    int64_t cols = MIN(w->job->w->cols - w->k0, (int64_t)w->spans * SPAN);
    if (w->stage) {
        make_tiles(w, p, i, 0, w->spans);
        return w->b[i][0];
    }
    if (cols == (int64_t)w->spans * SPAN)
        return panel;
    memset(w->b[i][w->spans - 1], 0, TILE_BYTES); /* the panel ends inside of its last tile */
    memcpy(w->b[i][0], panel, (size_t)((cols + 1) / 2) * 4 * PANEL);
    return w->b[i][0];
}

/* ---- inputs ----------------------------------------------------------------------------- */

/* Columns [k0, k0 + spans) of all inputs, in parts; and their sums over runs. */
static void split_inputs(struct work *w)
{
    int run = MIN(w->format.run, SPAN);
    for (int i = 0; i < w->job->n; i++) {
        const float *x = w->ends[i].x + w->k0;
        for (int s = 0; s < w->spans; s++, x += SPAN) {
            int tile = i / TILE_ROWS * w->spans + s, row = i % TILE_ROWS;
            int n = (int)MIN(w->job->w->cols - w->k0 - s * SPAN, SPAN);
            if (w->few)
                split_floats(x, n, w->x + (i * w->spans + s) * SPAN_FLOATS);
            else
                split_row(x, n, w->a[tile][0] + row * 64, TILE_BYTES);
            if (w->format.head != HEAD_F16_MIN)
                continue;
            v16 lo = load_left(x, n), hi = n > LANES ? load_left(x + LANES, n - LANES) : v16_zero();
            w->x_sums[tile][0][row] = v16_sum(run == SPAN ? v16_add(lo, hi) : lo);
            w->x_sums[tile][1][row] = v16_sum(hi);
        }
    }
}

/* ---- sums ------------------------------------------------------------------------------- */

/* A run's products of one tile of inputs and one panel count in. */
static void count_in(const struct work *w, float (*sums)[PANEL], const float (*products)[PANEL],
                     const struct scales *scales, const float *x_sums, int run, int rows)
{
    v16 by = v16_load(scales->by[run]), add = v16_load(scales->add[run]);
    bool min = w->format.head == HEAD_F16_MIN;
    for (int i = 0; i < rows; i++) {
        v16 acc = v16_fma(by, v16_load(products[i]), v16_load(sums[i]));
        if (min)
            acc = v16_fma(add, v16_set1(x_sums[i]), acc);
        v16_store(sums[i], acc);
    }
}

/* Few inputs over panel p of the job, whose sums are those of place g. */
static void meet_few(struct work *w, int64_t p, int64_t g)
{
    float (*sums)[PANEL] = w->sums[g][0];
    struct few f = {.x = w->x, .step = (size_t)w->spans * SPAN_FLOATS, .spans = w->spans,
                    .sums = sums[0]};
    if (!w->stage) {
        f.b = weight_tiles(w, p, 0);
        few_run(&f, w->job->n);
        return;
    }
    f.runs = w->format.run < SPAN ? SPAN / w->format.run : 1;
    f.b = w->b[0][0];
    f.sums = w->products[0][0];
    for (int at = 0; at < w->spans; at += SPANS, f.x += SPANS * SPAN_FLOATS) {
        f.spans = MIN(w->spans - at, SPANS);
        make_tiles(w, p, 0, at, f.spans);
        few_run(&f, w->job->n);
        for (int i = 0; i < f.spans * f.runs; i++)
            count_in(w, sums, (const float (*)[PANEL])(const void *)(f.sums + i * FEW * PANEL),
                     &w->scales[0][i / f.runs], w->x_sums[at + i / f.runs][i % f.runs],
                     i % f.runs, (int)w->job->n);
    }
}
