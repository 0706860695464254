/* oclcheck: every OpenCL kernel against the definition, and the promises of the numerics contract
 * to the bit, on one device.
 *
 *   oclcheck [--device NAME] [--op NAME] [--shape AxBxC] [--class NAME] [--seed N] [--quick]
 *            [--cache DIR] [--tune "key=value ..."] [--bench] [--parse] [--aligned]
 *
 * --parse: nothing is run; are the arguments understood?
 * --op sample checks the sampler instead (--shape: one length of its rows), --bench times it.
 *
 * For every case: the result is near the definition's, nothing else is written (guards, other
 * slots), twice gives the same bits, a sequence alone gives the bits it has in the batch, and any
 * cut of it into steps does too. A failure prints the command that repeats it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/opencl/queue.h"
#include "tests/check/ops.h"
#include "tests/check/oclgrind.h"
#include "tests/check/oclsample.h"

struct options {
    const char *device, *op, *shape, *cache, *tune;
    int klass;
    uint64_t seed;
    bool quick, bench, parse, aligned;
};

static struct ocl_device device;
static const char *where = ""; /* the case being run */
static int failures, checks;

static void fail(const char *what, int64_t at, float got, float want)
{
    if (failures++ < 40)
        printf("FAIL %s: %s at %lld: %.9g, expected %.9g\n", where, what, (long long)at,
               (double)got, (double)want);
}

static void must(int rc, const struct err *e)
{
    if (!rc)
        return;
    printf("FAIL %s: %s\n", where, e->text);
    exit(1);
}

/* ---- moving a rig to the device ---- */

static float element(const struct host_weight *w, int64_t row, int64_t col)
{
    if (w->role == WEIGHT_VECTOR)
        return ((const float *)w->data)[row * w->cols + col];
    return panel_at(w, row, col);
}

/* Blocks of a rig have no file's form any more: the panels go over as they are. */
static void put_panels(struct ocl_model *m, int i, const struct host_weight *w)
{
    struct err e = {0};
    must(OCL(&e, "panels", clEnqueueWriteBuffer, m->d->queue, m->weights[i].buffer.mem, CL_TRUE, 0,
             w->bytes, w->data, 0, NULL, NULL), &e);
}

static void put_weights(struct ocl_model *m, const struct rig *r)
{
    struct err e = {0};
    for (int i = 0; i < r->plan.n_weights; i++) {
        const struct host_weight *w = &r->packed[i];
        if (!format_plain(w->dtype)) {
            put_panels(m, i, w);
            continue;
        }
        float *rows = mem_array((size_t)(w->rows * w->cols), 4);
        for (int64_t k = 0; k < w->rows; k++)
            for (int64_t c = 0; c < w->cols; c++)
                rows[k * w->cols + c] = element(w, k, c);
        int64_t first = w->rows / 3; /* in two pieces, not at a panel's edge */
        must(ocl_weights_put(m, i, 0, first, rows, DTYPE_F32, &e), &e);
        must(ocl_weights_put(m, i, first, w->rows - first, rows + first * w->cols, DTYPE_F32, &e),
             &e);
        mem_free(rows);
    }
}

static size_t arena_floats(const struct ocl_model *m, const struct rig *r)
{
    return MIN(m->arena.bytes / 4, (size_t)r->arena_n);
}

static void upload(struct ocl_model *m, cl_mem to, const float *p, size_t n)
{
    struct err e = {0};
    if (n)
        must(OCL(&e, "check", clEnqueueWriteBuffer, m->d->queue, to, CL_TRUE, 0, n * 4, p, 0, NULL,
                 NULL), &e);
}

static void download(struct ocl_model *m, cl_mem from, float *p, size_t n)
{
    struct err e = {0};
    if (n)
        must(OCL(&e, "check", clEnqueueReadBuffer, m->d->queue, from, CL_TRUE, 0, n * 4, p, 0, NULL,
                 NULL), &e);
}

static void put_memory(struct ocl_model *m, const struct rig *r, const struct memory *x)
{
    upload(m, m->arena.mem, x->arena, arena_floats(m, r));
    struct err e = {0};
    for (int32_t i = 0; i < r->n_slots; i++)
        must(ocl_queue_write(m, &m->slots, i, x->slots + i * m->slots.floats, &e), &e);
    for (int32_t i = 0; i < r->n_pages; i++)
        must(ocl_queue_write(m, &m->pages, i, x->pages + i * m->pages.floats, &e), &e);
}

