/* Lowering of attention that an indexer leads: POOL, INDEXER, INDEXED. */
#include "kernels/opencl/launches.h"

#define WG 64 /* work-items of a group: keys or blocks at a time, columns */

int ocl_pool_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t width = op->out.width;
    struct ocl_spec s;
    ocl_spec_init(&s, "pool.cl", op);
    ocl_def(&s, "BLOCK", op->p.pool.block);
    ocl_def(&s, "GATED", view_given(op->in[POOL_gate]));
    ocl_def(&s, "HAS_BIAS", op->w[POOL_bias] >= 0);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_view(&s, m->plan, op->in[POOL_x]);
    ocl_arg_view(&s, m->plan, op->in[POOL_gate]);
    ocl_arg_section(&s, m, op->section);
    ocl_arg(&s, ARG_WEIGHT, op->w[POOL_bias]);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_POS);
    ocl_arg(&s, ARG_INT, width);
    ocl_local(&s, WG, 1);
    ocl_groups(&s, 0, BY_ONE, (width + WG - 1) / WG, 1);
    ocl_groups(&s, 1, BY_SEQS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

/* A group for each of `across` heads of every row. */
static int over_blocks(struct ocl_model *m, const struct op *op, const char *file, int32_t across,
                       struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, file, op);
    ocl_def(&s, "WG", WG);
    ocl_def(&s, "HEADS", op->p.attention.heads);
    ocl_def(&s, "KV_HEADS", op->p.attention.kv_heads);
    ocl_def(&s, "V_HEADS", op->p.attention.v_heads);
    ocl_def(&s, "DK", op->p.attention.dk);
    ocl_def(&s, "DV", op->p.attention.dv);
    ocl_def(&s, "BLOCK", op->p.attention.block);
    ocl_def(&s, "COUNT", op->p.attention.count);
    ocl_def(&s, "WINDOW", 0);
    ocl_def(&s, "RING", 0);
    ocl_def(&s, "ROW_WIDTH", ocl_width_before(op, OP_CACHED_END));
    ocl_def(&s, "AT_2", ocl_width_before(op, 2));
    ocl_def(&s, "HAS_V", view_given(op->in[2]));
    ocl_def(&s, "HAS_6", view_given(op->in[6]));
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    for (int i = 0; i < OP_INPUTS; i++)
        ocl_arg_view(&s, m->plan, op->in[i]);
    ocl_arg_kept(&s, m, op);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_POS);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_SEQ);
    ocl_arg_float(&s, op->p.attention.scale);
    ocl_local(&s, WG, 1);
    ocl_groups(&s, 0, BY_ONE, across, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

int ocl_indexer_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    return over_blocks(m, op, "indexer.cl", 1, e);
}
int ocl_indexed_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    return over_blocks(m, op, "indexed.cl", op->p.attention.heads, e);
}
