/* One self-contained page of any number of results: no script, no external file.
 *
 * Made from the JSON of the results alone; every string in it is escaped. Thread: one. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "programs/recurd-bench/chart.h"
#include "programs/recurd-bench/report.h"

#define PAGE_BYTES MIB(256)

static const char style[] =
    ":root{--bg:#fff;--fg:#1c2126;--soft:#5c6670;--line:#dfe3e8;--card:#f6f8fa;--good:#1a7f37;"
    "--bad:#b42318;--c0:#1f6feb;--c1:#d9730d;--c2:#1a7f37;--c3:#8250df;--c4:#bf3989;--c5:#57606a}"
    "@media(prefers-color-scheme:dark){:root{--bg:#14181d;--fg:#e4e8ec;--soft:#98a2ad;"
    "--line:#323a43;--card:#1c2229;--good:#4ac26b;--bad:#ff7b72;--c0:#58a6ff;--c1:#f0883e;"
    "--c2:#56d364;--c3:#bc8cff;--c4:#f778ba;--c5:#8b949e}}"
    "*{box-sizing:border-box}body{margin:0 auto;max-width:1180px;padding:16px;background:var(--bg);"
    "color:var(--fg);font:15px/1.45 system-ui,sans-serif}h1{font-size:1.5em;margin:.2em 0}"
    "h2{font-size:1.2em;margin:1.6em 0 .3em;padding-top:.6em;border-top:1px solid var(--line)}"
    "p{margin:.3em 0}.soft,small{color:var(--soft);font-size:.87em;font-weight:normal}"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(104px,1fr));gap:8px;"
    "margin:10px 0}.tile{background:var(--card);border-radius:8px;padding:8px 10px}"
    ".tile b{display:block;font-size:1.25em;font-variant-numeric:tabular-nums}"
    ".good b{color:var(--good)}.bad b{color:var(--bad)}"
    ".wide{overflow-x:auto;margin:10px 0}table{border-collapse:separate;border-spacing:0;"
    "font-size:.87em;font-variant-numeric:tabular-nums}"
    ".left{text-align:left}"
    "th,td{padding:3px 8px;text-align:right;white-space:nowrap;"
    "border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left;"
    "position:sticky;left:0;background:var(--bg)}th{color:var(--soft);font-weight:normal}"
    ".charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr));"
    "gap:14px}figure{margin:0}figcaption{font-weight:600;font-size:.93em}svg{width:100%;"
    "height:auto;display:block}svg text{font-size:11px;fill:var(--soft)}.r{text-anchor:end}"
    ".m{text-anchor:middle}.grid{stroke:var(--line)}path{fill:none;stroke-width:1.8}"
    ".key{font-size:.82em;color:var(--soft);margin:0}"
#define COLOUR(i) \
    ".s" #i "{stroke:var(--c" #i ")}.d" #i "{fill:var(--c" #i ");opacity:.45}.k" #i \
    "{color:var(--c" #i ")}"
    COLOUR(0) COLOUR(1) COLOUR(2) COLOUR(3) COLOUR(4) COLOUR(5)
    "@media(max-width:480px){th,td{padding:3px 5px}th:first-child,td:first-child{max-width:136px;"
    "white-space:normal}}"
    "details{margin:10px 0}summary{cursor:pointer;color:var(--soft)}pre{overflow-x:auto;"
    "background:var(--card);padding:8px;border-radius:8px;font-size:.8em}";

/* "1,234.5": digits in groups of three. */
static void number(struct buf *out, double x, int decimals)
{
    char s[64];
    if (isnan(x)) {
        buf_str(out, "&ndash;");
        return;
    }
    snprintf(s, sizeof s, "%.*f", decimals, x);
    size_t whole = strcspn(s, "."), start = s[0] == '-';
    for (size_t i = 0; s[i]; i++) {
        if (i > start && i < whole && (whole - i) % 3 == 0)
            buf_ch(out, ',');
        buf_ch(out, s[i]);
    }
}

/* Three digits or so, whatever the size. */
static void rounded(struct buf *out, double x)
{
    number(out, x, isnan(x) || fabs(x) >= 100 || x == floor(x) ? 0 : fabs(x) >= 10 ? 1 : 2);
}

