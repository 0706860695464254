/* Generations as replies that exchanges wait for. */
#include "server/api/serve.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "models/text/chat/rules.h"
#include "server/api/jsonin.h"
#include "server/api/unknown.h"
#include "server/http/client.h"

/* ---- a generation as a pending reply ---- */

static struct gen *of(struct pending *s)
{
    return (struct gen *)(void *)((char *)s - offsetof(struct gen, pending));
}

static bool pending_read(struct pending *s) { return gen_read(of(s)); }

static bool pending_done(const struct pending *s)
{
    return gen_done((const struct gen *)(const void *)((const char *)s -
                                                       offsetof(struct gen, pending)));
}

static size_t pending_bytes(const struct pending *s)
{
    return gen_bytes((const struct gen *)(const void *)((const char *)s -
                                                        offsetof(struct gen, pending)));
}

static void pending_fail(struct pending *s, struct buf *out, const struct err *e)
{
    struct failure f = {apierr_of_run(e), e->param, e->text, of(s)->request_id};
    of(s)->api->fail(out, &f);
}

static void pending_write(struct pending *s, struct buf *out)
{
    struct gen *g = of(s);
    if (gen_failed(g)) {
        pending_fail(s, out, &g->error);
        return;
    }
    if (!g->opened && g->api->open)
        g->api->open(out, g);
    g->opened = true;
    for (int32_t i = 0; i < g->n_choices; i++) {
        struct choice *c = &g->choices[i];
        if (!c->closed)
            g->api->news(out, c);
        c->closed = c->finish != FINISH_NONE;
    }
    if (gen_done(g))
        g->api->close(out, g);
    gen_shrink(g);
}

static void pending_ping(struct pending *s, struct buf *out)
{
    if (of(s)->api->ping)
        of(s)->api->ping(out);
}

/* "hit=1152; matched=1200; reason=no_checkpoint" for each prompt, as many as fit. */
static void note_cache(struct exchange *x, const struct gen *g)
{
    char out[LIMIT_NOTE_BYTES] = "";
    size_t n = 0;
    for (int32_t i = 0; i < g->n_choices && n < sizeof out - 100; i += g->params.n) {
        const struct choice *c = &g->choices[i];
        n += (size_t)snprintf(out + n, sizeof out - n, "%shit=%lld; matched=%lld; reason=%s",
                              i ? ", " : "", (long long)c->n_cached, (long long)c->n_matched,
                              c->why ? c->why : "no_cache");
    }
    exchange_note(x, "x-recurd-cache", out);
}

static void pending_answer(struct pending *s, struct exchange *x)
{
    struct gen *g = of(s);
    if (gen_failed(g)) {
        exchange_error(x, apierr_of_run(&g->error), g->error.param, g->error.text);
        return;
    }
    note_cache(x, g);
    g->api->whole(&x->reply, g);
    exchange_answer(x, 200, "application/json");
}

static void pending_end(struct pending *s) { gen_end(of(s)); }

static const struct pending_ops ops = {
    .read = pending_read,
    .bytes = pending_bytes,
    .done = pending_done,
    .write = pending_write,
    .ping = pending_ping,
    .fail = pending_fail,
    .answer = pending_answer,
    .end = pending_end,
};

/* ---- what is asked for ---- */

/* One body at a time on a thread, from serve_body to what takes it over. */
static _Thread_local struct jsonin_watch reads;

json_t *serve_json(struct exchange *x)
{
    json_t *o = NULL;
    struct err e = {0};
    size_t bytes = 0;
    int rc = jsonin_scan(x->body.p ? x->body.p : "", x->body.len, &bytes, &e);
    size_t most = (size_t)(x->http->budget.max - x->http->budget.max / 4);
    if (!rc && bytes > most) {
        char text[160];
        snprintf(text, sizeof text, "the body's JSON takes up to %zu bytes when it is parsed, and "
                 "at most %zu are there", bytes, most);
        exchange_error(x, APIERR_TOO_LARGE, NULL, text);
        return NULL;
    }
    if (!rc && !exchange_hold(x, HELD_JSON, bytes)) {
        exchange_full(x);
        return NULL;
    }
    if (rc || jsonin_parse(&o, x->body.p, x->body.len, &e))
        exchange_fail_params(x, &e);
    return o;
}

json_t *serve_body(struct exchange *x)
{
    json_t *o = serve_json(x);
    if (o)
        jsonin_watch(&reads, o);
    return o;
}

int serve_known(struct exchange *x, struct err *e)
{
    char unknown[LIMIT_NOTE_BYTES];
    int rc = unknown_fields(&reads, route_name(x->http->routes, x->route),
                            x->http->served->strict_fields, unknown, e);
    jsonin_unwatch();
    exchange_note(x, "x-recurd-unknown-fields", unknown);
    return rc;
}

