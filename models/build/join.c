/* Ops of one kind over neighbouring columns become one op over all of them: the convolutions and
 * norms of q, k and v, say, whose inputs one wide matrix wrote side by side. Channels and groups
 * do not know each other, so every result keeps its bits. */
#include "models/build/build_int.h"

/* The op writes the whole of an activation that nobody wrote before. */
static bool owns_output(const struct uses *u, int i)
{
    const struct plan *p = u->plan;
    const struct op *op = &p->ops[i];
    return view_given(op->out) && op->out.col == 0 &&
           op->out.width == p->acts[op->out.act].width && op->out.act != p->logits.act &&
           uses_first_writer(u, op->out.act) == i;
}

/* Without weights and gate. */
static bool plain_norm(const struct op *op)
{
    return op->w[NORM_weight] < 0 && op->w[NORM_bias] < 0 && !view_given(op->in[NORM_gate]);
}

static bool norms_join(const struct op *a, const struct op *c)
{
    return plain_norm(a) && plain_norm(c) && a->p.norm.kind == c->p.norm.kind &&
           a->p.norm.group == c->p.norm.group && a->p.norm.eps == c->p.norm.eps &&
           a->p.norm.scale == c->p.norm.scale;
}

/* A filter of this op's channels that no other op uses. */
static bool own_filter(const struct uses *u, const struct op *op)
{
    const struct weight *w = &u->plan->weights[op->w[CONV_filter]];
    return w->role == WEIGHT_VECTOR && w->rows == op->out.width && w->cols == op->p.conv.size &&
           u->weights[op->w[CONV_filter]] == 1;
}

static bool convs_join(const struct uses *u, const struct op *a, const struct op *c)
{
    return a->w[CONV_bias] < 0 && c->w[CONV_bias] < 0 && !view_given(a->in[CONV_mask]) &&
           !view_given(c->in[CONV_mask]) &&
           a->p.conv.size == c->p.conv.size && a->p.conv.act == c->p.conv.act &&
           own_filter(u, a) && own_filter(u, c);
}

static bool joins(const struct uses *u, int i, int j)
{
    const struct plan *p = u->plan;
    const struct op *a = &p->ops[i], *c = &p->ops[j];
    if (a->kind != c->kind || a->rows != c->rows || a->in[0].act != c->in[0].act ||
        a->in[0].col + a->in[0].width != c->in[0].col ||
        a->out.width + c->out.width > LIMIT_WIDTH || !owns_output(u, i) || !owns_output(u, j) ||
        uses_written_between(u, a->in[0].act, i, j))
        return false;
    return a->kind == OP_NORM ? norms_join(a, c) : a->kind == OP_CONV && convs_join(u, a, c);
}

static void join(struct build *b, struct uses *u, int i, int j)
{
    struct plan *p = b->plan;
    struct op *a = &p->ops[i], *c = &p->ops[j];
    int32_t at = a->out.width;
    if (a->kind == OP_CONV)
        pass_append_rows(b, a->w[0], c->w[0], at);
    if (a->section >= 0) {
        p->sections[a->section].elems += p->sections[c->section].elems;
        p->sections[c->section].elems = 0; /* dropped by pass_sections */
    }
    a->in[0].width += c->in[0].width;
    pass_absorb(u, i, j, at);
}

int pass_join(struct build *b)
{
    struct plan *p = b->plan;
    struct uses u;
    if (uses_open(&u, p) < 0)
        return E_NOMEM;
    for (int i = 0; i < p->n_ops; i++)
        for (int j = i + 1; j < p->n_ops && p->ops[j].layer == p->ops[i].layer; j++)
            if (joins(&u, i, j))
                join(b, &u, i, j);
    pass_drop_dead_ops(p);
    int rc = uses_close(&u);
    return rc ? rc : pass_drop_dead_weights(b);
}