static void tile(struct buf *out, const char *class, double x, int decimals, const char *what)
{
    if (isnan(x))
        return;
    buf_fmt(out, "<div class=\"tile %s\"><b>", class);
    if (decimals < 0)
        rounded(out, x);
    else
        number(out, x, decimals);
    buf_fmt(out, "</b><small>%s</small></div>", what);
}

static void cell(struct buf *out, double x)
{
    buf_str(out, "<td>");
    rounded(out, x);
    buf_str(out, "</td>");
}

/* --- curves out of the JSON --- */

struct points {
    double *x, *y;
    size_t n;
};

/* Column i of an array of arrays against column 0; or a plain array against its index. */
static struct points take_points(const json_t *a, size_t column)
{
    struct points p = {0};
    size_t n = json_array_size(a);
    p.x = mem_array(n + 1, sizeof *p.x);
    p.y = mem_array(n + 1, sizeof *p.y);
    for (size_t i = 0; p.x && p.y && i < n; i++) {
        const json_t *v = json_array_get(a, i);
        bool pair = json_is_array(v);
        const json_t *y = pair ? json_array_get(v, column) : v;
        p.x[i] = pair ? json_number_value(json_array_get(v, 0)) : (double)i;
        p.y[i] = json_is_number(y) ? json_number_value(y) : NAN;
        p.n = i + 1;
    }
    return p;
}

static void add_series(struct chart *c, const char *name, struct points p, bool dots)
{
    c->s[c->n++] = (struct chart_series){.name = name, .x = p.x, .y = p.y, .n = p.n, .dots = dots};
}

static void draw(struct buf *out, struct chart *c)
{
    chart_svg(out, c);
    for (int i = 0; i < c->n; i++) {
        mem_free((void *)(uintptr_t)c->s[i].x); /* add_series took them from take_points */
        mem_free((void *)(uintptr_t)c->s[i].y);
    }
}

static const json_t *sub(const json_t *o, const char *a, const char *b)
{
    return json_object_get(json_object_get(o, a), b);
}

static void latency_charts(struct buf *out, const json_t *r)
{
    struct chart c = {.title = "First token", .x_label = "percentile of requests", .y_label = "ms",
                      .x_scale = CHART_PERCENTILE};
    add_series(&c, "from send", take_points(sub(r, "curves", "ttft"), 1), false);
    add_series(&c, "from schedule", take_points(sub(r, "curves", "ttft_scheduled"), 1), false);
    draw(out, &c);
    c = (struct chart){.title = "Between tokens", .x_label = "percentile", .y_label = "ms",
                       .x_scale = CHART_PERCENTILE};
    add_series(&c, "every gap (ITL)", take_points(sub(r, "curves", "itl"), 1), false);
    add_series(&c, "mean of a request (TPOT)", take_points(sub(r, "curves", "tpot"), 1), false);
    draw(out, &c);
    c = (struct chart){.title = "Whole request", .x_label = "percentile of requests",
                       .y_label = "ms", .x_scale = CHART_PERCENTILE};
    add_series(&c, "from send", take_points(sub(r, "curves", "e2e"), 1), false);
    add_series(&c, "from schedule", take_points(sub(r, "curves", "e2e_scheduled"), 1), false);
    draw(out, &c);
}

static void time_charts(struct buf *out, const json_t *r)
{
    struct chart c = {.title = "Throughput over time", .x_label = "seconds",
                      .y_label = "output tokens/s"};
    add_series(&c, "", take_points(sub(r, "series", "output_tokens"), 0), false);
    draw(out, &c);
    c = (struct chart){.title = "Requests over time", .x_label = "seconds",
                       .y_label = "per second"};
    add_series(&c, "sent", take_points(sub(r, "series", "sent"), 0), false);
    add_series(&c, "done", take_points(sub(r, "series", "done"), 0), false);
    add_series(&c, "failed", take_points(sub(r, "series", "failed"), 0), false);
    add_series(&c, "open", take_points(sub(r, "series", "in_flight"), 0), false);
    draw(out, &c);
    c = (struct chart){.title = "Concurrency against latency",
                       .x_label = "open requests at the send", .y_label = "ms", .y_log = true};
    add_series(&c, "first token", take_points(json_object_get(r, "scatter"), 1), true);
    add_series(&c, "whole request", take_points(json_object_get(r, "scatter"), 2), true);
    draw(out, &c);
}

