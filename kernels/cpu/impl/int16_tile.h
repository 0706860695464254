/* Panels of blocks by inputs of 16 bits: one input, past which the weights stream, and tiles of
 * several, for which weights are taken apart into the first-level cache. Which meet says
 * job_int16.h. */
#include "kernels/cpu/impl/ends.h"
#include "kernels/cpu/impl/int16.h"

#define CHUNK 4        /* spans that are taken apart at once: 4 KiB a panel */

/* Numbers of one span of a panel, and what scales them. */
struct codes {
    _Alignas(64) int32_t pair[PAIRS][PANEL];
    float by[2][PANEL], min[2][PANEL];
};

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

/* Span k / SPAN of a panel, taken apart. */
typedef void apart_fn(const char *panel, size_t scales_at, int64_t k, struct codes *out);
INLINE void apart(const char *panel, size_t scales_at, int64_t k, struct codes *out,
                  struct quant f)
{
    const v16 table = pair_table(f);
    const char *lines = panel + k * f.bits / 8 * PANEL;
    const char *record = panel + scales_at + k / f.block * quant_record(f);
    UNROLL for (int i = 0; i < PAIRS; i++)
        i16_store(out->pair[i], i16_of(pair_of(f, lines, i, table)));
    UNROLL for (int r = 0; r < SPAN / f.run; r++) {
        v16 by, min;
        quant_scales(f, record, (int)(k % f.block) / f.run + r, &by, &min);
        v16_store(out->by[r], by);
        v16_store(out->min[r], min);
    }
    __builtin_prefetch(record + 1024);
}

/* ---- one input -------------------------------------------------------------------------- */

struct stream {
    struct range range;
    int64_t k0;
    int spans;
    bool resume, last; /* sums go on; the chunk ends its panels */
    const struct int16_span *x;
};
typedef void stream_fn(const struct stream *s, float *sums);

/* A span of P panels by one input; as much is fetched of each as is read. */
INLINE void stream_span(struct quant f, const char *lines, const char *record, size_t step,
                        int run, const struct int16_span *x, const char *ahead,
                        size_t ahead_step, v16 table, v16 acc[], int P)
{
    const int runs = SPAN / f.run;
    UNROLL for (int p = 0; p < P; p++) {
        UNROLL for (int l = 0; l < f.bits; l++)
            __builtin_prefetch(ahead + (size_t)p * ahead_step + l * 64);
        __builtin_prefetch(record + (size_t)p * step + 1024);
        UNROLL for (int r = 0; r < runs; r++) {
            i16 sum = i16_set1(x->start[r]);
            v16 by, min;
            UNROLL for (int i = r * PAIRS / runs; i < (r + 1) * PAIRS / runs; i++)
                sum = i16_dot(sum, i16_of(pair_of(f, lines + (size_t)p * step, i, table)),
                              i16_set1(x->pair[i]));
            quant_scales(f, record + (size_t)p * step, run + r, &by, &min);
            acc[p] = v16_fma(i16_float(sum), v16_mul(by, v16_set1(x->by)), acc[p]);
            if (f.head == HEAD_F16_MIN)
                acc[p] = v16_fma(min, v16_set1(x->inputs[r]), acc[p]);
        }
    }
}

INLINE void stream_sums(const struct stream *s, float *sums, int P, struct quant f)
{
    const struct range *r = &s->range;
    const size_t line = (size_t)f.bits * 64, end = line * (size_t)s->spans;
    const v16 table = pair_table(f);
    const int per = f.block / SPAN;
    const char *lines = r->panel + s->k0 * f.bits / 8 * PANEL;
    const char *record = r->panel + r->scales_at + s->k0 / f.block * quant_record(f);
    v16 acc[TILE_P];
    UNROLL for (int p = 0; p < P; p++)
        acc[p] = s->resume ? v16_load(sums + p * PANEL) : v16_zero();
    for (int i = 0, in = 0; i < s->spans; i++) {
        size_t at = (size_t)i * line + AHEAD;
        bool inside = at < end || !s->last;
        const char *ahead = inside ? lines + at : r->then + (at - end);
        size_t ahead_step = inside ? r->step : r->then_step;
        stream_span(f, lines + (size_t)i * line, record, r->step, in * (SPAN / f.run), s->x + i,
                    ahead, ahead_step, table, acc, P);
        if (++in == per) {
            in = 0;
            record += quant_record(f);
        }
    }
    UNROLL for (int p = 0; p < P; p++)
        v16_store(sums + p * PANEL, acc[p]);
}

/* ---- several inputs --------------------------------------------------------------------- */

struct int16_tile {
    const struct codes *codes; /* [P][CHUNK] */
    int spans, runs;
    bool min;
    const struct int16_span *x[TILE_T];
    const char *ahead; /* of each panel as many lines are fetched meanwhile, evenly */
    size_t ahead_step;
    int lines;
};
typedef void int16_tile_fn(const struct int16_tile *t, float *sums);

