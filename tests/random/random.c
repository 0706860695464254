/* random: models of random weights, each against itself and against the definition.
 *
 *   random [--device NAME] DIR…
 *
 * Each DIR holds a config.json, which may be nonsense. A line a model: "refused SENTENCE"; "equal",
 * if the same tokens give the same bits in pieces of 1, 13 and 64, in one piece, on a second run
 * and among other sequences, and the device's logits are as near to ref's as float sums allow; or
 * "failed WHAT". Whatever is asked, this program must not crash: run.py runs it under sanitizers.
 */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "models/model.h"

#define TOKENS 71 /* more than a page, and no multiple of anything */
#define SEQS 3
/* Allowed distance from ref, in units of a row's largest logit. Errors of a random model grow from
 * layer to layer; a wrong column or head is off by 1. */
#define NEAR 2e-2
/* A model may be unstable in itself (a delta rule whose keys are not normed, say). Then ref with
 * its state shaken by SHAKE tells how far a rounding error goes; so many times that is allowed. */
#define SHAKE 1e-6f
#define SHAKEN_MORE 100

struct trial {
    struct model *m;
    struct device *d;
    struct capacity cap;
    int32_t ids[TOKENS];
};

static int trial_open(struct trial *t, const char *dir, const char *device, struct err *e)
{
    struct model_options mo = {.dir = dir, .dummy = true, .dummy_seed = 7};
    struct device_options o = {.spec = device, .threads = 2};
    *t = (struct trial){0};
    if (model_open(&t->m, &mo, e) < 0 || device_open(&t->d, &o, e) < 0)
        return e->code;
    int32_t per = t->m->plan.page_token_floats ? TOKENS / PAGE_TOKENS + 1 : 0;
    t->cap = (struct capacity){TOKENS * SEQS, TOKENS, SEQS, SEQS, per * SEQS, per};
    struct rng r = {11, 0};
    for (int i = 0; i < TOKENS; i++)
        t->ids[i] = (int32_t)(rng_next(&r) % (uint64_t)t->m->plan.vocab);
    return model_load(t->m, t->d, &t->cap, e);
}

static void trial_close(struct trial *t)
{
    if (t->d)
        t->d->backend->close(t->d);
    model_close(t->m);
}

/* Tokens [at, at + n) of the first `seqs` sequences in one step: ours is the last, the others'
 * tokens are ours turned. Logits of ours to out. */
static int step(struct trial *t, int seqs, int at, int n, float *out, struct err *e)
{
    int32_t tokens[TOKENS * SEQS], cu[SEQS + 1] = {0}, slots[SEQS], rows[TOKENS];
    int32_t pages[SEQS * (TOKENS / PAGE_TOKENS + 1)];
    int64_t pos[SEQS];
    for (int q = 0; q < seqs; q++) {
        slots[q] = q;
        pos[q] = at;
        for (int i = 0; i < n; i++)
            tokens[cu[q] + i] = t->ids[(at + i + (seqs - 1 - q)) % TOKENS];
        cu[q + 1] = cu[q] + n;
    }
    for (int i = 0; i < n; i++)
        rows[i] = cu[seqs - 1] + i;
    for (int32_t i = 0; i < t->cap.pages; i++)
        pages[i] = i;
    struct batch b = {seqs, cu[seqs], n, tokens, cu, slots, pos, rows, pages,
                      t->cap.pages_per_seq, STEP_ALL};
    int rc = t->d->backend->run(t->d, &b, e);
    for (int i = 0; i < n && !rc; i++) {
        const float *row;
        if (!(rc = t->d->backend->logits(t->d, i, &row, e)))
            memcpy(out + (size_t)(at + i) * (size_t)t->m->plan.vocab, row,
                   (size_t)t->m->plan.vocab * sizeof *row);
    }
    return rc;
}

static int run(struct trial *t, int seqs, int piece, float *out, struct err *e)
{
    int rc = 0;
    for (int s = 0; s < SEQS && !rc; s++)
        rc = t->d->backend->slot_zero(t->d, s, e);
    for (int at = 0; at < TOKENS && !rc; at += piece)
        rc = step(t, seqs, at, MIN(piece, TOKENS - at), out, e);
    return rc;
}

/* The first row in which a bit differs (a NaN is one whatever its bits), or -1. */
static int first_difference(const float *a, const float *b, int vocab)
{
    for (int i = 0; i < TOKENS * vocab; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) && !(isnan(a[i]) && isnan(b[i])))
            return i / vocab;
    return -1;
}

/* Distance of a row in units of its largest logit; infinite when only one is a number. */
static double row_distance(const float *a, const float *ref, int vocab)
{
    double worst = 0, largest = 1e-30;
    for (int c = 0; c < vocab; c++) {
        if (isfinite(a[c]) != isfinite(ref[c]))
            return INFINITY;
        if (!isfinite(a[c]))
            continue;
        worst = fmax(worst, fabs((double)a[c] - ref[c]));
        largest = fmax(largest, fabs((double)ref[c]));
    }
    return worst / largest;
}

/* Whether the plan makes choices, where the smallest difference may become a large one; after one
 * only rows before it can be compared. */
static bool chooses(const struct plan *p)
{
    for (int32_t i = 0; i < p->n_ops; i++) {
        const struct op *op = &p->ops[i];
        if (op->kind == OP_TOPK || op->kind == OP_NSA || op->kind == OP_MOBA ||
            op->kind == OP_INDEXER)
            return true;
        for (int32_t k = 0; op->kind == OP_EW && k < op->p.ew->n_code; k++)
            if (op->p.ew->code[k].op == EW_ROUND)
                return true;
    }
    return false;
}

