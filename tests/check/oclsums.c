/* oclsums: products whose slices are made apart, and the norms of their rows in one launch with the
 * sums (kernels/opencl/sumnorm.c), against separate launches: all activations bit for bit, on small
 * plans of two such pairs, that there are fewer launches, and that the proof at start sees what is
 * wrong with one. Where the device has no wgmma it is modelled (oclwgmma.h).
 *
 *   oclsums DEVICE [rows ...]
 *
 * rows: of the steps (33 40 200 300), first of one sequence, then one a sequence. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOOL "oclsums"
#include "tests/check/tool.h"
#include "tests/check/oclwgmma.h"

#include "base/rng.h"
#include "kernels/opencl/bundle.h"
#include "kernels/opencl/queue.h"

#define ROWS_MOST OCL_MANY_ROWS

/* x -> product -> norm, whose rows a product reads -> that product -> norm, whose rows are the
 * result. */
enum { X, RESIDUAL, FIRST, PACKED, SECOND, RESULT, ACTS };
enum { MATRIX, BIAS, SCALE, SHIFT, MATRIX_2, BIAS_2, SCALE_2, SHIFT_2, WEIGHTS };
#define OPS 4
#define FUSED "nvidia/sum_norm" /* its source's name */

/* width, second: outputs of the two products. slices: at most. in_place: the second one's output is
 * what it adds to. act, other: of the two; with ACT_SILU in place the second one is no wgmma, and
 * its rows are packed for mma.sync. w: norms have weights and biases. fused: launches that are
 * gone; norms of less than 32 columns have no kernel for many rows. */
struct shape {
    int32_t inputs, width, second, slices, group;
    bool bias, residual, in_place;
    enum activation act, other;
    enum norm_kind norm;
    bool w, packs;
    int32_t fused;
};
static const struct shape shapes[] = {
    {200, 96, 96, 4, 32, false, true, true, ACT_NONE, ACT_NONE, NORM_RMS, true, true, 2},
    {90, 70, 33, 2, 64, true, false, false, ACT_SILU, ACT_SQRELU, NORM_LAYER, true, true, 2},
    {520, 45, 45, 16, 32, true, true, true, ACT_NONE, ACT_SILU, NORM_RMS, false, true, 1},
    {160, 600, 48, 5, 128, false, true, false, ACT_NONE, ACT_NONE, NORM_LAYER, true, true, 2},
    {64, 600, 600, 2, 128, true, true, true, ACT_TANH, ACT_SILU, NORM_RMS, true, true, 1},
    {96, 1100, 20, 3, 256, true, false, false, ACT_RELU, ACT_NONE, NORM_L2, true, false, 1},
    {300, 1024, 40, 8, 256, false, true, false, ACT_NONE, ACT_NONE, NORM_RMS, true, true, 2},
    {64, 515, 65, 2, 256, true, true, false, ACT_GELU_ERF, ACT_NONE, NORM_SUM, false, false, 2},
    /* As models have them; a model of their products would take minutes. */
    {8192, 2048, 2048, 8, 256, false, true, true, ACT_NONE, ACT_NONE, NORM_LAYER, true, true, 2},
    {9728, 2560, 2560, 8, 256, false, true, true, ACT_NONE, ACT_NONE, NORM_RMS, true, true, 2},
};
#define LARGE 2 /* of them */

static struct ocl_device device;
static struct act acts[ACTS];
static struct weight weights[WEIGHTS];
static struct op ops[OPS];
static struct plan plan = {.ops = ops, .n_ops = OPS, .acts = acts, .n_acts = ACTS,
                           .weights = weights, .n_weights = WEIGHTS, .logits = {-1, 0, 0}};
static struct capacity cap;

static void set_op(int at, enum op_kind kind, int in, int residual, int out, int w, int b)
{
    struct op *op = &ops[at];
    *op = (struct op){.kind = kind, .section = -1, .out = {out, 0, acts[out].width}};
    for (size_t i = 0; i < ARRAY_LEN(op->in); i++)
        op->in[i] = VIEW_NONE;
    op->in[0] = (struct view){in, 0, acts[in].width};
    if (residual >= 0)
        op->in[LINEAR_residual] = (struct view){residual, 0, acts[residual].width};
    op->w[0] = w;
    op->w[1] = b;
}

