/* oclgroups: products of one phase in one launch against separate ones, bit for bit.
 *
 *   oclgroups [--device NAME] [--cache DIR] [--groups N] [--rows N] [--small]
 *             [--tune "key=value ..."] ...
 *
 * N groups (8) of 1 to 8 products each, of random shapes, with and without bias, residual (in
 * place, too) and activation; some read the same rows. Each is made by steps of up to --rows (1000)
 * rows: as the first --tune says ("" = as the device is tuned), but by separate launches without
 * wgmma; then as each --tune says. --small: at most 300 inputs and outputs. Says ok or FAIL, with
 * the launches of the largest step. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "kernels/opencl/queue.h"

#define MEMBERS 8
#define WAYS 16
#define POOL 65537 /* numbers that all others are taken from */
#define SEPARATE "wgmma=0 bundle=0"

static struct ocl_device device;
static struct act acts[3 * MEMBERS];
static struct weight weights[2 * MEMBERS];
static struct op ops[MEMBERS];
static struct plan plan = {.ops = ops, .acts = acts, .weights = weights, .logits = {-1, 0, 0}};
static struct capacity cap;
static struct ocl_model model;
static float pool[POOL];
static int32_t most_rows = 1000;
static bool small;

static void must(int rc, const struct err *e)
{
    if (!rc)
        return;
    fprintf(stderr, "oclgroups: %s\n", e->text);
    exit(1);
}

static void *need(size_t n, size_t each)
{
    void *p = mem_array(n, each);
    if (p)
        return p;
    fprintf(stderr, "oclgroups: no memory for %zu numbers\n", n);
    exit(1);
}

/* Numbers of many sizes, or sums would hide their order. */
static void fill_pool(void)
{
    struct rng r = {.seed = 5};
    for (int i = 0; i < POOL; i++) {
        pool[i] = (float)(rng_unit(&r) - 0.5);
        for (uint64_t n = rng_below(&r, 6); n; n--)
            pool[i] *= 0.25f;
    }
}

static int32_t new_act(int32_t width)
{
    int32_t i = plan.n_acts++, stride = (int32_t)round_up((size_t)width, 16);
    int64_t at = i ? acts[i - 1].offset + (int64_t)acts[i - 1].stride * cap.tokens : 0;
    acts[i] = (struct act){ROWS_TOKENS, width, stride, at, 0, MEMBERS};
    return i;
}

static int32_t new_weight(enum weight_role role, enum dtype t, int32_t rows, int32_t cols)
{
    weights[plan.n_weights] = (struct weight){role, t, rows, cols};
    return plan.n_weights++;
}

static void new_product(struct rng *r)
{
    static const int32_t outputs[] = {33, 64, 96, 160, 256, 300, 1000, 2048, 4100, 8192};
    static const int32_t inputs[] = {64, 96, 200, 300, 512, 1024, 2048, 2560};
    static const enum activation acted[] = {ACT_NONE, ACT_NONE, ACT_RELU, ACT_SQRELU, ACT_TANH,
                                            ACT_SIGMOID};
    int32_t n = plan.n_ops++, in = inputs[rng_below(r, small ? 4 : 8)];
    int32_t out = outputs[rng_below(r, small ? 6 : 10)];
    uint64_t what = rng_below(r, 16);
    struct op *op = &ops[n];
    *op = (struct op){.kind = OP_LINEAR, .section = -1};
    for (size_t i = 0; i < ARRAY_LEN(op->in); i++)
        op->in[i] = VIEW_NONE;
    for (size_t i = 0; i < ARRAY_LEN(op->w); i++)
        op->w[i] = -1;
    bool same = n && rng_below(r, 3) == 0; /* rows of the product before */
    op->in[LINEAR_x] = same ? ops[n - 1].in[LINEAR_x] : (struct view){new_act(in), 0, in};
    op->out = (struct view){new_act(out), 0, out};
    if (what & 2)
        op->in[LINEAR_residual] = what & 4 ? op->out : (struct view){new_act(out), 0, out};
    op->w[LINEAR_matrix] =
        new_weight(WEIGHT_MATRIX, DTYPE_BF16, out, op->in[LINEAR_x].width);
    if (what & 1)
        op->w[LINEAR_bias] = new_weight(WEIGHT_VECTOR, DTYPE_F32, 1, out);
    op->p.linear.act = acted[rng_below(r, ARRAY_LEN(acted))];
}

