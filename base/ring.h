/* Bounded FIFO of fixed-size items. Not synchronised: the struct that holds it has the lock. */
#ifndef RECURD_RING_H
#define RECURD_RING_H

#include "base/base.h"

struct ring {
    unsigned char *items;
    size_t item_bytes, cap, head, len;
};

int ring_init(struct ring *r, size_t cap, size_t item_bytes) MUST_USE; /* E_NOMEM */
void ring_free(struct ring *r);
bool ring_push(struct ring *r, const void *item); /* false when full */
bool ring_pop(struct ring *r, void *item);        /* false when empty */
void *ring_at(const struct ring *r, size_t i);    /* i-th oldest, i < len */

#endif
