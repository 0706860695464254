/* Known answers at start: every distinct kernel of the plan with small random operands, on the
 * device and in the definition (ref). A driver that miscompiles a kernel is found here, before a
 * request is answered wrongly. The trial plan has one op for each kernel, with the sizes that the
 * kernel was specialised for, so its programs are the very ones the model runs. What must come out
 * is computed once, however many ways of a product there are. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/host.h"
#include "kernels/opencl/packed.h"
#include "kernels/opencl/queue.h"
#include "kernels/opencl/shifted.h"
#include "kernels/opencl/wgmma.h"

#define OUTPUTS 48    /* rows of a product's matrix: more than a panel, not a multiple of two */
#define VOCAB 8       /* rows of an embedding */
#define FEW 3         /* rows of the first step: sequences of 2 and 1 */
#define MANY 70       /* rows of the second, products only: past every kernel for few rows */
#define SEQS 2
#define TRIAL_ACTS 20    /* views of one op: 12 in and 8 out of an elementwise program */
#define TRIAL_WEIGHTS 12
#define OP_BYTES MIB(16) /* an op with larger operands (many experts) is not tried */
/* In units of the largest result: sums in another order; bf16 activations on tensor cores. */
#define NEAR 2e-4f
#define NEAR_MMA 2e-2f

struct memory { float *arena, *slots, *pages; };

struct trial {
    const struct plan *from;
    struct plan plan;
    struct op *ops;
    struct ew_program *ew;
    struct host_weight *host;
    char **rows_of;     /* [weight] its rows, for the device */
    struct batch batch;
    struct host_step step; /* its memory is what the definitions make of … */
    struct memory given;
    int32_t rows, first_act; /* first_act: of the op being added */
    int32_t *origin;         /* [act] act and column it stands for */
    int64_t floats;
    struct rng rng;
    int32_t tokens[MANY], row_seq[MANY], cu[SEQS + 1], slots[SEQS], logit_rows[SEQS], pages[SEQS];
    int64_t pos[SEQS];
};

static host_kernel *const definitions[OP_KINDS] = {
#define OP(KIND, name, rows, sections, cost, factor, what) ref_##name,
#include "kernels/ops.def"
};

/* The view as an activation of its own; views of one op that share columns still do. */
static struct view add_view(struct trial *t, struct view v)
{
    if (!view_given(v))
        return v;
    struct plan *p = &t->plan;
    for (int32_t i = t->first_act; i < p->n_acts; i++)
        if (t->origin[2 * i] == v.act && t->origin[2 * i + 1] == v.col)
            return (struct view){i, 0, v.width};
    int32_t i = p->n_acts++, stride = (int32_t)round_up((size_t)v.width, 16);
    p->acts[i] = (struct act){t->from->acts[v.act].rows, v.width, stride, t->floats, 0, 0};
    t->origin[2 * i] = v.act;
    t->origin[2 * i + 1] = v.col;
    t->floats += (int64_t)t->rows * stride;
    return (struct view){i, 0, v.width};
}

/* At most so many rows of it, and columns. */
static int32_t add_weight(struct trial *t, int32_t w, int64_t rows, int64_t cols)
{
    if (w < 0)
        return w;
    int32_t i = t->plan.n_weights++;
    struct weight *x = &t->plan.weights[i];
    struct host_weight *h = &t->host[i];
    *x = t->from->weights[w];
    x->rows = MIN(x->rows, rows);
    x->cols = MIN(x->cols, cols);
    if (x->role == WEIGHT_VECTOR)
        x->dtype = DTYPE_F32;
    *h = (struct host_weight){x->role, x->dtype, x->rows, x->cols, 0, NULL};
    ASSERT(pack_bytes(x, &h->bytes)); /* no larger than the model's own */
    return i;
}

static int32_t add_section(struct trial *t, int32_t s)
{
    if (s < 0)
        return s;
    struct plan *p = &t->plan;
    struct section *x = &p->sections[p->n_sections];
    int64_t *total;
    *x = t->from->sections[s];
    if (x->kind == SECTION_FIXED) {
        total = &p->slot_floats;
        x->offset = *total;
        *total += (int64_t)round_up((size_t)x->elems, 16);
    } else {
        total = &p->page_token_floats;
        x->offset = *total * PAGE_TOKENS;
        *total += x->elems;
    }
    return p->n_sections++;
}

