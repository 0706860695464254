/* Bundles of a block: ops of one phase that may run in any order (bundle.h). Launches of different
 * ops that come at the same stage of theirs, and are alike, become one; ops that are so connected
 * are a *set*, of which all launches of the kind of step are merged ones: in the order of stages,
 * with places of their own in the scratch buffer. */
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "kernels/opencl/building.h"
#include "kernels/opencl/cut.h"
#include "kernels/opencl/packed.h"
#include "kernels/opencl/wgmma.h"

#define MEMBERS_MAX 8   /* of a bundle: its groups look for their member one after the other */
#define SCRATCH_SHARE 50 /* places of a set take at most such a part of the device's memory */

/* A launch of a block in steps of a kind. */
struct candidate {
    const struct ocl_launch *l;
    int32_t op, stage; /* op: of the block, from 0; stage: launches of it that come before */
    int32_t group;     /* the first of its bundle */
    bool again;        /* the bundle has a member that packs the same rows */
};

struct member_op {
    int32_t op, from, n; /* its candidates */
    int32_t set;         /* the first op of its set */
    int64_t packed, chains;
};

struct sets {
    struct ocl_building *b;
    int kind;
    struct ocl_rows rows;
    struct candidate *c;
    struct member_op *ops;
    int32_t n, n_ops;
};

/* ---- what can be merged ---- */

static bool same_step(const struct ocl_launch *a, const struct ocl_launch *b)
{
    return a->rows_min <= b->rows_max && b->rows_min <= a->rows_max &&
           a->seqs_min <= b->seqs_max && b->seqs_min <= a->seqs_max &&
           (a->when == b->when || a->when == WHEN_ANY || b->when == WHEN_ANY);
}

static const char *file_of(const struct sets *s, const struct ocl_launch *l)
{
    return s->b->m->instances[l->instance].file;
}

/* Appends the launches of an op, unless they share memory with others'. */
static void collect(struct sets *s, int32_t op)
{
    const struct ocl_building *b = s->b;
    struct member_op x = {.op = op, .from = s->n, .set = s->n_ops};
    bool other = s->kind >= STEPS_WIDE && b->together[op].from < b->together[op].to;
    int32_t end = other ? b->together[op].to : b->first[op + 1];
    for (int32_t i = other ? b->together[op].from : b->first[op]; i < end; i++) {
        struct candidate c = {&b->old[i], s->n_ops, 0, -1, false};
        if (!ocl_launch_serves(c.l, s->kind))
            continue;
        if (ocl_shares_scratch(c.l))
            return;
        for (int32_t k = 0; k < x.n; k++)
            if (same_step(c.l, s->c[x.from + k].l))
                c.stage = MAX(c.stage, s->c[x.from + k].stage + 1);
        if (ocl_is_wgmma(file_of(s, c.l)))
            c.stage = MAX(c.stage, 1); /* beside those whose rows are packed first */
        s->c[x.from + x.n++] = c;
    }
    if (x.n) {
        s->n += x.n;
        s->ops[s->n_ops++] = x;
    }
}

static bool can_be_cut(const struct sets *s, const struct ocl_launch *l)
{
    struct ocl_cut c;
    const struct ocl_instance *x = &s->b->m->instances[l->instance];
    return ocl_is_wgmma(x->file) ||
           (ocl_cut_file(&c, x->file, x->defines) && c.n == l->n_args);
}

static bool fits(const struct sets *s, const struct ocl_launch *l, int32_t members)
{
    return ocl_is_wgmma(file_of(s, l)) ? members <= OCL_WGMMA_MEMBERS
           : ocl_bundle_bytes(l, members) <= s->b->m->d->info.param_bytes;
}

static const struct ocl_launch *pack_of(const struct sets *s, int32_t op, int32_t k)
{
    const struct member_op *x = &s->ops[op];
    for (int32_t i = x->from; i < x->from + x->n; i++)
        if (ocl_is_pack(file_of(s, s->c[i].l)) && !k--)
            return s->c[i].l;
    return NULL;
}

/* Whether two ops read the same packed rows, whichever of their launches run. */
static bool pack_alike(const struct sets *s, int32_t a, int32_t b)
{
    bool any = pack_of(s, a, 0) != NULL, ok = any;
    for (int32_t k = 0; ok && any; k++) {
        const struct ocl_launch *x = pack_of(s, a, k), *y = pack_of(s, b, k);
        any = x && y;
        ok = any ? ocl_alike(s->b->m, x, y, s->rows.min, s->rows.max) && ocl_same_pack(x, y)
                 : x == y;
    }
    return ok;
}

