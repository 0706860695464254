/* libmicrohttpd set up and its callbacks.
 *
 * Mode (each measured with 0.9.75): epoll with a pool of at least two threads (one counts as no
 * pool), a pool of 36 KiB a connection (the longest head, 64 bytes a header, our reply's
 * head; see guard.h), 512 KiB of stack (2,048 levels of
 * JSON overflow 128), no timeouts of the library's own: they count silence, see watch.h. */
#include "server/http/http.h"

#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "scheduler/sched.h"
#include "server/http/exchange.h"
#include "server/http/guard.h"
#include "server/http/helper.h"
#include "server/http/listen.h"

/* Connections above the configured number that still get a 503 instead of silence. */
#define SPARE_CONNECTIONS 512
#define STACK_BYTES KIB(512)
_Static_assert(GUARD_POOL_BYTES >= LIMIT_HEADER_BYTES + LIMIT_HEADERS * 64 + KIB(6), "a head fits");
/* Backpressure shows after this much instead of after megabytes. */
#define SEND_BUFFER_BYTES (64 * 1024)
/* When half of so many connections or more have left, what the heap had for them goes back. */
#define PEAK_CONNECTIONS 512
/* At the end a client has this long to take its last frame, and a cut this long to be noticed. */
#define GOODBYE_MS 2000
#define CUT_MS 3000
/* A peer that acknowledges nothing for this long is gone. */
#define UNACKED_MS 30000

static void on_panic(void *arg, const char *file, unsigned line, const char *reason)
{
    (void)arg;
    log_error("libmicrohttpd gave up at %s:%u: %s", file, line, reason ? reason : "no reason");
    abort();
}

static void on_log(void *arg, const char *fmt, va_list args)
{
    (void)arg;
    char text[256];
    vsnprintf(text, sizeof text, fmt, args);
    text[strcspn(text, "\r\n")] = '\0';
    log_debug("http: %s", text);
}

/* Paths are compared as they came: "%00" stays three characters. */
static size_t on_unescape(void *arg, struct MHD_Connection *c, char *s)
{
    (void)arg;
    (void)c;
    return strlen(s);
}

static void *on_uri(void *arg, const char *uri, struct MHD_Connection *c)
{
    (void)uri;
    return exchange_new(arg, c);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **state)
{
    (void)arg;
    (void)c;
    struct exchange *x = *state;
    if (!x)
        return MHD_NO; /* no memory */
    if (x->phase == EXCHANGE_HEAD)
        return exchange_head(x, url, method, version);
    if (x->phase == EXCHANGE_BODY && *n)
        return exchange_data(x, data, n);
    *n = 0;
    return exchange_go_on(x);
}

