/* Method and path -> handler. The table is the caller's (http_open). Thread: any. */
#ifndef RECURD_ROUTE_H
#define RECURD_ROUTE_H

#include "base/base.h"

struct exchange;

enum access { ACCESS_OPEN, ACCESS_KEY, ACCESS_METRICS };

struct route {
    const char *name, *method, *path;
    enum access access;
    bool waits; /* for the disk: runs on a helper thread whatever the size of its body */
    /* Answers the exchange, or starts a generation in it. */
    void (*handler)(struct exchange *x);
};

/* Rows of a table; row i is counted as i, what matches none as ROUTE_UNKNOWN. */
#define ROUTES_MAX 64
#define ROUTE_UNKNOWN ROUTES_MAX
struct routes {
    const struct route *at;
    int n;
};

/* The row of a path, ROUTE_UNKNOWN when there is none. *rest = what follows a path that ends
 * in '/', otherwise "". */
int route_find(const struct routes *t, const char *path, const char **rest);
const struct route *route_at(const struct routes *t, int id); /* NULL for ROUTE_UNKNOWN */
const char *route_name(const struct routes *t, int id);
/* HEAD counts as GET. */
bool route_allows(const struct route *r, const char *method);

#endif
