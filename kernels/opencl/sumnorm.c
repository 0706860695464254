/* A product whose slices are made apart, and the norm of its whole row in the phase behind it: the
 * launch that adds the slices up makes the norm, too. A group has one row of both, so it needs no
 * more than that the product is done; the bits are those of nvidia/linear_sum.cl and
 * nvidia/norm_rows.cl, whose text it is.
 *
 * The product's own launches then come where the norm's phase begins, before all others of it: what
 * they read is there until the phase before ends, and nothing has read what they write. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "kernels/opencl/building.h"
#include "kernels/opencl/cut.h"

#define SUM "nvidia/linear_sum.cl"
#define NORM "nvidia/norm_rows.cl"
#define FUSED "nvidia/sum_norm" /* in place of a source's name */

/* ---- what can be merged ---- */

static bool same_view(struct view a, struct view b)
{
    return a.act == b.act && a.col == b.col && a.width == b.width;
}

/* Whether two views of all rows share memory. */
static bool share(const struct ocl_model *m, struct view a, struct view b)
{
    if (!view_given(a) || !view_given(b))
        return false;
    const struct act *x = &m->plan->acts[a.act], *y = &m->plan->acts[b.act];
    int64_t rows = m->cap.tokens;
    return x->offset < y->offset + rows * y->stride && y->offset < x->offset + rows * x->stride;
}

/* Whether no op of its phase waits for this one. */
static bool ends_phase(const struct phases *x, int32_t op)
{
    bool ok = x->ops[op].chain == op;
    for (int32_t i = op + 1; i < x->n_ops && ok; i++)
        ok = x->ops[i].chain != op;
    return ok;
}

/* Whether op `norm`, in the phase behind that of a product, begins with all that it makes. */
static bool follows(const struct plan *p, const struct phases *x, int32_t product, int32_t norm)
{
    const struct op *l = &p->ops[product], *n = &p->ops[norm];
    return l->kind == OP_LINEAR && n->kind == OP_NORM && same_view(l->out, n->in[NORM_x]) &&
           l->rows == ROWS_TOKENS && n->rows == ROWS_TOKENS && !view_given(n->in[NORM_gate]) &&
           n->p.norm.group == n->in[NORM_x].width && x->ops[norm].chain == norm &&
           x->ops[product].phase + 1 == x->ops[norm].phase && ends_phase(x, product);
}

int32_t ocl_norm_behind(const struct plan *p, const struct phases *x, int32_t op)
{
    for (int32_t i = op + 1; i < p->n_ops; i++)
        if (follows(p, x, op, i))
            return i;
    return -1;
}

/* The product that a norm may be merged with, or -1: what the group of a row writes must not be
 * where others still read. */
static int32_t product_of(const struct ocl_building *b, int32_t norm)
{
    const struct ocl_model *m = b->m;
    const struct op *ops = m->plan->ops;
    for (int32_t i = 0; i < norm; i++)
        if (follows(m->plan, &m->phases, i, norm) && !share(m, ops[norm].out, ops[i].out) &&
            !share(m, ops[norm].out, ops[i].in[LINEAR_residual]))
            return i;
    return -1;
}

static bool is_file(const struct ocl_building *b, const struct ocl_launch *l, const char *file)
{
    return !strcmp(b->m->instances[l->instance].file, file);
}

static bool serves(const struct ocl_launch *l, struct ocl_rows rows)
{
    return l->rows_min <= rows.max && l->rows_max >= rows.min;
}

/* Rows of steps that have them merged: as many as there can be. */
static struct ocl_rows rows_of(const struct ocl_building *b)
{
    struct ocl_rows rows = ocl_rows_of(STEPS_WIDE);
    return (struct ocl_rows){rows.min, MIN(rows.max, b->m->cap.tokens)};
}

/* Whether some step of many rows adds up slices of the op. */
static bool adds_slices(const struct ocl_building *b, int32_t op)
{
    bool any = false;
    for (int32_t i = b->first[op]; i < b->first[op + 1]; i++)
        any = any || (is_file(b, &b->old[i], SUM) && serves(&b->old[i], rows_of(b)));
    return any;
}

/* ---- text ---- */

