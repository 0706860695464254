/* The backend's face for several devices: opening, loading, and whatever concerns each of them. A
 * step: step.c. The first failing call of any marks all as lost. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "kernels/numerics.h"
#include "kernels/split/split_int.h"

/* One copy of a whole state: its parts' own. */
struct state_copy {
    struct state_copy *of[SPLIT_MAX];
    bool taken;
};

/* Copies on their way at a time: as many as an OpenCL device has staging buffers. */
#define COPIES_MAX 256

static struct split *self(struct device *d) { return (struct split *)d; }

static int lost(struct split *s, int rc)
{
    s->lost |= rc == E_DEVICE;
    return rc;
}

static int alive(const struct split *s, struct err *e)
{
    return s->lost ? err_set(e, E_DEVICE, "one of %d devices was lost earlier", s->n) : 0;
}

#define CALL(s, k, f, ...) (s)->devices[k]->backend->f((s)->devices[k], __VA_ARGS__)

/* ---- opening ------------------------------------------------------------------------------ */

static void split_unload(struct split *s)
{
    split_step_free(s);
    for (int k = 0; k < s->n && s->loaded; k++)
        part_free(&s->parts[k]);
    mem_free(s->copies);
    s->copies = NULL;
    s->loaded = false;
}

static void split_close(struct device *d)
{
    if (!d)
        return;
    struct split *s = self(d);
    for (int k = 0; k < s->n; k++)
        s->devices[k]->backend->close(s->devices[k]); /* before the plans that they read */
    split_unload(s);
    for (int k = 0; k < SPLIT_MAX; k++)
        pthread_mutex_destroy(&s->put[k]);
    mem_free(s);
}

/* One of the words between '+': a device, or "rows=N". */
static int open_word(struct split *s, const struct device_options *all, const char *word,
                     device_opener *open_one, struct err *e)
{
    struct device_options o = *all;
    char *end;
    if (!strncmp(word, "rows=", 5)) {
        long n = strtol(word + 5, &end, 10);
        if (end == word + 5 || *end || n < 1 || n > INT32_MAX / 2)
            return err_set(e, E_FORMAT, "device \"%.64s\": \"%.32s\" is not rows=N, N at least 1",
                           all->spec, word);
        s->piece = (int32_t)n;
        return 0;
    }
    if (s->n == SPLIT_MAX)
        return err_set(e, E_RANGE, "device \"%.64s\": more than %d devices", all->spec, SPLIT_MAX);
    o.spec = word;
    int rc = open_one(&s->devices[s->n], &o, e);
    if (rc)
        return rc;
    const struct backend *b = s->devices[s->n++]->backend;
    if (!b->rows_read || !b->rows_write || !b->numerics_of)
        return err_set(e, E_UNSUPPORTED, "device %.64s cannot be one of several", word);
    return 0;
}

static int open_all(struct split *s, const struct device_options *o, device_opener *open_one,
                    struct err *e)
{
    char spec[512];
    size_t n = strlen(o->spec);
    if (n >= sizeof spec)
        return err_set(e, E_RANGE, "device: a name of %zu bytes, at most %zu", n, sizeof spec - 1);
    memcpy(spec, o->spec, n + 1);
    int rc = 0;
    for (char *word = spec, *next; word && !rc; word = next) {
        if ((next = strchr(word, '+')))
            *next++ = '\0';
        rc = open_word(s, o, word, open_one, e);
    }
    if (!rc && s->n < 2)
        rc = err_set(e, E_RANGE, "device \"%.64s\": %d device where a model is to be split over "
                     "several", o->spec, s->n);
    return rc;
}

static void describe(struct split *s)
{
    char *to = s->base.description;
    size_t size = sizeof s->base.description;
    int at = snprintf(to, size, "%d devices", s->n);
    for (int k = 0; k < s->n && at > 0 && (size_t)at < size; k++)
        at += snprintf(to + at, size - (size_t)at, "%s%s", k ? "; " : ": ",
                       s->devices[k]->description);
}

