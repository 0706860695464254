/* The life of an exchange: headers, body, handler, reply.
 *
 * Invariant: every path ends in exactly one MHD_queue_response, or in MHD_NO, which closes the
 * connection. Once in EXCHANGE_REPLY nothing but the stream's reader touches it. */
#include "server/http/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "scheduler/sched.h"
#include "server/http/auth.h"
#include "server/http/helper.h"
#include "server/http/origin.h"
#include "server/http/reqlog.h"
#include "server/http/reqspan.h"
#include "server/http/stream.h"
#include "server/process/loading.h"

/* A refused request's body up to this size is read and thrown away, so that the connection and
 * the reply survive; a larger one is not worth its transfer. */
#define DISCARD_BYTES KIB(64)
/* Of one that is too large so much: most clients read no reply before they have sent everything. */
#define TOO_LARGE_BYTES MIB(64)
/* A body whose JSON takes megabytes while it is parsed. */
#define TRIM_BYTES KIB(128)
/* Parsing and tokenising this much takes about a millisecond; more goes to the helper. */
#define INLINE_BYTES KIB(16)
/* Largest reply: text and logprobs of all choices. */
#define REPLY_BYTES MIB(256)
/* Seconds after which a refused client may try again: at most, and where nothing is known. */
#define RETRY_MAX_S 120
#define RETRY_S 2

static const char json_type[] = "application/json";

/* ---- answers ---- */

void exchange_answer(struct exchange *x, int status, const char *type)
{
    x->status = status;
    x->type = type;
}

void exchange_error(struct exchange *x, enum apierr a, const char *param, const char *message)
{
    struct failure f = {a, param, message, x->id};
    buf_clear(&x->reply);
    x->errors->write(&x->reply, &f);
    x->retry = apierr_retry(a);
    x->retry_known = apierr_status(a) >= 408;
    exchange_answer(x, apierr_status(a), json_type);
}

void exchange_loading(struct exchange *x)
{
    struct progress_view v;
    char text[200];
    loading_text(x->http->loading, text, sizeof text);
    progress_view(x->http->loading, &v);
    exchange_error(x, APIERR_LOADING, NULL, text);
    x->retry_s = (int32_t)MAX(MIN(v.left_s, RETRY_MAX_S), RETRY_S);
}

void exchange_fail(struct exchange *x, const struct err *e)
{
    exchange_error(x, apierr_of(e), e->param, e->text);
}

void exchange_fail_params(struct exchange *x, const struct err *e)
{
    bool json = !e->param && (e->code == E_FORMAT || e->code == E_RANGE);
    exchange_error(x, json ? APIERR_BAD_JSON : apierr_of(e), e->param, e->text);
}

void exchange_note(struct exchange *x, const char *name, const char *value)
{
    if (*value && x->n_notes < EXCHANGE_NOTES) {
        x->notes[x->n_notes].name = name;
        snprintf(x->notes[x->n_notes++].value, LIMIT_NOTE_BYTES, "%s", value);
    }
}

static void header(struct MHD_Response *r, const char *name, const char *value)
{
    /* Fails only without memory; a reply without a header beats none. */
    (void)MHD_add_response_header(r, name, value);
}

/* When a place in the queue is likely to be free: as long as the last requests took, for all that
 * wait before. */
static int32_t retry_after(struct exchange *x)
{
    struct sched_stats s;
    if (x->retry_s > 0)
        return x->retry_s;
    sched_stats(x->http->served->sched, &s);
    uint64_t waves = (uint64_t)s.waiting / (uint64_t)MAX(s.slots_total, 1) + 1;
    uint64_t seconds = (s.service_ns * waves + NS_PER_S - 1) / NS_PER_S;
    return s.service_ns ? (int32_t)MAX(MIN(seconds, RETRY_MAX_S), 1) : RETRY_S;
}

