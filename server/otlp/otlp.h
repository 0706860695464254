/* Sends what requests took to a collector: OTLP over HTTP with JSON, in batches, from a thread of
 * its own. Nobody waits for the collector: what it does not take in time is dropped, and
 * counted. */
#ifndef RECURD_OTLP_H
#define RECURD_OTLP_H

#include "base/err.h"
#include "server/otlp/spans.h"

/* Owner: main. Thread: any, where not said otherwise. */
struct otlp;

struct otlp_counts {
    uint64_t exported, dropped; /* requests */
    uint64_t failures;          /* posts that were not accepted */
};

/* A collector at `endpoint`: http://host:4318, /v1/traces is appended where it has no path.
 * headers: "name=value,…" as in $OTEL_EXPORTER_OTLP_HEADERS, NULL = none; values may be
 * percent-encoded. service: what these spans come from. share: percent of the requests in no
 * sampled trace that are told. Before other threads start (libcurl's rule). Fails for an endpoint
 * that is no http or https URL, and for malformed headers. */
int otlp_open(struct otlp **out, const char *endpoint, const char *headers, const char *service,
              int share, struct err *e) MUST_USE;
/* Sends what there is, for two seconds at most, and frees it. o may be NULL. */
void otlp_close(struct otlp *o);

/* Whether the spans of a request in this context are wanted; gives it a trace where it has none.
 * o may be NULL: no. */
bool otlp_wants(struct otlp *o, struct trace_context *t);
/* Copies r. */
void otlp_request(struct otlp *o, const struct span_request *r);

void otlp_counts(struct otlp *o, struct otlp_counts *c);

#endif
