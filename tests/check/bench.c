/* kernelcheck --bench: each kernel on sizes of real models, as the share of what this machine can
 * do in the same minute: reading memory with all threads, or fused multiply-adds. Medians, and
 * the best sample for hosts that others use too; weights rotate through more memory than any
 * cache holds. */
#define _GNU_SOURCE 1
#include "base/clock.h"
#include "base/mem.h"
#include "tests/check/check.h"
#include "tests/check/limits.h"
#include "tests/check/tiles.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLES 15
#define STREAM_BYTES MIB(512) /* several times a large third-level cache */

/* ---- the matrix unit ------------------------------------------------------------------ */

#if defined(__x86_64__)
static void tiles_share(void *ctx, int ith, int nth)
{
    (void)ith;
    (void)nth;
    tiles_peak(*(const long *)ctx);
}
#endif
/* Products of tiles by all threads. A kernel makes three for a product of float32, two for one of
 * 16 bits. */
static double tiles_gflops(struct threads *t)
{
#if defined(__x86_64__)
    long n = 20000;
    double v[9];
    if (!(cpuid_features() & NEED_AMX))
        return 0;
    for (int i = 0; i < 9; i++) {
        uint64_t start = limits_now(t);
        limits_on_all(t, tiles_share, &n);
        v[i] = TILES_FLOPS * (double)n * threads_count(t) / (double)(limits_now(t) - start);
    }
    return limits_median(v, 9);
#else
    (void)t;
    return 0;
#endif
}

/* ---- one bench ------------------------------------------------------------------------- */

struct bench {
    const struct cpu_kernel *k;
    struct rig r;
    struct threads *t;
    struct host_weight *weights; /* LINEAR: copies of the matrix, more than a cache holds */
    int n_weights, at;
};

