/* /v1/sessions: create, list, import; and one session: show, delete, fork, rewind, export. A change
 * is answered when it is on the disk, or known not to get there: on a helper's thread. */
#include <stdlib.h>
#include <string.h>

#include "statecache/session.h"
#include "server/api/api.h"
#include "server/http/exchange.h"
#include "server/api/jsonin.h"
#include "server/api/jsonout.h"
#include "server/api/serve.h"

#define DURABLE_MS 10000 /* a disk that takes longer is as good as none: the reply says pending */
#define LIST_MAX 100     /* sessions of one page, as OpenAI's lists */
#define LIST_DEFAULT 20

static const char as_json[] = "application/json";

static void object(struct buf *out, const struct session_info *s)
{
    char hex[33];
    session_id_hex(&s->id, hex);
    buf_fmt(out, "{\"id\":\"%s\",\"object\":\"session\",\"position\":%lld,\"turns\":%lld,"
            "\"generation\":%llu,\"created\":%llu,\"used\":%llu,\"expires\":%llu,\"busy\":%s,"
            "\"shared\":%s,\"persist\":\"%s\"}", hex, (long long)s->position, (long long)s->turns,
            (unsigned long long)s->generation, (unsigned long long)s->created_s,
            (unsigned long long)s->used_s, (unsigned long long)s->expires_s,
            s->busy ? "true" : "false", s->shared ? "true" : "false",
            session_persist_name(s->persist));
}

/* The session as it is once the change is durable. */
static void answer(struct exchange *x, struct statecache *sc, struct session_info *s)
{
    char hex[33];
    session_id_hex(&s->id, hex);
    exchange_note(x, "x-recurd-session", hex);
    if (s->persist == PERSIST_PENDING)
        s->persist = session_durable(sc, &x->tenant, &s->id, DURABLE_MS);
    object(&x->reply, s);
    exchange_answer(x, 200, as_json);
}

/* The JSON of a body; an empty one is an empty object. NULL: answered. */
static json_t *body(struct exchange *x)
{
    return x->body.len ? serve_body(x) : json_object();
}

/* All of it has been read. Not 0: it is refused. */
static int all_read(struct exchange *x, json_t *o, struct err *e)
{
    int rc = e->code;
    if (!rc && x->body.len)
        rc = serve_known(x, e);
    jsonin_unwatch();
    json_decref(o);
    return rc;
}

static void create(struct exchange *x, struct statecache *sc)
{
    struct err e = {0};
    struct session_info s;
    int64_t ttl = 0;
    json_t *o = body(x);
    if (!o)
        return;
    jsonin_int(o, "ttl", 1, INT64_C(3650) * 24 * 3600, &ttl, &e);
    if (all_read(x, o, &e) || session_create(sc, &x->tenant, ttl, &s, &e))
        exchange_fail(x, &e);
    else
        answer(x, sc, &s);
}

static const char *argument(struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->mhd, MHD_GET_ARGUMENT_KIND, name);
}

static void list(struct exchange *x, struct statecache *sc)
{
    struct session_info s[LIST_MAX];
    struct session_id after;
    const char *limit = argument(x, "limit"), *from = argument(x, "after");
    char *end = NULL;
    long max = limit ? strtol(limit, &end, 10) : LIST_DEFAULT;
    bool more = false;
    if (max < 1 || max > LIST_MAX || (end && *end)) {
        exchange_error(x, APIERR_BAD_VALUE, "limit", "limit: 1 to 100 sessions a page");
        return;
    }
    if (from && !session_id_parse(from, &after)) {
        exchange_error(x, APIERR_BAD_VALUE, "after", "after: the id of a session");
        return;
    }
    int n = session_list(sc, &x->tenant, from ? &after : NULL, s, (int)max, &more);
    buf_str(&x->reply, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < n; i++) {
        if (i)
            buf_ch(&x->reply, ',');
        object(&x->reply, &s[i]);
    }
    buf_fmt(&x->reply, "],\"has_more\":%s}", more ? "true" : "false");
    exchange_answer(x, 200, as_json);
}

static void import(struct exchange *x, struct statecache *sc)
{
    struct err e = {0};
    struct session_info s;
    if (session_import(sc, &x->tenant, x->body.p, x->body.len, &s, &e))
        exchange_fail(x, &e);
    else
        answer(x, sc, &s);
}

static struct statecache *cache(struct exchange *x)
{
    struct statecache *sc = x->http->served->cache;
    if (!sc)
        exchange_error(x, APIERR_UNSUPPORTED, NULL, "this server keeps no states");
    else if (statecache_shares_sessions(sc) && api_session_waits(x) && exchange_later(x))
        return NULL; /* it comes again on a thread that may wait for the network */
    return sc;
}

