/* oclrows: a product's bits are the same for one row and for thousands, by mma.sync and by wgmma.
 *
 *   oclrows [--device NAME] [--cache DIR] [--shape OUTPUTSxINPUTSxROWS] [--what N] [--then N]
 *           [--tune "key=value ..."] ...
 *
 * Every --tune is a way to make the product ("" = as the device is tuned); each is run over all
 * rows, and over pieces of 1, 8, 13 … of them, and compared with the first way over all rows.
 * --what: bits 1 bias, 2 residual, 4 residual in place, 8 times an activation. --then: a product of
 * N outputs reads the first one's, which may come packed or as bare sums (packed.h); its bits
 * count. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "kernels/opencl/packed.h"
#include "kernels/opencl/queue.h"

#define WAYS 16

static struct ocl_device device;
static int outputs = 96, inputs = 200, rows = 150, what = 3, then;

static struct act acts[4];
static struct weight weights[3];
static struct op ops[2];
static struct plan plan = {.ops = ops, .n_ops = 1, .acts = acts, .n_acts = 3, .weights = weights,
                           .n_weights = 2, .logits = {-1, 0, 0}};
static struct view last; /* what is compared */
static struct capacity cap;
static struct ocl_model model;
static uint16_t *w, *w_then;
static float *bias, *x, *res, *first, *got;

static void must(int rc, const struct err *e)
{
    if (!rc)
        return;
    fprintf(stderr, "oclrows: %s\n", e->text);
    exit(1);
}

static void *need(size_t n, size_t each)
{
    void *p = mem_array(n, each);
    if (!p) {
        fprintf(stderr, "oclrows: no memory for %zu numbers\n", n);
        exit(1);
    }
    return p;
}

static void make_op(struct op *op, struct view in, struct view out, int matrix)
{
    *op = (struct op){.kind = OP_LINEAR, .section = -1, .out = out};
    for (size_t i = 0; i < ARRAY_LEN(op->in); i++)
        op->in[i] = VIEW_NONE;
    for (size_t i = 0; i < ARRAY_LEN(op->w); i++)
        op->w[i] = -1;
    op->in[LINEAR_x] = in;
    op->w[LINEAR_matrix] = matrix;
}

/* x, residual, out, what is made of that: rows of 16 floats each at least. */
static void make_plan(void)
{
    int widths[4] = {inputs, outputs, outputs, then};
    int64_t at = 0;
    for (int i = 0; i < 4; i++) {
        int32_t stride = (int32_t)round_up((size_t)widths[i], 16);
        acts[i] = (struct act){ROWS_TOKENS, widths[i], stride, at, 0, 0};
        at += (int64_t)rows * stride;
    }
    make_op(&ops[0], (struct view){0, 0, inputs}, (struct view){what & 4 ? 1 : 2, 0, outputs}, 0);
    if (what & 6)
        ops[0].in[LINEAR_residual] = (struct view){1, 0, outputs};
    if (what & 1)
        ops[0].w[LINEAR_bias] = 1;
    ops[0].p.linear.act = (enum activation)(what / 8);
    last = ops[0].out;
    if (then) {
        plan.n_ops = 2;
        plan.n_acts = 4;
        plan.n_weights = 3;
        make_op(&ops[1], ops[0].out, (struct view){3, 0, then}, 2);
        last = ops[1].out;
        weights[2] = (struct weight){WEIGHT_MATRIX, DTYPE_BF16, then, outputs};
    }
    weights[0] = (struct weight){WEIGHT_MATRIX, DTYPE_BF16, outputs, inputs};
    weights[1] = (struct weight){WEIGHT_VECTOR, DTYPE_F32, 1, outputs};
    cap = (struct capacity){rows, 1, 1, 1, 0, 0};
}

/* Numbers of many sizes, or sums would hide their order. */
static float draw(struct rng *r)
{
    float f = (float)(rng_unit(r) - 0.5);
    for (uint64_t n = rng_below(r, 6); n; n--)
        f *= 0.25f;
    return f;
}

static uint16_t *draw_weights(size_t n, struct rng *r)
{
    uint16_t *to = need(MAX(n, (size_t)1), 2);
    for (size_t i = 0; i < n; i++) {
        float f = draw(r);
        uint32_t u;
        memcpy(&u, &f, 4);
        to[i] = (uint16_t)(u >> 16);
    }
    return to;
}

static void fill(void)
{
    struct rng r = {.seed = 11};
    size_t results = (size_t)rows * (size_t)acts[last.act].stride;
    bias = need((size_t)outputs, 4);
    x = need((size_t)rows * (size_t)acts[0].stride, 4);
    res = need((size_t)rows * (size_t)acts[1].stride, 4);
    first = need(results, 4);
    got = need(results, 4);
    w = draw_weights((size_t)outputs * (size_t)inputs, &r);
    for (int i = 0; i < outputs; i++)
        bias[i] = draw(&r);
    for (size_t i = 0; i < (size_t)rows * (size_t)acts[0].stride; i++)
        x[i] = draw(&r);
    for (size_t i = 0; i < (size_t)rows * (size_t)acts[1].stride; i++)
        res[i] = draw(&r);
    w_then = draw_weights((size_t)outputs * (size_t)then, &r);
}

