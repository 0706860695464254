/* oclpacks: activations that whoever makes them writes packed (kernels/opencl/packed.h), against
 * products that pack them first: how packed rows lie; what follows sums; and, on the plan of a
 * model with random weights, logits, states and hidden rows bit for bit, merged and separate, how
 * many launches are gone of the separate ones, and that the test at start passes.
 *
 *   oclpacks MODEL_DIR DEVICE [--tune "key=value ..."] [rows ...]
 *
 * rows: of the steps (65 70 200), first in two sequences, then one in each, then in sequences of
 * one row and more that go on in other slots, or begin. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOOL "oclpacks"
#include "tests/check/tool.h"

#include "base/rng.h"
#include "kernels/opencl/packed.h"
#include "kernels/opencl/program.h"
#include "kernels/opencl/queue.h"
#include "kernels/opencl/shifted.h"
#include "kernels/opencl/source.h"
#include "models/model.h"

#define ROWS_MOST 1024
#define STEPS 3
#define SHORT 5 /* rows of the second of two sequences */

static struct ocl_device device;
static struct plan *plan;
static struct capacity cap;

/* ---- how packed rows lie ---- */

#define ROWS 19
#define WIDTH 70 /* two groups of 32 inputs and a part of one */
#define GROUPS 3
#define ROWS_P 24
#define PAIRS (ROWS_P * GROUPS * 16)
#define STRIDE 72
#define SLICES 3
#define CHAIN 80 /* floats of a row of a chain: a multiple of 16 */
#define CHAINS (SLICES * ROWS * CHAIN)

/* Of the kernels below: rows, packed rows, counts, a bias; the rows as another kernel left them;
 * chains of slices. */
enum { B_ROWS, B_PAIRS, B_COUNTS, B_BIAS, B_DONE, B_CHAINS, BUFFERS };
static struct ocl_buffer buffers[BUFFERS];

/* What follows a sum. */
struct follows { cl_int has_bias, act; };

static float number(int row, int k) /* exact as bf16 */
{
    return row < ROWS && k < WIDTH ? (float)((row * WIDTH + k) % 251 + 1) : 0.0f;
}

static uint32_t pair(int row, int k)
{
    float f[2] = {number(row, k), number(row, k + 1)};
    uint32_t u[2];
    memcpy(u, f, sizeof u);
    return u[0] >> 16 | (u[1] & 0xffff0000u);
}

/* From the first pair in memory to the last. Rows past the last stay zeros. */
static void expected(uint32_t *to, bool cores)
{
    for (int product = 0; product < GROUPS * 2; product++) {
        int k = product / 2 * 32 + product % 2 * 4;
        for (int eight = 0; eight < ROWS_P && cores; eight += 8)
            for (int half = 0; half < 2; half++)
                for (int row = eight; row < eight + 8; row++)
                    for (int lane = 0; lane < 4; lane++)
                        *to++ = pair(row, k + lane * 8 + half * 2);
        for (int row = 0; row < ROWS_P && !cores; row++)
            for (int lane = 0; lane < 4; lane++)
                for (int half = 0; half < 2; half++)
                    *to++ = pair(row, k + lane * 8 + half * 2);
    }
}

/* pack_rows.cl, and pairs one by one as nvidia/norm_rows.cl stores them. */
static void pack_source(struct buf *b, bool cores)
{
    buf_init(b, MIB(1));
    ocl_source_begin(b);
    ocl_source_add(b, "mma.clh");
    buf_fmt(b, "#define KERNEL by_eights\n#define X_ALIGNED 1\n#define CORES %d\n", cores);
    buf_str(b, ocl_source_find("nvidia/pack_rows.cl"));
    buf_str(b, "\n#undef KERNEL\n#define KERNEL after\n");
    buf_str(b, ocl_source_find("nvidia/linear_after.cl"));
    buf_fmt(b, "\n#undef KERNEL\n#define KERNEL sum\n#define SLICES %d\n", SLICES);
    buf_str(b, ocl_source_find("nvidia/linear_sum.cl"));
    buf_str(b, "\n#undef KERNEL\n#define KERNEL sum_packed\n");
    buf_str(b, ocl_source_find("nvidia/sum_packed.cl"));
    buf_str(b, "\nkernel void by_pairs(global float *arena, VIEW(x), global uint *to,\n"
               "                     const int inputs, const int eighths, const ulong rows_p,\n"
               "                     const ulong to_at)\n"
               "{\n"
               "    int k = (int)get_global_id(0) * 2, row = (int)get_global_id(1);\n"
               "    float a = k < inputs ? ROW(x, row)[k] : 0.0f;\n"
               "    float b = k + 1 < inputs ? ROW(x, row)[k + 1] : 0.0f;\n"
               "    to[to_at + pair_at(CORES, rows_p, row, k)] = pair_bf16(a, b);\n"
               "}\n");
}