static void get_memory(struct ocl_model *m, const struct rig *r, struct memory *x)
{
    download(m, m->arena.mem, x->arena, arena_floats(m, r));
    struct err e = {0};
    for (int32_t i = 0; i < r->n_slots; i++)
        must(ocl_queue_read(m, &m->slots, i, x->slots + i * m->slots.floats, &e), &e);
    for (int32_t i = 0; i < r->n_pages; i++)
        must(ocl_queue_read(m, &m->pages, i, x->pages + i * m->pages.floats, &e), &e);
}

static void device_run(struct ocl_model *m, const struct batch *b)
{
    struct err e = {0};
    struct ocl_times t = {0};
    must(ocl_queue_run(m, b, &t, &e), &e);
}

/* ---- comparing ---- */

static bool same(float a, float b)
{
    return memcmp(&a, &b, 4) == 0 || (isnan(a) && isnan(b));
}

/* Near: by the largest of the definition's values around, since a sum of large terms may be 0. */
static bool close_to(float got, float want, float scale, float tolerance)
{
    if (!isfinite(want))
        return !isfinite(got);
    return fabsf(got - want) <= tolerance * fmaxf(scale, fabsf(want)) + 1e-35f;
}

static float largest(const float *p, int64_t n)
{
    float top = 0;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(p[i]) && fabsf(p[i]) > top)
            top = fabsf(p[i]);
    return top;
}

/* Whether float i of the arena is one the op writes; *row0 then begins its row of the view. */
static bool in_view(const struct rig *r, struct view v, int64_t i, int64_t *row0)
{
    if (!view_given(v))
        return false;
    const struct act *a = &r->acts[v.act];
    int64_t rows = a->rows == ROWS_LOGITS ? r->batch.n_logits : r->batch.n_tokens;
    int64_t at = i - a->offset;
    if (at < 0 || at >= rows * a->stride)
        return false;
    int64_t c = at % a->stride;
    *row0 = i - c + v.col;
    return c >= v.col && c < v.col + v.width;
}

static bool written(const struct rig *r, int64_t i, int64_t *row0, int32_t *width)
{
    if (r->op.kind == OP_EW) {
        for (int k = 0; k < r->ew.n_out; k++)
            if (in_view(r, r->ew.out[k].v, i, row0)) {
                *width = r->ew.out[k].v.width;
                return true;
            }
        return false;
    }
    *width = r->op.out.width;
    return r->op.kind != OP_ATTENTION_KEEP && in_view(r, r->op.out, i, row0);
}

static void compare_ref(const struct ocl_model *m, const struct rig *r, const struct memory *got,
                        const struct memory *want, float tolerance)
{
    int64_t row0 = 0;
    int32_t width = 0;
    float top = largest(want->slots, r->slot_n); /* results are sums over them, which may cancel */
    for (int64_t i = 0; i < (int64_t)arena_floats(m, r); i++) {
        if (!written(r, i, &row0, &width)) {
            if (!same(got->arena[i], want->arena[i]))
                fail("a value outside the result changed", i, got->arena[i], want->arena[i]);
        } else if (!close_to(got->arena[i], want->arena[i],
                             fmaxf(top, largest(want->arena + row0, width)), tolerance)) {
            fail("result", i, got->arena[i], want->arena[i]);
        }
    }
    for (int64_t i = 0; i < r->slot_n; i++)
        if (!close_to(got->slots[i], want->slots[i], top, tolerance))
            fail("state", i, got->slots[i], want->slots[i]);
    for (int64_t i = 0; i < r->page_n; i++)
        if (!same(got->pages[i], want->pages[i]))
            fail("page", i, got->pages[i], want->pages[i]);
}

static void compare_bits(const char *what, const float *got, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!same(got[i], want[i])) {
            fail(what, i, got[i], want[i]);
            return;
        }
}

/* ---- the contract ---- */

