/* Which elementwise programs make the token shift that they read (shifted.h). */
#include "kernels/opencl/shifted.h"

#include "kernels/opencl/packed.h"

/* What ops do with two activations. */
struct uses {
    int32_t shifted, x;
    int32_t reads, writes; /* of the shifted one */
    bool between;          /* the op comes from the shift to its reader … */
    bool x_written;        /* … and such a one writes x */
};

static void note_use(struct view *v, bool writes, void *arg)
{
    struct uses *u = arg;
    u->reads += v->act == u->shifted && !writes;
    u->writes += v->act == u->shifted && writes;
    u->x_written = u->x_written || (v->act == u->x && writes && u->between);
}

/* Whether nobody else has to do with the shifted rows, and x is what it was. */
static bool alone(const struct plan *p, const struct op *shift, const struct op *ew)
{
    struct uses u = {.shifted = shift->out.act, .x = shift->in[SHIFT_x].act};
    for (struct op *op = p->ops; op < p->ops + p->n_ops; op++) {
        u.between = op >= shift && op <= ew;
        op_views(op, note_use, &u);
    }
    return u.reads == 1 && u.writes == 1 && !u.x_written;
}

static bool reads(const struct ew_program *p, struct view v)
{
    bool found = false;
    for (int i = 0; i < p->n_in; i++)
        found = found || (p->in[i].spread == EW_FULL && p->in[i].v.act == v.act &&
                          p->in[i].v.col == v.col && v.width == p->width);
    return found;
}

static bool can(const struct ocl_model *m, const struct op *shift, const struct op *ew)
{
    return shift->kind == OP_SHIFT && shift < ew && shift->rows == ROWS_TOKENS &&
           ew->rows == ROWS_TOKENS && shift->out.act != shift->in[SHIFT_x].act &&
           reads(ew->p.ew, shift->out) && reads(ew->p.ew, shift->in[SHIFT_x]) &&
           ocl_section_aligned(m, shift->section) &&
           !ocl_is_result(m, &m->plan->acts[shift->out.act]) && alone(m->plan, shift, ew);
}

int32_t ocl_ew_packed_from(const struct ocl_model *m, const struct op *ew)
{
    const struct ocl_packed *x;
    int32_t from = 0;
    for (int i = 0; i < ew->p.ew->n_out; i++)
        if ((x = ocl_packed(m, ew->p.ew->out[i].v)))
            from = x->from; /* the same of all */
    return from;
}

const struct op *ocl_shift_in_ew(const struct ocl_model *m, const struct op *ew)
{
    const struct plan *p = m->plan;
    if (!ocl_ew_packed_from(m, ew))
        return NULL;
    for (int i = 0; i < ew->p.ew->n_in; i++)
        for (const struct op *op = p->ops; op < ew; op++)
            if (op->kind == OP_SHIFT && op->out.act == ew->p.ew->in[i].v.act && can(m, op, ew))
                return op;
    return NULL;
}

int32_t ocl_shift_rows_max(const struct ocl_model *m, const struct op *shift)
{
    const struct plan *p = m->plan;
    for (const struct op *op = shift; op < p->ops + p->n_ops; op++)
        if (op->kind == OP_EW && reads(op->p.ew, shift->out))
            return ocl_shift_in_ew(m, op) == shift ? ocl_ew_packed_from(m, op) - 1 : INT32_MAX;
    return INT32_MAX;
}
