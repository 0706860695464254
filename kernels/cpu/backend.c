/* The cpu backend: packed weights, arena, slots and pages in host memory, and the loop that runs
 * a plan's ops on the thread pool. "ref" is the same with plain C kernels on one thread.
 *
 * Owner of everything: the device. Thread: the engine's; the pool's workers only inside run(). */
#include "base/freemem.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/profile.h"
#include "kernels/cpu/quota.h"
#include "kernels/cpu/stages.h"
#include "kernels/numerics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Ops below this time, or a stage of them, are not shared: handing one round costs 0.5 us. */
#define SOLO_NS 1500
/* Vector loads may run past the last element of a buffer, never past this. */
#define SLACK_FLOATS 64

/* An op in this step. */
struct task {
    double ns; /* what it costs one thread, roughly */
    int whole; /* of a stage that is shared: the part that does all of it; -1: each its share */
};

struct cpu_device {
    struct device d;
    struct threads *threads;
    const struct cpu_kernel *kernels[OP_KINDS][DTYPES];
    struct capacity capacity;
    struct host_step step;
    struct host_weight *weights;
    int32_t *row_seq;
    struct stages stages;
    bool *shared;       /* [stages.n] this step: by all threads, or by one */
    struct task *tasks; /* [n_ops] */
    struct sampler *samplers; /* [n_samplers] one for each thread that may sample at once */
    int n_samplers;
    char numerics[NUMERICS_TEXT];
    int64_t arena_floats, slots_floats, pages_floats;
    size_t bytes;
    struct profile *profile; /* NULL: nothing is timed */
};

static struct cpu_device *cpu(struct device *d) { return (struct cpu_device *)d; }

/* Large blocks get pages of their own, which whoever writes them first clears: weights the threads
 * that pack them, states the sequence that gets the slot, rows of activations and of attention the
 * step that needs them. */
#define MAPPED_FROM MIB(4)

static void *block_new(size_t bytes)
{
    return bytes >= MAPPED_FROM ? mem_mapped(bytes) : mem_aligned(bytes);
}

static void block_free(void *p, size_t bytes)
{
    if (bytes >= MAPPED_FROM)
        mem_mapped_free(p, bytes);
    else
        mem_aligned_free(p, bytes);
}

static void unload(struct cpu_device *c)
{
    for (int i = 0; c->weights && i < c->step.plan->n_weights; i++)
        block_free(c->weights[i].data, c->weights[i].bytes);
    mem_free(c->weights);
    block_free(c->step.arena, (size_t)c->arena_floats * sizeof(float));
    block_free(c->step.slots, (size_t)c->slots_floats * sizeof(float));
    block_free(c->step.pages, (size_t)c->pages_floats * sizeof(float));
    mem_free(c->row_seq);
    mem_free(c->shared);
    mem_free(c->tasks);
    stages_free(&c->stages);
    for (int i = 0; i < c->n_samplers; i++)
        sample_fini(&c->samplers[i]);
    mem_free(c->samplers);
    c->samplers = NULL;
    c->n_samplers = 0;
    c->weights = NULL;
    c->row_seq = NULL;
    c->shared = NULL;
    c->tasks = NULL;
    c->step = (struct host_step){0};
    c->bytes = 0;
}

static void backend_close(struct device *d)
{
    if (!d)
        return;
    unload(cpu(d));
    profile_free(cpu(d)->profile);
    threads_close(cpu(d)->threads);
    mem_free(d);
}

static void describe(struct cpu_device *c, bool all_cpus)
{
    const char *isa = c->kernels[OP_LINEAR][DTYPE_F32]->variant;
    int n = threads_count(c->threads);
    char why[128] = ""; /* fewer threads than a reader of the machine's data sheet expects */
    if (all_cpus)
        quota_cpus(why, sizeof why);
    snprintf(c->d.description, sizeof c->d.description, "cpu, %d thread%s%s, %s kernels", n,
             n == 1 ? "" : "s", why, isa);
}

