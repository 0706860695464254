/* Merged launches and walks against separate launches, on the real plan with its weights: the same
 * steps both ways, and digests of every bit compared (bundle.h). */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "kernels/opencl/building.h"
#include "kernels/opencl/packed.h"
#include "kernels/opencl/persistent.h"
#include "kernels/opencl/proof.h"
#include "kernels/opencl/queue.h"

#define POSITION 3 /* of all sequences: a page of each is enough */

struct proof {
    struct ocl_model *m;
    struct batch batch;
    int32_t rows;
    bool mixed;                /* some sequence has several rows */
    struct ocl_proof memory;
    struct ocl_digest seen[2]; /* of what separate and merged launches made */
    int32_t tokens[OCL_MANY_ROWS], cu[OCL_MANY_ROWS + 1], items[OCL_MANY_ROWS];
    int64_t pos[OCL_MANY_ROWS];
    int32_t *pages, n_pages;   /* [sequences][cap.pages_per_seq]; of all */
    int32_t most_seqs, most_pages; /* of any step */
};

static int32_t act_rows(const struct proof *t, const struct act *a)
{
    return a->last < 0 ? 0 : a->rows == ROWS_LOGITS ? t->batch.n_logits : t->rows;
}

/* The first activation with this memory: others need not be compared. */
static bool is_first(const struct plan *p, int32_t i)
{
    const struct act *a = &p->acts[i];
    for (int32_t k = 0; k < i; k++) {
        const struct act *b = &p->acts[k];
        if (b->last >= 0 && b->offset == a->offset && b->stride == a->stride && b->rows == a->rows)
            return false;
    }
    return true;
}

/* Sequences of a step: one a row; or fewer, so that some have several. */
static int32_t sequences(const struct ocl_model *m, int32_t rows, bool mixed)
{
    const struct capacity *c = &m->cap;
    int32_t most = MIN(MIN(c->seqs, c->slots), rows - mixed);
    if (m->plan->page_token_floats) {
        int32_t fit = c->pages_per_seq > 0 ? c->pages : 0;
        while (most > 0 && most * ((rows / most + POSITION) / PAGE_TOKENS + 1) > fit)
            most--;
    }
    return most;
}

/* false: no step of so many rows can be. */
static bool fill_batch(struct proof *t, int32_t rows, bool mixed)
{
    const struct ocl_model *m = t->m;
    int32_t seqs = sequences(m, rows, mixed), per = m->cap.pages_per_seq, page = 0, more;
    if (seqs < 1 || (!mixed && seqs < rows) || rows > MIN(m->cap.tokens, OCL_MANY_ROWS))
        return false;
    t->rows = rows;
    t->mixed = mixed;
    for (int32_t q = 0; q < seqs; q++) {
        t->cu[q + 1] = (int32_t)((int64_t)rows * (q + 1) / seqs);
        more = (t->cu[q + 1] - t->cu[q] + POSITION - 1) / PAGE_TOKENS + 1;
        for (int32_t k = 0; k < per && t->pages; k++)
            t->pages[q * per + k] = k < more ? page++ : -1;
        if (more > MAX(per, 1) && m->plan->page_token_floats)
            return false;
        t->pos[q] = POSITION;
    }
    for (int32_t i = 0; i < rows; i++) {
        t->tokens[i] = i % MAX(m->plan->vocab, 1);
        t->items[i] = i;
    }
    t->n_pages = page;
    t->most_seqs = MAX(t->most_seqs, seqs);
    t->most_pages = MAX(t->most_pages, page);
    t->batch = (struct batch){.n_seqs = seqs, .n_tokens = rows,
                              .n_logits = MIN(rows, m->cap.logits), .tokens = t->tokens,
                              .cu_seqlens = t->cu, .slots = t->items, .pos = t->pos,
                              .logit_rows = t->items, .pages = t->pages,
                              .pages_per_seq = m->plan->page_token_floats ? per : 0};
    return true;
}