static bool same_bits(struct trial *t, const float *want, float *got, struct err *e)
{
    static const struct { const char *name; int seqs, piece; } ways[] = {
        {"again", 1, TOKENS}, {"chunk 1", 1, 1}, {"chunk 13", 1, 13}, {"chunk 64", 1, 64},
        {"batch", SEQS, TOKENS}, {"batch of 7", SEQS, 7}};
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        if (run(t, ways[i].seqs, ways[i].piece, got, e) < 0) {
            printf("failed %s: %s\n", ways[i].name, e->text);
            return false;
        }
        int row = first_difference(want, got, t->m->plan.vocab);
        if (row >= 0) {
            printf("failed bits: %s differs from row %d on\n", ways[i].name, row);
            return false;
        }
    }
    return true;
}

/* ref again, whose state is shaken after one token. */
static int run_shaken(struct trial *t, float *out, struct err *e)
{
    int64_t n = t->m->plan.slot_floats;
    const struct backend *k = t->d->backend;
    float *state = mem_array((size_t)n + 1, sizeof *state);
    int rc = state ? k->slot_zero(t->d, 0, e) : err_set(e, E_NOMEM, "no memory");
    if (!rc && !(rc = step(t, 1, 0, 1, out, e)) && !(rc = k->slot_read(t->d, 0, state, e))) {
        for (int64_t i = 0; i < n; i++)
            state[i] *= i % 2 ? 1 + SHAKE : 1 - SHAKE;
        rc = k->slot_write(t->d, 0, state, e);
    }
    if (!rc)
        rc = step(t, 1, 1, TOKENS - 1, out, e);
    mem_free(state);
    return rc;
}

/* The first row further from ref than float sums allow, or TOKENS; worst: of those before. */
static int first_far(const float *got, const float *ref, int vocab, double *worst)
{
    *worst = 0;
    for (int i = 0; i < TOKENS; i++) {
        double x = row_distance(got + i * vocab, ref + i * vocab, vocab);
        if (!(x <= NEAR))
            return i;
        *worst = fmax(*worst, x);
    }
    return TOKENS;
}

/* Row by row, as near as the model's own stability allows. */
static bool near_shaken(const float *got, const float *ref, const float *shaken, int vocab)
{
    double shake = 0;
    for (int i = 0; i < TOKENS; i++) {
        double x = row_distance(got + i * vocab, ref + i * vocab, vocab);
        shake = fmax(shake, row_distance(shaken + i * vocab, ref + i * vocab, vocab));
        if (!(x <= NEAR || x <= SHAKEN_MORE * shake)) {
            printf("failed near: row %d is off by %.2g of its largest logit (shaken: %.2g)\n", i,
                   x, shake);
            return false;
        }
    }
    printf("equal unstable %.2g\n", shake);
    return true;
}

/* ref's logits go to ref_out, those of the shaken one (if it comes to that) to spare. */
static bool near_ref(struct trial *t, const char *dir, const float *got, float *ref_out,
                     float *spare, struct err *e)
{
    struct trial ref = {0};
    int vocab = t->m->plan.vocab, far = 0;
    double worst = 0;
    bool ok = trial_open(&ref, dir, "ref", e) == 0 && run(&ref, 1, TOKENS, ref_out, e) == 0;
    if (ok)
        far = first_far(got, ref_out, vocab, &worst);
    /* After another choice, what follows has another past. */
    bool done = far == TOKENS || (far > 0 && chooses(&t->m->plan));
    if (ok && done)
        printf("equal %.2g\n", worst);
    else if (ok && (ok = run_shaken(&ref, spare, e) == 0))
        ok = near_shaken(got, ref_out, spare, vocab);
    if (e->code)
        printf("failed ref: %s\n", e->text);
    trial_close(&ref);
    return ok;
}

static bool check(const char *dir, const char *device)
{
    struct trial t;
    struct err e = {0};
    bool ok = true;
    printf("%s ", dir);
    fflush(stdout);
    if (trial_open(&t, dir, device, &e) < 0) {
        printf("%s %s\n", e.code == E_DEVICE ? "failed device:" : "refused", e.text);
        trial_close(&t);
        return e.code != E_DEVICE && e.text[0];
    }
    size_t n = (size_t)TOKENS * (size_t)t.m->plan.vocab;
    float *want = mem_array(n, sizeof *want), *got = mem_array(n, sizeof *got);
    float *spare = mem_array(n, sizeof *spare);
    if (!want || !got || !spare || run(&t, 1, TOKENS, want, &e) < 0) {
        printf("failed run: %s\n", e.text);
        ok = false;
    }
    ok = ok && same_bits(&t, want, got, &e) && near_ref(&t, dir, want, got, spare, &e);
    mem_free(spare);
    mem_free(want);
    mem_free(got);
    trial_close(&t);
    fflush(stdout);
    return ok;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"device", 1, 0, 'd'}, {0, 0, 0, 0}};
    const char *device = "cpu";
    int failures = 0;
    log_set_level(LOG_ERROR); /* hardly a model here has a tokenizer */
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c != 'd') {
            fprintf(stderr, "usage: random [--device NAME] DIR…\n");
            return 2;
        }
        device = optarg;
    }
    for (int i = optind; i < argc; i++)
        failures += !check(argv[i], device);
    return failures != 0;
}