struct arg { size_t size; const void *p; };

/* Runs a kernel of a program with such arguments. */
static void run_kernel(cl_program p, const char *name, const struct arg *args, cl_uint n,
                       const size_t global[2], const size_t local[2])
{
    struct err e = {0};
    cl_kernel k = NULL;
    must(OCL_NEW(k, &e, name, clCreateKernel, p, name), &e);
    for (cl_uint i = 0; i < n; i++)
        must(OCL(&e, "an argument", clSetKernelArg, k, i, args[i].size, args[i].p), &e);
    must(OCL(&e, name, clEnqueueNDRangeKernel, device.queue, k, 2, NULL, global, local, 0, NULL,
             NULL), &e);
    must(OCL(&e, name, clFinish, device.queue), &e);
    OCL_FREE(clReleaseKernel, k);
}

static void fill(int i, const void *from, size_t bytes)
{
    struct err e = {0};
    must(OCL(&e, "numbers", clEnqueueWriteBuffer, device.queue, buffers[i].mem, CL_TRUE, 0, bytes,
             from, 0, NULL, NULL), &e);
}

static void read_pairs(uint32_t *got)
{
    struct err e = {0};
    must(OCL(&e, "pairs", clEnqueueReadBuffer, device.queue, buffers[B_PAIRS].mem, CL_TRUE, 0,
             PAIRS * sizeof *got, got, 0, NULL, NULL), &e);
}

static void run_pack(cl_program p, bool pairs, bool cores, int rows, struct follows f,
                     uint32_t *got)
{
    cl_int stride = STRIDE, inputs = WIDTH, eighths = GROUPS * 4, logits = 0;
    cl_ulong at = 0, rows_p = ROWS_P;
    size_t local[2] = {cores && !pairs ? 32 : 1, cores && !pairs ? 2 : 1};
    size_t groups[2] = {pairs ? GROUPS * 16 : cores ? (GROUPS + 1) / 2 : GROUPS * 4,
                        cores && !pairs ? ROWS_P / 8 : ROWS};
    size_t global[2] = {groups[0] * local[0], groups[1] * local[1]};
    const struct arg args[] = {
        {sizeof(cl_mem), &buffers[rows].mem}, {8, &at}, {4, &stride},
        {sizeof(cl_mem), &buffers[B_PAIRS].mem}, {4, &inputs}, {4, &eighths}, {8, &rows_p},
        {8, &at}, {sizeof(cl_mem), &buffers[B_COUNTS].mem}, {4, &logits},
        {sizeof(cl_mem), &buffers[B_BIAS].mem}, {4, &f.has_bias}, {4, &f.act},
    };
    memset(got, 0, PAIRS * sizeof *got);
    fill(B_PAIRS, got, PAIRS * sizeof *got);
    run_kernel(p, pairs ? "by_pairs" : "by_eights", args, pairs ? 8 : ARRAY_LEN(args), global,
               local);
    read_pairs(got);
}

