/* The backend's face: one device, one plan on it. After ready() the first failing call marks the
 * device lost: results that came before it may be wrong too, so nothing is tried again. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/limits.h"
#include "kernels/numerics.h"
#include "kernels/opencl/bundle.h"
#include "kernels/opencl/opencl.h"
#include "kernels/opencl/persistent.h"
#include "kernels/opencl/queue.h"

/* Owner: whoever opened it. Thread: the loader's, then the engine's. */
struct ocl {
    struct device base;
    struct ocl_device device;
    struct ocl_model model;
    bool loaded;
    char numerics[NUMERICS_TEXT];
    struct ocl_times times; /* since the last question */
    uint64_t steps;
};

static struct ocl *self(struct device *d) { return (struct ocl *)d; }

static int lost(struct ocl *o, int rc, struct err *e)
{
    if (!rc || rc == E_RANGE)
        return rc;
    if (!o->device.lost)
        log_error("%s is lost: %s", o->device.info.name, e ? e->text : "unknown error");
    o->device.lost = true;
    if (e)
        e->code = E_DEVICE;
    return E_DEVICE;
}

static int alive(const struct ocl *o, struct err *e)
{
    return o->device.lost ? err_set(e, E_DEVICE, "%s was lost earlier", o->device.info.name) : 0;
}

static void ocl_close(struct device *d)
{
    if (!d)
        return;
    ocl_model_free(&self(d)->model);
    ocl_device_close(&self(d)->device);
    mem_free(d);
}

static int ocl_open(struct device **out, const struct device_options *opt, struct err *e)
{
    char name[128] = ""; /* what comes after "opencl:", up to a comma; tuning words follow it */
    const char *colon = strchr(opt->spec, ':'), *comma = strchr(opt->spec, ',');
    struct ocl *o = mem_zalloc(sizeof *o);
    *out = NULL;
    if (!o)
        return err_set(e, E_NOMEM, "no memory for a device");
    if (colon)
        snprintf(name, sizeof name, "%.*s", (int)strcspn(colon + 1, ","), colon + 1);
    o->base.backend = &backend_opencl;
    int rc = ocl_device_open(&o->device, name, opt->cache_dir, e);
    if (!rc && comma)
        rc = ocl_tune_parse(&o->device.tune, comma + 1, e);
    if (!rc && opt->kernels)
        rc = ocl_tune_parse(&o->device.tune, opt->kernels, e);
    if (rc) {
        ocl_close(&o->base);
        return rc;
    }
    const struct ocl_info *i = &o->device.info;
    snprintf(o->base.description, sizeof o->base.description,
             "%.80s, OpenCL driver %.48s, %.1f GiB%s%.32s%.32s", i->name, i->driver,
             (double)i->memory_bytes / (double)GIB(1), o->device.tune.mma ? ", tensor cores" : "",
             comma ? comma : "", opt->kernels ? opt->kernels : "");
    char tune[128];
    ocl_tune_numerics(&o->device.tune, tune, sizeof tune);
    /* The driver compiles the kernels: with another one, or for another device, other code runs. */
    snprintf(o->numerics, sizeof o->numerics, "opencl/%d%s driver=%.48s device=%.90s",
             numerics_revision(), tune, i->driver, i->name);
    *out = &o->base;
    return 0;
}

static int ocl_load(struct device *d, const struct plan *p, const struct capacity *c,
                    struct err *e)
{
    struct ocl *o = self(d);
    int rc;
    if (o->loaded)
        return err_set(e, E_CONFLICT, "%s already holds a plan", o->device.info.name);
    if ((rc = ocl_model_init(&o->model, &o->device, p, c, e)) ||
        (rc = ocl_selftest(&o->model, false, e)) || (rc = ocl_selftest(&o->model, true, e)) ||
        (rc = ocl_sample_selftest(&o->device, e))) {
        ocl_model_free(&o->model);
        return rc;
    }
    o->loaded = true;
    return 0;
}

static int ocl_put_weight(struct device *d, int w, int64_t row0, int64_t n_rows, const void *src,
                          enum dtype src_dtype, struct err *e)
{
    return ocl_weights_put(&self(d)->model, w, row0, n_rows, src, src_dtype, e);
}

static int ocl_ready(struct device *d, struct err *e)
{
    struct ocl *o = self(d);
    int rc = OCL(e, "the weights", clFinish, o->device.queue);
    ocl_model_loaded(&o->model);
    rc = rc ? rc : ocl_bundle_test(&o->model, e);
    d->single_rows = ocl_persistent_rows(&o->model);
    return rc;
}

