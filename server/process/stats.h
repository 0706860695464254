/* What the HTTP side counts, for /metrics. Thread: any; every member is atomic, exemplars aside. */
#ifndef RECURD_STATS_H
#define RECURD_STATS_H

#include "server/http/route.h"

#define STATS_BUCKETS 14

/* The last request of a bucket that was in a sampled trace. */
struct exemplar {
    char trace[33]; /* 32 hex digits; "" = there was none */
    double value, unix_s;
};

/* Upper bounds are stats_bounds (seconds) or stats_lengths (tokens); the last bucket has none. */
struct histogram {
    uint64_t buckets[STATS_BUCKETS + 1], count, sum_us; /* the sum in millionths of the unit */
    struct exemplar exemplars[STATS_BUCKETS + 1];       /* under a lock of their own */
};
extern const double stats_bounds[STATS_BUCKETS], stats_lengths[STATS_BUCKETS];

/* What a generation took and gave, all of its choices together; for the log and the histograms. */
struct request_facts {
    bool generated;            /* sequences were submitted, or a kept answer was told again */
    int64_t prompt, cached, output; /* tokens; a prompt counts once, whatever n */
    uint64_t queue_ns;         /* until the first choice had a place; 0 = it never had */
    uint64_t first_ns;         /* until the first token of any; 0 = there was none */
    uint64_t last_ns;          /* until the last of all; 0 = none has ended */
    uint64_t submitted_ns;     /* where these count from, by base/clock.h; 0 = nowhere */
    const char *trace;         /* of 32 hex digits; NULL = it is in none. Set before it begins */
    const char *finish;        /* "stop", "length", "cancelled", "error" */
};
#define FINISHES 4

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
    struct histogram first_token, request, per_token, queue, prompt_length, output_length;
    uint64_t finishes[FINISHES]; /* generations by stats_finish_name */
};

void stats_response(struct stats *s, int route, int status);
/* trace: of the request, NULL = none that is sampled. */
void stats_observe(struct histogram *h, uint64_t ns, const char *trace);
/* Copies the exemplar of bucket i. False: there is none. */
bool stats_exemplar(const struct histogram *h, int i, struct exemplar *out);
static inline void stats_add(uint64_t *counter)
{
    __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

void stats_observe_length(struct histogram *h, int64_t tokens, const char *trace);
/* A generation has ended: its histograms and its way to end. */
void stats_generation(struct stats *s, const struct request_facts *f);
const char *stats_finish_name(int i);
int stats_status_code(enum stats_status s); /* 0 for STATS_OTHER */

#endif
