/* Counters. Relaxed atomics: a scrape may see one counter ahead of another. */
#include "server/process/stats.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* 1 ms … 100 s, three a decade: from a cached reply to a long generation. */
const double stats_bounds[STATS_BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                            0.25,  0.5,    1,     2.5,  10,    30,   100};

const double stats_lengths[STATS_BUCKETS] = {1,   4,    16,   32,    64,    128,    256,
                                             512, 1024, 2048, 8192, 32768, 131072, 1048576};

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

/* Traced requests are few, and scrapes fewer. */
static pthread_mutex_t exemplars = PTHREAD_MUTEX_INITIALIZER;

static void note(struct exemplar *x, double value, const char *trace)
{
    uint64_t now = clock_unix_s();
    pthread_mutex_lock(&exemplars);
    snprintf(x->trace, sizeof x->trace, "%s", trace);
    x->value = value;
    x->unix_s = (double)now;
    pthread_mutex_unlock(&exemplars);
}

bool stats_exemplar(const struct histogram *h, int i, struct exemplar *out)
{
    pthread_mutex_lock(&exemplars);
    *out = h->exemplars[i];
    pthread_mutex_unlock(&exemplars);
    return *out->trace;
}

static void observe(struct histogram *h, const double bounds[STATS_BUCKETS], double value,
                    uint64_t millionths, const char *trace)
{
    size_t i = 0;
    while (i < STATS_BUCKETS && value > bounds[i])
        i++;
    stats_add(&h->buckets[i]);
    stats_add(&h->count);
    __atomic_add_fetch(&h->sum_us, millionths, __ATOMIC_RELAXED);
    if (trace)
        note(&h->exemplars[i], value, trace);
}

void stats_observe(struct histogram *h, uint64_t ns, const char *trace)
{
    observe(h, stats_bounds, (double)ns / (double)NS_PER_S, ns / 1000, trace);
}

void stats_observe_length(struct histogram *h, int64_t tokens, const char *trace)
{
    observe(h, stats_lengths, (double)tokens, (uint64_t)MAX(tokens, 0) * 1000000, trace);
}

static const char *const finishes[FINISHES] = {"stop", "length", "cancelled", "error"};

const char *stats_finish_name(int i) { return finishes[i]; }

void stats_generation(struct stats *s, const struct request_facts *f)
{
    for (int i = 0; i < FINISHES; i++)
        if (strcmp(f->finish, finishes[i]) == 0)
            stats_add(&s->finishes[i]);
    if (f->queue_ns)
        stats_observe(&s->queue, f->queue_ns, f->trace);
    stats_observe_length(&s->prompt_length, f->prompt, f->trace);
    stats_observe_length(&s->output_length, f->output, f->trace);
}
