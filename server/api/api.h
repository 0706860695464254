/* The handlers of route.def. Each runs once the body is there, answers through exchange_* or
 * starts a generation. Thread: HTTP worker, or the helper for large bodies. */
#ifndef RECURD_API_H
#define RECURD_API_H

struct exchange;

#define ROUTE(name, method, path, access, handler) void handler(struct exchange *x);
#include "server/http/route.def"
#undef ROUTE

#endif
