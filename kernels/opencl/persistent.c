/* Which launches of a step are walked, and the tables on the device (persistent.h). */
#include "kernels/opencl/persistent.h"

#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "kernels/opencl/buffer.h"
#include "kernels/opencl/bundle.h"
#include "kernels/opencl/program.h"
#include "kernels/opencl/source.h"

#define SHORTEST 4 /* launches that a walk is worth */
#define FORMS_MOST 96 /* in one kernel: what a model has of each layer anew is not walked */
/* Of local memory for two records, and what else a compiler puts there. */
#define RECORD_BYTES(w)                                                                            \
    (((size_t)(w)->record * sizeof(cl_ulong) + sizeof(struct ocl_stop)) * 2 + 256)

/* ---- addresses ---- */

struct addresses {
    cl_mem *mems;
    cl_ulong *at;
    int32_t n, max;
};

static int32_t address_of(struct addresses *a, cl_mem mem)
{
    for (int32_t i = 0; i < a->n; i++)
        if (a->mems[i] == mem)
            return i;
    ASSERT(a->n < a->max);
    a->mems[a->n] = mem;
    return a->n++;
}

static int address_kernel(struct ocl_device *d, cl_kernel *k, struct err *e)
{
    struct buf source;
    cl_program p;
    buf_init(&source, MIB(1));
    buf_str(&source, "#define KERNEL address\n");
    ocl_source_add(&source, "address.cl");
    int rc = source.failed ? err_set(e, E_NOMEM, "no memory for the source of address.cl")
                           : ocl_program_build(&p, d, "address.cl", source.p, true, e);
    if (!rc)
        rc = OCL_NEW(*k, e, "address.cl", clCreateKernel, p, "address");
    buf_free(&source);
    return rc;
}

static int ask_addresses(struct ocl_device *d, struct addresses *a, struct err *e)
{
    struct ocl_buffer out = {0};
    cl_kernel k = NULL;
    size_t one = 1;
    int rc = address_kernel(d, &k, e);
    if (!rc)
        rc = ocl_buffer_new(&out, d, (size_t)a->n * sizeof *a->at, "addresses", e);
    for (cl_int i = 0; i < a->n && !rc; i++)
        if (!(rc = OCL(e, "an address", clSetKernelArg, k, 0, sizeof(cl_mem), &a->mems[i])) &&
            !(rc = OCL(e, "an address", clSetKernelArg, k, 1, sizeof(cl_mem), &out.mem)) &&
            !(rc = OCL(e, "an address", clSetKernelArg, k, 2, sizeof i, &i)))
            rc = OCL(e, "an address", clEnqueueNDRangeKernel, d->queue, k, 1, NULL, &one, &one, 0,
                     NULL, NULL);
    if (!rc && a->n)
        rc = OCL(e, "addresses", clEnqueueReadBuffer, d->queue, out.mem, CL_TRUE, 0,
                 (size_t)a->n * sizeof *a->at, a->at, 0, NULL, NULL);
    ocl_buffer_free(&out, d);
    OCL_FREE(clReleaseKernel, k);
    return rc;
}

/* ---- what is walked ---- */

struct planning {
    struct ocl_model *m;
    struct addresses addresses;
    int32_t *list, n;      /* launches of a step, in their order */
    struct ocl_form *forms; /* of the walk being made */
    int32_t n_forms;
    bool teams;
};

static bool teams_meet(const struct ocl_device *d)
{
    return strstr(d->info.vendor, "NVIDIA") != NULL;
}

size_t ocl_persistent_groups(const struct ocl_device *d)
{
    return teams_meet(d) ? d->info.units : 1;
}

/* Whether some step of at most `max` rows, several of a sequence, has the launch. */
static bool may_run(const struct ocl_model *m, const struct ocl_launch *l, int32_t max)
{
    int32_t rows = MAX(l->rows_min, 1), seqs = MAX(l->seqs_min, 1);
    return rows <= max && seqs <= max && ocl_launch_runs(m, l, rows, seqs, false);
}

/* The launches of steps with up to `rows` rows, several of a sequence; or of just as many, one a
 * sequence, all with logits. */
static void list_launches(struct planning *p, enum ocl_steps kind, int32_t rows)
{
    struct ocl_model *m = p->m;
    p->n = 0;
    for (int32_t i = 0; i < m->n_launches; i++) {
        const struct ocl_launch *l = &m->launches[i];
        if (kind == STEPS_MIXED ? may_run(m, l, rows) : ocl_launch_runs(m, l, rows, rows, true))
            p->list[p->n++] = i;
    }
}