static int fd_of(struct MHD_Connection *c)
{
    return MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

static void on_completed(void *arg, struct MHD_Connection *c, void **state,
                         enum MHD_RequestTerminationCode why)
{
    (void)arg;
    (void)why; /* "completed" is no proof of delivery; nothing depends on it */
    if (*state)
        exchange_free(*state);
    *state = NULL;
    guard_next(fd_of(c));
}

/* What is malformed is answered in the form of every other failure. */
static void on_fault(void *arg, const struct framing *f, struct buf *out)
{
    struct http *h = arg;
    char id[REQUEST_ID_BYTES + 1];
    int status = apierr_status(f->why);
    struct buf body;
    exchange_make_id(id);
    buf_init(&body, KIB(2));
    /* Where it was going is not known, or not to be believed. */
    routes_errors(h->routes, "")->write(&body, &(struct failure){f->why, NULL, f->fault, id});
    buf_fmt(out, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
            "x-request-id: %s\r\nx-should-retry: false\r\nConnection: close\r\n\r\n", status,
            MHD_get_reason_phrase_for((unsigned)status), body.len, id);
    buf_add(out, body.p, body.len);
    buf_free(&body);
    stats_response(&h->stats, ROUTE_UNKNOWN, status);
    log_debug("%s: %d, %s", id, status, f->fault);
}

static void count_left(struct http *h)
{
    struct watch_counts counts;
    watch_counts(h->watch, &counts);
    int peak = __atomic_load_n(&h->peak, __ATOMIC_RELAXED);
    if (peak >= PEAK_CONNECTIONS && counts.open <= peak / 2) {
        __atomic_store_n(&h->peak, counts.open, __ATOMIC_RELAXED);
        __atomic_store_n(&h->trim, 1, __ATOMIC_RELAXED);
    }
}

static void count_come(struct http *h)
{
    struct watch_counts counts;
    watch_counts(h->watch, &counts);
    if (counts.open > __atomic_load_n(&h->peak, __ATOMIC_RELAXED))
        __atomic_store_n(&h->peak, counts.open, __ATOMIC_RELAXED);
}

static void on_connection(void *arg, struct MHD_Connection *c, void **conn,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http *h = arg;
    int fd = fd_of(c), on = 1, bytes = SEND_BUFFER_BYTES;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        watch_remove(h->watch, *conn);
        guard_remove(fd);
        *conn = NULL;
        count_left(h);
        return;
    }
    if (!guard_add(fd, on_fault, h))
        shutdown(fd, SHUT_RDWR); /* nothing is read unguarded */
    /* A reader whose window is shut is dead to the kernel, too: it must not be before the watcher
     * has told it, and has waited as long again. */
    unsigned unacked = (unsigned)MAX(UNACKED_MS, 3 * 1000 * h->o->stall_timeout);
    /* Not fatal: a Unix socket knows no TCP options. */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked, sizeof unacked);
    *conn = watch_add(h->watch, fd);
    count_come(h);
}

static void help(struct exchange *x)
{
    struct waker *w = x->waker;
    exchange_handle(x);
    waker_ref(w); /* x may be gone once the worker sees helping == 0 */
    __atomic_store_n(&x->helping, 0, __ATOMIC_RELEASE);
    waker_signal(w, 0);
    waker_unref(w);
}

static int start(struct http *h, int fd, struct err *e)
{
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    unsigned limit = (unsigned)h->o->connections + SPARE_CONNECTIONS;
    h->mhd = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, h,
        MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_THREAD_POOL_SIZE, (unsigned)h->o->http_threads,
        MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES,
        MHD_OPTION_CONNECTION_LIMIT, limit,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)GUARD_POOL_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, 0U,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, h,
        MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
        MHD_OPTION_END);
    if (!h->mhd)
        return err_set(e, E_IO, "the HTTP server could not be started: %s", strerror(errno));
    return 0;
}

void http_serve(struct http *h, const struct served *served)
{
    h->served = served;
    sched_on_wakes(served->sched, outlet_round, h->outlet);
    __atomic_store_n(&h->ready, 1, __ATOMIC_RELEASE);
}

