/* Phases: every op as early as what it touches allows. */
#include "kernels/phases.h"

#include "base/mem.h"

/* Fewer tiles than this leave most of a device idle: such ops stay apart, one phase each. A norm
 * over a whole row has one tile by nature and takes along what follows it, up to so many columns:
 * of more, one group would make one after the other. */
#define TILES_MIN 8
#define ALONE_MOST 256

/* Outputs of a product that one group of work-items makes: a tile of what follows it at once. */
#define PRODUCT_TILE 32

/* Members of a chain. */
#define CHAIN_MAX 24

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

/* Heads of the state, or of what several of them share when that still makes many tiles. */
static int32_t delta_units(const struct op *op)
{
    int32_t n = gcd(op->p.delta.state_heads, op->p.delta.k_heads);
    if (op->p.delta.decay != DECAY_NONE)
        n = gcd(n, op->p.delta.d_heads);
    bool alike = n == op->p.delta.state_heads || n >= TILES_MIN;
    return alike && op->p.delta.steps == 1 ? n : 0;
}

/* Heads of an operand; as many as the state has where it has none. */
static int32_t decay_heads(const struct op *op, int in)
{
    switch (in) {
    case DECAY_q: return op->p.decay.q_heads;
    case DECAY_k: return op->p.decay.k_heads;
    case DECAY_v: return op->p.decay.v_heads;
    default: return op->p.decay.decay > DECAY_CONST ? op->p.decay.d_heads
                                                    : op->p.decay.state_heads;
    }
}

static int32_t decay_units(const struct op *op)
{
    int32_t all = op->p.decay.state_heads, n = all;
    for (int i = 0; i < 4; i++)
        n = gcd(n, decay_heads(op, i));
    return n >= TILES_MIN ? n : all;
}

/* Whether several tiles of a recurrence read the same heads of an operand. */
static bool decay_shares(const struct op *op, int in)
{
    return decay_heads(op, in) % decay_units(op) != 0;
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
                      (op->kind == OP_SCAN && (i == SCAN_B || i == SCAN_C)) ||
                      (op->kind == OP_DECAY && decay_shares(op, i));
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
    case OP_DELTA: return delta_units(op);
    case OP_DECAY: return decay_units(op);
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
            if (f->v.act != g->v.act || !f->owned || !g->owned)
                return ORDERED;
            r = ALIGNED;
        }
    return r;
}

/* ---- what a tile has of each member ---- */

/* The members of a chain that is being made. */
struct cutting {
    const struct effects *all;
    struct pieces *of; /* [member] */
    int32_t member[CHAIN_MAX]; /* ops, ascending */
    int n;
};

/* Adds an end. 1: it is new; 0; -1: there are too many. */
static int add_end(struct pieces *x, int32_t unit)
{
    int at = 0;
    while (at < x->n && x->end[at] < unit)
        at++;
    if (at < x->n && x->end[at] == unit)
        return 0;
    if (x->n == PHASE_PIECES)
        return -1;
    for (int k = x->n++; k > at; k--)
        x->end[k] = x->end[k - 1];
    x->end[at] = unit;
    return 1;
}

/* Column `col` of an activation, of which the op has view v, is where a piece ends: as above; -1
 * also when it is inside of a unit. */
static int end_at(struct pieces *x, struct view v, int32_t col)
{
    int64_t at = (int64_t)(col - v.col) * x->units;
    if (col <= v.col || col >= v.col + v.width)
        return 0;
    return at % v.width ? -1 : add_end(x, (int32_t)(at / v.width));
}

/* Where the pieces of one member end in what two have in common, the other's must. */
static int hand_over(struct pieces *to, struct view v, const struct pieces *from, struct view w)
{
    int rc = end_at(to, v, w.col), any = rc;
    for (int k = 0; k < from->n && rc >= 0; k++) {
        int64_t at = (int64_t)from->end[k] * w.width;
        rc = at % from->units ? -1 : end_at(to, v, w.col + (int32_t)(at / from->units));
        any |= rc;
    }
    return rc < 0 ? rc : any;
}

/* One round over all pairs: 1: something is new; 0; -1: members cannot be cut alike. */
static int even_out(struct cutting *c)
{
    int any = 0;
    for (int i = 0; i < c->n; i++)
        for (int j = 0; j < c->n; j++) {
            const struct effects *x = &c->all[c->member[i]], *y = &c->all[c->member[j]];
            for (int a = 0; a < x->n; a++)
                for (int b = 0; b < y->n; b++) {
                    const struct effect *f = &x->e[a], *g = &y->e[b];
                    if (f->v.act != g->v.act || !f->owned || !g->owned ||
                        (!f->writes && !g->writes) || f->v.col >= g->v.col + g->v.width ||
                        g->v.col >= f->v.col + f->v.width)
                        continue;
                    int rc = hand_over(&c->of[i], f->v, &c->of[j], g->v);
                    if (rc < 0)
                        return rc;
                    any |= rc;
                }
        }
    return any;
}

static void whole_row(struct pieces *x, int32_t units)
{
    *x = (struct pieces){.units = units, .n = 1, .end = {units}};
}

/* Cuts all members alike: how many tiles there are, 0 = they cannot be. */
static int32_t cut(struct cutting *c, const struct op *ops)
{
    int rc = 1;
    int32_t tiles = 0;
    for (int i = 0; i < c->n; i++)
        whole_row(&c->of[i], tiles_of(&ops[c->member[i]]));
    while (rc > 0)
        rc = even_out(c);
    for (int i = 0; i < c->n && !rc; i++)
        for (int k = 0; k < c->of[i].n; k++)
            tiles = gcd(tiles, c->of[i].end[k] - (k ? c->of[i].end[k - 1] : 0));
    return rc ? 0 : tiles;
}

