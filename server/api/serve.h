/* From an exchange to a generation, and back: what a handler of a generation API calls.
 * Thread: HTTP worker, or the helper. */
#ifndef RECURD_SERVE_H
#define RECURD_SERVE_H

#include "server/api/gen.h"
#include "server/http/exchange.h"

/* What the handlers share. */
static inline struct api_state *serve_state(const struct exchange *x)
{
    return x->http->routes->handlers;
}

/* The body as a JSON object, for the caller (json_decref). NULL: x is answered. */
json_t *serve_json(struct exchange *x) MUST_USE;
/* The same, for one of the functions below, which takes it over, or json_decref. From here on it is
 * noted which of its fields somebody asks for. */
json_t *serve_body(struct exchange *x) MUST_USE;
/* Behind the last read of such a body, for who calls none of those functions: fields that nobody
 * asked for are named in the reply's header, or refused. */
int serve_known(struct exchange *x, struct err *e) MUST_USE;
/* Tells a failure about a request, its field by the name that clients of `api` know (NULL: by
 * ours). */
void serve_fail(struct exchange *x, const struct api *api, enum apierr why, struct err *e);

/* What the body asks for, checked; headers of the reply name fields of it that nobody reads, and
 * rules that changed its messages. request: the body in the form of the project's own APIs, as if
 * a client had sent it; an API that has this form gives `in` itself. Takes both over. Not 0: x is
 * answered, and p needs no params_fini. */
int serve_params(struct exchange *x, enum params_kind kind, const struct api *api, json_t *in,
                 json_t *request, struct params *p) MUST_USE;

/* Starts what the body asks for, which is in the form of the project's own APIs. */
void serve(struct exchange *x, enum params_kind kind, const struct api *api);
/* An API with a form of its own: in, request as for serve_params. keep (NULL = nothing): what the
 * hooks need of it later, in gen.keep. Takes all over. */
void serve_request(struct exchange *x, enum params_kind kind, const struct api *api, json_t *in,
                   json_t *request, json_t *keep);

/* ---- frames of streams ---- */

/* data: {one line}\n\n, around what is written between the two. */
void sse_begin(struct buf *out);
/* The same with a name: event: {name}\ndata: … */
void sse_begin_named(struct buf *out, const char *name);
void sse_end(struct buf *out);
/* A comment line, which clients skip: a hook for pings. */
void sse_ping(struct buf *out);

#endif
