/* Method and path -> handler. The table is the caller's (http_open). Thread: any. */
#ifndef RECURD_ROUTE_H
#define RECURD_ROUTE_H

#include "base/base.h"

struct error_form;
struct exchange;

enum access { ACCESS_OPEN, ACCESS_KEY, ACCESS_METRICS };

struct route {
    const char *name, *method, *path;
    enum access access;
    /* This request waits for the disk: it runs on a helper thread whatever the size of its body.
     * NULL = none does. */
    bool (*waits)(const struct exchange *x);
    const struct error_form *errors; /* how failures look here */
    /* Answers the exchange, or gives it a pending reply. */
    void (*handler)(struct exchange *x);
};

/* Paths that begin so and have no row. */
struct route_under {
    const char *prefix;
    const struct error_form *errors;
};

/* Rows of a table; row i is counted as i, what matches none as ROUTE_UNKNOWN. */
#define ROUTES_MAX 64
#define ROUTE_UNKNOWN ROUTES_MAX
struct routes {
    const struct route *at;
    int n;
    const struct route_under *under; /* the last has the prefix "" */
    void *handlers;                  /* what the handlers share; theirs */
};

/* The row of a path, ROUTE_UNKNOWN when there is none. *rest = what follows a path that ends
 * in '/', otherwise "". */
int route_find(const struct routes *t, const char *path, const char **rest);
const struct route *route_at(const struct routes *t, int id); /* NULL for ROUTE_UNKNOWN */
/* How failures look at a path: its row's form, otherwise that of the paths it lies under. */
const struct error_form *routes_errors(const struct routes *t, const char *path);
const char *route_name(const struct routes *t, int id);
/* HEAD counts as GET. */
bool route_allows(const struct route *r, const char *method);

#endif
