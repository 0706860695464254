/* Products by whole numbers of 16 bits where a job is more than is held at once, and where scales
 * are the smallest: every form has the bits of the definition. Tiles are those of the model that
 * kernelcheck-tiles has, on any CPU with AVX-512. */
#define _GNU_SOURCE 1 /* pthread_setattr_default_np */
#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref_int16.h"

#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

/* out = W x, for n rows of inputs. */
struct rig {
    struct plan plan;
    struct act acts[2];
    struct op op;
    struct batch batch;
    struct host_weight w;
    struct host_step step;
    struct rng r;
};

static void *aligned(size_t bytes)
{
    void *p = aligned_alloc(64, round_up(bytes, 64));
    cr_assert_not_null(p);
    memset(p, 0, round_up(bytes, 64));
    return p;
}

static void start(struct rig *g, enum dtype t, int rows, int cols, int n)
{
    struct weight x = {WEIGHT_MATRIX, t, rows, cols};
    *g = (struct rig){.r = {21, 0}, .w = {WEIGHT_MATRIX, t, rows, cols, 0, NULL}};
    cr_assert(pack_bytes(&x, &g->w.bytes));
    g->w.data = aligned(g->w.bytes);
    g->acts[0] = (struct act){.width = cols, .stride = cols};
    g->acts[1] = (struct act){.width = rows, .stride = rows, .offset = (int64_t)n * cols};
    g->op = (struct op){.kind = OP_LINEAR, .in = {{0, 0, cols}, VIEW_NONE}, .out = {1, 0, rows},
                        .w = {0, -1}, .section = -1};
    g->plan = (struct plan){.ops = &g->op, .n_ops = 1, .acts = g->acts, .n_acts = 2};
    g->batch.n_tokens = n;
    g->step = (struct host_step){.plan = &g->plan, .batch = &g->batch, .weights = &g->w};
    g->step.arena = aligned(((size_t)n * (size_t)(cols + rows) + 64) * sizeof(float));
}

static void end(struct rig *g)
{
    free(g->w.data);
    free(g->step.arena);
}

/* A form of LINEAR by vectors or tiles, that runs here. */
static bool is_form(const struct cpu_kernel *k)
{
    return k->op == OP_LINEAR && k->need & NEED_INT16 && cpu_vectors(k) &&
           !(k->need & ~cpuid_features());
}

/* Each form's results of some rows, the first and the last among them, are the definition's. */
static void check(struct rig *g, int rows_apart, int inputs_apart)
{
    int n = g->batch.n_tokens, rows = (int)g->w.rows, cols = (int)g->w.cols, forms = 0, tiles = 0;
    float *out = g->step.arena + g->acts[1].offset;
    for (int i = 0; i < select_rows; i++) {
        const struct cpu_kernel *k = &select_table[i];
        if (!is_form(k))
            continue;
        forms++;
        tiles += (k->need & NEED_AMX8) != 0;
        memset(out, 0xff, (size_t)n * (size_t)rows * sizeof *out);
        k->run(&g->step, &g->op, 0, 1);
        for (int j = n - 1; j >= 0; j -= inputs_apart)
            for (int r = rows - 1; r >= 0; r -= rows_apart) {
                float want = ref_int16_row(&g->w, r, g->step.arena + (int64_t)j * cols, cols);
                float got = out[(int64_t)j * rows + r];
                cr_assert(memcmp(&got, &want, 4) == 0, "%s: output %d of input %d is %a, not %a",
                          k->variant, r, j, (double)got, (double)want);
            }
    }
    cr_assert_eq(tiles, (cpuid_features() & NEED_AVX512) != 0);
    if (!forms)
        cr_skip_test("no vector form for this CPU");
}

Test(int16_job, inputs_are_taken_again_for_later_panels_when_not_all_columns_fit)
{
    struct rig g;
    start(&g, DTYPE_Q8_0, 33 * 16, 1536, 96); /* 32 panels and 1,280 columns fit */
    unsigned saved = threads_flush_denormals();
    for (int row = 0; row < g.w.rows; row++) {
        float w[1536];
        for (int k = 0; k < 1536; k++)
            w[k] = rng_normal(&g.r);
        pack_rows(&g.w, row, 1, w, DTYPE_F32);
    }
    for (int i = 0; i < 96 * 1536; i++)
        g.step.arena[i] = rng_normal(&g.r);
    check(&g, 13, 19);
    threads_restore_denormals(saved);
    end(&g);
}

/* Three panels, one of which is left of groups of two; six tiles of three inputs, or three of six;
 * and columns that are more than one block, so that sums go on where pairs are made anew. */
