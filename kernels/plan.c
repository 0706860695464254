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
