/* Enqueueing. A step writes one small buffer and enqueues kernels whose arguments are set; it
 * allocates nothing. The host goes on at once; whatever reads or writes what a step does, or the
 * memory that its batch travels from, waits for it first. */
#include "kernels/opencl/queue.h"

#include <string.h>

#include "base/clock.h"
#include "kernels/opencl/bundle.h"
#include "kernels/opencl/persistent.h"

static void fill_batch(struct ocl_model *m, const struct batch *b)
{
    char *host = m->batch_host.host;
    int32_t counts[3] = {b->n_seqs, b->n_tokens, b->n_logits}; /* the fourth: enqueue_walks */
    int32_t *row_seq = (int32_t *)(host + m->part_at[BATCH_ROW_SEQ]);
    int64_t *row_pos = (int64_t *)(host + m->part_at[BATCH_ROW_POS]);
    memcpy(host + m->part_at[BATCH_COUNTS], counts, sizeof counts);
#define PUT(part, from, n) memcpy(host + m->part_at[part], from, (size_t)(n) * sizeof *(from))
    PUT(BATCH_TOKENS, b->tokens, b->n_tokens);
    PUT(BATCH_CU, b->cu_seqlens, b->n_seqs + 1);
    PUT(BATCH_SLOTS, b->slots, b->n_seqs);
    if (b->n_logits)
        PUT(BATCH_LOGIT_ROWS, b->logit_rows, b->n_logits);
    if (b->pages_per_seq)
        for (int32_t q = 0; q < b->n_seqs; q++) /* a batch may list fewer pages a sequence */
            memcpy(host + m->part_at[BATCH_PAGES] + (size_t)q * (size_t)m->cap.pages_per_seq * 4,
                   b->pages + (size_t)q * (size_t)b->pages_per_seq, (size_t)b->pages_per_seq * 4);
#undef PUT
    for (int32_t q = 0; q < b->n_seqs; q++)
        for (int32_t t = b->cu_seqlens[q]; t < b->cu_seqlens[q + 1]; t++) {
            row_seq[t] = q;
            row_pos[t] = b->pos[q] + (t - b->cu_seqlens[q]);
        }
}

static int check_batch(const struct ocl_model *m, const struct batch *b, struct err *e)
{
    const struct capacity *c = &m->cap;
    if (b->n_seqs > c->seqs || b->n_tokens > c->tokens || b->n_logits > c->logits ||
        b->pages_per_seq > c->pages_per_seq)
        return err_set(e, E_RANGE,
                       "a step of %d sequences, %d tokens, %d logits; laid out for %d, %d, %d",
                       b->n_seqs, b->n_tokens, b->n_logits, c->seqs, c->tokens, c->logits);
    return 0;
}

static int64_t over(int64_t n, int64_t per) { return (n + per - 1) / per; }

/* What sequence q adds to a count. */
static int64_t of_seq(struct ocl_extent x, const struct batch *b, int32_t q)
{
    int64_t rows = b->cu_seqlens[q + 1] - b->cu_seqlens[q], first = b->pos[q];
    switch (x.by) {
    case BY_SERVED: return rows;
    case BY_SHARES: return over(x.n * rows, x.per);
    case BY_KEYS: return first + rows;
    case BY_SPANS:
        return (first + rows - 1) / x.per - (x.n ? MAX(first - x.n + 1, 0) : 0) / x.per + 1;
    default: return 0;
    }
}

/* Sequences of one row before any other. */
static int32_t first_ones(const struct batch *b)
{
    int32_t n = 0;
    while (n < b->n_seqs && b->cu_seqlens[n + 1] == n + 1)
        n++;
    return n;
}

/* ones: first_ones(b). */
static int64_t count(const struct ocl_launch *l, struct ocl_extent x, int32_t rows,
                     const struct batch *b, int32_t ones)
{
    int64_t n = 0;
    if (x.by <= BY_SEQS)
        return x.n * over(x.by == BY_ROWS ? rows : x.by == BY_SEQS ? b->n_seqs : 1, x.per);
    if (x.by <= BY_REST)
        return x.n * over(x.by == BY_FIRST ? ones : b->n_seqs - ones, x.per);
    for (int32_t q = 0; q < b->n_seqs; q++) {
        int32_t own = b->cu_seqlens[q + 1] - b->cu_seqlens[q];
        if (own < l->seq_min || own > l->seq_max)
            continue;
        n = x.by == BY_KEYS ? MAX(n, of_seq(x, b, q)) : n + of_seq(x, b, q);
    }
    return x.by == BY_SERVED || x.by == BY_KEYS ? x.n * over(n, x.per) : n;
}