/* Whether an activation comes packed, as the first one with this memory: layers share it. */
static bool is_first_packed(const struct ocl_model *m, int32_t i)
{
    const struct act *a = m->plan->acts, *x = &a[i];
    bool first = m->packed && m->packed[i].from;
    for (int32_t k = 0; k < i && first; k++)
        first = !m->packed[k].from || a[k].offset != x->offset || a[k].stride != x->stride ||
                a[k].rows != x->rows;
    return first;
}

/* Packed rows lie further apart than others, over all rows that there may be: what the other way
 * left of them goes. */
static int clear_packed(struct proof *t, int32_t i, struct err *e)
{
    const struct ocl_model *m = t->m;
    const struct act *a = &m->plan->acts[i];
    int32_t rows = a->rows == ROWS_LOGITS ? m->cap.logits : m->cap.tokens;
    if (!is_first_packed(m, i))
        return 0;
    return ocl_fill_zero(m->d, m->d->queue, m->arena.mem, (size_t)a->offset * 4,
                         (size_t)rows * (size_t)a->stride * 4, "activations", e);
}

/* An item of a pool; the same numbers whichever item it is. */
static int fill_item(struct proof *t, const struct ocl_pool *p, int32_t item, uint32_t seed,
                     float scale, struct err *e)
{
    int rc = 0;
    for (int32_t i = 0; i < p->n && p->floats && !rc; i++)
        rc = ocl_proof_fill(&t->memory, p->banks[i].buffer.mem,
                            ocl_bank_at(&p->banks[i], item) / sizeof(float),
                            (size_t)p->banks[i].floats, seed + (uint32_t)i, scale, e);
    return rc;
}

/* The same numbers everywhere before each run. */
static int fill_memory(struct proof *t, struct err *e)
{
    struct ocl_model *m = t->m;
    int rc = 0;
    for (int32_t i = 0; i < m->plan->n_acts && !rc; i++)
        rc = clear_packed(t, i, e);
    for (int32_t i = 0; i < m->plan->n_acts && !rc; i++) {
        const struct act *a = &m->plan->acts[i];
        size_t floats = (size_t)act_rows(t, a) * (size_t)a->stride;
        if (is_first(m->plan, i))
            rc = ocl_proof_fill(&t->memory, m->arena.mem, (size_t)a->offset, floats,
                                (uint32_t)i + 100, 0.5f, e);
    }
    for (int32_t i = 0; i < t->batch.n_seqs && !rc; i++)
        rc = fill_item(t, &m->slots, i, 11, 0.1f, e);
    for (int32_t i = 0; i < t->n_pages && !rc; i++)
        rc = fill_item(t, &m->pages, i, 12, 1.0f, e);
    return rc;
}

static int digest_item(struct proof *t, const struct ocl_pool *p, int32_t item, struct err *e)
{
    int rc = 0;
    for (int32_t i = 0; i < p->n && p->floats && !rc; i++)
        rc = ocl_digest_add(&t->memory, p->banks[i].buffer.mem,
                            ocl_bank_at(&p->banks[i], item) / sizeof(float),
                            (size_t)p->banks[i].floats, e);
    return rc;
}

/* Of activations, and of the states of the first and the last sequence. */
static int digest_memory(struct proof *t, struct ocl_digest *out, struct err *e)
{
    struct ocl_model *m = t->m;
    int rc = ocl_digest_begin(&t->memory, e);
    for (int32_t i = 0; i < m->plan->n_acts && !rc; i++) {
        const struct act *a = &m->plan->acts[i];
        if (is_first(m->plan, i))
            rc = ocl_digest_add(&t->memory, m->arena.mem, (size_t)a->offset,
                                (size_t)act_rows(t, a) * (size_t)a->stride, e);
    }
    int32_t last = t->batch.n_seqs - 1;
    for (int32_t q = 0; q <= last && !rc; q += MAX(last, 1)) {
        rc = digest_item(t, &m->slots, q, e);
        rc = rc ? rc : digest_item(t, &m->pages, q ? MAX(t->n_pages - 1, 0) : 0, e);
    }
    return rc ? rc : ocl_digest_end(&t->memory, out, e);
}

