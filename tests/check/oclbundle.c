/* oclbundle: steps with merged launches, and walks where the device or --tune has them, against
 * steps without, on the plan of a model with random weights: logits and states bit for bit, the
 * number of launches, and that what goes wrong with a merged kernel or a walk is noticed.
 *
 *   oclbundle MODEL_DIR DEVICE [--tune "key=value ..."] [--quantize q8|q4] [--most PERCENT]
 *             [--once] [rows ...]
 *
 * --most: of the launches without (60). --once: each way once, nothing is spoiled (oclgrind). rows:
 * of the steps (1 2 9), one a sequence. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "kernels/opencl/bundle.h"
#include "kernels/opencl/persistent.h"
#include "kernels/opencl/queue.h"
#include "models/model.h"
#include "tests/check/oclgrind.h"

#define ROWS_MOST OCL_BUNDLE_ROWS
#define STEPS 2

static struct ocl_device device;
static struct plan *plan;
static struct capacity cap;
static int failures;

static void must(int rc, const struct err *e)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "oclbundle: %s\n", e->text);
    exit(1);
}

static void fail(const char *what)
{
    printf("FAIL %s\n", what);
    failures++;
}

static void *need(size_t n)
{
    struct err e = {0};
    void *p = mem_array(n + 1, sizeof(float));
    must(p ? 0 : err_set(&e, E_NOMEM, "no memory for %zu numbers", n), &e);
    return p;
}

/* The width of what a weight's numbers are columns of, or 0: with random ones most columns would be
 * copied nowhere, and what is wrong with them would not be seen. */
static int32_t columns_of(int32_t weight)
{
    for (int32_t i = 0; i < plan->n_ops; i++)
        if (plan->ops[i].kind == OP_COLUMNS && plan->ops[i].w[COLUMNS_index] == weight)
            return plan->ops[i].in[COLUMNS_x].width;
    return 0;
}

static void fill_weights(struct ocl_model *m)
{
    struct err e = {0};
    struct rng r = {.seed = 3};
    for (int32_t i = 0; i < plan->n_weights; i++) {
        const struct weight *w = &plan->weights[i];
        float *row = need((size_t)w->cols);
        int32_t width = columns_of(i);
        for (int64_t k = 0; k < w->rows; k++) {
            for (int64_t c = 0; c < w->cols; c++)
                row[c] = width ? (float)((c * 5 + 1) % width) : rng_normal(&r) * 0.1f;
            must(ocl_weights_put(m, i, k, 1, row, DTYPE_F32, &e), &e);
        }
        mem_free(row);
    }
}

static void open_model(struct ocl_model *m, bool bundle)
{
    struct err e = {0};
    device.tune.bundle = bundle;
    must(ocl_model_init(m, &device, plan, &cap, &e), &e);
    fill_weights(m);
    must(OCL(&e, "the weights", clFinish, device.queue), &e);
    ocl_model_loaded(m);
}

/* STEPS steps of so many rows; logits of all and states of the first and the last follow each other
 * in out. Returns the launches of a step. */
static uint64_t run(struct ocl_model *m, int32_t rows, float *out)
{
    static int32_t tokens[ROWS_MOST], cu[ROWS_MOST + 1], items[ROWS_MOST];
    static int64_t pos[ROWS_MOST];
    struct ocl_times t = {0};
    struct err e = {0};
    for (int i = 0; i < STEPS; i++) {
        for (int32_t q = 0; q < rows; q++) {
            tokens[q] = (q * 31 + i * 7) % plan->vocab;
            cu[q + 1] = q + 1;
            items[q] = q;
            pos[q] = i;
            if (!i)
                must(ocl_queue_zero(m, &m->slots, q, &e), &e);
        }
        struct batch b = {.n_seqs = rows, .n_tokens = rows, .n_logits = rows, .tokens = tokens,
                          .cu_seqlens = cu, .slots = items, .pos = pos, .logit_rows = items,
                          .pages = items, .pages_per_seq = plan->page_token_floats ? 1 : 0};
        must(ocl_queue_run(m, &b, &t, &e), &e);
        for (int32_t q = 0; q < rows; q++, out += plan->vocab) {
            must(ocl_queue_logits(m, q, &e), &e);
            memcpy(out, m->logits_host.host, (size_t)plan->vocab * sizeof(float));
        }
    }
    must(ocl_queue_read(m, &m->slots, 0, out, &e), &e);
    must(ocl_queue_read(m, &m->slots, rows - 1, out + plan->slot_floats, &e), &e);
    return t.launches / STEPS;
}

static void compare(struct ocl_model *with, struct ocl_model *without, int32_t rows, int most)
{
    size_t n = (size_t)STEPS * (size_t)rows * (size_t)plan->vocab + 2 * (size_t)plan->slot_floats;
    float *a = need(n), *b = need(n);
    uint64_t before = run(without, rows, a), now = run(with, rows, b);
    bool same = !memcmp(a, b, n * sizeof *a), real = a[0] > 0 || a[0] < 0;
    printf("%2d rows: %llu launches, %llu of them without merges: bits %s\n", rows,
           (unsigned long long)now, (unsigned long long)before, same ? "equal" : "DIFFER");
    if (!same || !real)
        fail("bits");
    if (now * 100 > before * (uint64_t)most)
        fail("too many launches");
    mem_free(a);
    mem_free(b);
}

/* A merged launch of each source, in turn, writes into other memory; the walk, whose table says
 * where, does not. */