/* linear_after.cl in place, or linear_sum.cl from chains to rows; sum_packed.cl to packed rows. */
static void run_after(cl_program p, const char *name, struct follows f)
{
    bool packs = !strcmp(name, "sum_packed");
    cl_int stride = packs ? ROWS_P : STRIDE, outputs = WIDTH, none = 0, chain = CHAIN;
    cl_ulong at = 0, plane = ROWS * CHAIN;
    cl_mem rows = buffers[packs ? B_PAIRS : B_DONE].mem;
    size_t local[2] = {packs ? 32 : 1, packs ? 2 : 1};
    size_t global[2] = {packs ? (GROUPS + 1) / 2 * 32 : STRIDE, packs ? ROWS_P / 8 * 2 : ROWS};
    const struct arg args[] = {
        {sizeof rows, &rows}, {8, &at}, {4, &stride}, {8, &at}, {4, &stride}, {8, &at},
        {4, &stride}, {sizeof rows, &rows}, {sizeof(cl_mem), &buffers[B_BIAS].mem},
        {sizeof(cl_mem), &buffers[B_COUNTS].mem}, {4, &outputs}, {4, &none}, {8, &at},
        {4, &none}, {4, &f.has_bias}, {4, &none}, {4, &f.act}, {4, &none},
        {sizeof(cl_mem), &buffers[B_CHAINS].mem}, {8, &at}, {4, &chain}, {8, &plane},
    };
    run_kernel(p, name, args, ARRAY_LEN(args) - (strcmp(name, "after") ? 0 : 4), global, local);
}

static void check_layout(cl_program p, bool cores)
{
    static uint32_t want[PAIRS], got[PAIRS];
    static float x[ROWS * STRIDE];
    for (int i = 0; i < ROWS * STRIDE; i++)
        x[i] = i % STRIDE < WIDTH ? number(i / STRIDE, i % STRIDE) : -1;
    fill(B_ROWS, x, sizeof x);
    expected(want, cores);
    for (int i = 0; i < 2; i++) {
        run_pack(p, i, cores, B_ROWS, (struct follows){0, ACT_NONE}, got);
        bool same = !memcmp(got, want, sizeof want);
        printf("packed %s for %s: %s\n", i ? "by pairs" : "by eights",
               cores ? "wgmma" : "mma.sync", same ? "equal" : "DIFFER");
        if (!same)
            fail("how packed rows lie");
    }
}

/* Numbers of all sizes, of both signs, and what is none. */
static float any_number(struct rng *r)
{
    static const float odd[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-40f, -1e-40f, 3e38f};
    uint64_t n = rng_below(r, 64);
    return n < ARRAY_LEN(odd) ? odd[n] : rng_normal(r) * ldexpf(1, (int)(n % 24) - 16);
}

/* What follows bare sums while they are packed, and slices added to packed rows, against kernels
 * that leave rows for others to pack. */
static void check_follows(cl_program p)
{
    static const cl_int acts[] = {ACT_NONE, ACT_SILU, ACT_SIGMOID, ACT_RELU,
                                  ACT_SQRELU, ACT_TANH, ACT_GELU_TANH, ACT_GELU_ERF};
    static uint32_t want[PAIRS], got[PAIRS];
    static const struct follows none = {0, ACT_NONE};
    static float x[ROWS * STRIDE], bias[WIDTH], chains[CHAINS];
    struct rng r = {.seed = 5};
    int bare = 0, sums = 0, n = 0;
    for (int i = 0; i < ROWS * STRIDE; i++)
        x[i] = any_number(&r);
    for (int i = 0; i < WIDTH; i++)
        bias[i] = rng_normal(&r);
    for (int i = 0; i < CHAINS; i++)
        chains[i] = any_number(&r);
    fill(B_ROWS, x, sizeof x);
    fill(B_BIAS, bias, sizeof bias);
    fill(B_CHAINS, chains, sizeof chains);
    for (size_t i = 0; i < 2 * ARRAY_LEN(acts); i++, n++) {
        struct follows f = {i % 2, acts[i / 2]};
        fill(B_DONE, x, sizeof x);
        run_after(p, "after", f);
        run_pack(p, false, true, B_DONE, none, want);
        run_pack(p, false, true, B_ROWS, f, got);
        bare += memcmp(got, want, sizeof want) != 0;
        run_after(p, "sum", f);
        run_pack(p, false, true, B_DONE, none, want);
        memset(got, 0, sizeof got);
        fill(B_PAIRS, got, sizeof got);
        run_after(p, "sum_packed", f);
        read_pairs(got);
        sums += memcmp(got, want, sizeof want) != 0;
    }
    printf("bare sums packed with what follows them, %d ways: %s\n", n, bare ? "DIFFER" : "equal");
    printf("slices added to packed rows, %d ways: %s\n", n, sums ? "DIFFER" : "equal");
    if (bare || sums)
        fail("what follows sums");
}

