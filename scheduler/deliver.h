/* What the engine gives to the reader of a request: events, text, the end. Engine thread.
 *
 * Everything that belongs together goes out under one hold of the request's lock, and the reader
 * is woken after it is released. */
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

/* E_NOMEM: the text found no memory (ev is out, the end is not). */
int deliver(struct request *r, const struct delivery *d) MUST_USE;

/* Events the reader can take now, 0 also when its text is full; *cancelled as it stands. */
size_t deliver_room(struct request *r, bool *cancelled);

/* The end of a request that never got, or no longer has, anything to say. Cannot fail. */
void deliver_end(struct request *r, enum finish finish, const struct err *error);

#endif
