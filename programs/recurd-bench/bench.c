/* One target, opened once; any number of runs against it. Thread: one. */
#include "programs/recurd-bench/bench.h"

#include <string.h>
#include <sys/resource.h>

int bench_open(struct bench *b, const struct args *a, struct err *e)
{
    memset(b, 0, sizeof *b);
    b->a = a;
    b->pool.epfd = b->pool.timerfd = -1;
    struct rlimit lim;
    if (!getrlimit(RLIMIT_NOFILE, &lim)) { /* a descriptor for each stream */
        lim.rlim_cur = lim.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &lim); /* else the old limit: too few shows as errors */
    }
    int rc = workload_open(&b->w, a, e);
    if (!rc)
        rc = pool_open(&b->pool, a, e);
    if (!rc)
        rc = server_info_get(&b->server, &b->pool, e);
    if (rc)
        bench_close(b);
    return rc;
}

void bench_close(struct bench *b)
{
    server_info_free(&b->server);
    pool_close(&b->pool);
    workload_close(&b->w);
}

int bench_warm_up(struct bench *b, struct err *e)
{
    if (!b->a->warmup_requests)
        return 0;
    struct plan plan = {.closed = true, .concurrency = 1, .first_conv = BENCH_WARM_UP_CONVS,
                        .requests = (size_t)b->a->warmup_requests};
    /* Not the whole conversations: rests and restarts are for the measured run. */
    struct args brief = *b->a;
    brief.fork = 0;
    brief.idle = 0;
    brief.restart = NULL;
    brief.cancel = 0;
    brief.ramp = NULL;
    brief.turns_dist = (struct dist){.kind = DIST_FIXED, .a = 1};
    struct workload w = b->w;
    w.a = &brief;
    struct run run;
    int rc = load_run(&b->pool, &w, b->server.model, &plan, &run, e);
    for (size_t i = 0; i < run.records.n && !rc; i++)
        if (outcome_failed(run.records.p[i].outcome))
            rc = err_set(e, E_IO, "the first request failed (%s): %s",
                         outcome_name(run.records.p[i].outcome),
                         run.records.p[i].error ? run.records.p[i].error : "");
    run_free(&run);
    return rc;
}

int bench_run(struct bench *b, const struct plan *plan, const char *jsonl, json_t **out,
              struct err *e)
{
    struct run run;
    struct result result = {0};
    *out = NULL;
    json_t *before = server_metrics(&b->pool);
    int rc = load_run(&b->pool, &b->w, b->server.model, plan, &run, e);
    json_t *after = rc ? NULL : server_metrics(&b->pool);
    json_t *changed = server_metrics_changed(before, after);
    if (!rc)
        rc = result_make(&result, b->a, &run, e);
    if (!rc) {
        *out = report_json(b->a, plan, &run, &result, &b->server, changed);
        if (!*out)
            rc = err_set(e, E_NOMEM, "no memory for the result");
    }
    if (!rc && jsonl)
        rc = report_jsonl(jsonl, &run, e);
    result_free(&result);
    run_free(&run);
    json_decref(before);
    json_decref(after);
    json_decref(changed);
    return rc;
}