/* Of an array of objects: number at x_path (NULL: 1, 2, …) against y_path. */
static struct points take_fields(const json_t *a, const char *x_path, const char *y_path)
{
    struct points p = {0};
    size_t n = json_array_size(a);
    p.x = mem_array(n + 1, sizeof *p.x);
    p.y = mem_array(n + 1, sizeof *p.y);
    for (; p.x && p.y && p.n < n; p.n++) {
        const json_t *o = json_array_get(a, p.n);
        p.x[p.n] = x_path ? report_number(o, x_path) : (double)p.n + 1;
        p.y[p.n] = report_number(o, y_path);
    }
    return p;
}

static void turn_charts(struct buf *out, const json_t *r)
{
    const json_t *turns = json_object_get(r, "by_turn");
    if (json_array_size(turns) < 2)
        return;
    struct chart c = {.title = "First token by turn", .x_label = "turn", .y_label = "ms"};
    add_series(&c, "median", take_fields(turns, NULL, "ttft.p50_ms"), false);
    add_series(&c, "p99", take_fields(turns, NULL, "ttft.p99_ms"), false);
    draw(out, &c);
    c = (struct chart){.title = "Prompt by turn", .x_label = "turn", .y_label = "tokens, mean"};
    add_series(&c, "whole", take_fields(turns, NULL, "prompt_tokens_mean"), false);
    add_series(&c, "cached", take_fields(turns, NULL, "cached_tokens_mean"), false);
    draw(out, &c);
}

/* --- tables --- */

static void latency_table(struct buf *out, const json_t *r)
{
    static const char *const cols[] = {"mean", "std", "p50", "p90", "p95", "p99", "p99.9", "max"};
    buf_str(out, "<div class=wide><table><tr><th>ms</th>");
    for (size_t i = 0; i < ARRAY_LEN(cols); i++)
        buf_fmt(out, "<th>%s</th>", cols[i]);
    for (enum metric m = 0; m < METRICS; m++) {
        char path[64];
        snprintf(path, sizeof path, "latency.%s.n", result_metric_name(m));
        if (!(report_number(r, path) > 0))
            continue;
        buf_fmt(out, "</tr><tr><td>%s</td>", result_metric_title(m));
        for (size_t i = 0; i < ARRAY_LEN(cols); i++) {
            snprintf(path, sizeof path, "latency.%s.%s_ms", result_metric_name(m), cols[i]);
            cell(out, report_number(r, path));
        }
    }
    buf_str(out, "</tr></table></div>");
}

static void group_row(struct buf *out, const char *name, const json_t *g)
{
    static const char *const paths[] = {"n", "prompt_tokens_mean", "cached_tokens_mean",
                                        "ttft.p50_ms", "ttft.p99_ms", "e2e.p50_ms", "e2e.p99_ms"};
    buf_str(out, "<tr><td>");
    chart_text(out, name);
    buf_str(out, "</td>");
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        cell(out, report_number(g, paths[i]));
    buf_str(out, "</tr>");
}

static void group_table(struct buf *out, const json_t *r)
{
    json_t *kinds = json_object_get(r, "by_kind"), *turns = json_object_get(r, "by_turn"), *g;
    if (json_object_size(kinds) < 2 && json_array_size(turns) < 2)
        return;
    buf_str(out, "<div class=wide><table><tr><th>requests</th><th>n</th><th>prompt</th>"
            "<th>cached</th><th>TTFT p50</th><th>p99</th><th>E2E p50</th><th>p99</th></tr>");
    const char *key;
    json_object_foreach(kinds, key, g)
        group_row(out, key, g);
    size_t i;
    json_array_foreach(turns, i, g) {
        char name[32];
        snprintf(name, sizeof name, "turn %zu", i + 1);
        group_row(out, name, g);
    }
    buf_str(out, "</table></div>");
}

