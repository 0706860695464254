/* Names and sizes of the plan's enums. Pure functions, any thread. */
#include "kernels/plan.h"

const char *op_name(enum op_kind k)
{
    static const char *const names[OP_KINDS] = {
#define OP(KIND, name, stateful, what) #name,
#include "kernels/ops.def"
#undef OP
    };
    ASSERT((unsigned)k < OP_KINDS);
    return names[k];
}