#define CHUNK 256 /* rows of a weight at once */

static void put_weights(void)
{
    struct err e = {0};
    for (int32_t i = 0; i < plan.n_weights; i++) {
        const struct weight *x = &weights[i];
        float *some = need((size_t)x->cols * CHUNK, 4);
        for (int64_t k = 0; k < x->rows; k += CHUNK) {
            int64_t n = MIN(x->rows - k, (int64_t)CHUNK);
            for (int64_t c = 0; c < n * x->cols; c++)
                some[c] = pool[(k * x->cols + c + i * 101) % POOL];
            must(ocl_weights_put(&model, i, k, n, some, DTYPE_F32, &e), &e);
        }
        mem_free(some);
    }
}

/* A step of n rows from the same numbers; what products made to `to`, one after the other. Returns
 * its launches. */
static uint64_t step(const float *from, int32_t n, float *to)
{
    struct err e = {0};
    struct ocl_times t = {0};
    int32_t cu[2] = {0, n}, slot = 0, *tokens = need((size_t)n, 4);
    int64_t pos = 0;
    struct batch b = {.n_seqs = 1, .n_tokens = n, .tokens = tokens, .cu_seqlens = cu,
                      .slots = &slot, .pos = &pos};
    for (int32_t i = 0; i < plan.n_acts; i++)
        must(OCL(&e, "rows", clEnqueueWriteBuffer, device.queue, model.arena.mem, CL_TRUE,
                 (size_t)acts[i].offset * 4, (size_t)n * (size_t)acts[i].stride * 4,
                 from + i * 1009, 0, NULL, NULL), &e);
    must(ocl_queue_run(&model, &b, &t, &e), &e);
    for (int32_t k = 0; k < plan.n_ops; k++) {
        const struct act *x = &acts[ops[k].out.act];
        size_t floats = (size_t)n * (size_t)x->stride;
        must(OCL(&e, "results", clEnqueueReadBuffer, device.queue, model.arena.mem, CL_TRUE,
                 (size_t)x->offset * 4, floats * 4, to, 0, NULL, NULL), &e);
        to += floats;
    }
    mem_free(tokens);
    return t.launches;
}

/* What a step of n rows leaves. */
static size_t out_floats(int32_t n)
{
    size_t floats = 0;
    for (int32_t k = 0; k < plan.n_ops; k++)
        floats += (size_t)n * (size_t)acts[ops[k].out.act].stride;
    return floats;
}

static const int32_t sizes[] = {1,   20,  33,  64,  65,  100, 128, 129,
                                177, 192, 193, 256, 300, 513, 1000};

/* Numbers of n rows that differ, of those that products wrote. */
static int64_t compare(const float *a, const float *b, int32_t n, const char *way)
{
    int64_t wrong = 0;
    for (int32_t k = 0; k < plan.n_ops; k++) {
        const struct act *x = &acts[ops[k].out.act];
        for (int32_t r = 0; r < n; r++)
            for (int32_t o = 0; o < x->width; o++) {
                size_t at = (size_t)r * (size_t)x->stride + (size_t)o;
                if (memcmp(a + at, b + at, 4) && !wrong++)
                    printf("FAIL \"%s\": %d rows: product %d of %d (%d x %d): row %d output %d is "
                           "%.9g, expected %.9g\n", way, n, k, plan.n_ops, x->width,
                           ops[k].in[0].width, r, o, (double)a[at], (double)b[at]);
            }
        a += (size_t)n * (size_t)x->stride;
        b += (size_t)n * (size_t)x->stride;
    }
    return wrong;
}