static int ocl_run(struct device *d, const struct batch *b, struct err *e)
{
    struct ocl *o = self(d);
    int rc;
    if ((rc = alive(o, e)))
        return rc;
    o->steps++;
    return lost(o, ocl_queue_run(&o->model, b, &o->times, e), e);
}

static int ocl_wait(struct device *d, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    return rc ? rc : lost(o, ocl_queue_wait(&o->model, &o->times, e), e);
}

static int ocl_sample(struct device *d, const struct sample_row *rows, int32_t n,
                      struct sample_result *out, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    return rc ? rc : lost(o, ocl_queue_sample(&o->model, rows, n, out, &o->times, e), e);
}

static int ocl_logits(struct device *d, int32_t i, const float **out, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    *out = (const float *)o->model.logits_host.host + o->model.plan->logits.col;
    return rc ? rc : lost(o, ocl_queue_logits(&o->model, i, e), e);
}

static int ocl_slot_zero(struct device *d, int32_t slot, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    return rc ? rc : lost(o, ocl_queue_zero(&o->model, &o->model.slots, slot, e), e);
}

static int ocl_slot_copy(struct device *d, int32_t dst, int32_t src, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    return rc ? rc : lost(o, ocl_queue_copy(&o->model, &o->model.slots, dst, src, e), e);
}

static int ocl_slot_read(struct device *d, int32_t slot, void *dst, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    return rc ? rc : lost(o, ocl_queue_read(&o->model, &o->model.slots, slot, dst, e), e);
}

static int ocl_slot_write(struct device *d, int32_t slot, const void *src, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    return rc ? rc : lost(o, ocl_queue_write(&o->model, &o->model.slots, slot, src, e), e);
}

/* ---- states beside the steps ---- */

static int ocl_state_out(struct device *d, int32_t slot, void *dst, const struct state_wake *w,
                         struct state_copy **out, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    struct state_copy *c = *out = rc ? NULL : ocl_beside_take(&o->model.beside);
    if (!c)
        return rc;
    c->out = dst;
    c->wake = w->wake;
    c->wake_arg = w->arg;
    if ((rc = lost(o, ocl_queue_out(&o->model, slot, c, e), e))) {
        ocl_beside_give(&o->model.beside, c);
        *out = NULL;
        return rc;
    }
    ocl_beside_queue(&o->model.beside, c);
    return 0;
}

static int ocl_state_in(struct device *d, const void *src, const struct state_wake *w,
                        struct state_copy **out, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    struct state_copy *c = *out = rc ? NULL : ocl_beside_take(&o->model.beside);
    if (!c)
        return rc;
    c->in = true;
    c->from = src;
    c->wake = w->wake;
    c->wake_arg = w->arg;
    ocl_beside_queue(&o->model.beside, c);
    return 0;
}

static int ocl_state_poll(struct device *d, struct state_copy *c, bool wait, struct err *e)
{
    struct ocl *o = self(d);
    int rc = ocl_beside_poll(&o->model.beside, c, wait, e);
    if (rc == E_BUSY)
        return rc;
    return rc ? lost(o, rc, e) : alive(o, e);
}

static int ocl_state_put(struct device *d, struct state_copy *c, int32_t slot, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    return rc ? rc : lost(o, ocl_queue_put(&o->model, slot, c, e), e);
}

static void ocl_state_end(struct device *d, struct state_copy *c)
{
    ocl_beside_give(&self(d)->model.beside, c);
}

static int ocl_page_copy(struct device *d, int32_t dst, int32_t src, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    return rc ? rc : lost(o, ocl_queue_copy(&o->model, &o->model.pages, dst, src, e), e);
}

static int ocl_page_read(struct device *d, int32_t page, void *dst, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    return rc ? rc : lost(o, ocl_queue_read(&o->model, &o->model.pages, page, dst, e), e);
}

static int ocl_page_write(struct device *d, int32_t page, const void *src, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    return rc ? rc : lost(o, ocl_queue_write(&o->model, &o->model.pages, page, src, e), e);
}

/* ---- being one of several devices ---- */

static int ocl_rows_read(struct device *d, int32_t act, int32_t n, float *dst, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    return rc ? rc : lost(o, ocl_queue_rows_read(&o->model, act, n, dst, e), e);
}

static int ocl_rows_write(struct device *d, int32_t act, int32_t n, const float *src, struct err *e)
{
    struct ocl *o = self(d);
    int rc = alive(o, e);
    return rc ? rc : lost(o, ocl_queue_rows_write(&o->model, act, n, src, e), e);
}

/* Whatever the plan, the device's own text. */
static void ocl_numerics_of(const struct device *d, const struct plan *p, char *out)
{
    (void)p;
    snprintf(out, NUMERICS_TEXT, "%s", ((const struct ocl *)d)->numerics);
}

