/* One suspended connection and everyone who may wake it: no lost wake-up, no busy loop.
 *
 * The HTTP worker that finds nothing to do calls waker_wait: it suspends the connection, unless
 * a signal came since it last looked. Any thread calls waker_signal. Exactly one resume follows
 * one suspend, and none comes after waker_detach. Between waker_divert and waker_release the
 * connection stays suspended, and signals go to somebody else (stream.c). */
#ifndef RECURD_WAKER_H
#define RECURD_WAKER_H

#include "base/base.h"

struct MHD_Connection;
struct waker;

enum waker_flags {
    WAKER_PING = 1,  /* the stream was silent for a heartbeat, or its peer looks half closed */
    WAKER_GONE = 2,  /* the peer is gone: stop and close */
    WAKER_ABORT = 4, /* the server goes down: say so and end */
};

/* One reference; NULL = no memory. suspended (may be NULL) counts the suspended connections, and
 * those that a thread is still waking: it stays until nobody is. */
struct waker *waker_new(struct MHD_Connection *c, int *suspended);
void waker_ref(struct waker *w);
void waker_unref(struct waker *w);

/* Any thread; never blocks for long. flags accumulate until taken; 0 = just "look again". */
void waker_signal(struct waker *w, unsigned flags);

/* HTTP worker, inside a callback of this connection; or after waker_divert, who has it. True:
 * suspended, return to the library. False: something happened meanwhile, look again. */
bool waker_wait(struct waker *w);
/* HTTP worker, before a waker_wait: that and the next ones are of whoever `woken` tells, once for
 * each, on the thread of the signal and without a lock. */
void waker_divert(struct waker *w, void (*woken)(void *arg), void *arg);
/* By him, while he does not wait: the connection is the library's again, and is resumed. */
void waker_release(struct waker *w);
/* The flags so far; PING is cleared by reading it, the other two stay. */
unsigned waker_take(struct waker *w);
/* The connection's request is over; later signals do nothing. */
void waker_detach(struct waker *w);
bool waker_is_suspended(struct waker *w);

#endif
