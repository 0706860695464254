/* Generic passes over a recorded plan: residual adds into linears, linears of one input into one
 * matrix, lives of activations, offsets of state. Fusion of elementwise ops: fuse.c; ops of
 * neighbouring columns: join.c. */
#include <string.h>

#include "models/build/build_int.h"

#define OP_DEAD OP_KINDS

void pass_drop_dead_ops(struct plan *p)
{
    int32_t n = 0;
    for (int32_t i = 0; i < p->n_ops; i++)
        if (p->ops[i].kind != OP_DEAD)
            p->ops[n++] = p->ops[i];
    p->n_ops = n;
}

static bool same_view(struct view a, struct view b)
{
    return a.act == b.act && a.col == b.col && a.width == b.width;
}

/* ---- x + linear(y): the linear adds x as it stores ---- */

/* Index of the plain linear whose whole output is v and that only op j reads, or -1. */
static int sole_linear(const struct uses *u, struct view v, int j)
{
    const struct plan *p = u->plan;
    int i = uses_first_writer(u, v.act);
    if (i < 0 || i > j || p->ops[i].kind != OP_LINEAR ||
        view_given(p->ops[i].in[LINEAR_residual]) || !same_view(p->ops[i].out, v) ||
        uses_readers(u, v.act) != 1)
        return -1;
    return i;
}

/* The op is x + y, both of its own width. */
static bool plain_sum(const struct op *op)
{
    const struct ew_program *e = op->kind == OP_EW ? op->p.ew : NULL;
    return e && e->n_code == 1 && e->code[0].op == EW_ADD && view_given(e->in[0].v) &&
           view_given(e->in[1].v) && e->in[0].spread == EW_FULL && e->in[1].spread == EW_FULL &&
           !same_view(e->in[0].v, e->in[1].v);
}

/* Op j is a plain sum; one of its sides may be a linear that takes the other. */
static void add_in_linear(struct uses *u, int j)
{
    struct plan *p = u->plan;
    const struct ew_program *e = p->ops[j].p.ew;
    for (int side = 1; side >= 0; side--) {
        struct view y = e->in[side].v, x = e->in[!side].v;
        int i = sole_linear(u, y, j), from = uses_first_writer(u, x.act);
        if (i < 0 || from > i || uses_written_between(u, x.act, i, j))
            continue;
        p->ops[i].in[LINEAR_residual] = x;
        p->ops[i].out = p->ops[j].out;
        uses_note(u, x.act, i);
        uses_note(u, p->ops[j].out.act, i);
        p->ops[j].kind = OP_DEAD;
        p->ops[j].in[0] = p->ops[j].out = VIEW_NONE;
        return;
    }
}

int pass_residual(struct build *b)
{
    struct plan *p = b->plan;
    struct uses u;
    if (uses_open(&u, p) < 0)
        return E_NOMEM;
    for (int j = 0; j < p->n_ops; j++)
        if (plain_sum(&p->ops[j]))
            add_in_linear(&u, j);
    pass_drop_dead_ops(p);
    return uses_close(&u);
}

/* ---- linears of the same input: one wide matrix ---- */

static bool packable(const struct uses *u, const struct op *op)
{
    return op->kind == OP_LINEAR && op->w[LINEAR_bias] < 0 &&
           !view_given(op->in[LINEAR_residual]) &&
           op->p.linear.act == ACT_NONE && op->out.col == 0 && op->out.act != u->plan->logits.act &&
           u->weights[op->w[LINEAR_matrix]] == 1;
}

void pass_append_rows(struct build *b, int w, int from, int64_t at)
{
    struct weight *wa = &b->plan->weights[w], *wc = &b->plan->weights[from];
    struct binding *ba = &b->m->bindings[w], *bc = &b->m->bindings[from];
    struct binding_part *last = bc->parts;
    for (struct binding_part *x = bc->parts; x; x = x->next) {
        x->at_row += at;
        last = x;
    }
    last->next = ba->parts;
    ba->parts = bc->parts;
    bc->parts = NULL;
    wa->rows = at + wc->rows;
    wc->rows = 0; /* dropped by pass_drop_dead_weights */
}

void pass_absorb(struct uses *u, int i, int j, int32_t at)
{
    struct plan *p = u->plan;
    struct op *a = &p->ops[i], *c = &p->ops[j];
    struct act *out = &p->acts[a->out.act];
    int32_t from = c->out.act;
    a->out.width = out->width = at + c->out.width;
    out->stride = (int32_t)round_up((size_t)out->width, 16);
    c->kind = OP_DEAD;
    c->in[0] = c->out = VIEW_NONE;
    uses_move(u, from, a->out.act, at);
}

/* Appends linear j's rows below linear i's: same input, one matrix, one output activation. */
static void pack_into(struct build *b, struct uses *u, int i, int j)
{
    struct plan *p = b->plan;
    int w = p->ops[i].w[LINEAR_matrix];
    int32_t at = (int32_t)round_up((size_t)p->weights[w].rows, 16);
    pass_append_rows(b, w, p->ops[j].w[LINEAR_matrix], at);
    pass_absorb(u, i, j, at);
}

