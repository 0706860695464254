/* Lowering of the attention by squared scores. */
#include "kernels/opencl/launches.h"

#define ITEMS 64 /* of a group; values have 64 to 128 columns a head */

int ocl_square_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "square.cl", op);
    ocl_def(&s, "PER", op->p.square.heads / op->p.square.kv_heads);
    ocl_def(&s, "D", op->p.square.d);
    ocl_def(&s, "V", op->p.square.V);
    ocl_def(&s, "ITEMS", ITEMS);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    for (int i = 0; i < 3; i++)
        ocl_arg_view(&s, m->plan, op->in[i]);
    ocl_arg_section(&s, m, op->section);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg_float(&s, op->p.square.eps);
    ocl_local(&s, ITEMS, 1);
    ocl_groups(&s, 0, BY_ONE, 1, 1);
    ocl_groups(&s, 1, BY_ONE, op->p.square.kv_heads, 1);
    ocl_groups(&s, 2, BY_SEQS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}