/* "ref" means ref kernels only, on one thread, so that nothing about it can vary. */
static int backend_open(struct device **out, const struct device_options *o, struct err *e)
{
    bool ref = strcmp(o->spec, "ref") == 0;
    int rc;
    *out = NULL;
    struct cpu_device *c = mem_zalloc(sizeof *c);
    if (!c)
        return err_set(e, E_NOMEM, "no memory for the cpu device");
    c->d.backend = &backend_cpu;
    rc = select_kernels(c->kernels, ref ? "ref" : o->kernels, e);
    if (!rc)
        rc = threads_open(&c->threads, ref ? 1 : o->threads, e);
    if (!rc && o->profile && !(c->profile = profile_new(threads_count(c->threads))))
        rc = err_set(e, E_NOMEM, "no memory to time ops");
    if (rc) {
        backend_close(&c->d);
        return rc;
    }
    describe(c, !ref && o->threads == 0);
    *out = &c->d;
    return 0;
}

/* n items of so many floats each, and the slack; grows *total by their bytes. */
static bool add_floats(int64_t n, int64_t floats, int64_t *out, size_t *total)
{
    size_t bytes;
    return !mul_overflows(n, floats, out) && !add_overflows(*out, SLACK_FLOATS, out) &&
           !mul_overflows(*out, sizeof(float), &bytes) && !add_overflows(*total, bytes, total);
}

/* Sizes of everything, before anything is allocated. */
static int measure(struct cpu_device *c, const struct plan *p, const struct capacity *cap,
                   size_t *total, struct err *e)
{
    *total = 0;
    for (int i = 0; i < p->n_weights; i++) {
        size_t n;
        if (!pack_bytes(&p->weights[i], &n) || add_overflows(*total, n, total))
            return err_set(e, E_NOMEM, "weight %d: %lld x %lld elements exceed the address space",
                           i, (long long)p->weights[i].rows, (long long)p->weights[i].cols);
    }
    size_t weights = *total;
    int64_t arena = 0;
    for (int i = 0; i < p->n_acts; i++) {
        const struct act *a = &p->acts[i];
        int64_t rows = a->rows == ROWS_LOGITS ? cap->logits : cap->tokens;
        if (a->last >= 0)
            arena = MAX(arena, a->offset + rows * a->stride);
    }
    if (!add_floats(1, arena, &c->arena_floats, total) ||
        !add_floats(cap->slots, p->slot_floats, &c->slots_floats, total) ||
        !add_floats(cap->pages, PAGE_TOKENS * p->page_token_floats, &c->pages_floats, total))
        return err_set(e, E_NOMEM, "%d slots of %lld floats and %d pages exceed the address space",
                       cap->slots, (long long)p->slot_floats, cap->pages);
    uint64_t have = freemem();
    if (*total > have)
        return err_set(e, E_NOMEM,
                       "the model needs %zu bytes (weights %zu, %d states, activations), but "
                       "%llu bytes of memory are available",
                       *total, weights, cap->slots, (unsigned long long)have);
    return 0;
}

/* As many as there are threads or rows to sample from, whichever is less. */
static int make_samplers(struct cpu_device *c, struct err *e)
{
    const struct plan *p = c->step.plan;
    int n = MIN(threads_count(c->threads), c->capacity.logits), rc = 0;
    if (!view_given(p->logits) || n < 1)
        return 0;
    if (!(c->samplers = mem_array((size_t)n, sizeof *c->samplers)))
        return err_set(e, E_NOMEM, "no memory for %d samplers", n);
    while (!rc && c->n_samplers < n)
        rc = sample_init(&c->samplers[c->n_samplers++], p->vocab, e);
    return rc;
}

