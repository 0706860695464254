/* See limits.h. */
#include "tests/check/limits.h"

#include "base/clock.h"
#include "tests/check/peak.h"

#include <stdlib.h>
#include <time.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
double limits_median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

uint64_t limits_now(const struct threads *t)
{
    struct timespec ts;
    if (threads_count(t) > 1)
        return clock_now_ns();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* One job, by all threads. */
struct all {
    limits_share *fn;
    void *ctx;
};
static void all_part(void *ctx, int job, int part, int parts)
{
    struct all *a = ctx;
    (void)job;
    a->fn(a->ctx, part, parts);
}
static void all_done(void *ctx, int job)
{
    (void)ctx;
    (void)job;
}
void limits_on_all(struct threads *t, limits_share *fn, void *ctx)
{
    static const bool shared[] = {true};
    struct all a = {fn, ctx};
    struct threads_work w = {1, shared, all_part, all_done, &a};
    threads_run(t, &w);
}

/* ---- memory ---------------------------------------------------------------------------- */

struct stream {
    uint64_t *p;
    size_t n;
    uint64_t sink[64];
};

/* Four ranges at once: one stream alone waits where pages end. Sums 8 words at a time: the
 * compiler's vectors are wide enough for memory. */
static void read_share(void *ctx, int ith, int nth)
{
    struct stream *s = ctx;
    int64_t from, to;
    host_share((int64_t)s->n / 32, ith, nth, &from, &to);
    uint64_t a[4][8] = {{0}};
    const int64_t words = (to - from) * 8;
    for (const uint64_t *p = s->p + from * 32, *end = p + words; p < end; p += 8) {
        for (int r = 0; r < 4; r++) {
            __builtin_prefetch(p + r * words + 512);
            for (int i = 0; i < 8; i++)
                a[r][i] += p[r * words + i];
        }
    }
    uint64_t sum = 0;
    for (int i = 0; i < 32; i++)
        sum += a[i / 8][i % 8];
    s->sink[ith % 64] = sum;
}

static void update_share(void *ctx, int ith, int nth)
{
    struct stream *s = ctx;
    int64_t from, to;
    host_share((int64_t)s->n / 64, ith, nth, &from, &to);
    for (uint64_t *p = s->p + from * 64; p < s->p + to * 64; p += 64) {
        for (int line = 0; line < 64; line += 8) {
            __builtin_prefetch(p + 512 + line, 1);
            for (int i = 0; i < 8; i++)
                p[line + i]++;
        }
    }
}

static double stream_gbs(struct threads *t, limits_share *fn, void *memory, size_t n)
{
    struct stream s = {memory, n / 8, {0}};
    double v[5];
    for (int i = 0; i < 5; i++) {
        uint64_t start = limits_now(t);
        limits_on_all(t, fn, &s);
        v[i] = (double)n / (double)(limits_now(t) - start);
    }
    return limits_median(v, 5);
}

double limits_read(struct threads *t, void *memory, size_t n)
{
    return stream_gbs(t, read_share, memory, n);
}
double limits_update(struct threads *t, void *memory, size_t n)
{
    return 2 * stream_gbs(t, update_share, memory, n);
}

/* ---- arithmetic ------------------------------------------------------------------------ */

struct peak_share {
    peak_fn *fn;
    long n;
};
static void peak_share(void *ctx, int ith, int nth)
{
    struct peak_share *p = ctx;
    (void)ith;
    (void)nth;
    p->fn(p->n);
}
/* Of the widest instruction set that this CPU has; NULL = of none. */
static peak_fn *peak_of(unsigned has)
{
#if defined(__x86_64__)
    return has & NEED_AVX512 ? peak_avx512 : has & NEED_AVX2 ? peak_avx2 : NULL;
#elif defined(__aarch64__)
    return has & NEED_NEON ? peak_neon : NULL;
#else
    (void)has;
    return NULL;
#endif
}
static peak_fn *int16_peak_of(unsigned need)
{
#if defined(__x86_64__)
    return need & NEED_VNNI ? peak_int16_vnni : need & NEED_AVX512 ? peak_int16_avx512
           : need & NEED_AVX2 ? peak_int16_avx2 : NULL;
#elif defined(__aarch64__)
    return need & NEED_NEON ? peak_int16_neon : NULL;
#else
    (void)need;
    return NULL;
#endif
}
/* Multiply-adds of all threads, two operations each. */
static double peak_gflops(struct threads *t, peak_fn *fn, double each)
{
    struct peak_share p = {fn, 200000};
    double v[9];
    if (!p.fn)
        return 0;
    for (int i = 0; i < 9; i++) {
        uint64_t start = limits_now(t);
        limits_on_all(t, peak_share, &p);
        double ns = (double)(limits_now(t) - start);
        v[i] = each * PEAK_FMAS * (double)p.n * threads_count(t) / ns;
    }
    return limits_median(v, 9);
}
double limits_fma(struct threads *t, unsigned has) { return peak_gflops(t, peak_of(has), 2); }
double limits_int16(struct threads *t, unsigned has)
{
    return peak_gflops(t, int16_peak_of(has), 4);
}
