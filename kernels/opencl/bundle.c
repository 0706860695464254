/* Bundles: the order of launches by phases, and the merged ones among them (bundle.h). */
#include "kernels/opencl/building.h"

#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"

void ocl_bundle_free(struct ocl_model *m)
{
    phases_free(&m->phases);
    mem_free(m->own.acts);
    mem_free(m->merges);
    m->own.acts = NULL;
    m->merges = NULL;
    m->n_merges = 0;
}

void ocl_bundle_off(struct ocl_model *m, int32_t merge, const char *why)
{
    struct ocl_merge *x = &m->merges[merge];
    if (!x->off && why)
        log_warn("%s: phase %d (%s) is made of separate launches: %s", m->d->info.name, x->phase,
                 op_name(m->plan->ops[x->op].kind), why);
    x->off = true;
}

/* ---- chains ---- */

/* The most rows of steps of a kind. */
static int32_t chain_rows(int kind) { return kind >= STEPS_WIDE ? OCL_WIDE_ROWS : OCL_BUNDLE_ROWS; }

/* The chain that ends with this op becomes a launch. */
static int merge_chain(struct ocl_building *b, int kind, struct ocl_chain *c, struct err *e)
{
    char none[] = "";
    const struct ocl_instance like = {OCL_CHAIN, none, NULL};
    struct ocl_launch r;
    struct buf text;
    int32_t from = b->n, ops[OCL_CHAIN_MAX];
    buf_init(&text, MIB(1));
    int rc = ocl_chain_launch(c, &r, &text, e);
    r.when = ocl_one_a_sequence(kind) ? WHEN_SINGLE : WHEN_ANY;
    r.rows_min = ocl_rows_of(kind).min;
    r.rows_max = chain_rows(kind);
    if (!rc)
        rc = ocl_add_merged(b, &r, &like, text.p, e);
    else
        buf_free(&text);
    for (int32_t i = 0; i < c->n; i++)
        ops[i] = b->old[c->at[i]].op;
    return ocl_end_merge(b, ops, c->n, 1u << kind, from, rc, e);
}

/* Keeps a chain until all of its phase are known. */
static void close_chain(struct ocl_building *b, struct ocl_chain *c)
{
    if (c->n > 0)
        b->chains[b->n_chains++] = *c;
    *c = (struct ocl_chain){.tiles = c->tiles};
}

/* The one launch of an op that a decode step may run, or -1. */
static int32_t decode_of(const struct ocl_building *b, int32_t op)
{
    int32_t at = -1;
    for (int32_t i = b->first[op]; i < b->first[op + 1]; i++)
        if (ocl_launch_decodes(&b->old[i])) {
            if (at >= 0)
                return -1;
            at = i;
        }
    return at;
}

/* Whether all that the op does in steps of a kind is what a part of this launch's source does.
 * *_rows.cl make the same bits where they do not pack them; others may leave something else. */
static bool makes_same(const struct ocl_building *b, int kind, int32_t op,
                       const struct ocl_launch *part)
{
    const struct ocl_instance *all = b->m->instances;
    const char *file = all[part->instance].file;
    int32_t most = 0; /* rows of a step that has the op */
    bool ok = ocl_one_a_sequence(kind) || (ocl_chain_by_rows(file) && part->when == WHEN_ANY);
    for (int32_t i = b->first[op]; i < b->first[op + 1] && ok; i++) {
        const struct ocl_launch *l = &b->old[i];
        const char *other = all[l->instance].file;
        if (!ocl_launch_serves(l, kind))
            continue;
        most = MAX(most, l->rows_max);
        ok = l == part || (!strcmp(file, "ew.cl") && !strcmp(other, "ew_rows.cl")) ||
             (!strcmp(file, "norm.cl") && !strcmp(other, "nvidia/norm_rows.cl") &&
              strstr(all[l->instance].defines, "#define PACKED 0\n"));
    }
    return ok && most >= chain_rows(kind);
}

