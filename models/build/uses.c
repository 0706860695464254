/* Which ops touch an activation and how many use a weight, so that passes need not walk the plan
 * for every op they look at. A list may name ops that have ceased to touch its activation: every
 * answer is checked against the op. */
#include "models/build/build_int.h"

struct touch { int32_t act; bool reads, writes; };

static void note_touch(struct view *v, bool writes, void *arg)
{
    struct touch *t = arg;
    if (v->act != t->act)
        return;
    t->reads |= !writes;
    t->writes |= writes;
}

static struct touch op_touches(const struct uses *u, int32_t op, int32_t act)
{
    struct touch t = {act, false, false};
    op_views(&u->plan->ops[op], note_touch, &t);
    return t;
}

/* The first link of an activation; of none (-1), -1. Passes make no activations. */
static int32_t first_of(const struct uses *u, int32_t act)
{
    return act >= 0 ? u->head[act] : -1;
}

void uses_note(struct uses *u, int32_t act, int32_t op)
{
    for (int32_t i = first_of(u, act); i >= 0; i = u->links[i].next)
        if (u->links[i].op == op)
            return;
    if (u->n == u->cap) {
        int32_t cap = 2 * u->cap + 256;
        struct use_link *l = mem_realloc(u->links, (size_t)cap * sizeof *l);
        if (!l) {
            u->failed = true;
            return;
        }
        u->links = l;
        u->cap = cap;
    }
    u->links[u->n] = (struct use_link){op, u->head[act]};
    u->head[act] = u->n++;
}

struct noting { struct uses *u; int32_t op; };

static void note_view(struct view *v, bool writes, void *arg)
{
    struct noting *n = arg;
    (void)writes;
    uses_note(n->u, v->act, n->op);
}

int uses_open(struct uses *u, struct plan *p)
{
    *u = (struct uses){.plan = p, .head = mem_array((size_t)p->n_acts + 1, sizeof *u->head),
                       .weights = mem_array((size_t)p->n_weights + 1, sizeof *u->weights)};
    if (!u->head || !u->weights) {
        u->failed = true;
        return uses_close(u);
    }
    for (int32_t i = 0; i < p->n_acts; i++)
        u->head[i] = -1;
    memset(u->weights, 0, ((size_t)p->n_weights + 1) * sizeof *u->weights);
    for (int32_t i = 0; i < p->n_ops; i++) {
        struct noting n = {u, i};
        op_views(&p->ops[i], note_view, &n);
        for (size_t k = 0; k < ARRAY_LEN(p->ops[i].w); k++)
            if (p->ops[i].w[k] >= 0)
                u->weights[p->ops[i].w[k]]++;
    }
    return 0;
}

int uses_close(struct uses *u)
{
    mem_free(u->head);
    mem_free(u->links);
    mem_free(u->weights);
    return u->failed ? E_NOMEM : 0;
}

int uses_readers(const struct uses *u, int32_t act)
{
    int n = act == u->plan->logits.act;
    for (int32_t i = first_of(u, act); i >= 0; i = u->links[i].next)
        n += op_touches(u, u->links[i].op, act).reads;
    return n;
}

int uses_first_writer(const struct uses *u, int32_t act)
{
    int32_t first = -1;
    for (int32_t i = first_of(u, act); i >= 0; i = u->links[i].next) {
        int32_t op = u->links[i].op;
        if ((first < 0 || op < first) && op_touches(u, op, act).writes)
            first = op;
    }
    return first;
}

bool uses_written_between(const struct uses *u, int32_t act, int from, int to)
{
    for (int32_t i = first_of(u, act); i >= 0; i = u->links[i].next) {
        int32_t op = u->links[i].op;
        if (op > from && op < to && op_touches(u, op, act).writes)
            return true;
    }
    return false;
}

struct move { int32_t from, to, col; };

static void move_view(struct view *v, bool writes, void *arg)
{
    const struct move *m = arg;
    (void)writes;
    if (v->act != m->from)
        return;
    v->act = m->to;
    v->col += m->col;
}

void uses_move(struct uses *u, int32_t from, int32_t to, int32_t col)
{
    struct move m = {from, to, col};
    for (int32_t i = first_of(u, from); i >= 0; i = u->links[i].next) {
        op_views(&u->plan->ops[u->links[i].op], move_view, &m);
        uses_note(u, to, u->links[i].op);
    }
}
