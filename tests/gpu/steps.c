/* oclsteps: steps of a whole model with random weights, on a device or several ("A+B").
 *
 *   oclsteps MODEL_DIR DEVICE [--prompt N] [--prompts N] [--step N] [--mixed N] [--digest]
 *            [streams ...]
 *
 * For each number of streams: milliseconds a step, tokens a second, launches and host time a step,
 * weight bytes over time; with RECURD_OCL_PROFILE set, the time of each kind of op instead.
 * --mixed: then the same of steps that also have N rows of one prompt, beside the streams. Then a
 * prompt of --prompt (512) tokens alone, or --prompts of them side by side, in steps of at most
 * --step (8192) tokens. --digest: a hash of all logits of a prompt in two steps, of steps of all
 * streams beside it and of one of some tokens of three, and of a state: equal for devices that give
 * equal bits. */
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
#define PROMPT_MAX 65536 /* tokens of a prompt, and of a step */

/* Pages of the model's attention: sequence q has the q-th run of them. */
static int32_t *pages, pages_per_seq;

static void must(int rc, const struct err *e)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "oclsteps: %s\n", e->text);
    exit(1);
}

/* Runs one step of n sequences with `per` tokens each at position pos, and of `mixed` tokens of one
 * more at its own, when there are some; draws from each. */
static void mixed_step(struct device *d, int32_t n, int32_t per, int64_t pos, int32_t mixed,
                       int64_t mixed_pos)
{
    static int32_t tokens[STREAMS_MAX + PROMPT_MAX], cu[STREAMS_MAX + 2], slots[STREAMS_MAX + 1];
    static int32_t rows[STREAMS_MAX + 1];
    static int64_t at[STREAMS_MAX + 1];
    struct err e = {0};
    int32_t seqs = n + (mixed > 0);
    for (int32_t q = 0; q < seqs; q++) {
        int32_t own = q < n ? per : mixed;
        cu[q + 1] = cu[q] + own;
        slots[q] = q;
        at[q] = q < n ? pos : mixed_pos;
        rows[q] = cu[q + 1] - 1;
        for (int32_t t = 0; t < own; t++)
            tokens[cu[q] + t] = (int32_t)((q * 31 + t * 7 + at[q]) % 251);
    }
    struct batch b = {.n_seqs = seqs, .n_tokens = cu[seqs], .n_logits = seqs, .tokens = tokens,
                      .cu_seqlens = cu, .slots = slots, .pos = at, .logit_rows = rows,
                      .pages = pages, .pages_per_seq = pages_per_seq};
    must(d->backend->run(d, &b, &e), &e);
    static struct sample_row ask[STREAMS_MAX + 1];
    static struct sample_result told[STREAMS_MAX + 1];
    for (int32_t q = 0; q < seqs; q++)
        ask[q] = (struct sample_row){.logits = q, .n_top = -1, .draw = true, .greedy = true};
    must(d->backend->sample(d, ask, seqs, told, &e), &e);
}

static void step(struct device *d, int32_t n, int32_t per, int64_t pos)
{
    mixed_step(d, n, per, pos, 0, 0);
}

/* mixed: rows of a prompt in each step. */
static void time_streams(struct device *d, const struct model *m, int32_t n, int32_t mixed)
{
    struct opencl_stats s;
    struct err e = {0};
    for (int32_t q = 0; q < n + (mixed > 0); q++)
        must(d->backend->slot_zero(d, q, &e), &e);
    for (int i = 0; i < WARM; i++)
        mixed_step(d, n, 1, i, mixed, (int64_t)i * mixed);
    opencl_stats(d, &s);
    uint64_t start = clock_now_ns();
    for (int i = WARM; i < WARM + STEPS; i++)
        mixed_step(d, n, 1, i, mixed, (int64_t)i * mixed);
    double t = (double)(clock_now_ns() - start) / 1e9 / STEPS;
    opencl_stats(d, &s);
    printf("%4d streams", n);
    if (mixed)
        printf(" and %d rows of a prompt", mixed);
    printf(": %8.3f ms a step, %9.1f tokens/s, %llu launches, host %6.1f us, waiting %8.1f us, "
           "weights %.0f GB/s\n",
           t * 1e3, n / t, (unsigned long long)(s.launches / MAX(s.steps, 1)),
           (double)s.enqueue_ns / 1e3 / STEPS, (double)s.wait_ns / 1e3 / STEPS,
           (double)m->weight_bytes / t / 1e9);
    fflush(stdout);
    if (getenv("RECURD_OCL_PROFILE"))
        d->backend->profile(d, NULL);
}

