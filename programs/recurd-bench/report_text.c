/* The table on the terminal, one line a request, one line a run. Thread: one. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "programs/recurd-bench/dataset.h"
#include "programs/recurd-bench/report.h"

#define METRICS_SHOWN 40 /* more than a screen is read by programs, and those read the JSON */

static const char *const columns[] = {"mean", "std", "p50", "p90", "p95", "p99", "p99.9", "max"};

static void heading(FILE *f, const char *title)
{
    fprintf(f, "\n%s\n", title);
}

static void line(FILE *f, const json_t *r, const char *title, const char *path, int decimals)
{
    double x = report_number(r, path);
    if (!isnan(x))
        fprintf(f, "  %-34s %14.*f\n", title, decimals, x);
}

/* As line, but silent about a zero: what needs no attention takes no space. */
static void unless_zero(FILE *f, const json_t *r, const char *title, const char *path)
{
    double x = report_number(r, path);
    if (!isnan(x) && x != 0)
        fprintf(f, "  %-34s %14.0f\n", title, x);
}

static void latency_table(FILE *f, const json_t *r)
{
    heading(f, "Latency, ms");
    fprintf(f, "  %-20s", "");
    for (size_t c = 0; c < ARRAY_LEN(columns); c++)
        fprintf(f, " %9s", columns[c]);
    fputc('\n', f);
    for (enum metric m = 0; m < METRICS; m++) {
        char path[64];
        snprintf(path, sizeof path, "latency.%s.n", result_metric_name(m));
        if (!(report_number(r, path) > 0))
            continue;
        fprintf(f, "  %-20s", result_metric_title(m));
        for (size_t c = 0; c < ARRAY_LEN(columns); c++) {
            snprintf(path, sizeof path, "latency.%s.%s_ms", result_metric_name(m), columns[c]);
            fprintf(f, " %9.2f", report_number(r, path));
        }
        fputc('\n', f);
    }
    fputs("  TTFT: send to first output. ITL: every gap between outputs. TPOT: (E2E - TTFT) / "
          "(output\n  tokens - 1). E2E: send to last output. From schedule: counted from when it "
          "was due.\n", f);
}

static void group_row(FILE *f, const char *name, const json_t *g)
{
    fprintf(f, "  %-10s %8.0f %14.1f %14.1f %10.2f %10.2f %10.2f\n", name, report_number(g, "n"),
            report_number(g, "prompt_tokens_mean"), report_number(g, "cached_tokens_mean"),
            report_number(g, "ttft.p50_ms"), report_number(g, "ttft.p99_ms"),
            report_number(g, "e2e.p50_ms"));
}

static void groups(FILE *f, const json_t *r)
{
    const json_t *kinds = json_object_get(r, "by_kind"), *turns = json_object_get(r, "by_turn");
    json_t *g;
    if (json_object_size(kinds) < 2 && json_array_size(turns) < 2)
        return;
    heading(f, "By kind and turn");
    fprintf(f, "  %-10s %8s %14s %14s %10s %10s %10s\n", "", "n", "prompt tokens", "cached tokens",
            "TTFT p50", "TTFT p99", "E2E p50");
    const char *key;
    json_object_foreach((json_t *)kinds, key, g)
        group_row(f, key, g);
    size_t i;
    json_array_foreach((json_t *)turns, i, g) {
        char name[32];
        snprintf(name, sizeof name, "turn %zu", i + 1);
        group_row(f, name, g);
    }
}

static void errors(FILE *f, const json_t *r)
{
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(json_object_get(r, "requests"), "errors"), key, v) {
        char path[96];
        snprintf(path, sizeof path, "requests.error_samples.%s", key);
        fprintf(f, "    %-32s %14lld  %.60s\n", key, (long long)json_integer_value(v),
                report_string(r, path));
    }
}

/* "x_sum" and "x_count": what the average of the samples in between was. */
static void histogram_mean(FILE *f, const json_t *all, const char *key, const json_t *sum)
{
    char name[160];
    size_t n = strlen(key);
    if (n < 4 || n > 150 || strcmp(key + n - 4, "_sum"))
        return;
    snprintf(name, sizeof name, "%.*s_count", (int)n - 4, key);
    const json_t *count = json_object_get(all, name);
    double k = report_number(count, "after") - report_number(count, "before");
    if (!(k > 0))
        return;
    snprintf(name, sizeof name, "%.*s, mean of %.0f", (int)n - 4, key, k);
    fprintf(f, "  %-74s %25.6g\n", name,
            (report_number(sum, "after") - report_number(sum, "before")) / k);
}

