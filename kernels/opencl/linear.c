/* Matrix products: which kernels serve which number of rows, and the slices that fix the order
 * of every sum. All kernels of one weight share slices and layout, so a row's result does not
 * depend on how many rows are beside it. */
#include "kernels/opencl/model.h"

/* Slices are a multiple of 32 inputs: the tiled kernels' depth divides them. */
struct ocl_slices ocl_slices(const struct ocl_tune *t, int32_t inputs)
{
    int32_t n = MAX(1, MIN(t->slices, inputs / t->slice_min));
    int32_t len = (int32_t)round_up((size_t)((inputs + n - 1) / n), 32);
    return (struct ocl_slices){(inputs + len - 1) / len, len};
}

/* The parameters all kernels share, in their order. */
static void common_args(struct ocl_spec *s, const struct ocl_model *m, const struct op *op,
                        int32_t slice_len)
{
    const struct plan *p = m->plan;
    ocl_arg(s, ARG_ARENA, 0);
    ocl_arg_view(s, p, op->out);
    ocl_arg_view(s, p, op->in[0]);
    ocl_arg_view(s, p, op->in[1]);
    ocl_arg(s, ARG_WEIGHT, op->w[0]);
    ocl_arg(s, ARG_WEIGHT, op->w[1]);
    ocl_arg(s, ARG_BATCH, BATCH_COUNTS);
    ocl_arg(s, ARG_INT, op->out.width);
    ocl_arg(s, ARG_INT, op->in[0].width);
    ocl_arg(s, ARG_LONG, m->weights[op->w[0]].cols_p);
    ocl_arg(s, ARG_INT, slice_len);
    ocl_arg(s, ARG_INT, op->w[1] >= 0);
    ocl_arg(s, ARG_INT, view_given(op->in[1]));
    ocl_arg(s, ARG_INT, op->p.linear.act);
    ocl_arg(s, ARG_INT, op->rows == ROWS_LOGITS);
}

static int few(struct ocl_model *m, const struct op *op, int32_t tile, int32_t min, int32_t max,
               struct err *e)
{
    struct ocl_slices c = ocl_slices(&m->d->tune, op->in[0].width);
    struct ocl_spec s;
    ocl_spec_init(&s, "linear_few.cl", op);
    ocl_def(&s, "DTYPE", m->plan->weights[op->w[0]].dtype);
    ocl_def(&s, "TN", tile);
    common_args(&s, m, op, c.len);
    ocl_arg(&s, ARG_LOCAL, (int64_t)c.n * tile * 32 * 4);
    ocl_local(&s, 32, (size_t)c.n);
    ocl_groups(&s, 0, BY_ONE, (op->out.width + 31) / 32, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, tile);
    s.rows_min = min;
    s.rows_max = max;
    return ocl_spec_emit(&s, m, e);
}

static int many(struct ocl_model *m, const struct op *op, int32_t min, struct err *e)
{
    struct ocl_slices c = ocl_slices(&m->d->tune, op->in[0].width);
    struct ocl_spec s;
    ocl_spec_init(&s, "linear_many.cl", op);
    ocl_def(&s, "DTYPE", m->plan->weights[op->w[0]].dtype);
    common_args(&s, m, op, c.len);
    ocl_local(&s, 16, 16);
    ocl_groups(&s, 0, BY_ONE, (op->out.width + 63) / 64, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 64);
    s.rows_min = min;
    return ocl_spec_emit(&s, m, e);
}

int ocl_linear_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t some = m->d->tune.few_rows, rc;
    if ((rc = few(m, op, 1, 1, 1, e)) || (rc = few(m, op, 4, 2, some, e)))
        return rc;
    return many(m, op, MAX(some, 1) + 1, e);
}