/* x-ratelimit-…, in the words of the OpenAI API. */
static void rate_headers(struct exchange *x, struct MHD_Response *r)
{
    static const char *const what[KEY_RATES] = {"requests", "tokens"};
    struct rate_view v;
    char name[48], value[32];
    for (int i = 0; i < KEY_RATES; i++) {
        if (!key_rate(x->key, (enum key_rate)i, &v))
            continue;
        snprintf(name, sizeof name, "x-ratelimit-limit-%s", what[i]);
        snprintf(value, sizeof value, "%lld", (long long)v.limit);
        header(r, name, value);
        snprintf(name, sizeof name, "x-ratelimit-remaining-%s", what[i]);
        snprintf(value, sizeof value, "%lld", (long long)v.remaining);
        header(r, name, value);
        snprintf(name, sizeof name, "x-ratelimit-reset-%s", what[i]);
        snprintf(value, sizeof value, "%.3fs", (double)v.reset_ns / (double)NS_PER_S);
        header(r, name, value);
    }
}

/* Another page's scripts may read the reply. */
static void cors_headers(struct exchange *x, struct MHD_Response *r)
{
    header(r, "Vary", "Origin");
    header(r, "Access-Control-Allow-Origin", x->origin);
    header(r, "Access-Control-Expose-Headers",
           "x-request-id, retry-after, x-should-retry, x-ratelimit-limit-requests, "
           "x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, "
           "x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, x-recurd-unknown-fields, "
           "x-recurd-prompt-rules, x-recurd-cache, x-recurd-session, x-recurd-replica");
    if (strcmp(x->method, "OPTIONS") != 0)
        return;
    header(r, "Access-Control-Allow-Methods", *x->allow ? x->allow : "GET, POST");
    header(r, "Access-Control-Allow-Headers",
           "authorization, content-type, x-request-id, x-api-key, api-key, anthropic-version, "
           "anthropic-beta, anthropic-dangerous-direct-browser-access");
    header(r, "Access-Control-Max-Age", "600");
}

static enum MHD_Result queue(struct exchange *x, struct MHD_Response *r)
{
    char seconds[16];
    header(r, "x-request-id", x->id);
    if (x->errors->id_header)
        header(r, x->errors->id_header, x->id);
    if (x->http->o->replica)
        header(r, "x-recurd-replica", x->http->o->replica);
    header(r, "X-Content-Type-Options", "nosniff");
    if (x->origin)
        cors_headers(x, r);
    if (x->rated && x->key)
        rate_headers(x, r);
    if (x->type)
        header(r, "Content-Type", x->type);
    for (const struct exchange_header *f = x->headers; f && f->name; f++)
        header(r, f->name, f->value);
    if (*x->allow)
        header(r, "Allow", x->allow);
    if (x->status == 401)
        header(r, "WWW-Authenticate", "Bearer realm=\"recurd\"");
    if ((x->status == 409 || x->status == 429 || x->status == 503) && x->retry) {
        snprintf(seconds, sizeof seconds, "%d", x->status == 409 ? 1 : (int)retry_after(x));
        header(r, "Retry-After", seconds);
    }
    for (int i = 0; i < x->n_notes; i++)
        header(r, x->notes[i].name, x->notes[i].value);
    if (x->retry_known)
        header(r, "x-should-retry", x->retry ? "true" : "false");
    if (x->close || http_is_leaving(x->http))
        header(r, "Connection", "close");
    stats_response(&x->http->stats, x->route, x->status);
    log_debug("%s: %s %d, key %s", x->id, route_name(x->http->routes, x->route), x->status,
              x->key ? x->key->name : "none");
    x->phase = EXCHANGE_REPLY;
    enum MHD_Result ok = MHD_queue_response(x->mhd, (unsigned)x->status, r);
    MHD_destroy_response(r);
    return ok;
}

/* ---- memory ---- */

static void release(struct exchange *x, enum exchange_memory what)
{
    bool less = exchange_hold(x, what, 0);
    ASSERT(less);
}

void exchange_full(struct exchange *x)
{
    exchange_error(x, APIERR_OVERLOADED, NULL, "other requests take all of the memory there is for "
                   "bodies, JSON and replies");
}

/* Whether a body of n bytes, none of which are here yet, would find room now. */
static bool has_room(struct exchange *x, size_t n)
{
    bool has = exchange_hold(x, HELD_BODY, n);
    release(x, HELD_BODY);
    return has;
}

