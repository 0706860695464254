/* oclbench: what the OpenCL kernels reach on this device, beside what it can copy.
 *
 *   oclbench [--device NAME] [--cache DIR] [--tune "key=value ..."] [--only TEXT] [--small]
 *            [--product OUTPUTSxINPUTSxROWS ...] [--residual] [--best]
 *
 * Each line is a plan of several equal ops run as one step; weights and inputs are random (zeros
 * run faster than data). --small: sizes for a CPU. --product: these bf16 products, and no other
 * line. A product's inputs alternate between two sets, so that each op prepares its own.
 * --residual: products are added to what was there. --best: the shortest of the times counts, not
 * the median, where others use the machine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/opencl/queue.h"

#define REPEAT 7 /* steps timed; the median counts */

static struct ocl_device device;
static double copy_gbs;
static bool residual; /* of products */
static bool best; /* the shortest time counts */
static const char *only = ""; /* lines whose name has this in it */

static void must(int rc, const struct err *e)
{
    if (!rc)
        return;
    fprintf(stderr, "oclbench: %s\n", e->text);
    exit(1);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- a plan of n equal ops ---- */

struct bench {
    struct plan plan;
    struct op ops[64];
    struct act acts[8];
    struct weight weights[2];
    struct section sections[1];
    struct capacity cap;
    int64_t pos; /* where every sequence begins */
    struct ocl_model m;
};

static struct view add_act(struct bench *b, int32_t width)
{
    int32_t i = b->plan.n_acts++, rows = b->cap.tokens;
    int32_t stride = (int32_t)round_up((size_t)width, 16);
    int64_t at = i ? b->acts[i - 1].offset + (int64_t)rows * b->acts[i - 1].stride : 0;
    b->acts[i] = (struct act){ROWS_TOKENS, width, stride, at, 0, 0};
    return (struct view){i, 0, width};
}

static void begin(struct bench *b, int32_t seqs, int32_t tokens)
{
    *b = (struct bench){.cap = {tokens, 1, seqs, seqs, 0, 0}};
    b->plan = (struct plan){.ops = b->ops, .acts = b->acts, .weights = b->weights,
                            .sections = b->sections, .logits = VIEW_NONE};
    struct op *o = &b->ops[0];
    *o = (struct op){.section = -1, .out = VIEW_NONE};
    b->plan.n_ops = 1;
    for (size_t i = 0; i < ARRAY_LEN(o->in); i++)
        o->in[i] = VIEW_NONE;
    for (size_t i = 0; i < ARRAY_LEN(o->w); i++)
        o->w[i] = -1;
}

/* Copies x, `chunk` floats, over the whole of a buffer. */
static void cover(const struct ocl_buffer *to, const float *x, size_t chunk)
{
    struct err e = {0};
    size_t n = to->bytes / 4;
    for (size_t at = 0; at < n; at += chunk)
        must(OCL(&e, "inputs", clEnqueueWriteBuffer, device.queue, to->mem, CL_TRUE, at * 4,
                 MIN(chunk, n - at) * 4, x, 0, NULL, NULL), &e);
}

static void fill(struct bench *b)
{
    struct rng r = {.seed = 3};
    struct err e = {0};
    size_t chunk = MIB(4);
    float *x = mem_array(chunk, 4);
    uint16_t *w = mem_array(chunk, 2);
    if (!x || !w)
        exit(1);
    for (size_t i = 0; i < chunk; i++) {
        x[i] = (float)(rng_unit(&r) - 0.5);
        w[i] = (uint16_t)(0x3c00 + rng_below(&r, 0x200) + (rng_below(&r, 2) << 15));
    }
    cover(&b->m.arena, x, chunk);
    for (int i = 0; i < b->m.pages.n; i++)
        cover(&b->m.pages.banks[i].buffer, x, chunk);
    for (int i = 0; i < b->plan.n_weights; i++) {
        const struct weight *k = &b->weights[i];
        int64_t rows = MAX((int64_t)chunk / k->cols, 1);
        for (int64_t at = 0; at < k->rows; at += rows)
            must(ocl_weights_put(&b->m, i, at, MIN(rows, k->rows - at), w, DTYPE_BF16, &e), &e);
    }
    mem_free(x);
    mem_free(w);
}

/* Seconds of one op; n of them make a step of `seqs` sequences with the same number of tokens. */
static double run(struct bench *b, int32_t n)
{
    struct err e = {0};
    struct ocl_times t = {0};
    double s[REPEAT];
    for (int32_t i = b->plan.n_ops; i < n; i++)
        b->ops[i] = b->ops[i - b->plan.n_ops];
    b->plan.n_ops = n;
    must(ocl_model_init(&b->m, &device, &b->plan, &b->cap, &e), &e);
    fill(b);
    int32_t seqs = b->cap.seqs, per = b->cap.tokens / seqs;
    int32_t *cu = mem_array((size_t)seqs + 1, 4), *slots = mem_array((size_t)seqs, 4);
    int32_t *tokens = mem_array((size_t)b->cap.tokens, 4);
    int64_t *pos = mem_array((size_t)seqs, 8);
    for (int32_t q = 0; q < seqs; q++) {
        cu[q + 1] = (q + 1) * per;
        slots[q] = q;
        pos[q] = b->pos;
    }
    int32_t *pages = mem_array((size_t)b->cap.pages + 1, 4);
    for (int32_t i = 0; i < b->cap.pages; i++)
        pages[i] = i;
    struct batch batch = {.n_seqs = seqs, .n_tokens = b->cap.tokens, .tokens = tokens,
                          .cu_seqlens = cu, .slots = slots, .pos = pos, .pages = pages,
                          .pages_per_seq = b->cap.pages_per_seq};
    for (int i = -2; i < REPEAT; i++) { /* two warm-ups */
        uint64_t start = clock_now_ns();
        must(ocl_queue_run(&b->m, &batch, &t, &e), &e);
        if (i >= 0)
            s[i] = (double)(clock_now_ns() - start) / 1e9 / n;
    }
    qsort(s, REPEAT, sizeof *s, by_value);
    ocl_model_free(&b->m);
    mem_free(cu);
    mem_free(slots);
    mem_free(tokens);
    mem_free(pos);
    mem_free(pages);
    return s[best ? 0 : REPEAT / 2];
}

/* ---- the lines ---- */

static void bench_copy(size_t bytes)
{
    struct ocl_buffer a, b;
    struct err e = {0};
    double s[REPEAT];
    must(ocl_buffer_new(&a, &device, bytes, "copy", &e), &e);
    must(ocl_buffer_new(&b, &device, bytes, "copy", &e), &e);
    for (int i = -2; i < REPEAT; i++) {
        uint64_t start = clock_now_ns();
        for (int k = 0; k < 4; k++)
            must(OCL(&e, "copy", clEnqueueCopyBuffer, device.queue, a.mem, b.mem, 0, 0, bytes, 0,
                     NULL, NULL), &e);
        must(OCL(&e, "copy", clFinish, device.queue), &e);
        if (i >= 0)
            s[i] = (double)(clock_now_ns() - start) / 1e9 / 4;
    }
    qsort(s, REPEAT, sizeof *s, by_value);
    copy_gbs = 2 * (double)bytes / s[REPEAT / 2] / 1e9;
    printf("%-44s %9.1f us %8.1f GB/s\n", "copy (bytes read and written)", s[REPEAT / 2] * 1e6,
           copy_gbs);
    ocl_buffer_free(&a, &device);
    ocl_buffer_free(&b, &device);
}

static void bench_linear(int32_t outputs, int32_t inputs, int32_t rows, enum dtype t, int32_t n)
{
    static struct bench b;
    char name[64];
    snprintf(name, sizeof name, "product %s %d x %d, %d rows", dtype_name(t), outputs, inputs,
             rows);
    if (!strstr(name, only))
        return;
    begin(&b, 1, rows);
    b.ops[0].kind = OP_LINEAR;
    b.ops[0].in[0] = add_act(&b, inputs);
    b.ops[0].out = add_act(&b, outputs);
    if (residual)
        b.ops[0].in[LINEAR_residual] = b.ops[0].out;
    b.ops[0].w[0] = 0;
    b.weights[0] = (struct weight){WEIGHT_MATRIX, t, outputs, inputs};
    b.plan.n_weights = 1;
    b.ops[1] = b.ops[0];
    b.ops[1].in[0] = add_act(&b, inputs);
    b.plan.n_ops = 2;
    double s = run(&b, n), bytes = (double)outputs * inputs * (double)format_bytes(t, 1);
    printf("%-44s %9.1f us %8.1f GB/s %5.1f %% of copy %8.2f TFLOP/s\n", name, s * 1e6,
           bytes / s / 1e9, bytes / s / 1e7 / copy_gbs,
           2.0 * outputs * inputs * rows / s / 1e12);
    fflush(stdout);
}

/* One op whose bytes are what it reads and writes of rows. */
static void show_rows(struct bench *b, const char *name, double floats, int32_t n)
{
    double s = run(b, n), bytes = floats * b->cap.tokens * 4;
    printf("%-44s %9.1f us %8.1f GB/s %5.1f %% of copy\n", name, s * 1e6, bytes / s / 1e9,
           bytes / s / 1e7 / copy_gbs);
    fflush(stdout);
}

static void bench_norm(int32_t rows, int32_t width, int32_t group, bool gate)
{
    static struct bench b;
    char name[64];
    snprintf(name, sizeof name, "norm of %d rows of %d by %d%s", rows, width, group,
             gate ? ", gated" : "");
    if (!strstr(name, only))
        return;
    begin(&b, 1, rows);
    struct op *o = &b.ops[0];
    o->kind = OP_NORM;
    o->in[NORM_x] = add_act(&b, width);
    if (gate)
        o->in[NORM_gate] = add_act(&b, width);
    o->out = add_act(&b, width);
    o->p.norm.group = group;
    o->p.norm.eps = 1e-5f;
    o->p.norm.scale = 1;
    o->p.norm.gate_act = gate ? ACT_SILU : ACT_NONE;
    show_rows(&b, name, width * (gate ? 3.0 : 2.0), 8);
}

static void bench_conv(int32_t seqs, int32_t tokens, int32_t width, int32_t size)
{
    static struct bench b;
    char name[64];
    snprintf(name, sizeof name, "%s of %d, %d x %d tokens", size ? "conv" : "shift", width, seqs,
             tokens);
    if (!strstr(name, only))
        return;
    begin(&b, seqs, seqs * tokens);
    struct op *o = &b.ops[0];
    o->kind = size ? OP_CONV : OP_SHIFT;
    o->in[0] = add_act(&b, width);
    o->out = add_act(&b, width);
    o->section = 0;
    b.sections[0] = (struct section){"tail", SECTION_FIXED, (int64_t)width * MAX(size - 1, 1), 0,
                                     DTYPE_F32};
    b.plan.n_sections = 1;
    b.plan.slot_floats = b.sections[0].elems;
    if (size) {
        o->p.conv.size = size;
        o->p.conv.act = ACT_SILU;
        o->w[CONV_filter] = 0;
        b.weights[0] = (struct weight){WEIGHT_VECTOR, DTYPE_F32, 1, (int64_t)width * size};
        b.plan.n_weights = 1;
    }
    show_rows(&b, name, width * 2.0, 8);
}

/* dplr: as RWKV-7 has it; otherwise as Gated DeltaNet. */
static void bench_delta(int32_t seqs, int32_t tokens, int32_t heads, int32_t K, bool dplr,
                        int32_t n)
{
    static struct bench b;
    char name[64];
    snprintf(name, sizeof name, "K2%s %d x %d tokens, %d heads %d x %d", dplr ? " DPLR" : "", seqs,
             tokens, heads, K, K);
    if (!strstr(name, only))
        return;
    begin(&b, seqs, seqs * tokens);
    struct op *o = &b.ops[0];
    o->kind = OP_DELTA;
    o->in[0] = add_act(&b, heads * K);
    o->in[1] = add_act(&b, heads * K);
    o->in[2] = add_act(&b, heads * K);
    o->in[3] = add_act(&b, heads * (dplr ? K : 1));
    if (dplr)
        o->in[4] = add_act(&b, heads * K);
    o->in[5] = add_act(&b, heads * (dplr ? K : 1));
    o->out = add_act(&b, heads * K);
    o->section = 0;
    o->p.delta.k_heads = o->p.delta.d_heads = o->p.delta.state_heads = heads;
    o->p.delta.K = o->p.delta.V = K;
    o->p.delta.steps = 1;
    o->p.delta.decay = dplr ? DECAY_KEY : DECAY_SCALAR;
    o->p.delta.dplr = dplr;
    o->p.delta.decay_first = !dplr;
    o->p.delta.scale = 0.01f;
    int64_t elems = (int64_t)heads * K * K;
    b.sections[0] = (struct section){"S", SECTION_FIXED, elems, 0, DTYPE_F32};
    b.plan.n_sections = 1;
    b.plan.slot_floats = elems;
    double s = run(&b, n), bytes = 2.0 * (double)seqs * (double)elems * 4;
    printf("%-44s %9.1f us %8.1f GB/s %5.1f %% of copy %8.3f us/token %6.2f T instructions/s\n",
           name, s * 1e6, bytes / s / 1e9, bytes / s / 1e7 / copy_gbs, s * 1e6 / tokens,
           (dplr ? 5.0 : 4.0) * (double)elems * seqs * tokens / s / 1e12);
    fflush(stdout);
}

/* `rows` new tokens of each of `seqs` sequences that had `old` before. */
static void bench_attention(int32_t seqs, int32_t rows, int32_t old, int32_t heads, int32_t kv,
                            int32_t d, int32_t n)
{
    static struct bench b;
    char name[64];
    snprintf(name, sizeof name, "K6 %d x %d rows after %d, %d/%d heads of %d", seqs, rows, old,
             heads, kv, d);
    if (!strstr(name, only))
        return;
    begin(&b, seqs, seqs * rows);
    struct op *o = &b.ops[0];
    o->kind = OP_ATTENTION;
    o->in[0] = add_act(&b, heads * d);
    o->in[1] = add_act(&b, kv * d);
    o->in[2] = add_act(&b, kv * d);
    o->out = add_act(&b, heads * d);
    o->section = 0;
    o->p.attention.heads = heads;
    o->p.attention.kv_heads = o->p.attention.v_heads = kv;
    o->p.attention.dk = o->p.attention.dv = d;
    o->p.attention.scale = 1;
    b.sections[0] = (struct section){"kv", SECTION_PAGED, 2 * (int64_t)kv * d, 0,
                                     DTYPE_F32};
    b.plan.n_sections = 1;
    b.plan.page_token_floats = 2 * (int64_t)kv * d;
    b.pos = old;
    b.cap.pages_per_seq = (old + rows + PAGE_TOKENS - 1) / PAGE_TOKENS;
    b.cap.pages = seqs * b.cap.pages_per_seq;
    double s = run(&b, n), all = (double)seqs * rows * (old + (rows + 1) / 2.0);
    double bytes = (double)seqs * (old + rows) * 2 * kv * d * 4;
    printf("%-44s %9.1f us %8.1f GB/s %5.1f %% of copy %8.2f TFLOP/s\n", name, s * 1e6,
           bytes / s / 1e9, bytes / s / 1e7 / copy_gbs, 4 * all * heads * d / s / 1e12);
    fflush(stdout);
}

static void bench_product(const char *shape)
{
    int outputs, inputs, rows;
    if (sscanf(shape, "%dx%dx%d", &outputs, &inputs, &rows) != 3) {
        fprintf(stderr, "oclbench: a product is OUTPUTSxINPUTSxROWS, not %s\n", shape);
        exit(2);
    }
    double flops = 2.0 * outputs * inputs * rows; /* a step of some milliseconds */
    bench_linear(outputs, inputs, rows, DTYPE_BF16, flops > 5e11 ? 2 : flops > 5e10 ? 8 : 32);
}

static void bench_small(void)
{
    bench_linear(1024, 1024, 1, DTYPE_BF16, 4);
    bench_linear(256, 256, 256, DTYPE_BF16, 2);
    bench_delta(4, 1, 4, 64, false, 2);
    bench_attention(1, 1, 500, 4, 2, 64, 2);
    bench_attention(1, 64, 64, 4, 2, 64, 2);
}

static void bench_all(void)
{
    bench_linear(65536, 16384, 1, DTYPE_BF16, 8);
    bench_linear(65536, 2048, 1, DTYPE_BF16, 16);
    bench_linear(2048, 2048, 1, DTYPE_BF16, 64);
    bench_linear(11264, 2048, 1, DTYPE_BF16, 64);
    bench_linear(2048, 5632, 1, DTYPE_BF16, 64);
    bench_linear(65536, 16384, 8, DTYPE_BF16, 8);
    bench_linear(65536, 16384, 16, DTYPE_BF16, 8);
    bench_linear(65536, 16384, 64, DTYPE_BF16, 8);
    bench_linear(4096, 4096, 16, DTYPE_BF16, 32);
    bench_linear(4096, 4096, 64, DTYPE_BF16, 32);
    bench_linear(4096, 4096, 128, DTYPE_BF16, 32);
    bench_linear(4096, 4096, 512, DTYPE_BF16, 16);
    bench_linear(4096, 4096, 4096, DTYPE_BF16, 8);
    bench_linear(8192, 8192, 8192, DTYPE_BF16, 2);
    bench_linear(65536, 8192, 1, DTYPE_F32, 4);
    bench_linear(4096, 4096, 1024, DTYPE_F32, 2);
    bench_delta(64, 1, 24, 128, false, 16);
    bench_delta(1, 1, 24, 128, false, 16);
    bench_delta(1, 2048, 16, 128, false, 2);
    bench_delta(16, 512, 16, 128, false, 2);
    bench_delta(64, 1, 32, 64, true, 16);
    bench_delta(1, 2048, 32, 64, true, 2);
    bench_delta(16, 512, 32, 64, true, 2);
    bench_norm(8192, 2048, 2048, false);
    bench_norm(8192, 2048, 128, false);
    bench_norm(8192, 2048, 128, true);
    bench_norm(8192, 2048, 64, false);
    bench_conv(1, 8192, 2048, 4);
    bench_conv(16, 512, 2048, 4);
    bench_conv(1, 8192, 2048, 0);
    bench_conv(16, 512, 2048, 0);
    bench_attention(1, 1, 2047, 16, 4, 256, 32);
    bench_attention(1, 1, 16383, 16, 4, 256, 16);
    bench_attention(1, 1, 65535, 16, 4, 256, 8);
    bench_attention(64, 1, 2047, 16, 4, 256, 8);
    bench_attention(1, 512, 0, 16, 4, 256, 8);
    bench_attention(1, 2048, 0, 16, 4, 256, 4);
    bench_attention(16, 2048, 0, 16, 4, 256, 2);
    bench_attention(1, 512, 15872, 16, 4, 256, 4);
    bench_attention(1, 2048, 14336, 16, 4, 256, 2);
    bench_attention(1, 2048, 0, 32, 8, 128, 4);
    bench_attention(1, 1, 16383, 32, 8, 128, 16);
}

int main(int argc, char **argv)
{
    const char *name = NULL, *cache = NULL, *tune = NULL, *products[64];
    int n_products = 0;
    bool small = false;
    struct err e = {0};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--small"))
            small = true;
        else if (!strcmp(argv[i], "--best"))
            best = true;
        else if (!strcmp(argv[i], "--residual"))
            residual = true;
        else if (!strcmp(argv[i], "--device") && i + 1 < argc)
            name = argv[++i];
        else if (!strcmp(argv[i], "--cache") && i + 1 < argc)
            cache = argv[++i];
        else if (!strcmp(argv[i], "--only") && i + 1 < argc)
            only = argv[++i];
        else if (!strcmp(argv[i], "--tune") && i + 1 < argc)
            tune = argv[++i];
        else if (!strcmp(argv[i], "--product") && i + 1 < argc && n_products < 64)
            products[n_products++] = argv[++i];
        else
            return fprintf(stderr, "oclbench: unknown argument %s\n", argv[i]), 2;
    }
    must(ocl_device_open(&device, name, cache, &e), &e);
    if (tune)
        must(ocl_tune_parse(&device.tune, tune, &e), &e);
    printf("%s, driver %s\n", device.info.name, device.info.driver);
    bench_copy(small ? MIB(64) : n_products ? GIB(1) : GIB(4));
    for (int i = 0; i < n_products; i++)
        bench_product(products[i]);
    if (!n_products && small)
        bench_small();
    else if (!n_products)
        bench_all();
    ocl_device_close(&device);
    return 0;
}
