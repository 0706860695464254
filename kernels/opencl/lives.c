/* Activations that live by phases: memory that two of them share in the order of ops would make the
 * products of a phase wait for each other (bundle.h). */
#include "base/mem.h"
#include "kernels/opencl/bundle.h"

struct lives { struct act *acts; const struct op *op; int32_t phase, end; };

static void note_life(struct view *v, bool writes, void *arg)
{
    struct lives *l = arg;
    struct act *a = &l->acts[v->act];
    (void)writes;
    a->first = MIN(a->first, l->phase);
    a->last = MAX(a->last, l->phase);
    if (l->op->rows == ROWS_LOGITS && a->rows == ROWS_TOKENS) /* it may run in a step of its own */
        a->last = l->end;
}

/* Lives in phases instead of ops. What lives from before the first op or beyond the last one still
 * does. */
static void phase_lives(struct plan *own, const struct plan *p, const struct phases *x)
{
    for (int32_t i = 0; i < p->n_acts; i++) {
        own->acts[i] = p->acts[i];
        if (p->acts[i].last < 0)
            continue;
        own->acts[i].first = p->acts[i].first > 0 ? x->n_phases : p->acts[i].first;
        own->acts[i].last = p->acts[i].last >= p->n_ops ? x->n_phases : 0;
    }
    for (int32_t i = 0; i < p->n_ops; i++) {
        struct lives l = {own->acts, &p->ops[i], x->ops[i].phase, x->n_phases};
        op_views(&p->ops[i], note_life, &l);
    }
}

int ocl_bundle_begin(struct ocl_model *m, struct err *e)
{
    const struct plan *p = m->plan;
    struct phases laid;
    int rc;
    if (!m->d->tune.bundle)
        return 0;
    if ((rc = phases_find(&m->phases, p, NULL, e)) || (rc = phases_find(&laid, p, &m->cap, e)))
        return rc;
    bool apart = laid.n_phases > m->phases.n_phases; /* only what shares memory has to wait */
    phases_free(&laid);
    if (!apart)
        return 0;
    m->own = *p;
    m->own.acts = mem_array((size_t)p->n_acts + 1, sizeof *p->acts);
    if (!m->own.acts)
        return err_set(e, E_NOMEM, "no memory for %d activations", p->n_acts);
    phase_lives(&m->own, p, &m->phases);
    if (plan_layout(&m->own, &m->cap) < 0)
        return err_set(e, E_NOMEM, "no memory to lay out %d activations", p->n_acts);
    m->plan = &m->own;
    return 0;
}
