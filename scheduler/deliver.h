/* What the engine gives to the reader of a request: events, text, the end. Engine thread.
 *
 * Everything that belongs together goes out under one hold of the request's lock. Its reader is
 * woken after that; those of one step together, so that who reads for many wakes once. */
#ifndef RECURD_DELIVER_H
#define RECURD_DELIVER_H

#include "scheduler/request.h"

struct delivery {
    const struct token_event *ev; /* NULL = none; there is room for one (deliver_room) */
    const char *text;             /* whole characters; room for STOP_HELD_BYTES */
    size_t n_text;
    int32_t n_output;             /* tokens drawn so far */
    enum finish finish;           /* != NONE: the last delivery */
    const struct err *error;      /* with FINISH_ERROR */
};

/* Readers to wake; Owner: the engine. An armed wake keeps what it needs until it was called. */
struct wakes {
    struct wake { void (*call)(void *arg); void *arg; } *list; /* [cap] */
    int32_t n, cap;
    bool ended;           /* a request has ended since the last round */
    pthread_mutex_t lock; /* of the two below, while readers are woken, whatever thread does it */
    /* Around each series of them; NULL = nothing. ended: with the end of one that told of an end,
     * perhaps to somebody who was woken before. */
    void (*round)(void *arg, bool begins, bool ended);
    void *arg;
};

/* Wakes them. Before anything that takes long, and after a step. */
void deliver_wake(struct wakes *w);

/* later: the reader is woken with these; NULL = at once. E_NOMEM: the text found no memory (ev is
 * out, the end is not). */
int deliver(struct request *r, const struct delivery *d, struct wakes *later) MUST_USE;

/* Events the reader can take now, 0 also when its text is full; *cancelled as it stands. */
size_t deliver_room(struct request *r, bool *cancelled);

/* The end of a request that never got, or no longer has, anything to say: at once. Cannot fail. Any
 * thread, one for a request; the engine's wakes have the lock under which its reader is woken. */
void deliver_end(struct request *r, enum finish finish, const struct err *error, struct wakes *w);

#endif
