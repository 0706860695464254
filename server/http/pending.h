/* A reply that is not there yet: somebody produces it while the exchange waits. What it is and how
 * it is written is the handler's affair (server/api/serve.c); this is all the exchange knows.
 *
 * Owner: the exchange, once a handler has put it there. Thread: the connection's HTTP worker. */
#ifndef RECURD_PENDING_H
#define RECURD_PENDING_H

#include "base/buf.h"
#include "base/err.h"

struct exchange;
struct pending;

struct pending_ops {
    /* Takes in what there is. True: something was. False: the exchange's waker will be signalled
     * when there is more. */
    bool (*read)(struct pending *s);
    /* Bytes of memory that what was read takes. */
    size_t (*bytes)(const struct pending *s);
    /* All of it has been read, or it failed. */
    bool (*done)(const struct pending *s);
    /* A stream: appends what was read since, behind the last of it the stream's own end. */
    void (*write)(struct pending *s, struct buf *out);
    /* A stream: appends a sign of life, or nothing where the form has none. */
    void (*ping)(struct pending *s, struct buf *out);
    /* A stream: appends an end that tells this failure. */
    void (*fail)(struct pending *s, struct buf *out, const struct err *e);
    /* A whole reply, once it is done: answers x, or tells how it failed. */
    void (*answer)(struct pending *s, struct exchange *x);
    /* Cancels what still runs and drops it. */
    void (*end)(struct pending *s);
};

struct pending {
    const struct pending_ops *ops;
    const char *stream_type; /* the stream's Content-Type; NULL = a whole reply. A literal */
    bool keeps_request;      /* parts of its JSON are needed until the end */
};

#endif