/* Groups in each dimension: none where the gate does not let the batch in. */
static void groups_of(const struct ocl_launch *l, int32_t rows, const struct batch *b,
                      int32_t ones, int64_t n[3])
{
    int64_t gate = count(l, l->gate.of, rows, b, ones);
    for (int i = 0; i < 3; i++)
        n[i] = count(l, l->extent[i], rows, b, ones);
    if (gate < l->gate.min || gate > l->gate.max)
        n[0] = 0;
    if (l->groups_max && n[0] * n[1] > l->groups_max)
        n[0] = l->groups_max, n[1] = 1;
}

/* Whether the step has the launch, and its groups. */
static bool count_groups(const struct ocl_model *m, const struct ocl_launch *l,
                         const struct batch *b, int64_t n[3])
{
    int32_t rows = l->rows == ROWS_LOGITS ? b->n_logits : b->n_tokens;
    if (!ocl_launch_runs(m, l, rows, b->n_seqs, b->n_tokens == b->n_seqs) ||
        !batch_runs(b, &m->plan->ops[l->op]))
        return false;
    groups_of(l, rows, b, m->ones, n);
    return n[0] * n[1] * n[2] != 0;
}

/* Nothing, when the step does not have it. */
static int launch(struct ocl_model *m, struct ocl_launch *l, const struct batch *b,
                  struct ocl_times *t, struct err *e)
{
    int64_t n[3];
    size_t global[3];
    cl_event ev = NULL, *want = m->d->profiling ? &ev : NULL;
    if (!count_groups(m, l, b, n))
        return 0;
    for (int i = 0; i < 3; i++)
        global[i] = l->local[i] * (size_t)n[i];
    t->launches++;
    const char *file = m->instances[l->instance].file;
    int rc = OCL(e, file, clEnqueueNDRangeKernel, m->d->queue, l->kernel, 3, NULL, global,
                 l->local, 0, NULL, want);
    if (rc || !want)
        return rc;
    cl_ulong from = 0, to = 0;
    if (!(rc = OCL(e, file, clFinish, m->d->queue)) &&
        !(rc = OCL(e, file, clGetEventProfilingInfo, ev, CL_PROFILING_COMMAND_START, sizeof from,
                   &from, NULL)) &&
        !(rc = OCL(e, file, clGetEventProfilingInfo, ev, CL_PROFILING_COMMAND_END, sizeof to, &to,
                   NULL))) {
        l->ns += to - from;
        l->calls++;
    }
    OCL_FREE(clReleaseEvent, ev);
    return rc;
}

static int write_batch(struct ocl_model *m, struct err *e)
{
    return OCL(e, "the batch", clEnqueueWriteBuffer, m->d->queue, m->batch.mem, CL_FALSE, 0,
               m->batch_bytes, m->batch_host.host, 0, NULL, NULL);
}

static int enqueue(struct ocl_model *m, const struct batch *b, struct ocl_times *t, struct err *e)
{
    int rc = write_batch(m, e);
    for (int32_t i = 0; i < m->n_launches && !rc; i++) {
        struct ocl_launch *l = &m->launches[i];
        if (m->until < INT32_MAX && m->phases.ops[l->op].phase > m->until)
            break;
        rc = launch(m, l, b, t, e);
    }
    return rc ? rc : OCL(e, "a step", clFlush, m->d->queue);
}

/* A step as walks. */
static int enqueue_walks(struct ocl_model *m, struct ocl_walks *w, const struct batch *b,
                         struct ocl_times *t, struct err *e)
{
    size_t lanes = (size_t)m->d->tune.persistent, groups = ocl_persistent_groups(m->d);
    size_t global = lanes * groups;
    cl_uint *counts = (cl_uint *)((char *)m->batch_host.host + m->part_at[BATCH_COUNTS]);
    int rc = ocl_persistent_prepare(m, w, b, count_groups, e);
    counts[3] = m->meetings;
    m->meetings += w->meetings * (uint32_t)groups;
    rc = rc ? rc : write_batch(m, e);
    for (const struct ocl_run *r = w->runs; r < w->runs + w->n_runs && !rc; r++) {
        for (int32_t k = r->from; k < r->to && !r->walked && !rc; k++)
            rc = launch(m, &m->launches[w->launches[k]], b, t, e);
        if (!r->walked || !r->n || rc)
            continue;
        t->launches++;
        rc = OCL(e, "a walk", clEnqueueNDRangeKernel, m->d->queue, r->kernel, 1, NULL, &global,
                 &lanes, 0, NULL, NULL);
    }
    if (!rc && m->d->profiling)
        rc = ocl_persistent_times(m, w, e);
    return rc ? rc : OCL(e, "a step", clFlush, m->d->queue);
}

