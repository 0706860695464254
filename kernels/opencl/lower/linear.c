/* Matrix products: which kernels serve which number of rows, and the slices that fix the order
 * of every sum. All kernels of one weight share slices and layout, so a row's result does not
 * depend on how many rows are beside it. */
#include "kernels/opencl/launches.h"
#include "kernels/opencl/wgmma.h"

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
    ocl_arg_view(s, p, op->in[LINEAR_x]);
    ocl_arg_view(s, p, op->in[LINEAR_residual]);
    ocl_arg(s, ARG_WEIGHT, op->w[LINEAR_matrix]);
    ocl_arg(s, ARG_WEIGHT, op->w[LINEAR_bias]);
    ocl_arg(s, ARG_BATCH, BATCH_COUNTS);
    ocl_arg(s, ARG_INT, op->out.width);
    ocl_arg(s, ARG_INT, op->in[LINEAR_x].width);
    ocl_arg(s, ARG_LONG, m->weights[op->w[LINEAR_matrix]].cols_p);
    ocl_arg(s, ARG_INT, slice_len);
    ocl_arg(s, ARG_INT, op->w[LINEAR_bias] >= 0);
    ocl_arg(s, ARG_INT, view_given(op->in[LINEAR_residual]));
    ocl_arg(s, ARG_INT, op->p.linear.act);
    ocl_arg(s, ARG_INT, op->rows == ROWS_LOGITS);
}

static int few(struct ocl_model *m, const struct op *op, int32_t tile, int32_t min, int32_t max,
               struct err *e)
{
    struct ocl_slices c = ocl_slices(&m->d->tune, op->in[LINEAR_x].width);
    struct ocl_spec s;
    ocl_spec_init(&s, "linear_few.cl", op);
    ocl_def_format(&s, m->plan->weights[op->w[LINEAR_matrix]].dtype);
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
    struct ocl_slices c = ocl_slices(&m->d->tune, op->in[LINEAR_x].width);
    struct ocl_spec s;
    ocl_spec_init(&s, "linear_many.cl", op);
    ocl_def_format(&s, m->plan->weights[op->w[LINEAR_matrix]].dtype);
    common_args(&s, m, op, c.len);
    ocl_local(&s, 16, 16);
    ocl_groups(&s, 0, BY_ONE, (op->out.width + 63) / 64, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 64);
    s.rows_min = min;
    return ocl_spec_emit(&s, m, e);
}

/* ---- tensor cores (bf16 weights in OCL_MMA layout) ---- */

/* Rows that a tile may read past the last. */
#define MMA_PAST 256

/* Row capacity of packed activations, and room for them in the scratch buffer. */
static int64_t reserve_packed(struct ocl_model *m, const struct op *op)
{
    int32_t rows = op->rows == ROWS_LOGITS ? m->cap.logits : m->cap.tokens;
    size_t rows_p = round_up((size_t)MAX(rows, 1), 8) + MMA_PAST;
    size_t cols_p = (size_t)m->weights[op->w[LINEAR_matrix]].cols_p;
    m->scratch_bytes = MAX(m->scratch_bytes, rows_p * cols_p * 2);
    return (int64_t)rows_p;
}

/* Whether 16-byte loads of x are aligned. */
static bool aligned(const struct plan *p, struct view v)
{
    const struct act *a = &p->acts[v.act];
    return (a->offset + v.col) % 4 == 0 && a->stride % 4 == 0;
}

/* The rows [min, max] of a step as bf16: as lanes of mma.sync read them, or (cores) wgmma. */
static int mma_pack(struct ocl_model *m, const struct op *op, bool cores, int32_t min, int32_t max,
                    struct err *e)
{
    int64_t eighths = m->weights[op->w[LINEAR_matrix]].cols_p / 8;
    struct ocl_spec s;
    ocl_spec_init(&s, "nvidia/pack_rows.cl", op);
    ocl_def(&s, "X_ALIGNED", aligned(m->plan, op->in[LINEAR_x]));
    ocl_def(&s, "CORES", cores);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->in[LINEAR_x]);
    ocl_arg(&s, ARG_SCRATCH, 0);
    ocl_arg(&s, ARG_INT, op->in[LINEAR_x].width);
    ocl_arg(&s, ARG_INT, eighths);
    ocl_arg(&s, ARG_LONG, reserve_packed(m, op));
    ocl_arg(&s, ARG_BATCH, BATCH_COUNTS);
    ocl_arg(&s, ARG_INT, op->rows == ROWS_LOGITS);
    if (cores) {
        ocl_local(&s, 32, 2);
        ocl_groups(&s, 0, BY_ONE, (int32_t)(eighths / 4 + 1) / 2, 1);
        ocl_groups(&s, 1, BY_ROWS, 1, 8);
    } else {
        ocl_local(&s, 64, 1);
        ocl_groups(&s, 0, BY_ONE, (int32_t)((eighths + 63) / 64), 1);
        ocl_groups(&s, 1, BY_ROWS, 1, 1);
    }
    s.rows_min = min;
    s.rows_max = max;
    return ocl_spec_emit(&s, m, e);
}