/* All that can be in one bundle with candidate i. */
static void gather(struct sets *s, int32_t i)
{
    struct candidate *first = &s->c[i];
    bool packs = ocl_is_pack(file_of(s, first->l));
    int32_t members = 1;
    first->group = i;
    for (int32_t j = i + 1; j < s->n; j++) {
        struct candidate *c = &s->c[j];
        if (c->group >= 0 || c->stage != first->stage || c->op == first->op ||
            !ocl_alike(s->b->m, first->l, c->l, s->rows.min, s->rows.max))
            continue;
        for (int32_t k = i; k < j && packs && !c->again; k++)
            c->again = s->c[k].group == i && pack_alike(s, s->c[k].op, c->op);
        if (!c->again && (members == MEMBERS_MAX || (members == 1 && !can_be_cut(s, c->l)) ||
                          !fits(s, c->l, members + 1)))
            continue;
        members += !c->again;
        c->group = i;
    }
}

static void connect(struct sets *s, int32_t a, int32_t b)
{
    int32_t low = MIN(s->ops[a].set, s->ops[b].set), high = MAX(s->ops[a].set, s->ops[b].set);
    for (int32_t i = 0; i < s->n_ops; i++)
        if (s->ops[i].set == high)
            s->ops[i].set = low;
}

static void find_sets(struct sets *s)
{
    for (int32_t i = 0; i < s->n; i++)
        if (s->c[i].group < 0)
            gather(s, i);
    for (int32_t i = 0; i < s->n; i++)
        connect(s, s->c[i].op, s->c[s->c[i].group].op);
}

/* ---- places in the scratch buffer ---- */

static const struct ocl_arg *arg_of(const struct ocl_launch *l, enum ocl_arg_kind kind)
{
    for (int32_t i = 0; i < l->n_args; i++)
        if (l->args[i].kind == kind)
            return &l->args[i];
    return NULL;
}

/* Rows for which an op's packed rows have room. */
static int64_t packed_rows(const struct sets *s, const struct member_op *x)
{
    int64_t past = 0;
    for (int32_t i = x->from; i < x->from + x->n; i++) {
        const char *file = file_of(s, s->c[i].l);
        past = ocl_is_pack(file) || !strcmp(file, "nvidia/linear_few.cl") ? past : OCL_PACKED_PAST;
    }
    for (int32_t i = x->from; i < x->from + x->n; i++) {
        const struct ocl_arg *a = arg_of(s->c[i].l, ARG_PACK_ROWS);
        if (a)
            return MIN(a->i, s->rows.max + past);
    }
    return 0;
}

/* Gives each op of a set its places; false: they are too many. */
static bool place(struct sets *s, int32_t set)
{
    struct ocl_model *m = s->b->m;
    size_t most = m->d->info.memory_bytes / SCRATCH_SHARE;
    int64_t end = 0;
    for (int32_t k = 0; k < s->n_ops; k++) {
        struct member_op *x = &s->ops[k];
        int64_t packed = 0, chains = 0;
        if (x->set != set)
            continue;
        for (int32_t i = x->from; i < x->from + x->n; i++) {
            const struct ocl_arg *p = arg_of(s->c[i].l, ARG_PACK_AT);
            const struct ocl_arg *c = arg_of(s->c[i].l, ARG_CHAINS_AT);
            packed = p ? MAX(packed, p->room * packed_rows(s, x)) : packed;
            chains = c ? MAX(chains, c->room) : chains;
        }
        x->packed = end;
        for (int32_t j = 0; j < k && x->packed == end; j++)
            if (s->ops[j].set == set && pack_alike(s, j, k))
                x->packed = s->ops[j].packed;
        end += x->packed == end ? (int64_t)round_up((size_t)packed, 64) : 0;
        x->chains = end;
        end += (int64_t)round_up((size_t)chains, 64);
    }
    if ((size_t)end * 4 > MAX(most, m->scratch_bytes)) {
        log_info("%s: products of a phase are not merged: their packed rows would take %zu MiB",
                 m->d->info.name, (size_t)end * 4 >> 20);
        return false;
    }
    m->scratch_bytes = MAX(m->scratch_bytes, (size_t)end * 4);
    return true;
}

/* ---- merged launches ---- */

static struct ocl_arg merged_arg(const struct sets *s, struct ocl_arg a, const struct member_op *x)
{
    switch (a.kind) {
    case ARG_PACK_ROWS: return (struct ocl_arg){.kind = ARG_LONG, .i = packed_rows(s, x)};
    case ARG_PACK_AT: return (struct ocl_arg){.kind = ARG_LONG, .i = x->packed};
    case ARG_CHAINS_AT: return (struct ocl_arg){.kind = ARG_LONG, .i = x->chains};
    default: return a;
    }
}

