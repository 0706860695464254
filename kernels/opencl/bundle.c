/* Bundles: the order of launches by phases, and which of them become one (bundle.h). */
#include "kernels/opencl/bundle.h"

#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "kernels/opencl/persistent.h"

#define MEMBERS_MAX 8 /* of a bundle: its groups look for their member one after the other */
#define SLOTS_MAX 8   /* launches of an op for different numbers of rows */

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

int32_t ocl_bundle_rows(const struct ocl_model *m)
{
    int32_t rows = m->n_walks && !m->unwalked ? m->walks[m->n_walks - 1].rows_max : 0;
    for (int32_t i = 0; i < m->n_merges; i++)
        if (!m->merges[i].off)
            rows = MAX(rows, m->merges[i].rows_max);
    return rows;
}

/* ---- building the list ---- */

/* The launches of an op that a decode step may run. */
struct decode { int32_t at[SLOTS_MAX]; int n; };

struct building {
    struct ocl_model *m;
    struct ocl_launch *old, *all; /* what lowering made; in the new order, with merged ones */
    int32_t n_old, n, max;
    int32_t *first;               /* [op] its first launch in old; [n_ops] the end */
    int32_t *level;               /* [op] how many of its chain come before it */
    struct ocl_chain *chains;     /* those that are merged */
    int32_t *chain, n_chains;     /* [op] the one that is where it is, or -1 */
    int32_t ops[OCL_CHAIN_MAX];   /* the group being made, and its launches */
    struct decode decode[MEMBERS_MAX];
    int n_ops;
};

static bool decode_of(const struct building *b, int32_t op, struct decode *out)
{
    out->n = 0;
    for (int32_t i = b->first[op]; i < b->first[op + 1]; i++)
        if (ocl_launch_decodes(&b->old[i])) {
            if (out->n == SLOTS_MAX)
                return false;
            out->at[out->n++] = i;
        }
    return out->n > 0;
}

/* Whether an op can join the group. */
static bool joins(const struct building *b, const struct decode *d)
{
    const struct decode *first = &b->decode[0];
    bool ok = b->n_ops < MEMBERS_MAX && d->n == first->n;
    for (int i = 0; i < d->n && ok; i++)
        ok = ocl_alike(b->m, &b->old[first->at[i]], &b->old[d->at[i]]) &&
             ocl_bundle_bytes(&b->old[d->at[i]], b->n_ops + 1) <= b->m->d->info.param_bytes;
    return ok;
}

/* Two launches pack the same rows of the same columns. */
static bool same_pack(const struct ocl_launch *a, const struct ocl_launch *b)
{
    for (int32_t i = 0; i < a->n_args; i++)
        if (a->args[i].kind != ARG_PACK_ROWS && a->args[i].kind != ARG_PACK_AT &&
            a->args[i].i != b->args[i].i)
            return false;
    return true;
}

/* Where the packed rows of each member lie, in floats: members with one input share them. */
static void place_packed(struct building *b, int64_t *at)
{
    struct ocl_model *m = b->m;
    int64_t end = 0;
    for (int k = 0; k < b->n_ops; k++) {
        const struct op *op = &m->plan->ops[b->ops[k]];
        const struct ocl_launch *own = NULL;
        at[k] = end;
        for (int i = 0; i < b->decode[k].n; i++)
            if (ocl_is_pack(m->instances[b->old[b->decode[k].at[i]].instance].file))
                own = &b->old[b->decode[k].at[i]];
        if (!own)
            continue;
        int slot = 0;
        while (&b->old[b->decode[k].at[slot]] != own)
            slot++;
        for (int j = 0; j < k && at[k] == end; j++)
            if (same_pack(&b->old[b->decode[j].at[slot]], own))
                at[k] = at[j];
        if (at[k] == end)
            end += OCL_BUNDLE_ROWS * m->weights[op->w[LINEAR_matrix]].cols_p / 2;
    }
    m->scratch_bytes = MAX(m->scratch_bytes, (size_t)end * 4);
}

/* The members of launch `slot` of the group: its op's number there; packing once for an input. */
static int members_of(const struct building *b, int slot, const int64_t *packed,
                      int out[MEMBERS_MAX])
{
    const struct ocl_launch *l = &b->old[b->decode[0].at[slot]];
    bool once = ocl_is_pack(b->m->instances[l->instance].file);
    int n = 0;
    for (int k = 0; k < b->n_ops; k++) {
        bool there = false;
        for (int j = 0; j < n && once; j++)
            there = there || packed[out[j]] == packed[k];
        if (!there)
            out[n++] = k;
    }
    return n;
}

