/* The handlers of routes.def, and what they share. Each runs once the body is there, answers
 * through exchange_* or starts a generation. Thread: HTTP worker; the helper for large bodies. */
#ifndef RECURD_API_H
#define RECURD_API_H

#include "server/http/route.h"

#include "base/err.h"

struct constrainer;
struct responses;
struct served;

/* For the server's life; its members lock by themselves. */
struct api_state {
    struct constrainer *constrainer;
    struct responses *responses;
};

/* The table that http_open serves, with its state. served outlives it. Thread: main; closed behind
 * http_close. */
int api_open(struct routes *out, struct err *e) MUST_USE;
/* What its handlers need of what is served, before http_serve; until then only open routes run. */
int api_serve(struct routes *r, const struct served *served, struct err *e) MUST_USE;
void api_close(struct routes *r); /* all zero is fine */

/* Which requests wait for the disk (struct route): all of a path; of sessions. */
bool api_waits(const struct exchange *x);
bool api_session_waits(const struct exchange *x);

#define ROUTE(name, method, path, access, waits, errors, handler) \
    void handler(struct exchange *x);
#define UNDER(prefix, errors)
#include "server/api/routes.def"
#undef UNDER
#undef ROUTE

#endif