static void note_rules(struct exchange *x, const struct params *p)
{
    char rules[LIMIT_NOTE_BYTES] = "";
    size_t n = 0;
    for (int i = 0; i < chat_rules_count(p->rules); i++)
        if (p->rules_applied >> i & 1 && n < sizeof rules)
            n += (size_t)snprintf(rules + n, sizeof rules - n, "%s%s", n ? ", " : "",
                                  chat_rules_name(p->rules, i));
    exchange_note(x, "x-recurd-prompt-rules", rules);
}

int serve_params(struct exchange *x, enum params_kind kind, const struct api *api, json_t *in,
                 json_t *request, struct params *p)
{
    const struct served *m = x->http->served;
    struct err e = {0};
    if (api && api->copies && request != in)
        jsonin_watch_twin(request);
    int rc = params_read(p, kind, m, request, x->body.len, &e);
    /* As it was sent: a request that was made of it may have left it out. */
    const json_t *receipt = api && !api->receipts ? jsonin_get(in, "receipt") : NULL;
    if (!rc && receipt && !json_is_false(receipt))
        rc = err_field(&e, E_UNSUPPORTED, "receipt", "receipt: replies of this API have no place "
                       "for it");
    if (!rc && (rc = serve_known(x, &e)))
        api = NULL; /* the name is the client's own */
    jsonin_unwatch();
    if (!rc)
        note_rules(x, p);
    if (request != in)
        json_decref(request);
    json_decref(in);
    if (rc) {
        /* A conflict is one of fields with each other: no session has been looked at. */
        serve_fail(x, api, rc == E_CONFLICT ? APIERR_BAD_VALUE : apierr_of(&e), &e);
        params_fini(p);
    }
    return rc;
}

void serve_fail(struct exchange *x, const struct api *api, enum apierr why, struct err *e)
{
    const char *param = e->param;
    char text[sizeof e->text];
    jsonin_unwatch(); /* the body goes */
    for (const struct api_name *n = api ? api->names : NULL; n && n->ours && param; n++) {
        size_t len = strlen(n->ours);
        if (strcmp(n->ours, e->param) != 0)
            continue;
        param = n->theirs;
        if (strncmp(e->text, n->ours, len) == 0 && e->text[len] == ':') {
            memcpy(text, e->text, sizeof text);
            snprintf(e->text, sizeof e->text, "%s%.*s", param, (int)(sizeof text - 80),
                     text + len);
        }
        break;
    }
    exchange_error(x, why, param, e->text);
}

/* ---- starting it ---- */

/* A load balancer learns from it where the session lives. */
static void note_session(struct exchange *x, const struct gen *g)
{
    char hex[33] = "";
    if (g->params.session)
        session_id_hex(&g->session, hex);
    exchange_note(x, "x-recurd-session", hex);
}

/* Takes p and keep over. */
static void start(struct exchange *x, const struct api *api, struct params *p, json_t *keep)
{
    struct http *h = x->http;
    struct err e = {0};
    struct gen *g;
    enum apierr why;
    if (p->session && h->served->cache && statecache_shares_sessions(h->served->cache) &&
        exchange_later(x)) {
        params_fini(p);
        json_decref(keep);
        return;
    }
    x->rated = true;
    struct gen_setup setup = {
        .api = api, .served = h->served, .stats = &h->stats, .waker = x->waker,
        .state = serve_state(x), .facts = &x->facts, .request_id = x->id,
        .key = x->key, .tenant = x->tenant,
        .client = client_of(x->mhd, x->key ? x->key->name : NULL), .retry_s = &x->retry_s,
        .timeout_ns = (uint64_t)h->o->request_timeout * NS_PER_S, .max_tokens = h->o->max_tokens,
    };
    if (gen_start(&g, p, keep, &setup, &why, &e)) {
        serve_fail(x, api, why, &e);
        return;
    }
    note_session(x, g);
    g->pending.ops = &ops;
    g->pending.stream_type = g->params.stream ? api->stream_type : NULL;
    g->pending.keeps_request = keep != NULL;
    x->pending = &g->pending;
}

void serve(struct exchange *x, enum params_kind kind, const struct api *api)
{
    json_t *in = serve_body(x);
    if (in)
        serve_request(x, kind, api, in, in, NULL);
}

void serve_request(struct exchange *x, enum params_kind kind, const struct api *api, json_t *in,
                   json_t *request, json_t *keep)
{
    struct params p;
    if (serve_params(x, kind, api, in, request, &p))
        json_decref(keep);
    else
        start(x, api, &p, keep);
}

/* ---- frames ---- */

void sse_begin(struct buf *out) { buf_str(out, "data: "); }
void sse_begin_named(struct buf *out, const char *name)
{
    buf_fmt(out, "event: %s\ndata: ", name);
}
void sse_end(struct buf *out) { buf_str(out, "\n\n"); }
void sse_ping(struct buf *out) { buf_str(out, ": ping\n\n"); }
