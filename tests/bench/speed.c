/* speed: how fast a model runs in this process, beside the memory limit measured in the same run.
 *
 *   speed [--device NAME] [--kernels LIST] [--threads N] [--dummy] [--quantize q8|q4]
 *         [--states float16] [--rounds N] [--profile] MODEL_DIR
 *   speed --digest
 *
 * --digest: how fast one thread proves states, on every instruction set that this CPU has. Else:
 * for 1, 4, 16 and 32 streams: decode tokens per second and the share of the read bandwidth that
 * the weights alone account for (a step reads every weight once); prompt tokens per second. Figures
 * are medians; bandwidth and steps alternate, because machines are shared.
 *
 * --profile: instead, where the time of such steps goes, by kind of op, beside the limits. */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "models/model.h"
#include "statecache/store/blake3.h"
#include "tests/check/limits.h"

#define STREAMS 32
#define SIZES 4 /* numbers of streams that are tried */
#define PROMPT 512 /* tokens of one prompt step */
#define ROUNDS_MOST 9
#define DIGEST_BYTES ((size_t)4 << 20) /* some states of the demo model */
#define DIGEST_ROUNDS 50
#define READ_BYTES ((size_t)256 << 20) /* beyond any last-level cache share */

typedef unsigned long long wide __attribute__((vector_size(64)));
struct reader { const wide *p; size_t n; unsigned long long sum; };

static void *read_range(void *arg)
{
    struct reader *r = arg;
    wide a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t i = 0; i + 4 <= r->n; i += 4) {
        __builtin_prefetch(r->p + i + 64);
        a ^= r->p[i];
        b ^= r->p[i + 1];
        c ^= r->p[i + 2];
        d ^= r->p[i + 3];
    }
    a ^= b ^ c ^ d;
    r->sum = a[0] ^ a[7];
    return NULL;
}

/* Bytes per second that all threads together read in order. */
static double read_bandwidth(const wide *p, int threads)
{
    struct reader r[64];
    pthread_t id[64];
    size_t n = READ_BYTES / sizeof(wide);
    uint64_t t0 = clock_now_ns();
    for (int i = 0; i < threads; i++) {
        r[i] = (struct reader){p + n * (size_t)i / (size_t)threads, n / (size_t)threads, 0};
        if (pthread_create(&id[i], NULL, read_range, &r[i]) != 0)
            return 0;
    }
    for (int i = 0; i < threads; i++)
        pthread_join(id[i], NULL);
    return (double)READ_BYTES * 1e9 / (double)(clock_now_ns() - t0);
}

struct speed {
    struct model *m;
    struct device *d;
    struct capacity cap;
    int64_t pos;
    int rounds;
    bool profile;
    double decode[SIZES], prompt, bandwidth;
};

/* One step of `streams` sequences with `n` tokens each. */
static int step(struct speed *s, int streams, int n, struct err *e)
{
    static int32_t tokens[PROMPT], cu[STREAMS + 1], slots[STREAMS], rows[STREAMS], pages[1 << 16];
    static int64_t pos[STREAMS];
    int32_t per = s->cap.pages_per_seq;
    for (int i = 0; i < streams; i++) {
        cu[i + 1] = (i + 1) * n;
        slots[i] = i;
        pos[i] = s->pos;
        rows[i] = (i + 1) * n - 1;
        for (int k = 0; k < n; k++)
            tokens[i * n + k] = (int32_t)((i * 131 + s->pos + k) * 7 % s->m->plan.vocab);
        for (int32_t k = 0; k < per; k++)
            pages[i * per + k] = i * per + k;
    }
    struct batch b = {.n_seqs = streams, .n_tokens = streams * n, .n_logits = streams,
                      .tokens = tokens, .cu_seqlens = cu, .slots = slots, .pos = pos,
                      .logit_rows = rows, .pages = pages, .pages_per_seq = per};
    s->pos += n;
    return s->d->backend->run(s->d, &b, e);
}

