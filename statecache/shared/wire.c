/* The connection: libcurl's socket, hiredis' reader, our limits. */
#include "statecache/shared/wire.h"

#if __has_include(<hiredis/read.h>)
#define HAVE_HIREDIS 1
#include <curl/curl.h>
#include <hiredis/read.h>
#else
#define HAVE_HIREDIS 0
#endif

#if HAVE_HIREDIS

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define TAKE 65536 /* bytes read at once */

struct wire {
    const struct shared_address *to;
    char *ca;
    CURL *curl;            /* NULL = not connected */
    redisReader *reader;
    size_t fed;            /* bytes since the last whole reply */
    int asked, owed;       /* replies that are waited for; that come before those, too late */
    struct reply reply;
    unsigned char *text;   /* of the reply; text_cap bytes */
    size_t text_cap;
    void (*each)(void *arg, const unsigned char *p, size_t n); /* while a SCAN is answered */
    void *arg;
    char *cursor;
    bool listed;           /* it had its list */
    char error[CURL_ERROR_SIZE];
    char taken[TAKE];
};

/* ---- replies ------------------------------------------------------------------------------ */

static void *make_text(const redisReadTask *t, char *text, size_t n)
{
    struct wire *w = t->privdata;
    if (t->parent && t->parent->parent) { /* lists are only read in a SCAN's answer */
        w->each(w->arg, (const unsigned char *)text, n);
        return &w->reply;
    }
    if (t->parent) {
        bool fits = t->idx == 0 && n < WIRE_CURSOR;
        if (fits)
            memcpy(w->cursor, text, n);
        if (fits)
            w->cursor[n] = '\0';
        return fits ? &w->reply : NULL;
    }
    if (n > w->text_cap) {
        unsigned char *more = mem_realloc(w->text, n);
        if (!more)
            return NULL;
        w->text = more;
        w->text_cap = n;
    }
    if (n)
        memcpy(w->text, text, n);
    w->reply = (struct reply){.kind = t->type == REDIS_REPLY_ERROR ? REPLY_ERROR : REPLY_TEXT,
                              .p = w->text, .n = n};
    return &w->reply;
}
/* Only a SCAN is answered by lists: a cursor, and a list of keys. */
static void *make_list(const redisReadTask *t, int n)
{
    struct wire *w = t->privdata;
    bool outer = !t->parent && n == 2, keys = t->parent && !t->parent->parent && t->idx == 1;
    w->reply = (struct reply){.kind = REPLY_NUMBER};
    w->listed |= keys;
    return w->each && (outer || keys) ? &w->reply : NULL;
}
static void *make_number(const redisReadTask *t, long long v)
{
    struct wire *w = t->privdata;
    w->reply = (struct reply){.kind = REPLY_NUMBER, .number = v};
    return &w->reply;
}
static void *make_nil(const redisReadTask *t)
{
    struct wire *w = t->privdata;
    w->reply = (struct reply){.kind = REPLY_NIL};
    return &w->reply;
}
static void forget(void *reply) { (void)reply; }

static redisReplyObjectFunctions makers = {make_text, make_list, make_number, make_nil, forget};

/* ---- connecting --------------------------------------------------------------------------- */

int wire_open(struct wire **out, const struct shared_address *to, const char *ca, struct err *e)
{
    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(e, E_NOMEM, "no memory for libcurl");
    struct wire *w = mem_zalloc(sizeof(*w));
    if (!w || (ca && !(w->ca = mem_strdup(ca)))) {
        mem_free(w);
        curl_global_cleanup();
        return err_set(e, E_NOMEM, "no memory for a connection to the shared store");
    }
    w->to = to;
    *out = w;
    return 0;
}

void wire_drop(struct wire *w)
{
    if (w->curl)
        curl_easy_cleanup(w->curl);
    if (w->reader)
        redisReaderFree(w->reader);
    w->curl = NULL;
    w->reader = NULL;
    w->asked = w->owed = 0;
}

void wire_close(struct wire *w)
{
    if (!w)
        return;
    wire_drop(w);
    mem_free(w->ca);
    mem_free(w->text);
    mem_free(w);
    curl_global_cleanup();
}