/* Whether the norm's kernel needs a parameter of the sum beside its own: the product's output is
 * its x, and only products have use for some. */
static bool is_more(const struct ocl_cut *norm, const char *name)
{
    static const char *const others[] = {"outputs", "inputs", "cols_p", "slice_len"};
    bool more = true;
    for (int i = 0; i < norm->n; i++)
        more = more && strcmp(norm->p[i].name, name) != 0;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        more = more && strcmp(others[i], name) != 0;
    return more;
}

/* The norm's kernel with the parameters of the sum behind its own; those of them that are ints are
 * constants, so that no branch keeps loads waiting. args: receives the arguments; its room is what
 * both launches have. */
static void write_text(struct buf *b, const struct ocl_cut *norm, const struct ocl_cut *sum,
                       const struct ocl_launch *s, struct ocl_arg *args, int32_t *n_args)
{
    buf_add(b, norm->text, (size_t)(norm->kernel - norm->text));
    buf_str(b, OCL_KERNEL_HEAD);
    for (int i = 0; i < norm->n; i++)
        buf_fmt(b, "%s%s%s", i ? ", " : "", norm->p[i].type, norm->p[i].name);
    for (int i = 0; i < sum->n; i++)
        if (s->args[i].kind != ARG_INT && is_more(norm, sum->p[i].name)) {
            buf_fmt(b, ", %s%s", sum->p[i].type, sum->p[i].name);
            args[(*n_args)++] = s->args[i];
        }
    buf_str(b, ")\n{\n");
    for (int i = 0; i < sum->n; i++)
        if (s->args[i].kind == ARG_INT && is_more(norm, sum->p[i].name))
            buf_fmt(b, "%s%s = %lld;\n", sum->p[i].type, sum->p[i].name,
                    (long long)s->args[i].i);
    buf_str(b, norm->body);
}

/* ---- launches ---- */

/* A launch as it is, for some of its steps. */
static int add_copy(struct ocl_building *b, const struct ocl_launch *l, struct ocl_rows rows,
                    struct err *e)
{
    struct ocl_launch r = *l;
    r.rows_min = MAX(l->rows_min, rows.min);
    r.rows_max = MIN(l->rows_max, rows.max);
    r.args = mem_array((size_t)l->n_args, sizeof *r.args);
    if (!r.args)
        return err_set(e, E_NOMEM, "no memory for a launch of %d", l->n_args);
    memcpy(r.args, l->args, (size_t)l->n_args * sizeof *r.args);
    r.copied = true;
    return ocl_add_merged(b, &r, NULL, NULL, e);
}

/* The sum s and the norm n in one. */
static int add_fused(struct ocl_building *b, const struct ocl_launch *s, const struct ocl_launch *n,
                     struct ocl_rows rows, struct err *e)
{
    const struct ocl_instance *sum = &b->m->instances[s->instance];
    const struct ocl_instance *norm = &b->m->instances[n->instance];
    struct ocl_cut *cuts = mem_array(2, sizeof *cuts);
    struct ocl_launch r = *n;
    struct buf text, defines;
    int rc = 0;
    r.rows_min = rows.min;
    r.rows_max = rows.max;
    r.args = mem_array((size_t)(n->n_args + s->n_args), sizeof *r.args);
    buf_init(&text, MIB(1));
    buf_init(&defines, KIB(64));
    buf_fmt(&defines, "%s%s", norm->defines, sum->defines);
    if (!cuts || !r.args || defines.failed) {
        rc = err_set(e, E_NOMEM, "no memory for a sum and its norm");
    } else if (!ocl_cut_file(&cuts[0], NORM, norm->defines) || cuts[0].n != n->n_args ||
               !ocl_cut_file(&cuts[1], SUM, sum->defines) || cuts[1].n != s->n_args) {
        rc = err_set(e, E_UNSUPPORTED, "%s and %s cannot be merged", SUM, NORM);
    } else {
        memcpy(r.args, n->args, (size_t)n->n_args * sizeof *r.args);
        write_text(&text, &cuts[0], &cuts[1], s, r.args, &r.n_args);
        rc = text.failed ? err_set(e, E_NOMEM, "no memory for the text of a sum and its norm") : 0;
    }
    if (rc) {
        buf_free(&text);
        mem_free(r.args);
    } else {
        struct ocl_instance like = {FUSED, defines.p, NULL};
        rc = ocl_add_merged(b, &r, &like, text.p, e);
    }
    buf_free(&defines);
    mem_free(cuts);
    return rc;
}