static int32_t given_local(const struct ocl_launch *l)
{
    size_t bytes = 0;
    for (int32_t i = 0; i < l->n_args; i++)
        bytes += l->args[i].kind == ARG_LOCAL ? round_up((size_t)l->args[i].i, 16) : 0;
    return (int32_t)MIN(bytes, (size_t)OCL_POOL_BYTES + 1);
}

/* FORMS_MOST: there is no room for another. */
static int32_t form_of(struct planning *p, const struct ocl_launch *l)
{
    struct ocl_form f = {&p->m->instances[l->instance], l, given_local(l)};
    for (int32_t i = 0; i < p->n_forms; i++) {
        const struct ocl_form *x = &p->forms[i];
        if (x->instance == f.instance && x->local_bytes == f.local_bytes &&
            !memcmp(x->l->local, l->local, sizeof l->local))
            return i;
    }
    if (p->n_forms == FORMS_MOST)
        return FORMS_MOST;
    p->forms[p->n_forms] = f;
    return p->n_forms++;
}

static bool fits(struct planning *p, const struct ocl_launch *l)
{
    return l->kernel && l->local_bytes <= OCL_POOL_BYTES &&
           ocl_form_fits(&p->m->instances[l->instance], l, p->m->d->tune.persistent, p->teams) &&
           form_of(p, l) < FORMS_MOST;
}

static cl_ulong value_of(struct planning *p, const struct ocl_arg *a)
{
    cl_uint bits;
    cl_mem mem = ocl_arg_mem(p->m, a);
    memcpy(&bits, &a->f, sizeof bits);
    if (mem)
        return p->addresses.at[address_of(&p->addresses, mem)];
    return a->kind == ARG_FLOAT ? bits : a->kind == ARG_INT ? (cl_ulong)(cl_uint)a->i
                                                            : (cl_ulong)a->i;
}

/* Steps of a list: runs of launches that are walked, and others. */
static int cut_walks(struct planning *p, struct ocl_walks *w, struct err *e)
{
    const struct ocl_model *m = p->m;
    int32_t record = 0;
    w->runs = mem_array((size_t)p->n + 1, sizeof *w->runs);
    w->launches = mem_array((size_t)p->n + 1, sizeof *w->launches);
    if (!w->runs || !w->launches)
        return err_set(e, E_NOMEM, "no memory for a walk of %d launches", p->n);
    memcpy(w->launches, p->list, (size_t)p->n * sizeof *p->list);
    w->n_launches = p->n;
    for (int32_t i = 0, end; i < p->n; i = end) {
        for (end = i; end < p->n && fits(p, &m->launches[p->list[end]]); end++)
            continue;
        struct ocl_run r = {.from = i, .to = end, .walked = end - i >= SHORTEST};
        if (!r.walked)
            r.to = end = MAX(end, i + 1);
        for (int32_t k = i; k < end && r.walked; k++)
            record = MAX(record, m->launches[p->list[k]].n_args);
        w->runs[w->n_runs++] = r;
    }
    w->record = record + OCL_RECORD_HEAD;
    return 0;
}

/* Into the table: the form and the arguments of every launch that is walked. */
static int write_table(struct planning *p, struct ocl_walks *w, struct err *e)
{
    const struct ocl_model *m = p->m;
    size_t each = (size_t)w->record, n = each * (size_t)w->n_launches;
    cl_ulong *table = mem_array(n + 1, sizeof *table);
    w->stops = mem_array((size_t)w->n_launches + 1, sizeof *w->stops);
    if (!table || !w->stops) {
        mem_free(table);
        return err_set(e, E_NOMEM, "no memory for the table of a walk");
    }
    for (const struct ocl_run *r = w->runs; r < w->runs + w->n_runs; r++)
        for (int32_t k = r->from; k < r->to && r->walked; k++) {
            const struct ocl_launch *l = &m->launches[w->launches[k]];
            cl_ulong *to = table + (size_t)k * each;
            *to++ = (cl_ulong)form_of(p, l);
            for (int32_t i = 0; i < l->n_args; i++)
                *to++ = value_of(p, &l->args[i]);
        }
    int rc = ocl_buffer_new(&w->times, m->d, ((size_t)w->n_launches + 1) * sizeof(cl_ulong),
                            "the times of a walk", e);
    if (!rc)
        rc = ocl_buffer_new(&w->table, m->d, n * sizeof *table, "the table of a walk", e);
    if (!rc)
        rc = ocl_buffer_new(&w->list, m->d, (size_t)w->n_launches * sizeof *w->stops,
                            "the list of a walk", e);
    if (!rc)
        rc = OCL(e, "the table of a walk", clEnqueueWriteBuffer, m->d->queue, w->table.mem,
                 CL_TRUE, 0, n * sizeof *table, table, 0, NULL, NULL);
    mem_free(table);
    return rc;
}

