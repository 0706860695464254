/* The scheduler's inside, for sched.c and for tests that turn it by hand with a fake clock. */
#ifndef RECURD_SCHED_INT_H
#define RECURD_SCHED_INT_H

#include <pthread.h>

#include "scheduler/engine.h"
#include "scheduler/queue.h"

/* Lock order: `lock`, then nothing: no request's lock is taken under it, and it is never taken
 * under a request's. */
struct sched {
    pthread_mutex_t lock; /* covers from here … */
    pthread_cond_t poke;  /* the engine sleeps here */
    bool poked;           /* something happened since it last looked */
    bool draining, closing, lost;
    struct queue queue;
    int32_t in_engine;    /* requests that left the queue and have not finished */
    uint64_t n_requests, n_rejected;
    struct sched_stats published; /* … to here */

    struct engine engine; /* engine thread */
    struct cached *cached; /* the engine's, with a state cache */
    pthread_t thread;
    bool has_thread;
};

/* As sched_open, but without a thread: the caller turns. */
int sched_init(struct sched **out, struct model *m, struct device *d,
               const struct piece_source *pieces, const struct engine_cache *cache,
               const struct sched_options *o, struct err *e) MUST_USE;
/* One turn of the engine thread's loop. False: nothing more to do until a poke. */
bool sched_turn(struct sched *s);

#endif
