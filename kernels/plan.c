/* Names and sizes of the plan's enums. Pure functions, any thread. */
#include "kernels/plan.h"

size_t dtype_bytes(enum dtype t)
{
    switch (t) {
    case DTYPE_F32:
        return 4;
    case DTYPE_F16:
    case DTYPE_BF16:
        return 2;
    }
    base_assert_failed("a dtype of the enum", __FILE__, __LINE__);
}

const char *dtype_name(enum dtype t)
{
    switch (t) {
    case DTYPE_F32:
        return "f32";
    case DTYPE_F16:
        return "f16";
    case DTYPE_BF16:
        return "bf16";
    }
    base_assert_failed("a dtype of the enum", __FILE__, __LINE__);
}

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
