/* oclbundle: steps with merged launches, and walks where the device or --tune has them, against
 * steps without, on the plan of a model with random weights: logits and states bit for bit, the
 * number of launches, and that what goes wrong with a merged kernel or a walk is noticed.
 *
 *   oclbundle MODEL_DIR DEVICE [--tune "key=value ..."] [--quantize q8|q4] [--most PERCENT]
 *             [--some PERCENT] [--once] [--wgmma] [rows ...]
 *
 * --most, --some: of the launches without, in steps of one row a sequence and at most 32 (60), and
 * in others (90). --once: each way once, nothing is spoiled (oclgrind). --wgmma: with a model of
 * such products (oclwgmma.h). rows: of the steps (1 2 9), one a sequence; 3+5: three sequences of
 * one and one of five. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOOL "oclbundle"
#include "tests/check/tool.h"
#include "tests/check/oclwgmma.h"

#include "base/rng.h"
#include "kernels/opencl/bundle.h"
#include "kernels/opencl/persistent.h"
#include "kernels/opencl/queue.h"
#include "models/model.h"
#include "tests/check/oclgrind.h"

#define ROWS_MOST OCL_MANY_ROWS
#define STEPS 2

static struct ocl_device device;
static struct plan *plan;
static struct capacity cap;

/* A step of so many rows in as many sequences, and of `prompt` rows of another, the last. */
struct kind { int32_t streams, prompt; };

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

static int32_t seqs_of(struct kind k) { return k.streams + (k.prompt > 0); }

/* STEPS steps of a kind; logits of all sequences and states of the first and the last follow each
 * other in out. Returns the launches of a step. */
static uint64_t run(struct ocl_model *m, struct kind k, float *out)
{
    static int32_t tokens[ROWS_MOST], cu[ROWS_MOST + 1], items[ROWS_MOST], last[ROWS_MOST];
    static int64_t pos[ROWS_MOST];
    struct ocl_times t = {0};
    struct err e = {0};
    int32_t seqs = seqs_of(k), rows = k.streams + k.prompt;
    for (int i = 0; i < STEPS; i++) {
        for (int32_t r = 0; r < rows; r++)
            tokens[r] = (r * 31 + i * 7) % plan->vocab;
        for (int32_t q = 0; q < seqs; q++) {
            int32_t own = k.prompt && q + 1 == seqs ? k.prompt : 1;
            cu[q + 1] = cu[q] + own;
            items[q] = q;
            last[q] = cu[q + 1] - 1;
            pos[q] = i * own;
            if (!i)
                must(ocl_queue_zero(m, &m->slots, q, &e), &e);
        }
        struct batch b = {.n_seqs = seqs, .n_tokens = rows, .n_logits = seqs, .tokens = tokens,
                          .cu_seqlens = cu, .slots = items, .pos = pos, .logit_rows = last,
                          .pages = items, .pages_per_seq = plan->page_token_floats ? 1 : 0};
        must(ocl_queue_run(m, &b, &t, &e), &e);
        for (int32_t q = 0; q < seqs; q++, out += plan->vocab) {
            must(ocl_queue_logits(m, q, &e), &e);
            memcpy(out, m->logits_host.host, (size_t)plan->vocab * sizeof(float));
        }
    }
    must(ocl_queue_read(m, &m->slots, 0, out, &e), &e);
    must(ocl_queue_read(m, &m->slots, seqs - 1, out + plan->slot_floats, &e), &e);
    return t.launches / STEPS;
}

/* Most launches, in percent of those without merges. */
struct most { int single, other; };

static void compare(struct ocl_model *with, struct ocl_model *without, struct kind k,
                    struct most most)
{
    size_t n = (size_t)STEPS * (size_t)seqs_of(k) * (size_t)plan->vocab +
               2 * (size_t)plan->slot_floats;
    float *a = need(n), *b = need(n);
    uint64_t before = run(without, k, a), now = run(with, k, b);
    bool same = !memcmp(a, b, n * sizeof *a), real = a[0] > 0 || a[0] < 0;
    int percent = k.prompt || k.streams > OCL_BUNDLE_ROWS ? most.other : most.single;
    printf("%3d + %2d rows: %llu launches, %llu of them without merges: bits %s\n", k.streams,
           k.prompt, (unsigned long long)now, (unsigned long long)before,
           same ? "equal" : "DIFFER");
    if (!same || !real)
        fail("bits");
    if (now * 100 > before * (uint64_t)percent)
        fail("too many launches");
    mem_free(a);
    mem_free(b);
}