/* tiles: of 8 rows. The first kernel takes x as it is, the others packed. */
static int mma_few(struct ocl_model *m, const struct op *op, int32_t tiles, int32_t max,
                   struct err *e)
{
    struct ocl_slices c = ocl_slices(&m->d->tune, op->in[LINEAR_x].width);
    struct ocl_spec s;
    ocl_spec_init(&s, "nvidia/linear_few.cl", op);
    ocl_def(&s, "SLICES", c.n);
    ocl_def(&s, "NT", tiles);
    int32_t panels = tiles >= 4 ? m->d->tune.few_panels : 1;
    ocl_def(&s, "PANELS", panels);
    ocl_def(&s, "PACKED", tiles > 1);
    ocl_def(&s, "X_ALIGNED", aligned(m->plan, op->in[LINEAR_x]));
    ocl_def(&s, "UNROLL", m->d->tune.unroll);
    common_args(&s, m, op, c.len);
    ocl_arg(&s, ARG_SCRATCH, 0);
    ocl_arg(&s, ARG_LONG, reserve_packed(m, op));
    ocl_local(&s, 32, (size_t)c.n);
    ocl_groups(&s, 0, BY_ONE, (op->out.width + 16 * panels - 1) / (16 * panels), 1);
    s.rows_min = tiles > 1 ? tiles * 4 + 1 : 1;
    s.rows_max = MIN(tiles * 8, max);
    return ocl_spec_emit(&s, m, e);
}

/* warps_o, warps_r: of a group, along the outputs and along the rows. */
static int mma_many(struct ocl_model *m, const struct op *op, int32_t warps_o, int32_t warps_r,
                    int32_t min, int32_t max, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "nvidia/linear_many.cl", op);
    ocl_def(&s, "WARPS_O", warps_o);
    ocl_def(&s, "WARPS_R", warps_r);
    common_args(&s, m, op, ocl_slices(&m->d->tune, op->in[LINEAR_x].width).len);
    ocl_arg(&s, ARG_SCRATCH, 0);
    ocl_arg(&s, ARG_LONG, reserve_packed(m, op));
    ocl_local(&s, 32 * (size_t)(warps_o * warps_r), 1);
    ocl_groups(&s, 0, BY_ONE, (op->out.width + 127) / 128, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 32 * warps_r);
    s.rows_min = min;
    s.rows_max = max;
    return ocl_spec_emit(&s, m, e);
}

/* ---- Hopper (wgmma.h) ---- */

/* Whether the kernel has the op's activation; others come after it, in place. */
static bool wgmma_activates(const struct op *op)
{
    enum activation act = op->p.linear.act;
    return act == ACT_NONE || act == ACT_RELU || act == ACT_SQRELU;
}

/* A residual that is the output would be gone before an activation of its own. */
static bool can_wgmma(const struct ocl_model *m, const struct op *op)
{
    struct view res = op->in[LINEAR_residual];
    return m->d->tune.wgmma && (wgmma_activates(op) || !view_given(res) || res.act != op->out.act);
}

/* An activation in a kernel of its own, in OpenCL C: its functions are the compiler's. */
static int wgmma_after(struct ocl_model *m, const struct op *op, int32_t min, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "nvidia/linear_after.cl", op);
    common_args(&s, m, op, 0);
    ocl_local(&s, 128, 1);
    ocl_groups(&s, 0, BY_ONE, (op->out.width + 127) / 128, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    s.rows_min = min;
    return ocl_spec_emit(&s, m, e);
}

