/* Lowering of the ops that keep a matrix: K1, K2. */
#include "kernels/opencl/launches.h"

#define STATE_LANES 8 /* of src/common.clh: what a sum over K is made of */

static int32_t padded(int32_t K) { return (int32_t)round_up((size_t)K, 4 * STATE_LANES); }

/* How a state head [K][V] is cut: VT columns a group, K among `split` work-items. A matter of
 * speed: the order of sums is fixed (src/common.clh). */
struct cut { int32_t cols, split; };

static struct cut cut_state(const struct ocl_model *m, int32_t K, int32_t V)
{
    const struct ocl_tune *t = &m->d->tune;
    int32_t most = (int32_t)MIN(m->d->info.group_max, (size_t)1024);
    struct cut c = {MIN(t->state_cols, V), 1};
    while (c.split < STATE_LANES && padded(K) / c.split > t->state_split)
        c.split *= 2;
    while (c.cols > 1 && c.cols * c.split > most)
        c.cols = (c.cols + 1) / 2;
    return c;
}

static void def_cut(struct ocl_spec *s, struct cut c, int32_t K, int32_t V, int32_t heads)
{
    ocl_def(s, "K", K);
    ocl_def(s, "KP", padded(K));
    ocl_def(s, "V", V);
    ocl_def(s, "VT", c.cols);
    ocl_def(s, "KS", c.split);
    ocl_def(s, "KR", padded(K) / c.split);
    ocl_def(s, "HEADS", heads);
    ocl_local(s, (size_t)c.cols, (size_t)c.split);
    ocl_groups(s, 0, BY_ONE, (V + c.cols - 1) / c.cols, 1);
    ocl_groups(s, 1, BY_ONE, heads, 1);
    ocl_groups(s, 2, BY_SEQS, 1, 1);
}

static void delta_args(struct ocl_spec *s, struct ocl_model *m, const struct op *op)
{
    ocl_def(s, "KEY_HEADS", op->p.delta.k_heads);
    ocl_def(s, "DECAY_HEADS", op->p.delta.d_heads);
    ocl_def(s, "DECAY", op->p.delta.decay);
    ocl_def(s, "DPLR", op->p.delta.dplr);
    ocl_def(s, "DECAY_FIRST", op->p.delta.decay_first);
    ocl_def(s, "HAS_A", view_given(op->in[DELTA_a]));
    ocl_def(s, "HAS_B", view_given(op->in[DELTA_b]));
    ocl_arg(s, ARG_ARENA, 0);
    ocl_arg_view(s, m->plan, op->out);
    for (int i = 0; i < 6; i++)
        ocl_arg_view(s, m->plan, op->in[i]);
    ocl_arg_section(s, m, op->section);
    ocl_arg(s, ARG_BATCH, BATCH_CU);
    ocl_arg(s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg_float(s, op->p.delta.scale);
}

/* Token by token, on any device, in steps of min to max rows; by: which sequences. */
static int delta_tokens(struct ocl_model *m, const struct op *op, enum ocl_when when,
                        enum ocl_by by, int32_t min, int32_t max, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "delta.cl", op);
    def_cut(&s, cut_state(m, op->p.delta.K, op->p.delta.V), op->p.delta.K, op->p.delta.V,
            op->p.delta.state_heads);
    ocl_groups(&s, 2, by, 1, 1);
    ocl_def(&s, "STEPS", op->p.delta.steps);
    delta_args(&s, m, op);
    s.when = when;
    s.rows_min = min;
    s.rows_max = max;
    return ocl_spec_emit(&s, m, e);
}

/* ---- by warps (src/nvidia/delta_rows.cl) ---- */

#define ROWS_TILE 8   /* tokens of a stage there */
#define ROWS_WARPS 4  /* of a group */
#define ROWS_STAGES 3
#define ROWS_LOCAL KIB(48)