static uint64_t hash(uint64_t h, const void *p, size_t n)
{
    for (const unsigned char *s = p, *end = s + n; s < end; s++)
        h = (h ^ *s) * UINT64_C(0x100000001b3); /* FNV-1a */
    return h;
}

static void digest(struct device *d, const struct model *m, int32_t n, int32_t prompt)
{
    struct err e = {0};
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    size_t bytes = (size_t)m->plan.slot_floats * sizeof(float);
    float *state = mem_array(1, bytes + 1);
    const float *row;
    must(state ? 0 : err_set(&e, E_NOMEM, "no memory for a state"), &e);
    for (int32_t q = 0; q < n; q++)
        must(d->backend->slot_zero(d, q, &e), &e);
    for (int i = 0; i < 7; i++) { /* last some tokens of a few */
        int32_t per = i < 2 ? prompt / 2 : i < 6 ? 1 : 5, seqs = i < 2 ? 1 : i < 6 ? n : MIN(n, 3);
        step(d, seqs, per, i < 2 ? i * per : prompt + i);
        for (int32_t q = 0; q < seqs; q++) {
            must(d->backend->logits(d, q, &row, &e), &e);
            h = hash(h, row, (size_t)m->plan.vocab * sizeof *row);
        }
    }
    must(d->backend->slot_read(d, 0, state, &e), &e);
    printf("digest of logits %016llx, of a state %016llx\n", (unsigned long long)h,
           (unsigned long long)hash(h, state, bytes));
    mem_free(state);
}

/* Prompts of n tokens in steps of at most `most`. */
static void time_prompts(struct device *d, int32_t prompts, int32_t n, int32_t most)
{
    struct err e = {0};
    int32_t per = MIN(MAX(most / prompts, 1), n);
    for (int i = 0; i < 2; i++) { /* the second time counts */
        for (int32_t q = 0; q < prompts; q++)
            must(d->backend->slot_zero(d, q, &e), &e);
        uint64_t start = clock_now_ns();
        for (int32_t pos = 0; pos < n; pos += per)
            step(d, prompts, MIN(per, n - pos), pos);
        double t = (double)(clock_now_ns() - start) / 1e9;
        if (!i)
            continue;
        printf("%d x prompt of %d tokens, %d a step: %.3f ms, %.0f tokens/s\n", prompts, n,
               prompts * per, t * 1e3, (double)prompts * n / t);
    }
    if (getenv("RECURD_OCL_PROFILE"))
        d->backend->profile(d, NULL);
}

/* What is run, and the capacity for it. */
struct wish {
    int32_t streams[16], n_streams, most; /* most: of streams, or prompts */
    int32_t prompt, prompts, step, mixed;
    bool digests;
};

