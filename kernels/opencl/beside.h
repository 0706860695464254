/* States that travel beside the steps.
 *
 * A staging buffer of a slot's size on the device stands between: the queue of the steps copies
 * slot and staging (some 12 us for 25 MB), so slots are only ever touched in the order of the
 * engine's calls. Between staging and host movers, each a thread with a queue and page-locked
 * memory of its own, carry pieces of the first copy in the list: a link brings several times what
 * one thread copies, and memory that is written for the first time takes longer still. Sequences
 * wait for copies to the device, none for one from it: the former come first in the list. One
 * object is the whole state of one copy. */
#ifndef RECURD_OCL_BESIDE_H
#define RECURD_OCL_BESIDE_H

#include <pthread.h>

#include "kernels/opencl/pool.h"

#define OCL_BESIDE_MAX 512
#define OCL_MOVERS_MAX 16

/* Owner of taken, buffer, used: the engine's thread. The others are the engine's until it is queued
 * and once it is over (set under the lock); the movers' in between: handed, held, rc and err under
 * the lock. */
struct state_copy {
    struct ocl_buffer buffer; /* staging */
    bool taken;
    cl_event after;           /* what the queue of the steps did with buffer before, or NULL */
    cl_event used;            /* … and since it was taken, which its next copy comes after */
    struct state_copy *next;
    bool in, over;
    char *out;                /* the host's memory, not ours … */
    const char *from;         /* … for state_in */
    void (*wake)(void *arg);
    void *wake_arg;
    size_t handed, held;      /* pieces given to movers, and of these not done yet */
    int rc;                   /* of the first piece that failed: no more are handed then */
    struct err err;
};

/* Owner: the thread, while it is started; the engine's before and after. */
struct ocl_mover {
    struct ocl_beside *b;
    cl_command_queue queue;
    struct ocl_pinned pinned; /* two pieces */
    pthread_t thread;
    bool started;
};

struct ocl_beside {
    struct ocl_device *d;
    size_t bytes, piece;      /* of a slot; of one transfer, … */
    size_t pieces;            /* … of which a slot has so many */
    struct state_copy *copies;
    int32_t n, n_movers;
    struct ocl_mover movers[OCL_MOVERS_MAX];
    bool locks;               /* there are lock and condition */
    pthread_mutex_t lock;     /* covers the list, closing, and every copy's `over` */
    pthread_cond_t changed;
    struct state_copy *first, **last;
    bool closing;
};

/* Twice as many staging buffers as slots, as the end of one sequence and the prompt of the next in
 * its slot travel at the same time; within a twelfth of the device's memory and half of what is
 * left. None at all is fine: then nothing travels beside. d->tune.movers of the others. On failure
 * b can be freed. */
int ocl_beside_init(struct ocl_beside *b, struct ocl_device *d, size_t slot_bytes, int32_t slots,
                    struct err *e) MUST_USE;
/* Waits for the copies on their way. */
void ocl_beside_free(struct ocl_beside *b);

/* Engine's thread. A free one, or NULL. */
struct state_copy *ocl_beside_take(struct ocl_beside *b);
/* Waits until it is over. */
void ocl_beside_give(struct ocl_beside *b, struct state_copy *c);
/* On the queue of the steps: a slot to the staging buffer, out, before c is queued: it comes after
 * it. Or the other way round, when there is a state in the buffer: once c->in is over, of others at
 * any time. */
int ocl_beside_stage(struct ocl_beside *b, struct state_copy *c, const struct ocl_pool *slots,
                     int32_t slot, bool out, struct err *e) MUST_USE;
/* Staging to or from host memory, by a mover: c->in, out or from, wake are set. */
void ocl_beside_queue(struct ocl_beside *b, struct state_copy *c);
/* E_BUSY, or what came of it; wait: not E_BUSY. */
int ocl_beside_poll(struct ocl_beside *b, struct state_copy *c, bool wait, struct err *e) MUST_USE;

#endif