static void put(const float *from, int act, int row, int n)
{
    struct err e = {0};
    size_t each = (size_t)acts[act].stride * 4;
    must(OCL(&e, "rows", clEnqueueWriteBuffer, device.queue, model.arena.mem, CL_TRUE,
             (size_t)acts[act].offset * 4, (size_t)n * each,
             from + (size_t)row * (size_t)acts[act].stride, 0, NULL, NULL), &e);
}

/* Rows [row, row + n) as a step; their results to `to`. */
static void step(int row, int n, float *to)
{
    struct err e = {0};
    struct ocl_times t = {0};
    int32_t cu[2] = {0, n}, slot = 0;
    int32_t *tokens = need((size_t)n, 4);
    int64_t pos = 0;
    struct batch b = {.n_seqs = 1, .n_tokens = n, .tokens = tokens, .cu_seqlens = cu,
                      .slots = &slot, .pos = &pos};
    put(x, 0, row, n);
    put(res, 1, row, n);
    must(ocl_queue_run(&model, &b, &t, &e), &e);
    must(OCL(&e, "results", clEnqueueReadBuffer, device.queue, model.arena.mem, CL_TRUE,
             (size_t)acts[last.act].offset * 4, (size_t)n * (size_t)acts[last.act].stride * 4, to,
             0, NULL, NULL), &e);
    mem_free(tokens);
}

static int compare(const char *way, int row, int n)
{
    size_t stride = (size_t)acts[last.act].stride;
    int wrong = 0;
    for (int r = 0; r < n; r++)
        for (int o = 0; o < last.width; o++) {
            const float *a = &got[(size_t)r * stride + (size_t)o];
            const float *b = &first[(size_t)(row + r) * stride + (size_t)o];
            if (memcmp(a, b, 4) && !wrong++)
                printf("FAIL \"%s\": %d rows from %d: row %d output %d is %.9g, expected %.9g\n",
                       way, n, row, r, o, (double)*a, (double)*b);
        }
    return wrong;
}

static struct view last_x(void) { return ops[plan.n_ops - 1].in[LINEAR_x]; }

static int run_way(const char *way, bool is_first)
{
    static const int sizes[] = {1,  8,   13,  16,  31,  33,  40,  64,  65,
                                70, 100, 128, 129, 177, 193, 256, 512, 1000};
    struct err e = {0};
    struct ocl_tune tuned = device.tune;
    int64_t wrong = 0;
    int runs = 0;
    must(ocl_tune_parse(&device.tune, way, &e), &e);
    must(ocl_model_init(&model, &device, &plan, &cap, &e), &e);
    must(ocl_weights_put(&model, 0, 0, outputs, w, DTYPE_BF16, &e), &e);
    must(ocl_weights_put(&model, 1, 0, 1, bias, DTYPE_F32, &e), &e);
    if (then)
        must(ocl_weights_put(&model, 2, 0, then, w_then, DTYPE_BF16, &e), &e);
    const char *between = !then                          ? ""
                          : ocl_packed(&model, last_x()) ? ", packed between"
                          : ocl_bare(&model, last_x())   ? ", bare sums between"
                                                         : ", float32 between";
    step(0, rows, is_first ? first : got);
    if (!is_first)
        wrong += compare(way, 0, rows);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (int k = 0; k < 3 && sizes[i] <= rows; k++, runs++) {
            int row = (rows - sizes[i]) * k / 2;
            step(row, sizes[i], got);
            wrong += compare(way, row, sizes[i]);
        }
    ocl_model_free(&model);
    printf("%s %d x %d, %d rows, what %d, then %d, \"%s\"%s%s: %d steps, %lld numbers differ\n",
           wrong ? "FAIL" : "ok  ", outputs, inputs, rows, what, then, way, between,
           strstr(way, "wgmma=0") || device.tune.wgmma ? "" : " (no wgmma here)", runs,
           (long long)wrong);
    fflush(stdout);
    device.tune = tuned;
    return wrong != 0;
}

int main(int argc, char **argv)
{
    const char *name = NULL, *cache = NULL, *ways[WAYS];
    struct err e = {0};
    int n = 0, failed = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *a = argv[i], *v = argv[i + 1];
        if (!strcmp(a, "--device")) name = strncmp(v, "opencl:", 7) ? v : v + 7;
        else if (!strcmp(a, "--cache")) cache = v;
        else if (!strcmp(a, "--what")) what = (int)strtol(v, NULL, 10);
        else if (!strcmp(a, "--then")) then = (int)strtol(v, NULL, 10);
        else if (!strcmp(a, "--tune") && n < WAYS) ways[n++] = v;
        else if (strcmp(a, "--shape") || sscanf(v, "%dx%dx%d", &outputs, &inputs, &rows) != 3) {
            fprintf(stderr, "oclrows: %s %s is not understood\n", a, v);
            return 2;
        }
    }
    if (!n)
        ways[n++] = "";
    must(ocl_device_open(&device, name, cache, &e), &e);
    make_plan();
    fill();
    for (int i = 0; i < n; i++)
        failed |= run_way(ways[i], i == 0);
    ocl_device_close(&device);
    return failed;
}