/* The launch that adds up slices of the op in steps of `from` rows, or NULL; *to: up to how many
 * rows that is so. */
static const struct ocl_launch *sum_at(const struct ocl_building *b, int32_t op, int32_t from,
                                       int32_t *to)
{
    for (int32_t i = b->first[op]; i < b->first[op + 1]; i++) {
        const struct ocl_launch *l = &b->old[i];
        if (!is_file(b, l, SUM) || l->rows_max < from)
            continue;
        *to = MIN(*to, l->rows_min <= from ? l->rows_max : l->rows_min - 1);
        if (l->rows_min <= from)
            return l;
    }
    return NULL;
}

/* A launch of the norm, in steps where slices are added up with these. */
static int add_norm(struct ocl_building *b, int32_t op, const struct ocl_launch *n,
                    struct ocl_rows rows, struct err *e)
{
    int rc = 0;
    rows.max = MIN(rows.max, n->rows_max);
    for (int32_t from = MAX(rows.min, n->rows_min), to; from <= rows.max && !rc; from = to + 1) {
        to = rows.max;
        const struct ocl_launch *s = sum_at(b, op, from, &to);
        struct ocl_rows some = {from, to};
        if (s && is_file(b, n, NORM)) {
            rc = add_fused(b, s, n, some, e);
            continue;
        }
        rc = s ? add_copy(b, s, some, e) : 0;
        rc = rc ? rc : add_copy(b, n, some, e);
    }
    return rc;
}

int32_t ocl_norm_of_sum(const struct ocl_building *b, const int32_t *ops, int32_t n)
{
    for (int32_t k = 0; k < n; k++) {
        int32_t product = product_of(b, ops[k]);
        if (product >= 0 && adds_slices(b, product))
            return ops[k];
    }
    return -1;
}

/* Kinds of steps that have fewer launches by those of the list from `from` on. */
static uint32_t saves(const struct ocl_building *b, int32_t from)
{
    uint32_t steps = 0;
    for (int32_t i = from; i < b->n; i++) {
        const struct ocl_launch *l = &b->all[i];
        if (!l->copied && l->rows_min <= OCL_WIDE_ROWS)
            steps |= 1u << STEPS_WIDE | 1u << STEPS_BROAD;
        if (!l->copied && l->rows_max > OCL_WIDE_ROWS)
            steps |= 1u << STEPS_MANY;
    }
    return steps;
}

int ocl_merge_sum(struct ocl_building *b, int32_t norm, struct err *e)
{
    const struct ocl_rows rows = rows_of(b);
    const int32_t ops[2] = {product_of(b, norm), norm};
    int32_t from = b->n, rc = 0;
    uint32_t steps = 0;
    for (int kind = STEPS_WIDE; kind < STEPS_KINDS; kind++)
        steps |= b->taken[kind][ops[0]] || b->taken[kind][norm] ? 0 : 1u << kind;
    if (!steps)
        return 0;
    for (int32_t i = b->first[ops[0]]; i < b->first[ops[0] + 1] && !rc; i++)
        if (serves(&b->old[i], rows) && !is_file(b, &b->old[i], SUM))
            rc = add_copy(b, &b->old[i], rows, e);
    for (int32_t i = b->first[norm]; i < b->first[norm + 1] && !rc; i++)
        rc = add_norm(b, ops[0], &b->old[i], rows, e);
    steps &= saves(b, from);
    if (!rc && !steps)
        rc = err_set(e, E_UNSUPPORTED, "a norm without a kernel for many rows");
    for (int kind = 0; kind < STEPS_KINDS && !rc; kind++)
        for (int k = 0; k < 2; k++)
            b->taken[kind][ops[k]] |= steps >> kind & 1;
    return ocl_end_merge(b, ops, 2, steps, from, rc, e);
}
