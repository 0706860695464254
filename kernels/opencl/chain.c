/* Which launches can be parts of a chain, and how a tile of them is cut (bundle.h). */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "kernels/opencl/bundle.h"

#define LANES 128     /* of a chain of columns alone */
#define LANES_MOST 256

/* Sources whose launches of few rows, one a sequence, can be parts. A source that is missing here
 * is its own launch; one that is here asks for its place as its kind says and needs no size of a
 * group but that of its launch. by_rows: also where a sequence has several. */
static const struct { const char *file; enum ocl_part_kind kind; bool by_rows; } kinds[] = {
    {"ew.cl", PART_COLUMNS, true},   {"groupsum.cl", PART_COLUMNS, true},
    {"rope.cl", PART_COLUMNS, true}, {"norm.cl", PART_GROUPS, true},
    {"softmax.cl", PART_GROUPS, true},
    /* Rows of a sequence one after the other: */
    {"shift.cl", PART_COLUMNS, false}, {"conv.cl", PART_COLUMNS, false},
    {"scan.cl", PART_COLUMNS, false},  {"rnn.cl", PART_COLUMNS, false},
    {"delta.cl", PART_HEADS, false},   {"decay.cl", PART_HEADS, false},
};

bool ocl_chain_by_rows(const char *file)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (!strcmp(kinds[i].file, file))
            return kinds[i].by_rows;
    return false;
}

static enum ocl_part_kind kind_of(const char *file)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (!strcmp(kinds[i].file, file))
            return kinds[i].kind;
    return PART_NONE;
}

bool ocl_launch_decodes(const struct ocl_launch *l)
{
    return l->when != WHEN_SEVERAL && l->rows_min <= OCL_BUNDLE_ROWS && l->rows_max >= 1 &&
           l->seqs_min <= OCL_BUNDLE_ROWS && l->seqs_max >= 1 && l->seq_min <= 1 &&
           l->seq_max >= 1;
}

/* Whether every step of one row a sequence has it. */
static bool always(const struct ocl_launch *l)
{
    return l->rows_min <= 1 && l->rows_max >= OCL_BUNDLE_ROWS && l->seqs_min <= 1 &&
           l->seqs_max >= OCL_WIDE_ROWS && l->gate.of.by == BY_ONE && l->gate.min <= 1 &&
           l->gate.max >= 1 && !l->groups_max;
}

static bool per_row(struct ocl_extent x)
{
    return (x.by == BY_ROWS || x.by == BY_SEQS) && x.n == 1 && x.per == 1;
}

static bool one(struct ocl_extent x) { return x.by == BY_ONE && x.n == 1; }

/* Columns of a row that the work-items of an op take, one each. */
static int32_t columns(const struct op *op)
{
    switch (op->kind) {
    case OP_EW: return op->p.ew->width;
    case OP_ROPE: return op->out.width / op->p.rope.head * (op->p.rope.rot / 2);
    default: return op->out.width;
    }
}

/* All units of a row, when rows and sequences are where the kind wants them; else 0. */
static int32_t units_of(const struct ocl_launch *l, const struct op *op, enum ocl_part_kind kind)
{
    const struct ocl_extent *x = l->extent;
    if (x[0].by != BY_ONE || l->local[2] != 1)
        return 0;
    switch (kind) {
    case PART_COLUMNS: return per_row(x[1]) && one(x[2]) && l->local[1] == 1 ? columns(op) : 0;
    case PART_GROUPS: return per_row(x[1]) && one(x[2]) && l->local[1] == 1 ? x[0].n : 0;
    case PART_HEADS: return x[1].by == BY_ONE && per_row(x[2]) ? x[0].n * x[1].n : 0;
    default: return 0;
    }
}

static size_t args_bytes(const struct ocl_launch *l)
{
    size_t n = 0;
    for (int32_t i = 1; i < l->n_args; i++) /* behind the arena */
        n += ocl_arg_bytes(l, i);
    return n;
}

static size_t all_bytes(const struct ocl_chain *c)
{
    size_t n = 0;
    for (int32_t k = 0; k < c->n; k++)
        n += args_bytes(c->parts[k].l);
    return n;
}