static void make_plan(const struct shape *s)
{
    static const int32_t lives[ACTS][2] = {{0, 0}, {0, 0}, {0, 3}, {1, 2}, {2, OPS}, {3, OPS}};
    const int32_t widths[ACTS] = {s->inputs, s->width, s->width, s->width, s->second, s->second};
    int second = s->in_place ? FIRST : SECOND;
    for (int i = 0; i < ACTS; i++)
        acts[i] = (struct act){ROWS_TOKENS, widths[i], (int32_t)round_up((size_t)widths[i], 16), 0,
                               lives[i][0], lives[i][1]};
    for (int i = 0; i < WEIGHTS; i++)
        weights[i] = (struct weight){WEIGHT_VECTOR, DTYPE_F32, 1,
                                     i < MATRIX_2 ? s->width : s->second};
    weights[MATRIX] = (struct weight){WEIGHT_MATRIX, DTYPE_BF16, s->width, s->inputs};
    weights[MATRIX_2] = (struct weight){WEIGHT_MATRIX, DTYPE_BF16, s->second, s->width};
    if (s->in_place)
        acts[SECOND].last = -1, acts[FIRST].last = OPS; /* one is not there */
    set_op(0, OP_LINEAR, X, s->residual ? RESIDUAL : -1, FIRST, MATRIX, s->bias ? BIAS : -1);
    set_op(1, OP_NORM, FIRST, -1, PACKED, s->w ? SCALE : -1, s->w ? SHIFT : -1);
    set_op(2, OP_LINEAR, PACKED, s->in_place ? FIRST : -1, second, MATRIX_2,
           s->bias ? BIAS_2 : -1);
    set_op(3, OP_NORM, second, -1, RESULT, s->w ? SCALE_2 : -1, s->w ? SHIFT_2 : -1);
    ops[0].p.linear.act = s->act;
    ops[2].p.linear.act = s->other;
    for (int i = 1; i < OPS; i += 2) {
        ops[i].p.norm.kind = s->norm;
        ops[i].p.norm.group = ops[i].out.width;
        ops[i].p.norm.eps = 1e-3f;
        ops[i].p.norm.scale = 1.5f;
    }
}

/* Numbers of many sizes, or sums would hide their order. */
static float draw(struct rng *r)
{
    float f = (float)(rng_unit(r) - 0.5);
    for (uint64_t n = rng_below(r, 6); n; n--)
        f *= 0.25f;
    return f;
}

static void fill_weights(struct ocl_model *m)
{
    struct rng r = {.seed = 5};
    struct err e = {0};
    for (int i = 0; i < WEIGHTS; i++) {
        float *row = need((size_t)weights[i].cols);
        for (int64_t k = 0; k < weights[i].rows; k++) {
            for (int64_t c = 0; c < weights[i].cols; c++)
                row[c] = draw(&r);
            must(ocl_weights_put(m, i, k, 1, row, DTYPE_F32, &e), &e);
        }
        mem_free(row);
    }
    must(OCL(&e, "the weights", clFinish, device.queue), &e);
    ocl_model_loaded(m);
}

static void put(struct ocl_model *m, int act, int32_t rows, uint64_t seed)
{
    const struct act *a = &m->plan->acts[act];
    size_t n = (size_t)rows * (size_t)a->stride;
    float *x = need(n);
    struct rng r = {.seed = seed};
    struct err e = {0};
    for (size_t i = 0; i < n; i++)
        x[i] = draw(&r);
    must(OCL(&e, "rows", clEnqueueWriteBuffer, device.queue, m->arena.mem, CL_TRUE,
             (size_t)a->offset * 4, n * 4, x, 0, NULL, NULL), &e);
    mem_free(x);
}

/* A step on the same numbers, and all activations after it. Returns its launches. */
static uint64_t run(struct ocl_model *m, int32_t rows, bool single, bool merged, float *out)
{
    static int32_t tokens[ROWS_MOST], cu[ROWS_MOST + 1], slots[ROWS_MOST];
    static int64_t pos[ROWS_MOST];
    struct ocl_times t = {0};
    struct err e = {0};
    int32_t seqs = single ? rows : 1;
    for (int32_t i = 0; i < seqs; i++) {
        cu[i + 1] = single ? i + 1 : rows;
        slots[i] = i;
    }
    struct batch b = {.n_seqs = seqs, .n_tokens = rows, .tokens = tokens, .cu_seqlens = cu,
                      .slots = slots, .pos = pos};
    must(ocl_fill_zero(&device, device.queue, m->arena.mem, 0, m->arena.bytes, "activations", &e),
         &e);
    put(m, X, rows, 7);
    put(m, RESIDUAL, rows, 8);
    m->unmerged = merged ? 0 : STEPS_EVERY;
    must(ocl_queue_run(m, &b, &t, &e), &e);
    must(OCL(&e, "results", clEnqueueReadBuffer, device.queue, m->arena.mem, CL_TRUE, 0,
             m->arena.bytes, out, 0, NULL, NULL), &e);
    return t.launches;
}

/* Whether the result is made of numbers, not all the same. */
static bool real(const struct ocl_model *m, const float *all)
{
    const float *x = all + m->plan->acts[RESULT].offset;
    return (x[0] < 0 || x[0] > 0) && (x[1] < 0 || x[1] > 0) && (x[0] < x[1] || x[0] > x[1]);
}