static const struct { enum op_kind op; struct shape s; } cases[] = {
    {OP_LINEAR, {{0, 1024, 1024, 2, 0, 0, 0}}}, {OP_LINEAR, {{0, 4096, 1024, 2, 0, 0, 0}}},
    {OP_LINEAR, {{0, 1024, 4096, 2, 0, 0, 0}}}, {OP_LINEAR, {{0, 65536, 1024, 2, 0, 0, 0}}},
    {OP_LINEAR, {{0, 4096, 1024, 1, 0, 0, 0}}}, {OP_LINEAR, {{0, 4096, 1024, 0, 0, 0, 0}}},
#define BLOCKS_OF(ID) {OP_LINEAR, {{0, 4096, 1024, DTYPE_##ID, 0, 0, 0}}},
    BLOCKS_OF(Q8_0) BLOCKS_OF(Q4_0) BLOCKS_OF(Q4_1) BLOCKS_OF(Q5_0) BLOCKS_OF(Q5_1) BLOCKS_OF(Q2_K)
    BLOCKS_OF(Q3_K) BLOCKS_OF(Q4_K) BLOCKS_OF(Q5_K) BLOCKS_OF(Q6_K) BLOCKS_OF(IQ4_NL)
    BLOCKS_OF(IQ4_XS) BLOCKS_OF(MXFP4) BLOCKS_OF(FP8)
#undef BLOCKS_OF
    {OP_LINEAR, {{4, 4096, 1024, DTYPE_Q8_0, 0, 0, 0}}},
    {OP_LINEAR, {{4, 4096, 1024, DTYPE_Q4_K, 0, 0, 0}}},
    {OP_LINEAR, {{10, 4096, 1024, DTYPE_Q8_0, 0, 0, 0}}},
    {OP_LINEAR, {{10, 4096, 1024, DTYPE_Q4_K, 0, 0, 0}}},
    {OP_LINEAR, {{7, 4096, 1024, DTYPE_Q4_K, 0, 0, 0}}},
    {OP_LINEAR, {{12, 4096, 1024, DTYPE_Q4_K, 0, 0, 0}}},
    {OP_LINEAR, {{12, 4096, 1024, DTYPE_Q8_0, 0, 0, 0}}},
    {OP_LINEAR, {{7, 4096, 1024, 2, 0, 0, 0}}}, {OP_LINEAR, {{8, 4096, 1024, 2, 0, 0, 0}}},
    {OP_LINEAR, {{9, 4096, 1024, 2, 0, 0, 0}}}, {OP_LINEAR, {{4, 4096, 1024, 2, 0, 0, 0}}},
    {OP_LINEAR, {{10, 4096, 1024, 2, 0, 0, 0}}}, {OP_LINEAR, {{11, 4096, 1024, 2, 0, 0, 0}}},
    {OP_LINEAR, {{12, 4096, 1024, 2, 0, 0, 0}}}, {OP_LINEAR, {{12, 1024, 4096, 2, 0, 0, 0}}},
    {OP_DELTA, {{0, 16, 16, 16, 64, 64, 1, 3, 1, 0, 0}}},
    {OP_DELTA, {{4, 16, 16, 16, 64, 64, 1, 3, 1, 0, 0}}},
    {OP_DELTA, {{12, 16, 16, 16, 64, 64, 1, 3, 1, 0, 0}}},
    {OP_DELTA, {{0, 8, 16, 16, 128, 128, 1, 2, 0, 0, 0}}},
    {OP_DELTA, {{12, 8, 16, 16, 128, 128, 1, 2, 0, 0, 0}}},
    {OP_DECAY, {{0, 16, 16, 16, 16, 16, 64, 64, 3, 0}}},
    {OP_DECAY, {{12, 16, 16, 16, 16, 16, 64, 64, 3, 0}}},
    {OP_DECAY, {{12, 16, 16, 16, 16, 16, 128, 128, 2, 0}}},
    {OP_ATTENTION, {{11, 16, 4, 64, 64, 0, 0, 0}}}, {OP_ATTENTION, {{12, 16, 4, 64, 64, 0, 0, 0}}},
    {OP_NORM, {{0, 0, 1, 1024, 1, 0, 0, 0, 0}}}, {OP_NORM, {{12, 0, 1, 1024, 1, 0, 0, 0, 0}}},
    {OP_NORM, {{12, 1, 16, 64, 2, 2, 1, 1, 0}}},
    {OP_EW, {{0, EW_OPS + 1, 1024}}}, {OP_EW, {{12, EW_OPS + 1, 1024}}},
    {OP_EW, {{12, EW_SILU, 1024}}}, {OP_EW, {{12, EW_MADD, 1024}}},
    {OP_CONV, {{0, 3072, 4, 1, 0, 0, 0}}}, {OP_CONV, {{12, 3072, 4, 1, 0, 0, 0}}},
    {OP_SHIFT, {{12, 1024, 0}}}, {OP_GROUPSUM, {{12, 16, 64}}}, {OP_SOFTMAX, {{12, 16, 64}}},
    {OP_ROPE, {{12, 16, 64, 64, 0}}}, {OP_EMBED, {{12, 1024, 2}}},
    {OP_NGRAM, {{12, 3, 8, 160, 2}}},
    {OP_SCAN, {{0, 1536, 16, 1}}}, {OP_SCAN, {{12, 1536, 16, 1}}},
    {OP_EXPERTS, {{12, 64, 768, 1024, 4, 0, 2}}}, {OP_BLOCKS, {{12, 16, 64, 64, 0, 0, 2}}},
    {OP_EXPERTS, {{0, 64, 768, 1024, 4, 0, DTYPE_Q8_0}}},
    {OP_WKV, {{0, 1024}}}, {OP_WKV, {{12, 1024}}},
    {OP_FENWICK, {{0, 24, 128, 64}}}, {OP_FENWICK, {{11, 24, 128, 64}}},
    {OP_TRAPEZOID, {{0, 24, 128, 64}}}, {OP_TRAPEZOID, {{11, 24, 128, 64}}},
    {OP_ROTATE, {{11, 24, 128, 32, 2}}},
    {OP_MESA, {{0, 8, 128, 128}}}, {OP_MESA, {{3, 8, 128, 128}}},
    {OP_SQUARE, {{0, 16, 16, 16, 64}}}, {OP_SQUARE, {{3, 16, 16, 16, 64}}},
    {OP_PATH, {{0, 16, 16, 64, 64, 1}}}, {OP_PATH, {{11, 16, 16, 64, 64, 1}}},
    {OP_WALL, {{0, 16, 4, 64, 64, 1}}}, {OP_WALL, {{11, 16, 4, 64, 64, 1}}},
    {OP_PARALLAX, {{0, 16, 4, 64, 64, 0}}}, {OP_PARALLAX, {{11, 16, 4, 64, 64, 0}}},
    {OP_DELTAFORMER, {{0, 16, 16, 64, 64, 0}}}, {OP_DELTAFORMER, {{11, 16, 16, 64, 64, 0}}},
    {OP_NSA, {{0, 16, 1, 64, 64, 64, 16, 4}}}, {OP_NSA, {{11, 16, 1, 64, 64, 64, 16, 4}}},
    {OP_MOBA, {{0, 16, 4, 64, 64, 16, 4}}}, {OP_MOBA, {{11, 16, 4, 64, 64, 16, 4}}},
    {OP_INDEXER, {{0, 32, 128, 4, 32, 1}}}, {OP_INDEXER, {{11, 32, 128, 4, 32, 1}}},
    {OP_INDEXED, {{0, 64, 1, 512, 512, 4, 32, 1}}}, {OP_INDEXED, {{11, 64, 1, 512, 512, 4, 32, 1}}},
    {OP_POOL, {{0, 128, 4, 2}}}, {OP_POOL, {{12, 128, 4, 2}}}, {OP_SINKHORN, {{12, 1, 4, 20}}},
    {OP_TOPK, {{0, 1, 512, 10, 1, 1, 1, 0}}}, {OP_TOPK, {{11, 1, 256, 8, 8, 4, 1, 0}}},
};

