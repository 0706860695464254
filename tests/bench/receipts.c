/* receipts: what the engine's turn takes beside the device, with and without receipts.
 *
 *   receipts [STREAMS [VOCAB [TURNS]]]    (16, 65,536, 400)
 *
 * The device computes nothing and gives the same rows of logits for ever; so a turn is what the
 * engine does for its streams. Medians and, because machines are shared, the least. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "scheduler/sched_int.h"

#define TURNS_MOST 4000

static float *rows;
static int32_t vocab = 65536, n_streams = 16;
static int turns = 400;

static int no_run(struct device *d, const struct batch *b, struct err *e)
{
    (void)d, (void)b, (void)e;
    return 0;
}

static int no_sample(struct device *d, const struct sample_row *ask, int32_t n,
                     struct sample_result *out, struct err *e)
{
    (void)d, (void)ask, (void)e;
    for (int32_t i = 0; i < n; i++)
        out[i] = (struct sample_result){.id = i};
    return 0;
}

static int the_logits(struct device *d, int32_t i, const float **out, struct err *e)
{
    (void)d, (void)e;
    *out = rows + (size_t)i * (size_t)vocab;
    return 0;
}

static int no_zero(struct device *d, int32_t slot, struct err *e)
{
    (void)d, (void)slot, (void)e;
    return 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct request *stream(bool receipt)
{
    struct request *r = request_new();
    r->prompt = mem_array(1, sizeof *r->prompt);
    r->n_prompt = 1;
    r->max_tokens = turns + 2;
    r->ignore_eos = true;
    r->wants_receipt = receipt;
    return r;
}

static void read_all(struct request *r)
{
    struct token_event ev;
    pthread_mutex_lock(&r->lock);
    while (ring_pop(&r->events, &ev))
        ;
    pthread_mutex_unlock(&r->lock);
}

static void measure(bool receipt)
{
    static const struct backend none = {.name = "none", .run = no_run, .sample = no_sample,
                                        .logits = the_logits, .slot_zero = no_zero};
    static double us[TURNS_MOST];
    struct receipt_origin origin = {.build = "-", .numerics = "none/1", .vocab = vocab};
    struct sched_options o = {.slots = n_streams, .queue = n_streams, .step_tokens = n_streams,
                              .logit_rows = n_streams, .origin = &origin};
    struct device d = {.backend = &none};
    struct model m = {.plan = {.vocab = vocab, .slot_floats = 1}};
    struct piece_source pieces = {0};
    struct sched *s;
    struct err e = {0};
    struct request *r[256];
    if (sched_init(&s, &m, &d, &pieces, NULL, &o, &e))
        exit(1);
    for (int32_t i = 0; i < n_streams; i++)
        if (sched_submit(s, r[i] = stream(receipt), &e))
            exit(1);
    (void)sched_turn(s);
    for (int i = 0; i < turns; i++) {
        uint64_t from = clock_now_ns();
        (void)sched_turn(s);
        us[i] = (double)(clock_now_ns() - from) * 1e-3;
        for (int32_t k = 0; k < n_streams; k++)
            read_all(r[k]);
        usleep(2000); /* the device's time: digests are made meanwhile */
    }
    sched_close(s);
    for (int32_t i = 0; i < n_streams; i++)
        request_unref(r[i]);
    qsort(us, (size_t)turns, sizeof *us, by_value);
    printf("%s receipts: a turn of %d streams takes %.1f us at the median, %.1f at least; a row "
           "%.2f and %.2f\n", receipt ? "with" : "without", (int)n_streams, us[turns / 2], us[0],
           us[turns / 2] / n_streams, us[0] / n_streams);
}

int main(int argc, char **argv)
{
    n_streams = argc > 1 ? (int32_t)strtol(argv[1], NULL, 10) : n_streams;
    vocab = argc > 2 ? (int32_t)strtol(argv[2], NULL, 10) : vocab;
    turns = argc > 3 ? (int)strtol(argv[3], NULL, 10) : turns;
    if (n_streams < 1 || n_streams > 256 || vocab < 2 || turns < 1 || turns > TURNS_MOST)
        return 2;
    rows = mem_array((size_t)n_streams * (size_t)vocab, sizeof *rows);
    if (!rows)
        return 1;
    for (size_t i = 0; i < (size_t)n_streams * (size_t)vocab; i++)
        rows[i] = (float)(i % 9973) / 97;
    for (int round = 0; round < 2; round++) {
        measure(false);
        measure(true);
    }
    mem_free(rows);
    return 0;
}