/* What is listed or shown is in memory; a state that is exported may not be. */
bool api_session_waits(const struct exchange *x)
{
    bool is_get = strcmp(x->method, "GET") == 0 || strcmp(x->method, "HEAD") == 0;
    return !is_get || strchr(x->rest, '/') ||
           (*x->rest && x->http->served && x->http->served->cache &&
            statecache_shares_sessions(x->http->served->cache));
}

void api_sessions(struct exchange *x)
{
    struct statecache *sc = cache(x);
    if (!sc)
        return;
    if (strcmp(x->method, "POST") == 0)
        create(x, sc);
    else if (strcmp(x->method, "PUT") == 0)
        import(x, sc);
    else
        list(x, sc);
}

/* ---- one session -------------------------------------------------------------------------- */

static void show(struct exchange *x, struct statecache *sc, const struct session_id *id)
{
    struct err e = {0};
    struct session_info s;
    if (session_look(sc, &x->tenant, id, &s, &e)) {
        exchange_fail(x, &e);
        return;
    }
    object(&x->reply, &s);
    exchange_answer(x, 200, as_json);
}

static void delete(struct exchange *x, struct statecache *sc, const struct session_id *id)
{
    struct err e = {0};
    char hex[33];
    bool durable;
    if (session_delete(sc, &x->tenant, id, &durable, &e)) {
        exchange_fail(x, &e);
        return;
    }
    session_id_hex(id, hex);
    buf_fmt(&x->reply, "{\"id\":\"%s\",\"object\":\"session\",\"deleted\":true,"
            "\"persist\":\"%s\"}", hex, durable ? "durable" : "off");
    exchange_answer(x, 200, as_json);
}

static void fork_off(struct exchange *x, struct statecache *sc, const struct session_id *id)
{
    struct err e = {0};
    struct session_info s;
    int64_t position = -1;
    json_t *o = body(x);
    if (!o)
        return;
    jsonin_int(o, "position", 0, INT64_MAX, &position, &e);
    if (all_read(x, o, &e) || session_fork(sc, &x->tenant, id, position, &s, &e))
        exchange_fail(x, &e);
    else
        answer(x, sc, &s);
}

static void rewind_to(struct exchange *x, struct statecache *sc, const struct session_id *id)
{
    struct err e = {0};
    struct session_info s;
    int64_t position = -1, turn = -1, generation = 0;
    json_t *o = body(x);
    if (!o)
        return;
    jsonin_int(o, "position", 0, INT64_MAX, &position, &e);
    jsonin_int(o, "turn", 0, INT64_MAX, &turn, &e);
    jsonin_int(o, "expected_generation", 1, INT64_MAX, &generation, &e);
    if (!all_read(x, o, &e) && (position < 0) == (turn < 0))
        err_field(&e, E_RANGE, "position", "give one of position and turn");
    if (e.code || session_rewind(sc, &x->tenant, id, position, turn, (uint64_t)generation, &s, &e))
        exchange_fail(x, &e);
    else
        answer(x, sc, &s);
}

static void export(struct exchange *x, struct statecache *sc, const struct session_id *id)
{
    struct err e = {0};
    if (session_export(sc, &x->tenant, id, &x->reply, &e))
        exchange_fail(x, &e);
    else
        exchange_answer(x, 200, "application/octet-stream");
}

void api_session(struct exchange *x)
{
    static const struct {
        const char *name, *method;
        void (*handler)(struct exchange *x, struct statecache *sc, const struct session_id *id);
    } actions[] = {
        {"", "GET", show}, {"", "DELETE", delete}, {"/fork", "POST", fork_off},
        {"/rewind", "POST", rewind_to}, {"/state", "GET", export},
    };
    struct session_id id;
    char hex[33] = {0};
    struct statecache *sc = cache(x);
    if (!sc)
        return;
    size_t n = strcspn(x->rest, "/");
    if (n == 32)
        memcpy(hex, x->rest, n);
    const char *method = strcmp(x->method, "HEAD") == 0 ? "GET" : x->method;
    bool named = false;
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        if (strcmp(x->rest + n, actions[i].name) != 0)
            continue;
        named = true;
        if (strcmp(actions[i].method, method) != 0)
            continue;
        if (session_id_parse(hex, &id))
            actions[i].handler(x, sc, &id);
        else
            exchange_error(x, APIERR_NO_SESSION, "session", "there is no such session");
        return;
    }
    exchange_error(x, named ? APIERR_METHOD : APIERR_NO_ROUTE, NULL,
                   named ? "this path takes another method" : "there is nothing at this path");
}