static int backend_load(struct device *d, const struct plan *p, const struct capacity *cap,
                        struct err *e)
{
    struct cpu_device *c = cpu(d);
    size_t total;
    unload(c);
    int rc = measure(c, p, cap, &total, e);
    if (rc)
        return rc;
    c->capacity = *cap;
    c->step.plan = p;
    c->weights = mem_array((size_t)MAX(p->n_weights, 1), sizeof *c->weights);
    c->row_seq = mem_array((size_t)MAX(cap->tokens, 1), sizeof *c->row_seq);
    c->shared = mem_array((size_t)MAX(p->n_ops, 1), sizeof *c->shared);
    c->tasks = mem_array((size_t)MAX(p->n_ops, 1), sizeof *c->tasks);
    bool ok = c->weights && c->row_seq && c->shared && c->tasks;
    c->step.arena = block_new((size_t)c->arena_floats * sizeof(float));
    c->step.slots = block_new((size_t)c->slots_floats * sizeof(float));
    c->step.pages = block_new((size_t)c->pages_floats * sizeof(float));
    ok = ok && c->step.arena && c->step.slots && c->step.pages;
    for (int i = 0; ok && i < p->n_weights; i++) {
        const struct weight *w = &p->weights[i];
        struct host_weight *h = &c->weights[i];
        *h = (struct host_weight){w->role, w->dtype, w->rows, w->cols, 0, NULL};
        ok = pack_bytes(w, &h->bytes) && (h->data = block_new(h->bytes));
    }
    if (!ok) {
        unload(c);
        return err_set(e, E_NOMEM, "the model needs %zu bytes, and the system refused them with "
                       "%llu bytes available", total, (unsigned long long)freemem());
    }
    if ((rc = make_samplers(c, e)) || (rc = stages_find(&c->stages, p, cap, e))) {
        unload(c);
        return rc;
    }
    c->step.weights = c->weights;
    c->step.next = c->stages.next;
    c->step.row_seq = c->row_seq;
    c->bytes = total;
    numerics_cpu(c->kernels, p, c->numerics, sizeof c->numerics);
    if (c->profile)
        profile_start(c->profile);
    return 0;
}

static int backend_put_weight(struct device *d, int w, int64_t row0, int64_t n_rows,
                              const void *src, enum dtype src_dtype, struct err *e)
{
    struct host_weight *h = &cpu(d)->weights[w];
    if (row0 < 0 || n_rows < 0 || row0 > h->rows || n_rows > h->rows - row0)
        return err_set(e, E_RANGE, "weight %d: rows %lld to %lld of %lld", w, (long long)row0,
                       (long long)(row0 + n_rows), (long long)h->rows);
    pack_rows(h, row0, n_rows, src, src_dtype);
    return 0;
}

static int backend_ready(struct device *d, struct err *e)
{
    (void)d;
    (void)e;
    return 0; /* weights were packed as they came */
}

/* ---- one step -------------------------------------------------------------------------- */

static const struct cpu_kernel *kernel_of(const struct cpu_device *c, const struct op *op)
{
    return c->kernels[op->kind][select_format(c->step.plan, op)];
}

/* Decides which stages are worth sharing and who does what in them. Ops that are too small to be
 * cut go round among the threads. */
static void assign(struct cpu_device *c)
{
    int n = threads_count(c->threads);
    for (int32_t k = 0; k < c->stages.n; k++) {
        double ns = 0;
        int next = 0;
        for (int32_t i = c->stages.first[k]; i < c->stages.first[k + 1]; i++) {
            const struct op *op = &c->step.plan->ops[c->stages.ops[i]];
            struct task *t = &c->tasks[c->stages.ops[i]];
            struct cost cost = batch_runs(c->step.batch, op) ? cost_op(&c->step, op)
                                                             : (struct cost){0};
            *t = (struct task){cost.ns, cost.ns > SOLO_NS ? -1 : next++ % n};
            ns += cost.ns;
            if (c->profile)
                profile_count(c->profile, op, &cost, kernel_of(c, op)->need & NEED_INT16);
        }
        c->shared[k] = n > 1 && ns > SOLO_NS;
    }
}