/* Rows [from, to) of sequence q as a step of its own; results go to their place in `out`. */
static void run_part(struct ocl_model *m, struct rig *r, int q, int from, int to,
                     const struct memory *start, struct memory *part, float *out)
{
    int32_t row0 = r->cu[q] + from, cu[2] = {0, to - from};
    int64_t pos = r->pos[q] + from, n = (int64_t)arena_floats(m, r);
    int32_t last = to - from - 1;
    bool ends = r->cu[q] + to == r->cu[q + 1];
    memcpy(part->arena, start->arena, (size_t)n * 4);
    for (int i = 0; i < r->plan.n_acts; i++) {
        const struct act *a = &r->acts[i];
        int64_t s = a->stride;
        if (a->rows == ROWS_TOKENS)
            memmove(part->arena + a->offset, start->arena + a->offset + row0 * s,
                    (size_t)((to - from) * s) * 4);
        else /* one logit row a sequence: q's */
            memmove(part->arena + a->offset, start->arena + a->offset + q * s, (size_t)s * 4);
    }
    upload(m, m->arena.mem, part->arena, (size_t)n);
    struct batch b = {.n_seqs = 1, .n_tokens = to - from, .n_logits = ends,
                      .tokens = r->tokens + row0, .cu_seqlens = cu, .slots = &r->slots[q],
                      .pos = &pos, .logit_rows = &last,
                      .pages = r->batch.pages + q * r->batch.pages_per_seq,
                      .pages_per_seq = r->batch.pages_per_seq};
    device_run(m, &b);
    download(m, m->arena.mem, part->arena, (size_t)n);
    for (int i = 0; i < r->plan.n_acts; i++) {
        const struct act *a = &r->acts[i];
        int64_t s = a->stride;
        if (a->rows == ROWS_TOKENS)
            memcpy(out + a->offset + row0 * s, part->arena + a->offset,
                   (size_t)((to - from) * s) * 4);
        else if (ends)
            memcpy(out + a->offset + q * s, part->arena + a->offset, (size_t)s * 4);
    }
}

/* Attention and its relatives, whose cached rows another op stores. */
static bool reads_kept(enum op_kind k)
{
    return k == OP_ATTENTION || (k >= OP_PATH && k <= OP_INDEXED);
}

/* Stores rows [from, to) of sequence q, from `arena`, where the device finds them in the next
 * step. */
static void keep_part(struct ocl_model *m, struct rig *r, const float *arena, int q, int from,
                      int to)
{
    enum op_kind kind = r->op.kind;
    struct err e = {0};
    memcpy(r->arena, arena, arena_floats(m, r) * 4);
    r->op.kind = OP_ATTENTION_KEEP;
    rig_run(r, ref_attention_keep, q, from, to, 1, false);
    r->op.kind = kind;
    for (int32_t i = 0; i < r->n_slots; i++)
        must(ocl_queue_write(m, &m->slots, i, r->slot_mem + i * m->slots.floats, &e), &e);
    for (int32_t i = 0; i < r->n_pages; i++)
        must(ocl_queue_write(m, &m->pages, i, r->page_mem + i * m->pages.floats, &e), &e);
}

/* Every sequence alone, in steps of `chunk` rows, must give the bits of the batch. */
static void check_split(struct ocl_model *m, struct rig *r, const struct memory *start,
                        const struct memory *whole, int chunk)
{
    struct memory part = rig_save(r), all = rig_save(r);
    int64_t n = (int64_t)arena_floats(m, r);
    bool kept = reads_kept(r->op.kind);
    memcpy(all.arena, start->arena, (size_t)n * 4);
    rig_load(r, start);
    put_memory(m, r, start);
    for (int q = 0; q < r->batch.n_seqs; q++)
        for (int t = 0, len = r->cu[q + 1] - r->cu[q]; t < len; t += chunk) {
            run_part(m, r, q, t, MIN(len, t + chunk), start, &part, all.arena);
            if (kept && t + chunk < len)
                keep_part(m, r, all.arena, q, t, t + chunk);
        }
    if (kept) /* the op itself stores nothing: compare_ref */
        put_memory(m, r, start);
    get_memory(m, r, &part);
    char what[64];
    snprintf(what, sizeof what, "alone, %d rows a step: result", chunk);
    compare_bits(what, all.arena, whole->arena, n);
    snprintf(what, sizeof what, "alone, %d rows a step: state", chunk);
    compare_bits(what, part.slots, whole->slots, r->slot_n);
    compare_bits(what, part.pages, whole->pages, r->page_n);
    memory_free(&part);
    memory_free(&all);
}

/* Allowed distance from the definition, in units of a row's largest value: sums differ in order
 * and functions in their last bits. */
#define TOLERANCE 3e-5f
#define TOLERANCE_MMA 1e-2f /* of attention: weights of 8 bits */

static void round_row(float *x, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        x[i] = f32_of_bf16(bf16_of_f32(x[i]));
}

/* The cached keys and values of all sequences. */
static void round_kept(struct rig *r)
{
    const struct op *op = &r->op;
    int32_t n = op->in[1].width + op->in[2].width, W = op->p.attention.window;
    for (int q = 0; q < r->batch.n_seqs; q++)
        for (int64_t p = W ? MAX(r->pos[q] - W, 0) : 0; p < r->pos[q]; p++)
            round_row(W ? host_state(&r->step, op->section, r->slots[q]) +
                              p % W * (r->sections[0].elems / W)
                        : host_page_row(&r->step, op->section, q, p), n);
}