static void check_kernels(bool cores)
{
    const cl_int counts[4] = {1, ROWS, 1, 0};
    struct err e = {0};
    struct buf source;
    cl_program p;
    pack_source(&source, cores);
    must(ocl_program_build(&p, &device, "nvidia/pack_rows.cl", source.p, false, &e), &e);
    for (int i = 0; i < BUFFERS; i++)
        must(ocl_buffer_new(&buffers[i], &device,
                            MAX(PAIRS * sizeof(uint32_t), CHAINS * sizeof(float)), "numbers", &e),
             &e);
    fill(B_COUNTS, counts, sizeof counts);
    check_layout(p, cores);
    if (cores)
        check_follows(p);
    for (int i = 0; i < BUFFERS; i++)
        ocl_buffer_free(&buffers[i], &device);
    buf_free(&source);
}

/* ---- steps ---- */

static void fill_weights(struct ocl_model *m)
{
    struct err e = {0};
    struct rng r = {.seed = 3};
    for (int32_t i = 0; i < plan->n_weights; i++) {
        const struct weight *w = &plan->weights[i];
        float *row = need((size_t)w->cols);
        for (int64_t k = 0; k < w->rows; k++) {
            for (int64_t c = 0; c < w->cols; c++)
                row[c] = rng_normal(&r) * 0.1f;
            must(ocl_weights_put(m, i, k, 1, row, DTYPE_F32, &e), &e);
        }
        mem_free(row);
    }
}

static void open_model(struct ocl_model *m, bool packs)
{
    struct err e = {0};
    device.tune.packs = packs;
    must(ocl_model_init(m, &device, plan, &cap, &e), &e);
    fill_weights(m);
    must(OCL(&e, "the weights", clFinish, device.queue), &e);
    ocl_model_loaded(m);
}

/* Products of a step whose rows come packed. */
static uint64_t packed_products(const struct ocl_model *m, int32_t rows)
{
    uint64_t n = 0;
    for (int32_t i = 0; i < plan->n_ops; i++) {
        const struct op *op = &plan->ops[i];
        const struct ocl_packed *x = op->kind == OP_LINEAR ? ocl_packed(m, op->in[LINEAR_x]) : NULL;
        n += x && rows >= x->from;
    }
    return n;
}

/* Whether nothing of a later time lies where an activation did. */
static bool is_kept(const struct ocl_model *m, int32_t act)
{
    const struct act *all = m->plan->acts, *a = &all[act];
    for (int32_t i = 0; i < m->plan->n_acts; i++)
        if (all[i].last > a->last && all[i].offset < a->offset + cap.tokens * a->stride &&
            a->offset < all[i].offset + cap.tokens * all[i].stride)
            return false;
    return true;
}

static int32_t hidden = -1; /* the activation whose rows the last layer leaves, if they are kept */

static void find_hidden(const struct ocl_model *m)
{
    for (int32_t i = 0; i < plan->n_ops; i++)
        if (plan->ops[i].kind == OP_GATHER)
            hidden = plan->ops[i].in[GATHER_x].act;
    if (hidden >= 0 && !is_kept(m, hidden))
        hidden = -1;
}

static size_t hidden_floats(int32_t rows)
{
    return hidden < 0 ? 0 : (size_t)rows * (size_t)plan->acts[hidden].stride;
}