/* Cuts the chain that begins with op `first` into those that can be merged. */
static void cut_chain(struct ocl_building *b, int kind, int32_t first)
{
    const struct phases *x = &b->m->phases;
    struct ocl_chain c = {.tiles = x->ops[first].tiles};
    int32_t from = b->n_chains, members = 0;
    for (int32_t i = first; i < x->n_ops && c.tiles > 0; i++) {
        if (x->ops[i].chain != first)
            continue;
        int32_t at = decode_of(b, i);
        members++;
        if (at < 0 || !makes_same(b, kind, i, &b->old[at])) {
            close_chain(b, &c);
        } else if (!ocl_chain_add(&c, b->m, &b->old[at], at)) {
            close_chain(b, &c);
            (void)ocl_chain_add(&c, b->m, &b->old[at], at); /* or in none */
        }
    }
    close_chain(b, &c);
    if (b->n_chains == from + 1)
        b->chains[from].whole = b->chains[from].n == members;
}

/* Whole chains of one phase become one; what then has two parts and more is put where an op of its
 * is. */
static void join_chains(struct ocl_building *b, int kind, int32_t from)
{
    const struct phase_op *ops = b->m->phases.ops;
    for (int32_t i = from; i < b->n_chains; i++) {
        struct ocl_chain *c = &b->chains[i];
        int32_t last = c->n ? b->old[c->at[c->n - 1]].op : 0;
        int32_t phase = ops[last].phase;
        for (int32_t j = i + 1; j < b->n_chains && c->n && c->whole; j++) {
            struct ocl_chain *d = &b->chains[j];
            if (d->n && d->whole && ops[b->old[d->at[0]].op].phase == phase &&
                ocl_chain_beside(c, b->m, d))
                d->n = 0;
        }
        if (c->n < 2)
            continue;
        for (int32_t k = 0; k < c->n; k++) {
            int32_t op = b->old[c->at[k]].op;
            b->taken[kind][op] = true;
            last = b->level[op] > b->level[last] ? op : last;
        }
        b->chain[kind][last] = i; /* behind all that it replaces */
    }
}

/* ---- the list in its order ---- */

/* Where an op comes: by phase, by its place in a chain, as recorded. */
struct place { int32_t phase, level, op; };

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->phase != y->phase)
        return x->phase - y->phase;
    return x->level != y->level ? x->level - y->level : x->op - y->op;
}

static void add_op(struct ocl_building *b, int32_t op)
{
    for (int32_t i = b->first[op]; i < b->first[op + 1]; i++)
        b->all[b->n++] = b->old[i];
}

/* The ops [0, n) may run in any order: their launches, and what can be merged of them. A norm that
 * its product is merged with comes first: others may read the product's output, or write where its
 * inputs were. */
static int add_block(struct ocl_building *b, const int32_t *ops, int32_t n, struct err *e)
{
    int32_t norm = ocl_norm_of_sum(b, ops, n);
    int rc = 0;
    if (norm >= 0) {
        add_op(b, norm);
        rc = ocl_merge_sum(b, norm, e);
    }
    for (int32_t k = 0; k < n; k++)
        if (ops[k] != norm)
            add_op(b, ops[k]);
    rc = rc ? rc : ocl_merge_block(b, ops, n, e);
    for (int32_t k = 0; k < n; k++)
        for (int kind = 0; kind < STEPS_KINDS && !rc; kind++)
            if (b->chain[kind][ops[k]] >= 0)
                rc = merge_chain(b, kind, &b->chains[b->chain[kind][ops[k]]], e);
    return rc;
}

/* All ops in their order. */
static void order_ops(struct ocl_building *b, struct place *places, int32_t *ops)
{
    int32_t n = b->m->plan->n_ops;
    for (int32_t i = 0; i < n; i++) {
        const struct phase_op *x = &b->m->phases.ops[i];
        b->level[i] = 0;
        for (int32_t j = x->chain; j < i; j++)
            b->level[i] += b->m->phases.ops[j].chain == x->chain;
        places[i] = (struct place){x->phase, b->level[i], i};
    }
    qsort(places, (size_t)n, sizeof *places, by_place);
    for (int32_t i = 0; i < n; i++)
        ops[i] = places[i].op;
}

/* Ops of the list from i on that may run in any order. */
static int32_t block_of(const struct ocl_building *b, const int32_t *ops, int32_t i)
{
    int32_t n = 1, all = b->m->plan->n_ops;
    while (i + n < all && b->level[ops[i + n]] == b->level[ops[i]] &&
           b->m->phases.ops[ops[i + n]].phase == b->m->phases.ops[ops[i]].phase)
        n++;
    return n;
}