static void metrics_table(FILE *f, const json_t *r)
{
    if (json_object_size(json_object_get(r, "engine")))
        heading(f, "The server's engine");
    line(f, r, "tokens per step", "engine.tokens_per_step", 1);
    line(f, r, "mean step, ms", "engine.step_mean_ms", 2);
    line(f, r, "share of the time computing", "engine.computing_share", 3);
    json_t *all = json_object_get(r, "server_metrics"), *v;
    const char *key;
    int shown = 0;
    json_object_foreach(all, key, v) {
        /* Buckets, sums and counts stay in the JSON; their quotient is shown below. */
        size_t n = strlen(key);
        bool part = strstr(key, "_bucket") || (n > 4 && !strcmp(key + n - 4, "_sum")) ||
                    (n > 6 && !strcmp(key + n - 6, "_count"));
        if (part || !strncmp(key, "process_", 8) || shown >= METRICS_SHOWN)
            continue;
        if (!shown++)
            heading(f, "Server metrics that changed: before, after");
        fprintf(f, "  %-74s %12.6g %12.6g\n", key, report_number(v, "before"),
                report_number(v, "after"));
    }
    json_object_foreach(all, key, v)
        histogram_mean(f, all, key, v);
}

static void self(FILE *f, const json_t *r)
{
    heading(f, "This client");
    line(f, r, "CPU, share of one core", "self.cpu_share", 3);
    line(f, r, "CPU per event, us", "self.cpu_us_per_event", 2);
    line(f, r, "loop turn p99, ms (bound of error)", "self.loop_turn_p99_ms", 3);
    line(f, r, "longest loop turn, ms", "self.loop_turn_max_ms", 3);
    line(f, r, "peak memory, MiB", "self.peak_memory_mib", 1);
    line(f, r, "peak open requests", "self.peak_open_requests", 0);
    line(f, r, "connections opened", "self.connections_opened", 0);
    line(f, r, "connections reused", "self.connections_reused", 0);
    unless_zero(f, r, "retries on stale connections", "self.stale_connection_retries");
}

void report_text(FILE *f, const json_t *r)
{
    fprintf(f, "%s: %s, model %s\n", report_string(r, "label"), report_string(r, "server.url"),
            report_string(r, "server.model"));
    if (json_is_true(json_object_get(json_object_get(r, "requests"), "interrupted")))
        fputs("interrupted: what was measured until then\n", f);
    heading(f, "Requests");
    line(f, r, "wall time, s", "wall_s", 2);
    line(f, r, "measured", "requests.measured", 0);
    line(f, r, "good", "requests.ok", 0);
    line(f, r, "failed", "requests.failed", 0);
    errors(f, r);
    unless_zero(f, r, "cancelled by this client", "requests.cancelled");
    unless_zero(f, r, "unfinished", "requests.unfinished");
    unless_zero(f, r, "turns never sent", "requests.skipped_turns");
    unless_zero(f, r, "left out as warm-up", "requests.warmup");
    line(f, r, "sent more than 1 ms late", "requests.late", 0);
    unless_zero(f, r, "sessions", "requests.sessions");
    unless_zero(f, r, "forks", "requests.forks");
    line(f, r, "restart to first answer, ms", "requests.restart_ms", 1);
    heading(f, "Throughput");
    line(f, r, "requests/s", "throughput.requests_per_s", 2);
    line(f, r, "output tokens/s", "throughput.output_tokens_per_s", 1);
    line(f, r, "prompt + output tokens/s", "throughput.total_tokens_per_s", 1);
    line(f, r, "goodput, requests/s meeting all SLOs", "throughput.goodput_per_s", 2);
    line(f, r, "share of requests meeting them", "throughput.good_share", 4);
    heading(f, "Tokens, as the server counts");
    line(f, r, "prompt", "tokens.prompt", 0);
    line(f, r, "of them cached", "tokens.cached", 0);
    line(f, r, "output", "tokens.output", 0);
    unless_zero(f, r, "outputs read with the one before",
                "tokens.outputs_read_with_the_one_before");
    unless_zero(f, r, "replies without usage", "tokens.replies_without_usage");
    unless_zero(f, r, "other prompt length than asked", "tokens.replies_with_other_prompt_length");
    unless_zero(f, r, "other output length than asked", "tokens.replies_with_other_output_length");
    unless_zero(f, r, "stream and usage differ", "tokens.replies_whose_stream_and_usage_differ");
    latency_table(f, r);
    groups(f, r);
    metrics_table(f, r);
    self(f, r);
}