/* Zeros where the columns end: nobody writes there. */
static void read_hidden(struct ocl_model *m, int32_t rows, float *out)
{
    struct err e = {0};
    if (!hidden_floats(rows))
        return;
    const struct act *a = &plan->acts[hidden];
    must(ocl_queue_rows_read(m, hidden, rows, out, &e), &e);
    for (int32_t r = 0; r < rows; r++, out += a->stride)
        memset(out + a->width, 0, (size_t)(a->stride - a->width) * sizeof *out);
}

/* Shifts that a step does not make. */
static uint64_t unmade_shifts(const struct ocl_model *m, int32_t rows)
{
    uint64_t n = 0;
    for (int32_t i = 0; i < plan->n_ops; i++)
        n += plan->ops[i].kind == OP_SHIFT && rows > ocl_shift_rows_max(m, &m->plan->ops[i]);
    return n;
}

/* Shifts of the plan: their readers pack, all of them. */
static uint64_t shifts(void)
{
    uint64_t n = 0;
    for (int32_t i = 0; i < plan->n_ops; i++)
        n += plan->ops[i].kind == OP_SHIFT;
    return n;
}

/* Rows of a sequence, where so many are left. */
static int32_t length(int step, int32_t q, int32_t left)
{
    static const int32_t mixed[] = {1, 1, 3, 1, 9, 2, 17, 8}; /* within, across and on tiles of 8 */
    int32_t n = step == 0 ? (q ? left : left - SHORT)
                          : step == 1 ? 1 : mixed[q % (int32_t)ARRAY_LEN(mixed)];
    return MIN(n, left);
}

/* STEPS steps: logits of all rows, hidden rows, and the states of all sequences into out. Returns
 * their launches. */
static uint64_t run(struct ocl_model *m, int32_t rows, float *out)
{
    static int32_t tokens[ROWS_MOST], cu[ROWS_MOST + 1], items[ROWS_MOST], slots[ROWS_MOST];
    static int64_t pos[ROWS_MOST], seen[ROWS_MOST];
    struct ocl_times t = {0};
    struct err e = {0};
    for (int32_t q = 0; q < rows; q++) {
        items[q] = q;
        seen[q] = 0;
        must(ocl_queue_zero(m, &m->slots, q, &e), &e);
    }
    for (int i = 0; i < STEPS; i++) {
        int32_t seqs = 0;
        for (int32_t q = 0; q < rows; q++)
            tokens[q] = (q * 31 + i * 7) % plan->vocab;
        for (; cu[seqs] < rows; seqs++) {
            int32_t slot = slots[seqs] = i < 2 ? seqs : rows - 1 - seqs;
            if (i == 2 && seqs % 3 == 2) {
                must(ocl_queue_zero(m, &m->slots, slot, &e), &e);
                seen[slot] = 0;
            }
            cu[seqs + 1] = cu[seqs] + length(i, seqs, rows - cu[seqs]);
            pos[seqs] = seen[slot];
            seen[slot] += cu[seqs + 1] - cu[seqs];
        }
        struct batch b = {.n_seqs = seqs, .n_tokens = rows, .n_logits = rows, .tokens = tokens,
                          .cu_seqlens = cu, .slots = slots, .pos = pos, .logit_rows = items};
        must(ocl_queue_run(m, &b, &t, &e), &e);
        for (int32_t q = 0; q < rows; q++, out += plan->vocab) {
            must(ocl_queue_logits(m, q, &e), &e);
            memcpy(out, m->logits_host.host, (size_t)plan->vocab * sizeof(float));
        }
        read_hidden(m, rows, out);
        out += hidden_floats(rows);
    }
    for (int32_t q = 0; q < rows; q++, out += plan->slot_floats)
        must(ocl_queue_read(m, &m->slots, q, out, &e), &e);
    return t.launches;
}

/* Activations that come as bare sums to who packs them: what would follow a product is gone, but
 * where it adds slices. */
static uint64_t bare_sums(const struct ocl_model *m)
{
    uint64_t n = 0;
    for (int32_t i = 0; i < plan->n_ops; i++)
        n += plan->ops[i].kind == OP_LINEAR && ocl_bare(m, plan->ops[i].out);
    return n;
}

