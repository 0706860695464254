#include "base/latency.h"

#include "base/clock.h"

void latency_add(struct latency *l, uint64_t ns)
{
    uint64_t edge = NS_PER_MS / 10;
    int i = 0;
    while (i < LATENCY_BUCKETS - 1 && ns > edge) {
        edge *= 4;
        i++;
    }
    l->bucket[i]++;
    l->count++;
    l->sum_ns += ns;
}
