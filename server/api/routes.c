/* The API's table of routes, from routes.def, and what its handlers share. */
#include "server/api/api.h"

#include "base/mem.h"
#include "server/api/constrain.h"
#include "server/api/errors.h"
#include "server/api/responses.h"

static const struct route rows[] = {
#define ROUTE(name, method, path, access, waits, errors, handler) \
    {#name, method, path, ACCESS_##access, waits, &errors_##errors, handler},
#define UNDER(prefix, errors)
#include "server/api/routes.def"
#undef UNDER
#undef ROUTE
};
_Static_assert(ARRAY_LEN(rows) <= ROUTES_MAX, "counters have a row for each route");

static const struct route_under under[] = {
#define ROUTE(name, method, path, access, waits, errors, handler)
#define UNDER(prefix, errors) {prefix, &errors_##errors},
#include "server/api/routes.def"
#undef UNDER
#undef ROUTE
    {"", &errors_OPENAI},
};

bool api_waits(const struct exchange *x)
{
    (void)x;
    return true;
}

int api_open(struct routes *out, struct err *e)
{
    struct api_state *s = mem_zalloc(sizeof *s);
    *out = (struct routes){.at = rows, .n = ARRAY_LEN(rows), .under = under, .handlers = s};
    return s ? 0 : err_set(e, E_NOMEM, "no memory for the handlers");
}

int api_serve(struct routes *r, const struct served *served, struct err *e)
{
    struct api_state *s = r->handlers;
    int rc = constrainer_open(&s->constrainer, served, e);
    return rc ? rc : responses_open(&s->responses, served, e);
}

void api_close(struct routes *r)
{
    struct api_state *s = r->handlers;
    if (s) {
        constrainer_close(s->constrainer);
        responses_close(s->responses);
    }
    mem_free(s);
    *r = (struct routes){0};
}