static int set_run(struct ocl_model *m, const struct ocl_walks *w, struct ocl_run *r,
                   cl_program program, struct err *e)
{
    const char *what = "a walk";
    cl_int from = r->from;
    int rc = OCL_NEW(r->kernel, e, what, clCreateKernel, program, "walk");
    if (rc || (rc = OCL(e, what, clSetKernelArg, r->kernel, 0, sizeof(cl_mem), &w->table.mem)) ||
        (rc = OCL(e, what, clSetKernelArg, r->kernel, 1, sizeof(cl_mem), &w->list.mem)) ||
        (rc = OCL(e, what, clSetKernelArg, r->kernel, 2, sizeof(cl_mem), &m->met.mem)) ||
        (rc = OCL(e, what, clSetKernelArg, r->kernel, 3, sizeof(cl_mem), &m->part[BATCH_COUNTS])) ||
        (rc = OCL(e, what, clSetKernelArg, r->kernel, 4, sizeof from, &from)))
        return rc;
    return OCL(e, what, clSetKernelArg, r->kernel, 5, sizeof(cl_mem), &w->times.mem);
}

static int build_walk(struct planning *p, struct ocl_walks *w, struct err *e)
{
    struct ocl_model *m = p->m;
    struct buf source;
    cl_program program = NULL;
    int rc;
    buf_init(&source, MIB(16));
    if (!ocl_persistent_text(&source, p->forms, p->n_forms, m->d->tune.persistent, w->record,
                             p->teams, m->d->profiling))
        rc = err_set(e, E_UNSUPPORTED, "its text cannot be made");
    else
        rc = ocl_program_build(&program, m->d, "a walk", source.p, false, e);
    buf_free(&source);
    for (int32_t i = 0; i < w->n_runs && !rc; i++)
        if (w->runs[i].walked)
            rc = set_run(m, w, &w->runs[i], program, e);
    return rc;
}

static void free_walks(struct ocl_walks *w, struct ocl_device *d)
{
    for (int32_t i = 0; i < w->n_runs; i++)
        OCL_FREE(clReleaseKernel, w->runs[i].kernel);
    ocl_buffer_free(&w->table, d);
    ocl_buffer_free(&w->list, d);
    ocl_buffer_free(&w->times, d);
    mem_free(w->runs);
    mem_free(w->launches);
    mem_free(w->stops);
    *w = (struct ocl_walks){0};
}

void ocl_persistent_free(struct ocl_model *m)
{
    for (int32_t i = 0; i < m->n_walks; i++)
        free_walks(&m->walks[i], m->d);
    mem_free(m->walks);
    m->walks = NULL;
    m->n_walks = 0;
    ocl_buffer_free(&m->met, m->d);
}

static void note_buffers(struct planning *p)
{
    const struct ocl_model *m = p->m;
    for (int32_t i = 0; i < m->n_launches; i++)
        for (int32_t k = 0; k < m->launches[i].n_args; k++) {
            cl_mem mem = ocl_arg_mem(m, &m->launches[i].args[k]);
            if (mem)
                (void)address_of(&p->addresses, mem);
        }
}

static int32_t most_rows(const struct ocl_model *m, enum ocl_steps kind)
{
    const struct capacity *c = &m->cap;
    int32_t most = MIN(c->tokens, MIN(m->d->tune.persistent_rows, OCL_BUNDLE_ROWS));
    return kind == STEPS_MIXED ? most : MIN(most, MIN(c->seqs, MIN(c->logits, c->slots)));
}

