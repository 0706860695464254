/* A histogram of durations. One thread at a time. */
#ifndef RECURD_LATENCY_H
#define RECURD_LATENCY_H

#include "base/base.h"

/* Bucket i counts what took <= 0.1 ms * 4^i; the last, all more. */
#define LATENCY_BUCKETS 9
struct latency {
    uint64_t count, sum_ns, bucket[LATENCY_BUCKETS];
};
void latency_add(struct latency *l, uint64_t ns);
void latency_join(struct latency *l, const struct latency *other); /* adds what it counted */

#endif
