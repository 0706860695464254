#include "server/otlp/otlp.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"

#define WAITING 4096           /* requests that wait for the collector, at most */
#define BATCH 256              /* requests of one post */
#define EVERY_NS NS_PER_S      /* a batch that is not full waits so long */
#define RETRY_MAX_NS (30 * NS_PER_S)
#define POST_MS 10000L
#define CLOSE_NS (2 * NS_PER_S)
#define WARN_NS (60 * NS_PER_S)

struct otlp {
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct span_request *ring; /* WAITING, from `first` on `n` */
    size_t first, n;
    struct otlp_counts counts;
    bool stopping;
    uint64_t stop_ns;          /* when the thread gives up after that */
    pthread_t thread;
    int share;
    /* Of the thread alone: */
    CURL *curl;
    struct curl_slist *headers;
    char *url, *service;
    struct span_request *batch; /* BATCH */
    uint64_t warned_ns;
    char error[CURL_ERROR_SIZE];
};

/* What condition variables count in; base/clock.h may leave out time that was slept through. */
static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ---- the side of the requests ---- */

bool otlp_wants(struct otlp *o, struct trace_context *t)
{
    if (!o)
        return false;
    if (*t->trace)
        return t->sampled;
    if ((int)randombytes_uniform(100) >= o->share)
        return false;
    span_id(t->trace, TRACE_ID_CHARS);
    t->sampled = true;
    return true;
}

void otlp_request(struct otlp *o, const struct span_request *r)
{
    pthread_mutex_lock(&o->lock);
    if (o->n == WAITING) {
        o->counts.dropped++;
    } else {
        o->ring[(o->first + o->n++) % WAITING] = *r;
        if (o->n == 1 || o->n == BATCH)
            pthread_cond_signal(&o->news);
    }
    pthread_mutex_unlock(&o->lock);
}

void otlp_counts(struct otlp *o, struct otlp_counts *c)
{
    pthread_mutex_lock(&o->lock);
    *c = o->counts;
    pthread_mutex_unlock(&o->lock);
}

/* ---- the thread ---- */

static void warn(struct otlp *o, const char *what)
{
    uint64_t now = now_ns();
    if (o->warned_ns && now - o->warned_ns < WARN_NS)
        return;
    o->warned_ns = now;
    log_warn("traces: %s: %s", o->url, what);
}

/* A post that was refused for good is not tried again; what may come right is. */
static bool may_come(CURLcode rc, long status)
{
    return rc != CURLE_OK || status == 429 || status == 502 || status == 503 || status == 504;
}

static bool post(struct otlp *o, const char *body, bool *again)
{
    char text[CURL_ERROR_SIZE + 32];
    long status = 0;
    curl_easy_setopt(o->curl, CURLOPT_POSTFIELDS, body);
    o->error[0] = '\0';
    CURLcode rc = curl_easy_perform(o->curl);
    if (rc == CURLE_OK)
        curl_easy_getinfo(o->curl, CURLINFO_RESPONSE_CODE, &status);
    if (rc == CURLE_OK && status >= 200 && status < 300)
        return true;
    *again = may_come(rc, status);
    if (rc == CURLE_OK)
        snprintf(text, sizeof text, "the collector answered %ld", status);
    else
        snprintf(text, sizeof text, "%s", *o->error ? o->error : curl_easy_strerror(rc));
    warn(o, text);
    return false;
}

/* Sends a batch. False: it is to be tried again. */
static bool send_batch(struct otlp *o, size_t n)
{
    bool again = false, sent = false;
    char *body = spans_export(o->batch, n, o->service, version_number());
    if (body)
        sent = post(o, body, &again);
    free(body);
    pthread_mutex_lock(&o->lock);
    if (sent)
        o->counts.exported += n;
    else
        o->counts.failures++;
    if (!sent && !again)
        o->counts.dropped += n;
    pthread_mutex_unlock(&o->lock);
    return sent || !again;
}

static void wait_until(struct otlp *o, uint64_t at_ns)
{
    struct timespec t = {(time_t)(at_ns / NS_PER_S), (long)(at_ns % NS_PER_S)};
    pthread_cond_timedwait(&o->news, &o->lock, &t);
}

/* The next batch: once there is one, or what there is after a while. 0: there is nothing, and the
 * end has come. Caller holds the lock. */
