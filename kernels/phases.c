/* Phases: every op as early as what it touches allows. */
#include "kernels/phases.h"

#include "base/mem.h"

/* Fewer tiles than this leave most of a device idle: such ops stay apart, one phase each. A norm
 * over a whole row has one tile by nature and takes along what follows it. */
#define TILES_MIN 8

/* Outputs of a product that one group of work-items makes: a tile of what follows it at once. */
#define PRODUCT_TILE 32

/* What an op reads or writes. owned: tile i of the op touches only tile i of the view. */
struct effect { struct view v; bool writes, owned; };

#define EFFECTS_MAX (LIMIT_EW_IN + LIMIT_EW_OUT + OP_INPUTS + 1)

struct effects { struct effect e[EFFECTS_MAX]; int n; };

static int32_t gcd(int32_t a, int32_t b)
{
    while (b) {
        int32_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

static void add(struct effects *x, struct view v, bool writes, bool owned)
{
    if (view_given(v))
        x->e[x->n++] = (struct effect){v, writes, owned};
}

static void effects_of(struct effects *x, const struct op *op)
{
    x->n = 0;
    if (op->kind == OP_EW) {
        const struct ew_program *p = op->p.ew;
        for (int i = 0; i < p->n_in; i++)
            add(x, p->in[i].v, false, p->in[i].spread != EW_TILE);
        for (int i = 0; i < p->n_out; i++)
            add(x, p->out[i].v, true, true);
        return;
    }
    for (int i = 0; i < OP_INPUTS; i++) {
        bool shared = (op->kind == OP_LINEAR && i == LINEAR_x) ||
                      (op->kind == OP_CONV && i == CONV_mask) ||
                      (op->kind == OP_SCAN && (i == SCAN_B || i == SCAN_C));
        add(x, op->in[i], false, !shared);
    }
    add(x, op->out, true, true);
    if (op->kind == OP_DELTAFORMER) /* and reads its own columns */
        add(x, op->out, false, true);
}

/* Tiles that read groups whole: a divisor of the groups of every operand that has some. */
static int32_t ew_tiles(const struct ew_program *p)
{
    int32_t n = p->width;
    for (int i = 0; i < p->n_in; i++)
        if (p->in[i].spread == EW_GROUP)
            n = gcd(n, p->width / p->in[i].period);
    return n;
}

static int32_t delta_tiles(const struct op *op)
{
    int32_t n = op->p.delta.state_heads;
    bool decays = op->p.delta.decay != DECAY_NONE;
    bool alike = op->p.delta.k_heads == n && (!decays || op->p.delta.d_heads == n);
    return alike && op->p.delta.steps == 1 ? n : 0;
}

static int32_t decay_tiles(const struct op *op)
{
    int32_t n = op->p.decay.state_heads;
    bool decays = op->p.decay.decay > DECAY_CONST; /* by an operand */
    return op->p.decay.q_heads == n && op->p.decay.k_heads == n && op->p.decay.v_heads == n &&
                   (!decays || op->p.decay.d_heads == n)
               ? n : 0;
}

/* Parts of a row that an op computes apart; 0: it has no chain. */
static int32_t tiles_of(const struct op *op)
{
    switch (op->kind) {
    case OP_EW: return ew_tiles(op->p.ew);
    case OP_NORM: return op->in[NORM_x].width / op->p.norm.group;
    case OP_SOFTMAX: return op->in[SOFTMAX_x].width / op->p.softmax.group;
    case OP_GROUPSUM: case OP_EMBED: case OP_GATHER: case OP_SHIFT: case OP_CONV: case OP_RNN:
    case OP_SCAN: case OP_WKV: return op->out.width;
    case OP_LINEAR: return op->out.width % PRODUCT_TILE ? 0 : op->out.width / PRODUCT_TILE;
    case OP_ROPE: return op->out.width / op->p.rope.head;
    case OP_DELTA: return delta_tiles(op);
    case OP_DECAY: return decay_tiles(op);
    default: return 0;
    }
}

/* Whether two views share a float of the arena. */
static bool meet(const struct plan *p, const struct capacity *c, struct view a, struct view b)
{
    const struct act *x = &p->acts[a.act], *y = &p->acts[b.act];
    if (a.act == b.act)
        return a.col < b.col + b.width && b.col < a.col + a.width;
    if (!c)
        return false;
    int64_t nx = (int64_t)x->stride * (x->rows == ROWS_LOGITS ? c->logits : c->tokens);
    int64_t ny = (int64_t)y->stride * (y->rows == ROWS_LOGITS ? c->logits : c->tokens);
    return x->offset < y->offset + ny && y->offset < x->offset + nx;
}

static bool same(struct view a, struct view b)
{
    return a.act == b.act && a.col == b.col && a.width == b.width;
}

enum relation { APART, ALIGNED, ORDERED };

/* ALIGNED: they must come in order, but tile by tile is enough. */
static enum relation relate(const struct plan *p, const struct capacity *c, int32_t i,
                            const struct effects *x, const struct effects *y, int32_t j)
{
    enum relation r = APART;
    if (p->ops[i].section >= 0 && p->ops[i].section == p->ops[j].section)
        return ORDERED;
    for (int a = 0; a < x->n; a++)
        for (int b = 0; b < y->n; b++) {
            const struct effect *f = &x->e[a], *g = &y->e[b];
            if ((!f->writes && !g->writes) || !meet(p, c, f->v, g->v))
                continue;
            if (!same(f->v, g->v) || !f->owned || !g->owned)
                return ORDERED;
            r = ALIGNED;
        }
    return r;
}

/* The chain of the latest ops that op i waits for, when i may join it with *tiles; else -1. */
static int32_t joins(const struct phases *x, const struct plan *p, int32_t i,
                     const enum relation *to, int32_t phase, int32_t *tiles)
{
    int32_t chain = -1, own = tiles_of(&p->ops[i]);
    bool aligned = true;
    if (own < 1 || p->ops[i].kind == OP_LINEAR) /* a product wants the whole device */
        return -1;
    for (int32_t j = 0; j < i; j++) {
        if (to[j] == APART || x->ops[j].phase < phase)
            continue;
        if (chain >= 0 && x->ops[j].chain != chain)
            return -1;
        chain = x->ops[j].chain;
        aligned = aligned && to[j] == ALIGNED;
    }
    if (chain < 0 || p->ops[chain].rows != p->ops[i].rows || x->ops[chain].tiles < 1)
        return -1;
    *tiles = gcd(x->ops[chain].tiles, own);
    bool wide = *tiles == x->ops[chain].tiles || *tiles >= TILES_MIN;
    return wide && (aligned || *tiles == 1) ? chain : -1;
}

static void put(struct phases *x, const struct plan *p, int32_t i, const enum relation *to)
{
    int32_t phase = -1, tiles = 0, chain;
    for (int32_t j = 0; j < i; j++)
        if (to[j] != APART)
            phase = MAX(phase, x->ops[j].phase);
    chain = phase < 0 ? -1 : joins(x, p, i, to, phase, &tiles);
    if (chain < 0) {
        x->ops[i] = (struct phase_op){phase + 1, i, tiles_of(&p->ops[i])};
        x->n_phases = MAX(x->n_phases, phase + 2);
        return;
    }
    x->ops[i] = (struct phase_op){phase, chain, tiles};
    for (int32_t j = chain; j < i; j++)
        if (x->ops[j].chain == chain)
            x->ops[j].tiles = tiles;
}

int phases_find(struct phases *out, const struct plan *p, const struct capacity *c, struct err *e)
{
    size_t n = (size_t)p->n_ops;
    struct effects *all = mem_array(n + 1, sizeof *all);
    enum relation *to = mem_array(n + 1, sizeof *to);
    *out = (struct phases){.ops = mem_array(n + 1, sizeof *out->ops), .n_ops = p->n_ops};
    int rc = all && to && out->ops ? 0 : err_set(e, E_NOMEM, "no memory for %zu phases", n);
    for (int32_t i = 0; i < p->n_ops && !rc; i++) {
        effects_of(&all[i], &p->ops[i]);
        for (int32_t j = 0; j < i; j++)
            to[j] = relate(p, c, i, &all[i], &all[j], j);
        put(out, p, i, to);
    }
    mem_free(all);
    mem_free(to);
    if (rc)
        phases_free(out);
    return rc;
}

void phases_free(struct phases *x)
{
    mem_free(x->ops);
    *x = (struct phases){0};
}

static void chain_text(const struct phases *x, const struct plan *p, int32_t first,
                       struct buf *out)
{
    bool several = false;
    for (int32_t i = first + 1; i < x->n_ops; i++)
        several |= x->ops[i].chain == first;
    buf_str(out, several ? " [" : " ");
    for (int32_t i = first; i < x->n_ops; i++)
        if (x->ops[i].chain == first)
            buf_fmt(out, "%s%d %s", i == first ? "" : ", ", i, op_name(p->ops[i].kind));
    if (several)
        buf_fmt(out, "] in %d", x->ops[first].tiles);
}

void phases_text(const struct phases *x, const struct plan *p, struct buf *out)
{
    buf_fmt(out, "%d ops in %d phases\n", x->n_ops, x->n_phases);
    for (int32_t k = 0; k < x->n_phases; k++) {
        buf_fmt(out, "%3d:", k);
        for (int32_t i = 0; i < x->n_ops; i++)
            if (x->ops[i].phase == k && x->ops[i].chain == i)
                chain_text(x, p, i, out);
        buf_ch(out, '\n');
    }
}
