/* The last look at a finished plan, whatever the architecture did: the plan itself (validate.h), and
 * that every weight is bound to rows that lie in it. */
#include <math.h>

#include "kernels/validate.h"
#include "models/build/build_int.h"

static int check_binding(struct build *b, int32_t w)
{
    const struct weight *wt = &b->plan->weights[w];
    const struct binding_part *x = b->m->bindings[w].parts;
    if (!x)
        return err_set(b->err, E_RANGE, "weight %d of %lld x %lld comes from no tensor", w,
                       (long long)wt->rows, (long long)wt->cols);
    for (; x; x = x->next)
        if (x->rows < 1 || x->at_row < 0 || x->at_row > wt->rows || x->rows > wt->rows - x->at_row)
            return err_set(b->err, E_RANGE, "tensor %s: %lld rows at row %lld of a weight of %lld",
                           x->name, (long long)x->rows, (long long)x->at_row, (long long)wt->rows);
    return 0;
}

/* COLUMNS reads its input at the numbers that its weight holds. */
static int check_columns(struct build *b, const struct op *op)
{
    const struct binding_part *x = b->m->bindings[op->w[COLUMNS_index]].parts;
    int32_t width = op->in[COLUMNS_x].width;
    for (int32_t i = 0; i < op->out.width; i++) {
        float at = x->values && !x->next ? x->values[i] : -1;
        if (!(at >= 0 && at < (float)width && at == floorf(at)))
            return err_set(b->err, E_RANGE, "layer %d: columns: column %d is %g of %d", op->layer,
                           i, (double)at, width);
    }
    return 0;
}

int build_check(struct build *b)
{
    const struct plan *p = b->plan;
    int rc = plan_validate(p, NULL, NULL, b->err);
    for (int32_t i = 0; i < p->n_weights && !rc; i++)
        rc = check_binding(b, i);
    for (int32_t i = 0; i < p->n_ops && !rc; i++)
        if (p->ops[i].kind == OP_COLUMNS)
            rc = check_columns(b, &p->ops[i]);
    return rc;
}
