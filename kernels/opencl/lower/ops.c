/* The ops that are one launch each, and the table of all. Adding an op: a source below src/, a
 * function here (or in a file of its own), a row in `table`. */
#include <string.h>

#include "kernels/opencl/launches.h"

/* Work-items along the columns of an elementwise kernel: a row of a few hundred floats in one
 * group, a wide one in many. */
#define COLUMNS 128

static void over_columns(struct ocl_spec *s, int32_t width)
{
    ocl_local(s, COLUMNS, 1);
    ocl_groups(s, 0, BY_ONE, (width + COLUMNS - 1) / COLUMNS, 1);
}

static int embed_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    const struct ocl_weight *w = &m->weights[op->w[0]];
    struct ocl_spec s;
    ocl_spec_init(&s, "embed.cl", op);
    ocl_def(&s, "LAYOUT", w->layout);
    ocl_def_format(&s, m->plan->weights[op->w[0]].dtype);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg(&s, ARG_WEIGHT, op->w[0]);
    ocl_arg(&s, ARG_BATCH, BATCH_TOKENS);
    ocl_arg(&s, ARG_INT, op->out.width);
    ocl_arg(&s, ARG_LONG, w->cols_p);
    ocl_arg_float(&s, op->p.embed.scale);
    over_columns(&s, op->out.width);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

static int gather_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "gather.cl", op);
    s.rows = ROWS_LOGITS;
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_view(&s, m->plan, op->in[0]);
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

static int norm_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t n = op->p.norm.group;
    struct ocl_spec s;
    ocl_spec_init(&s, "norm.cl", op);
    ocl_def(&s, "KIND", op->p.norm.kind);
    ocl_def(&s, "GATE", !view_given(op->in[1]) ? 0 : op->p.norm.gate_first ? 2 : 1);
    ocl_def(&s, "ACT", op->p.norm.gate_act);
    ocl_def(&s, "HAS_W", op->w[0] >= 0);
    ocl_def(&s, "HAS_B", op->w[1] >= 0);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_view(&s, m->plan, op->in[0]);
    ocl_arg_view(&s, m->plan, op->in[1]);
    ocl_arg(&s, ARG_WEIGHT, op->w[0]);
    ocl_arg(&s, ARG_WEIGHT, op->w[1]);
    ocl_arg(&s, ARG_INT, n);
    ocl_arg(&s, ARG_INT, vector_step(m, op->w[0], n) ? n : 0);
    ocl_arg(&s, ARG_INT, vector_step(m, op->w[1], n) ? n : 0);
    ocl_arg_float(&s, op->p.norm.eps);
    ocl_arg_float(&s, op->p.norm.scale);
    ocl_arg(&s, ARG_LOCAL, sum_items(m, n) * 4);
    ocl_local(&s, (size_t)sum_items(m, n), 1);
    ocl_groups(&s, 0, BY_ONE, op->in[0].width / n, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

static int groupsum_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "groupsum.cl", op);
    ocl_def(&s, "ABSMAX", op->p.groupsum.absmax);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_view(&s, m->plan, op->in[0]);
    ocl_arg(&s, ARG_INT, op->out.width);
    ocl_arg(&s, ARG_INT, op->p.groupsum.group);
    ocl_arg_float(&s, op->p.groupsum.scale);
    over_columns(&s, op->out.width);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

static int softmax_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t n = op->p.softmax.group;
    struct ocl_spec s;
    ocl_spec_init(&s, "softmax.cl", op);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_view(&s, m->plan, op->in[0]);
    ocl_arg(&s, ARG_INT, n);
    ocl_arg_float(&s, op->p.softmax.scale);
    ocl_arg(&s, ARG_LOCAL, sum_items(m, n) * 4);
    ocl_local(&s, (size_t)sum_items(m, n), 1);
    ocl_groups(&s, 0, BY_ONE, op->in[0].width / n, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

static int rope_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t half = op->p.rope.rot / 2, pairs = op->out.width / op->p.rope.head * half;
    struct ocl_spec s;
    ocl_spec_init(&s, "rope.cl", op);
    ocl_def(&s, "INTERLEAVED", op->p.rope.interleaved);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg(&s, ARG_WEIGHT, op->w[0]);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_POS);
    ocl_arg(&s, ARG_INT, pairs);
    ocl_arg(&s, ARG_INT, op->p.rope.head);
    ocl_arg(&s, ARG_INT, half);
    ocl_arg_float(&s, op->p.rope.scale);
    over_columns(&s, pairs);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

static int columns_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "columns.cl", op);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_view(&s, m->plan, op->in[0]);
    ocl_arg(&s, ARG_WEIGHT, op->w[0]);
    ocl_arg(&s, ARG_INT, op->out.width);
    over_columns(&s, op->out.width);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

static int first_lower(struct ocl_model *m, const struct op *op, struct err *e)
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
    [OP_EMBED] = embed_lower,
    [OP_GATHER] = gather_lower,
    [OP_LINEAR] = ocl_linear_lower,
    [OP_NORM] = norm_lower,
    [OP_EW] = ocl_ew_lower,
    [OP_GROUPSUM] = groupsum_lower,
    [OP_SOFTMAX] = softmax_lower,
    [OP_ROPE] = rope_lower,
    [OP_CONV] = ocl_conv_lower,
    [OP_SHIFT] = ocl_shift_lower,
    [OP_DECAY] = ocl_decay_lower,
    [OP_DELTA] = ocl_delta_lower,
    [OP_ATTENTION] = ocl_attention_lower,
    [OP_ATTENTION_KEEP] = ocl_attention_keep_lower,
    [OP_RNN] = ocl_rnn_lower,
    [OP_LOGSUM] = ocl_logsum_lower,
    [OP_SCAN] = ocl_scan_lower,
    [OP_WKV] = ocl_wkv_lower,
    [OP_TOPK] = ocl_topk_lower,
    [OP_EXPERTS] = ocl_experts_lower,
    [OP_BLOCKS] = ocl_blocks_lower,
    [OP_COLUMNS] = columns_lower,
    [OP_FIRST] = first_lower,
    [OP_SQUARE] = ocl_square_lower,
    [OP_FENWICK] = ocl_fenwick_lower,
    [OP_MESA] = ocl_mesa_lower,
    [OP_TRAPEZOID] = ocl_trapezoid_lower,
    [OP_ROTATE] = ocl_rotate_lower,
    [OP_PATH] = ocl_path_lower,
    [OP_WALL] = ocl_wall_lower,
    [OP_PARALLAX] = ocl_parallax_lower,
    [OP_DELTAFORMER] = ocl_deltaformer_lower,
    [OP_NSA] = ocl_nsa_lower,
    [OP_MOBA] = ocl_moba_lower,
};

int ocl_ops_lower(struct ocl_model *m, struct err *e)
{
    for (int32_t i = 0; i < m->plan->n_ops; i++) {
        const struct op *op = &m->plan->ops[i];
        int32_t first = m->n_launches;
        if (!table[op->kind])
            return err_set(e, E_UNSUPPORTED,
                           "the OpenCL backend has no kernel for op %s (layer %d)",
                           op_name(op->kind), op->layer);
        int rc = table[op->kind](m, op, e);
        if (rc)
            return rc;
        for (int32_t l = first; l < m->n_launches; l++)
            m->launches[l].op = i;
    }
    return 0;
}
