/* The API's table of routes, from routes.def. Thread: any. */
#include "server/api/api.h"

#include "server/http/route.h"

static const struct route rows[] = {
#define ROUTE(name, method, path, access, waits, handler) \
    {#name, method, path, ACCESS_##access, waits, handler},
#include "server/api/routes.def"
#undef ROUTE
};
_Static_assert(ARRAY_LEN(rows) <= ROUTES_MAX, "counters have a row for each route");

const struct routes api_routes = {rows, ARRAY_LEN(rows)};