/* What run r of a span of P panels and T inputs adds to sums[T][P][16]. */
INLINE void count_run(const struct int16_tile *t, int s, int r, i16 sum[TILE_P][TILE_T],
                      float *sums, bool min, int P, int T)
{
    const struct codes *c = t->codes + s;
    UNROLL for (int j = 0; j < T; j++) {
        v16 scale = v16_set1(t->x[j][s].by), inputs = v16_set1(t->x[j][s].inputs[r]);
        UNROLL for (int p = 0; p < P; p++) {
            float *at = sums + (j * P + p) * PANEL;
            v16 by = v16_mul(v16_load(c[p * CHUNK].by[r]), scale);
            v16 acc = v16_fma(i16_float(sum[p][j]), by, v16_load(at));
            if (min)
                acc = v16_fma(v16_load(c[p * CHUNK].min[r]), inputs, acc);
            v16_store(at, acc);
        }
    }
}

/* `pairs` is known where this is compiled: the sums stay in registers. */
INLINE void tile_run(const struct int16_tile *t, int s, int r, int pairs, float *sums, int P, int T)
{
    i16 sum[TILE_P][TILE_T];
    const int32_t *w = t->codes[s].pair[r * pairs];
    const int32_t *x[TILE_T];
    UNROLL for (int j = 0; j < T; j++) {
        x[j] = t->x[j][s].pair + r * pairs;
        UNROLL for (int p = 0; p < P; p++)
            sum[p][j] = i16_set1(t->x[j][s].start[r]);
    }
    for (int k = 0; k < pairs; k++, w += PANEL) {
        i16 m[TILE_P];
        UNROLL for (int p = 0; p < P; p++)
            m[p] = i16_load(w + p * (CHUNK * sizeof(struct codes) / sizeof *w));
        UNROLL for (int j = 0; j < T; j++) {
            i16 b = i16_set1(x[j][k]);
            UNROLL for (int p = 0; p < P; p++)
                sum[p][j] = i16_dot(sum[p][j], m[p], b);
        }
    }
    if (t->min)
        count_run(t, s, r, sum, sums, true, P, T);
    else
        count_run(t, s, r, sum, sums, false, P, T);
}

INLINE void tile_int16(const struct int16_tile *t, float *sums, int P, int T)
{
    for (int s = 0; s < t->spans; s++) {
        for (int l = t->lines * s / t->spans; l < t->lines * (s + 1) / t->spans; l++)
            UNROLL for (int p = 0; p < P; p++)
                __builtin_prefetch(t->ahead + (size_t)p * t->ahead_step + l * 64, 0, 2);
        if (t->runs == 1) {
            tile_run(t, s, 0, PAIRS, sums, P, T);
            continue;
        }
        for (int r = 0; r < 2; r++)
            tile_run(t, s, r, PAIRS / 2, sums, P, T);
    }
}

/* ---- one function per shape and format -------------------------------------------------- */

#define TILE16(P, T) \
    static void tile16_##P##x##T(const struct int16_tile *t, float *sums) \
    { \
        tile_int16(t, sums, P, T); \
    }
#define TILES16(P) TILE16(P, 1) TILE16(P, 2) TILE16(P, 3) TILE16(P, 4) TILE16(P, 5) TILE16(P, 6)
#define ROW16(P) {tile16_##P##x1, tile16_##P##x2, tile16_##P##x3, tile16_##P##x4, tile16_##P##x5, \
                  tile16_##P##x6}
#define STREAM(P, ID) \
    static void stream_##P##_##ID(const struct stream *s, float *sums) \
    { \
        stream_sums(s, sums, P, quant_##ID); \
    }
#define APART(ID) \
    static void apart_##ID(const char *panel, size_t scales_at, int64_t k, struct codes *out) \
    { \
        apart(panel, scales_at, k, out, quant_##ID); \
    }
#if V16_REGS == 32
TILES16(1) TILES16(2) TILES16(4)
static int16_tile_fn *const tile16_table[3][TILE_T] = {ROW16(1), ROW16(2), ROW16(4)};
#define FORMAT16(ID) STREAM(1, ID) STREAM(2, ID) STREAM(4, ID) APART(ID)
#define FORMAT16_ROW(ID) \
    [DTYPE_##ID] = {&quant_##ID, apart_##ID, {stream_1_##ID, stream_2_##ID, stream_4_##ID}},
#else
TILES16(1)
static int16_tile_fn *const tile16_table[1][TILE_T] = {ROW16(1)};
#define FORMAT16(ID) STREAM(1, ID) APART(ID)
#define FORMAT16_ROW(ID) [DTYPE_##ID] = {&quant_##ID, apart_##ID, {stream_1_##ID}},
#endif
INT16_FORMATS(FORMAT16)
static const struct { const struct quant *format; apart_fn *apart; stream_fn *stream[3]; }
    by_format[DTYPES] = {INT16_FORMATS(FORMAT16_ROW)};