/* Part `part` of `parts` of the op; row: whose counters its time goes to. */
static void run_op(struct cpu_device *c, const struct op *op, int row, int part, int parts)
{
    if (host_rows(&c->step, op) == 0 || !batch_runs(c->step.batch, op))
        return;
    uint64_t from = c->profile ? profile_ticks() : 0;
    kernel_of(c, op)->run(&c->step, op, part, parts);
    if (c->profile)
        c->profile->parts[row].ticks[op->kind] += profile_ticks() - from;
}

static void run_part(void *ctx, int k, int part, int parts)
{
    struct cpu_device *c = ctx;
    for (int32_t i = c->stages.first[k]; i < c->stages.first[k + 1]; i++) {
        const struct op *op = &c->step.plan->ops[c->stages.ops[i]];
        int whole = c->tasks[c->stages.ops[i]].whole;
        if (parts == 1 || whole < 0)
            run_op(c, op, part, part, parts);
        else if (whole == part)
            run_op(c, op, part, 0, 1);
    }
}

static void nothing_done(void *ctx, int job)
{
    (void)ctx;
    (void)job;
}

static void check_batch(const struct cpu_device *c, const struct batch *b)
{
    ASSERT(b->n_tokens <= c->capacity.tokens && b->n_logits <= c->capacity.logits);
    ASSERT(b->n_seqs <= c->capacity.seqs && b->pages_per_seq <= c->capacity.pages_per_seq);
    ASSERT(b->cu_seqlens[0] == 0 && b->cu_seqlens[b->n_seqs] == b->n_tokens);
    for (int32_t q = 0; q < b->n_seqs; q++)
        ASSERT(b->slots[q] >= 0 && b->slots[q] < c->capacity.slots);
}

static int backend_run(struct device *d, const struct batch *b, struct err *e)
{
    struct cpu_device *c = cpu(d);
    (void)e;
    check_batch(c, b);
    for (int32_t q = 0; q < b->n_seqs; q++)
        for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++)
            c->row_seq[t] = q;
    c->step.batch = b;
    uint64_t from = c->profile ? profile_ticks() : 0;
    unsigned saved = threads_flush_denormals();
    assign(c);
    struct threads_work work = {c->stages.n, c->shared, run_part, nothing_done, c};
    threads_run(c->threads, &work);
    threads_restore_denormals(saved);
    if (c->profile) {
        c->profile->steps++;
        c->profile->step_ticks += profile_ticks() - from;
    }
    return 0;
}

static int backend_logits(struct device *d, int32_t i, const float **out, struct err *e)
{
    const struct host_step *s = &cpu(d)->step;
    (void)e;
    *out = host_row(s, s->plan->logits, i);
    return 0;
}

struct sampling_work {
    struct cpu_device *c;
    const struct sample_row *rows;
    struct sample_result *out;
    int32_t n;
};

/* Each part that has a row has a sampler of its own. */
static void sample_part(void *ctx, int job, int part, int parts)
{
    struct sampling_work *w = ctx;
    const struct host_step *s = &w->c->step;
    (void)job;
    for (int32_t i = part; i < w->n; i += parts)
        sample_choose(&w->c->samplers[part], host_row(s, s->plan->logits, w->rows[i].logits),
                      &w->rows[i], &w->out[i]);
}

static int backend_sample(struct device *d, const struct sample_row *rows, int32_t n,
                          struct sample_result *out, struct err *e)
{
    struct cpu_device *c = cpu(d);
    struct sampling_work w = {c, rows, out, n};
    bool shared = n > 1; /* a row takes far longer than handing it round */
    (void)e;
    ASSERT(n <= c->capacity.logits);
    threads_run(c->threads, &(struct threads_work){1, &shared, sample_part, nothing_done, &w});
    return 0;
}

