/* What a run means: summaries, rates, goodput, error counts, series. Thread: one. */
#ifndef RECURD_LOAD_RESULT_H
#define RECURD_LOAD_RESULT_H

#include "programs/recurd-bench/args.h"
#include "programs/recurd-bench/load.h"
#include "programs/recurd-bench/stats.h"

enum metric {
    METRIC_TTFT,       /* send to first output */
    METRIC_TTST,       /* first output to second */
    METRIC_ITL,        /* every gap between outputs */
    METRIC_TPOT,       /* (E2E - TTFT) / (output tokens - 1), one value a request */
    METRIC_E2E,        /* send to last output */
    METRIC_TTFT_SCHED, /* the same two from the scheduled moment */
    METRIC_E2E_SCHED,
    METRIC_LATE,       /* scheduled moment to send */
    METRICS
};

/* A group of requests that are compared with each other: by tag or by turn. */
struct group {
    size_t n;
    double prompt_tokens, cached_tokens; /* means */
    struct summary ttft, e2e;
};

#define RESULT_TURNS 32 /* rows of the per-turn table */

struct second {
    uint32_t sent, done, failed, in_flight; /* in_flight: open at the end of the second */
    double tokens;
    double ttft_ms; /* mean of the first outputs in this second; 0 = none */
    uint32_t ttft_n;
};

/* Owner: the caller. All over measured requests, latencies over those that ended well. */
struct result {
    uint64_t n, by_outcome[OUTCOMES];
    uint64_t failed; /* errors of every class */
    struct stats samples[METRICS];
    struct summary m[METRICS];
    double window_s; /* end of the warm-up to the last end */
    uint64_t prompt_tokens, cached_tokens, output_tokens, outputs;
    uint64_t together; /* outputs read at once with the one before: gaps of 0 */
    double request_rate, output_rate, total_rate; /* per second of the window */
    uint64_t good;   /* met every SLO */
    bool has_slo;
    uint64_t late;   /* sent more than RESULT_LATE_MS after their schedule */
    uint64_t without_usage, wrong_input, wrong_output, wrong_count; /* cross-checks */
    struct group tags[TAGS], turns[RESULT_TURNS];
    uint32_t n_turns;
    struct second *series;
    size_t n_series;
};

#define RESULT_LATE_MS 1.0

int result_make(struct result *out, const struct args *a, const struct run *r,
                struct err *e) MUST_USE;
void result_free(struct result *out);

const char *result_metric_name(enum metric m);  /* "ttft", … as in JSON */
const char *result_metric_title(enum metric m); /* "TTFT", … as in tables */

#endif
