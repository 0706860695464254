/* Steps of the cpu backend on three threads, with a profile, for the thread sanitizer: ops of one
 * stage that all threads share, small ones that go round among them, states, draws. By the kernels
 * of ref/ alone: how threads meet is the pool's, the stages' and the backend's. A plain program.
 *
 * Usage: race_steps [steps]. Exit 1 if a result is another than one thread's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kernels/backend.h"

#define VOCAB 37
#define WIDTH 64
#define SMALL 7    /* products that one thread does */
#define SMALL_WIDTH 16
#define LARGE 256  /* outputs of one that all share */
#define SEQS 3
#define TOKENS 4   /* at most, of each */

#define CHECK(x) ((x) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), abort()))

/* x = embedding; every product and a shift of x, which make one stage; logits of the large one. */
enum { EMBED, SHIFT, PRODUCTS, LAST_PRODUCT = PRODUCTS + SMALL, GATHER, LOGITS, OPS };
enum { TABLE, MATRICES, HEAD = MATRICES + SMALL + 1, WEIGHTS };

static struct act acts[OPS]; /* each op has one */
static struct weight weights[WEIGHTS];
static struct op ops[OPS];
static struct section section = {"shift", SECTION_FIXED, WIDTH, 0, DTYPE_F32};
static const struct capacity capacity = {SEQS * TOKENS, SEQS, SEQS, SEQS, 1, 1};

static struct view whole(int op) { return (struct view){op, 0, acts[op].width}; }

static int width_of(int op)
{
    return op <= SHIFT ? WIDTH : op < LAST_PRODUCT ? SMALL_WIDTH : op < LOGITS ? LARGE : VOCAB;
}

static struct plan make_plan(void)
{
    for (int i = 0; i < OPS; i++) {
        int width = width_of(i);
        acts[i] = (struct act){i < GATHER ? ROWS_TOKENS : ROWS_LOGITS, width,
                               (int)round_up((size_t)width, 16), 0, i, OPS - 1};
        ops[i] = (struct op){.rows = acts[i].rows, .out = whole(i), .section = -1, .w = {-1, -1}};
        for (size_t k = 0; k < ARRAY_LEN(ops[i].in); k++)
            ops[i].in[k] = VIEW_NONE;
    }
    for (int w = 0; w < WEIGHTS; w++)
        weights[w] = (struct weight){WEIGHT_MATRIX, w % 2 ? DTYPE_F32 : DTYPE_BF16, VOCAB, WIDTH};
    ops[EMBED].kind = OP_EMBED;
    ops[EMBED].w[0] = TABLE;
    ops[EMBED].p.embed.scale = 1;
    ops[SHIFT].kind = OP_SHIFT;
    ops[SHIFT].section = 0;
    ops[SHIFT].in[0] = whole(EMBED);
    for (int i = PRODUCTS; i <= LAST_PRODUCT; i++) {
        ops[i].kind = OP_LINEAR;
        ops[i].in[0] = whole(EMBED);
        ops[i].w[0] = MATRICES + i - PRODUCTS;
        weights[ops[i].w[0]].rows = acts[i].width;
    }
    ops[GATHER].kind = OP_GATHER;
    ops[GATHER].in[0] = whole(LAST_PRODUCT);
    ops[LOGITS].kind = OP_LINEAR;
    ops[LOGITS].in[0] = whole(GATHER);
    ops[LOGITS].w[0] = HEAD;
    weights[HEAD].cols = LARGE;
    struct plan p = {ops, OPS, acts, OPS, weights, WEIGHTS, &section, 1, WIDTH, 0, VOCAB, WIDTH,
                     whole(LOGITS)};
    CHECK(plan_layout(&p, &capacity) > 0);
    return p;
}

static struct device *open_device(const struct plan *p, int threads)
{
    struct device *d;
    struct err e = {0};
    struct rng r = {.seed = 5};
    const struct device_options o = {.spec = "cpu", .threads = threads, .profile = true};
    CHECK(backend_cpu.open(&d, &o, &e) == 0);
    CHECK(d->backend->load(d, p, &capacity, &e) == 0);
    for (int w = 0; w < WEIGHTS; w++)
        for (int row = 0; row < weights[w].rows; row++) {
            float x[LARGE];
            for (int c = 0; c < weights[w].cols; c++)
                x[c] = rng_normal(&r);
            CHECK(d->backend->put_weight(d, w, row, 1, x, DTYPE_F32, &e) == 0);
        }
    CHECK(d->backend->ready(d, &e) == 0);
    return d;
}

/* What is looked at after a step. */
struct seen {
    float logits[SEQS][VOCAB], states[SEQS][WIDTH], small[SMALL][SEQS * TOKENS * SMALL_WIDTH];
    int32_t drawn[SEQS];
};

static void step(struct device *d, const struct batch *b, struct seen *out)
{
    struct err e = {0};
    struct sample_row rows[SEQS];
    struct sample_result drawn[SEQS];
    memset(out, 0, sizeof *out);
    CHECK(d->backend->run(d, b, &e) == 0);
    for (int i = 0; i < b->n_logits; i++) {
        const float *row;
        CHECK(d->backend->logits(d, i, &row, &e) == 0);
        memcpy(out->logits[i], row, sizeof out->logits[i]);
        rows[i] = (struct sample_row){.logits = i, .draw = true, .scale = 1, .top_p = SAMPLE_ALL,
                                      .uniform = UINT64_C(9) << (50 + i)};
    }
    CHECK(d->backend->sample(d, rows, b->n_logits, drawn, &e) == 0);
    for (int i = 0; i < b->n_logits; i++)
        out->drawn[i] = drawn[i].id;
    for (int i = 0; i < SEQS; i++)
        CHECK(d->backend->slot_read(d, i, out->states[i], &e) == 0);
    for (int i = 0; i < SMALL; i++)
        CHECK(d->backend->rows_read(d, PRODUCTS + i, b->n_tokens, out->small[i], &e) == 0);
}

int main(int argc, char **argv)
{
    long steps = argc > 1 ? strtol(argv[1], NULL, 10) : 300;
    struct rng r = {.seed = 1};
    struct plan p = make_plan();
    struct device *one = open_device(&p, 1), *three = open_device(&p, 3);
    static struct seen want, got;
    for (long i = 0; i < steps; i++) {
        int32_t tokens[SEQS * TOKENS], cu[SEQS + 1] = {0}, last[SEQS], slots[] = {2, 0, 1};
        int32_t pages[SEQS] = {0};
        int64_t pos[SEQS] = {i, i, i};
        int32_t n = 1 + (int32_t)rng_below(&r, SEQS);
        for (int32_t q = 0; q < n; q++) {
            cu[q + 1] = cu[q] + 1 + (int32_t)rng_below(&r, TOKENS);
            last[q] = cu[q + 1] - 1;
            for (int32_t t = cu[q]; t < cu[q + 1]; t++)
                tokens[t] = (int32_t)rng_below(&r, VOCAB);
        }
        struct batch b = {n, cu[n], n, tokens, cu, slots, pos, last, pages, 1, STEP_ALL};
        step(one, &b, &want);
        step(three, &b, &got);
        CHECK(memcmp(&want, &got, sizeof want) == 0);
    }
    three->backend->profile(three, NULL);
    three->backend->close(three);
    one->backend->close(one);
    printf("%ld steps on three threads as on one\n", steps);
    return 0;
}