/* One step up to the end of a phase. */
static int run(struct proof *t, bool merged, int32_t phase, struct err *e)
{
    struct ocl_model *m = t->m;
    struct ocl_times times = {0};
    int rc = fill_memory(t, e);
    if (rc)
        return rc;
    m->unmerged = merged ? 0 : STEPS_EVERY;
    m->until = phase;
    rc = ocl_queue_run(m, &t->batch, &times, e);
    m->until = INT32_MAX;
    return rc ? rc : digest_memory(t, &t->seen[merged], e);
}

/* 1: some bit differs; 0: none; or a code. */
static int differs(struct proof *t, int32_t phase, struct err *e)
{
    int rc;
    if ((rc = run(t, false, phase, e)) || (rc = run(t, true, phase, e)))
        return rc;
    return memcmp(&t->seen[0], &t->seen[1], sizeof t->seen[0]) != 0;
}

/* From this phase on, the first after which both ways have made the same. */
static int32_t even(const struct ocl_model *m, int32_t phase)
{
    int32_t next = phase;
    for (int32_t i = 0; i < m->n_merges; i++)
        if (!m->merges[i].off && m->merges[i].phase <= phase && m->merges[i].last > phase)
            next = m->merges[i].last;
    return next == phase ? phase : even(m, next);
}

static void refuse(struct proof *t)
{
    struct ocl_model *m = t->m;
    struct err e = {0};
    int32_t low = 0, high = m->phases.n_phases - 1; /* the first phase that differs */
    int32_t op = 0;
    while (low < high) {
        int32_t mid = even(m, low + (high - low) / 2);
        int rc = mid < high ? differs(t, mid, &e) : -1;
        if (rc < 0)
            break;
        low = rc ? low : mid + 1;
        high = rc ? mid : high;
    }
    while (op + 1 < m->phases.n_ops && m->phases.ops[op].phase != low)
        op++;
    log_warn("%s (driver %s): merged launches of %d rows%s give other bits than separate ones in "
             "phase %d (%s, layer %d): in such steps all are separate now, and slower",
             m->d->info.name, m->d->info.driver, t->rows, t->mixed ? ", several a sequence," : "",
             low, op_name(m->plan->ops[op].kind), m->plan->ops[op].layer);
}

/* Zeros where numbers were. */
static int clean(struct proof *t, int32_t rows, struct err *e)
{
    struct ocl_model *m = t->m;
    int rc = 0;
    t->rows = rows;
    t->batch.n_logits = MIN(rows, m->cap.logits);
    for (int32_t i = 0; i < m->plan->n_acts && !rc; i++) {
        const struct act *a = &m->plan->acts[i];
        size_t bytes = (size_t)act_rows(t, a) * (size_t)a->stride * 4;
        if (bytes && is_first(m->plan, i))
            rc = ocl_fill_zero(m->d, m->d->queue, m->arena.mem, (size_t)a->offset * 4, bytes,
                               "activations", e);
    }
    for (int32_t i = 0; i < t->most_seqs && !rc; i++)
        rc = ocl_queue_zero(m, &m->slots, i, e);
    for (int32_t i = 0; i < t->most_pages && !rc; i++)
        rc = ocl_queue_zero(m, &m->pages, i, e);
    int end = OCL(e, "the proof of merged launches", clFinish, m->d->queue);
    for (int32_t i = 0; i < m->n_launches; i++) /* profiles count steps */
        m->launches[i].ns = m->launches[i].calls = 0;
    return rc ? rc : end;
}

