/* Lowering of the ops that keep a matrix or rows of keys: K1, K2, K6. */
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

static bool is_ring(const struct ocl_model *m, const struct op *op)
{
    return m->plan->sections[op->section].kind == SECTION_FIXED;
}

void ocl_arg_kept(struct ocl_spec *s, const struct ocl_model *m, const struct op *op)
{
    const struct ocl_pool *p = is_ring(m, op) ? &m->slots : &m->pages;
    int64_t at = m->plan->sections[op->section].offset;
    int32_t i = ocl_pool_bank(p, at);
    ocl_arg(s, is_ring(m, op) ? ARG_SLOTS : ARG_PAGES, i);
    ocl_arg(s, ARG_LONG, p->banks[i].floats);
    ocl_arg(s, ARG_LONG, at - p->banks[i].from);
    ocl_arg(s, ARG_LONG, p->banks[i].floats);
    ocl_arg(s, ARG_BATCH, BATCH_PAGES);
    ocl_arg(s, ARG_INT, m->cap.pages_per_seq);
}

int32_t ocl_width_before(const struct op *op, int part)
{
    int32_t n = 0;
    for (int i = 1; i < part; i++)
        n += op->in[i].width;
    return n;
}

int ocl_attention_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    bool values = view_given(op->in[ATTENTION_v]); /* otherwise they are the keys' first columns */
    struct ocl_spec s;
    ocl_spec_init(&s, "attention.cl", op);
    ocl_def(&s, "HEADS", op->p.attention.heads);
    ocl_def(&s, "KV_HEADS", op->p.attention.kv_heads);
    ocl_def(&s, "V_HEADS", op->p.attention.v_heads);
    ocl_def(&s, "DK", op->p.attention.dk);
    ocl_def(&s, "DV", op->p.attention.dv);
    ocl_def(&s, "WINDOW", op->p.attention.window);
    ocl_def(&s, "ROW_WIDTH", ocl_width_before(op, 6));
    ocl_def(&s, "V_AT", values ? ocl_width_before(op, 2) : 0);
    ocl_def(&s, "F_AT", ocl_width_before(op, 3));
    ocl_def(&s, "HAS_F", view_given(op->in[ATTENTION_forget]));
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg_view(&s, m->plan, op->in[ATTENTION_q]);
    ocl_arg_view(&s, m->plan, op->in[ATTENTION_k]);
    ocl_arg_view(&s, m->plan, op->in[values ? 2 : 1]);
    ocl_arg_view(&s, m->plan, op->in[ATTENTION_forget]);
    ocl_arg_kept(&s, m, op);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_POS);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_SEQ);
    ocl_arg_float(&s, op->p.attention.scale);
    ocl_local(&s, PAGE_TOKENS, 1);
    ocl_groups(&s, 0, BY_ONE, op->p.attention.heads, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

int ocl_attention_keep_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t width = ocl_width_before(op, 6);
    struct ocl_spec s;
    ocl_spec_init(&s, "attention_keep.cl", op);
    ocl_arg(&s, ARG_ARENA, 0);
    for (int i = 1; i < 6; i++)
        ocl_arg_view(&s, m->plan, op->in[i]);
    ocl_arg_kept(&s, m, op);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_POS);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_SEQ);
    for (int i = 2; i < 7; i++)
        ocl_arg(&s, ARG_INT, ocl_width_before(op, i));
    ocl_arg(&s, ARG_INT, is_ring(m, op) ? op->p.attention.window : 0);
    ocl_local(&s, 64, 1);
    ocl_groups(&s, 0, BY_ONE, (width + 63) / 64, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}