/* The arguments of all members, in the order of ocl_merge_bundle's parameters; of one alone, and by
 * wgmma, in that of the launches themselves. */
static int merge_args(const struct sets *s, struct ocl_launch *r, const int32_t *who, int32_t n,
                      struct err *e)
{
    const struct ocl_launch *l0 = s->c[who[0]].l;
    bool all = n == 1 || ocl_is_wgmma(file_of(s, l0));
    int32_t groups = 0, at = 0;
    r->args = mem_array((size_t)(l0->n_args + 1) * (size_t)n, sizeof *r->args);
    if (!r->args)
        return err_set(e, E_NOMEM, "no memory for a launch of %d", n);
    for (int32_t i = 0; i < l0->n_args && !all; i++) {
        if (!ocl_merge_shared(l0->args[i].kind))
            continue;
        r->args[at] = l0->args[i];
        for (int32_t k = 1; k < n; k++) /* of local memory as much as the largest wants */
            r->args[at].i = MAX(r->args[at].i, s->c[who[k]].l->args[i].i);
        at++;
    }
    for (int32_t k = 0; k < n; k++) {
        const struct ocl_launch *l = s->c[who[k]].l;
        if (k && !all)
            r->args[at++] = (struct ocl_arg){.kind = ARG_INT, .i = groups};
        for (int32_t i = 0; i < l->n_args; i++)
            if (all || !ocl_merge_shared(l->args[i].kind))
                r->args[at++] = merged_arg(s, l->args[i], &s->ops[s->c[who[k]].op]);
        groups += l->extent[0].n;
        r->local[1] = MAX(r->local[1], l->local[1]);
    }
    r->n_args = at;
    r->extent[0].n = groups;
    return 0;
}

/* The member whose instance serves all: the one with the most slices. */
static int32_t widest(const struct sets *s, const int32_t *who, int32_t n)
{
    int32_t best = 0;
    for (int32_t k = 1; k < n; k++)
        if (s->c[who[k]].l->local[1] > s->c[who[best]].l->local[1])
            best = k;
    return who[best];
}

/* Products of 16 inputs of a tile, by wgmma. */
static int64_t steps_of(const struct ocl_launch *l)
{
    const struct ocl_arg *a = l->args + 3;
    return a[OCL_WGMMA_PARTS].i > 1 ? a[OCL_WGMMA_SLICE_LEN].i : a[OCL_WGMMA_INPUTS].i;
}

/* Those with long tiles first, so that groups end together. */
static void sort_members(const struct sets *s, int32_t *who, int32_t n)
{
    for (int32_t k = 1; k < n; k++)
        for (int32_t j = k; j > 0 && steps_of(s->c[who[j]].l) > steps_of(s->c[who[j - 1]].l); j--) {
            int32_t other = who[j];
            who[j] = who[j - 1];
            who[j - 1] = other;
        }
}

/* One launch of a bundle. */
static int merge_group(struct sets *s, int32_t group, struct err *e)
{
    struct ocl_building *b = s->b;
    int32_t who[MEMBERS_MAX] = {group}, n = 0, rc;
    struct buf text;
    for (int32_t i = group; i < s->n; i++)
        if (s->c[i].group == group && !s->c[i].again)
            who[n++] = i;
    struct ocl_launch r = *s->c[group].l;
    const struct ocl_instance like = b->m->instances[s->c[widest(s, who, n)].l->instance];
    bool wgmma = ocl_is_wgmma(like.file);
    if (wgmma)
        sort_members(s, who, n);
    if ((rc = merge_args(s, &r, who, n, e)))
        return rc;
    r.rows_min = MAX(r.rows_min, s->rows.min);
    r.rows_max = MIN(r.rows_max, s->rows.max);
    if (n == 1 || wgmma)
        return ocl_add_merged(b, &r, &like, NULL, e);
    buf_init(&text, MIB(1));
    if (!ocl_merge_bundle(&text, like.file, like.defines, s->c[group].l, n)) {
        buf_free(&text);
        mem_free(r.args);
        return err_set(e, E_UNSUPPORTED, "%s cannot be merged", like.file);
    }
    return ocl_add_merged(b, &r, &like, text.p, e);
}

