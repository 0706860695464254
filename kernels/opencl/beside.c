/* The thread that moves states between staging buffers and the host.
 *
 * Invariant: a copy is in the list, or in the thread's hands, exactly while it is queued and not
 * over; nobody but the thread touches its host memory then. */
#include "kernels/opencl/beside.h"

#include <string.h>

#include "base/mem.h"

/* As in queue.c: 0.1 ms of a PCIe link, ten times what a call costs. */
#define PIECE MIB(4)
#define MEMORY_SHARE 16 /* of the device's memory, at most, for staging */

/* ---- the thread --------------------------------------------------------------------------- */

static char *half(const struct ocl_beside *b, size_t i)
{
    return (char *)b->pinned.host + (i & 1) * b->piece;
}

static size_t length(const struct ocl_beside *b, size_t i)
{
    return MIN(b->piece, b->bytes - i * b->piece);
}

/* The first piece waits for what the queue of the steps does with the staging buffer. */
static int transfer(struct ocl_beside *b, struct state_copy *c, size_t i, struct err *e)
{
    cl_uint n = i == 0 && c->after;
    const cl_event *after = n ? &c->after : NULL;
    int rc = c->in ? OCL(e, "a state beside", clEnqueueWriteBuffer, b->queue, c->buffer.mem,
                         CL_FALSE, i * b->piece, length(b, i), half(b, i), n, after, NULL)
                   : OCL(e, "a state beside", clEnqueueReadBuffer, b->queue, c->buffer.mem,
                         CL_FALSE, i * b->piece, length(b, i), half(b, i), n, after, NULL);
    return rc ? rc : OCL(e, "a state beside", clFlush, b->queue);
}

static int finish(struct ocl_beside *b, struct err *e)
{
    return OCL(e, "a state beside", clFinish, b->queue);
}

/* Piece i + 1 travels while piece i is copied. */
static int move_out(struct ocl_beside *b, struct state_copy *c, size_t n, struct err *e)
{
    int rc = transfer(b, c, 0, e);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = finish(b, e);
        if (!rc && i + 1 < n)
            rc = transfer(b, c, i + 1, e);
        if (!rc)
            memcpy(c->out + i * b->piece, half(b, i), length(b, i));
    }
    return rc;
}

static int move_in(struct ocl_beside *b, struct state_copy *c, size_t n, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < n && !rc; i++) {
        memcpy(half(b, i), c->from + i * b->piece, length(b, i));
        rc = finish(b, e); /* piece i - 1 */
        if (!rc)
            rc = transfer(b, c, i, e);
    }
    return rc ? rc : finish(b, e);
}

static void move(struct ocl_beside *b, struct state_copy *c)
{
    size_t n = (b->bytes + b->piece - 1) / b->piece;
    c->rc = c->in ? move_in(b, c, n, &c->err) : move_out(b, c, n, &c->err);
    if (c->rc)
        (void)ocl_api.clFinish(b->queue); /* nothing of it may come into the next one's pieces */
}

static void over(struct ocl_beside *b, struct state_copy *c)
{
    void (*wake)(void *) = c->wake;
    void *arg = c->wake_arg;
    pthread_mutex_lock(&b->lock);
    c->over = true; /* from here on it is the engine's */
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    if (wake)
        wake(arg);
}

static void *mover(void *arg)
{
    struct ocl_beside *b = arg;
    for (;;) {
        pthread_mutex_lock(&b->lock);
        while (!b->first && !b->closing)
            pthread_cond_wait(&b->changed, &b->lock);
        struct state_copy *c = b->first;
        if (c && !(b->first = c->next))
            b->last = &b->first;
        pthread_mutex_unlock(&b->lock);
        if (!c)
            return NULL;
        move(b, c);
        over(b, c);
    }
}

/* ---- the engine's side -------------------------------------------------------------------- */

static int32_t how_many(const struct ocl_device *d, size_t bytes, int32_t slots)
{
    uint64_t left = d->info.memory_bytes - MIN((uint64_t)d->held_bytes, d->info.memory_bytes);
    uint64_t room = MIN(d->info.memory_bytes / MEMORY_SHARE, left / 2) / bytes;
    return (int32_t)MIN(room, (uint64_t)MIN(slots, OCL_BESIDE_MAX));
}