static size_t take(struct otlp *o)
{
    while (!o->n && !o->stopping)
        pthread_cond_wait(&o->news, &o->lock);
    uint64_t at = now_ns() + EVERY_NS;
    while (o->n < BATCH && !o->stopping && now_ns() < at)
        wait_until(o, at);
    size_t n = MIN(o->n, (size_t)BATCH);
    for (size_t i = 0; i < n; i++)
        o->batch[i] = o->ring[(o->first + i) % WAITING];
    o->first = (o->first + n) % WAITING;
    o->n -= n;
    return n;
}

/* The end has come, and the time after it is over. */
static bool over(struct otlp *o)
{
    pthread_mutex_lock(&o->lock);
    bool is = o->stopping && now_ns() >= o->stop_ns;
    pthread_mutex_unlock(&o->lock);
    return is;
}

static void pause_ns(struct otlp *o, uint64_t ns)
{
    uint64_t at = now_ns() + ns;
    pthread_mutex_lock(&o->lock);
    while (!o->stopping && now_ns() < at)
        wait_until(o, at);
    pthread_mutex_unlock(&o->lock);
}

static void *thread_main(void *arg)
{
    struct otlp *o = arg;
    for (;;) {
        pthread_mutex_lock(&o->lock);
        size_t n = take(o);
        pthread_mutex_unlock(&o->lock);
        if (!n)
            return NULL;
        uint64_t retry = NS_PER_S;
        bool gone = false;
        while (!over(o) && !(gone = send_batch(o, n))) {
            pause_ns(o, retry);
            retry = MIN(2 * retry, RETRY_MAX_NS);
        }
        if (!gone) {
            pthread_mutex_lock(&o->lock);
            o->counts.dropped += n;
            pthread_mutex_unlock(&o->lock);
        }
    }
}

/* While the daemon goes down nobody waits longer than otlp_close says. */
static int progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return over(arg);
}

static size_t discard(char *p, size_t size, size_t n, void *arg)
{
    (void)p, (void)arg;
    return size * n;
}

/* ---- opening ---- */

/* The endpoint with the path that the protocol gives it. */
static int set_url(struct otlp *o, const char *endpoint, struct err *e)
{
    char *scheme = NULL, *host = NULL, *path = NULL, *url = NULL;
    CURLU *u = curl_url();
    CURLUcode rc = u ? curl_url_set(u, CURLUPART_URL, endpoint, 0) : CURLUE_OUT_OF_MEMORY;
    if (!rc)
        rc = curl_url_get(u, CURLUPART_SCHEME, &scheme, 0);
    if (!rc)
        rc = curl_url_get(u, CURLUPART_HOST, &host, 0);
    if (!rc)
        rc = curl_url_get(u, CURLUPART_PATH, &path, 0);
    if (!rc && strcmp(path, "/") == 0)
        rc = curl_url_set(u, CURLUPART_PATH, "/v1/traces", 0);
    if (!rc)
        rc = curl_url_get(u, CURLUPART_URL, &url, 0);
    int err = 0;
    if (rc)
        err = err_set(e, rc == CURLUE_OUT_OF_MEMORY ? E_NOMEM : E_RANGE,
                      "otlp-endpoint: '%s' is no URL (%s); for example http://localhost:4318",
                      endpoint, curl_url_strerror(rc));
    else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
        err = err_set(e, E_RANGE, "otlp-endpoint: '%s' is neither http nor https", endpoint);
    else if (!(o->url = mem_strdup(url)))
        err = err_set(e, E_NOMEM, "no memory for the collector's address");
    curl_free(scheme);
    curl_free(host);
    curl_free(path);
    curl_free(url);
    curl_url_cleanup(u);
    return err;
}

static int add_header(struct otlp *o, const char *line, struct err *e)
{
    struct curl_slist *l = curl_slist_append(o->headers, line);
    if (!l)
        return err_set(e, E_NOMEM, "no memory for the collector's headers");
    o->headers = l;
    return 0;
}