/* All steps of the group one way; the first time results are kept in want. */
static bool run_way(const char *way, bool first, const float *from, float *got, float **want)
{
    struct err e = {0};
    struct ocl_tune tuned = device.tune;
    int64_t wrong = 0;
    uint64_t launches = 0;
    must(ocl_tune_parse(&device.tune, way, &e), &e);
    must(ocl_tune_parse(&device.tune, first ? SEPARATE : "", &e), &e);
    must(ocl_model_init(&model, &device, &plan, &cap, &e), &e);
    put_weights();
    for (size_t i = 0; i < ARRAY_LEN(sizes) && sizes[i] <= most_rows; i++) {
        launches = step(from, sizes[i], first ? want[i] : got);
        if (!first)
            wrong += compare(got, want[i], sizes[i], way);
    }
    bool off = plan.n_ops > 1 && device.tune.bundle && !model.n_merges; /* nothing is merged */
    for (int32_t k = 0; k < model.n_merges; k++)
        off = off || model.merges[k].off;
    printf("%s %d products, \"%s\"%s%s: %llu launches in the last step, %lld numbers differ%s\n",
           wrong || off ? "FAIL" : "ok  ", plan.n_ops, way,
           first ? ", separate" : "", first || device.tune.wgmma ? "" : " (no wgmma)",
           (unsigned long long)launches, (long long)wrong,
           off ? ", a merge is off, or there is none" : "");
    fflush(stdout);
    ocl_model_free(&model);
    device.tune = tuned;
    return !wrong && !off;
}

static bool run_group(int members, uint64_t seed, const char *const *ways, int n_ways)
{
    struct rng r = {.seed = seed};
    float *want[ARRAY_LEN(sizes)];
    bool ok = true;
    plan.n_ops = plan.n_acts = plan.n_weights = 0;
    cap = (struct capacity){most_rows, 1, 1, 1, 0, 0};
    for (int k = 0; k < members; k++)
        new_product(&r);
    size_t widest = 0, n;
    for (int32_t i = 0; i < plan.n_acts; i++)
        widest = MAX(widest, (size_t)acts[i].stride);
    n = widest * (size_t)most_rows + 1009 * 3 * MEMBERS;
    float *from = need(n, 4), *got = need(out_floats(most_rows), 4);
    for (size_t i = 0; i < n; i++)
        from[i] = pool[(i * 31 + seed) % POOL];
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        want[i] = sizes[i] <= most_rows ? need(out_floats(sizes[i]), 4) : NULL;
    ok = run_way(ways[0], true, from, got, want);
    for (int i = 0; i < n_ways; i++)
        ok = run_way(ways[i], false, from, got, want) && ok;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        mem_free(want[i]);
    mem_free(from);
    mem_free(got);
    return ok;
}

int main(int argc, char **argv)
{
    static const char *const usual[] = {"", "bundle=0", "split=0", "tile=32", "tile=192"};
    const char *name = NULL, *cache = NULL, *ways[WAYS];
    int groups = 8, n = 0;
    bool ok = true;
    struct err e = {0};
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(a, "--small")) {
            small = true;
            continue;
        }
        if (!strcmp(a, "--device")) name = strncmp(v, "opencl:", 7) ? v : v + 7;
        else if (!strcmp(a, "--cache")) cache = v;
        else if (!strcmp(a, "--groups")) groups = (int)strtol(v, NULL, 10);
        else if (!strcmp(a, "--rows")) most_rows = MAX((int32_t)strtol(v, NULL, 10), 1);
        else if (!strcmp(a, "--tune") && n < WAYS) ways[n++] = v;
        else return fprintf(stderr, "oclgroups: %s %s is not understood\n", a, v), 2;
        i++;
    }
    if (!n)
        memcpy(ways, usual, sizeof usual), n = (int)ARRAY_LEN(usual);
    must(ocl_device_open(&device, name, cache, &e), &e);
    device.tune.persistent = 0; /* of few rows, and long to compile */
    fill_pool();
    for (int g = 0; g < groups; g++)
        ok = run_group(MEMBERS - g % MEMBERS, (uint64_t)g + 1, ways, n) && ok;
    ocl_device_close(&device);
    printf("%s\n", ok ? "all passed" : "FAILED");
    return !ok;
}
