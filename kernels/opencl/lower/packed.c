/* Which activations only products read that take packed rows, and where these lie (launches.h). */
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

static int32_t packs_from(const struct ocl_model *m, const struct op *op)
{
    return op->kind == OP_NORM ? ocl_norm_packs_from(m, op)
           : op->kind == OP_EW ? ocl_ew_packs_from(m, op)
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

/* Whether something outside the plan's ops reads it: logits, another part of a split model. */
static bool is_result(const struct ocl_model *m, const struct act *a)
{
    return a->last >= (m->plan == &m->own ? m->phases.n_phases : m->plan->n_ops);
}

/* Rows that the activation's place is made for. */
static int64_t capacity(const struct ocl_model *m, const struct act *a)
{
    return a->rows == ROWS_LOGITS ? m->cap.logits : m->cap.tokens;
}

/* Puts the packed rows into the activation's place, where a sub-buffer may begin; false: they do
 * not fit. */
static bool place(const struct ocl_model *m, const struct act *a, struct ocl_packed *x)
{
    int64_t align = (int64_t)m->d->info.align_bytes, rows = capacity(m, a);
    int64_t at = (int64_t)round_up((size_t)a->offset * 4, (size_t)align);
    int64_t cols = (int64_t)round_up((size_t)a->width, 32);
    x->rows_p = (int64_t)round_up((size_t)rows, 8);
    x->at = at / 4;
    return at + x->rows_p * cols * 2 <= (a->offset + rows * a->stride) * 4;
}

/* The arena from x->at on, made when new. */
static int find_mem(struct ocl_model *m, struct ocl_packed *x, struct err *e)
{
    size_t at = (size_t)x->at * 4;
    for (int32_t i = 0; i < m->plan->n_acts; i++)
        if (m->packed[i].from && m->packed[i].at == x->at) {
            x->mem = m->packed[i].mem;
            return 0;
        }
    cl_buffer_region r = {at, m->arena.bytes - at};
    cl_mem *mem = &m->packed_mems[m->n_packed_mems];
    int rc = OCL_NEW(*mem, e, "packed activations", clCreateSubBuffer, m->arena.mem,
                     CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &r);
    if (!rc)
        x->mem = m->n_packed_mems++;
    return rc;
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

static int choose(struct ocl_model *m, struct use *of, struct err *e)
{
    const struct plan *p = m->plan;
    int rc = 0;
    for (int32_t i = 0; i < p->n_acts; i++) {
        struct ocl_packed x = {0};
        int32_t makes = of[i].writer < 0 ? 0 : packs_from(m, &p->ops[of[i].writer]);
        of[i].from = MAX(of[i].from, MAX(makes, OCL_BUNDLE_ROWS + 1));
        of[i].other = of[i].other || !makes || !of[i].readers || is_result(m, &p->acts[i]) ||
                      of[i].from > capacity(m, &p->acts[i]) || !place(m, &p->acts[i], &x);
    }
    for (int32_t i = 0; i < p->n_acts && !rc; i++) {
        struct ocl_packed x = {0};
        if (of[i].other)
            continue;
        agree(p, of, of[i].writer);
        (void)place(m, &p->acts[i], &x);
        x.cores = of[i].cores;
        if (!(rc = find_mem(m, &x, e))) {
            x.from = of[i].from;
            m->packed[i] = x;
        }
    }
    return rc;
}

int ocl_packed_init(struct ocl_model *m, struct err *e)
{
    const struct plan *p = m->plan;
    struct uses u = {.m = m};
    if (!m->d->tune.mma || !m->d->tune.packs || !m->d->tune.many_rows)
        return 0;
    m->packed = mem_zalloc(((size_t)p->n_acts + 1) * sizeof *m->packed);
    m->packed_mems = mem_array((size_t)p->n_acts + 1, sizeof *m->packed_mems);
    u.of = mem_zalloc(((size_t)p->n_acts + 1) * sizeof *u.of);
    int rc = m->packed && m->packed_mems && u.of
                 ? 0 : err_set(e, E_NOMEM, "no memory for %d activations", p->n_acts);
    for (int32_t i = 0; i < p->n_acts && !rc; i++)
        u.of[i].writer = -1;
    for (u.at = 0; u.at < p->n_ops && !rc; u.at++) {
        u.op = &p->ops[u.at];
        op_views(&p->ops[u.at], note_use, &u);
    }
    rc = rc ? rc : choose(m, u.of, e);
    mem_free(u.of);
    return rc;
}

const struct ocl_packed *ocl_packed(const struct ocl_model *m, struct view v)
{
    bool whole = m->packed && view_given(v) && v.width == m->plan->acts[v.act].width;
    return whole && m->packed[v.act].from ? &m->packed[v.act] : NULL;
}

void ocl_packed_free(struct ocl_model *m)
{
    for (int32_t i = 0; i < m->n_packed_mems; i++)
        OCL_FREE(clReleaseMemObject, m->packed_mems[i]);
    mem_free(m->packed_mems);
    mem_free(m->packed);
}
