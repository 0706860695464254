/* An activation behind a linear becomes part of it: y = act(w x), and the product is stored once.
 * The same function of the same float32, so every result keeps its bits. Runs when the linears of
 * one input are one matrix (passes.c): of those only whole results are activated, and before
 * elementwise ops are fused, which would take the instruction in. */
#include "models/build/build_int.h"

#define OP_DEAD OP_KINDS

/* The activation that the one instruction of a program is, ACT_NONE: another one. */
static enum activation activation_of(const struct ew_program *e)
{
    static const struct { enum ew_op code; enum activation act; } of[] = {
        {EW_SILU, ACT_SILU}, {EW_SIGMOID, ACT_SIGMOID}, {EW_RELU, ACT_RELU},
        {EW_SQRELU, ACT_SQRELU}, {EW_TANH, ACT_TANH}, {EW_GELU_TANH, ACT_GELU_TANH},
        {EW_GELU_ERF, ACT_GELU_ERF},
    };
    for (size_t i = 0; i < ARRAY_LEN(of); i++)
        if (e->code[0].op == of[i].code)
            return of[i].act;
    return ACT_NONE;
}

/* One instruction, from one whole view to another. */
static bool lone_function(const struct op *op)
{
    const struct ew_program *e = op->kind == OP_EW ? op->p.ew : NULL;
    return e && e->n_in == 1 && e->n_code == 1 && e->n_out == 1 && view_given(e->in[0].v) &&
           e->in[0].spread == EW_FULL && e->code[0].a == 0 && e->out[0].reg == 1;
}

/* The linear that writes v, all of it and nothing else, for op j alone; or -1. */
static int sole_linear(const struct uses *u, struct view v, int j)
{
    int i = uses_first_writer(u, v.act);
    const struct op *op = i < 0 ? NULL : &u->plan->ops[i];
    if (!op || i > j || op->kind != OP_LINEAR || op->rows != u->plan->ops[j].rows ||
        op->p.linear.act != ACT_NONE || view_given(op->in[LINEAR_residual]) ||
        op->out.col != v.col || op->out.width != v.width || uses_readers(u, v.act) != 1)
        return -1;
    return i;
}

int pass_activate(struct build *b)
{
    struct plan *p = b->plan;
    struct uses u;
    if (uses_open(&u, p) < 0)
        return E_NOMEM;
    for (int j = 0; j < p->n_ops; j++) {
        struct op *op = &p->ops[j];
        enum activation act = lone_function(op) ? activation_of(op->p.ew) : ACT_NONE;
        int i = act == ACT_NONE ? -1 : sole_linear(&u, op->p.ew->in[0].v, j);
        /* nobody knows the result before this op makes it */
        if (i < 0 || uses_first_writer(&u, op->p.ew->out[0].v.act) != j)
            continue;
        p->ops[i].p.linear.act = act;
        p->ops[i].out = op->p.ew->out[0].v;
        uses_note(&u, p->ops[i].out.act, i);
        op->kind = OP_DEAD;
        op->out = VIEW_NONE;
    }
    pass_drop_dead_ops(p);
    return uses_close(&u);
}
