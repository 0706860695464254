/* The ops that are one launch each, and the table of all. Adding an op: a source below src/, a
 * function here (or in a file of its own); one that is missing fails the link. */
#include <string.h>

#include "kernels/opencl/packed.h"

/* Work-items along the columns of an elementwise kernel: a row of a few hundred floats in one
 * group, a wide one in many. */
#define COLUMNS 128

static void over_columns(struct ocl_spec *s, int32_t width)
{
    ocl_local(s, COLUMNS, 1);
    ocl_groups(s, 0, BY_ONE, (width + COLUMNS - 1) / COLUMNS, 1);
}

int ocl_embed_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    const struct ocl_weight *w = &m->weights[op->w[EMBED_table]];
    struct ocl_spec s;
    ocl_spec_init(&s, "embed.cl", op);
    ocl_def(&s, "LAYOUT", w->layout);
    ocl_def_format(&s, m->plan->weights[op->w[EMBED_table]].dtype);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg(&s, ARG_WEIGHT, op->w[EMBED_table]);
    ocl_arg(&s, ARG_BATCH, BATCH_TOKENS);
    ocl_arg(&s, ARG_INT, op->out.width);
    ocl_arg(&s, ARG_LONG, w->cols_p);
    ocl_arg_float(&s, op->p.embed.scale);
    over_columns(&s, op->out.width);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

int ocl_gather_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "gather.cl", op);
    s.rows = ROWS_LOGITS;
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_view(&s, m->plan, op->in[GATHER_x]);
    ocl_arg(&s, ARG_BATCH, BATCH_LOGIT_ROWS);
    ocl_arg(&s, ARG_INT, op->out.width);
    over_columns(&s, op->out.width);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

/* Work-items that sum a group of n: a power of two, at most n. */
static int32_t sum_items(const struct ocl_model *m, int32_t n)
{
    int32_t size = 1;
    while (2 * size <= m->d->tune.group && 2 * size <= n)
        size *= 2;
    return size;
}

/* 0: one vector for all groups, 1: one as wide as the row. */
static int vector_step(const struct ocl_model *m, int32_t w, int32_t group)
{
    return w >= 0 && m->plan->weights[w].cols != group;
}

static void norm_begin(struct ocl_spec *s, struct ocl_model *m, const struct op *op,
                       const char *file)
{
    ocl_spec_init(s, file, op);
    ocl_def(s, "KIND", op->p.norm.kind);
    ocl_def(s, "GATE", !view_given(op->in[NORM_gate]) ? 0 : op->p.norm.gate_first ? 2 : 1);
    ocl_def(s, "ACT", op->p.norm.gate_act);
    ocl_def(s, "HAS_W", op->w[NORM_weight] >= 0);
    ocl_def(s, "HAS_B", op->w[NORM_bias] >= 0);
    ocl_arg(s, ARG_ARENA, 0);
    ocl_arg_view(s, m->plan, op->out);
    ocl_arg_view(s, m->plan, op->in[NORM_x]);
    ocl_arg_view(s, m->plan, op->in[NORM_gate]);
    ocl_arg(s, ARG_WEIGHT, op->w[NORM_weight]);
    ocl_arg(s, ARG_WEIGHT, op->w[NORM_bias]);
}

static void norm_steps(struct ocl_spec *s, const struct ocl_model *m, const struct op *op)
{
    int32_t n = op->p.norm.group;
    ocl_arg(s, ARG_INT, vector_step(m, op->w[NORM_weight], n) ? n : 0);
    ocl_arg(s, ARG_INT, vector_step(m, op->w[NORM_bias], n) ? n : 0);
    ocl_arg_float(s, op->p.norm.eps);
    ocl_arg_float(s, op->p.norm.scale);
}

#define NORM_WARPS 4   /* of a group of nvidia/norm_rows.cl */
#define NORM_WIDE 4096 /* columns that a warp can keep in registers */
#define NORM_LONG 512  /* more columns that one warp reads alone take long */
#define NORM_ALONE 2049 /* from so many rows on there are warps enough */

/* packed: the output as products want it; or NULL. by: warps that share a group of columns. */
static int norm_rows(struct ocl_model *m, const struct op *op, const struct ocl_packed *packed,
                     int32_t by, int32_t min, int32_t max, struct err *e)
{
    static const struct ocl_packed none;
    int32_t n = op->p.norm.group, groups = op->in[NORM_x].width / n;
    int32_t beside = by > 1 ? 1 : groups % 4 == 0 ? 4 : groups % 2 == 0 ? 2 : 1; /* of one row */
    int32_t warps = by > 1 ? by : NORM_WARPS, rows = warps / (by * beside);
    struct ocl_spec s;
    if (min > max)
        return 0;
    norm_begin(&s, m, op, "nvidia/norm_rows.cl");
    norm_steps(&s, m, op);
    ocl_def(&s, "N", n);
    ocl_def(&s, "ITEMS", sum_items(m, n));
    ocl_def(&s, "BY", by);
    ocl_def(&s, "WARPS", warps);
    ocl_def(&s, "PACKED", packed != NULL);
    packed = packed ? packed : &none;
    ocl_def(&s, "CORES", packed->cores);
    ocl_arg(&s, ARG_BATCH, BATCH_COUNTS);
    ocl_arg(&s, ARG_INT, op->rows == ROWS_LOGITS);
    ocl_arg(&s, ARG_LONG, packed->at);
    ocl_arg(&s, ARG_LONG, packed->rows_p);
    ocl_local(&s, 32, (size_t)(by * beside));
    s.local[2] = (size_t)rows;
    ocl_groups(&s, 1, BY_ONE, groups / beside, 1);
    ocl_groups(&s, 2, BY_ROWS, 1, rows);
    s.rows_min = min;
    s.rows_max = max;
    return ocl_spec_emit(&s, m, e);
}

