/* Transfers: libcurl's connections, our signatures, limits and patience. */
#include "statecache/shared/s3_http.h"

#include "statecache/shared/s3_listing.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

#define TRIES 3
#define PAUSE_NS (50 * NS_PER_MS)  /* before the second try, and twice that before the third */
#define REFUSAL_KEPT 4096          /* bytes of a refusal that are looked at … */
#define REFUSAL_MAX 65536          /* … and that it may have; as many may be in the headers */
#define POLL_MS UINT64_C(1000)

enum phase { FREE, RUNNING, PAUSED, OVER };

struct transfer {
    struct s3_http *http;
    enum phase phase;
    CURL *easy;
    struct curl_slist *headers;
    enum s3_method method;
    char path[S3_BUCKET + S3_PREFIX + 128], query[S3_QUERY], if_match[S3_ETAG];
    bool conditional;
    unsigned char *bytes;     /* of a PUT, or of what a GET answers; cap bytes */
    size_t cap, n, most;
    char refusal[REFUSAL_KEPT];
    size_t refused, head;     /* bytes of a refusal and of headers so far */
    char region[S3_REGION];   /* as a header has it */
    bool too_long, refused_long; /* more than asked for; more than any refusal has */
    int tries;
    uint64_t due_ns;          /* of a PAUSED one */
    char error[CURL_ERROR_SIZE];
    struct s3_reply reply;
};

struct s3_http {
    const struct s3_place *place;
    const struct s3_login *login;
    char *ca;
    CURLM *multi;
    long connect_ms;
    uint64_t sent, again;
    struct transfer t[S3_AT_ONCE];
};

/* ---- what arrives ------------------------------------------------------------------------- */

static int status_of(const struct transfer *t)
{
    long status = 0;
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    int status = status_of(t);
    n *= size;
    if (status >= 200 && status <= 299 && t->method == S3_GET) {
        t->too_long = n > t->most - t->n;
        if (t->too_long)
            return 0;
        memcpy(t->bytes + t->n, p, n);
        t->n += n;
        return n;
    }
    size_t kept = MIN(n, sizeof(t->refusal) - MIN(t->refused, sizeof(t->refusal)));
    if (kept > 0)
        memcpy(t->refusal + t->refused, p, kept);
    t->refused += n;
    t->refused_long = t->refused > REFUSAL_MAX;
    return t->refused_long ? 0 : n;
}

/* The value of a header of that name; false: it is another one, or too long for out. */
static bool header(const char *line, size_t n, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);
    if (n <= len || strncasecmp(line, name, len) != 0 || line[len] != ':')
        return false;
    line += len + 1;
    n -= len + 1;
    while (n > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        n--;
    }
    while (n > 0 && (unsigned char)line[n - 1] <= ' ')
        n--;
    if (n >= size || memchr(line, '\0', n))
        return false;
    memcpy(out, line, n);
    out[n] = '\0';
    return true;
}

static bool printable(const char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            return false;
    return true;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    char value[S3_ETAG];
    n *= size;
    t->head += n;
    t->refused_long = t->head > REFUSAL_MAX;
    if (t->refused_long)
        return 0;
    time_t at;
    if (header(p, n, "date", value, sizeof(value)) && (at = curl_getdate(value, NULL)) > 0)
        t->reply.skew_s = (int64_t)at - (int64_t)clock_unix_s();
    else if (header(p, n, "last-modified", value, sizeof(value)) &&
             (at = curl_getdate(value, NULL)) > 0)
        t->reply.modified_s = (uint64_t)at;
    else if (header(p, n, "etag", value, sizeof(value)) && printable(value))
        memcpy(t->reply.etag, value, sizeof(value));
    else if (header(p, n, "x-amz-bucket-region", value, S3_REGION))
        memcpy(t->region, value, S3_REGION);
    return n;
}

/* ---- what is sent ------------------------------------------------------------------------- */

static const char *const methods[] = {"GET", "HEAD", "PUT", "DELETE"};

static bool add_header(struct transfer *t, const char *name, const char *value)
{
    char line[S3_TOKEN + 64];
    snprintf(line, sizeof(line), "%s: %s", name, value);
    struct curl_slist *l = curl_slist_append(t->headers, line);
    t->headers = l ? l : t->headers;
    return l != NULL;
}