static int wgmma(struct ocl_model *m, const struct op *op, const struct ocl_wgmma *tile,
                 int32_t min, int32_t max, struct err *e)
{
    bool bare = !wgmma_activates(op);
    struct ocl_spec s;
    ocl_spec_init(&s, OCL_WGMMA, op);
    ocl_def(&s, "ROWS", tile->rows);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_view(&s, m->plan, op->in[LINEAR_residual]);
    ocl_arg(&s, ARG_WEIGHT, op->w[LINEAR_matrix]);
    ocl_arg(&s, ARG_WEIGHT, op->w[LINEAR_bias]);
    ocl_arg(&s, ARG_BATCH, BATCH_COUNTS);
    ocl_arg(&s, ARG_INT, op->out.width);
    ocl_arg(&s, ARG_INT, op->in[LINEAR_x].width);
    ocl_arg(&s, ARG_LONG, m->weights[op->w[LINEAR_matrix]].cols_p);
    ocl_arg(&s, ARG_INT, ocl_slices(&m->d->tune, op->in[LINEAR_x].width).len);
    ocl_arg(&s, ARG_INT, !bare && op->w[LINEAR_bias] >= 0);
    ocl_arg(&s, ARG_INT, !bare && view_given(op->in[LINEAR_residual]));
    ocl_arg(&s, ARG_INT, bare ? ACT_NONE : op->p.linear.act);
    ocl_arg(&s, ARG_INT, op->rows == ROWS_LOGITS);
    ocl_arg(&s, ARG_SCRATCH, 0);
    ocl_arg(&s, ARG_LONG, reserve_packed(m, op));
    ocl_local(&s, OCL_WGMMA_LANES, 1);
    ocl_groups(&s, 0, BY_ONE, (op->out.width + OCL_WGMMA_OUTPUTS - 1) / OCL_WGMMA_OUTPUTS, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, tile->rows);
    s.groups_max = (int32_t)m->d->info.units;
    s.rows_min = min;
    s.rows_max = max;
    return ocl_spec_emit(&s, m, e);
}

/* What a tile costs beside its rows, in rows: its weights, its beginning and its end. */
#define TILE_FIXED 48

/* The shape that makes so many rows soonest: groups take tiles in turn, and all wait for those that
 * have one more. */
static const struct ocl_wgmma *best_shape(const struct ocl_model *m, const struct op *op,
                                          const struct ocl_wgmma *shapes, int n, int32_t rows)
{
    int64_t across = (op->out.width + OCL_WGMMA_OUTPUTS - 1) / OCL_WGMMA_OUTPUTS, least = 0;
    int64_t units = MAX((int64_t)m->d->info.units, (int64_t)1);
    const struct ocl_wgmma *best = NULL;
    for (int i = 0; i < n; i++) {
        int64_t tiles = across * ((rows + shapes[i].rows - 1) / shapes[i].rows);
        int64_t cost = (tiles + units - 1) / units * (shapes[i].rows + TILE_FIXED);
        if (best && cost >= least)
            continue;
        best = &shapes[i];
        least = cost;
    }
    return best;
}

#define ROWS_STEP 64 /* rows that are chosen for together */

static int wgmma_lower(struct ocl_model *m, const struct op *op, int32_t min, struct err *e)
{
    struct ocl_wgmma shapes[OCL_WGMMA_SHAPES];
    int n = ocl_wgmma_shapes(&m->d->tune, shapes);
    int32_t most = op->rows == ROWS_LOGITS ? m->cap.logits : m->cap.tokens;
    int rc = mma_pack(m, op, true, min, INT32_MAX, e);
    for (int32_t from = min, to; from <= MAX(most, min) && !rc; from = to + 1) {
        int32_t edge = (int32_t)round_up((size_t)from, ROWS_STEP);
        const struct ocl_wgmma *s = best_shape(m, op, shapes, n, edge);
        while (edge < most && best_shape(m, op, shapes, n, edge + ROWS_STEP) == s)
            edge += ROWS_STEP;
        to = edge < most ? edge : INT32_MAX - 1;
        rc = wgmma(m, op, s, from, to, e);
    }
    return rc || wgmma_activates(op) ? rc : wgmma_after(m, op, min, e);
}

/* ---- by the number of rows ---- */

static int mma_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    bool hopper = can_wgmma(m, op);
    int32_t wide = MAX(m->d->tune.wide_rows, 65), few = hopper ? m->d->tune.wgmma_rows - 1 : 64;
    int rc;
    if ((rc = mma_few(m, op, 1, 8, e)) ||
        (rc = mma_pack(m, op, false, 9, hopper ? few : INT32_MAX, e)))
        return rc;
    for (int32_t tiles = 2; tiles <= 8; tiles *= 2)
        if ((rc = mma_few(m, op, tiles, few, e)))
            return rc;
    if (hopper)
        return wgmma_lower(m, op, few + 1, e);
    if ((rc = mma_many(m, op, 4, 2, 65, wide - 1, e)))
        return rc;
    return mma_many(m, op, 2, 4, wide, INT32_MAX, e);
}

int ocl_linear_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t some = m->d->tune.few_rows, rc;
    if (m->weights[op->w[LINEAR_matrix]].layout == OCL_MMA)
        return mma_lower(m, op, e);
    if ((rc = few(m, op, 1, 1, 1, e)) || (rc = few(m, op, 4, 2, some, e)))
        return rc;
    return many(m, op, MAX(some, 1) + 1, e);
}
