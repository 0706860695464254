/* A job by whole numbers of 16 bits (int16.h); definition: ref/ref_int16.h.
 *
 * Inputs become numbers once for all panels of a thread's share. One input: the weights stream by,
 * are taken apart in registers and multiplied. More: weights of a few panels are taken apart into
 * the first-level cache once, then tiles of inputs pass over them. */
#include "kernels/cpu/impl/int16_tile.h"

/* Numbers of an input are made by every thread that shares it. */
#define SHARE_PANELS 16
#define SHARE_INPUTS (4 * TILE_T)

#define X_SPANS 4096       /* of all inputs together: 384 KiB */
#define SUMS (32 * INPUTS) /* panels times inputs whose sums are kept */

/* The room of a job is on the stack, and -fstack-clash-protection touches each of its pages, used
 * or not: 600 KiB cost 1.7 us a job, of the 11 that an expert of 768 x 1,024 in Q8_0 then took for
 * one input. So jobs of few inputs have little where it is enough. */
#define SMALL_INPUTS 16
#define SMALL_SPANS 256
#define SMALL_SUMS 128

struct work {
    const struct job *job;
    const struct ends *ends;
    const struct quant *format;
    int64_t k0;                   /* first column of the inputs in x */
    int spans;                    /* of each input */
    int x_most, sums_most;        /* spans and sums there is room for */
    struct int16_span *x;         /* [input][spans] */
    struct codes (*codes)[CHUNK]; /* [MANY_P] */
    float *sums;                  /* [group][input][P][PANEL] */
};

/* Columns [k0, k0 + spans) of all inputs. */
static void take_inputs(struct work *w)
{
    for (int64_t j = 0; j < w->job->n; j++)
        for (int s = 0; s < w->spans; s++)
            int16_input(w->ends[j].x + w->k0 + s * SPAN, w->format, &w->x[j * w->spans + s]);
}

/* Where the lines begin that are fetched while columns from k0 are multiplied. */
static void look_after(const struct work *w, const struct range *r, int64_t k0,
                       struct int16_tile *t)
{
    const size_t line = (size_t)w->format->bits * 64;
    const size_t at = (size_t)(k0 / SPAN) * line + AHEAD;
    const size_t end = (size_t)(w->job->w->cols / SPAN) * line;
    t->ahead = at < end ? r->panel + at : r->then + (at - end);
    t->ahead_step = at < end ? r->step : r->then_step;
}

/* All inputs over P panels from p, the columns that are in x. */
static void many_inputs(struct work *w, int64_t p, int64_t p1, int log2_p, float *sums)
{
    const int P = 1 << log2_p;
    const struct range r = range_of(w->job, p, p1, P);
    apart_fn *take = by_format[w->job->w->dtype].apart;
    int64_t n = w->job->n, tiles = (n + TILE_T - 1) / TILE_T, lines = w->format->bits * CHUNK;
    struct int16_tile t = {.codes = w->codes[0], .runs = SPAN / w->format->run,
                           .min = w->format->head == HEAD_F16_MIN};
    if (w->k0 == 0)
        memset(sums, 0, (size_t)(n * P) * PANEL * sizeof *sums);
    for (int s = 0; s < w->spans; s += CHUNK) {
        t.spans = MIN(w->spans - s, CHUNK);
        look_after(w, &r, w->k0 + s * SPAN, &t);
        for (int i = 0; i < P; i++)
            for (int k = 0; k < t.spans; k++)
                take(r.panel + (size_t)i * r.step, r.scales_at, w->k0 + (s + k) * SPAN,
                     &w->codes[i][k]);
        for (int64_t i = 0; i < tiles; i++) {
            int64_t from = n * i / tiles, to = n * (i + 1) / tiles;
            for (int64_t j = from; j < to; j++)
                t.x[j - from] = &w->x[j * w->spans + s];
            t.lines = (int)(lines * (i + 1) / tiles - lines * i / tiles);
            tile16_table[log2_p][to - from - 1](&t, sums + from * P * PANEL);
            t.ahead += t.lines * 64;
        }
    }
}

