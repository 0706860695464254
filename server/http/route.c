/* The route table. Thread: any. */
#include "server/http/route.h"

#include <string.h>

#include "server/api/api.h"

static const struct route routes[] = {
#define ROUTE(name, method, path, access, handler) {#name, method, path, ACCESS_##access, handler},
#include "server/http/route.def"
#undef ROUTE
};

enum route_id route_find(const char *path, const char **rest)
{
    *rest = "";
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const char *p = routes[i].path;
        size_t n = strlen(p);
        if (strcmp(p, path) == 0 && p[n - 1] != '/' && p[n - 1] != '*')
            return (enum route_id)i;
        if (p[n - 1] == '*' && strncmp(p, path, n - 1) == 0 && path[n - 1]) {
            *rest = path + n - 1;
            return (enum route_id)i;
        }
        if (p[n - 1] == '/' && strncmp(p, path, n) == 0 && path[n] && !strchr(path + n, '/')) {
            *rest = path + n;
            return (enum route_id)i;
        }
    }
    return ROUTE_UNKNOWN;
}

const struct route *route_at(enum route_id id)
{
    return id < ROUTE_UNKNOWN ? &routes[id] : NULL;
}

const char *route_name(enum route_id id)
{
    return id < ROUTE_UNKNOWN ? routes[id].name : "unknown";
}

bool route_allows(const struct route *r, const char *method)
{
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    size_t n = strlen(method);
    for (const char *m = r->method; *m; m += strcspn(m, " "), m += strspn(m, " "))
        if (strcspn(m, " ") == n && strncmp(m, method, n) == 0)
            return true;
    return false;
}