/* The headers of this try: the time is new in each. */
static bool sign(struct transfer *t)
{
    const struct s3_http *h = t->http;
    char hash[S3_HEX], time[S3_TIME], auth[S3_AUTH];
    bool put = t->method == S3_PUT, over_none = t->conditional && !*t->if_match;
    if (put && h->place->tls) /* its records are authentic, and hashing costs as much as sealing */
        memcpy(hash, S3_UNSIGNED, sizeof(S3_UNSIGNED));
    else
        s3_hash(put ? t->bytes : (const unsigned char *)"", put ? t->n : 0, hash);
    s3_time(clock_unix_s(), time);
    struct s3_header all[5], *at = all;
    *at++ = (struct s3_header){"host", h->place->host};
    if (t->conditional)
        *at++ = (struct s3_header){over_none ? "if-none-match" : "if-match",
                                   over_none ? "*" : t->if_match};
    *at++ = (struct s3_header){"x-amz-content-sha256", hash};
    *at++ = (struct s3_header){"x-amz-date", time};
    if (*h->login->keys.token)
        *at++ = (struct s3_header){"x-amz-security-token", h->login->keys.token};
    s3_sign(&h->login->keys, h->place->region, methods[t->method], t->path, t->query, all,
            (int)(at - all), hash, time, auth);
    curl_slist_free_all(t->headers);
    t->headers = NULL;
    bool ok = true;
    for (struct s3_header *i = all; i < at && ok; i++)
        ok = add_header(t, i->name, i->value);
    return ok && add_header(t, "authorization", auth) &&
           (!put || (add_header(t, "content-type", "application/octet-stream") &&
                     add_header(t, "expect", "")));
}

static int set_options(struct transfer *t)
{
    const struct s3_http *h = t->http;
    CURL *c = t->easy;
    char url[sizeof(h->place->host) + sizeof(t->path) + sizeof(t->query) + 16];
    snprintf(url, sizeof(url), "http%s://%s%s%s%s", h->place->tls ? "s" : "", h->place->host,
             t->path, *t->query ? "?" : "", t->query);
    int bad = (int)curl_easy_setopt(c, CURLOPT_URL, url);
    bad |= (int)curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
    bad |= (int)curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    bad |= (int)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, h->connect_ms);
    bad |= (int)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    bad |= (int)curl_easy_setopt(c, CURLOPT_PROXY, "");
    bad |= (int)curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    bad |= (int)curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    bad |= (int)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->error);
    bad |= (int)curl_easy_setopt(c, CURLOPT_PRIVATE, t);
    bad |= (int)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    bad |= (int)curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    bad |= (int)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    bad |= (int)curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    if (h->ca)
        bad |= (int)curl_easy_setopt(c, CURLOPT_CAINFO, h->ca);
    if (t->method == S3_PUT) { /* as a POST: what is sent can be sent again by libcurl itself */
        bad |= (int)curl_easy_setopt(c, CURLOPT_POSTFIELDS, (char *)t->bytes);
        bad |= (int)curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->n);
    } else if (t->method == S3_HEAD) {
        bad |= (int)curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    }
    if (t->method == S3_PUT || t->method == S3_DELETE)
        bad |= (int)curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, methods[t->method]);
    return bad;
}

/* One try. */
static int start(struct transfer *t, struct err *e)
{
    memset(&t->reply, 0, sizeof(t->reply));
    t->refused = t->head = 0;
    t->region[0] = t->error[0] = '\0';
    t->too_long = t->refused_long = false;
    if (t->method != S3_PUT)
        t->n = 0;
    curl_easy_reset(t->easy);
    if (!sign(t) || set_options(t) ||
        curl_multi_add_handle(t->http->multi, t->easy) != CURLM_OK)
        return err_set(e, E_NOMEM, "no memory for a request to the shared store");
    t->phase = RUNNING;
    t->tries++;
    t->http->sent++;
    return 0;
}

static bool make_room(struct transfer *t, size_t n)
{
    if (n <= t->cap)
        return true;
    unsigned char *more = mem_realloc(t->bytes, n);
    if (more) {
        t->bytes = more;
        t->cap = n;
    }
    return more != NULL;
}

