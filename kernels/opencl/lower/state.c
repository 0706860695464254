/* Lowering of the ops that keep a matrix: K1, K2. */
#include "kernels/opencl/launches.h"

/* How a state head [K][V] is cut: VT columns a group, K in `split` parts of equal length. */
struct cut { int32_t cols, split; };

static struct cut cut_state(const struct ocl_model *m, int32_t K, int32_t V)
{
    const struct ocl_tune *t = &m->d->tune;
    int32_t most = (int32_t)MIN(m->d->info.group_max, (size_t)1024);
    struct cut c = {MIN(t->state_cols, V), 1};
    while (c.split < K && (K % c.split || K / c.split > t->state_split) &&
           c.split < 64) /* more parts than this are slower than a spilled register */
        c.split++;
    if (K % c.split)
        c.split = 1; /* no divisor is small enough */
    while (c.cols > 1 && c.cols * c.split > most)
        c.cols = (c.cols + 1) / 2;
    return c;
}

static void def_cut(struct ocl_spec *s, struct cut c, int32_t K, int32_t V, int32_t heads)
{
    ocl_def(s, "K", K);
    ocl_def(s, "V", V);
    ocl_def(s, "VT", c.cols);
    ocl_def(s, "KS", c.split);
    ocl_def(s, "KR", K / c.split);
    ocl_def(s, "HEADS", heads);
    ocl_local(s, (size_t)c.cols, (size_t)c.split);
    ocl_groups(s, 0, BY_ONE, (V + c.cols - 1) / c.cols, 1);
    ocl_groups(s, 1, BY_ONE, heads, 1);
    ocl_groups(s, 2, BY_SEQS, 1, 1);
}

int ocl_delta_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "delta.cl", op);
    def_cut(&s, cut_state(m, op->p.delta.K, op->p.delta.V), op->p.delta.K, op->p.delta.V,
            op->p.delta.state_heads);
    ocl_def(&s, "KEY_HEADS", op->p.delta.k_heads);
    ocl_def(&s, "DECAY_HEADS", op->p.delta.d_heads);
    ocl_def(&s, "DECAY", op->p.delta.decay);
    ocl_def(&s, "STEPS", op->p.delta.steps);
    ocl_def(&s, "DPLR", op->p.delta.dplr);
    ocl_def(&s, "DECAY_FIRST", op->p.delta.decay_first);
    ocl_def(&s, "HAS_A", view_given(op->in[DELTA_a]));
    ocl_def(&s, "HAS_B", view_given(op->in[DELTA_b]));
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    for (int i = 0; i < 6; i++)
        ocl_arg_view(&s, m->plan, op->in[i]);
    ocl_arg_section(&s, m, op->section);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg_float(&s, op->p.delta.scale);
    return ocl_spec_emit(&s, m, e);
}

int ocl_decay_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "decay.cl", op);
    def_cut(&s, cut_state(m, op->p.decay.K, op->p.decay.V), op->p.decay.K, op->p.decay.V,
            op->p.decay.state_heads);
    ocl_def(&s, "PER", MAX(op->p.decay.q_heads / op->p.decay.state_heads, 1));
    ocl_def(&s, "QUERY_HEADS", op->p.decay.q_heads);
    ocl_def(&s, "KEY_HEADS", op->p.decay.k_heads);
    ocl_def(&s, "VALUE_HEADS", op->p.decay.v_heads);
    ocl_def(&s, "DECAY_HEADS", op->p.decay.d_heads);
    ocl_def(&s, "DECAY", op->p.decay.decay);
    ocl_def(&s, "HAS_BONUS", op->w[DECAY_bonus] >= 0);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    for (int i = 0; i < 4; i++)
        ocl_arg_view(&s, m->plan, op->in[i]);
    ocl_arg_section(&s, m, op->section);
    ocl_arg(&s, ARG_WEIGHT, op->w[DECAY_bonus]);
    ocl_arg(&s, ARG_WEIGHT, op->w[DECAY_constant]);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg_float(&s, op->p.decay.scale);
    return ocl_spec_emit(&s, m, e);
}