/* Bytes of a stage with `cols` columns a lane; of what warps have beside the ring. */
static size_t stage_bytes(const struct op *op, int32_t cols)
{
    int32_t vectors = 2 + view_given(op->in[DELTA_a]) + op->p.delta.dplr +
                      (op->p.delta.decay == DECAY_KEY);
    return ROWS_TILE * sizeof(float) *
           (size_t)(vectors * padded(op->p.delta.K) + ROWS_WARPS * 4 * cols + 4);
}
static size_t meet_bytes(int32_t cols, bool shuffle)
{
    return ROWS_WARPS * sizeof(float) *
           (size_t)((shuffle ? 0 : 2 * 32 * cols) + ROWS_TILE * (32 * cols + 4));
}

static size_t stages(const struct op *op, int32_t cols, bool shuffle)
{
    return (ROWS_LOCAL - meet_bytes(cols, shuffle)) / stage_bytes(op, cols);
}

/* Copies of 16 bytes, and room for a stage that is used beside one that comes. */
static bool by_warps(const struct ocl_model *m, const struct op *op)
{
    bool ok = m->d->tune.many_rows && op->p.delta.steps == 1 && op->p.delta.K % 4 == 0 &&
              op->p.delta.V % 4 == 0 && stages(op, 1, false) >= 2;
    for (int i = 0; i < 6; i++)
        ok = ok && (!view_given(op->in[i]) || ocl_aligned(m->plan, op->in[i]) ||
                    op->in[i].width == (i == DELTA_w ? op->p.delta.d_heads
                                                     : op->p.delta.state_heads));
    return ok;
}

/* The sequences from the first one of several rows on, where these are min to max. few: each waits
 * for itself, rather than for its share of the device. */
static int delta_rows(struct ocl_model *m, const struct op *op, bool few, int32_t min, int32_t max,
                      int32_t rows_min, struct err *e)
{
    int32_t V = op->p.delta.V, cols = few || stages(op, 2, true) < 2 ? 1 : 2;
    int32_t across = ROWS_WARPS * 4 * cols;
    struct ocl_spec s;
    ocl_spec_init(&s, "nvidia/delta_rows.cl", op);
    ocl_def(&s, "SHUFFLE", !few);
    ocl_def(&s, "K", op->p.delta.K);
    ocl_def(&s, "KP", padded(op->p.delta.K));
    ocl_def(&s, "V", V);
    ocl_def(&s, "CL", cols);
    ocl_def(&s, "WARPS", ROWS_WARPS);
    ocl_def(&s, "STAGES", (int64_t)MIN(stages(op, cols, !few), (size_t)ROWS_STAGES));
    ocl_def(&s, "HEADS", op->p.delta.state_heads);
    delta_args(&s, m, op);
    ocl_arg(&s, ARG_BATCH, BATCH_COUNTS);
    ocl_local(&s, 32 * ROWS_WARPS, 1);
    ocl_groups(&s, 0, BY_ONE, (V + across - 1) / across, 1);
    ocl_groups(&s, 1, BY_ONE, op->p.delta.state_heads, 1);
    ocl_groups(&s, 2, BY_REST, 1, 1);
    s.when = WHEN_SEVERAL;
    s.gate = (struct ocl_gate){{BY_REST, 1, 1}, min, max};
    s.rows_min = rows_min;
    return ocl_spec_emit(&s, m, e);
}

int ocl_delta_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    const struct ocl_tune *t = &m->d->tune;
    int rc;
    if (!by_warps(m, op))
        return delta_tokens(m, op, WHEN_ANY, BY_SEQS, 1, INT32_MAX, e);
    /* A column a lane is faster as long as the device is not full. */
    int32_t few = (int32_t)m->d->info.units * 32 / (op->p.delta.state_heads * op->p.delta.V);
    /* Steps of few rows are one kernel (../persistent.h), for which the ring is too large. */
    int32_t from = t->persistent && t->bundle ? t->persistent_rows + 1 : 1;
    if ((rc = delta_tokens(m, op, WHEN_SINGLE, BY_SEQS, 1, INT32_MAX, e)) ||
        (from > 1 && (rc = delta_tokens(m, op, WHEN_SEVERAL, BY_SEQS, 1, from - 1, e))) ||
        (rc = delta_tokens(m, op, WHEN_SEVERAL, BY_FIRST, from, INT32_MAX, e)) ||
        (few && (rc = delta_rows(m, op, true, 1, few, from, e))))
        return rc;
    return delta_rows(m, op, false, few + 1, INT32_MAX, from, e);
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
