/* oclsteps: decode steps of a whole model with random weights.
 *
 *   oclsteps MODEL_DIR DEVICE [streams ...]
 *
 * For each number of streams: milliseconds a step, tokens a second, launches and host time a step,
 * weight bytes over time; with RECURD_OCL_PROFILE set, the time of each kind of op instead. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/opencl/opencl.h"
#include "models/model.h"

#define STREAMS_MAX 256
#define WARM 5
#define STEPS 40
#define PROMPT 512 /* tokens of the prefill step */

static void must(int rc, const struct err *e)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "oclsteps: %s\n", e->text);
    exit(1);
}

/* Runs one step of n sequences, and draws from each, with `per` tokens each at position pos. */
static void step(struct device *d, int32_t n, int32_t per, int64_t pos)
{
    static int32_t tokens[STREAMS_MAX * 2 + PROMPT], cu[STREAMS_MAX + 1], slots[STREAMS_MAX];
    static int32_t rows[STREAMS_MAX];
    static int64_t at[STREAMS_MAX];
    struct err e = {0};
    for (int32_t q = 0; q < n; q++) {
        cu[q + 1] = (q + 1) * per;
        slots[q] = q;
        at[q] = pos;
        rows[q] = (q + 1) * per - 1;
        for (int32_t t = 0; t < per; t++)
            tokens[q * per + t] = (int32_t)((q * 31 + t * 7 + pos) % 251);
    }
    struct batch b = {.n_seqs = n, .n_tokens = n * per, .n_logits = n, .tokens = tokens,
                      .cu_seqlens = cu, .slots = slots, .pos = at, .logit_rows = rows};
    must(d->backend->run(d, &b, &e), &e);
    static struct sample_row ask[STREAMS_MAX];
    static struct sample_result told[STREAMS_MAX];
    for (int32_t q = 0; q < n; q++)
        ask[q] = (struct sample_row){.logits = q, .n_top = -1, .draw = true, .greedy = true};
    must(d->backend->sample(d, ask, n, told, &e), &e);
}

static void time_streams(struct device *d, const struct model *m, int32_t n)
{
    struct opencl_stats s;
    struct err e = {0};
    for (int32_t q = 0; q < n; q++)
        must(d->backend->slot_zero(d, q, &e), &e);
    for (int i = 0; i < WARM; i++)
        step(d, n, 1, i);
    opencl_stats(d, &s);
    uint64_t start = clock_now_ns();
    for (int i = 0; i < STEPS; i++)
        step(d, n, 1, WARM + i);
    double t = (double)(clock_now_ns() - start) / 1e9 / STEPS;
    opencl_stats(d, &s);
    printf(
        "%4d streams: %8.3f ms a step, %9.1f tokens/s, %llu launches, host %6.1f us, waiting %8.1f "
        "us, weights %.0f GB/s\n",
        n, t * 1e3, n / t, (unsigned long long)(s.launches / s.steps),
        (double)s.enqueue_ns / 1e3 / STEPS, (double)s.wait_ns / 1e3 / STEPS,
        (double)m->weight_bytes / t / 1e9);
    fflush(stdout);
    if (getenv("RECURD_OCL_PROFILE"))
        d->backend->profile(d);
}

int main(int argc, char **argv)
{
    struct err e = {0};
    struct model *m;
    struct device *d;
    if (argc < 3)
        return fprintf(stderr, "usage: oclsteps MODEL_DIR DEVICE [streams ...]\n"), 2;
    struct model_options mo = {.dir = argv[1], .dummy = true, .dummy_seed = 1};
    struct device_options dopt = {.spec = argv[2], .cache_dir = getenv("RECURD_OCL_CACHE")};
    struct capacity cap = {PROMPT, STREAMS_MAX, STREAMS_MAX, STREAMS_MAX, 0, 0};
    uint64_t start = clock_now_ns();
    must(model_open(&m, &mo, &e), &e);
    must(device_open(&d, &dopt, &e), &e);
    must(model_load(m, d, &cap, &e), &e);
    printf("%s on %s: %.2f GB of weights, %.2f GB held, ready in %.1f s\n", m->name,
           d->description, (double)m->weight_bytes / 1e9, (double)d->backend->memory(d) / 1e9,
           (double)(clock_now_ns() - start) / 1e9);
    for (int i = 3; i < argc; i++) {
        long n = strtol(argv[i], NULL, 10); /* anything but a number is 0, and skipped */
        if (n >= 1 && n <= STREAMS_MAX)
            time_streams(d, m, (int32_t)n);
    }
    start = clock_now_ns();
    must(d->backend->slot_zero(d, 0, &e), &e);
    step(d, 1, PROMPT, 0);
    printf("prompt of %d tokens: %.3f ms\n", PROMPT, (double)(clock_now_ns() - start) / 1e6);
    if (getenv("RECURD_OCL_PROFILE"))
        d->backend->profile(d);
    d->backend->close(d);
    model_close(m);
    return 0;
}