static void error_list(struct buf *out, const json_t *r)
{
    json_t *errors = json_object_get(json_object_get(r, "requests"), "errors"), *v;
    const char *key;
    json_object_foreach(errors, key, v) {
        char path[96];
        snprintf(path, sizeof path, "requests.error_samples.%s", key);
        buf_str(out, "<p><b>");
        chart_text(out, key);
        buf_fmt(out, "</b> %lld <small>", (long long)json_integer_value(v));
        chart_text(out, report_string(r, path));
        buf_str(out, "</small></p>");
    }
}

static void folded_json(struct buf *out, const char *title, const json_t *o)
{
    char *s = o ? json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    if (!s)
        return;
    buf_fmt(out, "<details><summary>%s</summary><pre>", title);
    chart_text(out, s);
    buf_str(out, "</pre></details>");
    free(s);
}

static void load_words(struct buf *out, const json_t *r)
{
    const char *loop = report_string(r, "load.loop");
    if (!strcmp(loop, "closed"))
        buf_fmt(out, "closed loop of %.0f", report_number(r, "load.concurrency"));
    else if (!strcmp(loop, "trace"))
        buf_str(out, "arrivals of a trace");
    else if (isnan(report_number(r, "load.rate")))
        buf_str(out, "all at once");
    else
        buf_fmt(out, "open loop, %g/s %s", report_number(r, "load.rate"),
                report_string(r, "config.arrival"));
    if (json_is_true(json_object_get(json_object_get(r, "load"), "ramped"))) {
        buf_str(out, ", ramp ");
        chart_text(out, report_string(r, "config.ramp"));
    }
    buf_str(out, "; ");
    chart_text(out, report_string(r, "config.endpoint"));
    buf_str(out, ", prompt ");
    chart_text(out, report_string(r, "config.input_tokens"));
    if (report_number(r, "config.prefix_tokens") > 0)
        buf_fmt(out, " after a shared %.0f", report_number(r, "config.prefix_tokens"));
    buf_str(out, ", output ");
    chart_text(out, report_string(r, "config.output_tokens"));
    buf_str(out, " tokens");
}

static void heading(struct buf *out, const json_t *o, size_t i)
{
    buf_fmt(out, "<h2 id=r%zu>", i);
    chart_text(out, report_string(o, "label"));
    buf_str(out, "</h2><p class=soft>model ");
    chart_text(out, report_string(o, "server.model"));
}

static void run_section(struct buf *out, const json_t *r, size_t i)
{
    heading(out, r, i);
    buf_str(out, "; ");
    load_words(out, r);
    if (json_is_true(json_object_get(json_object_get(r, "requests"), "interrupted")))
        buf_str(out, "; <b>interrupted</b>");
    buf_str(out, "</p><div class=tiles>");
    tile(out, "", report_number(r, "throughput.output_tokens_per_s"), -1, "output tokens/s");
    tile(out, "", report_number(r, "throughput.requests_per_s"), -1, "requests/s");
    tile(out, "", report_number(r, "latency.ttft.p50_ms"), -1, "TTFT p50, ms");
    tile(out, "", report_number(r, "latency.ttft.p99_ms"), -1, "TTFT p99, ms");
    tile(out, "", report_number(r, "latency.tpot.p50_ms"), -1, "TPOT p50, ms");
    tile(out, "", report_number(r, "latency.itl.p99_ms"), -1, "ITL p99, ms");
    if (report_number(r, "tokens.prompt") > 0)
        tile(out, "", 100 * report_number(r, "tokens.cached") / report_number(r, "tokens.prompt"),
             1, "% of prompt cached");
    tile(out, "", 100 * report_number(r, "throughput.good_share"), 1, "% within SLO");
    tile(out, "", report_number(r, "requests.ok"), 0, "good requests");
    double failed = report_number(r, "requests.failed");
    tile(out, failed > 0 ? "bad" : "good", failed, 0, "failed");
    buf_str(out, "</div>");
    error_list(out, r);
    latency_table(out, r);
    group_table(out, r);
    buf_str(out, "<div class=charts>");
    latency_charts(out, r);
    time_charts(out, r);
    turn_charts(out, r);
    buf_str(out, "</div>");
    folded_json(out, "server metrics that changed", json_object_get(r, "server_metrics"));
    folded_json(out, "this client's own cost", json_object_get(r, "self"));
    folded_json(out, "configuration", json_object_get(r, "config"));
}

