/* What a task that goes on beside serving may take on average: bytes (of a disk, of a network) and
 * time of one processor. Each fills up steadily to a limit, which is what may be taken at once;
 * who finds something left may take it and owe the rest. Pure; under the caller's lock. */
#ifndef RECURD_ALLOWANCE_H
#define RECURD_ALLOWANCE_H

#include "base/base.h"

struct allowance_limits {
    uint64_t bytes_s, bytes_max; /* at most 2^40; 0: bytes are not counted */
    uint64_t share, ns_max;      /* a share-th of one processor, so much at once */
};

struct allowance {
    uint64_t seen_ns;            /* filled up until then */
    int64_t bytes, cost_ns;      /* left; below zero: owed */
};

/* Once before what follows, with the time of clock_now_ns. */
void allowance_refill(struct allowance *a, const struct allowance_limits *l, uint64_t now);
bool allowance_left(const struct allowance *a, const struct allowance_limits *l);
void allowance_spend(struct allowance *a, uint64_t bytes, uint64_t ns);

#endif
