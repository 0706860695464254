/* A job by whole numbers of 16 bits (int16.h); definition: ref/ref_int16.h.
 *
 * Inputs become numbers once for all panels of a thread's share. The weights of a few panels stream
 * by each tile of inputs. */
#include "kernels/cpu/impl/int16_tile.h"

/* Numbers of an input are made by every thread that shares it (linear.c). */
#define SHARE_PANELS 16
#define SHARE_INPUTS (4 * MANY_T)
#define APART_INPUTS INPUTS
#define MAY_CUT(n) true

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
    int64_t first, to, end;       /* panels that columns pass; the end of the thread's */
    int64_t k0;                   /* first column of the inputs in x */
    int spans;                    /* of each input */
    int x_most, sums_most;        /* spans and sums there is room for */
    struct int16_span *x;         /* of each tile [spans][inputs of the tile] */
    float *sums;                  /* of groups of P panels [group][input][P][PANEL] */
};

/* The inputs are cut into tiles of nearly equal size; the first of tile i. */
INLINE int64_t tile_from(int64_t n, int64_t i)
{
    return n * i / ((n + MANY_T - 1) / MANY_T);
}

/* Columns [k0, k0 + spans) of all inputs. */
static void take_inputs(struct work *w)
{
    const struct quant f = *w->format;
    const pair_layout layout = pair_layout_of(f.bits);
    struct int16_span *x = w->x;
    for (int64_t i = 0, from = 0, to; from < w->job->n; from = to) {
        to = tile_from(w->job->n, ++i);
        for (int s = 0; s < w->spans; s++)
            for (int64_t j = from; j < to; j++)
                int16_input(w->ends[j].x + w->k0 + s * SPAN, f, &layout, x++);
    }
}

/* P panels from p: a panel alone is taken twice where tiles have two. */
static struct range group_range(const struct work *w, int64_t p, int64_t p1, int P)
{
    struct range r = range_of(w->job, p, p1, (int)MIN(p1 - p, P));
    if (p1 - p < P)
        r.step = 0;
    return r;
}

/* All inputs over the group of panels of s, `spans` of the columns in x from span `from` on.
 * Several tiles each fetch an even part of the same columns of the next group: were it the first
 * one's, it would wait for memory, which would then rest. */
static void some_spans(const struct work *w, struct stream *s, struct soon soon, int from,
                       int spans, float *sums)
{
    const enum dtype type = w->job->w->dtype;
    const int64_t n = w->job->n, tiles = (n + MANY_T - 1) / MANY_T;
    const int64_t lines = soon.lines && tiles > 1 ? spans * w->format->bits : 0;
    s->k0 = w->k0 + from * SPAN;
    s->spans = spans;
    s->resume = s->k0 > 0;
    s->last = s->k0 + spans * SPAN == w->job->w->cols;
    s->fetch = tiles == 1;
    s->soon.step = soon.step;
    for (int64_t i = 0, j = 0, to; j < n; j = to) {
        s->soon_lines = (int)(lines * (i + 1) / tiles - lines * i / tiles);
        if (s->soon_lines)
            s->soon.lines = soon.lines + (from * w->format->bits + lines * i / tiles) * 64;
        to = tile_from(n, ++i);
        s->x = w->x + j * w->spans + from * (to - j);
        stream_fn *const *several = s->pairs ? by_format[type].cached : by_format[type].several;
        several[to - j - 1](s, sums + j * MANY * PANEL);
    }
}

static void several_inputs(struct work *w, int64_t p, float *sums)
{
    _Alignas(64) int32_t pairs[CHUNK][PAIRS][PANEL];
    struct stream s = {.range = group_range(w, p, w->end, MANY)};
    struct soon soon = read_after(w->job, *w->format, p + MANY, w->first, w->to, w->end, w->k0,
                                  w->spans * SPAN);
    if (w->job->n <= MANY_T || !pairs_in_cache(*w->format)) {
        some_spans(w, &s, soon, 0, w->spans, sums);
        return;
    }
    s.pairs = pairs;
    for (int from = 0; from < w->spans; from += CHUNK) {
        int spans = MIN(w->spans - from, CHUNK);
        int64_t k = w->k0 + from * SPAN;
        by_format[w->job->w->dtype].make_pairs(s.range.panel + k * w->format->bits / 8 * PANEL,
                                               spans, pairs);
        some_spans(w, &s, soon, from, spans, sums);
    }
}

