/* GET /openapi.json: the routes as an OpenAPI 3.1 document, made from routes.def and openapi.def.
 * Thread: HTTP worker. */
#include <string.h>

#include "base/version.h"
#include "server/api/api.h"
#include "server/api/errors.h"
#include "server/api/jsonout.h"
#include "server/http/exchange.h"

#define OPENAPI_MESSAGE \
    "{\"type\":\"object\",\"required\":[\"role\",\"content\"],\"properties\":{\"role\":{\"type\":" \
    "\"string\"},\"content\":{\"type\":[\"string\",\"array\"]}}}"

#define OPENAPI_RECEIPT "{\"enum\":[true,false,\"digests\"]}"

/* What a turn's reply says of its session. shared: replicas have this turn, too. */
#define OPENAPI_TURN \
    "\"id\":{\"type\":\"string\",\"pattern\":\"^[0-9a-f]{32}$\"}," \
    "\"position\":{\"type\":\"integer\",\"minimum\":0}," \
    "\"turns\":{\"type\":\"integer\",\"minimum\":0}," \
    "\"generation\":{\"type\":\"integer\",\"minimum\":1}," \
    "\"shared\":{\"type\":\"boolean\"}," \
    "\"persist\":{\"enum\":[\"durable\",\"pending\",\"off\"]}"
#define OPENAPI_TURN_NAMES \
    "\"id\",\"position\",\"turns\",\"generation\",\"shared\",\"persist\""

static const struct { const char *name, *schema; } shapes[] = {
    {"SessionTurn", "{\"type\":\"object\",\"additionalProperties\":false,\"required\":["
     OPENAPI_TURN_NAMES "],\"properties\":{" OPENAPI_TURN "}}"},
    {"Session", "{\"type\":\"object\",\"additionalProperties\":false,\"required\":["
     OPENAPI_TURN_NAMES ",\"object\",\"created\",\"used\",\"expires\",\"busy\"],"
     "\"properties\":{" OPENAPI_TURN ",\"object\":{\"const\":\"session\"},"
     "\"created\":{\"type\":\"integer\"},\"used\":{\"type\":\"integer\"},"
     "\"expires\":{\"type\":\"integer\"},\"busy\":{\"type\":\"boolean\"}}}"},
};
#define OPENAPI_SESSION "{\"$ref\":\"#/components/schemas/Session\"}"

/* Refusals that are worth telling apart, because most of them may be sent again. */
static const struct { int status; const char *name, *description; } refusals[] = {
    {409, "Conflict", "Another turn is running, or another replica went on: send it again."},
    {503, "Unavailable", "Not now: send it again after Retry-After."},
};

static const struct { int status; const char *code; } codes[] = {
#define APIERR(name, status, type, code, again) {status, code},
#include "server/http/apierr.def"
#undef APIERR
};

static const struct body { const char *route, *field; bool required; const char *schema; }
bodies[] = {
#define BODY(route, field, required, schema) {#route, field, required, schema},
#define REPLY(route, schema)
#include "server/api/openapi.def"
#undef REPLY
#undef BODY
};

static const struct { const char *route, *schema; } replies[] = {
#define BODY(route, field, required, schema)
#define REPLY(route, schema) {#route, schema},
#include "server/api/openapi.def"
#undef REPLY
#undef BODY
};

/* The shape of failures in each form. */
static const struct { const struct error_form *form; const char *name, *schema; } errors[] = {
    {&errors_OPENAI, "Error",
     "{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{\"error\":{\"type\":\"object\","
     "\"required\":[\"message\",\"type\",\"param\",\"code\"],\"properties\":{\"message\":{\"type\":"
     "\"string\"},\"type\":{\"type\":\"string\"},\"param\":{\"type\":[\"string\",\"null\"]},"
     "\"code\":{\"type\":\"string\"}}}}}"},
    {&errors_ANTHROPIC, "AnthropicError",
     "{\"type\":\"object\",\"required\":[\"type\",\"error\"],\"properties\":{\"error\":{\"type\":"
     "\"object\",\"required\":[\"type\",\"message\"]}}}"},
    {&errors_OLLAMA, "OllamaError",
     "{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{\"error\":{\"type\":"
     "\"string\"}}}"},
};

static void body(struct buf *out, const struct route *r)
{
    int n = 0;
    buf_str(out, ",\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{"
            "\"schema\":{\"type\":\"object\",\"properties\":{");
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        if (strcmp(bodies[i].route, r->name) == 0)
            buf_fmt(out, "%s\"%s\":%s", n++ ? "," : "", bodies[i].field, bodies[i].schema);
    buf_str(out, "},\"required\":[");
    n = 0;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        if (strcmp(bodies[i].route, r->name) == 0 && bodies[i].required)
            buf_fmt(out, "%s\"%s\"", n++ ? "," : "", bodies[i].field);
    buf_str(out, "]}}}}");
}