bool wire_connected(const struct wire *w) { return w->curl != NULL; }

static int set_target(struct wire *w, CURL *c)
{
    char url[SHARED_HOST + 32];
    const struct shared_address *a = w->to;
    bool v6 = strchr(a->host, ':') != NULL;
    if (*a->path)
        snprintf(url, sizeof(url), "http://localhost/");
    else
        snprintf(url, sizeof(url), "http%s://%s%s%s:%d/", a->tls ? "s" : "", v6 ? "[" : "",
                 a->host, v6 ? "]" : "", a->port);
    int rc = curl_easy_setopt(c, CURLOPT_URL, url);
    if (*a->path)
        rc |= (int)curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, a->path);
    if (w->ca)
        rc |= (int)curl_easy_setopt(c, CURLOPT_CAINFO, w->ca);
    return rc;
}

static int dial(struct wire *w, int connect_ms, struct err *e)
{
    CURL *c = curl_easy_init();
    if (!c)
        return err_set(e, E_NOMEM, "no memory for a connection to the shared store");
    int bad = set_target(w, c);
    bad |= (int)curl_easy_setopt(c, CURLOPT_CONNECT_ONLY, 1L);
    bad |= (int)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    bad |= (int)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    bad |= (int)curl_easy_setopt(c, CURLOPT_PROXY, ""); /* the environment's are for HTTP */
    bad |= (int)curl_easy_setopt(c, CURLOPT_SSL_ENABLE_ALPN, 0L);
    bad |= (int)curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    bad |= (int)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, w->error);
    w->error[0] = '\0';
    CURLcode rc = bad ? CURLE_FAILED_INIT : curl_easy_perform(c);
    if (rc == CURLE_OK) {
        w->curl = c;
        return 0;
    }
    curl_easy_cleanup(c);
    return err_set(e, rc == CURLE_OPERATION_TIMEDOUT ? E_TIMEOUT : E_IO, "%s: %s", w->to->shown,
                   *w->error ? w->error : curl_easy_strerror(rc));
}

static int broken(struct wire *w, int code, struct err *e, const char *what)
{
    wire_drop(w);
    return err_set(e, code, "%s: %s", w->to->shown, what);
}

/* ---- bytes -------------------------------------------------------------------------------- */