/* ---- states ---------------------------------------------------------------------------- */

static float *slot(struct device *d, int32_t i)
{
    struct cpu_device *c = cpu(d);
    ASSERT(i >= 0 && i < c->capacity.slots);
    return c->step.slots + i * c->step.plan->slot_floats;
}
static size_t slot_bytes(struct device *d)
{
    return (size_t)cpu(d)->step.plan->slot_floats * sizeof(float);
}
static float *page(struct device *d, int32_t i)
{
    struct cpu_device *c = cpu(d);
    ASSERT(i >= 0 && i < c->capacity.pages);
    return c->step.pages + (int64_t)i * PAGE_TOKENS * c->step.plan->page_token_floats;
}
static size_t page_bytes(struct device *d)
{
    return (size_t)cpu(d)->step.plan->page_token_floats * PAGE_TOKENS * sizeof(float);
}

static int copy(void *dst, const void *src, size_t n)
{
    memmove(dst, src, n);
    return 0;
}

/* Memory that a state goes to is often new, and comes page by page: that takes ten times as long
 * as the copy. All threads share it, while they have nothing else to do. */
#define SHARED_COPY KIB(64)
#define COPY_PIECE KIB(4)

struct copying {
    char *to;
    const char *from;
    size_t n;
};

static void copy_part(void *ctx, int job, int part, int parts)
{
    const struct copying *w = ctx;
    size_t pieces = (w->n + COPY_PIECE - 1) / COPY_PIECE;
    size_t from = pieces * (size_t)part / (size_t)parts * COPY_PIECE;
    size_t to = MIN(pieces * (size_t)(part + 1) / (size_t)parts * COPY_PIECE, w->n);
    (void)job;
    memcpy(w->to + from, w->from + from, to - from);
}

/* They do not overlap. */
static int copy_slot(struct device *d, void *dst, const void *src)
{
    struct copying w = {dst, src, slot_bytes(d)};
    bool shared = w.n >= SHARED_COPY;
    if (w.n > 0 && dst != src)
        threads_run(cpu(d)->threads,
                    &(struct threads_work){1, &shared, copy_part, nothing_done, &w});
    return 0;
}

static int backend_slot_zero(struct device *d, int32_t i, struct err *e)
{
    (void)e;
    memset(slot(d, i), 0, slot_bytes(d));
    return 0;
}
static int backend_slot_copy(struct device *d, int32_t dst, int32_t src, struct err *e)
{
    (void)e;
    return copy_slot(d, slot(d, dst), slot(d, src));
}
static int backend_slot_read(struct device *d, int32_t i, void *dst, struct err *e)
{
    (void)e;
    return copy_slot(d, dst, slot(d, i));
}
static int backend_slot_write(struct device *d, int32_t i, const void *src, struct err *e)
{
    (void)e;
    return copy_slot(d, slot(d, i), src);
}
static int backend_page_copy(struct device *d, int32_t dst, int32_t src, struct err *e)
{
    (void)e;
    return copy(page(d, dst), page(d, src), page_bytes(d));
}
static int backend_page_read(struct device *d, int32_t i, void *dst, struct err *e)
{
    (void)e;
    return copy(dst, page(d, i), page_bytes(d));
}
static int backend_page_write(struct device *d, int32_t i, const void *src, struct err *e)
{
    (void)e;
    return copy(page(d, i), src, page_bytes(d));
}

/* ---- being one of several devices ------------------------------------------------------- */