static struct ocl_arg merged_arg(struct ocl_arg a, int64_t packed)
{
    if (a.kind == ARG_PACK_ROWS)
        return (struct ocl_arg){ARG_LONG, OCL_BUNDLE_ROWS, 0};
    if (a.kind == ARG_PACK_AT)
        return (struct ocl_arg){ARG_LONG, packed, 0};
    return a;
}

/* The arguments of all members, in the order of ocl_merge_bundle's parameters. */
static int merge_args(const struct building *b, struct ocl_launch *r, const int *who, int n,
                      int slot, const int64_t *packed, struct err *e)
{
    const struct ocl_launch *l0 = &b->old[b->decode[who[0]].at[slot]];
    int32_t groups = 0, at = 0;
    r->args = mem_array((size_t)(l0->n_args + 1) * (size_t)n, sizeof *r->args);
    if (!r->args)
        return err_set(e, E_NOMEM, "no memory for a launch of %d", n);
    for (int32_t i = 0; i < l0->n_args; i++) {
        if (!ocl_merge_shared(l0->args[i].kind))
            continue;
        r->args[at] = l0->args[i];
        for (int k = 1; k < n; k++) /* of local memory as much as the largest wants */
            r->args[at].i = MAX(r->args[at].i, b->old[b->decode[who[k]].at[slot]].args[i].i);
        at++;
    }
    for (int k = 0; k < n; k++) {
        const struct ocl_launch *l = &b->old[b->decode[who[k]].at[slot]];
        if (k)
            r->args[at++] = (struct ocl_arg){ARG_INT, groups, 0};
        for (int32_t i = 0; i < l->n_args; i++)
            if (!ocl_merge_shared(l->args[i].kind))
                r->args[at++] = merged_arg(l->args[i], packed[who[k]]);
        groups += l->extent[0].n;
        r->local[1] = MAX(r->local[1], l->local[1]);
    }
    r->n_args = at;
    r->extent[0].n = groups;
    return 0;
}

/* The instance of merged text, made when new: its index, or a code. */
static int merged_instance(struct ocl_model *m, const struct ocl_instance *like, char *text,
                           struct err *e)
{
    for (int32_t i = 0; i < m->n_instances; i++)
        if (m->instances[i].text && !strcmp(m->instances[i].text, text) &&
            !strcmp(m->instances[i].defines, like->defines)) {
            mem_free(text);
            return i;
        }
    struct ocl_spec s;
    ocl_spec_init(&s, like->file, NULL);
    buf_str(&s.defines, like->defines);
    int i = ocl_instance_add(m, &s, e);
    buf_free(&s.defines);
    if (i < 0)
        mem_free(text);
    else
        m->instances[i].text = text;
    return i;
}

/* Appends a merged launch with the instance of this text, which it takes. */
static int add_merged(struct building *b, struct ocl_launch *r, const struct ocl_instance *like,
                      char *text, struct err *e)
{
    int i = merged_instance(b->m, like, text, e);
    if (i < 0) {
        mem_free(r->args);
        return i;
    }
    r->instance = i;
    r->merged = true;
    r->merge = b->m->n_merges;
    r->rows_max = MIN(r->rows_max, OCL_BUNDLE_ROWS);
    ASSERT(b->n < b->max);
    b->all[b->n++] = *r;
    return 0;
}

/* One merged launch of the group. */
static int merge_slot(struct building *b, int slot, const int64_t *packed, struct err *e)
{
    struct ocl_model *m = b->m;
    int who[MEMBERS_MAX] = {0}, n = members_of(b, slot, packed, who), rc, widest = 0;
    const struct ocl_launch *l0 = &b->old[b->decode[who[0]].at[slot]];
    struct ocl_launch r = *l0;
    struct buf text;
    for (int k = 1; k < n; k++)
        if (b->old[b->decode[who[k]].at[slot]].local[1] >
            b->old[b->decode[who[widest]].at[slot]].local[1])
            widest = k;
    const struct ocl_instance like =
        m->instances[b->old[b->decode[who[widest]].at[slot]].instance];
    buf_init(&text, MIB(1));
    if (!ocl_merge_bundle(&text, like.file, like.defines, l0, n)) {
        buf_free(&text);
        return err_set(e, E_UNSUPPORTED, "%s cannot be merged", like.file);
    }
    if ((rc = merge_args(b, &r, who, n, slot, packed, e))) {
        buf_free(&text);
        return rc;
    }
    return add_merged(b, &r, &like, text.p, e);
}

