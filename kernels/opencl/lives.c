/* Activations that live by phases: memory that two of them share in the order of ops would make the
 * products of a phase wait for each other (bundle.h). */
#include "base/log.h"
#include "base/mem.h"
#include "kernels/opencl/bundle.h"

/* Of the device's memory activations may take that much more: auto sizes leave a tenth free. */
#define MORE_SHARE 20

struct lives { struct act *acts; const struct op *op; int32_t phase, end, residual; };

static void note_life(struct view *v, bool writes, void *arg)
{
    struct lives *l = arg;
    struct act *a = &l->acts[v->act];
    (void)writes;
    a->first = MIN(a->first, l->phase);
    a->last = MAX(a->last, v == &l->op->in[LINEAR_residual] ? l->residual : l->phase);
    if (l->op->rows == ROWS_LOGITS && a->rows == ROWS_TOKENS) /* it may run in a step of its own */
        a->last = l->end;
}

/* Until when a product may read what it adds to its result. */
static int32_t residual_end(const struct ocl_model *m, const struct plan *p, int32_t op)
{
    bool sums = p->ops[op].kind == OP_LINEAR && m->d->tune.mma && m->d->tune.wgmma;
    return m->phases.ops[op].phase + (sums && ocl_norm_behind(p, &m->phases, op) >= 0);
}

/* Lives in phases instead of ops. What lives from before the first op or beyond the last one still
 * does. */
static void phase_lives(struct ocl_model *m, const struct plan *p)
{
    struct plan *own = &m->own;
    const struct phases *x = &m->phases;
    for (int32_t i = 0; i < p->n_acts; i++) {
        own->acts[i] = p->acts[i];
        if (p->acts[i].last < 0)
            continue;
        own->acts[i].first = p->acts[i].first > 0 ? x->n_phases : p->acts[i].first;
        own->acts[i].last = p->acts[i].last >= p->n_ops ? x->n_phases : 0;
    }
    for (int32_t i = 0; i < p->n_ops; i++) {
        struct lives l = {own->acts, &p->ops[i], x->ops[i].phase, x->n_phases,
                          residual_end(m, p, i)};
        op_views(&p->ops[i], note_life, &l);
    }
}

size_t ocl_arena_bytes(const struct plan *p, const struct capacity *c)
{
    int64_t end = 0;
    for (int32_t i = 0; i < p->n_acts; i++) {
        const struct act *a = &p->acts[i];
        int64_t rows = a->rows == ROWS_LOGITS ? c->logits : c->tokens;
        if (a->last >= 0)
            end = MAX(end, a->offset + rows * a->stride);
    }
    return (size_t)end * sizeof(float);
}

/* Whether two activations that live in one phase share memory. */
static bool clash(const struct act *a, const struct act *b, const struct capacity *c)
{
    int64_t na = (int64_t)a->stride * (a->rows == ROWS_LOGITS ? c->logits : c->tokens);
    int64_t nb = (int64_t)b->stride * (b->rows == ROWS_LOGITS ? c->logits : c->tokens);
    return a->last >= 0 && b->last >= 0 && a->first <= b->last && b->first <= a->last &&
           a->offset < b->offset + nb && b->offset < a->offset + na;
}

/* Whether the places of the order of ops do for phases, too. */
static bool suits(const struct plan *own, const struct capacity *c)
{
    for (int32_t i = 0; i < own->n_acts; i++)
        for (int32_t j = 0; j < i; j++)
            if (clash(&own->acts[i], &own->acts[j], c))
                return false;
    return true;
}

int ocl_bundle_begin(struct ocl_model *m, struct err *e)
{
    const struct plan *p = m->plan;
    int rc;
    if (!m->d->tune.bundle)
        return 0;
    m->own = *p;
    m->own.acts = mem_array((size_t)p->n_acts + 1, sizeof *p->acts);
    if (!m->own.acts)
        return err_set(e, E_NOMEM, "no memory for %d activations", p->n_acts);
    if ((rc = phases_find(&m->phases, p, NULL, e)))
        return rc;
    phase_lives(m, p);
    if (suits(&m->own, &m->cap))
        return 0;
    if (plan_layout(&m->own, &m->cap) < 0)
        return err_set(e, E_NOMEM, "no memory to lay out %d activations", p->n_acts);
    size_t bytes = ocl_arena_bytes(&m->own, &m->cap), was = ocl_arena_bytes(p, &m->cap);
    if (bytes > m->d->info.alloc_bytes || bytes > was + m->d->info.memory_bytes / MORE_SHARE) {
        log_info("%s: launches are not merged: activations would take %zu MiB instead of %zu",
                 m->d->info.name, bytes >> 20, was >> 20);
        phases_free(&m->phases);
        return 0;
    }
    m->plan = &m->own;
    return 0;
}
