/* Runs at rising load until the server is saturated. Thread: one. */
#include "base/version.h"
#include "programs/recurd-bench/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LEVELS_MAX 64
#define CONCURRENCY_MAX 16384 /* beyond what one port range carries comfortably */
/* Saturated: twice the load brings less than 5 % more tokens, two levels in a row; or, open loop,
 * less than 90 % of what arrives is served. */
#define GAIN 1.05
#define SERVED 0.90
#define LEVEL_S 10 /* duration of a level unless --duration or --requests say otherwise */

struct levels {
    bool rate;
    double v[LEVELS_MAX];
    int n; /* 0: doubles until saturated */
};

static int parse(const char *text, struct levels *l, struct err *e)
{
    *l = (struct levels){.rate = !strncmp(text, "rate", 4)};
    const char *s = l->rate ? text + 4 : text + 11;
    bool good = (l->rate || !strncmp(text, "concurrency", 11)) && (!*s || *s == ':');
    if (good && *s)
        s++;
    while (good && *s) {
        char *end;
        double x = strtod(s, &end);
        good = end != s && x > 0 && x <= 1e6 && l->n < LEVELS_MAX && (l->rate || x == floor(x));
        if (good)
            l->v[l->n++] = x;
        s = *end == ',' && end[1] ? end + 1 : end;
        good = good && (s != end || !*end);
    }
    return good ? 0 : err_set(e, E_FORMAT, "--sweep: \"%.60s\" is not concurrency or rate, "
                              "optionally with levels such as concurrency:1,2,4", text);
}

static struct plan plan_of(const struct args *a, bool rate, double x, int i)
{
    struct plan p = plan_from_args(a);
    p.closed = !rate;
    p.concurrency = rate ? 0 : (int64_t)x;
    p.rate = x;
    p.ramped = p.traced = false;
    p.first_conv = BENCH_LEVEL_CONVS * (uint64_t)(i + 1);
    if (!(a->duration > 0)) {
        p.duration_s = LEVEL_S;
        p.requests = 0;
    }
    return p;
}

int sweep_run(struct bench *b, void (*each)(const json_t *), json_t **out, struct err *e)
{
    struct levels l;
    *out = NULL;
    int rc = parse(b->a->sweep, &l, e);
    if (rc)
        return rc;
    json_t *list = json_array(), *last = NULL;
    double best = 0, x = l.n ? l.v[0] : l.rate ? b->a->rate : 1;
    int flat = 0;
    for (int i = 0; i < LEVELS_MAX && !rc && !load_interrupted(); i++) {
        struct plan p = plan_of(b->a, l.rate, x, i);
        rc = bench_run(b, &p, NULL, &last, e);
        if (rc)
            break;
        json_array_append_new(list, last);
        if (each)
            each(last);
        double got = report_number(last, "throughput.output_tokens_per_s");
        double served = report_number(last, "throughput.requests_per_s") / x;
        flat = got < best * GAIN ? flat + 1 : 0;
        best = fmax(best, got);
        if (l.n ? i + 1 >= l.n : flat >= 2 || (l.rate && served < SERVED) || x >= CONCURRENCY_MAX)
            break;
        x = l.n ? l.v[i + 1] : 2 * x;
    }
    if (!rc) {
        *out = json_pack("{ss+ ss ss ss ss sb so}", "tool", "recurd-bench ", version_number(),
                         "commit", version_commit(), "kind", "sweep", "label",
                         b->a->label ? b->a->label : "sweep", "of",
                         l.rate ? "rate" : "concurrency", "interrupted", load_interrupted(),
                         "levels", json_incref(list));
        json_object_set_new(*out, "machine", machine_json());
        json_object_set(*out, "server", json_object_get(last, "server"));
        json_object_set(*out, "date", json_object_get(last, "date"));
        json_object_set_new(*out, "config", args_json(b->a));
    }
    json_decref(list);
    return rc;
}

void sweep_text(FILE *f, const json_t *sweep)
{
    bool rate = !strcmp(report_string(sweep, "of"), "rate");
    fprintf(f, "%s: %s, model %s\n\n", report_string(sweep, "label"),
            report_string(sweep, "server.url"), report_string(sweep, "server.model"));
    fprintf(f, "  %12s %9s %10s %7s %9s %9s %9s %9s %10s\n", rate ? "requests/s" : "concurrency",
            "served/s", "tokens/s", "failed", "TTFT p50", "TTFT p99", "TPOT p50", "ITL p99",
            "E2E p50");
    size_t i;
    json_t *l;
    json_array_foreach(json_object_get(sweep, "levels"), i, l)
        fprintf(f, "  %12g %9.2f %10.1f %7.0f %9.1f %9.1f %9.2f %9.2f %10.1f\n",
                report_number(l, rate ? "load.rate" : "load.concurrency"),
                report_number(l, "throughput.requests_per_s"),
                report_number(l, "throughput.output_tokens_per_s"),
                report_number(l, "requests.failed"), report_number(l, "latency.ttft.p50_ms"),
                report_number(l, "latency.ttft.p99_ms"), report_number(l, "latency.tpot.p50_ms"),
                report_number(l, "latency.itl.p99_ms"), report_number(l, "latency.e2e.p50_ms"));
}
