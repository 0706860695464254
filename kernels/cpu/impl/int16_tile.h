/* Panels of blocks by inputs of 16 bits: a tile is P panels x T inputs, past which the weights
 * stream and are taken apart in registers, a span of 32 columns after another. Its sums of integers
 * and of floats stay in registers. Taking weights apart anew for every tile costs less than a copy
 * of them in cache: a shift or a mask a pair is done beside the products, and a tile reads lines
 * and inputs one after another. With few registers a tile has 3 inputs, which is too few for values
 * of other widths than 2, 4 and 8 bits: their pairs are made once for a few spans, in cache. Which
 * meet says job_int16.h. */
#include "kernels/cpu/impl/ends.h"
#include "kernels/cpu/impl/int16_input.h"

/* Panels and inputs of a tile of several inputs: a sum of integers and one of floats of each fill
 * 24 registers of 32, or 12 of 16 whose two are a v16, or 24 of 32 whose four are. */
#define MANY (V16_REGS == 32 ? 2 : 1)
#define MANY_T (V16_REGS == 32 ? 6 : 3)

#define CHUNK 8 /* spans whose pairs lie in cache: 8 KiB; every block is as long or shorter */
_Static_assert(CHUNK * SPAN == FORMAT_BLOCK_MAX, "scales begin anew with a chunk");

/* Pairs of this format are made once for all tiles of several inputs. */
INLINE bool pairs_in_cache(struct quant f)
{
    bool simple = f.map == MAP_LINEAR && (f.bits == 2 || f.bits == 4 || f.bits == 8);
    return V16_REGS != 32 && (!simple || I16_SPLITS);
}

/* ---- weights ---------------------------------------------------------------------------- */

/* P panels of the job, and what is read after them. */
struct range {
    const char *panel, *then;
    size_t step, then_step, scales_at;
};
static struct range range_of(const struct job *job, int64_t p, int64_t p1, int P)
{
    const struct host_weight *h = job->w;
    const size_t size = panel_bytes(h->dtype, h->cols);
    bool last = p + P >= p1 && job->then;
    struct range r = {.panel = (const char *)h->data + (size_t)(job->panel0 + p) * size,
                      .step = size, .scales_at = panel_scales_at(h->dtype, h->cols)};
    r.then = last ? job->then : r.panel + (size_t)P * size;
    r.then_step = last ? job->then_panel : size;
    return r;
}

/* ---- weights taken apart in registers ---------------------------------------------------- */

struct stream {
    struct range range;
    int64_t k0;
    int spans;
    bool resume, last; /* sums go on; the chunk ends its panels */
    bool fetch;        /* the only pass over these panels: fetches lines of theirs */
    struct soon soon;  /* one of several passes: what is read after them, … */
    int soon_lines;    /* … and how much of each panel this pass fetches */
    const struct int16_span *x; /* [spans][T] */
    int32_t (*pairs)[PAIRS][PANEL]; /* [spans], where they are in cache */
};
typedef void stream_fn(const struct stream *s, float *sums);

/* The sums over run r of a span: P panels by T inputs. */
INLINE void stream_run(struct quant f, const char *lines, size_t step, int32_t (*cached)[PANEL],
                       int r, const struct int16_span *x, v16 table,
                       i16 sum[MANY_T][TILE_P], int P, int T)
{
    const int pairs = PAIRS * f.run / SPAN;
    const bool two = P * T < 8 && P * T > 1; /* chains of each: or they wait for themselves */
    i16 other[MANY_T][TILE_P];
    UNROLL for (int j = 0; j < T; j++)
        UNROLL for (int p = 0; p < P; p++) {
            sum[j][p] = i16_set1(x[j].start[r]);
            other[j][p] = i16_set1(0);
        }
    UNROLL for (int i = r * pairs; i < (r + 1) * pairs; i++) {
        i16 m[TILE_P];
        UNROLL for (int p = 0; p < P; p++)
            m[p] = cached ? i16_load(cached[i])
                          : i16_of(pair_of(f, lines + (size_t)p * step, i, table));
        UNROLL for (int j = 0; j < T; j++) {
            i16 b = i16_set1(x[j].pair[i]);
            UNROLL for (int p = 0; p < P; p++) {
                i16 *to = two && i % 2 ? &other[j][p] : &sum[j][p];
                *to = i16_dot(*to, m[p], b);
            }
        }
        if (T > 1)
            __asm__ volatile("" ::: "memory"); /* or more is loaded at once than registers hold */
    }
    UNROLL for (int j = 0; j < T; j++)
        UNROLL for (int p = 0; p < P; p++)
            if (two)
                sum[j][p] = i16_add(sum[j][p], other[j][p]);
}

/* What a run adds to acc. */
INLINE void count_run(i16 sum[MANY_T][TILE_P], const v16 by[TILE_P], const v16 min[TILE_P],
                      const struct int16_span *x, int r, v16 acc[MANY_T][TILE_P], bool mins,
                      int P, int T)
{
    UNROLL for (int j = 0; j < T; j++) {
        v16 scale = v16_set1(x[j].by);
        UNROLL for (int p = 0; p < P; p++)
            acc[j][p] = v16_fma(i16_float(sum[j][p]), v16_mul(by[p], scale), acc[j][p]);
        if (!mins)
            continue;
        v16 inputs = v16_set1(x[j].inputs[r]);
        UNROLL for (int p = 0; p < P; p++)
            acc[j][p] = v16_fma(min[p], inputs, acc[j][p]);
    }
}