static void one_input(struct work *w, int64_t p, int64_t p1, int log2_p, float *sums)
{
    const struct host_weight *h = w->job->w;
    struct stream s = {.range = range_of(w->job, p, p1, 1 << log2_p), .k0 = w->k0,
                       .spans = w->spans, .resume = w->k0 > 0,
                       .last = w->k0 + w->spans * SPAN == h->cols, .x = w->x};
    by_format[h->dtype].stream[log2_p](&s, sums);
}

/* Panels of the next group: 4, 2 or 1 of those left. */
static int group_of(int64_t left)
{
    left = MIN(left, MANY_P);
    return left >= 4 ? 2 : left >= 2 ? 1 : 0;
}

/* The columns in x, over panels [p, p1); share_end ends the thread's. */
static void pass(struct work *w, int64_t p, int64_t p1, int64_t share_end)
{
    float *sums = w->sums;
    for (int log2_p; p < p1; p += (int64_t)1 << log2_p) {
        log2_p = group_of(p1 - p);
        if (w->job->n == 1)
            one_input(w, p, share_end, log2_p, sums);
        else
            many_inputs(w, p, share_end, log2_p, sums);
        sums += (w->job->n << log2_p) * PANEL;
    }
}

static void finish_all(const struct work *w, int64_t p, int64_t p1)
{
    const float *sums = w->sums;
    for (int log2_p; p < p1; p += (int64_t)1 << log2_p) {
        log2_p = group_of(p1 - p);
        for (int64_t j = 0; j < w->job->n; j++, sums += PANEL << log2_p)
            finish(w->job, sums, p, 1 << log2_p, &w->ends[j]);
    }
}

/* Panels [p0, p1) of the job: as many at a time as there is room for sums, and of their columns as
 * many as there is room for inputs. */
static void in_room(struct work *w, int64_t p0, int64_t p1)
{
    int64_t cols = w->job->w->cols, n = w->job->n;
    int64_t most = w->x_most / n * SPAN / FORMAT_BLOCK_MAX * FORMAT_BLOCK_MAX;
    int64_t panels_most = w->sums_most / n / TILE_P * TILE_P;
    ASSERT(most >= FORMAT_BLOCK_MAX && panels_most > 0);
    for (int64_t p = p0, to; p < p1; p = to) {
        to = MIN(p1, p + panels_most);
        for (w->k0 = 0; w->k0 < cols; w->k0 += w->spans * SPAN) {
            w->spans = (int)(MIN(cols - w->k0, most) / SPAN);
            if (p == p0 || most < cols)
                take_inputs(w);
            pass(w, p, to, p1);
        }
        finish_all(w, p, to);
    }
}

/* Functions of their own, so that a job has the stack of one. */
#define ROOM(name, spans, n_sums) \
    __attribute__((noinline)) static void name(const struct job *job, const struct ends *ends, \
                                               int64_t p0, int64_t p1) \
    { \
        _Alignas(64) struct int16_span x[spans]; \
        struct codes codes[MANY_P][CHUNK]; \
        _Alignas(64) float sums[n_sums][PANEL]; \
        struct work w = {.job = job, .ends = ends, .format = by_format[job->w->dtype].format, \
                         .x_most = spans, .sums_most = n_sums, \
                         .x = x, .codes = codes, .sums = sums[0]}; \
        in_room(&w, p0, p1); \
    }
ROOM(in_small_room, SMALL_SPANS, SMALL_SUMS)
ROOM(in_large_room, X_SPANS, SUMS)
#undef ROOM

static void panels(const struct job *job, const struct ends *ends, int64_t p0, int64_t p1)
{
    if (job->n == 0 || p0 == p1)
        return;
    if (job->n <= SMALL_INPUTS && job->n * job->w->cols <= SMALL_SPANS * SPAN)
        in_small_room(job, ends, p0, p1);
    else
        in_large_room(job, ends, p0, p1);
}
