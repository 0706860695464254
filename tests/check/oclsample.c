/* oclcheck's part on sampling: equal logits give equal tokens and logprobs on device and host, to
 * the bit, whatever the row, its length and what is asked. */
#include "tests/check/oclsample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

#define ROWS 16
#define BENCH_VOCAB 151936
#define BENCH_ROWS 64

static void must(int rc, const struct err *e)
{
    if (!rc)
        return;
    printf("FAIL sample: %s\n", e->text);
    exit(1);
}

enum kind {
    SMOOTH, PEAKED, TIES, FLAT, FAR, HOLES, TINY, HUGE_VALUES, BAD, CLUSTERED, KINDS
};

static float value(enum kind k, int32_t i, struct rng *r)
{
    float v = rng_normal(r);
    uint64_t u = rng_next(r);
    switch (k) {
    case SMOOTH: return 3 * v;
    case PEAKED: return u % 1000 == 0 ? 20 + v : 3 * v;
    case TIES: return rintf(2 * v) * 0.5f;
    case FLAT: return 1.5f;
    case FAR: return -12.0f * (float)(u % 6) + 1e-5f * v;
    case HOLES: return u % 3 ? -INFINITY : v;
    case TINY: return v * (u % 4 ? 1e-33f : u % 8 ? 1e-38f : 1e-42f);
    case HUGE_VALUES: return u % 5 ? v * 1e37f : v;
    case BAD: return u % 4096 ? v : u % 3 == 0 ? NAN : u % 3 == 1 ? INFINITY : -INFINITY;
    case CLUSTERED: return i % 1024 < 4 ? 5 + 0.1f * v : v; /* all good ones with few items */
    default: return 0;
    }
}

static int32_t below(struct rng *r, int32_t n) { return (int32_t)rng_below(r, (uint64_t)n); }

/* Edits of distinct tokens: every step-th from a start. */
struct lists {
    struct sample_edit bias[300], seen[300];
    int32_t banned[70];
    uint32_t mask[(BENCH_VOCAB + 31) / 32];
    struct sample_shape shape;
    struct sample_edit repeats[2];
};

static void fill_lists(struct lists *l, struct sample_row *a, int32_t vocab, struct rng *r)
{
    int32_t step = 1 + below(r, 5), at = below(r, vocab);
    a->n_bias = below(r, MIN(300, vocab / step) + 1);
    a->n_seen = below(r, MIN(300, vocab / step) + 1);
    a->n_banned = below(r, MIN(70, vocab / 2 + 1));
    for (int32_t i = 0; i < a->n_bias; i++)
        l->bias[i] = (struct sample_edit){(at + i * step) % vocab, 4 * rng_normal(r)};
    for (int32_t i = 0; i < a->n_seen; i++)
        l->seen[i] = (struct sample_edit){(at / 2 + i * step) % vocab,
                                          below(r, 2) ? (float)rng_unit(r) : 0};
    for (int32_t i = 0; i < a->n_banned; i++)
        l->banned[i] = below(r, vocab);
    bool dense = below(r, 2), masked = below(r, 2);
    for (size_t i = 0; masked && i < sample_words(vocab); i++)
        l->mask[i] = (uint32_t)rng_next(r) | (dense ? ~(uint32_t)rng_next(r) : 0);
    a->bias = l->bias;
    a->seen = l->seen;
    a->banned = l->banned;
    a->allowed = masked ? l->mask : NULL;
}

/* Rows that the host draws for the device, between others. */
static void fill_shape(struct lists *l, struct sample_row *a, int32_t vocab, struct rng *r)
{
    l->shape = (struct sample_shape){
        .n_repeats = MIN(below(r, 3), vocab), .repeats = l->repeats,
        .sigma = below(r, 2) ? 0 : (float)rng_unit(r) * 3,
        .typical = below(r, 2) ? SAMPLE_ALL : rng_next(r), .xtc = below(r, 2) ? 0 : rng_next(r) / 8,
        .warm = below(r, 3) ? 0 : (float)rng_unit(r) * 2, .exponent = 1,
        .mirostat = below(r, 2) ? 0 : 1 + below(r, 2), .mu = rng_unit(r) * 10};
    for (int32_t i = 0; i < l->shape.n_repeats; i++)
        l->repeats[i] = (struct sample_edit){i, (float)rng_unit(r) * 4};
    a->shape = &l->shape;
}