/* Another op on activations of the one before. */
static void add_reading(struct trial *t, const struct op *op)
{
    struct op *o = &t->ops[t->plan.n_ops];
    *o = *op;
    if (op->kind == OP_LINEAR) { /* fewer outputs: the same kernel */
        o->out.width = MIN(o->out.width, OUTPUTS);
        o->in[1].width = MIN(o->in[1].width, OUTPUTS);
    }
    o->out = add_view(t, o->out);
    for (size_t i = 0; i < ARRAY_LEN(o->in); i++)
        o->in[i] = add_view(t, o->in[i]);
    int64_t rows = op->kind == OP_LINEAR ? OUTPUTS : op->kind == OP_EMBED ? VOCAB : INT64_MAX;
    for (size_t i = 0; i < ARRAY_LEN(o->w); i++)
        o->w[i] = add_weight(t, o->w[i], i ? INT64_MAX : rows, INT64_MAX);
    o->section = add_section(t, o->section);
    if (op->kind == OP_EW) {
        struct ew_program *e = &t->ew[t->plan.n_ops];
        *e = *op->p.ew;
        o->p.ew = e;
        for (int32_t i = 0; i < e->n_in; i++) {
            e->in[i].v = add_view(t, e->in[i].v);
            if (!view_given(e->in[i].v))
                e->in[i].weight = add_weight(t, e->in[i].weight, 1, INT64_MAX);
        }
        for (int32_t i = 0; i < e->n_out; i++)
            e->out[i].v = add_view(t, e->out[i].v);
    }
    t->plan.n_ops++;
}

static void add_op(struct trial *t, const struct op *op)
{
    t->first_act = t->plan.n_acts;
    add_reading(t, op);
}

/* A product of packed rows that the op just added makes, of as many columns: where the trial has
 * none the op would make others. */
static void add_reader(struct trial *t, const struct op *op)
{
    struct op *o = &t->ops[t->plan.n_ops++];
    int32_t first = t->first_act;
    *o = *op;
    o->in[LINEAR_x] = add_view(t, o->in[LINEAR_x]);
    o->in[LINEAR_x].width = t->plan.acts[o->in[LINEAR_x].act].width;
    o->in[LINEAR_residual] = VIEW_NONE;
    o->out.width = MIN(o->out.width, OUTPUTS);
    t->first_act = t->plan.n_acts; /* its output shares nothing */
    o->out = add_view(t, o->out);
    t->first_act = first;
    o->w[LINEAR_matrix] = add_weight(t, o->w[LINEAR_matrix], OUTPUTS, o->in[LINEAR_x].width);
    o->w[LINEAR_bias] = add_weight(t, o->w[LINEAR_bias], INT64_MAX, INT64_MAX);
}

/* Whether the op brings a kernel that no earlier one did; marks its kernels as seen. */
static bool is_new(const struct ocl_model *m, int32_t op, bool *seen)
{
    bool found = false;
    for (int32_t i = 0; i < m->n_launches; i++)
        if (m->launches[i].op == op && !m->launches[i].merged && !seen[m->launches[i].instance])
            found = seen[m->launches[i].instance] = true;
    return found;
}

static bool fits(const struct plan *p, const struct op *op)
{
    const struct weight *w = op->w[0] < 0 ? NULL : &p->weights[op->w[0]];
    size_t rows = !w || op->kind == OP_LINEAR || op->kind == OP_EMBED ? OUTPUTS : (size_t)w->rows;
    size_t state = op->section < 0 ? 0 : (size_t)p->sections[op->section].elems * 4;
    return state < OP_BYTES && (!w || rows * (size_t)w->cols * 4 < OP_BYTES);
}

/* The views that an op writes; their number. */
static int outputs_of(const struct op *op, struct view out[LIMIT_EW_OUT])
{
    out[0] = op->out;
    for (int i = 0; op->kind == OP_EW && i < op->p.ew->n_out; i++)
        out[i] = op->p.ew->out[i].v;
    return op->kind == OP_EW ? op->p.ew->n_out : view_given(op->out);
}

/* Whether only products read it, which want it otherwise than as rows in float32. */
static bool is_packed(const struct ocl_model *m, struct view v)
{
    return ocl_packed(m, v) || ocl_bare(m, v);
}

/* An op that writes such rows, with a product of each and the shift that it makes; or nothing: then
 * it is false. */