static double flops_of(const struct bench *b)
{
    const struct op *op = &b->r.op;
    double rows = b->r.batch.n_tokens;
    switch (op->kind) {
    case OP_LINEAR: {
        const struct host_weight *w = &b->r.packed[0];
        return 2.0 * (double)w->rows * (double)w->cols * rows;
    }
    /* a multiply is counted like a fused multiply-add: it takes the same slot */
    case OP_DELTA: return 2.0 * rows * (double)b->r.sections[0].elems * (op->p.delta.dplr ? 5 : 4);
    case OP_DECAY: return 2.0 * rows * (double)b->r.sections[0].elems * 3;
    case OP_ATTENTION: {
        double keys = 0;
        for (int t = 0; t < rows; t++)
            keys += (double)b->r.pos[0] + t + 1;
        return 2.0 * keys * op->p.attention.heads * (op->p.attention.dk + op->p.attention.dv);
    }
    default: return 0;
    }
}

/* LINEAR with few rows is about memory: every call takes another copy of the matrix. */
static void rotate_weights(struct bench *b)
{
    if (b->k->op != OP_LINEAR)
        return;
    const struct host_weight *w = &b->r.packed[b->r.op.w[0]];
    b->n_weights = (int)(STREAM_BYTES / w->bytes) + 1;
    b->weights = mem_array((size_t)b->n_weights, sizeof *b->weights);
    ASSERT(b->weights);
    for (int i = 0; i < b->n_weights; i++) {
        b->weights[i] = *w;
        b->weights[i].data = mem_aligned(w->bytes);
        ASSERT(b->weights[i].data);
        memcpy(b->weights[i].data, w->data, w->bytes);
    }
    b->r.step.weights = b->weights;
}

static void bench_share(void *ctx, int ith, int nth)
{
    struct bench *b = ctx;
    b->k->run(&b->r.step, &b->r.op, ith, nth);
}

static double sample_ns(struct bench *b, int repeat)
{
    uint64_t start = limits_now(b->t);
    for (int i = 0; i < repeat; i++) {
        if (b->weights)
            b->r.op.w[0] = b->at++ % b->n_weights;
        limits_on_all(b->t, bench_share, b);
    }
    return (double)(limits_now(b->t) - start) / repeat;
}

static void shape_text(enum op_kind op, const struct shape *s, char *out, size_t size)
{
    out[0] = '\0';
    for (int i = 0; i < ops_params(op); i++)
        snprintf(out + strlen(out), size - strlen(out), "%s%d", i ? "x" : "", s->p[i]);
}