static struct sample_row ask(struct lists *l, int32_t vocab, struct rng *r)
{
    static const int32_t ks[] = {0, 0, 1, 2, 40, 300, 5000};
    static const uint64_t ps[] = {SAMPLE_ALL, SAMPLE_ALL, 0, UINT64_C(1) << 62,
                                  UINT64_C(15) << 60, UINT64_MAX - 1};
    static const float scales[] = {1, 1, 0.5f, 1.3f, 20, 1e-3f, 0, 1e5f};
    float penalty = below(r, 2) ? 1 : 0.5f + (float)rng_unit(r);
    struct sample_row a = {
        .n_top = below(r, 2) ? below(r, LIMIT_TOP_LOGPROBS + 1) : -1, .draw = below(r, 8) > 0,
        .id = below(r, vocab), .greedy = below(r, 6) == 0,
        .scale = scales[rng_below(r, ARRAY_LEN(scales))],
        .min_p = below(r, 3) ? 0 : (float)rng_unit(r) * 0.1f,
        .top_k = ks[rng_below(r, ARRAY_LEN(ks))], .top_p = ps[rng_below(r, ARRAY_LEN(ps))],
        .uniform = below(r, 10) ? rng_next(r) : below(r, 2) ? 0 : UINT64_MAX,
        .repeat = penalty, .unrepeat = 1 / penalty};
    if (below(r, 2))
        fill_lists(l, &a, vocab, r);
    if (below(r, 6) == 0)
        fill_shape(l, &a, vocab, r);
    return a;
}

/* One launch of ROWS rows, `at` floats into the buffer and `stride` apart. */
static int check_rows(struct ocl_device *d, int32_t vocab, int64_t at, int32_t stride,
                      int32_t launches, struct rng *r)
{
    struct ocl_buffer logits;
    struct ocl_sampler s;
    struct sampler host;
    struct err e = {0};
    uint64_t n = 0;
    size_t bytes = ((size_t)at + (size_t)ROWS * (size_t)stride) * 4;
    float *x = mem_array(1, bytes);
    struct lists *lists = mem_array(ROWS, sizeof *lists);
    int failures = 0;
    must(ocl_buffer_new(&logits, d, bytes, "check", &e), &e);
    must(ocl_sample_init(&s, d, logits.mem, at, stride, vocab, ROWS, &e), &e);
    must(sample_init(&host, vocab, &e), &e);
    for (int32_t round = 0; round < launches; round++) {
        struct sample_row rows[ROWS];
        struct sample_result told[ROWS], want;
        enum kind kinds[ROWS];
        for (int32_t i = 0; i < ROWS; i++) {
            kinds[i] = (enum kind)((i + round * 7) % KINDS);
            for (int32_t v = 0; v < vocab; v++)
                x[at + (int64_t)i * stride + v] = value(kinds[i], v, r);
            rows[i] = ask(&lists[i], vocab, r);
            rows[i].logits = (i * 5 + round) % ROWS;
        }
        must(OCL(&e, "check", clEnqueueWriteBuffer, d->queue, logits.mem, CL_TRUE, 0, bytes, x, 0,
                 NULL, NULL), &e);
        must(ocl_sample_run(&s, rows, ROWS, told, &n, &e), &e);
        for (int32_t i = 0; i < ROWS; i++) {
            sample_choose(&host, x + at + (int64_t)rows[i].logits * stride, &rows[i], &want);
            if (sample_same(&want, &told[i]))
                continue;
            if (failures++ < 10)
                printf("FAIL sample: vocab %d round %d row %d kind %d: status %d %d, token %d of "
                       "%d, expected %d %d, %d; top_k %d top_p %llx min_p %g scale %g n_top %d "
                       "greedy %d edits %d %d %d\n",
                       vocab, round, i, kinds[rows[i].logits], told[i].status, told[i].raw,
                       told[i].id, rows[i].draw, want.status, want.raw, want.id, rows[i].top_k,
                       (unsigned long long)rows[i].top_p, (double)rows[i].min_p,
                       (double)rows[i].scale, rows[i].n_top, rows[i].greedy, rows[i].n_bias,
                       rows[i].n_seen, rows[i].n_banned);
        }
    }
    sample_fini(&host);
    ocl_sample_free(&s);
    ocl_buffer_free(&logits, d);
    mem_free(x);
    mem_free(lists);
    return failures;
}