static int make(struct ocl_beside *b, int32_t n, struct err *e)
{
    int rc;
    if (!(b->copies = mem_array((size_t)n, sizeof *b->copies)))
        return err_set(e, E_NOMEM, "no memory for %d copies of states", (int)n);
    if ((rc = OCL_NEW(b->queue, e, "states beside", clCreateCommandQueue, b->d->context,
                      b->d->info.id, 0)) ||
        (rc = ocl_pinned_new(&b->pinned, b->d, 2 * b->piece, "states beside", e)))
        return rc;
    for (; b->n < n; b->n++) {
        rc = ocl_buffer_new(&b->copies[b->n].buffer, b->d, b->bytes, "a state beside", e);
        if (rc == E_NOMEM) { /* fewer will do */
            err_clear(e);
            break;
        }
        if (rc)
            return rc;
    }
    return 0;
}

int ocl_beside_init(struct ocl_beside *b, struct ocl_device *d, size_t slot_bytes, int32_t slots,
                    struct err *e)
{
    *b = (struct ocl_beside){.d = d, .bytes = slot_bytes, .last = &b->first,
                             .piece = MIN(round_up(slot_bytes, 64), PIECE)};
    int32_t n = slot_bytes ? how_many(d, slot_bytes, slots) : 0;
    int rc = n > 0 ? make(b, n, e) : 0;
    if (rc || b->n == 0)
        return rc;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    if (pthread_create(&b->thread, NULL, mover, b)) {
        pthread_cond_destroy(&b->changed);
        pthread_mutex_destroy(&b->lock);
        return err_set(e, E_NOMEM, "no thread to move states");
    }
    b->started = true;
    return 0;
}

void ocl_beside_free(struct ocl_beside *b)
{
    if (b->started) {
        pthread_mutex_lock(&b->lock);
        b->closing = true;
        pthread_cond_broadcast(&b->changed);
        pthread_mutex_unlock(&b->lock);
        pthread_join(b->thread, NULL);
        pthread_cond_destroy(&b->changed);
        pthread_mutex_destroy(&b->lock);
    }
    for (int32_t i = 0; i < b->n; i++) {
        OCL_FREE(clReleaseEvent, b->copies[i].after);
        ocl_buffer_free(&b->copies[i].buffer, b->d);
    }
    mem_free(b->copies);
    if (b->d)
        ocl_pinned_free(&b->pinned, b->d);
    OCL_FREE(clReleaseCommandQueue, b->queue);
    *b = (struct ocl_beside){0};
}

struct state_copy *ocl_beside_take(struct ocl_beside *b)
{
    for (int32_t i = 0; i < b->n; i++)
        if (!b->copies[i].taken) {
            struct state_copy *c = &b->copies[i];
            *c = (struct state_copy){.buffer = c->buffer, .after = c->after, .taken = true,
                                     .over = true};
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
    int rc = 0;
    for (const struct ocl_bank *x = slots->banks; x < slots->banks + slots->n && !rc; x++) {
        size_t at = ocl_bank_at(x, slot), staged = (size_t)x->from * 4;
        cl_mem from = out ? x->buffer.mem : c->buffer.mem;
        cl_mem to = out ? c->buffer.mem : x->buffer.mem;
        OCL_FREE(clReleaseEvent, c->after); /* the queue is in order: the last one says it all */
        rc = OCL(e, "a state beside", clEnqueueCopyBuffer, b->d->queue, from, to,
                 out ? at : staged, out ? staged : at, ocl_bank_bytes(x), 0, NULL, &c->after);
    }
    return rc ? rc : OCL(e, "a state beside", clFlush, b->d->queue); /* others wait for it */
}

void ocl_beside_queue(struct ocl_beside *b, struct state_copy *c)
{
    c->next = NULL;
    pthread_mutex_lock(&b->lock);
    c->over = false;
    *b->last = c;
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