/* One "name=value" of n bytes. Its value is a secret: no message tells it. */
static int set_header(struct otlp *o, const char *text, size_t n, struct err *e)
{
    const char *eq = memchr(text, '=', n);
    size_t name = eq ? (size_t)(eq - text) : 0;
    int length = 0;
    char line[1024];
    char *value = eq ? curl_easy_unescape(NULL, eq + 1, (int)(n - name - 1), &length) : NULL;
    bool good = value && name && n < sizeof line / 2 && !memchr(value, '\r', (size_t)length) &&
                !memchr(value, '\n', (size_t)length) && !memchr(value, '\0', (size_t)length);
    for (size_t i = 0; i < name && good; i++)
        good = text[i] > ' ' && text[i] < 127 && text[i] != ':';
    if (good)
        snprintf(line, sizeof line, "%.*s: %s", (int)name, text, value);
    curl_free(value);
    return good ? add_header(o, line, e)
                : err_set(e, E_RANGE, "OTEL_EXPORTER_OTLP_HEADERS: header %.*s is no name=value of "
                          "at most 511 bytes", (int)MIN(name, (size_t)40), text);
}

static int set_headers(struct otlp *o, const char *headers, struct err *e)
{
    int rc = add_header(o, "Content-Type: application/json", e);
    for (const char *at = headers; !rc && at && *at;) {
        size_t n = strcspn(at, ",");
        size_t space = strspn(at, " ");
        if (space < n)
            rc = set_header(o, at + space, n - space, e);
        at += n + (at[n] == ',');
    }
    return rc;
}

static int set_curl(struct otlp *o, struct err *e)
{
    o->curl = curl_easy_init();
    if (!o->curl)
        return err_set(e, E_NOMEM, "no memory for the connection to the collector");
    curl_easy_setopt(o->curl, CURLOPT_URL, o->url);
    curl_easy_setopt(o->curl, CURLOPT_HTTPHEADER, o->headers);
    curl_easy_setopt(o->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(o->curl, CURLOPT_TIMEOUT_MS, POST_MS);
    curl_easy_setopt(o->curl, CURLOPT_ERRORBUFFER, o->error);
    curl_easy_setopt(o->curl, CURLOPT_WRITEFUNCTION, discard);
    curl_easy_setopt(o->curl, CURLOPT_XFERINFOFUNCTION, progress);
    curl_easy_setopt(o->curl, CURLOPT_XFERINFODATA, o);
    curl_easy_setopt(o->curl, CURLOPT_NOPROGRESS, 0L);
    return 0;
}

static void free_all(struct otlp *o)
{
    if (o->curl)
        curl_easy_cleanup(o->curl);
    curl_slist_free_all(o->headers);
    curl_global_cleanup();
    pthread_cond_destroy(&o->news);
    pthread_mutex_destroy(&o->lock);
    mem_free(o->ring);
    mem_free(o->batch);
    mem_free(o->url);
    mem_free(o->service);
    mem_free(o);
}

static int open_parts(struct otlp *o, const char *endpoint, const char *headers,
                      const char *service, struct err *e)
{
    int rc = set_url(o, endpoint, e);
    if (!rc)
        rc = set_headers(o, headers, e);
    if (!rc)
        rc = set_curl(o, e);
    if (rc)
        return rc;
    o->service = mem_strdup(service);
    o->ring = mem_array(WAITING, sizeof *o->ring);
    o->batch = mem_array(BATCH, sizeof *o->batch);
    if (!o->service || !o->ring || !o->batch)
        return err_set(e, E_NOMEM, "no memory for the spans that wait for the collector");
    int err = pthread_create(&o->thread, NULL, thread_main, o);
    return err ? err_set(e, E_NOMEM, "the thread of traces does not start: %s", strerror(err)) : 0;
}

int otlp_open(struct otlp **out, const char *endpoint, const char *headers, const char *service,
              int share, struct err *e)
{
    pthread_condattr_t attr;
    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(e, E_NOMEM, "no memory for libcurl");
    struct otlp *o = mem_zalloc(sizeof *o);
    if (!o) {
        curl_global_cleanup();
        return err_set(e, E_NOMEM, "no memory for traces");
    }
    o->share = share;
    pthread_mutex_init(&o->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&o->news, &attr);
    pthread_condattr_destroy(&attr);
    int rc = open_parts(o, endpoint, headers, service, e);
    if (rc)
        free_all(o);
    else
        *out = o;
    return rc;
}

void otlp_close(struct otlp *o)
{
    if (!o)
        return;
    pthread_mutex_lock(&o->lock);
    o->stopping = true;
    o->stop_ns = now_ns() + CLOSE_NS;
    pthread_cond_signal(&o->news);
    pthread_mutex_unlock(&o->lock);
    pthread_join(o->thread, NULL);
    free_all(o);
}
