#include "server/otlp/spans.h"

#include <inttypes.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* Of the protocol's enums. */
enum { KIND_INTERNAL = 1, KIND_SERVER = 2, STATUS_ERROR = 2 };

void span_id(char *id, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    do {
        for (size_t i = 0; i < n; i++)
            id[i] = digits[randombytes_uniform(16)];
        id[n] = '\0';
    } while (strspn(id, "0") == n);
}

static json_t *text(const char *key, const char *value)
{
    return json_pack("{s:s, s:{s:s}}", "key", key, "value", "stringValue", value);
}

/* 64-bit numbers are strings in the protocol's JSON. */
static json_t *decimal(uint64_t v)
{
    char s[24];
    snprintf(s, sizeof s, "%" PRIu64, v);
    return json_string(s);
}

static json_t *number(const char *key, int64_t value)
{
    return json_pack("{s:s, s:{s:o}}", "key", key, "value", "intValue",
                     decimal((uint64_t)MAX(value, 0)));
}

static json_t *span(const struct span_request *r, const char *id, const char *parent,
                    const char *name, int kind, uint64_t from_ns, uint64_t to_ns)
{
    json_t *s = json_pack("{s:s, s:s, s:s, s:i, s:o, s:o, s:[]}", "traceId", r->context.trace,
                          "spanId", id, "name", name, "kind", kind, "startTimeUnixNano",
                          decimal(from_ns), "endTimeUnixNano", decimal(MAX(to_ns, from_ns)),
                          "attributes");
    if (s && *parent && json_object_set_new(s, "parentSpanId", json_string(parent)) != 0) {
        json_decref(s);
        return NULL;
    }
    return s;
}

/* False: no memory. json_array_append_new takes a NULL for a failure. */
static bool attributes(const struct span_request *r, json_t *a)
{
    static const char cache_read[] = "gen_ai.usage.cache_read.input_tokens";
    bool ok = json_array_append_new(a, text("http.request.method", r->method)) == 0 &&
              json_array_append_new(a, text("http.route", r->endpoint)) == 0 &&
              json_array_append_new(a, text("recurd.request.id", r->id)) == 0;
    if (r->status)
        ok = ok && json_array_append_new(a, number("http.response.status_code", r->status)) == 0;
    if (*r->key)
        ok = ok && json_array_append_new(a, text("recurd.key", r->key)) == 0;
    if (!r->generated || !ok)
        return ok;
    json_t *finish = json_pack("{s:s, s:{s:{s:[{s:s}]}}}", "key",
                               "gen_ai.response.finish_reasons", "value", "arrayValue", "values",
                               "stringValue", r->finish);
    return json_array_append_new(a, finish) == 0 &&
           json_array_append_new(a, text("gen_ai.request.model", r->model)) == 0 &&
           json_array_append_new(a, number("gen_ai.usage.input_tokens", r->prompt)) == 0 &&
           json_array_append_new(a, number(cache_read, r->cached)) == 0 &&
           json_array_append_new(a, number("gen_ai.usage.output_tokens", r->output)) == 0;
}

static bool fails(const struct span_request *r)
{
    return r->status >= 500 || (r->generated && strcmp(r->finish, "error") == 0);
}

static bool add_request(json_t *spans, const struct span_request *r)
{
    json_t *s = span(r, r->span, r->context.parent, r->endpoint, KIND_SERVER, r->begun_ns,
                     r->ended_ns);
    if (json_array_append_new(spans, s) != 0)
        return false;
    if (fails(r) && json_object_set_new(s, "status", json_pack("{s:i}", "code", STATUS_ERROR)) != 0)
        return false;
    return attributes(r, json_object_get(s, "attributes"));
}

static bool add_phases(json_t *spans, const struct span_request *r)
{
    const struct { const char *name; uint64_t from, to; } phases[] = {
        {"queue", 0, r->queue_ns}, {"prefill", r->queue_ns, r->first_ns},
        {"decode", r->first_ns, r->last_ns},
    };
    for (size_t i = 0; i < ARRAY_LEN(phases) && phases[i].to; i++) {
        char id[SPAN_ID_CHARS + 1];
        span_id(id, SPAN_ID_CHARS);
        if (json_array_append_new(spans, span(r, id, r->span, phases[i].name, KIND_INTERNAL,
                                              r->submitted_ns + phases[i].from,
                                              r->submitted_ns + phases[i].to)) != 0)
            return false;
    }
    return true;
}

char *spans_export(const struct span_request *r, size_t n, const char *service,
                   const char *version)
{
    json_t *spans = json_array();
    bool ok = spans != NULL;
    for (size_t i = 0; i < n && ok; i++)
        ok = add_request(spans, &r[i]) && (!r[i].generated || add_phases(spans, &r[i]));
    if (!ok) {
        json_decref(spans);
        return NULL;
    }
    json_t *all = json_pack("{s:[{s:{s:[o, o]}, s:[{s:{s:s, s:s}, s:o}]}]}", "resourceSpans",
                             "resource",
                     "attributes", text("service.name", service), text("service.version", version),
                     "scopeSpans", "scope", "name", "recurd", "version", version, "spans", spans);
    char *body = all ? json_dumps(all, JSON_COMPACT) : NULL;
    json_decref(all);
    return body;
}