static void free_body(struct exchange *x)
{
    if (x->body.len >= TRIM_BYTES)
        __atomic_store_n(&x->http->trim, 1, __ATOMIC_RELAXED);
    buf_free(&x->body);
    release(x, HELD_BODY);
}

/* ---- replies ---- */

static enum MHD_Result respond(struct exchange *x)
{
    if (x->reply.failed) {
        buf_free(&x->reply);
        exchange_error(x, APIERR_OVERLOADED, NULL, "no memory for the reply");
        if (x->reply.failed)
            return MHD_NO; /* nothing beats half of it */
    }
    if (x->status < 400 && !exchange_hold_reply(x)) {
        buf_free(&x->reply);
        exchange_full(x);
    }
    size_t n = x->reply.len;
    char *p = x->reply.p;
    struct MHD_Response *r =
        p ? MHD_create_response_from_buffer_with_free_callback(n, p, mem_free)
          : MHD_create_response_from_buffer(0, (void *)(uintptr_t)"", MHD_RESPMEM_PERSISTENT);
    if (!r)
        return MHD_NO;
    buf_init(&x->reply, REPLY_BYTES); /* its bytes belong to the response now */
    if (x->conn) {
        watch_phase(x->http->watch, x->conn, CONN_REPLY, NULL);
        watch_bytes(x->conn, n);
    }
    return queue(x, r);
}

/* ---- streaming ---- */

static enum MHD_Result start_stream(struct exchange *x)
{
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, KIB(4), stream_read, x, NULL);
    if (!r)
        return MHD_NO;
    header(r, "Cache-Control", "no-cache");
    header(r, "X-Accel-Buffering", "no"); /* nginx in front would hold events back */
    exchange_answer(x, 200, x->pending->stream_type);
    stats_add(&x->http->stats.streams);
    watch_phase(x->http->watch, x->conn, CONN_STREAM, x->waker);
    return queue(x, r);
}

/* ---- a whole reply ---- */

static enum MHD_Result wait_whole(struct exchange *x)
{
    struct pending *s = x->pending;
    for (;;) {
        unsigned flags = waker_take(x->waker);
        if (flags & WAKER_GONE)
            return MHD_NO;
        if (flags & WAKER_ABORT) {
            exchange_error(x, APIERR_DRAINING, NULL, "the server is shutting down");
            return respond(x);
        }
        bool any = s->ops->read(s);
        if (!exchange_hold_reply(x)) {
            exchange_full(x);
            return respond(x);
        }
        if (s->ops->done(s))
            break;
        if (!any && waker_wait(x->waker))
            return MHD_YES;
    }
    s->ops->answer(s, x);
    return respond(x);
}

/* ---- from headers to handler ---- */

struct exchange *exchange_new(struct http *h, struct MHD_Connection *c)
{
    struct exchange *x = mem_zalloc(sizeof *x);
    if (!x)
        return NULL;
    x->http = h;
    x->mhd = c;
    x->route = ROUTE_UNKNOWN;
    x->begun_ns = clock_now_ns();
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    x->conn = info ? info->socket_context : NULL;
    x->waker = waker_new(c, &h->stats.suspended);
    buf_init(&x->body, (size_t)h->o->body_limit);
    x->discard_max = DISCARD_BYTES;
    buf_init(&x->reply, REPLY_BYTES);
    stream_init(x);
    x->errors = routes_errors(h->routes, "");
    if (!x->waker) {
        mem_free(x);
        return NULL;
    }
    __atomic_add_fetch(&h->stats.exchanges, 1, __ATOMIC_SEQ_CST);
    if (x->conn)
        watch_phase(h->watch, x->conn, CONN_NEW, NULL); /* the other headers have a deadline */
    return x;
}