static void spoil(struct ocl_model *m)
{
    struct ocl_buffer other;
    struct err e = {0};
    int32_t tried = 0;
    must(ocl_buffer_new(&other, &device, m->arena.bytes, "other memory", &e), &e);
    for (int32_t i = 0; i < m->n_launches; i++) {
        struct ocl_launch *l = &m->launches[i];
        bool seen = !l->merged || l->rows_min > 1 || l->extent[0].n < 2;
        for (int32_t k = 0; k < i && !seen; k++)
            seen = m->launches[k].merged && m->launches[k].instance == l->instance;
        if (seen)
            continue;
        for (int back = 0; back < 2; back++) { /* the arena is the first argument of all */
            cl_mem mem = back ? m->arena.mem : other.mem;
            must(OCL(&e, "a launch", clSetKernelArg, l->kernel, 0, sizeof mem, &mem), &e);
            if (!back)
                must(ocl_bundle_test(m, &e), &e);
        }
        if (!m->unmerged)
            fail(m->instances[l->instance].file);
        m->unmerged = m->unwalked = false;
        tried++;
    }
    ocl_buffer_free(&other, &device);
    printf("%d merged launches spoiled\n", tried);
    if (!tried)
        fail("nothing to spoil");
    must(ocl_bundle_test(m, &e), &e);
    if (m->unmerged)
        fail("the proof of what is whole");
}

/* In each walk in turn the last product writes its outputs four numbers further. */
static void spoil_walks(struct ocl_model *m)
{
    struct err e = {0};
    for (int32_t i = 0; i < m->n_walks; i++) {
        const struct ocl_walks *w = &m->walks[i];
        const struct ocl_run *r = w->runs;
        while (!r->walked)
            r++;
        int32_t k = r->to;
        const struct ocl_launch *l;
        do
            l = &m->launches[w->launches[--k]];
        while (k > r->from && (l->merged || plan->ops[l->op].kind != OP_LINEAR));
        size_t at = (size_t)(w->record - 3) * (size_t)k + 2; /* behind the form and the arena */
        cl_ulong was = 0;
        must(OCL(&e, "a walk", clEnqueueReadBuffer, device.queue, w->table.mem, CL_TRUE, at * 8, 8,
                 &was, 0, NULL, NULL), &e);
        for (int back = 0; back < 2; back++) {
            cl_ulong now = was + (back ? 0 : 4);
            must(OCL(&e, "a walk", clEnqueueWriteBuffer, device.queue, w->table.mem, CL_TRUE,
                     at * 8, 8, &now, 0, NULL, NULL), &e);
            m->unwalked = m->unmerged = false;
            must(ocl_bundle_test(m, &e), &e);
            if (m->unmerged || m->unwalked != !back)
                fail(back ? "the proof of a walk" : "a walk that is spoiled");
        }
    }
    printf("%d walks spoiled\n", m->n_walks);
}

static void check(const int32_t *rows, int n_rows, int most, bool once)
{
    static struct ocl_model with, without;
    struct err e = {0};
    open_model(&with, true);
    open_model(&without, false);
    if (!once)
        must(ocl_bundle_test(&with, &e), &e);
    if (with.unmerged || with.unwalked)
        fail("the proof");
    if (device.tune.persistent && !with.n_walks)
        fail("no walk");
    for (int32_t i = 0; i < with.n_merges; i++)
        if (with.merges[i].off)
            fail("a merge that is off");
    for (int i = 0; i < n_rows; i++)
        compare(&with, &without, rows[i], most);
    if (!once) {
        spoil(&with);
        spoil_walks(&with);
    }
    ocl_model_free(&with);
    ocl_model_free(&without);
}

int main(int argc, char **argv)
{
    int32_t rows[16] = {1, 2, 9}, n_rows = 0, most = 60;
    const char *tune = "";
    bool once = false;
    struct err e = {0};
    struct model *m;
    struct model_options mo = {.dummy = true, .dummy_seed = 1};
    if (argc < 3)
        return fprintf(stderr, "usage: oclbundle MODEL_DIR DEVICE [--tune WORDS] "
                               "[--quantize q8|q4] [--most PERCENT] [--once] [rows ...]\n"), 2;
    for (int i = 3; i < argc; i++) {
        long v = strtol(argv[i], NULL, 10);
        if (!strcmp(argv[i], "--tune") && i + 1 < argc)
            tune = argv[++i];
        else if (!strcmp(argv[i], "--most") && i + 1 < argc)
            most = (int)strtol(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--quantize") && i + 1 < argc &&
                 quantize_parse(argv[i + 1], &mo.quantize))
            i++;
        else if (!strcmp(argv[i], "--once"))
            once = true;
        else if (v >= 1 && v <= ROWS_MOST && n_rows < (int)ARRAY_LEN(rows))
            rows[n_rows++] = (int32_t)v;
    }
    mo.dir = argv[1];
    must(model_open(&m, &mo, &e), &e);
    plan = &m->plan;
    n_rows = n_rows ? n_rows : 3;
    for (int32_t i = 0; i < n_rows; i++)
        cap.tokens = MAX(cap.tokens, rows[i]);
    cap.logits = cap.seqs = cap.slots = cap.tokens;
    cap.pages = plan->page_token_floats ? cap.tokens : 0;
    cap.pages_per_seq = cap.pages > 0;
    must(plan_layout(plan, &cap) < 0 ? err_set(&e, E_NOMEM, "no memory for a layout") : 0, &e);
    const char *name = strncmp(argv[2], "opencl:", 7) ? argv[2] : argv[2] + 7;
    must(ocl_device_open(&device, name, getenv("RECURD_OCL_CACHE"), &e), &e);
    if (strstr(device.info.platform_name, "Oclgrind"))
        oclgrind_whole_writes();
    must(ocl_tune_parse(&device.tune, tune, &e), &e);
    check(rows, n_rows, most, once);
    ocl_device_close(&device);
    model_close(m);
    printf("%d failures\n", failures);
    return failures != 0;
}
