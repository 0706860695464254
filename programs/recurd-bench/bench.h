/* One target, opened once; any number of runs against it. Thread: one. */
#ifndef RECURD_LOAD_BENCH_H
#define RECURD_LOAD_BENCH_H

#include "programs/recurd-bench/report.h"

/* Owner: main. */
struct bench {
    const struct args *a;
    struct pool pool;
    struct workload w;
    struct server_info server;
};

int bench_open(struct bench *b, const struct args *a, struct err *e) MUST_USE;
void bench_close(struct bench *b);

/* Unmeasured requests one after another, so that the first measured one meets a server that has
 * its memory mapped and its threads awake. A failing warm-up ends the run before it begins. */
int bench_warm_up(struct bench *b, struct err *e) MUST_USE;

/* Runs the plan between two looks at /metrics; *out is report_json's object. When jsonl is not
 * NULL, every request is written there. */
int bench_run(struct bench *b, const struct plan *plan, const char *jsonl, json_t **out,
              struct err *e) MUST_USE;

/* Conversations of different runs get different numbers, so that no run meets another's prompts
 * in the server's cache. */
#define BENCH_WARM_UP_CONVS (UINT64_C(1) << 40)
#define BENCH_LEVEL_CONVS (UINT64_C(1) << 32) /* times the number of the level */

#endif