/* Whether the proof at start has a step that runs this merged launch, of several groups. */
static bool provable(const struct ocl_launch *l)
{
    static const int32_t least[STEPS_KINDS] = {1, 2, OCL_BUNDLE_ROWS + 1, OCL_BUNDLE_ROWS + 1,
                                               OCL_WIDE_ROWS + 1};
    bool can = false;
    for (int k = 0; k < STEPS_KINDS; k++)
        can = can || (l->merge[k] >= 0 && MAX(l->rows_min, least[k]) <= cap.tokens &&
                      (k != STEPS_WIDE || cap.seqs >= least[k]));
    return can && l->merged && l->extent[0].n > 1 &&
           (l->rows_min == 1 || l->rows_min == OCL_BUNDLE_ROWS + 1);
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
        bool seen = !provable(l);
        for (int32_t k = 0; k < i && !seen; k++)
            seen = provable(&m->launches[k]) && m->launches[k].instance == l->instance;
        if (seen)
            continue;
        for (int back = 0; back < 2; back++) { /* the arena is the first argument of all */
            cl_mem mem = back ? m->arena.mem : other.mem;
            must(OCL(&e, "a launch", clSetKernelArg, l->kernel, 0, sizeof mem, &mem), &e);
            if (!back)
                must(ocl_bundle_test(m, &e), &e);
        }
        for (int k = 0; k < STEPS_KINDS; k++)
            if (l->merge[k] >= 0 && !(m->unmerged >> k & 1))
                fail(m->instances[l->instance].file);
        m->unmerged = m->unwalked = 0;
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
        size_t at = (size_t)w->record * (size_t)k + 2; /* behind the form and the arena */
        cl_ulong was = 0;
        must(OCL(&e, "a walk", clEnqueueReadBuffer, device.queue, w->table.mem, CL_TRUE, at * 8, 8,
                 &was, 0, NULL, NULL), &e);
        for (int back = 0; back < 2; back++) {
            cl_ulong now = was + (back ? 0 : 4);
            must(OCL(&e, "a walk", clEnqueueWriteBuffer, device.queue, w->table.mem, CL_TRUE,
                     at * 8, 8, &now, 0, NULL, NULL), &e);
            m->unmerged = m->unwalked = 0;
            must(ocl_bundle_test(m, &e), &e);
            if (m->unmerged || m->unwalked != (uint32_t)!back << w->kind)
                fail(back ? "the proof of a walk" : "a walk that is spoiled");
        }
    }
    printf("%d walks spoiled\n", m->n_walks);
}

static void check(const struct kind *kinds, int n_kinds, struct most most, bool once)
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
    for (int i = 0; i < n_kinds; i++)
        compare(&with, &without, kinds[i], most);
    if (!once) {
        spoil(&with);
        spoil_walks(&with);
    }
    ocl_model_free(&with);
    ocl_model_free(&without);
}

/* Rows of the steps, and the capacity for them. */
static int parse_kinds(struct kind *kinds, int n)
{
    static const struct kind all[] = {{1, 0}, {2, 0}, {9, 0}};
    int32_t paged = plan->page_token_floats > 0;
    if (!n)
        memcpy(kinds, all, sizeof all), n = (int)ARRAY_LEN(all);
    for (int i = 0; i < n; i++) {
        cap.tokens = MAX(cap.tokens, kinds[i].streams + kinds[i].prompt);
        cap.seqs = MAX(cap.seqs, seqs_of(kinds[i]));
    }
    cap.logits = cap.slots = cap.seqs;
    cap.pages = paged * cap.seqs;
    cap.pages_per_seq = paged;
    return n;
}

int main(int argc, char **argv)
{
    struct kind kinds[16];
    struct most most = {60, 90};
    const char *tune = "";
    bool once = false, wgmma = false;
    struct err e = {0};
    struct model *m;
    struct model_options mo = {.dummy = true, .dummy_seed = 1};
    int n = 0;
    if (argc < 3)
        return fprintf(stderr, "usage: oclbundle MODEL_DIR DEVICE [--tune WORDS] "
                               "[--quantize q8|q4] [--most PERCENT] [--some PERCENT] [--once] "
                               "[--wgmma] [rows ...]\n"), 2;
    for (int i = 3; i < argc; i++) {
        struct kind k = {0, 0};
        int read = sscanf(argv[i], "%d+%d", &k.streams, &k.prompt);
        if (!strcmp(argv[i], "--tune") && i + 1 < argc)
            tune = argv[++i];
        else if (!strcmp(argv[i], "--most") && i + 1 < argc)
            most.single = (int)strtol(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--some") && i + 1 < argc)
            most.other = (int)strtol(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--quantize") && i + 1 < argc &&
                 quantize_parse(argv[i + 1], &mo.quantize))
            i++;
        else if (!strcmp(argv[i], "--once"))
            once = true;
        else if (!strcmp(argv[i], "--wgmma"))
            wgmma = true;
        else if (read > 0 && k.streams > 0 && k.prompt >= 0 &&
                 k.streams + k.prompt <= ROWS_MOST && n < (int)ARRAY_LEN(kinds))
            kinds[n++] = k;
    }
    mo.dir = argv[1];
    must(model_open(&m, &mo, &e), &e);
    plan = &m->plan;
    n = parse_kinds(kinds, n);
    must(plan_layout(plan, &cap) < 0 ? err_set(&e, E_NOMEM, "no memory for a layout") : 0, &e);
    const char *name = strncmp(argv[2], "opencl:", 7) ? argv[2] : argv[2] + 7;
    must(ocl_device_open(&device, name, getenv("RECURD_OCL_CACHE"), &e), &e);
    if (strstr(device.info.platform_name, "Oclgrind"))
        oclgrind_whole_writes();
    if (wgmma)
        wgmma_model(&device);
    must(ocl_tune_parse(&device.tune, tune, &e), &e);
    check(kinds, n, most, once);
    ocl_device_close(&device);
    model_close(m);
    printf("%d failures\n", failures);
    return failures != 0;
}