/* Long rows, as long as they are few, by as many warps as norm.cl has. */
static int norm_many(struct ocl_model *m, const struct op *op, const struct ocl_packed *packed,
                     int32_t min, int32_t max, struct err *e)
{
    int32_t n = op->p.norm.group, by = n > NORM_LONG ? sum_items(m, n) / 32 : 1;
    int32_t alone = by > 1 ? MAX(NORM_ALONE, min) : min;
    int rc = norm_rows(m, op, packed, by, min, MIN(max, alone - 1), e);
    return rc ? rc : norm_rows(m, op, packed, 1, alone, max, e);
}

/* From how many rows on warps make it; 0: never. */
static int32_t warps_from(const struct ocl_model *m, const struct op *op)
{
    int32_t n = op->p.norm.group;
    return n <= NORM_WIDE && sum_items(m, n) >= 32 ? m->d->tune.many_rows : 0;
}

/* A warp writes whole groups of 32 columns. */
int32_t ocl_norm_packs_from(const struct ocl_model *m, const struct op *op)
{
    int32_t n = op->p.norm.group;
    return n % 32 == 0 || n == op->in[NORM_x].width ? warps_from(m, op) : 0;
}

int ocl_norm_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t n = op->p.norm.group, many = warps_from(m, op);
    const struct ocl_packed *packed = ocl_packed(m, op->out);
    struct ocl_spec s;
    norm_begin(&s, m, op, "norm.cl");
    ocl_def(&s, "N", n);
    ocl_def(&s, "ITEMS", sum_items(m, n));
    norm_steps(&s, m, op);
    ocl_arg(&s, ARG_LOCAL, sum_items(m, n) * 4);
    ocl_local(&s, (size_t)sum_items(m, n), 1);
    ocl_groups(&s, 0, BY_ONE, op->in[NORM_x].width / n, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    if (many)
        s.rows_max = many - 1;
    int rc = ocl_spec_emit(&s, m, e);
    if (rc || !many)
        return rc;
    rc = norm_many(m, op, NULL, many, packed ? packed->from - 1 : INT32_MAX, e);
    return rc || !packed ? rc : norm_many(m, op, packed, packed->from, INT32_MAX, e);
}

int ocl_groupsum_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "groupsum.cl", op);
    ocl_def(&s, "ABSMAX", op->p.groupsum.absmax);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_view(&s, m->plan, op->in[GROUPSUM_x]);
    ocl_arg(&s, ARG_INT, op->out.width);
    ocl_arg(&s, ARG_INT, op->p.groupsum.group);
    ocl_arg_float(&s, op->p.groupsum.scale);
    over_columns(&s, op->out.width);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

int ocl_softmax_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t n = op->p.softmax.group;
    struct ocl_spec s;
    ocl_spec_init(&s, "softmax.cl", op);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_view(&s, m->plan, op->in[SOFTMAX_x]);
    ocl_arg(&s, ARG_INT, n);
    ocl_arg_float(&s, op->p.softmax.scale);
    ocl_arg(&s, ARG_LOCAL, sum_items(m, n) * 4);
    ocl_local(&s, (size_t)sum_items(m, n), 1);
    ocl_groups(&s, 0, BY_ONE, op->in[SOFTMAX_x].width / n, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

int ocl_sinkhorn_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t n = op->p.sinkhorn.n;
    struct ocl_spec s;
    ocl_spec_init(&s, "sinkhorn.cl", op);
    ocl_def(&s, "N", n);
    ocl_def(&s, "ITERS", op->p.sinkhorn.iters);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_view(&s, m->plan, op->in[SINKHORN_x]);
    ocl_arg(&s, ARG_INT, op->out.width);
    ocl_arg_float(&s, op->p.sinkhorn.eps);
    ocl_groups(&s, 0, BY_ONE, op->out.width / (n * n), 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

int ocl_rope_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t half = op->p.rope.rot / 2, pairs = op->out.width / op->p.rope.head * half;
    struct ocl_spec s;
    ocl_spec_init(&s, "rope.cl", op);
    ocl_def(&s, "INTERLEAVED", op->p.rope.interleaved);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg(&s, ARG_WEIGHT, op->w[ROPE_frequencies]);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_POS);
    ocl_arg(&s, ARG_INT, pairs);
    ocl_arg(&s, ARG_INT, op->p.rope.head);
    ocl_arg(&s, ARG_INT, half);
    ocl_arg(&s, ARG_INT, op->p.rope.back);
    ocl_arg_float(&s, op->p.rope.scale);
    over_columns(&s, pairs);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

int ocl_columns_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "columns.cl", op);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_view(&s, m->plan, op->in[COLUMNS_x]);
    ocl_arg(&s, ARG_WEIGHT, op->w[COLUMNS_index]);
    ocl_arg(&s, ARG_INT, op->out.width);
    over_columns(&s, op->out.width);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

int ocl_first_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "first.cl", op);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_POS);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

static ocl_lower *const table[OP_KINDS] = {
#define OP(KIND, name, rows, sections, cost, factor, what) [OP_##KIND] = ocl_##name##_lower,
#include "kernels/ops.def"
};

int ocl_ops_lower(struct ocl_model *m, struct err *e)
{
    for (int32_t i = 0; i < m->plan->n_ops; i++) {
        const struct op *op = &m->plan->ops[i];
        int32_t first = m->n_launches;
        int rc = table[op->kind](m, op, e);
        if (rc)
            return rc;
        for (int32_t l = first; l < m->n_launches; l++)
            m->launches[l].op = i;
    }
    return 0;
}
