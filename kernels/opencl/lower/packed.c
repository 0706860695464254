/* Which activations come packed, and where they lie. */
#include "kernels/opencl/packed.h"

#include "base/mem.h"
#include "kernels/opencl/bundle.h"

/* What ops do with an activation. */
struct use {
    int32_t writer;  /* the one op that writes it, or -1 */
    int32_t from;    /* rows from which on all its readers take packed ones */
    int32_t readers;
    bool cores, other; /* other: something is done to it that packed rows are not fit for */
};

struct uses { const struct ocl_model *m; struct use *of; const struct op *op; int32_t at; };

/* cores: its readers'. */
static int32_t packs_from(const struct ocl_model *m, const struct op *op, bool cores)
{
    return op->kind == OP_NORM     ? ocl_norm_packs_from(m, op)
           : op->kind == OP_EW     ? ocl_ew_packs_from(m, op)
           : op->kind == OP_LINEAR ? ocl_linear_packs_from(m, op, cores)
                                   : 0;
}

static void note_use(struct view *v, bool writes, void *arg)
{
    struct uses *u = arg;
    const struct act *a = &u->m->plan->acts[v->act];
    struct use *x = &u->of[v->act];
    bool cores = false;
    int32_t from = 0;
    if (v->col || v->width != a->width || u->op->rows != a->rows) {
        x->other = true;
    } else if (writes) {
        x->other = x->other || x->writer >= 0 || x->readers > 0;
        x->writer = u->at;
    } else {
        if (u->op->kind == OP_LINEAR && v == &u->op->in[LINEAR_x] && x->writer >= 0)
            from = ocl_linear_packed_from(u->m, u->op, &cores);
        x->other = x->other || !from || (x->readers && x->cores != cores);
        x->from = MAX(x->from, from);
        x->cores = cores;
        x->readers++;
    }
}

/* Rows that the activation's place is made for. */
static int64_t capacity(const struct ocl_model *m, const struct act *a)
{
    return a->rows == ROWS_LOGITS ? m->cap.logits : m->cap.tokens;
}

#define LINE 32 /* pairs in 128 bytes, which 8 rows of a product's half take */

/* Puts the packed rows into the activation's place; false: they do not fit. */
static bool place(const struct ocl_model *m, const struct act *a, struct ocl_packed *x)
{
    int64_t rows = capacity(m, a), cols = (int64_t)round_up((size_t)a->width, 32);
    x->at = (int64_t)round_up((size_t)a->offset, LINE);
    x->rows_p = (int64_t)round_up((size_t)rows, 8);
    return x->at + x->rows_p * cols / 2 <= a->offset + rows * a->stride;
}

/* The same number of rows for all that an op writes packed: its kernel writes them at once. */
static void agree(const struct plan *p, struct use *of, int32_t writer)
{
    int32_t from = 0;
    for (int32_t i = 0; i < p->n_acts; i++)
        if (of[i].writer == writer && !of[i].other)
            from = MAX(from, of[i].from);
    for (int32_t i = 0; i < p->n_acts; i++)
        if (of[i].writer == writer)
            of[i].from = from;
}

/* The product whose bare sums its readers may pack, or NULL. */
static const struct op *bare(const struct ocl_model *m, int32_t i, const struct use *x)
{
    const struct op *op = x->writer < 0 ? NULL : &m->plan->ops[x->writer];
    bool ok = op && !x->other && x->readers && x->cores && !ocl_is_result(m, &m->plan->acts[i]);
    return ok && op->kind == OP_LINEAR && ocl_linear_bares(m, op) ? op : NULL;
}

static void choose(struct ocl_model *m, struct use *of)
{
    const struct plan *p = m->plan;
    for (int32_t i = 0; i < p->n_acts; i++) {
        struct ocl_packed x = {0};
        m->packed[i].bare = bare(m, i, &of[i]);
        int32_t makes = of[i].writer < 0 ? 0 : packs_from(m, &p->ops[of[i].writer], of[i].cores);
        of[i].from = MAX(of[i].from, MAX(makes, OCL_BUNDLE_ROWS + 1));
        of[i].other = of[i].other || !makes || !of[i].readers || ocl_is_result(m, &p->acts[i]) ||
                      of[i].from > capacity(m, &p->acts[i]) || !place(m, &p->acts[i], &x);
    }
    for (int32_t i = 0; i < p->n_acts; i++) {
        if (of[i].other)
            continue;
        agree(p, of, of[i].writer);
        (void)place(m, &p->acts[i], &m->packed[i]);
        m->packed[i].from = of[i].from;
        m->packed[i].cores = of[i].cores;
    }
}

int ocl_packed_init(struct ocl_model *m, struct err *e)
{
    const struct plan *p = m->plan;
    struct uses u = {.m = m};
    if (!m->d->tune.mma || !m->d->tune.packs || !m->d->tune.many_rows)
        return 0;
    m->packed = mem_array((size_t)p->n_acts + 1, sizeof *m->packed);
    u.of = mem_array((size_t)p->n_acts + 1, sizeof *u.of);
    int rc = m->packed && u.of ? 0 : err_set(e, E_NOMEM, "no memory for %d activations", p->n_acts);
    for (int32_t i = 0; i < p->n_acts && !rc; i++)
        u.of[i].writer = -1;
    for (u.at = 0; u.at < p->n_ops && !rc; u.at++) {
        u.op = &p->ops[u.at];
        op_views(&p->ops[u.at], note_use, &u);
    }
    if (!rc)
        choose(m, u.of);
    mem_free(u.of);
    return rc;
}