static const char *ocl_numerics(const struct device *d)
{
    return ((const struct ocl *)d)->numerics;
}

/* Known answers at start come from the definition, which has to have room for them too. Matrices
 * are found row by row. */
static const struct op_limits *ocl_limits(const struct device *d)
{
    static const struct op_limits limits = {
        .conv_size = LIMIT_CONV_SIZE, .mesa_K = LIMIT_MESA_K, .path_dk = LIMIT_PATH_DK,
        .parallax_dv = LIMIT_PARALLAX_DV, .sparse_d = LIMIT_SPARSE_D, .topk = LIMIT_TOPK,
        .square_per = LIMIT_SQUARE_PER, .matrix_rows = 1};
    (void)d;
    return &limits;
}

static int64_t ocl_memory_left(const struct device *d, int64_t *one)
{
    const struct ocl_device *o = &((const struct ocl *)d)->device;
    if (o->info.shared)
        return -1;
    *one = (int64_t)ocl_pool_bank_max(o);
    return (int64_t)(o->info.memory_bytes - MIN((uint64_t)o->held_bytes, o->info.memory_bytes));
}

static int64_t ocl_memory(const struct device *d)
{
    return ((const struct ocl *)d)->device.held_bytes;
}

/* What the launches of op's kind and of one source took together; they begin anew. */
static void print_like(struct ocl_model *m, int32_t first)
{
    const struct ocl_launch *a = &m->launches[first];
    const char *file = m->instances[a->instance].file;
    enum op_kind kind = m->plan->ops[a->op].kind;
    uint64_t ns = 0, calls = 0;
    for (int32_t i = first; i < m->n_launches; i++) {
        struct ocl_launch *l = &m->launches[i];
        if (m->plan->ops[l->op].kind != kind || strcmp(m->instances[l->instance].file, file))
            continue;
        ns += l->ns;
        calls += l->calls;
        l->ns = l->calls = 0;
    }
    fprintf(stderr, "%-16s %10llu launches %12.3f ms  %s\n", op_name(kind),
            (unsigned long long)calls, (double)ns / 1e6, file);
}

static void ocl_profile(struct device *d, const struct device_rates *limit)
{
    struct ocl *o = self(d);
    struct ocl_model *m = &o->model;
    (void)limit;
    for (int k = 0; k < OP_KINDS; k++)
        for (int32_t i = 0; i < m->n_launches; i++)
            if (m->launches[i].calls && (int)m->plan->ops[m->launches[i].op].kind == k)
                print_like(m, i);
    if (o->steps)
        fprintf(stderr,
                "%-16s %10llu steps, %.1f launches a step, host %.1f us a step, waiting %.1f us\n",
                "opencl", (unsigned long long)o->steps,
                (double)o->times.launches / (double)o->steps,
                (double)o->times.enqueue_ns / 1e3 / (double)o->steps,
                (double)o->times.wait_ns / 1e3 / (double)o->steps);
    o->times = (struct ocl_times){0};
    o->steps = 0;
}

void opencl_stats(struct device *d, struct opencl_stats *out)
{
    struct ocl *o = self(d);
    *out = (struct opencl_stats){0};
    if (d->backend != &backend_opencl)
        return;
    *out = (struct opencl_stats){o->steps, o->times.launches, o->times.enqueue_ns,
                                 o->times.wait_ns};
    o->times = (struct ocl_times){0};
    o->steps = 0;
}

const struct backend backend_opencl = {
    .name = "opencl",
    .open = ocl_open,
    .close = ocl_close,
    .load = ocl_load,
    .put_weight = ocl_put_weight,
    .ready = ocl_ready,
    .run = ocl_run,
    .wait = ocl_wait,
    .sample = ocl_sample,
    .logits = ocl_logits,
    .slot_zero = ocl_slot_zero,
    .slot_copy = ocl_slot_copy,
    .slot_read = ocl_slot_read,
    .slot_write = ocl_slot_write,
    .state_out = ocl_state_out,
    .state_in = ocl_state_in,
    .state_poll = ocl_state_poll,
    .state_put = ocl_state_put,
    .state_end = ocl_state_end,
    .page_copy = ocl_page_copy,
    .page_read = ocl_page_read,
    .page_write = ocl_page_write,
    .rows_read = ocl_rows_read,
    .rows_write = ocl_rows_write,
    .numerics_of = ocl_numerics_of,
    .numerics = ocl_numerics,
    .limits = ocl_limits,
    .memory = ocl_memory, .memory_left = ocl_memory_left,
    .profile = ocl_profile,
};