/* Waits for the step that was enqueued last, if nothing has yet. t: NULL allowed. */
static int settle(struct ocl_model *m, struct ocl_times *t, struct err *e)
{
    uint64_t start = clock_now_ns();
    if (!m->pending)
        return 0;
    m->pending = false;
    int rc = OCL(e, "a step", clFinish, m->d->queue);
    if (t)
        t->wait_ns += clock_now_ns() - start;
    return rc;
}

int ocl_queue_wait(struct ocl_model *m, struct ocl_times *t, struct err *e)
{
    return settle(m, t, e);
}

int ocl_queue_run(struct ocl_model *m, const struct batch *b, struct ocl_times *t, struct err *e)
{
    int rc;
    if ((rc = check_batch(m, b, e)) || (rc = settle(m, t, e)))
        return rc;
    if (b->n_tokens <= 0)
        return 0;
    uint64_t start = clock_now_ns();
    fill_batch(m, b);
    m->ones = first_ones(b);
    m->pending = true;
    struct ocl_walks *w = ocl_persistent_find(m, b);
    rc = w ? enqueue_walks(m, w, b, t, e) : enqueue(m, b, t, e);
    t->enqueue_ns += clock_now_ns() - start;
    return rc;
}

int ocl_queue_sample(struct ocl_model *m, const struct sample_row *rows, int32_t n,
                     struct sample_result *out, struct ocl_times *t, struct err *e)
{
    uint64_t start = clock_now_ns();
    int rc = ocl_sample_run(&m->sampler, rows, n, out, &t->launches, e);
    m->pending = false;
    t->wait_ns += clock_now_ns() - start;
    return rc;
}

int ocl_queue_logits(struct ocl_model *m, int32_t i, struct err *e)
{
    const struct act *a = &m->plan->acts[m->plan->logits.act];
    size_t row = (size_t)a->stride * 4;
    ASSERT(i >= 0 && i < m->cap.logits);
    m->pending = false; /* the queue is in order: this read comes after the step */
    return OCL(e, "logits", clEnqueueReadBuffer, m->d->queue, m->arena.mem, CL_TRUE,
               (size_t)a->offset * 4 + (size_t)i * row, row, m->logits_host.host, 0, NULL, NULL);
}

/* States pass through pinned memory in pieces: the device sends or takes one while the host copies
 * the next. 4 MiB are 0.1 ms of a PCIe link, ten times what a call costs. */
#define PIECE MIB(4)

static int read_piece(struct ocl_model *m, cl_mem from, size_t at, size_t bytes, size_t done,
                      struct err *e)
{
    size_t n = MIN(PIECE, bytes - done);
    return n ? OCL(e, "a state", clEnqueueReadBuffer, m->d->copies, from, CL_FALSE, at + done, n,
                   (char *)m->state_host.host + done, 0, NULL, NULL)
             : 0;
}

static int read_range(struct ocl_model *m, cl_mem from, size_t at, size_t bytes, void *dst,
                      struct err *e)
{
    int rc = read_piece(m, from, at, bytes, 0, e);
    for (size_t done = 0; done < bytes && !rc; done += PIECE) {
        size_t n = MIN(PIECE, bytes - done);
        if ((rc = OCL(e, "a state", clFinish, m->d->copies)) ||
            (rc = read_piece(m, from, at, bytes, done + n, e)) ||
            (rc = OCL(e, "a state", clFlush, m->d->copies)))
            break;
        memcpy((char *)dst + done, (char *)m->state_host.host + done, n);
    }
    return rc;
}