static bool add_packing(struct trial *t, const struct ocl_model *m, int32_t i, bool *seen)
{
    const struct plan *p = m->plan;
    const struct op *readers[LIMIT_EW_OUT], *shift;
    struct view v[LIMIT_EW_OUT];
    int n = 0, outs = outputs_of(&p->ops[i], v);
    for (int k = 0; k < outs; k++) {
        int32_t j = i + 1;
        if (!is_packed(m, v[k]))
            continue;
        while (p->ops[j].kind != OP_LINEAR || p->ops[j].in[LINEAR_x].act != v[k].act)
            j++;
        if (!fits(p, &p->ops[j]))
            return false;
        readers[n++] = &p->ops[j];
    }
    shift = p->ops[i].kind == OP_EW ? ocl_shift_in_ew(m, &p->ops[i]) : NULL;
    if (!n || !fits(p, &p->ops[i]) || (shift && !fits(p, shift)) || !is_new(m, i, seen))
        return false;
    t->first_act = t->plan.n_acts;
    if (shift)
        add_reading(t, shift);
    add_reading(t, &p->ops[i]);
    for (int k = 0; k < n; k++)
        add_reader(t, readers[k]);
    /* A trial has few rows of logits; to a kernel they are as any. */
    for (int32_t k = t->plan.n_ops - n - 1; k < t->plan.n_ops; k++)
        t->ops[k].rows = ROWS_TOKENS;
    for (int32_t k = t->first_act; k < t->plan.n_acts; k++)
        t->plan.acts[k].rows = ROWS_TOKENS;
    return true;
}

static void fill_batch(struct trial *t)
{
    t->cu[1] = 1; /* sequences of one row and of several may have two kernels */
    t->cu[2] = t->rows;
    for (int32_t i = 0; i < t->rows; i++) {
        t->tokens[i] = i % VOCAB;
        t->row_seq[i] = i > 0;
    }
    t->slots[1] = t->pages[1] = 1; /* and 0 for the first, which is fresh */
    t->pos[1] = 3;
    t->logit_rows[0] = t->cu[1] - 1;
    t->logit_rows[1] = t->cu[2] - 1;
    t->batch = (struct batch){.n_seqs = SEQS, .n_tokens = t->rows, .n_logits = SEQS,
                              .tokens = t->tokens, .cu_seqlens = t->cu, .slots = t->slots,
                              .pos = t->pos, .logit_rows = t->logit_rows, .pages = t->pages,
                              .pages_per_seq = t->plan.page_token_floats ? 1 : 0};
}

static float draw(struct trial *t) { return (float)(rng_unit(&t->rng) * 0.9 + 0.05); }

/* Row r of weight i for the device; the same values go into the host's copy. */
static void fill_row(struct trial *t, int32_t i, int64_t r, bool zero, char *row)
{
    struct host_weight *h = &t->host[i];
    size_t blocks = format_plain(h->dtype) ? 0 : format_bytes(h->dtype, h->cols);
    for (size_t b = 0; b < blocks; b++) /* every number of a head stays below 0.12 */
        row[b] = (char)(rng_below(&t->rng, 256) & 0x2f);
    for (int64_t c = 0; c < h->cols && !blocks; c++) {
        float f = zero ? 0 : draw(t) - (c % 3 ? 0.5f : 0);
        uint32_t u;
        memcpy(&u, &f, 4);
        uint16_t half = h->dtype == DTYPE_BF16 ? (uint16_t)(u >> 16)
                                               : (uint16_t)(0x3000 | (u >> 9 & 0x83ff));
        if (h->dtype == DTYPE_F32)
            ((float *)row)[c] = f;
        else
            ((uint16_t *)row)[c] = half;
    }
    pack_rows(h, r, 1, row, h->dtype);
}

/* Whether weight i is a list of column numbers: then all are 0. */
static bool holds_columns(const struct trial *t, int32_t i)
{
    for (int32_t k = 0; k < t->plan.n_ops; k++)
        if (t->ops[k].kind == OP_COLUMNS && t->ops[k].w[0] == i)
            return true;
    return false;
}

static int make_weights(struct trial *t, struct err *e)
{
    for (int32_t i = 0; i < t->plan.n_weights; i++) {
        struct host_weight *h = &t->host[i];
        bool zero = holds_columns(t, i);
        size_t bytes = format_bytes(h->dtype, h->cols);
        h->data = mem_aligned(h->bytes);
        t->rows_of[i] = mem_array((size_t)h->rows * bytes + FORMAT_BLOCK_MAX, 1);
        if (!h->data || !t->rows_of[i])
            return err_set(e, E_NOMEM, "no memory for the self-test");
        for (int64_t r = 0; r < h->rows; r++)
            fill_row(t, i, r, zero, t->rows_of[i] + (size_t)r * bytes);
    }
    return 0;
}

