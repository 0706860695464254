/* Method and path -> handler. Thread: any. */
#ifndef RECURD_ROUTE_H
#define RECURD_ROUTE_H

#include "base/base.h"

struct exchange;

enum route_id {
#define ROUTE(name, method, path, access, handler) ROUTE_##name,
#include "server/http/route.def"
#undef ROUTE
    ROUTE_UNKNOWN,
    ROUTES,
};

enum access { ACCESS_OPEN, ACCESS_KEY, ACCESS_METRICS };

struct route {
    const char *name, *method, *path;
    enum access access;
    /* Answers the exchange, or starts a generation in it. */
    void (*handler)(struct exchange *x);
};

/* The row of a path, ROUTE_UNKNOWN when there is none. *rest = what follows a path that ends
 * in '/', otherwise "". */
enum route_id route_find(const char *path, const char **rest);
const struct route *route_at(enum route_id id); /* NULL for ROUTE_UNKNOWN */
const char *route_name(enum route_id id);
/* HEAD counts as GET. */
bool route_allows(const struct route *r, const char *method);

#endif
