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

void latency_join(struct latency *l, const struct latency *other)
{
    l->count += other->count;
    l->sum_ns += other->sum_ns;
    for (int i = 0; i < LATENCY_BUCKETS; i++)
        l->bucket[i] += other->bucket[i];
}