int s3_http_begin(struct s3_http *h, const struct s3_request *r, int *id, struct err *e)
{
    struct transfer *t = h->t;
    while (t < h->t + S3_AT_ONCE && t->phase != FREE)
        t++;
    ASSERT(t < h->t + S3_AT_ONCE);
    if ((!t->easy && !(t->easy = curl_easy_init())) || !make_room(t, MAX(r->n, r->most)))
        return err_set(e, E_NOMEM, "no memory for a request to the shared store");
    t->method = r->method;
    t->most = r->most;
    t->tries = 0;
    t->n = r->n;
    if (r->n)
        memcpy(t->bytes, r->body, r->n);
    t->conditional = r->if_match != NULL;
    snprintf(t->if_match, sizeof(t->if_match), "%s", r->if_match ? r->if_match : "");
    snprintf(t->query, sizeof(t->query), "%s", r->query ? r->query : "");
    if (r->query)
        snprintf(t->path, sizeof(t->path), "%.*s", (int)h->place->bucket, h->place->root);
    else
        snprintf(t->path, sizeof(t->path), "%s%s", h->place->root, r->key);
    *id = (int)(t - h->t);
    return start(t, e);
}

/* ---- what becomes of it ------------------------------------------------------------------- */

static int fault_of(CURLcode rc)
{
    switch (rc) {
    case CURLE_OUT_OF_MEMORY:
        return E_NOMEM;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING:
        return E_FORMAT;
    default:
        return E_IO;
    }
}

/* A connection that broke in the middle, as those do that were kept for long. */
static bool broke(CURLcode rc)
{
    return rc == CURLE_RECV_ERROR || rc == CURLE_SEND_ERROR || rc == CURLE_GOT_NOTHING ||
           rc == CURLE_PARTIAL_FILE;
}

static void read_reply(struct transfer *t, CURLcode rc)
{
    struct s3_reply *r = &t->reply;
    const char *shown = t->http->place->shown;
    r->status = status_of(t);
    if (t->refused_long) {
        r->failed = E_FORMAT;
        snprintf(r->why, sizeof(r->why), "%.150s: a reply of more than %d bytes says no", shown,
                 REFUSAL_MAX);
    } else if (rc != CURLE_OK && !t->too_long) {
        r->failed = fault_of(rc);
        snprintf(r->why, sizeof(r->why), "%.150s: %.100s", shown,
                 *t->error ? t->error : curl_easy_strerror(rc));
    }
    s3_refusal_read(t->refusal, MIN(t->refused, sizeof(t->refusal)), t->region, &r->refusal);
    r->meaning = s3_meaning(r->status, &r->refusal);
    bool whole = t->method == S3_GET && !t->too_long;
    r->p = whole ? t->bytes : NULL;
    r->n = whole ? t->n : 0;
}

/* A try is over. Another one follows if that may help and there is time for it. */
static void finish(struct transfer *t, CURLcode rc, uint64_t deadline_ns)
{
    uint32_t r;
    curl_multi_remove_handle(t->http->multi, t->easy);
    read_reply(t, rc);
    rng_system(&r, sizeof(r));
    uint64_t pause = (PAUSE_NS << (t->tries - 1)) / 2, now = clock_now_ns();
    pause += (uint64_t)((double)pause * (r / 4294967296.0)); /* not all replicas at once */
    bool again = t->reply.failed ? broke(rc) && !t->refused_long : t->reply.meaning == S3_AGAIN;
    t->phase = OVER;
    if (again && t->tries < TRIES && now + pause < deadline_ns) {
        t->phase = PAUSED;
        t->due_ns = now + pause;
        t->http->again++;
    }
}

/* True: one more is over. */
static bool reap(struct s3_http *h, uint64_t deadline_ns)
{
    int left;
    bool over = false;
    for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &left)) != NULL;) {
        struct transfer *t = NULL;
        CURLcode rc = m->data.result; /* m is gone once the handle is removed */
        if (m->msg != CURLMSG_DONE ||
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t) != CURLE_OK)
            continue;
        finish(t, rc, deadline_ns);
        over |= t->phase == OVER;
    }
    return over;
}