/* Renumbers weights without those of zero rows. */
int pass_drop_dead_weights(struct build *b)
{
    struct plan *p = b->plan;
    int32_t n = 0, *to = mem_array((size_t)p->n_weights + 1, sizeof *to);
    if (!to)
        return E_NOMEM;
    for (int32_t i = 0; i < p->n_weights; i++) {
        to[i] = p->weights[i].rows > 0 ? n : -1;
        if (to[i] < 0)
            continue;
        p->weights[n] = p->weights[i];
        b->m->bindings[n++] = b->m->bindings[i];
    }
    p->n_weights = n;
    for (int32_t i = 0; i < p->n_ops; i++) {
        struct op *op = &p->ops[i];
        for (size_t k = 0; k < ARRAY_LEN(op->w); k++)
            op->w[k] = op->w[k] < 0 ? -1 : to[op->w[k]];
        for (int k = 0; op->kind == OP_EW && k < op->p.ew->n_in; k++)
            if (!view_given(op->p.ew->in[k].v))
                op->p.ew->in[k].weight = to[op->p.ew->in[k].weight];
    }
    mem_free(to);
    return 0;
}

/* Op j takes the same input, and both results fit one activation. */
static bool packs_with(const struct uses *u, int i, int j)
{
    const struct plan *p = u->plan;
    const struct op *a = &p->ops[i], *c = &p->ops[j];
    return c->kind == OP_LINEAR && a->rows == c->rows &&
           same_view(a->in[LINEAR_x], c->in[LINEAR_x]) && packable(u, c) &&
           p->weights[a->w[LINEAR_matrix]].dtype == p->weights[c->w[LINEAR_matrix]].dtype &&
           a->out.width + c->out.width <= LIMIT_WIDTH - 16 &&
           !uses_written_between(u, a->in[LINEAR_x].act, i, j);
}

int pass_pack(struct build *b)
{
    struct plan *p = b->plan;
    struct uses u;
    if (uses_open(&u, p) < 0)
        return E_NOMEM;
    for (int i = 0; i < p->n_ops; i++) {
        if (!packable(&u, &p->ops[i]))
            continue;
        for (int j = i + 1; j < p->n_ops && p->ops[j].layer == p->ops[i].layer; j++)
            if (packs_with(&u, i, j))
                pack_into(b, &u, i, j);
    }
    pass_drop_dead_ops(p);
    int rc = uses_close(&u);
    return rc ? rc : pass_drop_dead_weights(b);
}

/* ---- lives and state ---- */

struct life { struct plan *p; int32_t at; };

static void note_life(struct view *v, bool writes, void *arg)
{
    struct life *l = arg;
    struct act *a = &l->p->acts[v->act];
    (void)writes;
    a->first = MIN(a->first, l->at);
    a->last = MAX(a->last, l->at);
}

int pass_lives(struct build *b)
{
    struct plan *p = b->plan;
    for (int32_t i = 0; i < p->n_acts; i++) {
        p->acts[i].first = INT32_MAX;
        p->acts[i].last = -1;
    }
    for (int32_t i = 0; i < p->n_ops; i++) {
        struct life l = {p, i};
        op_views(&p->ops[i], note_life, &l);
    }
    p->acts[p->logits.act].last = p->n_ops; /* read after the run */
    return 0;
}

/* Renumbers state sections without those of no elements. */
static int drop_dead_sections(struct plan *p)
{
    int32_t n = 0, *to = mem_array((size_t)p->n_sections + 1, sizeof *to);
    if (!to)
        return E_NOMEM;
    for (int32_t i = 0; i < p->n_sections; i++) {
        to[i] = p->sections[i].elems > 0 ? n : -1;
        if (to[i] >= 0)
            p->sections[n++] = p->sections[i];
    }
    p->n_sections = n;
    for (int32_t i = 0; i < p->n_ops; i++) {
        struct op *op = &p->ops[i];
        op->section = op->section < 0 ? -1 : to[op->section];
    }
    mem_free(to);
    return 0;
}

/* What --states float16 asks for: the states that can be. */
static int narrow_sections(struct plan *p)
{
    int n = 0;
    for (int32_t i = 0; i < p->n_ops; i++)
        if (p->ops[i].section >= 0 && section_may_be_f16(&p->ops[i])) {
            p->sections[p->ops[i].section].dtype = DTYPE_F16;
            n++;
        }
    return n;
}

int pass_sections(struct build *b)
{
    struct plan *p = b->plan;
    int rc = drop_dead_sections(p);
    if (rc)
        return rc;
    if (b->m->states == STATES_F16 && narrow_sections(p) == 0)
        return err_set(b->err, E_UNSUPPORTED, "states in float16: %s has none that can be, only "
                       "matrix states of DECAY and DELTA that forget can", b->m->arch);
    for (int32_t i = 0; i < p->n_sections; i++) {
        struct section *s = &p->sections[i];
        if (s->kind == SECTION_FIXED) {
            s->offset = p->slot_floats;
            p->slot_floats += (int64_t)round_up((size_t)section_floats(s), 16);
        } else {
            s->offset = p->page_token_floats * PAGE_TOKENS;
            p->page_token_floats += s->elems;
        }
    }
    return 0;
}
