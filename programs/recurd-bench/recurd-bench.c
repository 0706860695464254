/* recurd-bench: a load client for OpenAI-compatible servers.
 *
 * main: arguments, one of run, verify, sweep or report, the outputs, the exit code: 0 good; 1 a
 * check failed; 2 usage or no measurement; 130 interrupted, after the report of what was
 * measured. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "programs/recurd-bench/bench.h"
#include "programs/recurd-bench/sweep.h"
#include "programs/recurd-bench/verify.h"

enum { EXIT_GOOD = 0, EXIT_CHECK = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

static int complain(const struct err *e)
{
    fprintf(stderr, "recurd-bench: %s\n", e->text);
    return EXIT_USAGE;
}

/* recurd-bench report [--html FILE] [--markdown FILE] [--title TEXT] RESULT.json... */
static int report_main(int argc, char **argv)
{
    const char *html = NULL, *markdown = NULL, *title = "recurd-bench";
    struct err e = {0};
    json_t *all = json_array();
    int rc = 0;
    for (int i = 2; i < argc && !rc; i++) {
        const char **into = !strcmp(argv[i], "--html") ? &html
                            : !strcmp(argv[i], "--markdown") ? &markdown
                            : !strcmp(argv[i], "--title") ? &title : NULL;
        if (into && i + 1 < argc) {
            *into = argv[++i];
            continue;
        }
        json_error_t at;
        json_t *o = into ? NULL : json_load_file(argv[i], 0, &at);
        if (!json_is_object(o))
            rc = err_set(&e, E_FORMAT, "%s: %s", argv[i],
                         into ? "needs a value" : o ? "is not a result" : at.text);
        else
            json_array_append(all, o);
        json_decref(o);
    }
    if (!rc && !html && !markdown)
        rc = err_set(&e, E_FORMAT, "report: neither --html nor --markdown");
    if (!rc && !json_array_size(all))
        rc = err_set(&e, E_FORMAT, "report: no result was named");
    if (!rc && html)
        rc = report_html(html, title, all, &e);
    if (!rc && markdown)
        rc = report_markdown(markdown, all, &e);
    json_decref(all);
    return rc ? complain(&e) : EXIT_GOOD;
}

/* Writes what was asked for; 1 when a check failed. */
static int deliver(const struct args *a, const json_t *o, struct err *e)
{
    const char *kind = report_string(o, "kind");
    bool to_stdout = a->json && !strcmp(a->json, "-");
    if (!a->quiet && !to_stdout) {
        if (!strcmp(kind, "verify"))
            verify_text(stdout, o);
        else if (!strcmp(kind, "sweep"))
            sweep_text(stdout, o);
        else
            report_text(stdout, o);
        fflush(stdout);
    }
    if (a->json && report_write_json(a->json, o, e))
        return e->code;
    if (a->csv && !strcmp(kind, "run") && report_csv(a->csv, o, e))
        return e->code;
    size_t i;
    json_t *level;
    json_array_foreach(json_object_get(o, "levels"), i, level)
        if (a->csv && report_csv(a->csv, level, e))
            return e->code;
    if (a->html) {
        json_t *one = json_pack("[O]", o);
        int rc = report_html(a->html, a->label ? a->label : "recurd-bench", one, e);
        json_decref(one);
        if (rc)
            return rc;
    }
    int failed = !strcmp(kind, "verify") &&
                 (report_number(o, "mismatches") > 0 || report_number(o, "failed") > 0);
    for (int k = 0; k < a->fail_if.n; k++) {
        int holds = report_holds(o, a->fail_if.v[k], e);
        if (holds < 0)
            return holds;
        if (holds)
            fprintf(stderr, "recurd-bench: check failed: %s\n", a->fail_if.v[k]);
        failed |= holds;
    }
    return failed;
}

static void announce(const json_t *level)
{
    fprintf(stderr, "%s %g: %.1f tokens/s, TTFT p50 %.1f ms, TPOT p50 %.2f ms\n",
            report_string(level, "load.loop"),
            !strcmp(report_string(level, "load.loop"), "closed")
                ? report_number(level, "load.concurrency") : report_number(level, "load.rate"),
            report_number(level, "throughput.output_tokens_per_s"),
            report_number(level, "latency.ttft.p50_ms"),
            report_number(level, "latency.tpot.p50_ms"));
}

/* Settings that a mode implies. */
static int adapt(struct args *a, struct err *e)
{
    a->progress |= isatty(STDERR_FILENO) && !a->quiet;
    if (a->verify && a->sweep)
        return err_set(e, E_CONFLICT, "--verify and --sweep exclude each other");
    if (!a->verify)
        return 0;
    if (a->temperature != 0)
        return err_set(e, E_CONFLICT, "--verify compares replies at temperature 0 only");
    if (a->restart || a->cancel > 0)
        return err_set(e, E_CONFLICT, "--verify excludes --restart and --cancel");
    if (a->logprobs < 0)
        a->logprobs = 5; /* the limit of plain completions */
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "report"))
        return report_main(argc, argv);
    struct args a;
    struct err e = {0};
    struct bench b;
    json_t *out = NULL;
    int rc = args_parse(&a, argc, argv, &e);
    if (rc > 0)
        return EXIT_GOOD;
    if (!rc)
        rc = adapt(&a, &e);
    if (rc) {
        args_free(&a);
        return complain(&e);
    }
    load_catch_signals();
    rc = bench_open(&b, &a, &e);
    if (rc) {
        args_free(&a);
        return complain(&e);
    }
    rc = bench_warm_up(&b, &e);
    if (!rc && a.verify) {
        rc = verify_run(&b, &out, &e);
    } else if (!rc && a.sweep) {
        rc = sweep_run(&b, a.quiet ? NULL : announce, &out, &e);
    } else if (!rc) {
        struct plan plan = plan_from_args(&a);
        rc = bench_run(&b, &plan, a.jsonl, &out, &e);
    }
    if (!rc)
        rc = deliver(&a, out, &e);
    json_decref(out);
    bench_close(&b);
    args_free(&a);
    if (rc < 0)
        return complain(&e);
    return load_interrupted() ? EXIT_INTERRUPTED : rc ? EXIT_CHECK : EXIT_GOOD;
}