/* How many of the op's inputs tensor cores see rounded to bf16; so must the definition then. */
static int rounded(const struct ocl_model *m, const struct op *op)
{
    if (op->kind == OP_LINEAR)
        return m->weights[op->w[0]].layout == OCL_MMA;
    return ocl_attention_mma(m, op) ? 3 : 0; /* q, k, v */
}

static void round_inputs(struct rig *r, int inputs)
{
    for (int i = 0; i < inputs; i++)
        for (int t = 0; view_given(r->op.in[i]) && t < host_rows(&r->step, &r->op); t++)
            round_row(host_row(&r->step, r->op.in[i], t), r->op.in[i].width);
    if (inputs && reads_kept(r->op.kind))
        round_kept(r);
}

static host_kernel *const definitions[OP_KINDS] = {
#define OP(KIND, name, rows, sections, cost, factor, what) ref_##name,
#include "kernels/ops.def"
};

static void check_case(struct rig *r, const struct options *o)
{
    struct err e = {0};
    struct ocl_model m;
    const struct batch *b = &r->batch;
    struct capacity cap = {b->n_tokens, MAX(b->n_logits, 1), b->n_seqs, r->n_slots, r->n_pages,
                           b->pages_per_seq};
    must(ocl_model_init(&m, &device, &r->plan, &cap, &e), &e);
    put_weights(&m, r);
    struct memory start = rig_save(r), got = rig_save(r), again = rig_save(r);
    put_memory(&m, r, &start);
    device_run(&m, b);
    get_memory(&m, r, &got);
    int inputs = rounded(&m, &r->op);
    round_inputs(r, inputs);
    rig_run(r, definitions[r->op.kind], -1, 0, 0, 1, false);
    struct memory want = rig_save(r);
    for (int i = 0; i < inputs; i++)
        for (int64_t row0, k = 0; k < (int64_t)arena_floats(&m, r); k++)
            if (in_view(r, r->op.in[i], k, &row0))
                want.arena[k] = start.arena[k];
    bool weights = inputs && reads_kept(r->op.kind);
    if (weights) { /* it stores nothing, and what it read was rounded above */
        memcpy(want.slots, start.slots, (size_t)r->slot_n * 4);
        memcpy(want.pages, start.pages, (size_t)r->page_n * 4);
    }
    compare_ref(&m, r, &got, &want, weights ? TOLERANCE_MMA : TOLERANCE);
    put_memory(&m, r, &start);
    device_run(&m, b);
    get_memory(&m, r, &again);
    compare_bits("twice: result", again.arena, got.arena, (int64_t)arena_floats(&m, r));
    compare_bits("twice: state", again.slots, got.slots, r->slot_n);
    static const int chunks[] = {1, 13, 64};
    for (size_t i = 0; i < ARRAY_LEN(chunks) && !o->quick; i++)
        check_split(&m, r, &start, &got, chunks[i]);
    check_split(&m, r, &start, &got, 1 << 20);
    memory_free(&start);
    memory_free(&got);
    memory_free(&again);
    memory_free(&want);
    ocl_model_free(&m);
    checks++;
}

