/* Lowering of ops that single families need: attention's relatives (one work-item per query head
 * and row), K7, K8, K9. Correct on any device; not tuned. */
#include "kernels/opencl/launches.h"

#define LANES 64 /* work-items of a group where a group is one head of one sequence */

/* From so many rows on, the heads of a row share a group: before, a group an item spreads them over
 * the whole device, which is what a few long walks through the keys want; with more rows that only
 * leaves 31 of 32 lanes idle. H200, 16 heads: half the time at 512 rows, twice the time at one. */
#define MANY_ROWS 64

/* Work-items of a group along the heads: a divisor, so that the kernels need no bounds; at most as
 * many as run in lockstep on a GPU. */
static int32_t lanes_of(int32_t across)
{
    int32_t n = MIN(across, 32);
    while (across % n)
        n--;
    return n;
}

/* One launch over (heads or key heads) x (rows or sequences), `lanes` of the former a group. */
static int walk(struct ocl_model *m, const struct op *op, const char *file, int32_t across,
                enum ocl_by by, int32_t lanes, bool last, struct err *e)
{
    static const char *const at[] = {"", "", "AT_2", "AT_3", "AT_4", "AT_5"};
    bool ring = m->plan->sections[op->section].kind == SECTION_FIXED;
    struct ocl_spec s;
    ocl_spec_init(&s, file, op);
    ocl_def(&s, "HEADS", op->p.attention.heads);
    ocl_def(&s, "KV_HEADS", op->p.attention.kv_heads);
    ocl_def(&s, "DK", op->p.attention.dk);
    ocl_def(&s, "DV", op->p.attention.dv);
    ocl_def(&s, "WINDOW", op->p.attention.window);
    ocl_def(&s, "BLOCK", op->p.attention.block);
    ocl_def(&s, "COUNT", op->p.attention.count);
    ocl_def(&s, "RING", ring);
    ocl_def(&s, "ROW_WIDTH", ocl_width_before(op, 6));
    for (int i = 2; i < OP_CACHED_END; i++)
        ocl_def(&s, at[i], ocl_width_before(op, i));
    ocl_def(&s, "HAS_4", view_given(op->in[4]));
    ocl_def(&s, "HAS_5", view_given(op->in[5]));
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    for (int i = 0; i < 6; i++)
        ocl_arg_view(&s, m->plan, op->in[i]);
    ocl_arg_kept(&s, m, op);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_POS);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_SEQ);
    ocl_arg_float(&s, op->p.attention.scale);
    ocl_local(&s, (size_t)lanes, 1);
    ocl_groups(&s, 0, BY_ONE, across / lanes, 1);
    ocl_groups(&s, 1, by, 1, 1);
    s.rows_min = lanes > 1 ? MANY_ROWS : 1;
    s.rows_max = last ? INT32_MAX : MANY_ROWS - 1;
    return ocl_spec_emit(&s, m, e);
}

static int relative(struct ocl_model *m, const struct op *op, const char *file, int32_t across,
                    enum ocl_by by, struct err *e)
{
    int32_t lanes = by == BY_ROWS ? lanes_of(across) : 1;
    int rc = walk(m, op, file, across, by, 1, lanes == 1, e);
    return rc || lanes == 1 ? rc : walk(m, op, file, across, by, lanes, true, e);
}

int ocl_path_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    return relative(m, op, "path.cl", op->p.attention.heads, BY_ROWS, e);
}
int ocl_wall_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    return relative(m, op, "wall.cl", op->p.attention.heads, BY_ROWS, e);
}
int ocl_parallax_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    return relative(m, op, "parallax.cl", op->p.attention.heads, BY_ROWS, e);
}
int ocl_deltaformer_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    return relative(m, op, "deltaformer.cl", op->p.attention.heads, BY_SEQS, e);
}
int ocl_nsa_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    return relative(m, op, "nsa.cl", op->p.attention.kv_heads, BY_ROWS, e);
}
int ocl_moba_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    return relative(m, op, "moba.cl", op->p.attention.heads, BY_ROWS, e);
}

/* arena, out, inputs, section. */
static void begin(struct ocl_spec *s, struct ocl_model *m, const struct op *op, const char *file,
                  int first, int inputs)
{
    ocl_spec_init(s, file, op);
    ocl_arg(s, ARG_ARENA, 0);
    ocl_arg_view(s, m->plan, op->out);
    for (int i = first; i < inputs; i++)
        ocl_arg_view(s, m->plan, op->in[i]);
    ocl_arg_section(s, m, op->section);
}

/* One work-item per column of `width`, for every sequence. */
static int by_column(struct ocl_spec *s, struct ocl_model *m, int32_t width, struct err *e)
{
    ocl_arg(s, ARG_INT, width);
    ocl_local(s, LANES, 1);
    ocl_groups(s, 0, BY_ONE, (width + LANES - 1) / LANES, 1);
    ocl_groups(s, 1, BY_SEQS, 1, 1);
    return ocl_spec_emit(s, m, e);
}

/* One group per head, for every sequence. */
static int by_head(struct ocl_spec *s, struct ocl_model *m, int32_t heads, struct err *e)
{
    ocl_def(s, "LANES", LANES);
    ocl_local(s, LANES, 1);
    ocl_groups(s, 0, BY_ONE, heads, 1);
    ocl_groups(s, 1, BY_SEQS, 1, 1);
    return ocl_spec_emit(s, m, e);
}

int ocl_fenwick_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    begin(&s, m, op, "fenwick.cl", 0, 5);
    ocl_def(&s, "HEADS", op->p.fenwick.heads);
    ocl_def(&s, "K", op->p.fenwick.K);
    ocl_def(&s, "V", op->p.fenwick.V);
    ocl_def(&s, "LEVELS", op->p.fenwick.levels);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_POS);
    return by_column(&s, m, op->out.width, e);
}

int ocl_mesa_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    size_t K = (size_t)op->p.mesa.K;
    struct ocl_spec s;
    m->scratch_bytes = MAX(m->scratch_bytes,
                           (size_t)m->cap.seqs * (size_t)op->p.mesa.heads * K * K * sizeof(float));
    begin(&s, m, op, "mesa.cl", 0, 5);
    ocl_def(&s, "HEADS", op->p.mesa.heads);
    ocl_def(&s, "K", op->p.mesa.K);
    ocl_def(&s, "V", op->p.mesa.V);
    ocl_arg(&s, ARG_WEIGHT, op->w[MESA_lambda]);
    ocl_arg(&s, ARG_SCRATCH, 0);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg_float(&s, op->p.mesa.bound);
    return by_head(&s, m, op->p.mesa.heads, e);
}

int ocl_trapezoid_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    begin(&s, m, op, "trapezoid.cl", 0, 6);
    ocl_def(&s, "HEADS", op->p.trapezoid.heads);
    ocl_def(&s, "K", op->p.trapezoid.K);
    ocl_def(&s, "V", op->p.trapezoid.V);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    return by_head(&s, m, op->p.trapezoid.heads, e);
}

int ocl_rotate_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    begin(&s, m, op, "rotate.cl", 1, 2);
    ocl_def(&s, "HEADS", op->p.rotate.heads);
    ocl_def(&s, "HEAD", op->p.rotate.head);
    ocl_def(&s, "ANGLES", op->p.rotate.angles);
    ocl_def(&s, "PARTS", op->p.rotate.parts);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    return by_column(&s, m, op->p.rotate.heads * op->p.rotate.angles, e);
}