static void sweep_section(struct buf *out, const json_t *s, size_t i)
{
    bool rate = !strcmp(report_string(s, "of"), "rate");
    const char *x = rate ? "load.rate" : "load.concurrency", *name = rate ? "requests/s offered"
                                                                          : "concurrency";
    static const char *const paths[] = {
        "throughput.requests_per_s", "throughput.output_tokens_per_s", "latency.ttft.p50_ms",
        "latency.ttft.p99_ms", "latency.tpot.p50_ms", "latency.itl.p99_ms", "latency.e2e.p50_ms",
        "requests.failed"};
    json_t *levels = json_object_get(s, "levels"), *l;
    heading(out, s, i);
    buf_fmt(out, "; sweep over %s</p><div class=wide><table><tr><th>%s</th><th>served/s</th>"
            "<th>tokens/s</th><th>TTFT p50</th><th>p99</th><th>TPOT p50</th><th>ITL p99</th>"
            "<th>E2E p50</th><th>failed</th></tr>", name, name);
    size_t k;
    json_array_foreach(levels, k, l) {
        buf_fmt(out, "<tr><td>%g</td>", report_number(l, x));
        for (size_t p = 0; p < ARRAY_LEN(paths); p++)
            cell(out, report_number(l, paths[p]));
        buf_str(out, "</tr>");
    }
    buf_str(out, "</table></div><div class=charts>");
    struct chart c = {.title = "Throughput", .x_label = name, .y_label = "output tokens/s",
                      .x_scale = CHART_LOG2};
    add_series(&c, "", take_fields(levels, x, "throughput.output_tokens_per_s"), false);
    draw(out, &c);
    c = (struct chart){.title = "First token", .x_label = name, .y_label = "ms",
                       .x_scale = CHART_LOG2, .y_log = true};
    add_series(&c, "p50", take_fields(levels, x, "latency.ttft.p50_ms"), false);
    add_series(&c, "p99", take_fields(levels, x, "latency.ttft.p99_ms"), false);
    draw(out, &c);
    c = (struct chart){.title = "Between tokens", .x_label = name, .y_label = "ms",
                       .x_scale = CHART_LOG2, .y_log = true};
    add_series(&c, "TPOT p50", take_fields(levels, x, "latency.tpot.p50_ms"), false);
    add_series(&c, "ITL p99", take_fields(levels, x, "latency.itl.p99_ms"), false);
    draw(out, &c);
    c = (struct chart){.title = "What a token costs in waiting", .x_label = "output tokens/s",
                       .y_label = "TPOT p50, ms"};
    add_series(&c, "", take_fields(levels, paths[1], "latency.tpot.p50_ms"), false);
    draw(out, &c);
    buf_str(out, "</div>");
    folded_json(out, "configuration", json_object_get(s, "config"));
}

static void verify_section(struct buf *out, const json_t *v, size_t i)
{
    double bad = report_number(v, "mismatches"), failed = report_number(v, "failed");
    heading(out, v, i);
    buf_fmt(out, "; the same requests alone and at concurrency %.0f, compared bit for bit</p>"
            "<div class=tiles>", report_number(v, "concurrency"));
    tile(out, bad > 0 ? "bad" : "good", bad, 0, "replies that differ");
    tile(out, failed > 0 ? "bad" : "", failed, 0, "failed");
    tile(out, "", report_number(v, "replies_compared"), 0, "replies compared");
    tile(out, "", report_number(v, "tokens_compared"), 0, "tokens compared");
    tile(out, "", report_number(v, "logprob_rows_compared"), 0, "rows of logprobs");
    buf_str(out, "</div>");
    if (bad > 0)
        folded_json(out, "differences", json_object_get(v, "samples"));
}