/* The separate launches of the group's ops give way to the merged ones from `from` on; or these, of
 * which one could not be (rc), go away. */
static int end_merge(struct building *b, int32_t from, int rc, struct err *e)
{
    struct ocl_model *m = b->m;
    if (rc) {
        while (b->n > from)
            mem_free(b->all[--b->n].args);
        if (rc != E_UNSUPPORTED)
            return rc;
        *e = (struct err){0};
        return 0;
    }
    struct ocl_merge x = {m->phases.ops[b->ops[0]].phase,
                          m->phases.ops[b->ops[b->n_ops - 1]].phase, b->ops[0], false, 1};
    for (int32_t i = from; i < b->n; i++)
        x.rows_max = MAX(x.rows_max, b->all[i].rows_max);
    for (int32_t i = 0; i < from; i++)
        for (int k = 0; k < b->n_ops; k++)
            if (b->all[i].op == b->ops[k] && !b->all[i].merged &&
                ocl_launch_decodes(&b->all[i]))
                b->all[i].merge = m->n_merges;
    m->merges[m->n_merges++] = x;
    return 0;
}

/* All merged launches of the group, or none when one cannot be. */
static int merge_group(struct building *b, struct err *e)
{
    int64_t packed[MEMBERS_MAX];
    int32_t from = b->n;
    int rc = 0;
    place_packed(b, packed);
    for (int i = 0; i < b->decode[0].n && !rc; i++)
        rc = merge_slot(b, i, packed, e);
    return end_merge(b, from, rc, e);
}

/* ---- chains ---- */

/* The chain that ends with this op becomes a launch. */
static int merge_chain(struct building *b, struct ocl_chain *c, struct err *e)
{
    char none[] = "";
    const struct ocl_instance like = {OCL_CHAIN, none, NULL};
    struct ocl_launch r;
    struct buf text;
    int32_t from = b->n;
    buf_init(&text, MIB(1));
    int rc = ocl_chain_launch(c, &r, &text, e);
    if (!rc)
        rc = add_merged(b, &r, &like, text.p, e);
    else
        buf_free(&text);
    b->n_ops = c->n;
    for (int32_t i = 0; i < c->n; i++)
        b->ops[i] = b->old[c->at[i]].op;
    return end_merge(b, from, rc, e);
}

/* Keeps a chain until all of its phase are known. */
static void close_chain(struct building *b, struct ocl_chain *c)
{
    if (c->n > 0)
        b->chains[b->n_chains++] = *c;
    *c = (struct ocl_chain){.tiles = c->tiles};
}

/* Cuts the chain that begins with op `first` into those that can be merged. */
static void cut_chain(struct building *b, int32_t first)
{
    const struct phases *x = &b->m->phases;
    struct ocl_chain c = {.tiles = x->ops[first].tiles};
    int32_t from = b->n_chains, members = 0;
    struct decode d;
    for (int32_t i = first; i < x->n_ops && c.tiles > 0; i++) {
        if (x->ops[i].chain != first)
            continue;
        members++;
        if (!decode_of(b, i, &d) || d.n != 1) {
            close_chain(b, &c);
        } else if (!ocl_chain_add(&c, b->m, &b->old[d.at[0]], d.at[0])) {
            close_chain(b, &c);
            (void)ocl_chain_add(&c, b->m, &b->old[d.at[0]], d.at[0]); /* or in none */
        }
    }
    close_chain(b, &c);
    if (b->n_chains == from + 1)
        b->chains[from].whole = b->chains[from].n == members;
}

/* Whole chains of one phase become one; what then has two parts and more is put where an op of its
 * is. */