void exchange_free(struct exchange *x)
{
    struct http *h = x->http;
    if (x->pending && !x->pending->ops->done(x->pending))
        stats_add(&h->stats.aborted);
    if (x->conn) /* first: from here on the watcher no longer knows the waker */
        watch_phase(h->watch, x->conn, CONN_IDLE, NULL);
    if (x->pending)
        x->pending->ops->end(x->pending);
    reqlog(x); /* after the end of its generation, which notes the facts */
    reqspan_end(x);
    waker_detach(x->waker);
    waker_unref(x->waker);
    free_body(x);
    buf_free(&x->reply);
    stream_free(x);
    for (int i = 0; i < HELD_KINDS; i++)
        release(x, (enum exchange_memory)i);
    mem_free(x);
    /* Last: http_close frees everything once this is 0. */
    __atomic_sub_fetch(&h->stats.exchanges, 1, __ATOMIC_RELEASE);
}

static const char *request_header(struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->mhd, MHD_HEADER_KIND, name);
}

void exchange_make_id(char id[REQUEST_ID_BYTES + 1])
{
    uint64_t bits[2];
    rng_system(bits, sizeof bits);
    snprintf(id, REQUEST_ID_BYTES + 1, "req-%016llx%08llx", (unsigned long long)bits[0],
             (unsigned long long)bits[1] >> 32);
}

/* The client's own id when it is harmless in a header and a log line, otherwise a new one. */
static void set_id(struct exchange *x)
{
    const char *given = request_header(x, "X-Request-Id");
    size_t n = given ? strlen(given) : 0;
    if (n > 0 && n <= REQUEST_ID_BYTES &&
        strspn(given, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n) {
        memcpy(x->id, given, n + 1);
        return;
    }
    exchange_make_id(x->id);
}

static bool is_json(const char *type)
{
    size_t n = type ? strcspn(type, "; \t") : 0;
    return n == sizeof json_type - 1 && strncasecmp(type, json_type, n) == 0;
}

/* "GET, HEAD, OPTIONS": what a route takes, as the Allow header says it. */
static void set_allow(struct exchange *x, const struct route *r)
{
    size_t n = 0;
    for (const char *m = r->method; *m; m += strspn(m, " ")) {
        int len = (int)strcspn(m, " ");
        n += (size_t)snprintf(x->allow + n, sizeof x->allow - n, "%.*s, %s", len, m,
                              strncmp(m, "GET", (size_t)len) == 0 ? "HEAD, " : "");
        m += len;
    }
    snprintf(x->allow + n, sizeof x->allow - n, "OPTIONS");
}

/* Whether the type of the body is what the method's handler reads. Clients that are no browsers may
 * leave it out (some of Ollama's do); pages, which always send an Origin, may not: the type is what
 * makes a browser ask before it sends. */
static bool is_right_type(struct exchange *x)
{
    const char *type = request_header(x, "Content-Type");
    const char *encoding = request_header(x, "Content-Encoding");
    if (encoding && strcasecmp(encoding, "identity") != 0)
        return false;
    if (strcmp(x->method, "PUT") == 0)
        return type && strncasecmp(type, "application/octet-stream", 24) == 0;
    return strcmp(x->method, "POST") != 0 || is_json(type) ||
           (!type && !request_header(x, "Origin"));
}

static const char *method_literal(const char *method)
{
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i], method) == 0)
            return known[i];
    return "other";
}

/* False: it may not, and was answered 401 or 403. */
static bool may_ask(struct exchange *x, const struct route *r)
{
    struct keys *keys = x->http->keys;
    if (!keys || r->access == ACCESS_OPEN)
        return true;
    struct key *key = NULL;
    const char *why = NULL;
    enum auth a = auth_check(x->mhd, keys, r->access == ACCESS_METRICS, &key, &why);
    if (a != AUTH_YES) {
        exchange_error(x, a == AUTH_DENIED ? APIERR_DENIED : APIERR_NO_KEY, NULL, why);
        return false;
    }
    x->key = key;
    x->tenant = key->tenant;
    return true;
}

/* Whether the request is for this server and from a page that may ask. False: answered. */
static bool check_origin(struct exchange *x)
{
    const struct http *h = x->http;
    const char *host = request_header(x, "Host"), *origin = request_header(x, "Origin");
    host = host ? host : "";
    if (origin && origin_is_listed(origin, h->o->origins))
        x->origin = origin;
    if (h->guarded && *host && !host_is_loopback(host) && !host_is_listed(host, h->o->hosts)) {
        exchange_error(x, APIERR_HOST, NULL, "this server does not answer to that Host; its names "
                       "besides those of loopback are set by hosts");
        return false;
    }
    if (h->guarded && origin && !x->origin && !origin_is_own(origin, host)) {
        exchange_error(x, APIERR_ORIGIN, NULL, "pages of this Origin may not use this server; "
                       "those that may are set by origins");
        return false;
    }
    return true;
}

