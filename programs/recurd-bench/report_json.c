/* A result as JSON: full configuration, versions, summaries, curves and series.
 *
 * The HTML report is made from this object alone, so that saved results can be joined in one
 * page later. Thread: one. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "base/version.h"
#include "programs/recurd-bench/report.h"

#define CURVE_POINTS 101  /* a quantile curve, with more points towards the slow end */
#define SCATTER_POINTS 800 /* more dots than that are a blot, and weigh in the page */

/* Four decimals of a millisecond: the clock's own error is larger. */
static json_t *ms(double x)
{
    return json_real(floor(x * 1e4 + 0.5) / 1e4);
}

static json_t *summary_json(const struct summary *s)
{
    json_t *o = json_object();
    json_object_set_new(o, "n", json_integer((json_int_t)s->n));
    json_object_set_new(o, "mean_ms", ms(s->mean));
    json_object_set_new(o, "std_ms", ms(s->std));
    json_object_set_new(o, "min_ms", ms(s->min));
    json_object_set_new(o, "p50_ms", ms(s->p50));
    json_object_set_new(o, "p90_ms", ms(s->p90));
    json_object_set_new(o, "p95_ms", ms(s->p95));
    json_object_set_new(o, "p99_ms", ms(s->p99));
    json_object_set_new(o, "p99.9_ms", ms(s->p999));
    json_object_set_new(o, "max_ms", ms(s->max));
    return o;
}

/* [[share, ms], …]: evenly spaced in the logarithm of the share that is slower. */
static json_t *curve_json(const struct stats *s)
{
    json_t *a = json_array();
    double tail = s->n > 1 ? 1.0 / (double)s->n : 1;
    for (int i = 0; i < CURVE_POINTS && s->n; i++) {
        double half = (CURVE_POINTS - 1) / 2.0;
        /* first half linear up to the median, second half geometric towards the maximum */
        double q = i <= half ? 0.5 * i / half : 1 - 0.5 * pow(2 * tail, (i - half) / half);
        if (i < CURVE_POINTS - 1)
            json_array_append_new(a, json_pack("[f o]", q, ms(stats_quantile(s, q))));
        else /* the slowest one stands in the middle of its own share */
            json_array_append_new(a, json_pack("[f o]", 1 - tail / 2, ms(stats_quantile(s, 1))));
    }
    return a;
}

static json_t *group_json(const struct group *g)
{
    json_t *o = json_pack("{sI sf sf}", "n", (json_int_t)g->n, "prompt_tokens_mean",
                          g->prompt_tokens, "cached_tokens_mean", g->cached_tokens);
    json_object_set_new(o, "ttft", summary_json(&g->ttft));
    json_object_set_new(o, "e2e", summary_json(&g->e2e));
    return o;
}

static json_t *requests_json(const struct args *a, const struct run *run, const struct result *r)
{
    json_t *errors = json_object();
    for (int i = OUTCOME_CONNECT; i < OUTCOMES; i++)
        if (r->by_outcome[i])
            json_object_set_new(errors, outcome_name((enum outcome)i),
                                json_integer((json_int_t)r->by_outcome[i]));
    json_t *o = json_pack("{sI sI sI sI sI so}", "measured", (json_int_t)r->n, "ok",
                          (json_int_t)r->by_outcome[OUTCOME_OK], "failed", (json_int_t)r->failed,
                          "cancelled", (json_int_t)r->by_outcome[OUTCOME_CANCELLED], "unfinished",
                          (json_int_t)r->by_outcome[OUTCOME_UNFINISHED], "errors", errors);
    json_object_set_new(o, "warmup", json_integer((json_int_t)(run->records.n - r->n)));
    json_object_set_new(o, "skipped_turns", json_integer((json_int_t)run->skipped_turns));
    json_object_set_new(o, "late", json_integer((json_int_t)r->late));
    json_object_set_new(o, "interrupted", json_boolean(run->interrupted));
    if (a->session)
        json_object_update_new(o, json_pack("{sI sI}", "sessions", (json_int_t)run->sessions,
                                            "forks", (json_int_t)run->forks));
    if (run->restart_ns)
        json_object_set_new(o, "restart_ms", ms((double)run->restart_ns / 1e6));
    /* The first few sentences of each class say more than its name. */
    json_t *samples = json_object();
    for (size_t i = 0; i < run->records.n; i++) {
        const struct record *rec = &run->records.p[i];
        if (rec->error && !json_object_get(samples, outcome_name(rec->outcome)))
            json_object_set_new(samples, outcome_name(rec->outcome), json_string(rec->error));
    }
    json_object_set_new(o, "error_samples", samples);
    return o;
}