static int write_range(struct ocl_model *m, cl_mem to, size_t at, size_t bytes, const void *src,
                       struct err *e)
{
    int rc = 0;
    for (size_t done = 0; done < bytes && !rc; done += PIECE) {
        size_t n = MIN(PIECE, bytes - done);
        char *host = (char *)m->state_host.host + done;
        memcpy(host, (const char *)src + done, n);
        if (!(rc = OCL(e, "a state", clEnqueueWriteBuffer, m->d->copies, to, CL_FALSE, at + done,
                       n, host, 0, NULL, NULL)))
            rc = OCL(e, "a state", clFlush, m->d->copies);
    }
    return rc || !bytes ? rc : OCL(e, "a state", clFinish, m->d->copies);
}

int ocl_queue_read(struct ocl_model *m, const struct ocl_pool *p, int32_t item, void *dst,
                   struct err *e)
{
    int rc = p->floats ? settle(m, NULL, e) : 0;
    for (const struct ocl_bank *b = p->banks; b < p->banks + p->n && !rc; b++)
        rc = read_range(m, b->buffer.mem, ocl_bank_at(b, item), ocl_bank_bytes(b),
                        (float *)dst + b->from, e);
    return rc;
}

int ocl_queue_write(struct ocl_model *m, const struct ocl_pool *p, int32_t item, const void *src,
                    struct err *e)
{
    int rc = p->floats ? settle(m, NULL, e) : 0;
    for (const struct ocl_bank *b = p->banks; b < p->banks + p->n && !rc; b++)
        rc = write_range(m, b->buffer.mem, ocl_bank_at(b, item), ocl_bank_bytes(b),
                         (const float *)src + b->from, e);
    return rc;
}

int ocl_queue_rows_read(struct ocl_model *m, int32_t act, int32_t n, float *dst, struct err *e)
{
    const struct act *a = &m->plan->acts[act];
    size_t bytes = (size_t)n * (size_t)a->stride * 4, most = m->state_host.b.bytes;
    int rc = settle(m, NULL, e);
    ASSERT(n <= m->cap.tokens && a->rows == ROWS_TOKENS);
    for (size_t done = 0; done < bytes && !rc; done += most)
        rc = read_range(m, m->arena.mem, (size_t)a->offset * 4 + done, MIN(bytes - done, most),
                        (char *)dst + done, e);
    return rc;
}

int ocl_queue_rows_write(struct ocl_model *m, int32_t act, int32_t n, const float *src,
                         struct err *e)
{
    const struct act *a = &m->plan->acts[act];
    size_t bytes = (size_t)n * (size_t)a->stride * 4, most = m->state_host.b.bytes;
    int rc = settle(m, NULL, e);
    ASSERT(n <= m->cap.tokens && a->rows == ROWS_TOKENS);
    for (size_t done = 0; done < bytes && !rc; done += most)
        rc = write_range(m, m->arena.mem, (size_t)a->offset * 4 + done, MIN(bytes - done, most),
                         (const char *)src + done, e);
    return rc;
}

int ocl_queue_copy(struct ocl_model *m, const struct ocl_pool *p, int32_t to, int32_t from,
                   struct err *e)
{
    int rc = 0;
    if (!p->floats || to == from)
        return 0;
    m->pending = true;
    for (const struct ocl_bank *b = p->banks; b < p->banks + p->n && !rc; b++)
        rc = OCL(e, "a state", clEnqueueCopyBuffer, m->d->queue, b->buffer.mem, b->buffer.mem,
                 ocl_bank_at(b, from), ocl_bank_at(b, to), ocl_bank_bytes(b), 0, NULL, NULL);
    return rc;
}

int ocl_queue_zero(struct ocl_model *m, const struct ocl_pool *p, int32_t item, struct err *e)
{
    int rc = 0;
    if (!p->floats)
        return 0;
    m->pending = true;
    for (const struct ocl_bank *b = p->banks; b < p->banks + p->n && !rc; b++)
        rc = ocl_fill_zero(m->d, m->d->queue, b->buffer.mem, ocl_bank_at(b, item),
                           ocl_bank_bytes(b), "a state", e);
    return rc;
}

static int stage(struct ocl_model *m, int32_t slot, struct state_copy *c, bool out, struct err *e)
{
    m->pending = true;
    return ocl_beside_stage(&m->beside, c, &m->slots, slot, out, e);
}

int ocl_queue_out(struct ocl_model *m, int32_t slot, struct state_copy *c, struct err *e)
{
    return stage(m, slot, c, true, e);
}

int ocl_queue_put(struct ocl_model *m, int32_t slot, struct state_copy *c, struct err *e)
{
    return stage(m, slot, c, false, e);
}
