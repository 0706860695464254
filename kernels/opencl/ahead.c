/* Where the warps of a walk find their first weights of each launch (persistent.h: `ahead`), and
 * which launches every group makes for itself. */
#include <string.h>

#include "base/mem.h"
#include "kernels/opencl/persistent.h"

/* ---- weights ---- */

/* A member of a launch of src/nvidia/linear_few.cl. */
struct member { int32_t weight, outputs, inputs, slice_len; int64_t cols_p; };

/* The member whose arguments begin at *i or later; *i: behind them. Two weights (matrix, bias)
 * follow each other in no other place, and before numbers that all kernels of products share. */
static bool next_member(const struct ocl_launch *l, int32_t *i, struct member *out)
{
    const struct ocl_arg *a = l->args;
    for (; *i + 1 < l->n_args; ++*i) {
        if (a[*i].kind != ARG_WEIGHT || a[*i + 1].kind != ARG_WEIGHT)
            continue;
        int32_t k = *i + 2;
        k += k < l->n_args && a[k].kind == ARG_BATCH; /* a bundle has it once */
        if (k + 3 >= l->n_args)
            return false;
        *out = (struct member){(int32_t)a[*i].i, (int32_t)a[k].i, (int32_t)a[k + 1].i,
                               (int32_t)a[k + 3].i, a[k + 2].i};
        *i = k + 4;
        return true;
    }
    return false;
}

/* Bytes from a weight's start where the slice of a group begins; -1: the group has no such slice, or
 * its weight ends before `bytes` more. */
static int64_t first_byte(const struct member *x, int64_t panel, int32_t slice, int64_t bytes)
{
    int64_t steps = x->cols_p / 32, at = panel * steps + slice * (x->slice_len / 32);
    int64_t end = (x->outputs + 15) / 16 * steps;
    if (slice * x->slice_len >= x->inputs || at + bytes / OCL_AHEAD_STEP > end)
        return -1;
    return at * OCL_AHEAD_STEP;
}

void ocl_ahead_of(const struct ocl_model *m, const struct ocl_launch *l,
                  const struct ocl_walkers *w, const cl_ulong *weights, cl_ulong *out)
{
    int32_t warps = w->lanes / 32, own = (int32_t)l->local[1], at = 0;
    memset(out, 0, (size_t)w->groups * (size_t)warps * sizeof *out);
    if (strcmp(m->instances[l->instance].file, "nvidia/linear_few.cl") || l->local[0] != 32)
        return;
    struct member x;
    for (int64_t group = 0, panels; next_member(l, &at, &x); group += panels) {
        panels = (x.outputs + 15) / 16;
        for (int64_t panel = 0; panel < panels; panel++) {
            int64_t u = group + panel, team = u / w->groups;
            if (team >= warps / own) /* it comes in a later turn */
                break;
            for (int32_t s = 0; s < own; s++) {
                int64_t byte = first_byte(&x, panel, s, w->bytes);
                if (byte >= 0)
                    out[u % w->groups * warps + team * own + s] =
                        weights[x.weight] + (cl_ulong)byte;
            }
        }
    }
}

/* ---- launches without a meeting behind them ---- */

struct use { int32_t act; bool found; };

static void uses(struct view *v, bool writes, void *arg)
{
    struct use *x = arg;
    (void)writes;
    x->found = x->found || v->act == x->act;
}

/* Whether an op behind the phase uses the activation: until then its memory is no other's. */
static bool lives_on(const struct ocl_model *m, int32_t act, int32_t phase)
{
    struct use x = {act, false};
    for (int32_t i = 0; i < m->plan->n_ops && !x.found; i++) {
        struct op op = m->plan->ops[i];
        if (m->phases.ops[i].phase > phase)
            op_views(&op, uses, &x);
    }
    return x.found;
}

bool ocl_everywhere(const struct ocl_model *m, const struct ocl_launch *l,
                    const struct ocl_launch *next)
{
    const struct op *op = &m->plan->ops[l->op];
    if (op->kind != OP_NORM || l->merged || strcmp(m->instances[l->instance].file, "norm.cl"))
        return false;
    for (int k = 0; k < OP_INPUTS; k++)
        if (view_given(op->in[k]) && (op->in[k].act == op->out.act ||
                                      !lives_on(m, op->in[k].act, m->phases.ops[next->op].phase)))
            return false;
    return true;
}