static void check_route(struct exchange *x, const char *url, const char *method)
{
    struct http *h = x->http;
    bool loading = http_is_loading(h);
    if (!loading && strcmp(x->method, "PUT") == 0 && h->served->cache) /* an exported state */
        x->body.max = (size_t)session_blob_max(h->served->cache);
    const char *length = request_header(x, "Content-Length");
    char text[160];
    x->route = route_find(h->routes, url, &x->rest);
    const struct route *r = route_at(h->routes, x->route);
    if (!r) {
        exchange_error(x, APIERR_NO_ROUTE, NULL, "there is nothing at this path");
    } else if (strcmp(method, "OPTIONS") == 0) {
        set_allow(x, r);
        exchange_answer(x, 204, NULL);
    } else if (loading && r->access != ACCESS_OPEN) {
        exchange_loading(x); /* before keys are looked at: their tenants are made with the cache */
    } else if (!may_ask(x, r)) {
        return; /* answered, before anything else is told */
    } else if (!route_allows(r, method)) {
        set_allow(x, r);
        snprintf(text, sizeof text, "%s takes %s", r->path, r->method);
        exchange_error(x, APIERR_METHOD, NULL, text);
    } else if (length && (strlen(length) > 12 ||
                          strtoull(length, NULL, 10) > (unsigned long long)x->body.max)) {
        snprintf(text, sizeof text, "the body has %s bytes, and at most %zu are read", length,
                 x->body.max);
        exchange_error(x, APIERR_TOO_LARGE, NULL, text);
        x->close = true;
        x->discard_max = TOO_LARGE_BYTES;
    } else if (length && !has_room(x, strtoull(length, NULL, 10))) {
        exchange_full(x);
        x->close = true;
    } else if ((strcmp(x->method, "POST") == 0 || strcmp(x->method, "PUT") == 0) &&
               http_is_draining(h)) {
        exchange_error(x, APIERR_DRAINING, NULL, "the server is shutting down");
    } else if (!is_right_type(x)) {
        exchange_error(x, APIERR_MEDIA, NULL, strcmp(x->method, "PUT") == 0
                           ? "the body must be an exported session: Content-Type: "
                             "application/octet-stream, not encoded"
                           : "the body must be JSON: Content-Type: application/json, not encoded");
    }
}

/* Whether a refused request is answered before its body: the client waits for our word, or the
 * body is long. */
static bool answer_now(struct exchange *x)
{
    const char *length = request_header(x, "Content-Length");
    if (x->discard_max > DISCARD_BYTES && !request_header(x, "Expect") && length &&
        strlen(length) <= 12 && strtoull(length, NULL, 10) <= TOO_LARGE_BYTES)
        return false;
    return x->close || request_header(x, "Expect") || request_header(x, "Transfer-Encoding") ||
           (length && strtoull(length, NULL, 10) > DISCARD_BYTES);
}

enum MHD_Result exchange_head(struct exchange *x, const char *url, const char *method,
                              const char *version)
{
    struct http *h = x->http;
    struct watch_counts counts;
    x->phase = EXCHANGE_BODY;
    x->http10 = strcmp(version, "HTTP/1.1") != 0;
    watch_counts(h->watch, &counts);
    set_id(x);
    x->errors = routes_errors(h->routes, url);
    if (!x->conn || counts.open > h->o->connections) {
        exchange_error(x, APIERR_OVERLOADED, NULL, "too many connections");
        x->close = true;
    } else if (http_is_closing(h)) {
        exchange_error(x, APIERR_DRAINING, NULL, "the server is shutting down");
        x->close = true;
    } else {
        watch_phase(h->watch, x->conn, CONN_BODY, NULL);
        x->method = method_literal(method);
        if (check_origin(x))
            check_route(x, url, method);
        reqspan_begin(x);
    }
    return x->status && answer_now(x) ? respond(x) : MHD_YES;
}