int split_open(struct device **out, const struct device_options *o, device_opener *open_one,
               struct err *e)
{
    struct split *s = mem_zalloc(sizeof *s);
    *out = NULL;
    if (!s)
        return err_set(e, E_NOMEM, "no memory for several devices");
    s->piece = SPLIT_PIECE_ROWS;
    for (int k = 0; k < SPLIT_MAX; k++)
        pthread_mutex_init(&s->put[k], NULL);
    int rc = open_all(s, o, open_one, e);
    if (rc) {
        split_close(&s->base);
        return rc;
    }
    bool beside = true, host = true;
    for (int k = 0; k < s->n; k++) {
        beside = beside && s->devices[k]->backend->state_out;
        host = host && s->devices[k]->backend->host_memory;
    }
    s->base.backend = host ? &backend_split_host : beside ? &backend_split : &backend_split_plain;
    s->base.ways = s->n;
    describe(s);
    *out = &s->base;
    return 0;
}

/* ---- loading ------------------------------------------------------------------------------ */

/* One model is computed with one arithmetic: that of a single device with all of it. */
static int check_numerics(struct split *s, const struct plan *p, struct err *e)
{
    char other[NUMERICS_TEXT];
    CALL(s, 0, numerics_of, p, s->numerics);
    for (int k = 1; k < s->n; k++) {
        CALL(s, k, numerics_of, p, other);
        if (strcmp(other, s->numerics))
            return err_set(e, E_UNSUPPORTED, "device 1 computes as \"%.120s\", device %d as "
                           "\"%.120s\": one model needs one arithmetic", s->numerics, k + 1, other);
    }
    return 0;
}

static void log_part(const struct split *s, int k)
{
    const struct part *x = &s->parts[k];
    const struct plan *p = &x->plan;
    int64_t across = 0;
    for (int32_t i = 0; i < x->out.n; i++)
        across += (int64_t)p->acts[x->out.acts[i]].stride * 4;
    log_info("device %d of %d, %.60s: layers %d to %d, %.1f MiB of weights, %.2f MiB of a state; "
             "%lld bytes of a token go on", k + 1, s->n, s->devices[k]->description,
             p->ops[0].layer, p->ops[p->n_ops - 1].layer, (double)x->weight_bytes / 0x1p20,
             (double)p->slot_floats * 4 / 0x1p20, (long long)across);
}

static int load_part(struct split *s, int k, struct err *e)
{
    struct part *x = &s->parts[k];
    log_part(s, k);
    if (plan_layout(&x->plan, &s->cap) < 0)
        return err_set(e, E_NOMEM, "no memory to lay out %d activations", x->plan.n_acts);
    int rc = CALL(s, k, load, &x->plan, &s->cap, e);
    return rc ? err_wrap(e, "device %d of %d", k + 1, s->n) : 0;
}

static int split_load(struct device *d, const struct plan *p, const struct capacity *c,
                      struct err *e)
{
    struct split *s = self(d);
    int rc;
    if (s->loaded)
        return err_set(e, E_CONFLICT, "these %d devices already hold a plan", s->n);
    if ((rc = check_numerics(s, p, e)) || (rc = plan_cut(s->parts, s->n, p, e)))
        return rc;
    s->loaded = true;
    s->cap = *c;
    s->n_copies = MIN(c->slots, COPIES_MAX);
    if (!(s->copies = mem_array((size_t)MAX(s->n_copies, 1), sizeof *s->copies)))
        rc = err_set(e, E_NOMEM, "no memory for %d copies of states", (int)s->n_copies);
    for (int k = 0; k < s->n && !rc; k++)
        rc = load_part(s, k, e);
    return rc ? rc : split_step_init(s, e);
}

static int split_put_weight(struct device *d, int w, int64_t row0, int64_t n_rows,
                            const void *src, enum dtype src_dtype, struct err *e)
{
    struct split *s = self(d);
    int rc = 0;
    for (int k = 0; k < s->n && !rc; k++) {
        bool alone = !s->devices[k]->backend->puts_at_once;
        if (s->parts[k].weight_of[w] < 0)
            continue;
        if (alone)
            pthread_mutex_lock(&s->put[k]);
        rc = CALL(s, k, put_weight, s->parts[k].weight_of[w], row0, n_rows, src, src_dtype, e);
        if (alone)
            pthread_mutex_unlock(&s->put[k]);
    }
    return rc;
}

static int split_ready(struct device *d, struct err *e)
{
    struct split *s = self(d);
    int rc = 0;
    for (int k = 0; k < s->n && !rc; k++)
        rc = CALL(s, k, ready, e);
    for (int k = 0; k < s->n && !rc; k++)
        d->single_rows = k ? MIN(d->single_rows, s->devices[k]->single_rows)
                           : s->devices[k]->single_rows;
    return rc;
}

/* ---- steps -------------------------------------------------------------------------------- */

