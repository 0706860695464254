/* Fusion of elementwise ops: consecutive formulas over the same rows and columns become one
 * program, so that their intermediate values never reach memory. An op may move up to an earlier
 * program when nothing in between writes what it reads. */
#include "models/build/build_int.h"

/* While merging, an operand below CODE_REF is an input, otherwise CODE_REF + instruction. */
#define CODE_REF 64
_Static_assert(LIMIT_EW_IN <= CODE_REF && CODE_REF + LIMIT_EW_CODE <= 256, "operands fit a byte");

static uint8_t to_ref(uint8_t reg, int n_in)
{
    return (uint8_t)(reg < n_in ? reg : CODE_REF + reg - n_in);
}
static uint8_t to_reg(uint8_t ref, int n_in)
{
    return (uint8_t)(ref < CODE_REF ? ref : n_in + ref - CODE_REF);
}

static void renumber(struct ew_program *e, uint8_t (*f)(uint8_t, int))
{
    for (int i = 0; i < e->n_code; i++) {
        struct ew_ins *c = &e->code[i];
        c->a = f(c->a, e->n_in);
        c->b = f(c->b, e->n_in);
        c->c = f(c->c, e->n_in);
    }
    for (int i = 0; i < e->n_out; i++)
        e->out[i].reg = f((uint8_t)e->out[i].reg, e->n_in);
}

static bool same_in(const struct ew_in *a, const struct ew_in *b)
{
    return a->v.act == b->v.act && a->v.col == b->v.col && a->v.width == b->v.width &&
           a->weight == b->weight && a->spread == b->spread && a->period == b->period;
}

/* The operand of a that stands for input x of a later program: one of a's results, one of its
 * inputs, or a new input. -1: it cannot be had. */
static int find_operand(struct ew_program *a, const struct ew_in *x)
{
    for (int k = 0; k < a->n_out && view_given(x->v); k++) {
        if (a->out[k].v.act != x->v.act)
            continue;
        bool whole = x->spread == EW_FULL && a->out[k].v.col == x->v.col &&
                     a->out[k].v.width == x->v.width;
        return whole ? a->out[k].reg : -1;
    }
    for (int k = 0; k < a->n_in; k++)
        if (same_in(&a->in[k], x))
            return k;
    if (a->n_in == LIMIT_EW_IN)
        return -1;
    a->in[a->n_in] = *x;
    return a->n_in++;
}

/* a := a then c. On false a is unchanged. */
static bool merge(struct ew_program *a, const struct ew_program *c)
{
    struct ew_program keep = *a;
    uint8_t in[LIMIT_EW_IN];
    int base = a->n_code;
    if (a->n_code + c->n_code > LIMIT_EW_CODE || a->n_out + c->n_out > LIMIT_EW_OUT)
        return false;
    for (int i = 0; i < c->n_in; i++) {
        int ref = find_operand(a, &c->in[i]);
        if (ref < 0) {
            *a = keep;
            return false;
        }
        in[i] = (uint8_t)ref;
    }
    for (int i = 0; i < c->n_code; i++) {
        struct ew_ins x = c->code[i];
        uint8_t *ops[] = {&x.a, &x.b, &x.c};
        for (int k = 0; k < 3; k++)
            *ops[k] = (uint8_t)(*ops[k] < CODE_REF ? in[*ops[k]] : *ops[k] + base);
        a->code[a->n_code++] = x;
    }
    for (int i = 0; i < c->n_out; i++) {
        int reg = c->out[i].reg;
        a->out[a->n_out].v = c->out[i].v;
        a->out[a->n_out++].reg = reg < CODE_REF ? in[reg] : reg + base;
    }
    return true;
}

struct use { int *readers; int step; };

static void count_reads(struct view *v, bool writes, void *arg)
{
    struct use *u = arg;
    if (!writes)
        u->readers[v->act] += u->step;
}

/* Results that nothing reads any more are not stored. */
static void drop_unread(struct ew_program *a, const int *readers)
{
    int n = 0;
    for (int i = 0; i < a->n_out; i++)
        if (readers[a->out[i].v.act] > 0)
            a->out[n++] = a->out[i];
    a->n_out = n;
}

struct conflict { struct op *reader; bool found; };

static void check_read(struct view *v, bool writes, void *arg)
{
    int32_t *act = arg;
    if (!writes && *act >= 0 && v->act == *act)
        *act = -2;
}

static void check_write(struct view *v, bool writes, void *arg)
{
    struct conflict *c = arg;
    int32_t act = v->act;
    if (!writes)
        return;
    op_views(c->reader, check_read, &act);
    c->found |= act == -2;
}

/* Whether op writes something that reader reads. */
static bool feeds(struct op *op, struct op *reader)
{
    struct conflict c = {reader, false};
    op_views(op, check_write, &c);
    return c.found;
}

#define FUSE_REACH 48 /* ops of about two layers */

/* Merges op j into the nearest earlier program that takes it. */
static bool fuse_up(struct plan *p, int j, int *readers)
{
    struct op *c = &p->ops[j];
    struct use less = {readers, -1}, more = {readers, 1};
    for (int i = j - 1; i >= MAX(0, j - FUSE_REACH); i--) {
        struct op *a = &p->ops[i];
        if (a->kind == OP_EW && a->rows == c->rows && a->p.ew->width == c->p.ew->width) {
            op_views(a, count_reads, &less);
            bool merged = merge(a->p.ew, c->p.ew);
            op_views(a, count_reads, &more);
            if (merged) {
                op_views(c, count_reads, &less);
                drop_unread(a->p.ew, readers);
                return true;
            }
        }
        if (a->kind != OP_KINDS && feeds(a, c))
            return false;
    }
    return false;
}

int pass_fuse(struct build *b)
{
    struct plan *p = b->plan;
    int n = 0, *readers = mem_array((size_t)p->n_acts + 1, sizeof *readers);
    if (!readers)
        return E_NOMEM;
    struct use u = {readers, 1};
    for (int i = 0; i < p->n_ops; i++) {
        op_views(&p->ops[i], count_reads, &u);
        if (p->ops[i].kind == OP_EW)
            renumber(p->ops[i].p.ew, to_ref);
    }
    readers[p->logits.act]++;
    for (int j = 0; j < p->n_ops; j++)
        if (p->ops[j].kind == OP_EW && fuse_up(p, j, readers))
            p->ops[j].kind = OP_KINDS; /* dead; its views stay for nobody */
    for (int i = 0; i < p->n_ops; i++) {
        if (p->ops[i].kind == OP_KINDS)
            continue;
        if (p->ops[i].kind == OP_EW) {
            renumber(p->ops[i].p.ew, to_reg);
            p->ops[i].out = VIEW_NONE; /* the program has its own */
        }
        p->ops[n++] = p->ops[i];
    }
    p->n_ops = n;
    mem_free(readers);
    return 0;
}
