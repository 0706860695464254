/* A request as spans of OpenTelemetry: the request, and within it what it waited for. Names of
 * attributes are those of its semantic conventions for HTTP and for generative AI where these have
 * one. Thread: any. */
#ifndef RECURD_SPANS_H
#define RECURD_SPANS_H

#include "server/otlp/traceparent.h"

#define SPAN_TEXT 64

/* No pointer but to literals: it outlives its request. */
struct span_request {
    struct trace_context context; /* .trace is filled */
    char span[SPAN_ID_CHARS + 1]; /* the request's own */
    char id[SPAN_TEXT + 1], key[SPAN_TEXT + 1], model[SPAN_TEXT + 1]; /* "" = none; may be cut */
    const char *method, *endpoint; /* literals */
    int status;                    /* 0: the client left before there was one */
    uint64_t begun_ns, ended_ns;   /* since 1970 */
    bool generated;                /* the rest is there */
    uint64_t submitted_ns;         /* since 1970: where queue_ns and the others count from */
    uint64_t queue_ns, first_ns, last_ns; /* 0 = it did not come so far */
    int64_t prompt, cached, output;       /* tokens */
    const char *finish;                   /* a literal */
};

/* A new id of n digits of hex, never all zeros. id: n + 1 bytes. */
void span_id(char *id, size_t n);

/* The body of POST /v1/traces (OTLP/HTTP 1.x with JSON) for n requests of a service. The caller's
 * to free(). NULL: no memory. */
char *spans_export(const struct span_request *r, size_t n, const char *service,
                   const char *version);

#endif