int report_jsonl(const char *path, const struct run *run, struct err *e)
{
    FILE *f = fopen(path, "we");
    if (!f)
        return err_set(e, E_IO, "%s: %s", path, strerror(errno));
    struct buf b;
    buf_init(&b, 1 << 20); /* an error sentence, escaped, has no more than 1 KiB */
    for (size_t i = 0; i < run->records.n; i++) {
        const struct record *r = &run->records.p[i];
        fprintf(f, "{\"conv\":%llu,\"turn\":%u,\"kind\":\"%s\",\"outcome\":\"%s\",\"status\":%d,"
                "\"measured\":%s,\"scheduled_ms\":%.3f,\"sent_ms\":%.3f,\"first_byte_ms\":%.3f,"
                "\"first_ms\":%.3f,\"last_ms\":%.3f,\"end_ms\":%.3f,\"open_requests\":%u,"
                "\"asked_prompt\":%d,\"asked_output\":%d,\"prompt_tokens\":%d,"
                "\"cached_tokens\":%d,\"output_tokens\":%d,\"finish\":\"",
                (unsigned long long)r->conv, r->turn, record_tag_name(r->tag),
                outcome_name(r->outcome), r->status, r->measured ? "true" : "false",
                (double)r->t_sched / 1e6, (double)r->t_send / 1e6, (double)r->t_first_byte / 1e6,
                (double)r->t_first / 1e6, (double)r->t_last / 1e6, (double)r->t_end / 1e6,
                r->in_flight, r->asked_in, r->asked_out, r->prompt_tokens, r->cached_tokens,
                record_tokens(r));
        buf_clear(&b);
        dataset_escape(&b, r->finish, strlen(r->finish));
        if (r->error) {
            buf_str(&b, "\",\"error\":\"");
            dataset_escape(&b, r->error, strlen(r->error));
        }
        fprintf(f, "%s\",\"gaps_ms\":[", b.p ? b.p : "");
        for (uint32_t k = 0; k + 1 < r->n_outputs; k++)
            fprintf(f, "%s%.3f", k ? "," : "", r->gaps_us[k] / 1e3);
        fputs("]}\n", f);
    }
    buf_free(&b);
    bool bad = ferror(f);
    return fclose(f) || bad ? err_set(e, E_IO, "%s: %s", path, strerror(errno)) : 0;
}

static const char *const csv_paths[] = {
    "wall_s", "requests.measured", "requests.ok", "requests.failed", "requests.late",
    "throughput.requests_per_s", "throughput.output_tokens_per_s", "throughput.total_tokens_per_s",
    "throughput.goodput_per_s", "tokens.prompt", "tokens.cached", "tokens.output",
    "latency.ttft.mean_ms", "latency.ttft.p50_ms", "latency.ttft.p99_ms", "latency.itl.mean_ms",
    "latency.itl.p50_ms", "latency.itl.p99_ms", "latency.tpot.mean_ms", "latency.tpot.p50_ms",
    "latency.tpot.p99_ms", "latency.e2e.mean_ms", "latency.e2e.p50_ms", "latency.e2e.p99_ms",
    "latency.ttft_scheduled.p99_ms", "latency.e2e_scheduled.p99_ms", "self.cpu_share",
};

int report_csv(const char *path, const json_t *r, struct err *e)
{
    struct stat st;
    bool fresh = stat(path, &st) || !st.st_size;
    FILE *f = fopen(path, "ae");
    if (!f)
        return err_set(e, E_IO, "%s: %s", path, strerror(errno));
    if (fresh) {
        fputs("date,label,url,model,loop,concurrency,rate", f);
        for (size_t i = 0; i < ARRAY_LEN(csv_paths); i++)
            fprintf(f, ",%s", csv_paths[i]);
        fputc('\n', f);
    }
    static const char *const texts[] = {"date", "label", "server.url", "server.model", "load.loop"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        fprintf(f, "%s\"", i ? "," : "");
        for (const char *s = report_string(r, texts[i]); *s; s++)
            fputs(*s == '"' ? "\"\"" : (char[]){*s, 0}, f);
        fputc('"', f);
    }
    static const char *const loads[] = {"load.concurrency", "load.rate"};
    for (size_t i = 0; i < ARRAY_LEN(loads) + ARRAY_LEN(csv_paths); i++) {
        double x = report_number(r, i < 2 ? loads[i] : csv_paths[i - 2]);
        fputc(',', f);
        if (!isnan(x))
            fprintf(f, "%.9g", x);
    }
    fputc('\n', f);
    bool bad = ferror(f);
    return fclose(f) || bad ? err_set(e, E_IO, "%s: %s", path, strerror(errno)) : 0;
}