int http_open(struct http **out, int fd, const struct options *o,
              const struct routes *routes, struct keys *k, struct otlp *otlp,
              const struct progress *loading, const struct served *served, struct err *e)
{
    *out = NULL;
    struct http *h = mem_zalloc(sizeof *h);
    if (!h) {
        close(fd);
        return err_set(e, E_NOMEM, "no memory for the HTTP server");
    }
    *h = (struct http){.o = o, .routes = routes, .loading = loading, .keys = k,
                       .otlp = otlp,
                       .listen_fd = fd, .nowhere = listen_nowhere(e),
                       .started_unix_s = clock_unix_s()};
    h->budget.max = o->body_memory << 20;
    h->guarded = !k && listen_is_loopback(fd);
    struct watch_options w = {
        .room = (int32_t)o->connections,
        .header_ns = (uint64_t)o->header_timeout * NS_PER_S,
        .idle_ns = (uint64_t)o->idle_timeout * NS_PER_S,
        .body_ns = (uint64_t)o->body_timeout * NS_PER_S,
        .stall_ns = (uint64_t)o->stall_timeout * NS_PER_S,
        .heartbeat_ns = (uint64_t)o->heartbeat * NS_PER_S,
    };
    MHD_set_panic_func(on_panic, NULL);
    int rc = h->nowhere < 0 ? h->nowhere : guard_check(e);
    if (!rc && !guard_knows_library())
        log_info("libmicrohttpd %s is not known from the inside: streams are written through it, "
                 "and idle connections keep their buffers", MHD_get_version());
    if (!rc)
        rc = watch_open(&h->watch, (int32_t)o->connections + SPARE_CONNECTIONS, &w, e);
    if (!rc)
        rc = helper_open(&h->helper, help, e);
    if (!rc)
        rc = outlet_open(&h->outlet, (int)o->http_threads, stream_turn, e);
    if (served && !rc)
        http_serve(h, served);
    if (!rc)
        rc = start(h, fd, e);
    if (rc) {
        close(fd);
        if (h->nowhere >= 0)
            close(h->nowhere);
        h->nowhere = -1;
        (void)http_close(h, NULL); /* nothing has run in it yet */
        return rc;
    }
    *out = h;
    return 0;
}

void http_leave(struct http *h)
{
    __atomic_store_n(&h->leaving, 1, __ATOMIC_RELAXED);
    if (h->nowhere < 0)
        return;
    /* Not MHD_quiesce_daemon: a worker that is awake while 0.9.75 runs it takes the socket out of
     * its epoll set too, the library's second attempt fails, and it aborts the process (measured:
     * one stop in two hundred under load). The library closes what is left of the descriptor. */
    listen_stop(h->listen_fd, h->nowhere);
    h->nowhere = -1;
}

bool http_expects(struct http *h) { return watch_expects(h->watch); }

void http_drain(struct http *h)
{
    http_leave(h);
    __atomic_store_n(&h->draining, 1, __ATOMIC_RELAXED);
}

void http_tick(struct http *h)
{
    if (__atomic_exchange_n(&h->trim, 0, __ATOMIC_RELAXED))
        malloc_trim(0);
}

void http_cut_unserved(struct http *h) { watch_close_unserved(h->watch); }

void http_abort(struct http *h) { watch_signal_all(h->watch, WAKER_ABORT); }

bool http_idle(struct http *h)
{
    return __atomic_load_n(&h->stats.exchanges, __ATOMIC_SEQ_CST) == 0;
}

bool http_close(struct http *h, struct progress *p)
{
    if (!h)
        return true;
    progress_stage(p, "requests", 0);
    http_drain(h);
    /* The library aborts the process when a suspended connection is left. So: from now on no new
     * one (an exchange is counted before it looks); tell everyone, and let the last frames out;
     * then cut those who do not read them. */
    __atomic_store_n(&h->closing, 1, __ATOMIC_SEQ_CST);
    for (int ms = 0; !http_idle(h) && ms < GOODBYE_MS + CUT_MS; ms += 10) {
        http_abort(h);
        if (ms >= GOODBYE_MS)
            watch_close_all(h->watch);
        usleep(10000);
    }
    if (!http_idle(h))
        return false;
    /* Whoever still resumes a connection touches the library's daemon, or a thread of streams: the
     * engine, who digests receipts, who writes responses, helpers. */
    for (int ms = 0; __atomic_load_n(&h->stats.suspended, __ATOMIC_ACQUIRE) && ms < CUT_MS; ms++)
        usleep(1000);
    if (h->served)
        sched_on_wakes(h->served->sched, NULL, NULL);
    progress_stage(p, "threads of streams", 0);
    outlet_close(h->outlet);
    progress_stage(p, "helper threads", 0);
    helper_close(h->helper);
    progress_stage(p, "the HTTP library", 0);
    if (h->mhd)
        MHD_stop_daemon(h->mhd);
    progress_stage(p, "the watch over connections", 0);
    watch_close(h->watch);
    mem_free(h);
    return true;
}
