/* Lowering of choosing and routing: top-k, experts, block-diagonal matrices. */
#include "kernels/opencl/launches.h"

int ocl_topk_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t n = op->p.topk.n, ranges = MAX(op->p.topk.n_groups, 1);
    int32_t items = MIN(32, m->d->tune.group); /* n is tens to hundreds; merging them is serial */
    struct ocl_spec s;
    ocl_spec_init(&s, "topk.cl", op);
    ocl_def(&s, "COUNT", n);
    ocl_def(&s, "TOPK", op->p.topk.k);
    ocl_def(&s, "SOME", n - op->p.topk.none);
    ocl_def(&s, "RANGES", ranges);
    ocl_def(&s, "OPEN", op->p.topk.topk_groups);
    ocl_def(&s, "NORMED", op->p.topk.norm);
    ocl_def(&s, "DENSE", op->p.topk.dense);
    ocl_def(&s, "HAS_BIAS", op->w[TOPK_bias] >= 0);
    ocl_def(&s, "WG", items);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_view(&s, m->plan, op->in[TOPK_scores]);
    ocl_arg(&s, ARG_WEIGHT, op->w[TOPK_bias]);
    ocl_arg_float(&s, op->p.topk.eps);
    ocl_arg_float(&s, op->p.topk.scale);
    ocl_arg(&s, ARG_LOCAL, (int64_t)n * 4);
    ocl_arg(&s, ARG_LOCAL, (int64_t)n * 4);
    ocl_local(&s, (size_t)items, 1);
    ocl_groups(&s, 0, BY_ONE, op->in[TOPK_scores].width / n, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

/* rows: outputs of one matrix; inputs: its columns. */
static int small_matrices(struct ocl_spec *s, struct ocl_model *m, const struct op *op,
                          int32_t rows, struct err *e)
{
    const struct weight *w = &m->plan->weights[op->w[0]];
    struct ocl_slices c = ocl_slices(&m->d->tune, (int32_t)w->cols);
    ocl_def_format(s, w->dtype);
    ocl_def(s, "HAS_BIAS", op->w[1] >= 0);
    ocl_arg(s, ARG_ARENA, 0);
    ocl_arg_view(s, m->plan, op->out);
    ocl_arg_view(s, m->plan, op->in[0]);
    ocl_arg_view(s, m->plan, op->in[1]);
    ocl_arg(s, ARG_WEIGHT, op->w[0]);
    ocl_arg(s, ARG_WEIGHT, op->w[1]);
    ocl_arg(s, ARG_INT, op->out.width);
    ocl_arg(s, ARG_INT, rows);
    ocl_arg(s, ARG_INT, w->cols);
    ocl_arg(s, ARG_LONG, m->weights[op->w[0]].cols_p);
    ocl_arg(s, ARG_INT, c.len);
    ocl_arg(s, ARG_INT, w->rows / rows);
    ocl_arg(s, ARG_LOCAL, (int64_t)c.n * 32 * 4);
    ocl_local(s, 32, (size_t)c.n);
    ocl_groups(s, 0, BY_ONE, (op->out.width + 31) / 32, 1);
    ocl_groups(s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(s, m, e);
}

int ocl_experts_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "blocks.cl", op);
    ocl_def(&s, "EXPERTS", 1);
    ocl_def(&s, "PER_SLOT", op->p.experts.per_slot);
    ocl_def(&s, "SHARED", 0);
    return small_matrices(&s, m, op, op->p.experts.rows, e);
}

int ocl_blocks_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "blocks.cl", op);
    ocl_def(&s, "EXPERTS", 0);
    ocl_def(&s, "PER_SLOT", 0);
    ocl_def(&s, "SHARED", op->p.blocks.shared);
    return small_matrices(&s, m, op, op->out.width / op->p.blocks.blocks, e);
}
