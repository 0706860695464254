/* The handlers of routes.def. Each runs once the body is there, answers through exchange_* or
 * starts a generation. Thread: HTTP worker, or the helper for large bodies. */
#ifndef RECURD_API_H
#define RECURD_API_H

struct exchange;
struct routes;

/* What http_open serves. */
extern const struct routes api_routes;

#define ROUTE(name, method, path, access, waits, handler) void handler(struct exchange *x);
#include "server/api/routes.def"
#undef ROUTE

#endif