/* Into the plan: the launches of steps of `from` rows and of all up to *to; `most` rows at most. */
static int list_same(struct planning *p, enum ocl_steps kind, int32_t from, int32_t most,
                     int32_t *to, struct err *e)
{
    list_launches(p, kind, kind == STEPS_MIXED ? most : from);
    int32_t n = p->n, *first = mem_array((size_t)n + 1, sizeof *first);
    if (!first)
        return err_set(e, E_NOMEM, "no memory for a walk of %d launches", n);
    memcpy(first, p->list, (size_t)n * sizeof *first);
    for (*to = kind == STEPS_MIXED ? most : from; *to < most; ++*to) {
        list_launches(p, kind, *to + 1);
        if (p->n != n || memcmp(first, p->list, (size_t)n * sizeof *first))
            break;
    }
    memcpy(p->list, first, (size_t)n * sizeof *first);
    p->n = n;
    mem_free(first);
    return 0;
}

/* Walks for steps of `from` rows up to the most that have the same launches. */
static int add_walks(struct planning *p, enum ocl_steps kind, int32_t from, int32_t *to,
                     struct err *e)
{
    struct ocl_model *m = p->m;
    struct ocl_walks *w = &m->walks[m->n_walks];
    struct err why = {0};
    int32_t walked = 0;
    int rc = list_same(p, kind, from, most_rows(m, kind), to, e);
    if (rc)
        return rc;
    *w = (struct ocl_walks){.kind = kind, .rows_min = from, .rows_max = *to};
    p->n_forms = 0;
    if ((rc = cut_walks(p, w, e))) {
        free_walks(w, m->d);
        return rc;
    }
    for (int32_t i = 0; i < w->n_runs; i++)
        walked += w->runs[i].walked;
    size_t local = OCL_POOL_BYTES + RECORD_BYTES(w);
    if (!walked)
        err_set(&why, E_UNSUPPORTED, "no %d launches in a row can be in one kernel", SHORTEST);
    else if (local > m->d->info.local_bytes)
        err_set(&why, E_UNSUPPORTED, "%zu bytes of local memory, the device has %llu", local,
                (unsigned long long)m->d->info.local_bytes);
    else if (!write_table(p, w, &why) && !build_walk(p, w, &why)) {
        m->n_walks++;
        return 0;
    }
    free_walks(w, m->d);
    log_warn("%s: steps of %d to %d rows, %s a sequence, are made of separate launches: %s",
             m->d->info.name, from, *to, kind == STEPS_MIXED ? "several of" : "one", why.text);
    return 0;
}

static int all_walks(struct ocl_model *m, struct err *e)
{
    size_t launches = (size_t)m->n_launches + 1;
    int32_t most = most_rows(m, STEPS_SINGLE), buffers = 0, to = 0;
    struct planning p = {.m = m, .teams = teams_meet(m->d)};
    int rc = 0;
    for (int32_t i = 0; i < m->n_launches; i++)
        buffers += m->launches[i].n_args;
    p.addresses.max = buffers;
    p.addresses.mems = mem_array((size_t)buffers + 1, sizeof *p.addresses.mems);
    p.addresses.at = mem_array((size_t)buffers + 1, sizeof *p.addresses.at);
    p.list = mem_array(launches, sizeof *p.list);
    p.forms = mem_array(launches, sizeof *p.forms);
    m->walks = mem_array(OCL_WALKS_MAX + 1, sizeof *m->walks);
    if (!m->walks || !p.addresses.mems || !p.addresses.at || !p.list || !p.forms)
        rc = err_set(e, E_NOMEM, "no memory for walks of %d launches", m->n_launches);
    if (!rc)
        rc = ocl_buffer_new(&m->met, m->d, sizeof(cl_uint), "the meetings of groups", e);
    if (!rc) {
        note_buffers(&p);
        rc = ask_addresses(m->d, &p.addresses, e);
    }
    for (int32_t from = 1; from <= most && m->n_walks < OCL_WALKS_MAX && !rc; from = to + 1)
        rc = add_walks(&p, STEPS_SINGLE, from, &to, e);
    if (!rc && most_rows(m, STEPS_MIXED) > 1)
        rc = add_walks(&p, STEPS_MIXED, 2, &to, e);
    mem_free(p.addresses.mems);
    mem_free(p.addresses.at);
    mem_free(p.list);
    mem_free(p.forms);
    return rc;
}