static void run_one(enum op_kind k, const struct shape *shape, int klass, const struct options *o)
{
    struct rig r;
    char text[256];
    int n = snprintf(text, sizeof text, "oclcheck --op %s --class %s --seed %llu %s--shape ",
                     op_name(k), class_names[klass], (unsigned long long)o->seed,
                     rig_guard == RIG_GUARD_ALIGNED ? "--aligned " : "");
    for (int i = 0; i < ops_params(k) && n < (int)sizeof text; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%d", i ? "x" : "", shape->p[i]);
    where = text;
    ops_rig(&r, k, shape, (enum input_class)klass, o->seed);
    if (r.sections[0].dtype == DTYPE_F32) /* other states are the host's alone */
        check_case(&r, o);
    rig_free(&r);
}

/* Kernels that take 16 bytes at a time are others where views are aligned. */
static void run_case(enum op_kind k, const struct shape *shape, int klass, const struct options *o)
{
    static const bool other[OP_KINDS] = {
        [OP_LINEAR] = true, [OP_NORM] = true,  [OP_EW] = true,    [OP_CONV] = true,
        [OP_SHIFT] = true,  [OP_DELTA] = true, [OP_DECAY] = true,
    };
    if (!o->aligned)
        run_one(k, shape, klass, o);
    if (o->aligned || (other[k] && klass == CLASS_uniform)) {
        rig_guard = RIG_GUARD_ALIGNED;
        run_one(k, shape, klass, o);
        rig_guard = RIG_GUARD_ODD;
    }
}

/* Every class at the small shapes; the others only uniform: a kernel does not see the class. */
static void run_op(enum op_kind k, const struct options *o)
{
    const struct shape *shapes = op_checks[k]->shapes;
    struct shape one;
    int n = ops_shapes(k), before = failures;
    if (o->shape) {
        if (!ops_parse(k, o->shape, &one)) {
            fprintf(stderr, "oclcheck: --shape of %s is %s\n", op_name(k), op_checks[k]->params);
            exit(2);
        }
        shapes = &one;
        n = 1;
    }
    for (int i = 0; i < n; i++)
        for (int c = 0; c < CLASS_COUNT; c++)
            if (o->klass >= 0 ? c == o->klass : c == CLASS_uniform || (i < 4 && !o->quick))
                run_case(k, &shapes[i], c, o);
    printf("%-16s %s\n", op_name(k), failures == before ? "ok" : "FAILED");
    fflush(stdout);
}

static int usage(void)
{
    fprintf(stderr, "usage: oclcheck [--device NAME] [--op NAME] [--shape AxBxC] "
                    "[--class NAME] [--seed N] [--quick] [--cache DIR] [--tune WORDS] "
                    "[--bench] [--aligned]\n");
    return 2;
}

static int class_of(const char *name)
{
    for (int i = 0; i < CLASS_COUNT; i++)
        if (!strcmp(name, class_names[i]))
            return i;
    return -1;
}

/* The exit status: whether there is such an op, of such a shape, and such a tuning. */
static int parsed(const struct options *o)
{
    struct ocl_tune t = {0};
    struct err e = {0};
    struct shape one;
    bool known = false;
    if (o->tune && ocl_tune_parse(&t, o->tune, &e)) {
        fprintf(stderr, "oclcheck: %s\n", e.text);
        return 1;
    }
    for (int k = 0; k < OP_KINDS; k++) {
        if (!ops_shapes((enum op_kind)k) || (o->op && strcmp(o->op, op_name((enum op_kind)k)) != 0))
            continue;
        known = true;
        if (o->shape && !ops_parse((enum op_kind)k, o->shape, &one)) {
            fprintf(stderr, "oclcheck: --shape of %s is %s\n", op_name((enum op_kind)k),
                    op_checks[k]->params);
            return 1;
        }
    }
    return !known && strcmp(o->op, "sample") != 0;
}

int main(int argc, char **argv)
{
    struct options o = {.klass = -1, .seed = 1, .cache = getenv("RECURD_OCL_CACHE")};
    struct err e = {0};
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(a, "--quick")) { o.quick = true; continue; }
        if (!strcmp(a, "--bench")) { o.bench = true; continue; }
        if (!strcmp(a, "--aligned")) { o.aligned = true; continue; }
        if (!strcmp(a, "--parse")) { o.parse = true; continue; }
        if (!v)
            return usage();
        i++;
        if (!strcmp(a, "--device")) o.device = strncmp(v, "opencl:", 7) ? v : v + 7;
        else if (!strcmp(a, "--op")) o.op = v;
        else if (!strcmp(a, "--shape")) o.shape = v;
        else if (!strcmp(a, "--class")) o.klass = class_of(v);
        else if (!strcmp(a, "--seed")) o.seed = strtoull(v, NULL, 10);
        else if (!strcmp(a, "--cache")) o.cache = v;
        else if (!strcmp(a, "--tune")) o.tune = v;
        else return usage();
    }
    if (o.parse)
        return parsed(&o);
    must(ocl_device_open(&device, o.device, o.cache, &e), &e);
    if (strstr(device.info.platform_name, "Oclgrind"))
        oclgrind_whole_writes();
    if (o.tune)
        must(ocl_tune_parse(&device.tune, o.tune, &e), &e);
    printf("oclcheck on %s\n", device.info.name);
    for (int k = 0; k < OP_KINDS; k++)
        if (ops_shapes((enum op_kind)k) && (!o.op || !strcmp(o.op, op_name((enum op_kind)k))))
            run_op((enum op_kind)k, &o);
    if (!o.op || !strcmp(o.op, "sample"))
        failures += oclsample_check(&device, o.seed, o.quick,
                                    o.shape ? (int32_t)strtol(o.shape, NULL, 10) : 0);
    if (o.bench)
        oclsample_bench(&device);
    printf("%d checks, %d failures\n", checks, failures);
    ocl_device_close(&device);
    return failures != 0;
}
