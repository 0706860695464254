/* A markdown table of results, for a README. Thread: one. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "programs/recurd-bench/report.h"

static void cell(FILE *f, double x)
{
    if (isnan(x))
        fputs(" |", f);
    else
        fprintf(f, fabs(x) >= 100 ? " %.0f |" : fabs(x) >= 10 ? " %.1f |" : " %.2f |", x);
}

/* A bar would end the column. */
static void text(FILE *f, const char *s)
{
    for (; *s; s++)
        fputc(*s == '|' || *s == '\n' ? ' ' : *s, f);
}

static void row(FILE *f, const json_t *o, const char *label)
{
    static const char *const paths[] = {
        "throughput.output_tokens_per_s", "throughput.requests_per_s", "latency.ttft.p50_ms",
        "latency.ttft.p99_ms", "latency.tpot.p50_ms", "latency.itl.p99_ms"};
    fputs("| ", f);
    text(f, label);
    fputs(" |", f);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        cell(f, report_number(o, paths[i]));
    cell(f, 100 * report_number(o, "tokens.cached") / report_number(o, "tokens.prompt"));
    fprintf(f, " %.0f |\n", report_number(o, "requests.failed"));
}

/* A run whose requests are of several kinds (first turns, resumed ones, forks) has a line each. */
static void kind_rows(FILE *f, const json_t *o)
{
    json_t *kinds = json_object_get(o, "by_kind"), *g;
    const char *key;
    if (json_object_size(kinds) < 2)
        return;
    json_object_foreach(kinds, key, g) {
        fprintf(f, "| &nbsp; %s | | |", !strcmp(key, "first") ? "first turns"
                                         : !strcmp(key, "turn") ? "later turns"
                                         : !strcmp(key, "fork") ? "forks" : "resumed turns");
        cell(f, report_number(g, "ttft.p50_ms"));
        cell(f, report_number(g, "ttft.p99_ms"));
        fputs(" | |", f);
        cell(f, 100 * report_number(g, "cached_tokens_mean") /
                    report_number(g, "prompt_tokens_mean"));
        fputs(" |\n", f);
    }
}

static void sweep_rows(FILE *f, const json_t *o)
{
    bool rate = !strcmp(report_string(o, "of"), "rate");
    size_t i;
    json_t *l;
    json_array_foreach(json_object_get(o, "levels"), i, l) {
        char label[256];
        snprintf(label, sizeof label, "%.180s, %s %g", report_string(o, "label"),
                 rate ? "rate" : "concurrency",
                 report_number(l, rate ? "load.rate" : "load.concurrency"));
        row(f, l, label);
    }
}

int report_markdown(const char *path, const json_t *all, struct err *e)
{
    FILE *f = !strcmp(path, "-") ? stdout : fopen(path, "we");
    if (!f)
        return err_set(e, E_IO, "%s: %s", path, strerror(errno));
    const json_t *first = json_array_get(all, 0);
    fputs("| run | tokens/s | requests/s | TTFT p50, ms | p99 | TPOT p50, ms | ITL p99 | prompt "
          "cached, % | failed |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n", f);
    size_t i;
    json_t *o;
    json_array_foreach((json_t *)all, i, o) {
        const char *kind = report_string(o, "kind");
        if (!strcmp(kind, "run")) {
            row(f, o, report_string(o, "label"));
            kind_rows(f, o);
        }
        else if (!strcmp(kind, "sweep"))
            sweep_rows(f, o);
    }
    fputc('\n', f);
    json_array_foreach((json_t *)all, i, o) {
        if (strcmp(report_string(o, "kind"), "verify"))
            continue;
        text(f, report_string(o, "label"));
        fprintf(f, ": %.0f replies (%.0f tokens, %.0f rows of logprobs) at concurrency %.0f "
                "compared with the same requests alone: %.0f differ.\n\n",
                report_number(o, "replies_compared"), report_number(o, "tokens_compared"),
                report_number(o, "logprob_rows_compared"), report_number(o, "concurrency"),
                report_number(o, "mismatches"));
    }
    text(f, report_string(first, "machine.cpu"));
    fprintf(f, ", %g cores, %g GiB, ", report_number(first, "machine.cores"),
            report_number(first, "machine.memory_gib"));
    text(f, report_string(first, "machine.system"));
    fprintf(f, "; %s; client at commit %s", report_string(first, "date"),
            report_string(first, "commit"));
    const char *server = report_string(first, "server.version.commit");
    if (*server) {
        fputs(", server at ", f);
        text(f, server);
    }
    fputs(".\n", f);
    bool bad = ferror(f);
    int rc = f == stdout ? fflush(f) : fclose(f);
    return rc || bad ? err_set(e, E_IO, "%s: %s", path, strerror(errno)) : 0;
}
