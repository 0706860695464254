/* A matrix, or some of its rows, applied to inputs: which tiles pass over which panels, and what
 * follows a sum. */
#include "kernels/cpu/impl/blocks.h"

/* Inputs handled at once: their ends are on the stack, and this many passes over a group of
 * panels in the second-level cache have long paid for fetching it. */
#define INPUTS 96

/* A matrix, or some rows of one, applied to n inputs. */
struct job {
    const struct host_weight *w;
    int64_t panel0, rows; /* first panel and rows of the part of the matrix */
    const float *bias;    /* [rows] or NULL */
    enum activation act;
    int64_t n;
    const char *then;     /* weights that this thread reads after the job, or NULL */
    size_t then_panel;
};
/* Where input i of the job is, where its result goes, and what is added to it (or NULL). */
struct ends {
    const float *x, *add;
    float *out;
};

/* Bias, activation and residual, then the store, of P panels from panel p of one input. */
static void finish(const struct job *job, const float *sums, int64_t p, int P,
                   const struct ends *e)
{
    for (int64_t r = p * PANEL; P-- > 0 && r < job->rows; r += PANEL, sums += PANEL) {
        int n = (int)MIN(job->rows - r, PANEL);
        v16 y = v16_load(sums);
        if (job->bias)
            y = v16_add(y, v16_load_n(job->bias + r, n));
        y = v16_act(job->act, y);
        if (e->add)
            y = v16_add(y, v16_load_n(e->add + r, n));
        v16_store_n(e->out + r, n, y);
    }
}

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
            tile_table[DTYPE_F32][log2_p][to - from - 1](t, sums + from * P * PANEL);
        }
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
    for (int64_t i = 0; i < tiles; i++) {
        int64_t from = job->n * i / tiles, to = job->n * (i + 1) / tiles;
        for (int64_t j = from; j < to; j++)
            t.x[j - from] = ends[j].x;
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