/* Waits for the socket. */
static int await(struct wire *w, short events, uint64_t deadline_ns, struct err *e)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    uint64_t now = clock_now_ns();
    if (curl_easy_getinfo(w->curl, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK ||
        fd == CURL_SOCKET_BAD)
        return broken(w, E_IO, e, "the connection is closed");
    uint64_t ms = deadline_ns > now ? (deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS : 0;
    struct pollfd p = {.fd = fd, .events = events};
    int n = ms ? poll(&p, 1, (int)MIN(ms, (uint64_t)INT_MAX)) : 0;
    if (n == 0 && events == POLLOUT) /* half a command: nothing can follow it */
        return broken(w, E_TIMEOUT, e, "it does not take what it is told in time");
    return n ? 0 : err_set(e, E_TIMEOUT, "%s: it did not answer in time", w->to->shown);
}

static int send_all(struct wire *w, const void *p, size_t n, uint64_t deadline_ns, struct err *e)
{
    const char *at = p;
    while (n > 0) {
        size_t sent = 0;
        CURLcode rc = curl_easy_send(w->curl, at, n, &sent);
        at += sent;
        n -= sent;
        if (rc == CURLE_AGAIN) {
            int code = await(w, POLLOUT, deadline_ns, e);
            if (code)
                return code;
        } else if (rc != CURLE_OK) {
            return broken(w, E_IO, e, "the connection broke");
        }
    }
    return 0;
}

/* Some more of what the peer says, for the reader. */
static int take(struct wire *w, uint64_t deadline_ns, struct err *e)
{
    size_t n = 0;
    CURLcode rc;
    while ((rc = curl_easy_recv(w->curl, w->taken, sizeof(w->taken), &n)) == CURLE_AGAIN) {
        int code = await(w, POLLIN, deadline_ns, e);
        if (code)
            return code;
    }
    if (rc != CURLE_OK || n == 0)
        return broken(w, E_IO, e, "it closed the connection");
    w->fed += n;
    if (redisReaderFeed(w->reader, w->taken, n) != REDIS_OK)
        return broken(w, E_FORMAT, e, "what it says is not the Redis protocol");
    return 0;
}

/* ---- commands ----------------------------------------------------------------------------- */

int wire_send(struct wire *w, const struct word *words, int n, uint64_t deadline_ns, struct err *e)
{
    char head[64];
    ASSERT(n > 0 && n <= WIRE_WORDS);
    if (!w->curl)
        return err_set(e, E_IO, "%s: not connected", w->to->shown);
    snprintf(head, sizeof(head), "*%d\r\n", n);
    int rc = 0;
    for (int i = 0; i < n && !rc; i++) {
        size_t at = strlen(head);
        snprintf(head + at, sizeof(head) - at, "$%zu\r\n", words[i].n);
        rc = send_all(w, head, strlen(head), deadline_ns, e);
        if (!rc)
            rc = send_all(w, words[i].p, words[i].n, deadline_ns, e);
        snprintf(head, sizeof(head), "\r\n");
    }
    if (!rc)
        rc = send_all(w, head, strlen(head), deadline_ns, e);
    w->asked += !rc;
    return rc;
}

/* The next reply, whoever it is for. */
static int next_reply(struct wire *w, uint64_t deadline_ns, struct reply *out, struct err *e)
{
    for (;;) {
        void *whole = NULL;
        if (redisReaderGetReply(w->reader, &whole) != REDIS_OK)
            return broken(w, E_FORMAT, e, "what it says is not the Redis protocol");
        if (whole) {
            w->fed = w->reader->len - w->reader->pos;
            *out = w->reply;
            return 0;
        }
        if (w->fed > WIRE_REPLY_MAX + TAKE)
            return broken(w, E_FORMAT, e, "a reply is longer than any of what was asked for");
        int rc = take(w, deadline_ns, e);
        if (rc)
            return rc;
    }
}

int wire_receive(struct wire *w, uint64_t deadline_ns, struct reply *out, struct err *e)
{
    if (!w->curl)
        return err_set(e, E_IO, "%s: not connected", w->to->shown);
    if (!w->asked)
        return err_set(e, E_TIMEOUT, "%s: what was asked for is not waited for any more",
                       w->to->shown);
    int rc = 0;
    while (!rc && w->owed) {
        rc = next_reply(w, deadline_ns, out, e);
        w->owed -= !rc;
    }
    if (!rc)
        rc = next_reply(w, deadline_ns, out, e);
    w->asked -= !rc;
    if (rc == E_TIMEOUT && w->curl) { /* they will come, and nobody wants them */
        w->owed += w->asked;
        w->asked = 0;
    }
    return rc;
}

int wire_refused(const struct reply *r, struct err *e)
{
    char words[128];
    size_t n = MIN(r->n, sizeof(words) - 1);
    for (size_t i = 0; i < n; i++) /* a stranger's text, for the log */
        words[i] = r->p[i] >= ' ' && r->p[i] < 0x7f ? (char)r->p[i] : '?';
    words[n] = '\0';
    return err_set(e, E_DENIED, "the shared store says: %s", words);
}

int wire_ask(struct wire *w, const struct word *words, int n, uint64_t deadline_ns,
             struct reply *out, struct err *e)
{
    int rc = wire_send(w, words, n, deadline_ns, e);
    if (!rc)
        rc = wire_receive(w, deadline_ns, out, e);
    return !rc && out->kind == REPLY_ERROR ? wire_refused(out, e) : rc;
}

static struct word word(const char *text) { return (struct word){text, strlen(text)}; }

int wire_scan(struct wire *w, const char *pattern, char cursor[WIRE_CURSOR],
              void (*each)(void *arg, const unsigned char *p, size_t n), void *arg,
              uint64_t deadline_ns, struct err *e)
{
    struct word words[6] = {word("SCAN"),  word(cursor), word("MATCH"),
                            word(pattern), word("COUNT"), word("500")};
    struct reply r = {0};
    int rc = wire_send(w, words, 6, deadline_ns, e);
    w->each = each;
    w->arg = arg;
    w->cursor = cursor;
    w->listed = false;
    if (!rc)
        rc = wire_receive(w, deadline_ns, &r, e);
    w->each = NULL;
    if (rc == E_TIMEOUT) /* a list is taken while it is asked for, or never */
        wire_drop(w);
    if (!rc && r.kind == REPLY_ERROR)
        return wire_refused(&r, e);
    if (!rc && !w->listed)
        rc = broken(w, E_FORMAT, e, "it answers a SCAN with no list");
    return rc;
}

static int greet(struct wire *w, int connect_ms, int answer_ms, struct err *e)
{
    const struct shared_address *a = w->to;
    uint64_t until = clock_now_ns() + (uint64_t)connect_ms * NS_PER_MS;
    struct reply r = {0};
    int rc = 0;
    if (*a->password) {
        struct word auth[3] = {word("AUTH"), word(a->user), word(a->password)};
        if (!*a->user)
            auth[1] = auth[2];
        rc = wire_ask(w, auth, *a->user ? 3 : 2, until, &r, e);
    }
    if (!rc && a->db) {
        char db[16];
        snprintf(db, sizeof(db), "%d", a->db);
        struct word select[2] = {word("SELECT"), word(db)};
        rc = wire_ask(w, select, 2, until, &r, e);
    }
    if (rc)
        return rc;
    struct word ping = word("PING");
    until = clock_now_ns() + (uint64_t)answer_ms * NS_PER_MS;
    rc = wire_ask(w, &ping, 1, until, &r, e);
    if (!rc && (r.kind != REPLY_TEXT || r.n != 4 || memcmp(r.p, "PONG", 4) != 0))
        rc = err_set(e, E_FORMAT, "%s: it does not answer a PING with PONG", a->shown);
    return rc;
}

int wire_connect(struct wire *w, int connect_ms, int answer_ms, struct err *e)
{
    wire_drop(w);
    int rc = dial(w, connect_ms, e);
    if (rc)
        return rc;
    w->reader = redisReaderCreateWithFunctions(&makers);
    if (!w->reader)
        return broken(w, E_NOMEM, e, "no memory for its replies");
    w->reader->privdata = w;
    w->fed = 0;
    rc = greet(w, connect_ms, answer_ms, e);
    if (rc)
        wire_drop(w);
    return rc;
}

#else /* built without hiredis: the cache opens none, so nothing else is ever called */

int wire_open(struct wire **out, const struct shared_address *to, const char *ca, struct err *e)
{
    (void)to, (void)ca;
    *out = NULL;
    return err_set(e, E_UNSUPPORTED, "shared: this recurd was built without hiredis "
                   "(libhiredis-dev), so it cannot talk to a shared store");
}
void wire_close(struct wire *w) { (void)w; }
void wire_drop(struct wire *w) { (void)w; }
bool wire_connected(const struct wire *w) { return w != NULL; }
static int none(struct err *e) { return err_set(e, E_UNSUPPORTED, "built without hiredis"); }
int wire_connect(struct wire *w, int connect_ms, int answer_ms, struct err *e)
{
    (void)w, (void)connect_ms, (void)answer_ms;
    return none(e);
}
int wire_send(struct wire *w, const struct word *words, int n, uint64_t deadline_ns, struct err *e)
{
    (void)w, (void)words, (void)n, (void)deadline_ns;
    return none(e);
}
int wire_receive(struct wire *w, uint64_t deadline_ns, struct reply *out, struct err *e)
{
    (void)w, (void)deadline_ns, (void)out;
    return none(e);
}
int wire_ask(struct wire *w, const struct word *words, int n, uint64_t deadline_ns,
             struct reply *out, struct err *e)
{
    (void)w, (void)words, (void)n, (void)deadline_ns, (void)out;
    return none(e);
}
int wire_scan(struct wire *w, const char *pattern, char cursor[WIRE_CURSOR],
              void (*each)(void *arg, const unsigned char *p, size_t n), void *arg,
              uint64_t deadline_ns, struct err *e)
{
    (void)w, (void)pattern, (void)cursor, (void)each, (void)arg, (void)deadline_ns;
    return none(e);
}
int wire_refused(const struct reply *r, struct err *e)
{
    (void)r;
    return none(e);
}

#endif