static void check_rows(struct ocl_model *m, const struct shape *s, int32_t rows, bool single)
{
    float *a = need(m->arena.bytes / 4), *b = need(m->arena.bytes / 4);
    uint64_t apart = run(m, rows, single, false, a), merged = run(m, rows, single, true, b);
    bool same = !memcmp(a, b, m->arena.bytes);
    /* Slices of larger results are never apart (CHAINS_MOST of lower/ways.c). */
    bool whole = (int64_t)rows * MAX(s->width, s->second) > 1 << 21;
    printf("%d -> %d, %d rows%s: %d launches, %d when merged, bits %s\n", s->inputs, s->width, rows,
           single ? ", one a sequence" : "", (int)apart, (int)merged, same ? "equal" : "DIFFER");
    if (!same)
        fail("bits");
    if (!real(m, a))
        fail("no numbers");
    if (merged + (whole ? 0 : (uint64_t)s->fused) != apart)
        fail("launches");
    mem_free(a);
    mem_free(b);
}

/* A launch of both that writes into other memory is noticed at start. */
static void spoil(struct ocl_model *m)
{
    const uint32_t many = cap.tokens > OCL_WIDE_ROWS ? 1u << STEPS_MANY : 0;
    const uint32_t kinds = 1u << STEPS_WIDE | 1u << STEPS_BROAD | many;
    struct ocl_buffer other;
    struct err e = {0};
    int32_t i = 0;
    must(ocl_buffer_new(&other, &device, m->arena.bytes, "other memory", &e), &e);
    while (i < m->n_launches && strcmp(m->instances[m->launches[i].instance].file, FUSED) != 0)
        i++;
    for (int back = 0; back < 2 && i < m->n_launches; back++) {
        cl_mem mem = back ? m->arena.mem : other.mem;
        must(OCL(&e, "a launch", clSetKernelArg, m->launches[i].kernel, 0, sizeof mem, &mem), &e);
        must(ocl_bundle_test(m, &e), &e);
        if (back ? m->unmerged != 0 : (m->unmerged & kinds) != kinds)
            fail(back ? "the proof at start" : "a spoiled launch");
    }
    if (i == m->n_launches)
        fail("no launch of a sum and a norm");
    ocl_buffer_free(&other, &device);
}

static void check(const struct shape *s, const int32_t *rows, int n)
{
    static struct ocl_model m;
    const struct ocl_tune own = device.tune;
    struct err e = {0};
    char words[128];
    snprintf(words, sizeof words, "mma=1 wgmma=1 split=2 many_rows=33 slice_min=32 slices=%d "
                                  "group=%d packs=%d persistent=0", s->slices, s->group, s->packs);
    must(ocl_tune_parse(&device.tune, words, &e), &e);
    make_plan(s);
    must(plan_layout(&plan, &cap) < 0 ? err_set(&e, E_NOMEM, "no memory for a layout") : 0, &e);
    must(ocl_model_init(&m, &device, &plan, &cap, &e), &e);
    fill_weights(&m);
    for (int i = 0; i < n; i++)
        for (int single = 0; single < 2; single++)
            check_rows(&m, s, rows[i], single);
    for (int32_t i = 0; i < m.n_merges; i++)
        if (m.merges[i].off)
            fail("a merge that is off");
    must(ocl_bundle_test(&m, &e), &e);
    if (m.unmerged)
        fail("the proof at start");
    if (s == shapes)
        spoil(&m);
    ocl_model_free(&m);
    device.tune = own;
}

int main(int argc, char **argv)
{
    int32_t rows[16] = {33, 40, 200, 300}, most = 0;
    int n = 4;
    struct err e = {0};
    if (argc < 2)
        return fprintf(stderr, "usage: oclsums DEVICE [rows ...]\n"), 2;
    for (int i = 2; i < argc && i < 18; i++)
        rows[i - 2] = (int32_t)strtol(argv[i], NULL, 10), n = i - 1;
    for (int i = 0; i < n; i++)
        most = MAX(most, rows[i]);
    if (most > ROWS_MOST || most <= OCL_BUNDLE_ROWS)
        return fprintf(stderr, "oclsums: steps of 33 to %d rows\n", ROWS_MOST), 2;
    cap = (struct capacity){.tokens = most, .logits = 1, .seqs = most, .slots = most};
    must(ocl_device_open(&device, strncmp(argv[1], "opencl:", 7) ? argv[1] : argv[1] + 7, NULL,
                         &e), &e);
    bool modelled = !device.tune.wgmma;
    if (modelled)
        wgmma_model(&device);
    for (size_t i = 0; i < ARRAY_LEN(shapes) - (modelled ? LARGE : 0); i++)
        check(&shapes[i], rows, n);
    ocl_device_close(&device);
    printf("%d failures\n", failures);
    return failures != 0;
}
