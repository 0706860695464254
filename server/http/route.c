/* Looking a path up. Thread: any. */
#include "server/http/route.h"

#include <string.h>

int route_find(const struct routes *t, const char *path, const char **rest)
{
    *rest = "";
    for (int i = 0; i < t->n; i++) {
        const char *p = t->at[i].path;
        size_t n = strlen(p);
        if (strcmp(p, path) == 0 && (n == 1 || (p[n - 1] != '/' && p[n - 1] != '*')))
            return i;
        if (n == 1)
            continue; /* the root is a path, not a folder */
        if (p[n - 1] == '*' && strncmp(p, path, n - 1) == 0 && path[n - 1]) {
            *rest = path + n - 1;
            return i;
        }
        if (p[n - 1] == '/' && strncmp(p, path, n) == 0 && path[n] && !strchr(path + n, '/')) {
            *rest = path + n;
            return i;
        }
    }
    return ROUTE_UNKNOWN;
}

const struct route *route_at(const struct routes *t, int id)
{
    return id < t->n ? &t->at[id] : NULL;
}

const struct error_form *routes_errors(const struct routes *t, const char *path)
{
    const char *rest;
    const struct route *r = route_at(t, route_find(t, path, &rest));
    int i = 0;
    while (strncmp(t->under[i].prefix, path, strlen(t->under[i].prefix)) != 0)
        i++;
    return r ? r->errors : t->under[i].errors;
}

const char *route_name(const struct routes *t, int id)
{
    return id < t->n ? t->at[id].name : "unknown";
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