void ocl_persistent_init(struct ocl_model *m)
{
    struct err e = {0};
    if (!m->d->tune.persistent || !m->d->tune.bundle || m->cap.tokens < 1)
        return;
    if (all_walks(m, &e)) {
        log_warn("%s: steps are made of separate launches: %s", m->d->info.name, e.text);
        ocl_persistent_free(m);
    } else if (m->n_walks) {
        log_info("%s: steps of up to %d rows run as persistent kernels", m->d->info.name,
                 m->walks[m->n_walks - 1].rows_max);
    }
}

/* ---- a step ---- */

static bool is_walked(const struct ocl_model *m, enum ocl_steps kind)
{
    return !((m->unwalked | m->unmerged) >> kind & 1);
}

int32_t ocl_persistent_rows(const struct ocl_model *m)
{
    int32_t rows = 0;
    for (int32_t i = 0; i < m->n_walks; i++)
        if (m->walks[i].kind == STEPS_SINGLE && is_walked(m, STEPS_SINGLE))
            rows = MAX(rows, m->walks[i].rows_max);
    return rows;
}

struct ocl_walks *ocl_persistent_find(const struct ocl_model *m, const struct batch *b)
{
    enum ocl_steps kind = b->n_seqs == b->n_tokens ? STEPS_SINGLE : STEPS_MIXED;
    if (!is_walked(m, kind) || m->until < INT32_MAX || b->ops != STEP_ALL ||
        (kind == STEPS_SINGLE && b->n_logits != b->n_tokens))
        return NULL;
    for (int32_t i = 0; i < m->n_walks; i++)
        if (m->walks[i].kind == kind && b->n_tokens >= m->walks[i].rows_min &&
            b->n_tokens <= m->walks[i].rows_max)
            return &m->walks[i];
    return NULL;
}

/* What the step has of a run; behind all but the last of it groups meet. */
static bool list_run(struct ocl_model *m, struct ocl_walks *w, struct ocl_run *r,
                     const struct batch *b, ocl_count_groups *count)
{
    bool changed = false;
    struct ocl_stop *to = &w->stops[r->from], *last = NULL, was = {0};
    r->n = 0;
    for (int32_t k = r->from; k < r->to; k++) {
        struct ocl_stop now = {.row = k};
        int64_t n[3];
        if (!count(m, &m->launches[w->launches[k]], b, n))
            continue;
        for (int i = 0; i < 3; i++)
            now.groups[i] = (cl_int)n[i];
        if (last) {
            last->meets = (cl_int)++w->meetings;
            last->next = k;
            changed = changed || memcmp(last, &was, sizeof *last);
        }
        last = &to[r->n++];
        was = *last;
        *last = now;
    }
    return changed || (last && memcmp(last, &was, sizeof *last));
}

int ocl_persistent_prepare(struct ocl_model *m, struct ocl_walks *w, const struct batch *b,
                           ocl_count_groups *count, struct err *e)
{
    bool changed = false;
    w->meetings = 0;
    for (struct ocl_run *r = w->runs; r < w->runs + w->n_runs; r++)
        if (r->walked && list_run(m, w, r, b, count))
            changed = true;
    if (!changed)
        return 0;
    return OCL(e, "the list of a walk", clEnqueueWriteBuffer, m->d->queue, w->list.mem, CL_FALSE,
               0, (size_t)w->n_launches * sizeof *w->stops, w->stops, 0, NULL, NULL);
}

#define CLOCK_GHZ 1.98 /* of a Hopper; on another card only shares are right */

int ocl_persistent_times(struct ocl_model *m, struct ocl_walks *w, struct err *e)
{
    cl_ulong *at = mem_array((size_t)w->n_launches + 1, sizeof *at);
    if (!at)
        return err_set(e, E_NOMEM, "no memory for the times of a walk");
    int rc = OCL(e, "the times of a walk", clEnqueueReadBuffer, m->d->queue, w->times.mem, CL_TRUE,
                 0, ((size_t)w->n_launches + 1) * sizeof *at, at, 0, NULL, NULL);
    for (const struct ocl_run *r = w->runs; r < w->runs + w->n_runs && !rc; r++)
        for (int32_t k = r->from; k < r->from + r->n && r->walked; k++) {
            struct ocl_launch *l = &m->launches[w->launches[w->stops[k].row]];
            l->ns += (uint64_t)((double)(at[k + 1] - at[k]) / CLOCK_GHZ);
            l->calls++;
        }
    mem_free(at);
    return rc;
}
