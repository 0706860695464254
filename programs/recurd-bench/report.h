/* The forms a result is written in. Thread: one. */
#ifndef RECURD_LOAD_REPORT_H
#define RECURD_LOAD_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "programs/recurd-bench/result.h"
#include "programs/recurd-bench/server_info.h"

/* Everything about one run, for files and for the HTML report; the caller owns it. The metrics
 * object may be NULL. */
json_t *report_json(const struct args *a, const struct plan *plan, const struct run *run,
                    const struct result *r, const struct server_info *s, const json_t *metrics);

/* The table on the terminal, from report_json's object. */
void report_text(FILE *f, const json_t *result);

/* One line a request. */
int report_jsonl(const char *path, const struct run *run, struct err *e) MUST_USE;
/* Appends one line, after a header when the file is new. */
int report_csv(const char *path, const json_t *result, struct err *e) MUST_USE;
/* Writes text or JSON to path; "-" is standard output. */
int report_write_json(const char *path, const json_t *o, struct err *e) MUST_USE;

/* One self-contained page of any number of results (an array of report_json's objects, of sweeps
 * or of verifications). */
int report_html(const char *path, const char *title, const json_t *results,
                struct err *e) MUST_USE;
/* A markdown table of the same. */
int report_markdown(const char *path, const json_t *results, struct err *e) MUST_USE;

/* The number at a dotted path such as "latency.ttft.p99_ms"; NAN when there is none. */
double report_number(const json_t *result, const char *path);
const char *report_string(const json_t *result, const char *path); /* "" when there is none */
/* Evaluates "PATH<NUMBER" or with <=, >, >=, =; 1, 0, or a code with a sentence. */
int report_holds(const json_t *result, const char *expr, struct err *e) MUST_USE;

#endif