/* One line a result: what a reader wants to see first. */
static void overview(struct buf *out, const json_t *all)
{
    static const char *const paths[] = {
        "throughput.output_tokens_per_s", "throughput.requests_per_s", "latency.ttft.p50_ms",
        "latency.ttft.p99_ms", "latency.tpot.p50_ms", "latency.itl.p99_ms", "requests.failed"};
    size_t i;
    json_t *o;
    buf_str(out, "<div class=wide><table><tr><th>run</th><th>tokens/s</th><th>requests/s</th>"
            "<th>TTFT p50</th><th>p99</th><th>TPOT p50</th><th>ITL p99</th><th>failed</th></tr>");
    json_array_foreach((json_t *)all, i, o) {
        const char *kind = report_string(o, "kind");
        buf_fmt(out, "<tr><td><a href=\"#r%zu\">", i);
        chart_text(out, report_string(o, "label"));
        buf_str(out, "</a></td>");
        for (size_t p = 0; p < ARRAY_LEN(paths) && !strcmp(kind, "run"); p++)
            cell(out, report_number(o, paths[p]));
        if (!strcmp(kind, "verify"))
            buf_fmt(out, "<td class=left colspan=7>%s</td>", report_number(o, "mismatches") == 0 &&
                    report_number(o, "failed") == 0 ? "identical bit for bit" : "NOT IDENTICAL");
        if (!strcmp(kind, "sweep"))
            buf_fmt(out, "<td class=left colspan=7>sweep of %zu levels</td>",
                    json_array_size(json_object_get(o, "levels")));
        buf_str(out, "</tr>");
    }
    buf_str(out, "</table></div>");
}

static void page(struct buf *out, const char *title, const json_t *all)
{
    const json_t *first = json_array_get(all, 0);
    buf_str(out, "<!doctype html><html lang=en><meta charset=utf-8>"
            "<meta name=viewport content=\"width=device-width,initial-scale=1\"><title>");
    chart_text(out, title);
    buf_fmt(out, "</title><style>%s</style><h1>", style);
    chart_text(out, title);
    buf_str(out, "</h1><p class=soft>");
    chart_text(out, report_string(first, "machine.cpu"));
    buf_fmt(out, ", %g cores, %g GiB, ", report_number(first, "machine.cores"),
            report_number(first, "machine.memory_gib"));
    chart_text(out, report_string(first, "machine.system"));
    buf_str(out, "; ");
    chart_text(out, report_string(first, "date"));
    buf_str(out, "; ");
    chart_text(out, report_string(first, "tool"));
    buf_str(out, " at ");
    chart_text(out, report_string(first, "commit"));
    const json_t *version = sub(first, "server", "version");
    char *s = json_is_object(version) ? json_dumps(version, JSON_COMPACT) : NULL;
    if (s) {
        buf_str(out, "; server ");
        chart_text(out, s);
    }
    free(s);
    buf_str(out, "</p>");
    if (json_array_size(all) > 1)
        overview(out, all);
    size_t i;
    json_t *o;
    json_array_foreach((json_t *)all, i, o) {
        const char *kind = report_string(o, "kind");
        if (!strcmp(kind, "sweep"))
            sweep_section(out, o, i);
        else if (!strcmp(kind, "verify"))
            verify_section(out, o, i);
        else
            run_section(out, o, i);
    }
    buf_str(out, "<h2>How to read this</h2><p class=soft>TTFT: from the send to the first output. "
            "ITL: every gap between outputs, 0 for outputs that came in one read. "
            "TPOT: (E2E &minus; TTFT) / (output tokens &minus; 1), one value a request. E2E: from "
            "the send to the last output. From schedule: the same, "
            "counted from the moment the request was due, so that a stalled server cannot hide by "
            "holding the client back. Percentiles are exact: all samples are kept, failed requests "
            "are counted and left out.</p></html>\n");
}

int report_html(const char *path, const char *title, const json_t *results, struct err *e)
{
    struct buf b;
    buf_init(&b, PAGE_BYTES);
    page(&b, title, results);
    FILE *f = b.failed ? NULL : fopen(path, "we");
    int rc = 0;
    if (b.failed)
        rc = err_set(e, E_NOMEM, "%s: the page exceeds %zu bytes", path, PAGE_BYTES);
    else if (!f)
        rc = err_set(e, E_IO, "%s: %s", path, strerror(errno));
    else if ((fwrite(b.p, 1, b.len, f) != b.len) | fclose(f))
        rc = err_set(e, E_IO, "%s: %s", path, strerror(errno));
    buf_free(&b);
    return rc;
}