static int backend_rows_read(struct device *d, int32_t act, int32_t n, float *dst, struct err *e)
{
    const struct act *a = &cpu(d)->step.plan->acts[act];
    (void)e;
    ASSERT(n <= cpu(d)->capacity.tokens);
    return copy(dst, cpu(d)->step.arena + a->offset, (size_t)n * (size_t)a->stride * sizeof *dst);
}
static int backend_rows_write(struct device *d, int32_t act, int32_t n, const float *src,
                              struct err *e)
{
    const struct act *a = &cpu(d)->step.plan->acts[act];
    (void)e;
    ASSERT(n <= cpu(d)->capacity.tokens);
    return copy(cpu(d)->step.arena + a->offset, src, (size_t)n * (size_t)a->stride * sizeof *src);
}
static void backend_numerics_of(const struct device *d, const struct plan *p, char *out)
{
    numerics_cpu(((struct cpu_device *)d)->kernels, p, out, NUMERICS_TEXT);
}

/* ---- limits ---------------------------------------------------------------------------- */

/* ref finds any row of a matrix; the tiles find whole panels. */
#define LIMITS(rows) \
    {.conv_size = LIMIT_CONV_SIZE, .mesa_K = LIMIT_MESA_K, .path_dk = LIMIT_PATH_DK, \
     .parallax_dv = LIMIT_PARALLAX_DV, .sparse_d = LIMIT_SPARSE_D, .topk = LIMIT_TOPK, \
     .square_per = LIMIT_SQUARE_PER, .matrix_rows = rows, .f16_states = true}

static const struct op_limits *backend_limits(const struct device *d)
{
    static const struct op_limits ref = LIMITS(1), panels = LIMITS(PANEL);
    const struct cpu_device *c = (const struct cpu_device *)d;
    bool tiled = false; /* by either op, in any format */
    for (int t = 0; t < DTYPES; t++)
        tiled |= c->kernels[OP_BLOCKS][t]->run != ref_blocks ||
                 c->kernels[OP_EXPERTS][t]->run != ref_experts;
    return tiled ? &panels : &ref;
}

/* ---- for humans ------------------------------------------------------------------------ */

static const char *backend_numerics(const struct device *d)
{
    return ((const struct cpu_device *)d)->numerics;
}

static int64_t backend_memory(const struct device *d)
{
    return (int64_t)((const struct cpu_device *)d)->bytes;
}

/* The kernels that the plan's ops of a kind run by: several, where formats have their own. */
static void variants(void *ctx, enum op_kind kind, char *out, size_t size)
{
    const struct cpu_device *c = ctx;
    const struct plan *p = c->step.plan;
    const struct cpu_kernel *seen[DTYPES];
    int n = 0;
    out[0] = '\0';
    for (int i = 0; i < p->n_ops; i++) {
        const struct cpu_kernel *k = c->kernels[kind][select_format(p, &p->ops[i])];
        int j = 0;
        while (j < n && seen[j] != k)
            j++;
        if (p->ops[i].kind != kind || j < n)
            continue;
        seen[n++] = k;
        size_t at = strlen(out);
        snprintf(out + at, size - at, "%s%s", at ? "," : "", k->variant);
    }
}

static void backend_profile(struct device *d, const struct device_rates *limit)
{
    if (cpu(d)->profile)
        profile_print(cpu(d)->profile, limit, variants, d);
}

const struct backend backend_cpu = {
    .name = "cpu",
    .host_memory = true,
    .puts_at_once = true, /* rows lie in lanes of their own */
    .open = backend_open,
    .close = backend_close,
    .load = backend_load,
    .put_weight = backend_put_weight,
    .ready = backend_ready,
    .run = backend_run,
    .sample = backend_sample,
    .logits = backend_logits,
    .slot_zero = backend_slot_zero,
    .slot_copy = backend_slot_copy,
    .slot_read = backend_slot_read,
    .slot_write = backend_slot_write,
    .page_copy = backend_page_copy,
    .page_read = backend_page_read,
    .page_write = backend_page_write,
    .rows_read = backend_rows_read,
    .rows_write = backend_rows_write,
    .numerics_of = backend_numerics_of,
    .numerics = backend_numerics,
    .limits = backend_limits,
    .memory = backend_memory,
    .profile = backend_profile,
};