/* Tokens per second of steps of this shape over about a fifth of a second. */
static double rate(struct speed *s, int streams, int n, struct err *e)
{
    uint64_t t0 = clock_now_ns(), t = 0;
    int64_t done = 0;
    s->pos = 0;
    while (t < 200 * NS_PER_MS && done < 4000 && e->code == 0) {
        if (s->pos + n > 4096)
            s->pos = 0;
        if (step(s, streams, n, e) < 0)
            return 0;
        done += streams * n;
        t = clock_now_ns() - t0;
    }
    return (double)done * 1e9 / (double)t;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[n / 2];
}

static const int streams[SIZES] = {1, 4, 16, STREAMS};

static int measure(struct speed *s, int threads, struct err *e)
{
    double decode[SIZES][ROUNDS_MOST], prompt[ROUNDS_MOST], bandwidth[ROUNDS_MOST];
    wide *p = mem_aligned(READ_BYTES);
    if (!p)
        return err_set(e, E_NOMEM, "no memory for %zu bytes to read", READ_BYTES);
    memset(p, 1, READ_BYTES); /* untouched pages would all be one page of zeros */
    (void)rate(s, 1, 1, e);   /* warm-up */
    for (int r = 0; r < s->rounds && e->code == 0; r++) {
        bandwidth[r] = read_bandwidth(p, threads);
        for (int i = 0; i < SIZES; i++)
            decode[i][r] = rate(s, streams[i], 1, e);
        prompt[r] = rate(s, 1, PROMPT, e);
    }
    mem_aligned_free(p, READ_BYTES);
    if (e->code)
        return e->code;
    for (int i = 0; i < SIZES; i++)
        s->decode[i] = median(decode[i], s->rounds);
    s->prompt = median(prompt, s->rounds);
    s->bandwidth = median(bandwidth, s->rounds);
    return 0;
}

static int measure_limits(struct device_rates *out, int threads, struct err *e)
{
    struct threads *t;
    unsigned has = cpuid_features();
    void *memory = mem_aligned(READ_BYTES);
    if (!memory)
        return err_set(e, E_NOMEM, "no memory for %zu bytes to read", READ_BYTES);
    int rc = threads_open(&t, threads, e);
    if (!rc) {
        memset(memory, 1, READ_BYTES); /* untouched pages would all be one page of zeros */
        *out = (struct device_rates){limits_read(t, memory, READ_BYTES),
                                     limits_update(t, memory, READ_BYTES), limits_fma(t, has),
                                     limits_int16(t, has)};
        threads_close(t);
    }
    mem_aligned_free(memory, READ_BYTES);
    return rc;
}

/* One table a shape of steps. */
static int profile(struct speed *s, int threads, struct err *e)
{
    static const struct { int streams, tokens; } shapes[] = {{1, 1}, {4, 1}, {16, 1}, {STREAMS, 1},
                                                             {1, PROMPT}};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct device_rates limits;
        if (measure_limits(&limits, threads, e) < 0)
            return e->code;
        (void)rate(s, shapes[i].streams, shapes[i].tokens, e); /* warm-up */
        log_set_level(LOG_WARN);
        s->d->backend->profile(s->d, NULL);
        log_set_level(LOG_INFO);
        double got[ROUNDS_MOST];
        for (int r = 0; r < s->rounds; r++)
            got[r] = rate(s, shapes[i].streams, shapes[i].tokens, e);
        if (e->code)
            return e->code;
        log_info("%s, %d x %d tokens a step: %.0f tokens/s", s->m->name, shapes[i].streams,
                 shapes[i].tokens, median(got, s->rounds));
        s->d->backend->profile(s->d, &limits);
    }
    return 0;
}