bool ocl_chain_add(struct ocl_chain *c, const struct ocl_model *m, const struct ocl_launch *l,
                   int32_t at)
{
    const struct ocl_instance *x = &m->instances[l->instance];
    const struct pieces *pieces = &m->phases.ops[l->op].pieces;
    struct ocl_part p = {x->file, x->defines, l, kind_of(x->file), 0, pieces, 0, c->tiles};
    int32_t lanes = c->lanes;
    p.units = units_of(l, &m->plan->ops[l->op], p.kind);
    if (c->n == OCL_CHAIN_MAX || !always(l) || p.units < 1 || p.units % pieces->units)
        return false;
    if (p.kind != PART_COLUMNS) {
        int32_t own = (int32_t)(l->local[0] * l->local[1]);
        if ((lanes && lanes != own) || own > LANES_MOST)
            return false;
        lanes = own;
    }
    if (8 + all_bytes(c) + args_bytes(l) > m->d->info.param_bytes)
        return false;
    c->branches = 1;
    c->parts[c->n] = p;
    c->at[c->n++] = at;
    c->lanes = lanes;
    return true;
}

bool ocl_chain_beside(struct ocl_chain *c, const struct ocl_model *m, const struct ocl_chain *more)
{
    if (c->n + more->n > OCL_CHAIN_MAX || (c->lanes && more->lanes && c->lanes != more->lanes) ||
        8 + all_bytes(c) + all_bytes(more) > m->d->info.param_bytes ||
        c->parts[0].l->rows != more->parts[0].l->rows)
        return false;
    for (int32_t k = 0; k < more->n; k++) {
        c->parts[c->n] = more->parts[k];
        c->parts[c->n].branch += c->branches;
        c->at[c->n++] = more->at[k];
    }
    c->branches += more->branches;
    c->lanes = MAX(c->lanes, more->lanes);
    return true;
}

/* Narrow tiles of columns alone are taken together, as many as a group has work-items for. */
static void widen(struct ocl_chain *c, int32_t branch, int32_t lanes)
{
    int32_t most = 1, by = 1, tiles = 1;
    for (int32_t k = 0; k < c->n; k++) {
        const struct ocl_part *p = &c->parts[k];
        if (p->branch != branch)
            continue;
        if (p->kind != PART_COLUMNS)
            return;
        tiles = p->tiles;
        most = MAX(most, p->units / tiles);
    }
    for (int32_t d = 2; d <= tiles && d * most <= lanes; d++)
        by = tiles % d ? by : d;
    for (int32_t k = 0; k < c->n; k++)
        if (c->parts[k].branch == branch)
            c->parts[k].tiles /= by;
}

int ocl_chain_launch(struct ocl_chain *c, struct ocl_launch *r, struct buf *text, struct err *e)
{
    const struct ocl_launch *first = c->parts[0].l;
    int32_t lanes = c->lanes ? c->lanes : LANES, n = 1, groups = 0;
    for (int32_t b = 0; b < c->branches; b++)
        widen(c, b, lanes);
    for (int32_t k = 0; k < c->n; k++)
        if (k + 1 == c->n || c->parts[k].branch != c->parts[k + 1].branch)
            groups += c->parts[k].tiles;
    for (int32_t k = 0; k < c->n; k++)
        n += c->parts[k].l->n_args;
    if (!ocl_merge_chain(text, c->parts, c->n, lanes))
        return err_set(e, E_UNSUPPORTED, "a chain of %s cannot be merged", c->parts[0].file);
    *r = *first;
    r->args = mem_array((size_t)n, sizeof *r->args);
    if (!r->args)
        return err_set(e, E_NOMEM, "no memory for a launch of %d", c->n);
    r->args[0] = first->args[0];
    r->n_args = 1;
    for (int32_t k = 0; k < c->n; k++) /* behind the arena, which all have */
        for (int32_t i = 1; i < c->parts[k].l->n_args; i++)
            r->args[r->n_args++] = c->parts[k].l->args[i];
    for (int i = 0; i < 3; i++) {
        r->local[i] = i ? 1 : (size_t)lanes;
        r->extent[i] = (struct ocl_extent){BY_ONE, i ? 1 : groups, 1};
    }
    r->extent[1].by = BY_ROWS;
    return 0;
}
