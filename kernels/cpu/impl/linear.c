/* LINEAR, BLOCKS, EXPERTS: which inputs meet which panels, and who does it. */
#ifdef BY_TILES
#include "kernels/cpu/impl/job_tiles.h"
#elif defined(INT16_TILES)
#include "kernels/cpu/impl/job_int16_tiles.h"
#elif defined(BY_INT16)
#include "kernels/cpu/impl/job_int16.h"
#else
#include "kernels/cpu/impl/job.h"
#endif

/* The ends of rows (tokens) [t0, t0 + n) of an op whose columns c.. go in and d.. come out. */
static void row_ends(const struct host_step *s, const struct op *op, int64_t t0, int64_t n,
                     int64_t c, int64_t d, bool add, struct ends *e)
{
    for (int64_t i = 0; i < n; i++) {
        int32_t t = (int32_t)(t0 + i);
        e[i].x = host_row(s, op->in[0], t) + c;
        e[i].out = host_row(s, op->out, t) + d;
        e[i].add = add ? host_row(s, op->in[1], t) + d : NULL;
    }
}

/* Threads share the panels, or the tokens: SHARE_INPUTS and more where each had fewer panels than
 * SHARE_PANELS; APART_INPUTS and more in any case, where what is done for an input by every thread
 * that has it costs more than panels read by all. MAY_CUT(n): half of n tokens are worth it. */
static int token_parts(int64_t n_panels, int64_t tokens, int nth)
{
    int parts = 1;
    while (nth % (parts * 2) == 0 && MAY_CUT(tokens / parts) &&
           tokens / parts >= (n_panels * parts / nth < SHARE_PANELS ? SHARE_INPUTS : APART_INPUTS))
        parts *= 2;
    return parts;
}

/* Of n tokens, those of the next job: they are as many in each. */
static int64_t in_next_job(int64_t n)
{
    int64_t jobs = (n + INPUTS - 1) / INPUTS;
    return (n + jobs - 1) / jobs;
}

/* The weights this thread reads in the next LINEAR (the first, after the last): what lies between
 * two of them is short, and memory need not rest meanwhile. */
static void look_ahead(const struct host_step *s, const struct op *op, int ith, int nth,
                       struct job *job)
{
    const struct plan *p = s->plan;
    int32_t at = (int32_t)(op - p->ops);
    for (int i = 1; i <= p->n_ops; i++) {
        at = s->next ? s->next[at] : (at + 1) % p->n_ops;
        const struct op *next = &p->ops[at];
        if (next->kind != OP_LINEAR || host_rows(s, next) == 0)
            continue;
        const struct host_weight *w = &s->weights[next->w[0]];
        int64_t n_panels = (w->rows + PANEL - 1) / PANEL, p0, p1;
        int parts = token_parts(n_panels, host_rows(s, next), nth);
        host_share(n_panels, ith / parts, nth / parts, &p0, &p1);
        job->then_panel = panel_bytes(w->dtype, w->cols);
        job->then = (const char *)w->data + (size_t)p0 * job->then_panel;
        return;
    }
}

void FN(linear)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    struct ends ends[INPUTS];
    struct job job = {.w = &s->weights[op->w[0]], .bias = host_vec(s, op->w[1]),
                      .act = op->p.linear.act};
    int64_t n_panels = (job.w->rows + PANEL - 1) / PANEL, tokens = host_rows(s, op);
    int parts = token_parts(n_panels, tokens, nth);
    int64_t p0, p1, t0, t1;
    job.rows = job.w->rows;
    host_share(n_panels, ith / parts, nth / parts, &p0, &p1);
    host_share(tokens, ith % parts, parts, &t0, &t1);
    look_ahead(s, op, ith, nth, &job);
    for (; t0 < t1; t0 += job.n) {
        job.n = in_next_job(t1 - t0);
        row_ends(s, op, t0, job.n, 0, 0, view_given(op->in[1]), ends);
        panels(&job, ends, p0, p1);
    }
}

/* One block of a block-diagonal matrix is a job, and so is each use of a shared matrix. Threads
 * share the panels of each. */
void FN(blocks)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    struct ends ends[INPUTS];
    int64_t n = op->p.blocks.blocks, rows = op->out.width / n, cols = op->in[0].width / n;
    int64_t tokens = host_rows(s, op), n_panels = (rows + PANEL - 1) / PANEL, p0, p1;
    const float *bias = host_vec(s, op->w[1]);
    bool shared = op->p.blocks.shared;
    struct job job = {.w = &s->weights[op->w[0]], .rows = rows, .bias = bias};
    for (int64_t h = 0; h < n; h++) {
        /* the rounding of the share moves on from block to block, so that a few panels a block
         * do not all fall to the same thread */
        host_share(n_panels, (int)((ith + h) % nth), nth, &p0, &p1);
        job.panel0 = shared ? 0 : h * n_panels;
        job.bias = bias && !shared ? bias + h * rows : bias;
        for (int64_t t = 0; p0 < p1 && t < tokens; t += job.n) {
            job.n = MIN(tokens - t, INPUTS);
            row_ends(s, op, t, job.n, h * cols, h * rows, false, ends);
            panels(&job, ends, p0, p1);
        }
    }
}

/* The rows that chose one expert are the inputs of one job. Choices are looked at CHOICES at a
 * time; `taken` marks those already done. */
#define CHOICES 4096
void FN(experts)(const struct host_step *s, const struct op *op, int ith, int nth)
{
    struct ends ends[INPUTS];
    uint8_t taken[CHOICES];
    int64_t k = op->p.experts.k, rows = op->p.experts.rows, n_panels = (rows + PANEL - 1) / PANEL;
    struct job job = {.w = &s->weights[op->w[0]], .rows = rows};
    int64_t tokens = host_rows(s, op), cols = job.w->cols, p0, p1;
    host_share(n_panels, ith, nth, &p0, &p1);
    for (int64_t t0 = 0; t0 < tokens; t0 += CHOICES / k) {
        int64_t n = MIN(tokens - t0, CHOICES / k) * k;
        memset(taken, 0, (size_t)n);
        for (int64_t i = 0; i < n; i++) {
            if (taken[i])
                continue;
            float expert = host_row(s, op->in[1], (int32_t)(t0 + i / k))[i % k];
            job.panel0 = (int64_t)expert * n_panels;
            job.n = 0;
            for (int64_t j = i; j < n && job.n < INPUTS; j++) {
                int32_t t = (int32_t)(t0 + j / k);
                int64_t slot = j % k;
                if (taken[j] || host_row(s, op->in[1], t)[slot] != expert)
                    continue;
                taken[j] = 1;
                ends[job.n++] = (struct ends){
                    host_row(s, op->in[0], t) + (op->p.experts.per_slot ? slot * cols : 0), NULL,
                    host_row(s, op->out, t) + slot * rows};
            }
            panels(&job, ends, p0, p1);
        }
    }
}