static void one_input(struct work *w, int64_t p, int log2_p, float *sums)
{
    const struct host_weight *h = w->job->w;
    struct stream s = {.range = range_of(w->job, p, w->end, 1 << log2_p), .k0 = w->k0,
                       .spans = w->spans, .resume = w->k0 > 0,
                       .last = w->k0 + w->spans * SPAN == h->cols, .fetch = true, .x = w->x};
    by_format[h->dtype].one[log2_p](&s, sums);
}

/* Panels of the next group, as a power of two: of those left, what tiles have. */
static int group_of(int64_t n, int64_t left)
{
    if (n > 1)
        return MANY / 2;
    left = MIN(left, MANY_P);
    return left >= 4 ? 2 : left >= 2 ? 1 : 0;
}

/* The columns in x, over panels [first, to). */
static void pass(struct work *w)
{
    float *sums = w->sums;
    const int64_t n = w->job->n;
    for (int64_t p = w->first, log2_p; p < w->to; p += (int64_t)1 << log2_p) {
        log2_p = group_of(n, w->to - p);
        if (n == 1)
            one_input(w, p, (int)log2_p, sums);
        else
            several_inputs(w, p, sums);
        sums += (n << log2_p) * PANEL;
    }
}

/* Row after row: a row's results lie together, and the rows that follow are fetched. */
static void finish_all(const struct work *w)
{
    const int64_t n = w->job->n, p0 = w->first, p1 = w->to;
    for (int64_t j = 0; j < n; j++) {
        const float *sums = w->sums;
        for (int64_t p = p0; j + FINISH_AHEAD < n && p < p1; p++)
            __builtin_prefetch(w->ends[j + FINISH_AHEAD].out + p * PANEL, 1);
        for (int64_t p = p0, log2_p; p < p1; p += (int64_t)1 << log2_p) {
            log2_p = group_of(n, p1 - p);
            finish(w->job, sums + (j * PANEL << log2_p), p, (int)MIN(p1 - p, 1 << log2_p),
                   &w->ends[j]);
            sums += n * PANEL << log2_p;
        }
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
    w->end = p1;
    for (w->first = p0; w->first < p1; w->first = w->to) {
        w->to = MIN(p1, w->first + panels_most);
        for (w->k0 = 0; w->k0 < cols; w->k0 += w->spans * SPAN) {
            w->spans = (int)(MIN(cols - w->k0, most) / SPAN);
            if (w->first == p0 || most < cols)
                take_inputs(w);
            pass(w);
        }
        finish_all(w);
    }
}

/* Functions of their own, so that a job has the stack of one. */
#define ROOM(name, spans, n_sums) \
    __attribute__((noinline)) static void name(const struct job *job, const struct ends *ends, \
                                               int64_t p0, int64_t p1) \
    { \
        _Alignas(64) struct int16_span x[spans]; \
        _Alignas(64) float sums[n_sums][PANEL]; \
        struct work w = {.job = job, .ends = ends, .format = by_format[job->w->dtype].format, \
                         .x_most = spans, .sums_most = n_sums, \
                         .x = x, .sums = sums[0]}; \
        in_room(&w, p0, p1); \
    }
ROOM(in_small_room, SMALL_SPANS, SMALL_SUMS)
ROOM(in_large_room, X_SPANS, SUMS)
#undef ROOM

/* Has a name outside: the matrix unit leaves to it what it does not serve (job_int16_tiles.h). */
panels_fn FN(panels);
void FN(panels)(const struct job *job, const struct ends *ends, int64_t p0, int64_t p1)
{
    if (job->n == 0 || p0 == p1)
        return;
    if (job->n <= SMALL_INPUTS && job->n * job->w->cols <= SMALL_SPANS * SPAN)
        in_small_room(job, ends, p0, p1);
    else
        in_large_room(job, ends, p0, p1);
}
#define panels FN(panels)
