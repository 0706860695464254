/* The threads that move states between staging buffers and the host.
 *
 * Invariant: a copy is in the list, or in one mover's hands, exactly while it is queued and not
 * over; nobody but that mover touches its host memory then. */
#include "kernels/opencl/beside.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/mem.h"

/* 40 us of a PCIe link, four times what a call costs; several movers share one state. */
#define PIECE MIB(2)
#define MEMORY_SHARE 12 /* of the device's memory, at most, for staging */

/* ---- a mover -------------------------------------------------------------------------------- */

/* A piece in a mover's hands, and the half of its pinned memory that it passes through. */
struct hold {
    struct state_copy *c;
    size_t at, bytes;
    char *half;
    int rc;
    struct err err;
};

static void unlist(struct ocl_beside *b, const struct state_copy *c)
{
    struct state_copy **at = &b->first;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    if (b->last == &c->next)
        b->last = at;
}

/* The next piece of the first copy in the list; false: there is none, or the end has come. */
static bool take(struct ocl_mover *m, bool wait, size_t half, struct hold *h)
{
    struct ocl_beside *b = m->b;
    pthread_mutex_lock(&b->lock);
    while (wait && !b->first && !b->closing)
        pthread_cond_wait(&b->changed, &b->lock);
    struct state_copy *c = b->first;
    if (c) {
        size_t at = c->handed++ * b->piece;
        *h = (struct hold){.c = c, .at = at, .bytes = MIN(b->piece, b->bytes - at),
                           .half = (char *)m->pinned.host + half * b->piece};
        c->held++;
        if (c->handed == b->pieces)
            unlist(b, c);
    }
    pthread_mutex_unlock(&b->lock);
    return c;
}

/* A copy past the caches, where nobody reads it soon: nor is what is written over read first. On
 * the processor of an H200 it takes three fifths of memcpy's time. */
static void copy_past(char *to, const char *from, size_t n)
{
    size_t done = 0;
#ifdef __SSE2__
    if (((uintptr_t)to | (uintptr_t)from) % 16 == 0) {
        for (; done + 64 <= n; done += 64) {
            const __m128i *x = (const void *)(from + done);
            __m128i *y = (void *)(to + done);
            __m128i a = _mm_load_si128(x), b = _mm_load_si128(x + 1), c = _mm_load_si128(x + 2),
                    d = _mm_load_si128(x + 3);
            _mm_stream_si128(y, a);
            _mm_stream_si128(y + 1, b);
            _mm_stream_si128(y + 2, c);
            _mm_stream_si128(y + 3, d);
        }
        _mm_sfence(); /* before anybody hears that they are there */
    }
#endif
    memcpy(to + done, from + done, n - done);
}

static void load(struct hold *h)
{
    if (h->c->in)
        copy_past(h->half, h->c->from + h->at, h->bytes);
}

static void note(struct ocl_mover *m, struct hold *h, int rc)
{
    h->rc = rc;
    if (rc)
        (void)ocl_api.clFinish(m->queue); /* nothing of it may come into a later piece */
}

/* After what the queue of the steps does with the staging buffer. */
static void send(struct ocl_mover *m, struct hold *h)
{
    struct state_copy *c = h->c;
    cl_uint n = c->after ? 1 : 0;
    const cl_event *after = n ? &c->after : NULL;
    int rc = c->in ? OCL(&h->err, "a state beside", clEnqueueWriteBuffer, m->queue, c->buffer.mem,
                         CL_FALSE, h->at, h->bytes, h->half, n, after, NULL)
                   : OCL(&h->err, "a state beside", clEnqueueReadBuffer, m->queue, c->buffer.mem,
                         CL_FALSE, h->at, h->bytes, h->half, n, after, NULL);
    note(m, h, rc ? rc : OCL(&h->err, "a state beside", clFlush, m->queue));
}