static void parse(struct wish *w, int argc, char **argv)
{
    *w = (struct wish){.most = 1, .prompt = 512, .prompts = 1, .step = 8192};
    struct { const char *name; int32_t *to, least, most; } numbers[] = {
        {"--prompt", &w->prompt, 2, PROMPT_MAX}, {"--prompts", &w->prompts, 1, STREAMS_MAX},
        {"--step", &w->step, 1, PROMPT_MAX}, {"--mixed", &w->mixed, 1, PROMPT_MAX},
    };
    for (int i = 3; i < argc; i++) {
        long n = strtol(argv[i], NULL, 10); /* anything but a number is 0, and skipped */
        for (size_t k = 0; k < ARRAY_LEN(numbers) && i + 1 < argc; k++)
            if (!strcmp(argv[i], numbers[k].name)) {
                long v = strtol(argv[++i], NULL, 10);
                *numbers[k].to = (int32_t)MAX(numbers[k].least, MIN(v, numbers[k].most));
                n = 0;
                break;
            }
        if (!strcmp(argv[i], "--digest"))
            w->digests = true;
        else if (n >= 1 && n <= STREAMS_MAX && w->n_streams < (int)ARRAY_LEN(w->streams))
            w->streams[w->n_streams++] = (int32_t)n;
    }
    for (int32_t i = 0; i < w->n_streams; i++)
        w->most = MAX(w->most, w->streams[i]);
    w->most = MAX(w->most + (w->mixed > 0), w->prompts);
}

/* Tables of pages: of all positions for sequences with prompts, or digests; of one page for others,
 * whose few tokens are in the first. */
static void make_pages(const struct wish *w, const struct model *m, struct capacity *cap)
{
    int32_t steps = (WARM + STEPS) * w->mixed;
    int32_t positions = MAX(w->prompt, steps) + PAGE_TOKENS; /* a digest goes on for some tokens */
    if (!m->plan.page_token_floats)
        return;
    pages_per_seq = (positions + PAGE_TOKENS - 1) / PAGE_TOKENS;
    pages = mem_array((size_t)w->most, (size_t)pages_per_seq * sizeof *pages);
    if (!pages) {
        fprintf(stderr, "oclsteps: no memory for %d tables of pages\n", w->most);
        exit(1);
    }
    for (int32_t q = 0; q < w->most; q++) {
        bool prompt = w->digests || w->mixed || q < w->prompts; /* of some streams more has one */
        int32_t own = prompt ? pages_per_seq : 1;
        for (int32_t i = 0; i < pages_per_seq; i++)
            pages[q * pages_per_seq + i] = i < own ? cap->pages++ : -1;
    }
    cap->pages_per_seq = pages_per_seq;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    struct model *m;
    struct device *d;
    struct wish w;
    if (argc < 3)
        return fprintf(stderr, "usage: oclsteps MODEL_DIR DEVICE [--prompt N] [--prompts N] "
                       "[--step N] [--mixed N] [--digest] [streams ...]\n"), 2;
    parse(&w, argc, argv);
    struct model_options mo = {.dir = argv[1], .dummy = true, .dummy_seed = 1};
    struct device_options dopt = {.spec = argv[2], .cache_dir = getenv("RECURD_OCL_CACHE")};
    int64_t all = MIN((int64_t)w.prompts * w.prompt, w.step);
    all = MAX(all, w.most + w.mixed);
    struct capacity cap = {(int32_t)MAX(all, w.digests ? w.prompt : 1), w.most,
                           w.most, w.most, 0, 0};
    uint64_t start = clock_now_ns();
    must(model_open(&m, &mo, &e), &e);
    make_pages(&w, m, &cap);
    must(device_open(&d, &dopt, &e), &e);
    must(model_load(m, d, &cap, &e), &e);
    printf("%s on %s: %.2f GB of weights, %.2f GB held, states of %.1f MB, ready in %.1f s\n",
           m->name, d->description, (double)m->weight_bytes / 1e9,
           (double)d->backend->memory(d) / 1e9, (double)m->plan.slot_floats * 4e-6,
           (double)(clock_now_ns() - start) / 1e9);
    fflush(stdout);
    for (int32_t i = 0; i < w.n_streams; i++)
        for (int32_t mixed = 0; mixed <= w.mixed; mixed += MAX(w.mixed, 1))
            time_streams(d, m, w.streams[i], mixed);
    time_prompts(d, w.prompts, w.prompt, w.step);
    if (w.digests)
        digest(d, m, w.most - (w.mixed > 0), w.prompt);
    d->backend->close(d);
    model_close(m);
    mem_free(pages);
    return 0;
}