static void bench_one(const struct cpu_kernel *k, const struct shape *s, struct threads *t,
                      double gbs, double gflops)
{
    struct bench b = {.k = k, .t = t};
    double v[SAMPLES];
    char shape[128];
    ops_rig(&b.r, k->op, s, CLASS_uniform, 1);
    rotate_weights(&b);
    shape_text(k->op, s, shape, sizeof shape);
    if (k->op == OP_LINEAR)
        snprintf(shape + strlen(shape), sizeof shape - strlen(shape), " %s",
                 dtype_name(select_format(&b.r.plan, &b.r.op)));
    sample_ns(&b, 1);
    int repeat = (int)(5e6 / sample_ns(&b, 3)) + 1; /* 5 ms a sample */
    for (int i = 0; i < SAMPLES; i++)
        v[i] = sample_ns(&b, repeat);
    double ns = limits_median(v, SAMPLES), bytes = (double)cost_op(&b.r.step, &b.r.op).bytes;
    double flops = flops_of(&b);
    printf("%-10s %-7s %-28s %10.2f us (best %.2f) %7.1f GB/s %4.0f%%", op_name(k->op),
           k->variant, shape, ns / 1e3, v[0] / 1e3, bytes / ns, 100 * bytes / ns / gbs);
    if (flops > 0)
        printf(" %8.1f GFLOP/s %4.0f%%", flops / ns, 100 * flops / ns / gflops);
    printf("\n");
    for (int i = 0; i < b.n_weights; i++)
        mem_aligned_free(b.weights[i].data, b.weights[i].bytes);
    mem_free(b.weights);
    rig_free(&b.r);
}

static enum dtype matrix_format(enum op_kind op, const struct shape *s)
{
    bool mixed = op == OP_EXPERTS || op == OP_BLOCKS;
    return op == OP_LINEAR ? (enum dtype)s->p[3] : mixed ? (enum dtype)s->p[6] : DTYPE_F32;
}

/* Every kernel of a case that was asked for, beside the limits of the same minute. */
static void bench_case(size_t c, const char *variant_glob, struct threads *t, char *memory)
{
    static enum op_kind last = OP_KINDS;
    unsigned has = cpuid_features();
    double gbs = limits_read(t, memory, STREAM_BYTES), gflops = limits_fma(t, has);
    double tiles = cases[c].op == OP_LINEAR ? tiles_gflops(t) : 0;
    double int16 = cases[c].op == OP_LINEAR ? limits_int16(t, has) : 0;
    if (cases[c].op != last) {
        printf("limits, %d threads: read %.1f GB/s, fma %.0f GFLOP/s", threads_count(t), gbs,
               gflops);
        if (tiles > 0)
            printf(", tiles of bf16 %.0f GFLOP/s (a third of it for float32 inputs, "
                   "half for int16)", tiles);
        if (int16 > 0)
            printf(", int16 %.0f GOP/s", int16);
        printf("\n");
    }
    last = cases[c].op;
    for (int i = 0; i < select_rows; i++) {
        const struct cpu_kernel *k = &select_table[i];
        bool slow = !cpu_vectors(k) && strcmp(k->variant, variant_glob) != 0;
        bool serves = k->formats >> matrix_format(k->op, &cases[c].s) & 1;
        if (k->op == cases[c].op && !slow && serves && !fnmatch(variant_glob, k->variant, 0) &&
            !(k->need & ~has))
            bench_one(k, &cases[c].s, t, gbs, k->need & NEED_AMX8 ? tiles / 2
                      : k->need & NEED_INT16 ? int16 : k->need & NEED_AMX ? tiles / 3 : gflops);
    }
}

void bench_run(const char *op_glob, const char *variant_glob, const char *shape_glob, int n_threads)
{
    struct threads *t;
    struct err e = {0};
    char *memory = mem_aligned(STREAM_BYTES), shape[128];
    cpuid_features(); /* asks for the matrix unit before there are threads */
    if (!memory || threads_open(&t, n_threads, &e)) {
        fprintf(stderr, "kernelcheck: %s\n", e.code ? e.text : "out of memory");
        exit(2);
    }
    memset(memory, 1, STREAM_BYTES);
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        shape_text(cases[c].op, &cases[c].s, shape, sizeof shape);
        if (!fnmatch(op_glob, op_name(cases[c].op), 0) &&
            (!shape_glob || !fnmatch(shape_glob, shape, 0)))
            bench_case(c, variant_glob, t, memory);
    }
    threads_close(t);
    mem_aligned_free(memory, STREAM_BYTES);
}