static int begin(struct proof *t, struct err *e)
{
    const struct ocl_model *m = t->m;
    size_t tables = (size_t)MAX(m->cap.seqs, 1) * (size_t)MAX(m->cap.pages_per_seq, 1);
    t->pages = mem_array(tables, sizeof *t->pages);
    return t->pages ? ocl_proof_init(&t->memory, m->d, e)
                    : err_set(e, E_NOMEM, "no memory to prove merged launches");
}

/* Rows of steps of a kind; max < min: there can be none. */
static struct ocl_rows rows_of(const struct ocl_model *m, int kind)
{
    static const struct ocl_rows all[STEPS_KINDS] = {
        [STEPS_SINGLE] = {1, OCL_BUNDLE_ROWS},
        [STEPS_MIXED] = {2, OCL_BUNDLE_ROWS},
        [STEPS_WIDE] = {OCL_BUNDLE_ROWS + 1, OCL_WIDE_ROWS},
        [STEPS_BROAD] = {OCL_BUNDLE_ROWS + 1, OCL_WIDE_ROWS},
        [STEPS_MANY] = {OCL_WIDE_ROWS + 1, OCL_MANY_ROWS},
    };
    const struct capacity *c = &m->cap;
    int32_t most = c->tokens;
    if (ocl_one_a_sequence(kind)) {
        most = MIN(most, MIN(c->seqs, c->slots));
        if (m->plan->page_token_floats)
            most = MIN(most, c->pages_per_seq > 0 ? c->pages : 0);
    }
    return (struct ocl_rows){all[kind].min, MIN(all[kind].max, most)};
}

/* Whether steps of a kind are the first ones that can prove a launch. */
static bool proves(const struct ocl_model *m, const struct ocl_launch *l, int kind)
{
    for (int k = 0; k <= kind && !l->copied; k++) {
        struct ocl_rows rows = rows_of(m, k);
        if (l->merge[k] >= 0 && MAX(l->rows_min, rows.min) <= MIN(l->rows_max, rows.max))
            return k == kind;
    }
    return false;
}

/* The next number of rows for steps of a kind: all that run every merged launch which no other kind
 * has proved, and every walk, are one more than the least of each. One at least where there is any
 * merged launch, but for many rows. `after`: there are no more. */
static int32_t next_rows(const struct ocl_model *m, int kind, int32_t after)
{
    struct ocl_rows rows = rows_of(m, kind);
    int32_t next = INT32_MAX, n;
    bool any = kind == STEPS_SINGLE;
    for (const struct ocl_walks *w = m->walks; w < m->walks + m->n_walks; w++)
        for (int32_t i = 0; i < w->n_launches && (int)w->kind == kind; i++) {
            n = MAX(m->launches[w->launches[i]].rows_min, w->rows_min) + 1;
            n = MIN(n, w->rows_max);
            next = n > after ? MIN(next, n) : next;
        }
    for (int32_t i = 0; i < m->n_launches; i++) {
        const struct ocl_launch *l = &m->launches[i];
        n = MIN(MAX(l->rows_min, rows.min) + 1, l->rows_max);
        if (!l->merged || l->merge[kind] < 0)
            continue;
        any = any || (!after && kind != STEPS_MANY);
        if (n > after && proves(m, l, kind))
            next = MIN(next, n);
    }
    if (next == INT32_MAX && !any)
        return after;
    next = next == INT32_MAX && kind != STEPS_SINGLE ? rows.min + 1 : next;
    return rows.max < rows.min ? after : MAX(MIN(next, rows.max), after);
}

/* Merged launches, which also serve steps of other batches; then the walk of this one, if there is
 * one. 0: they agree with separate ones, or walks are off. Otherwise as differs. */
