/* Threads that write streams: each has an epoll set and a list of who has something to write. A
 * step of the engine wakes a thread once, however many streams it has news for; up to 64 streams
 * are one thread's. Of steps that take less than one to four milliseconds, by what there is to
 * write, only those that have ended something do: what the others brought is written together, at
 * most twice as long later.
 *
 * Owner: the server. A place is in something of the user's that stays until outlet_leave. */
#ifndef RECURD_OUTLET_H
#define RECURD_OUTLET_H

#include "base/err.h"

struct outlet;
struct outlet_thread;

struct outlet_place {
    struct outlet_thread *thread; /* NULL = in none */
    struct outlet_place *next;    /* with something to write */
    bool polled;                  /* its descriptor is in the thread's epoll set */
};

/* run is called on the place's thread, once for each outlet_put and for each outlet_room. */
int outlet_open(struct outlet **out, int n_threads, void (*run)(struct outlet_place *p),
                struct err *e) MUST_USE;
void outlet_close(struct outlet *o); /* no place is in it; NULL allowed */

/* Any thread: p gets a thread. */
void outlet_enter(struct outlet *o, struct outlet_place *p);
/* No turn of p is to come. fd: that outlet_room was asked about, if it was. */
void outlet_leave(struct outlet_place *p, int fd);
/* Any thread; not again before run was called. Outside of a round it does not wait. */
void outlet_put(struct outlet_place *p);
/* A round of outlet_put by this thread begins or ends: who got something is woken at the end. soon:
 * it must not wait, nor what was put before; of the end only. */
void outlet_round(void *outlet, bool begins, bool soon);
/* In run, which is called once more when fd takes bytes, or has failed. False: no memory. */
bool outlet_room(struct outlet_place *p, int fd) MUST_USE;

#endif
