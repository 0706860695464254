/* The writer thread: does file work, one job after the other, in the order given.
 *
 * A job runs without the cache's lock and is finished under it. Reads overtake writes, because a
 * request waits for them; they never concern a file that a queued write is about. */
#ifndef RECURD_WRITER_H
#define RECURD_WRITER_H

#include <pthread.h>

#include "base/err.h"

/* Owner: the queue from push to done, which frees it. */
struct job {
    struct job *next;
    void (*prepare)(struct job *j); /* under the lock, right before run; may be NULL */
    void (*run)(struct job *j);     /* writer thread, no lock */
    void (*done)(struct job *j);    /* under the lock */
};

struct writer {
    pthread_mutex_t *lock; /* the cache's */
    pthread_cond_t more;
    struct job *head, *tail;     /* writes */
    struct job *reads, *reads_tail;
    int queued;                  /* jobs not yet done */
    bool started, stop;
    int beat_ms;                 /* while it is idle, beat is called so often; 0 = never */
    void (*beat)(void *arg);
    void *arg;
    pthread_t thread;
};

/* thread false: nothing runs until writer_work. */
int writer_open(struct writer *w, pthread_mutex_t *lock, bool thread, struct err *e) MUST_USE;
/* From now on beat(arg) is called under the lock, every beat_ms while there is nothing to do. */
void writer_beat(struct writer *w, int beat_ms, void (*beat)(void *arg), void *arg);
void writer_close(struct writer *w); /* does what is queued first; without the lock */

/* Under the lock. */
void writer_push(struct writer *w, struct job *j);
void writer_push_read(struct writer *w, struct job *j);
/* Under the lock, which it gives up meanwhile: runs all that is queued here and now. */
void writer_work(struct writer *w);

#endif