/* Those whose pause is over go on. True: one could not, and is over. */
static bool resume(struct s3_http *h)
{
    bool over = false;
    uint64_t now = clock_now_ns();
    for (struct transfer *t = h->t; t < h->t + S3_AT_ONCE; t++) {
        struct err e = {0};
        if (t->phase != PAUSED || t->due_ns > now || !start(t, &e))
            continue;
        t->phase = OVER;
        t->reply.failed = e.code;
        snprintf(t->reply.why, sizeof(t->reply.why), "%.200s", e.text);
        over = true;
    }
    return over;
}

/* When the next pause is over, the deadline if none is before. */
static uint64_t next_ns(const struct s3_http *h, uint64_t deadline_ns)
{
    uint64_t next = deadline_ns;
    for (const struct transfer *t = h->t; t < h->t + S3_AT_ONCE; t++)
        if (t->phase == PAUSED)
            next = MIN(next, t->due_ns);
    return next;
}

int s3_http_turn(struct s3_http *h, uint64_t deadline_ns, struct err *e)
{
    for (;;) {
        int running;
        bool over = resume(h);
        CURLMcode rc = curl_multi_perform(h->multi, &running);
        if (rc == CURLM_OK && (reap(h, deadline_ns) || over))
            return 0;
        uint64_t now = clock_now_ns(), until = next_ns(h, deadline_ns);
        if (now >= deadline_ns)
            return err_set(e, E_TIMEOUT, "%s: it did not answer in time", h->place->shown);
        uint64_t ms = until > now ? (until - now + NS_PER_MS - 1) / NS_PER_MS : 0;
        if (rc == CURLM_OK)
            rc = curl_multi_poll(h->multi, NULL, 0, (int)MIN(ms, POLL_MS), NULL);
        if (rc != CURLM_OK)
            return err_set(e, E_IO, "%s: %s", h->place->shown, curl_multi_strerror(rc));
    }
}

const struct s3_reply *s3_http_over(const struct s3_http *h, int id)
{
    return h->t[id].phase == OVER ? &h->t[id].reply : NULL;
}

void s3_http_end(struct s3_http *h, int id)
{
    struct transfer *t = &h->t[id];
    if (t->phase == RUNNING)
        curl_multi_remove_handle(h->multi, t->easy);
    t->phase = FREE;
}

void s3_http_cancel(struct s3_http *h)
{
    for (int i = 0; i < S3_AT_ONCE; i++)
        s3_http_end(h, i);
}

bool s3_http_room(const struct s3_http *h)
{
    for (int i = 0; i < S3_AT_ONCE; i++)
        if (h->t[i].phase == FREE)
            return true;
    return false;
}

void s3_http_patience(struct s3_http *h, int connect_ms) { h->connect_ms = connect_ms; }

void s3_http_counts(struct s3_http *h, uint64_t *sent, uint64_t *again)
{
    *sent = h->sent;
    *again = h->again;
    h->sent = h->again = 0;
}

/* ---- opening ------------------------------------------------------------------------------ */

int s3_http_open(struct s3_http **out, const struct s3_place *place, const struct s3_login *login,
                 const char *ca, struct err *e)
{
    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(e, E_NOMEM, "no memory for libcurl");
    struct s3_http *h = mem_zalloc(sizeof(*h));
    if (!h) {
        curl_global_cleanup();
        return err_set(e, E_NOMEM, "no memory for the connections to the shared store");
    }
    h->place = place;
    h->login = login;
    h->multi = curl_multi_init();
    if (!h->multi || (ca && !(h->ca = mem_strdup(ca))) ||
        curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)S3_AT_ONCE) != CURLM_OK) {
        s3_http_close(h);
        return err_set(e, E_NOMEM, "no memory for the connections to the shared store");
    }
    for (int i = 0; i < S3_AT_ONCE; i++)
        h->t[i].http = h;
    *out = h;
    return 0;
}

void s3_http_close(struct s3_http *h)
{
    if (!h)
        return;
    s3_http_cancel(h);
    for (struct transfer *t = h->t; t < h->t + S3_AT_ONCE; t++) {
        if (t->easy)
            curl_easy_cleanup(t->easy);
        curl_slist_free_all(t->headers);
        mem_free(t->bytes);
    }
    if (h->multi)
        curl_multi_cleanup(h->multi);
    mem_free(h->ca);
    mem_free(h);
    curl_global_cleanup();
}
