/* kernelcheck --beside: products by inputs of 16 bits beside float32, or by tiles beside vectors,
 * of every format they serve and of 1 to 512 rows. One thread, by its own time on the processor,
 * in alternating samples: what else runs on the machine hits both. Each call takes another copy of
 * the matrix, of more than a cache holds. */
#define _GNU_SOURCE 1
#include "base/clock.h"
#include "base/mem.h"
#include "kernels/ref/ref_int16.h"
#include "tests/check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLES 15
#define SAMPLE_NS 3e6
#define COPIES_BYTES MIB(256)

static const enum dtype served[] = {
#define ID(X) DTYPE_##X,
    INT16_FORMATS(ID)
#undef ID
};
static const struct { int rows, layout; } batches[] = {
    {1, 0}, {2, 7}, {4, 8}, {8, 9}, {16, 4}, {32, 10}, {64, 3}, {512, 12}};
static const char *const pairs[][2] = {
    {"avx512", "int16-vnni"}, {"avx512", "int16-avx512"}, {"avx2", "int16-avx2"},
    {"neon", "int16-neon"}, {"int16-vnni", "int16-amx"},
};

static double own_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static const struct cpu_kernel *linear(const char *variant)
{
    for (int i = 0; i < select_rows; i++)
        if (select_table[i].op == OP_LINEAR && !strcmp(select_table[i].variant, variant) &&
            !(select_table[i].need & ~cpuid_features()))
            return &select_table[i];
    return NULL;
}

/* Copies of the rig's matrix; the caller frees them. */
static int copies(struct rig *r, struct host_weight **out)
{
    const struct host_weight *w = &r->packed[r->op.w[0]];
    int n = (int)(COPIES_BYTES / w->bytes) + 1;
    struct host_weight *all = *out = mem_array((size_t)n, sizeof *all);
    ASSERT(all);
    for (int i = 0; i < n; i++) {
        all[i] = *w;
        all[i].data = mem_aligned(w->bytes);
        ASSERT(all[i].data);
        memcpy(all[i].data, w->data, w->bytes);
    }
    r->step.weights = all;
    return n;
}

struct beside { struct rig r; int n, at; };

static double sample(struct beside *b, const struct cpu_kernel *k, int repeat)
{
    double start = own_ns();
    for (int i = 0; i < repeat; i++) {
        b->r.op.w[0] = b->at++ % b->n;
        k->run(&b->r.step, &b->r.op, 0, 1);
    }
    return (own_ns() - start) / repeat;
}

/* How many times as fast the second kernel is, the median of neighbouring samples. */
static double faster(enum dtype t, int layout, const int size[2],
                     const struct cpu_kernel *const k[2])
{
    struct beside b = {.at = 0};
    struct host_weight *all;
    double ratio[SAMPLES];
    int repeat[2];
    const struct shape s = {{layout, size[0], size[1], (int)t, 0, 0, 0}};
    ops_rig(&b.r, OP_LINEAR, &s, CLASS_uniform, 1);
    b.n = copies(&b.r, &all);
    for (int i = 0; i < 2; i++) {
        sample(&b, k[i], 1);
        repeat[i] = (int)(SAMPLE_NS / sample(&b, k[i], 2)) + 1;
    }
    for (int i = 0; i < SAMPLES; i++) {
        double first = sample(&b, k[0], repeat[0]);
        ratio[i] = first / sample(&b, k[1], repeat[1]);
    }
    qsort(ratio, SAMPLES, sizeof *ratio, ascending);
    for (int i = 0; i < b.n; i++)
        mem_aligned_free(all[i].data, all[i].bytes);
    mem_free(all);
    rig_free(&b.r);
    return ratio[SAMPLES / 2];
}

void beside_run(const char *variant, const char *shape)
{
    int size[2] = {4096, 1024};
    if (shape && sscanf(shape, "%dx%d", &size[0], &size[1]) != 2) {
        fprintf(stderr, "kernelcheck: --beside has --shape ROWSxCOLS\n");
        exit(2);
    }
    for (size_t p = 0; p < ARRAY_LEN(pairs); p++) {
        const struct cpu_kernel *k[2] = {linear(pairs[p][0]), linear(pairs[p][1])};
        if (!k[0] || !k[1] || (strcmp(variant, "*") && strcmp(variant, pairs[p][1])))
            continue;
        printf("| %s : %s | 1 row | 2 | 4 | 8 | 16 | 32 | 64 | 512 |\n"
               "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
               pairs[p][1], pairs[p][0]);
        for (size_t i = 0; i < ARRAY_LEN(served); i++) {
            printf("| %s |", dtype_name(served[i]));
            for (size_t j = 0; j < ARRAY_LEN(batches); j++) {
                printf(" %.2f |", faster(served[i], batches[j].layout, size, k));
                fflush(stdout);
            }
            printf("\n");
        }
    }
}