static json_t *tokens_json(const struct result *r)
{
    return json_pack("{sI sI sI sI sI sI sI sI sI}", "outputs_read_with_the_one_before",
                     (json_int_t)r->together, "prompt", (json_int_t)r->prompt_tokens,
                     "cached", (json_int_t)r->cached_tokens, "output",
                     (json_int_t)r->output_tokens, "streamed_outputs", (json_int_t)r->outputs,
                     "replies_without_usage", (json_int_t)r->without_usage,
                     "replies_with_other_prompt_length", (json_int_t)r->wrong_input,
                     "replies_with_other_output_length", (json_int_t)r->wrong_output,
                     "replies_whose_stream_and_usage_differ", (json_int_t)r->wrong_count);
}

/* The upper bound of the power-of-two class that holds quantile q of the loop's turns. */
static double turn_quantile_ms(const struct pool_self *s, double q)
{
    uint64_t need = (uint64_t)(q * (double)s->turns), seen = 0;
    for (int i = 0; i < POOL_TURN_CLASSES; i++)
        if ((seen += s->turn_classes[i]) > need)
            return fmin(ldexp(1, i + 1), (double)s->turn_max_ns) / 1e6;
    return (double)s->turn_max_ns / 1e6;
}

static json_t *self_json(const struct run *run)
{
    const struct pool_self *s = &run->self;
    double wall = (double)run->wall_ns / 1e9;
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    json_t *o = json_pack("{sf sf sf sf}", "cpu_user_s", run->cpu_user_s, "cpu_system_s",
                          run->cpu_sys_s, "cpu_share",
                          wall > 0 ? (run->cpu_user_s + run->cpu_sys_s) / wall : 0,
                          "loop_busy_share", wall > 0 ? (double)s->busy_ns / 1e9 / wall : 0);
    json_object_update_new(
        o, json_pack("{sI sI sI sI sI sI sI sI}", "connections_opened", (json_int_t)s->opened,
                     "connections_reused", (json_int_t)s->reused, "stale_connection_retries",
                     (json_int_t)s->retries, "peak_open_requests", (json_int_t)run->peak_in_flight,
                     "peak_connections", (json_int_t)run->peak_conns, "bytes_in",
                     (json_int_t)s->bytes_in, "bytes_out", (json_int_t)s->bytes_out, "events",
                     (json_int_t)s->events));
    json_object_set_new(o, "loop_turn_p99_ms", ms(turn_quantile_ms(s, 0.99)));
    json_object_set_new(o, "loop_turn_max_ms", ms((double)s->turn_max_ns / 1e6));
    json_object_set_new(o, "peak_memory_mib", ms((double)u.ru_maxrss / 1024));
    if (s->events)
        json_object_set_new(o, "cpu_us_per_event",
                            ms((run->cpu_user_s + run->cpu_sys_s) * 1e6 / (double)s->events));
    return o;
}

static json_t *series_json(const struct result *r)
{
    json_t *sent = json_array(), *done = json_array(), *failed = json_array(),
           *open = json_array(), *tokens = json_array(), *ttft = json_array();
    for (size_t i = 0; i < r->n_series; i++) {
        const struct second *s = &r->series[i];
        json_array_append_new(sent, json_integer(s->sent));
        json_array_append_new(done, json_integer(s->done));
        json_array_append_new(failed, json_integer(s->failed));
        json_array_append_new(open, json_integer(s->in_flight));
        json_array_append_new(tokens, ms(s->tokens));
        json_array_append_new(ttft, s->ttft_n ? ms(s->ttft_ms) : json_null());
    }
    return json_pack("{so so so so so so}", "sent", sent, "done", done, "failed", failed,
                     "in_flight", open, "output_tokens", tokens, "ttft_mean_ms", ttft);
}