static bool make_floats(struct trial *t, int64_t n, float scale, float **given, float **made)
{
    size_t all = (size_t)n + 1;
    *given = mem_array(all, sizeof(float));
    *made = mem_array(all, sizeof(float));
    for (int64_t i = 0; i < n && *given; i++)
        (*given)[i] = draw(t) * scale;
    return *given && *made && memcpy(*made, *given, all * sizeof(float));
}

/* Random activations and states, and what the definitions make of them. */
static int make_memory(struct trial *t, struct err *e)
{
    int64_t slots = SEQS * t->plan.slot_floats;
    int64_t pages = SEQS * PAGE_TOKENS * t->plan.page_token_floats;
    struct host_step *s = &t->step;
    *s = (struct host_step){&t->plan, &t->batch, t->host, t->row_seq, NULL, NULL, NULL, NULL};
    if (!make_floats(t, t->floats, 0.5f, &t->given.arena, &s->arena) ||
        !make_floats(t, slots, 0.1f, &t->given.slots, &s->slots) ||
        !make_floats(t, pages, 1, &t->given.pages, &s->pages))
        return err_set(e, E_NOMEM, "no memory for the self-test");
    for (const struct op *op = t->ops; op < t->ops + t->plan.n_ops; op++)
        definitions[op->kind](s, op, 0, 1);
    return 0;
}

/* Weights, activations and states to the device. */
static int give(const struct trial *t, struct ocl_model *m, struct err *e)
{
    int rc = 0;
    for (int32_t i = 0; i < t->plan.n_weights && !rc; i++) /* at once: each call waits for it */
        rc = ocl_weights_put(m, i, 0, t->host[i].rows, t->rows_of[i], t->host[i].dtype, e);
    if (t->floats && !rc)
        rc = OCL(e, "the self-test", clEnqueueWriteBuffer, m->d->queue, m->arena.mem, CL_TRUE, 0,
                 (size_t)t->floats * 4, t->given.arena, 0, NULL, NULL);
    for (int32_t i = 0; i < SEQS && !rc; i++)
        if (!(rc = ocl_queue_write(m, &m->slots, i, t->given.slots + i * m->slots.floats, e)))
            rc = ocl_queue_write(m, &m->pages, i, t->given.pages + i * m->pages.floats, e);
    return rc;
}

/* Whether the op's results on the device are those of the definition. */
static int compare(const struct trial *t, const struct ocl_model *m, const struct op *op,
                   const float *got, struct err *e)
{
    bool mma = op->kind == OP_LINEAR ? m->weights[op->w[0]].layout == OCL_MMA
                                     : ocl_attention_mma(m, op);
    struct view v[LIMIT_EW_OUT];
    bool made = op->kind != OP_SHIFT || t->rows <= ocl_shift_rows_max(m, op);
    int n = outputs_of(op, v);
    for (int i = 0; i < n; i++) {
        const struct act *a = &t->plan.acts[v[i].act];
        const struct ocl_packed *packed = ocl_packed(m, v[i]);
        int32_t rows = a->rows == ROWS_LOGITS ? SEQS : t->rows;
        float top = 0;
        if (!made || (packed && rows >= packed->from) ||
            (ocl_bare(m, v[i]) && rows >= m->d->tune.wgmma_rows))
            continue; /* seen in what its reader makes */
        for (int pass = 0; pass < 2; pass++)
            for (int64_t k = 0; k < (int64_t)rows * v[i].width; k++) {
                int64_t at = a->offset + k / v[i].width * a->stride + k % v[i].width;
                float want = t->step.arena[at], limit = (mma ? NEAR_MMA : NEAR) * top + 1e-30f;
                if (!pass)
                    top = fmaxf(top, isfinite(want) ? fabsf(want) : 0);
                else if (isfinite(want) ? !(fabsf(got[at] - want) <= limit) : isfinite(got[at]))
                    return err_set(e, E_DEVICE,
                                   "self-test: op %s on %s (driver %s) gives %.9g, must be %.9g",
                                   op_name(op->kind), m->d->info.name, m->d->info.driver,
                                   (double)got[at], (double)want);
            }
    }
    return 0;
}