int oclsample_check(struct ocl_device *d, uint64_t seed, bool quick, int32_t vocab)
{
    static const struct { int32_t vocab, at, stride, launches; } cases[] = {
        {1, 0, 16, 8}, {31, 0, 32, 60}, {257, 1, 259, 60}, {4096, 0, 4096, 40},
        {151936, 0, 151936, 8}};
    struct rng r = {.seed = seed};
    int failures = 0;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (vocab == 0 || cases[i].vocab == vocab)
            failures += check_rows(d, cases[i].vocab, cases[i].at, cases[i].stride,
                                   quick ? (cases[i].launches + 5) / 6 : cases[i].launches, &r);
    printf("%-16s %s\n", "sample", failures ? "FAILED" : "ok");
    return failures;
}

/* ---- time ---- */

static double microseconds(struct ocl_sampler *s, const struct sample_row *rows, int32_t n)
{
    struct sample_result told[BENCH_ROWS];
    struct err e = {0};
    uint64_t launches = 0, best = UINT64_MAX;
    for (int i = 0; i < 50; i++) {
        uint64_t start = clock_now_ns();
        must(ocl_sample_run(s, rows, n, told, &launches, &e), &e);
        best = MIN(best, clock_now_ns() - start);
    }
    return (double)best / 1e3;
}

void oclsample_bench(struct ocl_device *d)
{
    static const struct { const char *name; struct sample_row row; } asked[] = {
        {"greedy", {.n_top = -1, .draw = true, .greedy = true}},
        {"temperature", {.n_top = -1, .draw = true, .scale = 1, .top_p = SAMPLE_ALL}},
        {"top_k 40", {.n_top = -1, .draw = true, .scale = 1, .top_p = SAMPLE_ALL, .top_k = 40}},
        {"top_p 0.9", {.n_top = -1, .draw = true, .scale = 1, .top_p = UINT64_C(9) << 60}},
        {"top_p 0.9, flat", {.n_top = -1, .draw = true, .scale = 0.2f,
                             .top_p = UINT64_C(9) << 60}},
        {"both, 20 top", {.n_top = 20, .draw = true, .scale = 1, .top_p = UINT64_C(9) << 60,
                          .top_k = 40}}};
    struct ocl_buffer logits;
    struct ocl_sampler s;
    struct err e = {0};
    struct rng r = {.seed = 1};
    size_t bytes = (size_t)BENCH_ROWS * BENCH_VOCAB * 4;
    float *x = mem_array(1, bytes);
    for (int32_t i = 0; i < BENCH_ROWS * BENCH_VOCAB; i++)
        x[i] = value(PEAKED, 0, &r) * 0.8f;
    must(ocl_buffer_new(&logits, d, bytes, "bench", &e), &e);
    must(ocl_sample_init(&s, d, logits.mem, 0, BENCH_VOCAB, BENCH_VOCAB, BENCH_ROWS, &e), &e);
    must(OCL(&e, "bench", clEnqueueWriteBuffer, d->queue, logits.mem, CL_TRUE, 0, bytes, x, 0,
             NULL, NULL), &e);
    printf("sampling from %d logits, %zu work-items a row, with the transfers\n", BENCH_VOCAB,
           s.group);
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        struct sample_row rows[BENCH_ROWS];
        for (int32_t k = 0; k < BENCH_ROWS; k++) {
            rows[k] = asked[i].row;
            rows[k].logits = k;
            rows[k].uniform = rng_next(&r);
        }
        printf("%-16s %8.1f us 1 row %8.1f us %d rows\n", asked[i].name,
               microseconds(&s, rows, 1), microseconds(&s, rows, BENCH_ROWS), BENCH_ROWS);
    }
    ocl_sample_free(&s);
    ocl_buffer_free(&logits, d);
    mem_free(x);
}