/* [[open requests at the send, TTFT ms, E2E ms], …], thinned evenly. */
static json_t *scatter_json(const struct run *run)
{
    json_t *a = json_array();
    size_t step = run->records.n / SCATTER_POINTS + 1;
    for (size_t i = 0; i < run->records.n; i += step) {
        const struct record *r = &run->records.p[i];
        if (r->measured && r->outcome == OUTCOME_OK)
            json_array_append_new(a, json_pack("[i o o]", (int)r->in_flight, ms(record_ttft(r)),
                                               ms(record_e2e(r))));
    }
    return a;
}

static json_t *throughput_json(const struct args *a, const struct result *r)
{
    json_t *o = json_pack("{sf sf sf}", "requests_per_s", r->request_rate, "output_tokens_per_s",
                          r->output_rate, "total_tokens_per_s", r->total_rate);
    json_object_set_new(o, "window_s", json_real(r->window_s));
    if (r->has_slo) {
        json_t *slo = json_object();
        for (enum slo_metric m = 0; m < SLO_METRICS; m++)
            if (a->slo_ms[m] > 0)
                json_object_set_new(slo, args_slo_name(m), json_real(a->slo_ms[m]));
        json_object_update_new(
            o, json_pack("{sf sf so}", "goodput_per_s",
                         r->window_s > 0 ? (double)r->good / r->window_s : 0, "good_share",
                         r->n ? (double)r->good / (double)r->n : 0, "slo_ms", slo));
    }
    return o;
}

static json_t *plan_json(const struct plan *p)
{
    json_t *o = json_pack("{ss sb}", "loop", p->traced ? "trace" : p->closed ? "closed" : "open",
                          "ramped", p->ramped);
    if (p->closed)
        json_object_set_new(o, "concurrency", json_integer(p->concurrency));
    else if (!p->traced)
        json_object_set_new(o, "rate",
                            isinf(p->rate) ? json_string("inf") : json_real(p->rate));
    return o;
}

static double grown(const json_t *metrics, const char *name)
{
    const json_t *m = json_object_get(metrics, name);
    return m ? report_number(m, "after") - report_number(m, "before") : 0;
}

/* What the counters of a recurd server mean; empty for another one. */
static json_t *engine_json(const json_t *metrics, double wall_s)
{
    json_t *o = json_object();
    double steps = grown(metrics, "recurd_steps_total");
    if (steps > 0)
        json_object_update_new(
            o, json_pack("{sf sf}", "tokens_per_step",
                         grown(metrics, "recurd_step_tokens_total") / steps, "step_mean_ms",
                         1e3 * grown(metrics, "recurd_step_seconds_total") / steps));
    if (steps > 0 && wall_s > 0)
        json_object_set_new(o, "computing_share",
                            json_real(grown(metrics, "recurd_step_seconds_total") / wall_s));
    return o;
}

