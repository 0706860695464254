/* Names and sizes of the plan's enums. Pure functions, any thread. */
#include "kernels/plan.h"

/* One initialiser a row: the rows of an op fill in its face. */
const struct op_face op_faces[OP_KINDS] = {
#define OP(KIND, text, row_kind, section_kinds, cost, factor, meaning) \
    [OP_##KIND].name = #text, [OP_##KIND].what = meaning, \
    [OP_##KIND].rows = OP_ROWS_##row_kind, [OP_##KIND].sections = OP_SECTIONS_##section_kinds,
#define IN(KIND, n, operand, use) [OP_##KIND].in[n] = {#operand, OPERAND_##use, 0},
#define WEIGHT(KIND, n, operand, role, use) \
    [OP_##KIND].w[n] = {#operand, OPERAND_##use, WEIGHT_##role},
#include "kernels/ops.def"
};

const char *op_name(enum op_kind k)
{
    ASSERT((unsigned)k < OP_KINDS);
    return op_faces[k].name;
}

bool section_may_be_f16(const struct op *op)
{
    return (op->kind == OP_DECAY && op->p.decay.V >= 16 && op->p.decay.decay != DECAY_NONE) ||
           (op->kind == OP_DELTA && op->p.delta.V >= 16);
}

void op_views(struct op *op, view_fn *f, void *arg)
{
    for (size_t i = 0; i < ARRAY_LEN(op->in); i++)
        if (view_given(op->in[i]))
            f(&op->in[i], false, arg);
    if (op->kind == OP_EW) {
        for (int i = 0; i < op->p.ew->n_in; i++)
            if (view_given(op->p.ew->in[i].v))
                f(&op->p.ew->in[i].v, false, arg);
        for (int i = 0; i < op->p.ew->n_out; i++)
            f(&op->p.ew->out[i].v, true, arg);
    } else if (view_given(op->out)) {
        f(&op->out, true, arg);
    }
}
