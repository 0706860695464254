/* What the HTTP side counts, for /metrics. Thread: any; every member is atomic. */
#ifndef RECURD_STATS_H
#define RECURD_STATS_H

#include "server/http/route.h"

#define STATS_BUCKETS 14

/* Upper bounds in seconds are stats_bounds; the last bucket has none. */
struct histogram {
    uint64_t buckets[STATS_BUCKETS + 1], count, sum_us;
};
extern const double stats_bounds[STATS_BUCKETS];

enum stats_status {
#define STATUS(n) STATS_##n,
#include "server/api/status.def"
#undef STATUS
    STATS_OTHER,
    STATS_STATUSES,
};

struct stats {
    uint64_t responses[ROUTES_MAX + 1][STATS_STATUSES];
    uint64_t streams, heartbeats, aborted; /* aborted: replies that ended before their end */
    int exchanges, suspended, generations; /* now */
    struct histogram first_token, request, per_token;
};

void stats_response(struct stats *s, int route, int status);
void stats_observe(struct histogram *h, uint64_t ns);
static inline void stats_add(uint64_t *counter)
{
    __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

int stats_status_code(enum stats_status s); /* 0 for STATS_OTHER */

#endif