json_t *report_json(const struct args *a, const struct plan *plan, const struct run *run,
                    const struct result *r, const struct server_info *s, const json_t *metrics)
{
    char date[32];
    time_t t = (time_t)run->unix_start;
    struct tm tm;
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
    json_t *latency = json_object(), *curves = json_object(), *tags = json_object();
    for (enum metric m = 0; m < METRICS; m++) {
        json_object_set_new(latency, result_metric_name(m), summary_json(&r->m[m]));
        json_object_set_new(curves, result_metric_name(m), curve_json(&r->samples[m]));
    }
    for (enum tag k = 0; k < TAGS; k++)
        if (r->tags[k].n)
            json_object_set_new(tags, record_tag_name(k), group_json(&r->tags[k]));
    json_t *turns = json_array();
    for (uint32_t k = 0; k < r->n_turns; k++)
        if (r->turns[k].n)
            json_array_append_new(turns, group_json(&r->turns[k]));
    json_t *o = json_pack(
        "{ss+ ss ss ss}", "tool", "recurd-bench ", version_number(), "commit", version_commit(),
        "kind", "run", "label", a->label ? a->label : "run");
    json_object_set_new(o, "date", json_string(date));
    json_object_set_new(o, "machine", machine_json());
    json_object_set_new(o, "server",
                        json_pack("{ss ss sO? sO?}", "url", a->url, "model", s->model, "version",
                                  s->version, "models", s->models));
    json_object_set_new(o, "load", plan_json(plan));
    json_object_set_new(o, "wall_s", json_real((double)run->wall_ns / 1e9));
    json_object_set_new(o, "requests", requests_json(a, run, r));
    json_object_set_new(o, "tokens", tokens_json(r));
    json_object_set_new(o, "throughput", throughput_json(a, r));
    json_object_set_new(o, "latency", latency);
    json_object_set_new(o, "by_kind", tags);
    json_object_set_new(o, "by_turn", turns);
    json_object_set_new(o, "self", self_json(run));
    json_object_set_new(o, "curves", curves);
    json_object_set_new(o, "series", series_json(r));
    json_object_set_new(o, "scatter", scatter_json(run));
    if (metrics) {
        json_object_set_new(o, "engine", engine_json(metrics, (double)run->wall_ns / 1e9));
        json_object_set(o, "server_metrics", (json_t *)metrics);
    }
    json_object_set_new(o, "config", args_json(a));
    return o;
}

int report_write_json(const char *path, const json_t *o, struct err *e)
{
    size_t flags = JSON_INDENT(1) | JSON_REAL_PRECISION(9);
    FILE *f = !strcmp(path, "-") ? stdout : fopen(path, "we");
    if (!f)
        return err_set(e, E_IO, "%s: %s", path, strerror(errno));
    int rc = json_dumpf(o, f, flags);
    fputc('\n', f);
    rc |= f == stdout ? fflush(f) : fclose(f);
    return rc ? err_set(e, E_IO, "%s: %s", path, strerror(errno)) : 0;
}

static const json_t *walk(const json_t *o, const char *path)
{
    while (o && *path) {
        /* "p99.9_ms" has a dot itself: the longest key that matches wins. */
        const json_t *found = NULL;
        size_t len = strlen(path);
        for (; len > 0 && !found; len--) {
            if (path[len] && path[len] != '.')
                continue;
            char key[128];
            if (len >= sizeof key)
                continue;
            memcpy(key, path, len);
            key[len] = 0;
            found = json_object_get(o, key);
            if (found)
                break;
        }
        o = found;
        path += len + (path[len] == '.');
    }
    return o;
}

double report_number(const json_t *result, const char *path)
{
    const json_t *v = walk(result, path);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

const char *report_string(const json_t *result, const char *path)
{
    const char *s = json_string_value(walk(result, path));
    return s ? s : "";
}

int report_holds(const json_t *result, const char *expr, struct err *e)
{
    char path[128];
    size_t n = strcspn(expr, "<>=");
    const char *op = expr + n;
    size_t op_n = strspn(op, "<>=");
    char *end;
    double want = strtod(op + op_n, &end);
    if (!n || n >= sizeof path || !op_n || op_n > 2 || end == op + op_n || *end)
        return err_set(e, E_FORMAT, "--fail-if: \"%.80s\" is not PATH, <, <=, >, >= or =, NUMBER",
                       expr);
    memcpy(path, expr, n);
    path[n] = 0;
    double x = report_number(result, path);
    /* An error class that never occurred is absent: that is a zero. */
    if (isnan(x) && !strncmp(path, "requests.errors.", 16))
        x = 0;
    if (isnan(x))
        return err_set(e, E_NOENT, "--fail-if: the result has no number \"%.80s\"", path);
    if (op[0] == '<')
        return op_n == 2 ? x <= want : x < want;
    if (op[0] == '>')
        return op_n == 2 ? x >= want : x > want;
    return x == want;
}