/* The old launches, of which there may be more now, and room for the new list. */
static int take_old(struct ocl_building *b, struct err *e)
{
    struct ocl_model *m = b->m;
    int32_t op = 0;
    b->old = m->launches;
    b->max = (1 + STEPS_KINDS) * m->n_launches;
    if (!(b->all = mem_array((size_t)b->max + 1, sizeof *b->all)))
        return err_set(e, E_NOMEM, "no memory for %d launches", b->max);
    for (int32_t i = 0; i <= b->n_old; i++)
        while (op <= m->plan->n_ops && (i == b->n_old || op <= b->old[i].op))
            b->first[op++] = i;
    return 0;
}

static int add_blocks(struct ocl_building *b, const int32_t *ops, struct err *e)
{
    int32_t n = b->m->plan->n_ops;
    int rc = 0;
    for (int32_t i = 0; i < n && !rc; i += block_of(b, ops, i))
        rc = ocl_lower_together(b, ops + i, block_of(b, ops, i), e);
    if (rc || (rc = take_old(b, e)))
        return rc;
    for (int kind = 0; kind < STEPS_KINDS; kind++) {
        int32_t from = b->n_chains;
        for (int32_t i = 0; i < n; i++)
            b->chain[kind][i] = -1;
        for (int32_t i = 0; i < n && kind != STEPS_MANY; i++)
            if (b->m->phases.ops[i].chain == i)
                cut_chain(b, kind, i);
        join_chains(b, kind, from);
    }
    for (int32_t i = 0; i < n && !rc; i += block_of(b, ops, i))
        rc = add_block(b, ops + i, block_of(b, ops, i), e);
    return rc;
}

/* The new list in place of the old one; on failure that one still owns its arguments, and merged
 * launches have their own. */
static void end_list(struct ocl_building *b, bool ok)
{
    struct ocl_model *m = b->m;
    for (int32_t i = 0; i < b->n && !ok; i++)
        if (b->all[i].merged)
            mem_free(b->all[i].args);
    if (!ok) {
        mem_free(b->all);
        return;
    }
    for (int32_t i = b->n_old; i < m->n_launches; i++)
        mem_free(m->launches[i].args);
    mem_free(m->launches);
    m->launches = b->all;
    m->n_launches = b->n;
    m->max_launches = b->max;
}

int ocl_bundle_launches(struct ocl_model *m, struct err *e)
{
    size_t ops = (size_t)m->plan->n_ops + 1;
    if (!m->phases.ops)
        return 0;
    struct ocl_building b = {.m = m, .n_old = m->n_launches};
    struct place *places = mem_array(ops, sizeof *places);
    int32_t *order = mem_array(ops, sizeof *order);
    bool *taken = mem_array(ops * STEPS_KINDS, sizeof *taken);
    b.first = mem_array(ops, sizeof *b.first);
    b.together = mem_array(ops, sizeof *b.together);
    b.level = mem_array(ops, sizeof *b.level);
    int32_t *chain = mem_array(ops * STEPS_KINDS, sizeof *chain);
    b.chains = mem_array(ops * (STEPS_KINDS - 1), sizeof *b.chains); /* none of many rows */
    m->merges = mem_array(ops * STEPS_KINDS, sizeof *m->merges);
    int rc = E_NOMEM;
    for (int k = 0; k < STEPS_KINDS && taken && chain; k++) {
        b.taken[k] = taken + (size_t)k * ops;
        b.chain[k] = chain + (size_t)k * ops;
    }
    if (!places || !order || !taken || !b.first || !b.together || !b.level || !chain ||
        !b.chains || !m->merges) {
        rc = err_set(e, E_NOMEM, "no memory for merged launches of %zu ops", ops);
    } else {
        order_ops(&b, places, order);
        rc = add_blocks(&b, order, e);
        end_list(&b, !rc);
    }
    mem_free(places);
    mem_free(order);
    mem_free(taken);
    mem_free(b.first);
    mem_free(b.together);
    mem_free(b.level);
    mem_free(chain);
    mem_free(b.chains);
    return rc;
}