/* ---- phases and chains ---- */

struct finding {
    struct phases *x;
    const struct plan *p;
    const struct effects *all;
    enum relation *to; /* [op] of the op that is being placed */
    struct pieces of[CHAIN_MAX];
    struct cutting c;
};

/* The members of the chains that op i waits for in this phase, and i, in order. false: they cannot
 * be one. aligned: tile by tile is enough. */
static bool members(struct finding *f, int32_t i, int32_t phase, bool *aligned)
{
    const struct phases *x = f->x;
    bool products = false, several = false;
    int32_t first = -1;
    f->c.n = 0;
    for (int32_t j = 0; j < i; j++) {
        bool in = false;
        if (x->ops[j].phase != phase)
            continue;
        for (int32_t k = 0; k < i && !in; k++)
            in = f->to[k] != APART && x->ops[k].phase == phase &&
                 x->ops[k].chain == x->ops[j].chain;
        if (!in)
            continue;
        int32_t chain = x->ops[j].chain;
        if (f->c.n == CHAIN_MAX - 1 || x->ops[chain].tiles < 1 ||
            f->p->ops[chain].rows != f->p->ops[i].rows)
            return false;
        several |= first >= 0 && chain != first;
        products |= f->p->ops[j].kind == OP_LINEAR;
        first = first < 0 ? chain : first;
        *aligned &= f->to[j] != ORDERED;
        f->c.member[f->c.n++] = j;
    }
    f->c.member[f->c.n++] = i;
    return first >= 0 && !(products && several);
}

/* Whether op i joins what it waits for, in *tiles. */
static bool joins(struct finding *f, int32_t i, int32_t phase, int32_t *tiles)
{
    const struct op *op = &f->p->ops[i];
    bool aligned = true, one = true, product = false, pieces = false;
    if (tiles_of(op) < 1 || op->kind == OP_LINEAR) /* a product wants the whole device */
        return false;
    if (!members(f, i, phase, &aligned))
        return false;
    int32_t least = INT32_MAX;
    for (int k = 0; k + 1 < f->c.n; k++) {
        int32_t has = f->x->ops[f->c.member[k]].tiles;
        one &= has == 1;
        least = MIN(least, has);
    }
    int32_t wide = op->kind == OP_EW ? op->p.ew->width : op->out.width;
    if (one && wide > ALONE_MOST && tiles_of(op) > 1)
        return false;
    *tiles = one ? 1 : cut(&f->c, f->p->ops);
    for (int k = 0; k < f->c.n; k++) {
        if (one)
            whole_row(&f->of[k], tiles_of(&f->p->ops[f->c.member[k]]));
        product |= f->p->ops[f->c.member[k]].kind == OP_LINEAR;
        pieces |= f->of[k].n > 1;
    }
    if (product && pieces) /* it is no part of a kernel with other ops */
        return false;
    return one || (aligned && *tiles > 0 && (*tiles == least || *tiles >= TILES_MIN));
}

static void put(struct finding *f, int32_t i)
{
    struct phases *x = f->x;
    int32_t phase = -1, tiles = 0, chain = i;
    for (int32_t j = 0; j < i; j++)
        if (f->to[j] != APART)
            phase = MAX(phase, x->ops[j].phase);
    if (phase >= 0 && joins(f, i, phase, &tiles)) {
        for (int k = 0; k + 1 < f->c.n; k++) /* i is the last */
            chain = MIN(chain, x->ops[f->c.member[k]].chain);
        x->ops[i].phase = phase;
        for (int k = 0; k < f->c.n; k++) {
            struct phase_op *o = &x->ops[f->c.member[k]];
            *o = (struct phase_op){phase, chain, tiles, f->of[k]};
        }
        return;
    }
    x->ops[i] = (struct phase_op){.phase = phase + 1, .chain = i, .tiles = tiles_of(&f->p->ops[i])};
    whole_row(&x->ops[i].pieces, x->ops[i].tiles);
    x->n_phases = MAX(x->n_phases, phase + 2);
}

int phases_find(struct phases *out, const struct plan *p, const struct capacity *c, struct err *e)
{
    size_t n = (size_t)p->n_ops;
    struct effects *all = mem_array(n + 1, sizeof *all);
    enum relation *to = mem_array(n + 1, sizeof *to);
    *out = (struct phases){.ops = mem_array(n + 1, sizeof *out->ops), .n_ops = p->n_ops};
    struct finding f = {.x = out, .p = p, .all = all, .to = to};
    f.c = (struct cutting){.all = all, .of = f.of};
    int rc = all && to && out->ops ? 0 : err_set(e, E_NOMEM, "no memory for %zu phases", n);
    for (int32_t i = 0; i < p->n_ops && !rc; i++) {
        effects_of(&all[i], &p->ops[i]);
        for (int32_t j = 0; j < i; j++)
            to[j] = relate(p, c, i, &all[i], &all[j], j);
        put(&f, i);
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

int phases_levels(int32_t *level, const struct plan *p, const struct capacity *c, struct err *e)
{
    struct effects *all = mem_array((size_t)p->n_ops + 1, sizeof *all);
    if (!all)
        return err_set(e, E_NOMEM, "no memory for what %d ops touch", p->n_ops);
    for (int32_t i = 0; i < p->n_ops; i++) {
        effects_of(&all[i], &p->ops[i]);
        level[i] = 0;
        for (int32_t j = 0; j < i; j++)
            if (level[j] >= level[i] && relate(p, c, i, &all[i], &all[j], j) != APART)
                level[i] = level[j] + 1;
    }
    mem_free(all);
    return 0;
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