/* The device makes it, in the way that its sizes now say. */
static int run_trial(const struct trial *t, struct ocl_device *d, struct err *e)
{
    struct ocl_model m = {0};
    struct ocl_times times = {0};
    struct capacity c = {t->rows, t->rows, SEQS, SEQS, SEQS, 1};
    if (!t->plan.n_ops)
        return 0;
    float *got = mem_array((size_t)t->floats + 1, 4);
    int rc = got ? 0 : err_set(e, E_NOMEM, "no memory for the self-test");
    if (rc || (rc = ocl_model_init(&m, d, &t->plan, &c, e)) || (rc = give(t, &m, e)) ||
        (rc = ocl_queue_run(&m, &t->batch, &times, e)) ||
        (rc = OCL(e, "the self-test", clEnqueueReadBuffer, d->queue, m.arena.mem, CL_TRUE, 0,
                  (size_t)t->floats * 4, got, 0, NULL, NULL)))
        goto out;
    for (int32_t i = 0; i < t->plan.n_ops && !rc; i++)
        rc = compare(t, &m, &t->ops[i], got, e);
out:
    ocl_model_free(&m);
    mem_free(got);
    return rc;
}

static void end_trial(struct trial *t)
{
    for (int32_t i = 0; i < t->plan.n_weights; i++) {
        mem_aligned_free(t->host[i].data, t->host[i].bytes);
        mem_free(t->rows_of[i]);
    }
    mem_free(t->ops);
    mem_free(t->ew);
    mem_free(t->plan.acts);
    mem_free(t->origin);
    mem_free(t->plan.weights);
    mem_free(t->host);
    mem_free(t->rows_of);
    mem_free(t->plan.sections);
    mem_free(t->step.arena);
    mem_free(t->step.slots);
    mem_free(t->step.pages);
    mem_free(t->given.arena);
    mem_free(t->given.slots);
    mem_free(t->given.pages);
    mem_free(t);
}

/* products: those and what packs rows for them, with many rows; else every op, with few. It may
 * have no op at all. NULL: no memory. */
static struct trial *begin_trial(const struct ocl_model *m, bool products, struct err *e)
{
    struct trial *t = mem_zalloc(sizeof *t);
    size_t n = ((size_t)MIN(m->plan->n_ops, m->n_instances) + 1) * (2 + LIMIT_EW_OUT);
    bool *seen = mem_array((size_t)m->n_instances + 1, sizeof *seen);
    if (!t || !seen || !(t->ops = mem_array(n, sizeof *t->ops)) ||
        !(t->ew = mem_array(n, sizeof *t->ew)) ||
        !(t->plan.acts = mem_array(n * TRIAL_ACTS, sizeof(struct act))) ||
        !(t->origin = mem_array(n * TRIAL_ACTS, 2 * sizeof(int32_t))) ||
        !(t->plan.weights = mem_array(n * TRIAL_WEIGHTS, sizeof(struct weight))) ||
        !(t->host = mem_array(n * TRIAL_WEIGHTS, sizeof *t->host)) ||
        !(t->rows_of = mem_array(n * TRIAL_WEIGHTS, sizeof *t->rows_of)) ||
        !(t->plan.sections = mem_array(n, sizeof(struct section)))) {
        err_set(e, E_NOMEM, "no memory for the self-test");
        goto fail;
    }
    t->from = m->plan;
    t->plan.ops = t->ops;
    t->plan.logits = VIEW_NONE;
    t->rows = products ? MANY : FEW;
    t->rng.seed = 7;
    for (int32_t i = 0; i < m->plan->n_ops; i++) {
        if (products && add_packing(t, m, i, seen))
            continue;
        if ((!products || m->plan->ops[i].kind == OP_LINEAR) && fits(m->plan, &m->plan->ops[i]) &&
            is_new(m, i, seen))
            add_op(t, &m->plan->ops[i]);
    }
    fill_batch(t);
    if (make_weights(t, e) || make_memory(t, e))
        goto fail;
    mem_free(seen);
    return t;
fail:
    if (t)
        end_trial(t);
    mem_free(seen);
    return NULL;
}

int ocl_selftest(const struct ocl_model *m, bool products, struct err *e)
{
    struct ocl_tune *tune = &m->d->tune, own = *tune;
    const struct ocl_wgmma *shapes;
    int n = ocl_wgmma_shapes(&shapes) * (products && tune->mma && tune->wgmma);
    struct trial *t = begin_trial(m, products, e);
    int rc = t ? 0 : E_NOMEM;
    tune->bundle = 0; /* merged kernels are compared with these (bundle.h) */
    if (!rc)
        rc = run_trial(t, m->d, e);
    tune->wgmma_rows = MIN(own.wgmma_rows, MANY);
    for (int i = 0; i < 2 * n && !rc; i++) { /* a trial of few outputs would choose only one way */
        tune->tile = shapes[i / 2].rows;
        tune->split = i % 2;
        rc = run_trial(t, m->d, e);
    }
    *tune = own;
    if (t)
        end_trial(t);
    return rc;
}