/* Any type of reply, with the JSON's shape where that is told. */
static void responses(struct buf *out, const struct route *r)
{
    const char *schema = "{}", *error = errors[0].name;
    for (size_t i = 0; i < ARRAY_LEN(replies); i++)
        if (strcmp(replies[i].route, r->name) == 0)
            schema = replies[i].schema;
    for (size_t i = 0; i < ARRAY_LEN(errors); i++)
        if (errors[i].form == r->errors)
            error = errors[i].name;
    buf_fmt(out, ",\"responses\":{\"2XX\":{\"description\":\"Done.\",\"content\":{"
            "\"application/json\":{\"schema\":%s},\"*/*\":{}}}", schema);
    for (size_t i = 0; i < ARRAY_LEN(refusals) && r->errors == &errors_OPENAI; i++)
        buf_fmt(out, ",\"%d\":{\"$ref\":\"#/components/responses/%s\"}", refusals[i].status,
                refusals[i].name);
    for (int k = 4; k <= 5; k++)
        buf_fmt(out, ",\"%dXX\":{\"description\":\"%s\",\"content\":{\"application/json\":{"
                "\"schema\":{\"$ref\":\"#/components/schemas/%s\"}}}}", k,
                k == 4 ? "Refused." : "Failed, or not now.", error);
    buf_ch(out, '}');
}

static void operation(struct buf *out, const struct route *r, const char *method, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_ch(out, (char)(method[i] | 0x20)); /* the path's key: in small letters */
    buf_fmt(out, "\":{\"operationId\":\"%s_%.*s\"", r->name, (int)n, method);
    if (r->access == ACCESS_OPEN)
        buf_str(out, ",\"security\":[]");
    if (strncmp(method, "POST", n) == 0)
        body(out, r);
    responses(out, r);
    buf_ch(out, '}');
}

/* A path's operations; one that ends in '/' or a star takes an {id}. */
static void path(struct buf *out, const struct route *r)
{
    size_t n = strlen(r->path);
    bool open = r->path[n - 1] == '/' || r->path[n - 1] == '*';
    buf_fmt(out, "\"%.*s%s\":{", (int)(r->path[n - 1] == '*' ? n - 1 : n), r->path,
            open ? "{id}" : "");
    if (open)
        buf_str(out, "\"parameters\":[{\"name\":\"id\",\"in\":\"path\",\"required\":true,"
                "\"schema\":{\"type\":\"string\",\"minLength\":1}}],");
    bool first = true;
    for (const char *m = r->method; *m; m += strcspn(m, " "), m += strspn(m, " ")) {
        size_t len = strcspn(m, " ");
        buf_str(out, first ? "\"" : ",\"");
        operation(out, r, m, len);
        first = false;
    }
    buf_ch(out, '}');
}

/* Of each of those statuses: the codes that go with it. */
static void refusal(struct buf *out, size_t i)
{
    int n = 0;
    buf_fmt(out, "\"%s\":{\"description\":\"%s\",\"content\":{\"application/json\":{\"schema\":{"
            "\"allOf\":[{\"$ref\":\"#/components/schemas/%s\"},{\"properties\":{\"error\":{"
            "\"properties\":{\"code\":{\"enum\":[", refusals[i].name, refusals[i].description,
            errors[0].name);
    for (size_t k = 0; k < ARRAY_LEN(codes); k++)
        if (codes[k].status == refusals[i].status)
            buf_fmt(out, "%s\"%s\"", n++ ? "," : "", codes[k].code);
    buf_str(out, "]}}}}}]}}}}");
}

void api_openapi(struct exchange *x)
{
    struct buf *out = &x->reply;
    const struct routes *t = x->http->routes;
    buf_fmt(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"recurd\",\"version\":\"%s\"},"
            "\"security\":[{},{\"key\":[]}],\"components\":{\"securitySchemes\":{\"key\":{\"type\":"
            "\"http\",\"scheme\":\"bearer\"}},\"schemas\":{", version_number());
    for (size_t i = 0; i < ARRAY_LEN(errors); i++)
        buf_fmt(out, "%s\"%s\":%s", i ? "," : "", errors[i].name, errors[i].schema);
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        buf_fmt(out, ",\"%s\":%s", shapes[i].name, shapes[i].schema);
    buf_str(out, "},\"responses\":{");
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        if (i)
            buf_ch(out, ',');
        refusal(out, i);
    }
    buf_str(out, "}},\"paths\":{");
    for (int i = 0; i < t->n; i++) {
        if (i)
            buf_ch(out, ',');
        path(out, &t->at[i]);
    }
    buf_str(out, "}}");
    exchange_answer(x, 200, "application/json");
}