static int run(struct speed *s, const struct model_options *mo, const struct device_options *o,
               struct err *e)
{
    int threads = o->threads ? o->threads : (int)MIN(sysconf(_SC_NPROCESSORS_ONLN), 64);
    if (model_open(&s->m, mo, e) < 0 || device_open(&s->d, o, e) < 0)
        return e->code;
    int32_t per = s->m->plan.page_token_floats ? 4096 / PAGE_TOKENS : 0;
    s->cap = (struct capacity){.tokens = PROMPT, .logits = STREAMS, .seqs = STREAMS,
                               .slots = STREAMS, .pages = per * STREAMS, .pages_per_seq = per};
    if (model_load(s->m, s->d, &s->cap, e) < 0)
        return e->code;
    for (int i = 0; i < STREAMS; i++)
        if (s->d->backend->slot_zero(s->d, i, e) < 0)
            return e->code;
    if (s->profile)
        return profile(s, threads, e);
    if (measure(s, threads, e) < 0)
        return e->code;
    double bytes = (double)s->m->weight_bytes;
    printf("| %s | %.1f M |", s->m->name, (double)s->m->parameters / 1e6);
    for (int i = 0; i < SIZES; i++)
        printf(" %.0f | %.0f %% |", s->decode[i],
               100 * s->decode[i] / streams[i] * bytes / s->bandwidth);
    printf(" %.0f | %.1f GB/s |\n", s->prompt, s->bandwidth / 1e9);
    return 0;
}

static int run_digest(void)
{
    const struct blake3_lanes *lanes;
    unsigned char out[BLAKE3_OUT], *p = mem_zalloc(DIGEST_BYTES);
    if (!p)
        return 1;
    for (int set = 0; (lanes = blake3_lanes(set)); set++) {
        double best = 0;
        for (int i = 0; i < DIGEST_ROUNDS; i++) {
            struct blake3 s;
            uint64_t t0 = clock_now_ns();
            blake3_init(&s, lanes);
            blake3_update(&s, p, DIGEST_BYTES);
            blake3_final(&s, out);
            best = MAX(best, (double)DIGEST_BYTES / (double)MAX(clock_now_ns() - t0, 1));
        }
        printf("| BLAKE3, %s | %.1f GB/s |\n", blake3_lanes_name(lanes), best);
    }
    mem_free(p);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"device", 1, 0, 'd'}, {"threads", 1, 0, 't'},
                                            {"dummy", 0, 0, 'D'}, {"quantize", 1, 0, 'q'},
                                            {"states", 1, 0, 's'}, {"digest", 0, 0, 'H'},
                                            {"kernels", 1, 0, 'k'},
                                            {"rounds", 1, 0, 'r'}, {"profile", 0, 0, 'P'},
                                            {0, 0, 0, 0}};
    struct speed s = {.rounds = 5};
    struct err e = {0};
    struct model_options mo = {.dummy_seed = 1};
    struct device_options o = {.spec = "cpu"};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'H')
            return run_digest();
        if (c == 'd')
            o.spec = optarg;
        else if (c == 'r')
            s.rounds = (int)strtol(optarg, NULL, 10);
        else if (c == 'k')
            o.kernels = optarg;
        else if (c == 't')
            o.threads = (int)strtol(optarg, NULL, 10);
        else if (c == 'D')
            mo.dummy = true;
        else if (c == 'P')
            s.profile = o.profile = true;
        else if (c == 's' && states_parse(optarg, &mo.states))
            continue;
        else if (c == 'q' && quantize_parse(optarg, &mo.quantize))
            continue;
        else
            return 2;
    }
    if (optind + 1 != argc || s.rounds < 1 || s.rounds > ROUNDS_MOST)
        return 2;
    mo.dir = argv[optind];
    if (run(&s, &mo, &o, &e) < 0)
        fprintf(stderr, "speed: %s\n", e.text);
    if (s.d)
        s.d->backend->close(s.d);
    model_close(s.m);
    return e.code ? 1 : 0;
}