/* Whether the set does as it is for another kind of steps with as many rows. */
static bool serves_too(const struct sets *s, int32_t set, int kind)
{
    const struct ocl_building *b = s->b;
    bool ok = kind > s->kind && ocl_rows_of(kind).min == s->rows.min;
    for (int32_t k = 0; k < s->n_ops && ok; k++) {
        const struct member_op *x = &s->ops[k];
        int32_t n = 0;
        if (x->set != set)
            continue;
        for (int32_t i = b->first[x->op]; i < b->first[x->op + 1]; i++)
            n += ocl_launch_serves(&b->old[i], kind) - ocl_launch_serves(&b->old[i], s->kind);
        ok = !n && !b->taken[kind][x->op];
        for (int32_t i = x->from; i < x->from + x->n; i++)
            ok = ok && s->c[i].l->when == WHEN_ANY;
    }
    return ok;
}

static int32_t stages(const struct sets *s)
{
    int32_t n = 0;
    for (int32_t i = 0; i < s->n; i++)
        n = MAX(n, s->c[i].stage + 1);
    return n;
}

static int merge_set(struct sets *s, int32_t set, struct err *e)
{
    struct ocl_building *b = s->b;
    uint32_t steps = 1u << s->kind;
    int32_t from = b->n, n = 0, rc = 0;
    int32_t *ops = mem_array((size_t)s->n_ops, sizeof *ops);
    if (!ops)
        return err_set(e, E_NOMEM, "no memory for a phase of %d ops", s->n_ops);
    for (int32_t k = 0; k < s->n_ops; k++)
        if (s->ops[k].set == set)
            ops[n++] = s->ops[k].op;
    for (int kind = 0; kind < STEPS_KINDS; kind++)
        steps |= serves_too(s, set, kind) ? 1u << kind : 0;
    if (n > 1 && place(s, set)) {
        for (int32_t stage = 0, end = stages(s); stage < end && !rc; stage++)
            for (int32_t i = 0; i < s->n && !rc; i++)
                if (s->c[i].group == i && s->c[i].stage == stage && s->ops[s->c[i].op].set == set)
                    rc = merge_group(s, i, e);
        for (int32_t k = 0; k < n && !rc; k++)
            for (int kind = 0; kind < STEPS_KINDS; kind++)
                b->taken[kind][ops[k]] |= steps >> kind & 1;
        rc = ocl_end_merge(b, ops, n, steps, from, rc, e);
    }
    mem_free(ops);
    return rc;
}

static int merge_kind(struct ocl_building *b, int kind, const int32_t *ops, int32_t n,
                      struct err *e)
{
    struct sets s = {.b = b, .kind = kind, .rows = ocl_rows_of(kind)};
    int32_t launches = 0, rc = 0;
    for (int32_t k = 0; k < n; k++)
        launches += MAX(b->first[ops[k] + 1] - b->first[ops[k]],
                        b->together[ops[k]].to - b->together[ops[k]].from);
    s.c = mem_array((size_t)launches + 1, sizeof *s.c);
    s.ops = mem_array((size_t)n, sizeof *s.ops);
    if (!s.c || !s.ops)
        rc = err_set(e, E_NOMEM, "no memory for a phase of %d launches", launches);
    for (int32_t k = 0; k < n && !rc; k++)
        if (!b->taken[kind][ops[k]])
            collect(&s, ops[k]);
    if (!rc)
        find_sets(&s);
    for (int32_t k = 0; k < s.n_ops && !rc; k++)
        if (s.ops[k].set == k)
            rc = merge_set(&s, k, e);
    mem_free(s.c);
    mem_free(s.ops);
    return rc;
}

int ocl_lower_together(struct ocl_building *b, const int32_t *ops, int32_t n, struct err *e)
{
    struct ocl_model *m = b->m;
    struct ocl_rows rows = ocl_rows_of(STEPS_WIDE);
    int32_t some[OCL_WGMMA_MEMBERS], done = 0, rc = 0;
    while (done < n && !rc) {
        int32_t members = 0;
        for (; done < n && members < OCL_WGMMA_MEMBERS; done++) {
            const struct op *op = &m->plan->ops[ops[done]];
            if (!ocl_linear_by_wgmma(m, op))
                continue;
            if (members && op->rows != m->plan->ops[some[0]].rows)
                break;
            some[members++] = ops[done];
        }
        int32_t i = m->n_launches;
        if (members > 1)
            rc = ocl_linear_together(m, some, members, rows.min, rows.max, e);
        for (; i < m->n_launches; i++) {
            int32_t op = m->launches[i].op;
            if (!b->together[op].to)
                b->together[op].from = i;
            b->together[op].to = i + 1;
        }
    }
    return rc;
}

int ocl_merge_block(struct ocl_building *b, const int32_t *ops, int32_t n, struct err *e)
{
    int rc = 0;
    for (int kind = 0; kind < STEPS_KINDS && n > 1 && !rc; kind++)
        rc = merge_kind(b, kind, ops, n, e);
    return rc;
}
