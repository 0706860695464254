/* Counters. Relaxed atomics: a scrape may see one counter ahead of another. */
#include "server/process/stats.h"

#include "base/clock.h"

/* 1 ms … 100 s, three a decade: from a cached reply to a long generation. */
const double stats_bounds[STATS_BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                            0.25,  0.5,    1,     2.5,  10,    30,   100};

static const int codes[] = {
#define STATUS(n) n,
#include "server/api/status.def"
#undef STATUS
};

int stats_status_code(enum stats_status s) { return s < STATS_OTHER ? codes[s] : 0; }

void stats_response(struct stats *s, int route, int status)
{
    size_t i = 0;
    while (i < ARRAY_LEN(codes) && codes[i] != status)
        i++;
    stats_add(&s->responses[route][i]);
}

void stats_observe(struct histogram *h, uint64_t ns)
{
    size_t i = 0;
    double seconds = (double)ns / (double)NS_PER_S;
    while (i < STATS_BUCKETS && seconds > stats_bounds[i])
        i++;
    stats_add(&h->buckets[i]);
    stats_add(&h->count);
    __atomic_add_fetch(&h->sum_us, ns / 1000, __ATOMIC_RELAXED);
}
