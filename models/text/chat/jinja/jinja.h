/* Chat templates: a sandboxed interpreter of the Jinja that published templates are written in.
 *
 * The language is jinja2's, with the environment that the reference library gives templates:
 * trim_blocks, lstrip_blocks, break and continue, generation blocks, tojson without HTML escapes,
 * raise_exception, strftime_now, nothing mutable but namespaces. There are no includes, imports
 * or recursive loops. A template reaches nothing but the values it is given, and a rendering ends
 * with an error when it takes more steps, memory or nesting than base/limits.h allows.
 *
 * Every byte of the result has an origin: 0 for what the template wrote, else that of the value
 * it came from, through whatever the template did to it. */
#ifndef RECURD_JINJA_H
#define RECURD_JINJA_H

#include <jansson.h>

#include "base/err.h"
#include "models/text/chat/jinja/text.h"

struct jinja; /* a compiled template: read-only, any thread may render it */
struct run;   /* one rendering: its inputs, then its result. Thread: one. */

/* n bytes of source. E_FORMAT with the line and what is wrong. Free with jinja_free. */
int jinja_compile(struct jinja **out, const char *text, size_t n, struct err *e) MUST_USE;
void jinja_free(struct jinja *t); /* NULL is fine */

/* input_bytes, input_values: size of what the client sent; the limits grow with it. *e gets the
 * first failure of this and of every later call. NULL: no memory. Free with jinja_run_free. */
struct run *jinja_run_new(size_t input_bytes, size_t input_values, struct err *e) MUST_USE;
void jinja_run_free(struct run *r);

/* Variables. Copied; failures show in jinja_render. name: a literal. */
void jinja_set_str(struct run *r, const char *name, const char *s, size_t n, origin_t origin);
void jinja_set_bool(struct run *r, const char *name, bool b);
void jinja_set_json(struct run *r, const char *name, const json_t *v, origin_t origin);
/* A list whose i-th element has the origin first + i; strings under the key `trusted` (may be
 * NULL) for which is_trusted says so have origin 0. */
void jinja_set_list(struct run *r, const char *name, const json_t *list, origin_t first,
                    const char *trusted, bool (*is_trusted)(const char *s));
/* The time strftime_now shows, in seconds since 1970; without it that of the clock. */
void jinja_set_time(struct run *r, int64_t seconds);

/* *out lives as long as r. A run renders once. E_FORMAT, E_RANGE, E_UNSUPPORTED: one sentence with
 * the template's line. */
int jinja_render(const struct jinja *t, struct run *r, const struct text **out,
                 struct err *e) MUST_USE;

#endif