static int proved(struct proof *t, struct err *e)
{
    struct ocl_model *m = t->m;
    uint32_t unwalked = m->unwalked;
    m->unwalked = STEPS_EVERY;
    int rc = differs(t, INT32_MAX, e);
    m->unwalked = unwalked;
    m->unmerged = 0;
    if (rc || !ocl_persistent_find(m, &t->batch) || !(rc = differs(t, INT32_MAX, e)))
        return rc;
    log_warn("%s (driver %s): a step of %d rows in one kernel %s: steps are made of launches now, "
             "and slower (persistent=0 does without such kernels)%s%s", m->d->info.name,
             m->d->info.driver, t->rows,
             rc < 0 ? "fails" : "gives other bits than launch by launch", rc < 0 ? ": " : "",
             rc < 0 ? e->text : "");
    m->unwalked |= 1u << (t->mixed ? STEPS_MIXED : STEPS_SINGLE);
    *e = (struct err){0};
    return 0;
}

static int prove_kind(struct proof *t, int kind, struct err *e)
{
    int rc = 0;
    t->batch = (struct batch){0};
    for (int32_t last = 0, n; (n = next_rows(t->m, kind, last)) > last && !rc; last = n) {
        if (!fill_batch(t, n, !ocl_one_a_sequence(kind)))
            return err_set(e, E_RANGE, "there is no room for a step of %d rows", n);
        rc = proved(t, e);
        if (!rc && kind == STEPS_MANY && fill_batch(t, n, false))
            rc = proved(t, e);
    }
    return rc;
}

/* Kinds of steps that have a merged launch in common with those of `kind`. */
static uint32_t with_launches_of(const struct ocl_model *m, int kind)
{
    uint32_t kinds = 1u << kind;
    for (int32_t i = 0; i < m->n_launches; i++)
        for (int k = 0; k < STEPS_KINDS && m->launches[i].merged; k++)
            if (m->launches[i].merge[kind] >= 0 && m->launches[i].merge[k] >= 0)
                kinds |= 1u << k;
    return kinds;
}

/* Kinds of steps that do without merged launches: those that were not proved, and others with the
 * same launches, of which each is proved in one kind alone. */
static uint32_t prove_all(struct proof *t, uint32_t wrong)
{
    struct ocl_model *m = t->m;
    for (int kind = 0; kind < STEPS_KINDS; kind++) {
        struct err why = {0};
        int rc = prove_kind(t, kind, &why);
        if (rc > 0)
            refuse(t);
        else if (rc)
            log_warn("%s: merged launches cannot be proved, in such steps all are separate: %s",
                     m->d->info.name, why.text);
        if (rc)
            wrong |= with_launches_of(m, kind);
        if (rc && t->batch.n_tokens) /* its logits may be rows of another kind */
            wrong |= with_launches_of(m, ocl_steps_of(t->batch.n_logits, t->batch.n_seqs,
                                                      ocl_one_a_sequence(kind)));
    }
    return wrong & STEPS_EVERY;
}

int ocl_bundle_test(struct ocl_model *m, struct err *e)
{
    struct proof *t = NULL;
    struct err why = {0};
    int32_t most = 0;
    int rc = 0;
    m->unmerged = 0;
    for (int kind = 0; kind < STEPS_KINDS; kind++) {
        for (int32_t last = 0, n; (n = next_rows(m, kind, last)) > last; last = n)
            most = MAX(most, n);
        if (kind == STEPS_SINGLE && rows_of(m, kind).max < 1) /* it cannot be proved */
            m->unmerged |= 1u << kind;
    }
    if ((!m->n_merges && !m->n_walks) || most < 1)
        return 0;
    if (!(t = mem_zalloc(sizeof *t)))
        return err_set(e, E_NOMEM, "no memory to prove merged launches");
    t->m = m;
    if (!(rc = begin(t, &why)))
        m->unmerged = prove_all(t, m->unmerged);
    else
        log_warn("%s: merged launches cannot be proved, all are separate: %s", m->d->info.name,
                 why.text);
    if (rc)
        m->unmerged = STEPS_EVERY;
    rc = clean(t, most, e);
    ocl_proof_free(&t->memory);
    mem_free(t->pages);
    mem_free(t);
    return rc;
}
