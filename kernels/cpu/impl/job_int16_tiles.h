/* A job by whole numbers of 16 bits and the matrix unit: which tiles (int16_tiles.h) meet, in
 * which order. The same bits as job_int16.h, whose vectors (of the set INT16_TILES names) serve
 * where they are faster.
 *
 * A few spans of a few panels become tiles in the first-level cache and meet all tiles of inputs
 * (int16_meet.h). */
#include "kernels/cpu/impl/ends.h"
#include "kernels/cpu/impl/int16_meet.h"

#define PANELS_OF_(set) panels_##set
#define PANELS_OF(set) PANELS_OF_(set)
panels_fn PANELS_OF(INT16_TILES);

/* As in job_int16.h; a cut must not leave tiles of too few inputs. */
#define SHARE_PANELS 16
#define SHARE_INPUTS (2 * TILE_ROWS)
#define APART_INPUTS INPUTS
#define MAY_CUT(n) (tiles_serve((n) / 2) || !tiles_serve(n))

/* The unit takes as long for a few inputs of a tile as for all: it is used from one full tile on,
 * where tiles of equal size are nearly full (README). */
INLINE int tiled_rows(int64_t n)
{
    int64_t tiles = (n + TILE_ROWS - 1) / TILE_ROWS;
    return (int)((n + tiles - 1) / tiles);
}
INLINE bool tiles_serve(int64_t n) { return n >= TILE_ROWS && tiled_rows(n) > 12; }

#define AT_ONCE 4     /* panels that are tiles at the same time, at most */
#define STAGED (2 * AT_ONCE * TILED_CHUNK * TILE_BYTES / 4)

/* ---- a job ------------------------------------------------------------------------------ */

struct tiled {
    const struct job *job;
    const struct ends *ends;
    struct quant format;
    struct number_table table;
    meet_fn *meet;
    int m_tiles, rows;        /* tiles of inputs; of each */
    int at_once;              /* panels */
    int64_t p1;               /* the end of the job's */
    int64_t k0;
    int spans;                /* of inputs in x */
    int x_most, sums_most;    /* tiles of a span, and of sums, there is room for */
    struct tiled_inputs *x;   /* [chunk][m tile][span] */
    float (*sums)[TILE_ROWS][PANEL]; /* [panel][m tile] */
    char *staged;             /* [panel at once][span] */
    struct run_scales (*scales)[TILED_CHUNK];
};

static struct tiled_inputs *inputs_at(const struct tiled *w, int chunk, int m)
{
    int in = MIN(w->spans - chunk * TILED_CHUNK, TILED_CHUNK);
    return w->x + chunk * TILED_CHUNK * w->m_tiles + m * in;
}

/* Columns [k0, k0 + spans) of all inputs. */
static void tile_inputs(struct tiled *w)
{
    const struct quant f = w->format;
    const pair_layout layout = tiled_layout_of(f);
    for (int at = 0; at < w->spans; at += TILED_CHUNK)
        for (int m = 0; m < w->m_tiles; m++) {
            int64_t from = w->job->n * m / w->m_tiles, to = w->job->n * (m + 1) / w->m_tiles;
            struct tiled_inputs *x = inputs_at(w, at / TILED_CHUNK, m);
            const int n = MIN(w->spans - at, TILED_CHUNK);
            for (int64_t j = from; j < to; j++) /* row after row, as memory has them */
                for (int s = 0; s < n; s++)
                    tiled_input(w->ends[j].x + w->k0 + (at + s) * SPAN, f, &layout, &x[s],
                                (int)(j - from));
            for (int i = (int)(to - from); i < w->rows; i++)
                for (int s = 0; s < n; s++)
                    no_input(&x[s], i, 0);
        }
}

/* Spans [at, at + n) of panels [p, p + P) meet all inputs; `to` ends the panels that do. */
static void chunk_of_panels(struct tiled *w, int64_t p, int P, int64_t first, int64_t to, int at,
                            int n)
{
    const struct host_weight *h = w->job->w;
    const size_t panel = panel_bytes(h->dtype, h->cols);
    const size_t scales_at = panel_scales_at(h->dtype, h->cols);
    const size_t bytes = tiled_span_bytes(tiling_of(w->format)) * TILED_CHUNK;
    const char *base = (const char *)h->data + (size_t)w->job->panel0 * panel;
    const int64_t k = w->k0 + at * SPAN;
    const struct soon soon = read_after(w->job, w->format, p + P, first, to, w->p1, k, n * SPAN);
    for (int i = 0; i < P; i++) {
        const char *now = base + (size_t)(p + i) * panel;
        tiled_formats[h->dtype].stage(now, scales_at, k, n,
                                      soon.lines ? soon.lines + (size_t)i * soon.step : now,
                                      &w->table, w->staged + (size_t)i * bytes, w->scales[i]);
    }
    const struct meeting m = {.x = inputs_at(w, at / TILED_CHUNK, 0), .weights = w->staged,
                              .scales = w->scales,
                              .sums = w->sums + (p - first) * w->m_tiles, .m_tiles = w->m_tiles,
                              .P = P, .spans = n, .resume = k > 0};
    w->meet(&m);
}