static void compare(struct ocl_model *with, struct ocl_model *without, int32_t rows)
{
    size_t n = STEPS * ((size_t)rows * (size_t)plan->vocab + hidden_floats(rows)) +
               (size_t)rows * (size_t)plan->slot_floats;
    float *a = need(n), *b = need(n);
    uint64_t gone = packed_products(with, rows), unmade = unmade_shifts(with, rows);
    with->unmerged = without->unmerged = STEPS_EVERY;
    uint64_t before = run(without, rows, a), now = run(with, rows, b);
    uint64_t bare = bare_sums(with), less = (gone + unmade) * STEPS;
    bool same = !memcmp(a, b, n * sizeof *a), real = a[0] > 0 || a[0] < 0;
    printf("%3d rows: %llu launches of %d steps, %llu where products pack; %llu products take "
           "packed rows, %llu shifts are not made: bits %s\n", rows, (unsigned long long)now, STEPS,
           (unsigned long long)before, (unsigned long long)gone, (unsigned long long)unmade,
           same ? "equal" : "DIFFER");
    if (!same || !real)
        fail("bits");
    if (now + less > before || now + less + bare * STEPS < before || !gone || unmade != shifts())
        fail("launches");
    with->unmerged = 0;
    if (with->n_merges) {
        uint64_t merged = run(with, rows, b);
        same = !memcmp(a, b, n * sizeof *a);
        printf("%3d rows: merged %llu: bits %s\n", rows, (unsigned long long)merged,
               same ? "equal" : "DIFFER");
        if (!same || merged > now)
            fail("merged launches");
    }
    mem_free(a);
    mem_free(b);
}

static void check_steps(const int32_t *rows, int n_rows)
{
    static struct ocl_model with, without;
    struct err e = {0};
    open_model(&with, true);
    find_hidden(&with);
    must(ocl_selftest(&with, true, &e), &e);
    open_model(&without, false);
    if (packed_products(&without, ROWS_MOST))
        fail("packs=0");
    for (int i = 0; i < n_rows; i++)
        compare(&with, &without, rows[i]);
    ocl_model_free(&with);
    ocl_model_free(&without);
}

int main(int argc, char **argv)
{
    int32_t rows[16] = {65, 70, 200}, n_rows = 0;
    const char *tune = "";
    struct err e = {0};
    struct model *m;
    struct model_options mo = {.dummy = true, .dummy_seed = 1};
    if (argc < 3)
        return fprintf(stderr, "usage: oclpacks MODEL_DIR DEVICE [--tune WORDS] [rows ...]\n"), 2;
    for (int i = 3; i < argc; i++) {
        long v = strtol(argv[i], NULL, 10);
        if (!strcmp(argv[i], "--tune") && i + 1 < argc)
            tune = argv[++i];
        else if (v > SHORT && v <= ROWS_MOST && n_rows < (int)ARRAY_LEN(rows))
            rows[n_rows++] = (int32_t)v;
    }
    mo.dir = argv[1];
    must(model_open(&m, &mo, &e), &e);
    plan = &m->plan;
    n_rows = n_rows ? n_rows : 3;
    for (int32_t i = 0; i < n_rows; i++)
        cap.tokens = MAX(cap.tokens, rows[i]);
    cap.logits = cap.seqs = cap.slots = cap.tokens;
    must(plan->page_token_floats ? err_set(&e, E_UNSUPPORTED, "a model with pages") : 0, &e);
    must(plan_layout(plan, &cap) < 0 ? err_set(&e, E_NOMEM, "no memory for a layout") : 0, &e);
    const char *name = strncmp(argv[2], "opencl:", 7) ? argv[2] : argv[2] + 7;
    must(ocl_device_open(&device, name, getenv("RECURD_OCL_CACHE"), &e), &e);
    must(ocl_tune_parse(&device.tune, tune, &e), &e);
    check_kernels(false);
    check_kernels(true);
    check_steps(rows, n_rows);
    ocl_device_close(&device);
    model_close(m);
    printf("%d failures\n", failures);
    return failures != 0;
}
