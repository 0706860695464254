/* How fast the reader of a stream is: a minimum rate, counted over the request, so that a byte now
 * and then earns no more time than it is worth. Pure. Thread: the owner's lock. */
#ifndef RECURD_READER_H
#define RECURD_READER_H

#include "base/base.h"
#include "base/limits.h"

/* So many bytes earn a reader its patience once more. The engine's own rule (sched.h: a ring of
 * events) is stricter for any form of stream, so an error event is there before the cut. */
#define READER_BYTES KIB(64)

struct reader {
    uint64_t looked_ns; /* 0: not yet */
    bool waited;        /* for us, then */
    uint64_t taken;     /* bytes it had taken then */
    uint64_t held_ns;   /* time it had bytes to take and took none; */
    uint64_t silent_ns; /* of that since it took any */
};

/* A look at now. taken: bytes, so far; waits: for us, there is nothing to take. False:
 * it let patience_ns pass without taking anything, or over the request more than that for every
 * READER_BYTES. Between two looks it took something, or nothing: what is between is not seen. */
bool reader_look(struct reader *r, uint64_t taken, bool waits, uint64_t now, uint64_t patience_ns)
    MUST_USE;

#endif