static void check_odd(enum dtype t, int n, int cols)
{
    enum { ROWS = 40, COLS = 864 };
    struct rig g;
    start(&g, t, ROWS, cols, n);
    unsigned saved = threads_flush_denormals();
    for (int row = 0; row < ROWS; row++) {
        uint8_t blocks[COLS * 2];
        const size_t bytes = format_bytes(t, cols);
        do
            for (size_t k = 0; k < bytes; k++)
                blocks[k] = (uint8_t)rng_below(&g.r, 256);
        while (t != DTYPE_MXFP4 && !format_finite(t, blocks, cols));
        for (size_t k = 0; t == DTYPE_MXFP4 && k < bytes; k += 17)
            blocks[k] = (uint8_t)(110 + blocks[k] % 30);
        pack_rows(&g.w, row, 1, blocks, t);
    }
    for (int i = 0; i < n * cols; i++)
        g.step.arena[i] = rng_normal(&g.r);
    for (int i = 0; i < cols; i++) { /* sums as large as they come: 24 bits are all in use */
        g.step.arena[i] = 1;
        if (n > 1)
            g.step.arena[cols + i] = -1;
        if (n > 2)
            g.step.arena[2 * cols + i] = rng_below(&g.r, 9) ? 1 : -1;
    }
    check(&g, 1, 1);
    threads_restore_denormals(saved);
    end(&g);
}

Test(int16_job, panels_and_inputs_that_are_no_whole_tiles_and_several_blocks)
{
    static const enum dtype types[] = {DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_Q6_K};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        for (int n = 1; n <= 18; n += n < 8 ? 1 : 10)
            check_odd(types[i], n, 768);
}

/* One tile of the matrix unit; two and three that are not full; and columns that are no whole
 * chunk. */
Test(int16_job, tiles_of_every_format)
{
    static const enum dtype types[] = {
#define ID(X) DTYPE_##X,
        INT16_FORMATS(ID)
#undef ID
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        for (int n = 16; n <= 40; n += n == 16 ? 11 : 13)
            check_odd(types[i], n, formats[types[i]].block == 32 ? 864 : 768);
}

/* Scales of MXFP4 from 2^-126 on, by inputs down to those that count as zeros: products of both
 * are denormals. */
static void check_small(int n)
{
    enum { ROWS = 40, COLS = 256 };
    struct rig g;
    int zeros = 0, numbers = 0;
    start(&g, DTYPE_MXFP4, ROWS, COLS, n);
    unsigned saved = threads_flush_denormals();
    for (int row = 0; row < ROWS; row++) {
        uint8_t blocks[COLS / 32][17];
        for (int b = 0; b < COLS / 32; b++) {
            for (int i = 1; i < 17; i++)
                blocks[b][i] = (uint8_t)rng_below(&g.r, 256);
            blocks[b][0] = row % 2 ? (uint8_t)rng_below(&g.r, 140) : (uint8_t)(2 + row);
        }
        pack_rows(&g.w, row, 1, blocks, DTYPE_MXFP4);
    }
    for (int j = 0; j < n; j++)
        for (int k = 0; k < COLS; k++)
            g.step.arena[j * COLS + k] = ldexpf(rng_normal(&g.r), -12 * ((j + k / 32) % 7));
    check(&g, 1, 1);
    for (int row = 0; row < ROWS; row++) {
        float y = ref_int16_row(&g.w, row, g.step.arena, COLS);
        zeros += y == 0;
        numbers += y != 0;
    }
    cr_assert(zeros > 0 && numbers > 0, "%d zeros, %d numbers", zeros, numbers);
    threads_restore_denormals(saved);
    end(&g);
}

Test(int16_job, denormal_products_of_scales_are_zero_in_every_form)
{
    check_small(1);
    check_small(7);
}

/* The largest job in two parts, which two threads are in at once. */
struct large_job {
    struct rig *g;
    const struct cpu_kernel *form;
    struct threads *pool;
    atomic_int inside;
};

static void large_part(void *ctx, int job, int part, int parts)
{
    struct large_job *l = ctx;
    (void)job;
    atomic_fetch_add(&l->inside, 1);
    while (atomic_load(&l->inside) < parts) /* until the pool's own thread has taken one */
        sched_yield();
    l->form->run(&l->g->step, &l->g->op, part, parts);
}
static void large_done(void *ctx, int job)
{
    (void)ctx;
    (void)job;
}
static void *run_large(void *arg)
{
    struct large_job *l = arg;
    const bool shared = true;
    threads_run(l->pool, &(struct threads_work){1, &shared, large_part, large_done, l});
    return NULL;
}

/* As after `ulimit -s 256`. Without room a thread dies. */
Test(int16_job, threads_have_room_for_the_largest_job_where_the_system_gives_little)
{
    struct rig g;
    struct err e = {0};
    struct large_job l = {.g = &g};
    pthread_attr_t little;
    pthread_t engine;
    cr_assert_eq(pthread_attr_init(&little), 0);
    cr_assert_eq(pthread_attr_setstacksize(&little, KIB(256)), 0);
    cr_assert_eq(pthread_setattr_default_np(&little), 0);
    cr_assert_eq(threads_open(&l.pool, 2, &e), 0, "%s", e.text);
    start(&g, DTYPE_Q8_0, 70, 1536, 2 * 96); /* its zeros serve */
    for (int i = 0; i < select_rows; i++) {
        l.form = &select_table[i];
        if (!is_form(l.form))
            continue;
        atomic_store(&l.inside, 0);
        cr_assert_eq(pthread_create(&engine, NULL, run_large, &l), 0);
        cr_assert_eq(pthread_join(engine, NULL), 0);
    }
    threads_close(l.pool);
    pthread_attr_destroy(&little);
    end(&g);
}
