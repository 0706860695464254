/* A queue in which clients take turns by what their entries cost (start-time fair queueing, Goyal
 * et al. 1996): an entry begins when its client's one before it ends, on a clock of work done.
 * First in first out within a client; a client with nothing queued waits for nobody's backlog.
 * Pure. Thread: the owner's lock. */
#ifndef RECURD_TURNS_H
#define RECURD_TURNS_H

#include "scheduler/fair.h"

struct turn {
    struct fair_id client;
    uint64_t cost, start; /* start: on the queue's clock */
    struct turn *next;
};

struct turns {
    struct turn *head; /* by start */
    uint64_t clock;    /* start of the entry taken last */
};

/* t lives until it is taken. cost >= 1, in any one unit. */
void turns_put(struct turns *q, struct turn *t, const struct fair_id *client, uint64_t cost);
struct turn *turns_take(struct turns *q); /* NULL: empty */

#endif