static void join_chains(struct building *b, bool *taken)
{
    const struct phase_op *ops = b->m->phases.ops;
    for (int32_t i = 0; i < b->n_chains; i++) {
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
            taken[op] = true;
            last = b->level[op] > b->level[last] ? op : last;
        }
        b->chain[last] = i; /* behind all that it replaces */
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

/* The ops [from, end) may run in any order: their launches, and what can be merged of them. */
static int add_block(struct building *b, const struct place *from, const struct place *end,
                     bool *taken, struct err *e)
{
    int rc = 0;
    for (const struct place *x = from; x < end; x++)
        for (int32_t i = b->first[x->op]; i < b->first[x->op + 1]; i++)
            b->all[b->n++] = b->old[i];
    for (const struct place *x = from; x < end && !rc; x++) {
        if (taken[x->op] || !decode_of(b, x->op, &b->decode[0]))
            continue;
        b->ops[0] = x->op;
        b->n_ops = 1;
        for (const struct place *y = x + 1; y < end; y++) {
            struct decode d;
            if (taken[y->op] || !decode_of(b, y->op, &d) || !joins(b, &d))
                continue;
            b->ops[b->n_ops] = y->op;
            b->decode[b->n_ops++] = d;
        }
        if (b->n_ops < 2)
            continue;
        for (int k = 0; k < b->n_ops; k++)
            taken[b->ops[k]] = true;
        rc = merge_group(b, e);
    }
    for (const struct place *x = from; x < end && !rc; x++)
        if (b->chain[x->op] >= 0)
            rc = merge_chain(b, &b->chains[b->chain[x->op]], e);
    return rc;
}

static int add_blocks(struct building *b, struct place *places, bool *taken, struct err *e)
{
    int32_t n = b->m->plan->n_ops;
    int rc = 0;
    for (int32_t i = 0; i < n; i++) {
        const struct phase_op *x = &b->m->phases.ops[i];
        b->level[i] = 0;
        for (int32_t j = x->chain; j < i; j++)
            b->level[i] += b->m->phases.ops[j].chain == x->chain;
        places[i] = (struct place){x->phase, b->level[i], i};
        b->chain[i] = -1;
    }
    for (int32_t i = 0; i < n; i++)
        if (b->m->phases.ops[i].chain == i)
            cut_chain(b, i);
    join_chains(b, taken);
    qsort(places, (size_t)n, sizeof *places, by_place);
    for (int32_t i = 0, end; i < n && !rc; i = end) {
        for (end = i + 1; end < n && places[end].phase == places[i].phase &&
                          places[end].level == places[i].level; end++)
            continue;
        rc = add_block(b, places + i, places + end, taken, e);
    }
    return rc;
}

int ocl_bundle_launches(struct ocl_model *m, struct err *e)
{
    size_t ops = (size_t)m->plan->n_ops + 1;
    int32_t op = 0;
    if (!m->phases.ops)
        return 0;
    struct building b = {.m = m, .old = m->launches, .n_old = m->n_launches,
                         .max = 2 * m->n_launches};
    struct place *places = mem_array(ops, sizeof *places);
    bool *taken = mem_array(ops, sizeof *taken);
    b.all = mem_array((size_t)b.max + 1, sizeof *b.all);
    b.first = mem_array(ops, sizeof *b.first);
    b.level = mem_array(ops, sizeof *b.level);
    b.chain = mem_array(ops, sizeof *b.chain);
    b.chains = mem_array(ops, sizeof *b.chains);
    m->merges = mem_array(ops, sizeof *m->merges);
    int rc = places && taken && b.all && b.first && b.level && b.chain && b.chains && m->merges
                 ? 0 : err_set(e, E_NOMEM, "no memory for %d launches", b.max);
    for (int32_t i = 0; i <= b.n_old && !rc; i++)
        while (op < (int32_t)ops && (i == b.n_old || op <= b.old[i].op))
            b.first[op++] = i;
    if (!rc)
        rc = add_blocks(&b, places, taken, e);
    if (rc) { /* the old list still owns its arguments; merged ones have their own */
        for (int32_t i = 0; i < b.n; i++)
            if (b.all[i].merged)
                mem_free(b.all[i].args);
        mem_free(b.all);
    } else {
        mem_free(m->launches);
        m->launches = b.all;
        m->n_launches = b.n;
        m->max_launches = b.max;
    }
    mem_free(places);
    mem_free(taken);
    mem_free(b.first);
    mem_free(b.level);
    mem_free(b.chain);
    mem_free(b.chains);
    return rc;
}