static int split_run(struct device *d, const struct batch *b, struct err *e)
{
    int rc = alive(self(d), e);
    return rc ? rc : lost(self(d), split_step(self(d), b, e));
}

/* Of the last part, which waits for all before it. */
static int split_wait(struct device *d, struct err *e)
{
    struct split *s = self(d);
    int rc = alive(s, e);
    if (rc || !s->devices[s->n - 1]->backend->wait)
        return rc;
    return lost(s, CALL(s, s->n - 1, wait, e));
}

static int split_sample(struct device *d, const struct sample_row *rows, int32_t n,
                        struct sample_result *out, struct err *e)
{
    struct split *s = self(d);
    int rc = alive(s, e);
    return rc ? rc : lost(s, CALL(s, s->n - 1, sample, rows, n, out, e));
}

static int split_logits(struct device *d, int32_t i, const float **out, struct err *e)
{
    struct split *s = self(d);
    int rc = alive(s, e);
    return rc ? rc : lost(s, CALL(s, s->n - 1, logits, i, out, e));
}

/* ---- states ------------------------------------------------------------------------------- */

static bool has_slot(const struct split *s, int k) { return s->parts[k].plan.slot_floats > 0; }
static bool has_page(const struct split *s, int k)
{
    return s->parts[k].plan.page_token_floats > 0;
}

/* A call for every part that has a piece of the slot, or of the page. */
#define EACH(s, has, f, ...)                                                                      \
    int rc = alive(s, e);                                                                         \
    for (int k = 0; k < (s)->n && !rc; k++)                                                       \
        if (has(s, k))                                                                            \
            rc = lost(s, CALL(s, k, f, __VA_ARGS__));                                             \
    return rc

static int split_slot_zero(struct device *d, int32_t slot, struct err *e)
{
    struct split *s = self(d);
    EACH(s, has_slot, slot_zero, slot, e);
}

static int split_slot_copy(struct device *d, int32_t dst, int32_t src, struct err *e)
{
    struct split *s = self(d);
    EACH(s, has_slot, slot_copy, dst, src, e);
}

static int split_slot_read(struct device *d, int32_t slot, void *dst, struct err *e)
{
    struct split *s = self(d);
    EACH(s, has_slot, slot_read, slot, (float *)dst + s->parts[k].slot_from, e);
}

static int split_slot_write(struct device *d, int32_t slot, const void *src, struct err *e)
{
    struct split *s = self(d);
    EACH(s, has_slot, slot_write, slot, (const float *)src + s->parts[k].slot_from, e);
}

static int split_page_copy(struct device *d, int32_t dst, int32_t src, struct err *e)
{
    struct split *s = self(d);
    EACH(s, has_page, page_copy, dst, src, e);
}

static int split_page_read(struct device *d, int32_t page, void *dst, struct err *e)
{
    struct split *s = self(d);
    EACH(s, has_page, page_read, page, (float *)dst + s->parts[k].page_from, e);
}

static int split_page_write(struct device *d, int32_t page, const void *src, struct err *e)
{
    struct split *s = self(d);
    EACH(s, has_page, page_write, page, (const float *)src + s->parts[k].page_from, e);
}

/* ---- states beside the steps -------------------------------------------------------------- */

static struct state_copy *take(struct split *s)
{
    for (int32_t i = 0; i < s->n_copies; i++)
        if (!s->copies[i].taken) {
            s->copies[i] = (struct state_copy){.taken = true};
            return &s->copies[i];
        }
    return NULL;
}

static void split_state_end(struct device *d, struct state_copy *c)
{
    struct split *s = self(d);
    for (int k = 0; k < s->n; k++)
        if (c->of[k])
            CALL(s, k, state_end, c->of[k]);
    c->taken = false;
}

/* All parts' copies were begun, or none is left. */
static int begun(struct device *d, struct state_copy *c, int rc, bool all, struct state_copy **out)
{
    if (rc || !all)
        split_state_end(d, c);
    *out = rc || !all ? NULL : c;
    return lost(self(d), rc);
}

static int split_state_out(struct device *d, int32_t slot, void *dst, const struct state_wake *w,
                           struct state_copy **out, struct err *e)
{
    struct split *s = self(d);
    int rc = alive(s, e);
    bool all = true;
    struct state_copy *c = *out = rc ? NULL : take(s);
    if (!c)
        return rc;
    for (int k = 0; k < s->n && !rc && all; k++) {
        if (!has_slot(s, k))
            continue;
        rc = CALL(s, k, state_out, slot, (float *)dst + s->parts[k].slot_from, w, &c->of[k], e);
        all = c->of[k] != NULL;
    }
    return begun(d, c, rc, all, out);
}