static void finish_tiles(const struct tiled *w, int64_t p0, int64_t p1)
{
    for (int m = 0; m < w->m_tiles; m++) {
        int64_t from = w->job->n * m / w->m_tiles, to = w->job->n * (m + 1) / w->m_tiles;
        for (int64_t j = from; j < to; j++) {
            for (int64_t p = p0; j + FINISH_AHEAD < w->job->n && p < p1; p++)
                __builtin_prefetch(w->ends[j + FINISH_AHEAD].out + p * PANEL, 1);
            for (int64_t p = p0; p < p1; p++)
                finish(w->job, w->sums[(p - p0) * w->m_tiles + m][j - from], p, 1, &w->ends[j]);
        }
    }
}

static void tiles_in_room(struct tiled *w, int64_t p0, int64_t p1)
{
    const int64_t cols = w->job->w->cols;
    const int64_t most = w->x_most / w->m_tiles / TILED_CHUNK * FORMAT_BLOCK_MAX;
    const int64_t panels_most = w->sums_most / w->m_tiles;
    w->p1 = p1;
    ASSERT(most > 0 && panels_most >= AT_ONCE);
    for (int64_t p = p0, to; p < p1; p = to) {
        to = MIN(p1, p + panels_most);
        for (w->k0 = 0; w->k0 < cols; w->k0 += w->spans * SPAN) {
            w->spans = (int)(MIN(cols - w->k0, most) / SPAN);
            if (p == p0 || most < cols)
                tile_inputs(w);
            for (int at = 0; at < w->spans; at += TILED_CHUNK)
                for (int64_t g = p; g < to; g += w->at_once)
                    chunk_of_panels(w, g, (int)MIN(to - g, w->at_once), p, to, at,
                                    MIN(w->spans - at, TILED_CHUNK));
        }
        finish_tiles(w, p, to);
    }
}

/* Tiles 4, 6 and 7 are weights and inputs, the others sums. */
static void configure(enum tiling t, int rows)
{
    struct tile_config c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        bool weights = i == 4 || i == 5, inputs = i >= 6;
        c.rows[i] = (uint8_t)(weights ? (t == BYTES ? 8 : 16) : rows);
        c.row_bytes[i] = (uint16_t)(inputs && t == BYTES ? 32 : 64);
    }
    TILE_CONFIG(&c);
}

static void start_tiles(struct tiled *w, const struct job *job, const struct ends *ends)
{
    w->job = job;
    w->ends = ends;
    w->format = *tiled_formats[job->w->dtype].format;
    w->table = number_table(job->w->dtype, w->format);
    w->m_tiles = (int)((job->n + TILE_ROWS - 1) / TILE_ROWS);
    w->rows = tiled_rows(job->n);
    w->meet = meet_of(w->format, &w->rows);
    w->at_once = (int)(STAGED / (tiled_span_bytes(tiling_of(w->format)) * TILED_CHUNK));
    configure(tiling_of(w->format), w->rows);
}

/* Functions of their own, so that a job has the stack of one (job_int16.h). */
#define TILES_ROOM(name, n_inputs, n_sums) \
    __attribute__((noinline)) static void name(const struct job *job, const struct ends *ends, \
                                               int64_t p0, int64_t p1) \
    { \
        struct tiled_inputs x[n_inputs]; \
        _Alignas(64) float sums[n_sums][TILE_ROWS][PANEL]; \
        _Alignas(64) char staged[STAGED]; \
        struct run_scales scales[AT_ONCE][TILED_CHUNK]; \
        struct tiled w = {.x_most = n_inputs, .sums_most = n_sums, .x = x, .sums = sums, \
                          .staged = staged, .scales = scales}; \
        start_tiles(&w, job, ends); \
        tiles_in_room(&w, p0, p1); \
        TILE_RELEASE(); \
    }
TILES_ROOM(tiles_in_small_room, 32, 48)
TILES_ROOM(tiles_in_large_room, 192, 192)
#undef TILES_ROOM

static void panels(const struct job *job, const struct ends *ends, int64_t p0, int64_t p1)
{
    if (p0 == p1 || !tiles_serve(job->n))
        PANELS_OF(INT16_TILES)(job, ends, p0, p1);
    else if (job->n <= TILE_ROWS && job->w->cols <= 32 * SPAN && p1 - p0 <= 48)
        tiles_in_small_room(job, ends, p0, p1);
    else
        tiles_in_large_room(job, ends, p0, p1);
}