enum MHD_Result exchange_data(struct exchange *x, const char *data, size_t *n)
{
    size_t len = *n;
    *n = 0;
    if (x->conn)
        watch_bytes(x->conn, len);
    if (!x->status && !exchange_hold(x, HELD_BODY, x->held[HELD_BODY] + len)) {
        exchange_full(x);
        x->close = true;
        free_body(x);
    } else if (!x->status && buf_add(&x->body, data, len) && x->body.len + len <= x->body.max) {
        exchange_error(x, APIERR_OVERLOADED, NULL, "no memory for the body");
        x->close = true;
        free_body(x);
    } else if (!x->status && x->body.failed) {
        /* Only a chunked body gets here: the others said their length. */
        exchange_error(x, APIERR_TOO_LARGE, NULL, "the body is larger than this server reads");
        x->close = true;
        x->discard_max = TOO_LARGE_BYTES;
        free_body(x);
    }
    if (x->status) {
        x->discarded += len;
        if (x->discarded > x->discard_max)
            return MHD_NO; /* the library sends no reply inside a body */
    }
    return MHD_YES;
}

static bool waits_for_disk(const struct exchange *x)
{
    const struct route *r = route_at(x->http->routes, x->route);
    return r->waits && r->waits(x);
}

void exchange_handle(struct exchange *x)
{
    const struct route *r = route_at(x->http->routes, x->route);
    mem_clear_lacked();
    r->handler(x);
    bool on_disk = waits_for_disk(x) && x->status && x->status < 400; /* what is done is done */
    if (!mem_lacked() || x->status >= 500 || on_disk)
        return;
    if (x->pending)
        x->pending->ops->end(x->pending);
    x->pending = NULL;
    buf_free(&x->reply);
    exchange_error(x, APIERR_OVERLOADED, NULL, "no memory for the request");
}

/* What a handler left: an answer, a stream or a reply to wait for. */
static enum MHD_Result after_handler(struct exchange *x)
{
    free_body(x);
    if (!x->pending || !x->pending->keeps_request)
        release(x, HELD_JSON);
    if (x->status)
        return respond(x);
    ASSERT(x->pending);
    if (x->pending->stream_type)
        return start_stream(x);
    x->phase = EXCHANGE_WAIT;
    watch_phase(x->http->watch, x->conn, CONN_WAIT, x->waker);
    return wait_whole(x);
}

bool exchange_later(struct exchange *x)
{
    x->later = !x->may_wait;
    return x->later;
}

/* To a helper's thread; and what comes of it, if that is there already. */
static enum MHD_Result help(struct exchange *x, enum helper_lane lane)
{
    x->may_wait = lane == HELPER_ASKS;
    x->later = false;
    x->n_notes = 0; /* of a handler that is run again */
    x->phase = EXCHANGE_HELPED;
    __atomic_store_n(&x->helping, 1, __ATOMIC_RELAXED);
    helper_put(x->http->helper, lane, x);
    return exchange_go_on(x);
}

enum MHD_Result exchange_go_on(struct exchange *x)
{
    switch (x->phase) {
    case EXCHANGE_BODY:
        if (x->status)
            return respond(x);
        watch_phase(x->http->watch, x->conn, CONN_BUSY, NULL);
        if (x->body.len > INLINE_BYTES || waits_for_disk(x))
            return help(x, waits_for_disk(x) ? HELPER_WAITS : HELPER_COMPUTES);
        exchange_handle(x);
        return x->later ? help(x, HELPER_ASKS) : after_handler(x);
    case EXCHANGE_HELPED:
        while (__atomic_load_n(&x->helping, __ATOMIC_ACQUIRE))
            if (waker_wait(x->waker))
                return MHD_YES;
        return x->later ? help(x, HELPER_ASKS) : after_handler(x);
    case EXCHANGE_WAIT:
        return wait_whole(x);
    case EXCHANGE_HEAD:
    case EXCHANGE_REPLY:
        break;
    }
    return MHD_YES;
}