/* Of each panel as much is fetched as is read meanwhile. */
INLINE void fetch_span(struct quant f, const char *lines, size_t lines_step, const char *record,
                       size_t step, int P)
{
    UNROLL for (int p = 0; p < P; p++) {
        UNROLL for (int l = 0; l < f.bits; l++)
            __builtin_prefetch(lines + (size_t)p * lines_step + l * 64);
        __builtin_prefetch(record + (size_t)p * step + 1024);
    }
}

INLINE void stream_sums(const struct stream *s, float *sums, bool cached, int P, int T,
                        struct quant f)
{
    const struct range *r = &s->range;
    const size_t line = (size_t)f.bits * 64, end = line * (size_t)s->spans;
    const v16 table = pair_table(f);
    const int per = f.block / SPAN, runs = SPAN / f.run;
    const char *lines = r->panel + s->k0 * f.bits / 8 * PANEL;
    const char *record = r->panel + r->scales_at + s->k0 / f.block * quant_record(f);
    const struct int16_span *x = s->x;
    v16 acc[MANY_T][TILE_P];
    UNROLL for (int j = 0; j < T; j++)
        UNROLL for (int p = 0; p < P; p++)
            acc[j][p] = s->resume ? v16_load(sums + (j * P + p) * PANEL) : v16_zero();
    const char *soon = s->soon.lines;
    for (int i = 0, in = 0, due = 0; i < s->spans; i++, x += T) {
        if (s->fetch) {
            size_t at = (size_t)i * line + AHEAD;
            bool inside = at < end || !s->last;
            fetch_span(f, inside ? lines + at : r->then + (at - end),
                       inside ? r->step : r->then_step, record, r->step, P);
        }
        for (due += s->soon_lines; due >= s->spans; due -= s->spans, soon += 64)
            UNROLL for (int p = 0; p < P; p++)
                __builtin_prefetch(soon + (size_t)p * s->soon.step, 0, 2);
        UNROLL for (int k = 0; k < runs; k++) {
            i16 sum[MANY_T][TILE_P];
            v16 by[TILE_P], min[TILE_P];
            stream_run(f, lines + (size_t)i * line, r->step, cached ? s->pairs[i] : NULL, k, x,
                       table, sum, P, T);
            UNROLL for (int p = 0; p < P; p++)
                quant_scales(f, record + (size_t)p * r->step, in * runs + k, &by[p], &min[p]);
            count_run(sum, by, min, x, k, acc, f.head == HEAD_F16_MIN, P, T);
        }
        if (++in == per) {
            in = 0;
            record += quant_record(f);
        }
    }
    UNROLL for (int j = 0; j < T; j++)
        UNROLL for (int p = 0; p < P; p++)
            v16_store(sums + (j * P + p) * PANEL, acc[j][p]);
}

/* ---- one function per shape and format --------------------------------------------------- */

typedef void pairs_fn(const char *lines, int spans, int32_t (*out)[PAIRS][PANEL]);
INLINE void make_pairs(struct quant f, const char *lines, int spans, int32_t (*out)[PAIRS][PANEL])
{
    const v16 table = pair_table(f);
    for (int s = 0; s < spans; s++, lines += f.bits * 64)
        UNROLL for (int i = 0; i < PAIRS; i++)
            i16_store(out[s][i], i16_of(pair_of(f, lines, i, table)));
}

#define STREAM(P, T, ID) \
    static void stream_##P##x##T##_##ID(const struct stream *s, float *sums) \
    { \
        stream_sums(s, sums, false, P, T, quant_##ID); \
    }
#if V16_REGS == 32
#define STREAMS(ID) \
    STREAM(1, 1, ID) STREAM(2, 1, ID) STREAM(4, 1, ID) STREAM(2, 2, ID) STREAM(2, 3, ID) \
    STREAM(2, 4, ID) STREAM(2, 5, ID) STREAM(2, 6, ID)
#define STREAM_ROW(ID) \
    [DTYPE_##ID] = {&quant_##ID, {stream_1x1_##ID, stream_2x1_##ID, stream_4x1_##ID}, \
                    {NULL, stream_2x2_##ID, stream_2x3_##ID, stream_2x4_##ID, stream_2x5_##ID, \
                     stream_2x6_##ID}, {NULL}, NULL},
#else
#define CACHED(T, ID) \
    static void cached_##T##_##ID(const struct stream *s, float *sums) \
    { \
        stream_sums(s, sums, pairs_in_cache(quant_##ID), 1, T, quant_##ID); \
    }
#define STREAMS(ID) \
    STREAM(1, 1, ID) STREAM(1, 2, ID) STREAM(1, 3, ID) CACHED(2, ID) CACHED(3, ID) \
    static void make_pairs_##ID(const char *lines, int spans, int32_t (*out)[PAIRS][PANEL]) \
    { \
        make_pairs(quant_##ID, lines, spans, out); \
    }
#define STREAM_ROW(ID) \
    [DTYPE_##ID] = {&quant_##ID, {stream_1x1_##ID}, {NULL, stream_1x2_##ID, stream_1x3_##ID}, \
                    {NULL, cached_2_##ID, cached_3_##ID}, make_pairs_##ID},
#endif
INT16_FORMATS(STREAMS)
static const struct {
    const struct quant *format;
    stream_fn *one[3], *several[MANY_T]; /* one input by 1, 2, 4 panels; inputs by MANY panels */
    stream_fn *cached[MANY_T];           /* the same where pairs are in cache */
    pairs_fn *make_pairs;
} by_format[DTYPES] = {INT16_FORMATS(STREAM_ROW)};