static void await(struct ocl_mover *m, struct hold *h)
{
    if (!h->rc)
        note(m, h, OCL(&h->err, "a state beside", clFinish, m->queue));
}

/* It has travelled, or failed. */
static void done(struct ocl_beside *b, const struct hold *h)
{
    struct state_copy *c = h->c;
    void (*wake)(void *) = c->wake;
    void *arg = c->wake_arg;
    if (!h->rc && !c->in)
        copy_past(c->out + h->at, h->half, h->bytes);
    pthread_mutex_lock(&b->lock);
    if (h->rc && !c->rc) {
        c->rc = h->rc;
        c->err = h->err;
        if (c->handed < b->pieces)
            unlist(b, c);
        c->handed = b->pieces;
    }
    bool over = --c->held == 0 && c->handed == b->pieces;
    if (over) { /* from here on it is the engine's */
        c->over = true;
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    if (over && wake)
        wake(arg);
}

/* A piece travels while the host copies the one before it, or the one behind. */
static void *mover(void *arg)
{
    struct ocl_mover *m = arg;
    struct hold hold[2];
    for (size_t i = 0; take(m, true, i, &hold[i]);) {
        load(&hold[i]);
        send(m, &hold[i]);
        for (bool more = true; more; i ^= 1) {
            struct hold *h = &hold[i], *next = &hold[i ^ 1];
            if ((more = take(m, false, i ^ 1, next)))
                load(next);
            await(m, h);
            if (more)
                send(m, next);
            done(m->b, h);
        }
    }
    return NULL;
}

/* ---- the engine's side -------------------------------------------------------------------- */

static int32_t how_many(const struct ocl_device *d, size_t bytes, int32_t slots)
{
    uint64_t left = d->info.memory_bytes - MIN((uint64_t)d->held_bytes, d->info.memory_bytes);
    uint64_t room = MIN(d->info.memory_bytes / MEMORY_SHARE, left / 2) / bytes;
    return (int32_t)MIN(room, (uint64_t)MIN(INT64_C(2) * slots, OCL_BESIDE_MAX));
}

static int make_mover(struct ocl_beside *b, struct ocl_mover *m, struct err *e)
{
    int rc;
    m->b = b;
    if ((rc = OCL_NEW(m->queue, e, "states beside", clCreateCommandQueue, b->d->context,
                      b->d->info.id, 0)) ||
        (rc = ocl_pinned_new(&m->pinned, b->d, 2 * b->piece, "states beside", e)))
        return rc;
    if (pthread_create(&m->thread, NULL, mover, m))
        return err_set(e, E_NOMEM, "no thread to move states");
    m->started = true;
    return 0;
}

static int make(struct ocl_beside *b, int32_t n, struct err *e)
{
    int rc = 0;
    if (!(b->copies = mem_array((size_t)n, sizeof *b->copies)))
        return err_set(e, E_NOMEM, "no memory for %d copies of states", (int)n);
    for (; b->n < n && !rc; b->n += !rc)
        rc = ocl_buffer_new(&b->copies[b->n].buffer, b->d, b->bytes, "a state beside", e);
    if (rc == E_NOMEM) { /* fewer will do */
        err_clear(e);
        rc = 0;
    }
    if (rc || b->n == 0)
        return rc;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    b->locks = true;
    int32_t movers = MIN(MAX(b->d->tune.movers, 1), MIN(b->n, OCL_MOVERS_MAX));
    for (; b->n_movers < movers && !rc; b->n_movers++)
        rc = make_mover(b, &b->movers[b->n_movers], e);
    return rc;
}

int ocl_beside_init(struct ocl_beside *b, struct ocl_device *d, size_t slot_bytes, int32_t slots,
                    struct err *e)
{
    *b = (struct ocl_beside){.d = d, .bytes = slot_bytes, .last = &b->first,
                             .piece = MIN(round_up(slot_bytes, 64), PIECE)};
    b->pieces = slot_bytes ? (slot_bytes + b->piece - 1) / b->piece : 0;
    int32_t n = slot_bytes ? how_many(d, slot_bytes, slots) : 0;
    return n > 0 ? make(b, n, e) : 0;
}

void ocl_beside_free(struct ocl_beside *b)
{
    if (b->locks) {
        pthread_mutex_lock(&b->lock);
        b->closing = true;
        pthread_cond_broadcast(&b->changed);
        pthread_mutex_unlock(&b->lock);
    }
    for (struct ocl_mover *m = b->movers; m < b->movers + b->n_movers; m++) {
        if (m->started)
            pthread_join(m->thread, NULL);
        ocl_pinned_free(&m->pinned, b->d);
        OCL_FREE(clReleaseCommandQueue, m->queue);
    }
    if (b->locks) {
        pthread_cond_destroy(&b->changed);
        pthread_mutex_destroy(&b->lock);
    }
    for (int32_t i = 0; i < b->n; i++) {
        OCL_FREE(clReleaseEvent, b->copies[i].after);
        OCL_FREE(clReleaseEvent, b->copies[i].used);
        ocl_buffer_free(&b->copies[i].buffer, b->d);
    }
    mem_free(b->copies);
    *b = (struct ocl_beside){0};
}

struct state_copy *ocl_beside_take(struct ocl_beside *b)
{
    for (int32_t i = 0; i < b->n; i++)
        if (!b->copies[i].taken) {
            struct state_copy *c = &b->copies[i];
            if (c->used)
                OCL_FREE(clReleaseEvent, c->after);
            *c = (struct state_copy){.buffer = c->buffer, .after = c->used ? c->used : c->after,
                                     .taken = true, .over = true};
            return c;
        }
    return NULL;
}

void ocl_beside_give(struct ocl_beside *b, struct state_copy *c)
{
    struct err ignored = {0};
    (void)!ocl_beside_poll(b, c, true, &ignored);
    c->taken = false;
}

int ocl_beside_stage(struct ocl_beside *b, struct state_copy *c, const struct ocl_pool *slots,
                     int32_t slot, bool out, struct err *e)
{
    cl_event *event = out ? &c->after : &c->used;
    int rc = 0;
    for (const struct ocl_bank *x = slots->banks; x < slots->banks + slots->n && !rc; x++) {
        size_t at = ocl_bank_at(x, slot), staged = (size_t)x->from * 4;
        cl_mem from = out ? x->buffer.mem : c->buffer.mem;
        cl_mem to = out ? c->buffer.mem : x->buffer.mem;
        OCL_FREE(clReleaseEvent, *event); /* the queue is in order: the last one says it all */
        rc = OCL(e, "a state beside", clEnqueueCopyBuffer, b->d->queue, from, to,
                 out ? at : staged, out ? staged : at, ocl_bank_bytes(x), 0, NULL, event);
    }
    return rc ? rc : OCL(e, "a state beside", clFlush, b->d->queue); /* others wait for it */
}

void ocl_beside_queue(struct ocl_beside *b, struct state_copy *c)
{
    pthread_mutex_lock(&b->lock);
    c->over = false;
    struct state_copy **at = c->in ? &b->first : b->last;
    while (c->in && *at && (*at)->in)
        at = &(*at)->next;
    c->next = *at;
    *at = c;
    if (!c->next)
        b->last = &c->next;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

int ocl_beside_poll(struct ocl_beside *b, struct state_copy *c, bool wait, struct err *e)
{
    pthread_mutex_lock(&b->lock);
    while (wait && !c->over)
        pthread_cond_wait(&b->changed, &b->lock);
    bool is_over = c->over;
    pthread_mutex_unlock(&b->lock);
    if (!is_over)
        return err_set(e, E_BUSY, "a state is on its way");
    return c->rc ? err_set(e, c->rc, "%s", c->err.text) : 0;
}
