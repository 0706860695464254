/* A job by vectors: which tiles pass over which panels. */
#include "kernels/cpu/impl/ends.h"

#define SHARE_PANELS 8
#define SHARE_INPUTS (2 * TILE_T)
#define APART_INPUTS INT64_MAX
#define MAY_CUT(n) true

/* A tile's rows of results are in no near cache when there are many: fetched while it is
 * computed. */
INLINE void fetch_ends(const struct ends *e, int64_t n, int64_t p, int P)
{
    for (int64_t j = 0; j < n; j++)
        for (int i = 0; i < P; i++)
            __builtin_prefetch(e[j].out + (p + i) * PANEL, 1);
}

#include "kernels/cpu/impl/kept.h"

/* Blocks with several inputs: CHUNK columns of P panels are decoded once, then all tiles pass over
 * them, each going on with its chains. Such a chunk of 4 panels fills a first-level cache. */
#define CHUNK 128
static void group_of_blocks(const struct job *job, const struct ends *ends, struct tile *t,
                            int log2_p, int64_t p)
{
    const int P = 1 << log2_p;
    const enum dtype type = job->w->dtype;
    const char *panel = t->w;
    const size_t stride = t->panel, scales_at = panel_scales_at(type, job->w->cols);
    int64_t tiles = (job->n + TILE_T - 1) / TILE_T;
    _Alignas(64) float decoded[TILE_P][CHUNK][PANEL], sums[INPUTS * TILE_P * PANEL];
    t->w = (const char *)decoded;
    t->panel = sizeof decoded[0];
    t->fetch = false;
    for (int64_t k0 = 0; k0 < job->w->cols; k0 += CHUNK) {
        t->cols = MIN(job->w->cols - k0, CHUNK);
        t->resume = k0 > 0;
        for (int i = 0; i < P; i++)
            for (int64_t k = 0; k < t->cols; k += SPAN)
                quant_decoders[type](panel + (size_t)i * stride, scales_at, k0 + k,
                                     decoded[i][k]);
        for (int64_t i = 0; i < tiles; i++) {
            int64_t from = job->n * i / tiles, to = job->n * (i + 1) / tiles;
            for (int64_t j = from; j < to; j++)
                t->x[j - from] = ends[j].x + k0;
            if (k0 + CHUNK >= job->w->cols)
                fetch_ends(ends + from, to - from, p, P);
            tile_table[DTYPE_F32][log2_p][to - from - 1](t, sums + from * P * PANEL);
        }
    }
    for (int64_t j = 0; j < job->n; j++)
        finish(job, sums + j * P * PANEL, p, P, &ends[j]);
}

/* A few tiles of inputs over float32 weights, an odd number of columns or fewer panels: a chunk of
 * the panels stays in the first-level cache while the tiles pass over it, each going on with its
 * chains and fetching its part of the next chunk, so that memory works all the time. With more
 * tiles a first pass that waits for memory counts for little, and less than sums that come and
 * go. */
#define CHUNKED_TILES 8
static void group_of_few(const struct job *job, const struct ends *ends, struct tile *t,
                          int log2_p, int64_t p)
{
    const int P = 1 << log2_p;
    const enum dtype type = job->w->dtype;
    const int per = type == DTYPE_BF16 ? 2 : 1;
    const size_t line = type == DTYPE_F16 ? 32 : 64;
    const char *then = t->then;
    const size_t then_panel = t->then_panel;
    int64_t tiles = (job->n + TILE_T - 1) / TILE_T, next;
    _Alignas(64) float sums[CHUNKED_TILES * TILE_T * TILE_P * PANEL];
    t->fetch = false;
    for (int64_t k0 = 0; k0 < job->w->cols; k0 = next) {
        next = MIN(job->w->cols, k0 + CHUNK * TILE_P / P);
        bool last = next == job->w->cols;
        t->cols = next - k0;
        t->resume = k0 > 0;
        const char *soon = last ? then : t->w + (size_t)(t->cols / per) * line;
        t->then_panel = last ? then_panel : t->panel;
        int64_t lines = t->cols / per;
        for (int64_t i = 0; i < tiles; i++) {
            int64_t from = job->n * i / tiles, to = job->n * (i + 1) / tiles;
            for (int64_t j = from; j < to; j++)
                t->x[j - from] = ends[j].x + k0;
            int64_t l0 = lines * i / tiles, l1 = lines * (i + 1) / tiles;
            if (last)
                fetch_ends(ends + from, to - from, p, P);
            t->then = soon + (size_t)l0 * line;
            t->then_lines = l1 - l0;
            tile_table[type][log2_p][to - from - 1](t, sums + from * P * PANEL);
        }
        t->w += (size_t)lines * line;
    }
    for (int64_t j = 0; j < job->n; j++)
        finish(job, sums + j * P * PANEL, p, P, &ends[j]);
}

/* All inputs over P panels from p, in tiles of nearly equal size; p1 ends the thread's share. */
static void group(const struct job *job, const struct ends *ends, int64_t p, int64_t p1,
                  int log2_p)
{
    int P = 1 << log2_p;
    int64_t tiles = (job->n + TILE_T - 1) / TILE_T;
    float sums[TILE_T * TILE_P * PANEL];
    struct tile t = {.panel = panel_bytes(job->w->dtype, job->w->cols), .cols = job->w->cols,
                     .fetch = true};
    t.w = (const char *)job->w->data + (size_t)(job->panel0 + p) * t.panel;
    bool last = p + P >= p1 && job->then;
    t.then = last ? job->then : t.w + (size_t)P * t.panel;
    t.then_panel = last ? job->then_panel : t.panel;
    if (!format_plain(job->w->dtype)) {
        if (job->n > 1 || job->w->cols % SPAN) {
            group_of_blocks(job, ends, &t, log2_p, p);
            return;
        }
        t.x[0] = ends[0].x;
        quant_table[job->w->dtype][log2_p](&t, sums);
        finish(job, sums, p, P, &ends[0]);
        return;
    }
#if V16_REGS == 32
    if (tiles > 1 && P == TILE_P && job->w->dtype != DTYPE_F32 && t.cols % 2 == 0) {
        group_kept(job, ends, &t, p);
        return;
    }
#endif
    if (V16_REGS == 32 && tiles > 1 && tiles <= CHUNKED_TILES) {
        group_of_few(job, ends, &t, log2_p, p);
        return;
    }
    for (int64_t i = 0; i < tiles; i++) {
        int64_t from = job->n * i / tiles, to = job->n * (i + 1) / tiles;
        for (int64_t j = from; j < to; j++)
            t.x[j - from] = ends[j].x;
        if (tiles > 1)
            fetch_ends(ends + from, to - from, p, P);
        tile_table[job->w->dtype][log2_p][to - from - 1](&t, sums);
        for (int64_t j = from; j < to; j++)
            finish(job, sums + (j - from) * P * PANEL, p, P, &ends[j]);
        t.fetch = false;
    }
}

/* Panels [p0, p1) of the job. */
static void panels(const struct job *job, const struct ends *ends, int64_t p0, int64_t p1)
{
    int most = job->n * TILE_P <= V16_REGS - 4 ? TILE_P : MAX(MANY_P, job->n == 2 ? 2 : 1);
    if (job->n == 1 && !format_plain(job->w->dtype))
        most = QUANT_P;
    for (int64_t p = p0; job->n > 0 && p < p1;) {
        int64_t left = MIN(p1 - p, most);
        int log2_p = left >= 4 ? 2 : left >= 2 ? 1 : 0;
        group(job, ends, p, p1, log2_p);
        p += 1 << log2_p;
    }
}