static int split_state_in(struct device *d, const void *src, const struct state_wake *w,
                          struct state_copy **out, struct err *e)
{
    struct split *s = self(d);
    int rc = alive(s, e);
    bool all = true;
    struct state_copy *c = *out = rc ? NULL : take(s);
    if (!c)
        return rc;
    for (int k = 0; k < s->n && !rc && all; k++) {
        if (!has_slot(s, k))
            continue;
        rc = CALL(s, k, state_in, (const float *)src + s->parts[k].slot_from, w, &c->of[k], e);
        all = c->of[k] != NULL;
    }
    return begun(d, c, rc, all, out);
}

static int split_state_poll(struct device *d, struct state_copy *c, bool wait, struct err *e)
{
    struct split *s = self(d);
    int rc = 0;
    for (int k = 0; k < s->n && !rc; k++)
        if (c->of[k])
            rc = CALL(s, k, state_poll, c->of[k], wait, e);
    return lost(s, rc);
}

static int split_state_put(struct device *d, struct state_copy *c, int32_t slot, struct err *e)
{
    struct split *s = self(d);
    EACH(s, has_slot, state_put, c->of[k], slot, e);
}

/* ---- for humans --------------------------------------------------------------------------- */

static void split_numerics_of(const struct device *d, const struct plan *p, char *out)
{
    const struct split *s = (const struct split *)d;
    CALL(s, 0, numerics_of, p, out);
}

static const char *split_numerics(const struct device *d)
{
    return ((const struct split *)d)->numerics;
}

static const struct op_limits *split_limits(const struct device *d)
{
    const struct device *first = ((const struct split *)d)->devices[0];
    return first->backend->limits(first); /* one arithmetic: one set of kernels */
}

static int64_t split_memory(const struct device *d)
{
    const struct split *s = (const struct split *)d;
    int64_t n = 0;
    for (int k = 0; k < s->n; k++)
        if (s->devices[k]->backend->memory)
            n += s->devices[k]->backend->memory(s->devices[k]);
    return n;
}

/* What is left where least is, on each: layers are dealt out evenly. */
static int64_t split_memory_left(const struct device *d, int64_t *one)
{
    const struct split *s = (const struct split *)d;
    int64_t least = INT64_MAX;
    *one = INT64_MAX;
    for (int k = 0; k < s->n; k++) {
        const struct backend *b = s->devices[k]->backend;
        int64_t most = INT64_MAX;
        least = MIN(least, b->memory_left ? b->memory_left(s->devices[k], &most) : -1);
        *one = MIN(*one, most);
    }
    return least < 0 ? -1 : least * s->n;
}

static void split_profile(struct device *d, const struct device_rates *limit)
{
    struct split *s = self(d);
    for (int k = 0; k < s->n; k++) {
        log_info("device %d of %d:", k + 1, s->n);
        if (s->devices[k]->backend->profile)
            s->devices[k]->backend->profile(s->devices[k], limit);
    }
}

/* Opened by split_open alone. */
#define SPLIT_BACKEND(host)                                                                       \
    .name = "split", .host_memory = host, .puts_at_once = true, .close = split_close,             \
    .load = split_load, .put_weight = split_put_weight,                                           \
    .ready = split_ready, .run = split_run, .wait = split_wait, .sample = split_sample,            \
    .logits = split_logits,                                                                        \
    .slot_zero = split_slot_zero, .slot_copy = split_slot_copy, .slot_read = split_slot_read,     \
    .slot_write = split_slot_write, .page_copy = split_page_copy, .page_read = split_page_read,   \
    .page_write = split_page_write, .numerics_of = split_numerics_of,                             \
    .numerics = split_numerics, .limits = split_limits,                                           \
    .memory = split_memory, .memory_left = split_memory_left, .profile = split_profile

const struct backend backend_split_host = {SPLIT_BACKEND(true)};
const struct backend backend_split_plain = {SPLIT_BACKEND(false)};
const struct backend backend_split = {
    SPLIT_BACKEND(false),
    .state_out = split_state_out,
    .state_in = split_state_in,
    .state_poll = split_state_poll,
    .state_put = split_state_put,
    .state_end = split_state_end,
};
