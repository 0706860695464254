/* Connections: HTTP exchanges over kept-alive sockets, driven by one epoll.
 *
 * Thread: one. Invariant: a conn is closed only by its own event, by a timer or by a caller
 * outside of the batch of events, so no event of a batch ever names a freed conn. */
#include "programs/recurd-bench/conn.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/response.h"
#include "base/sse.h"
#include "programs/recurd-bench/reply.h"
#include "programs/recurd-bench/render.h"

#define BATCH 256              /* events of one wait */
#define REQUEST_BYTES MIB(64)
#define BODY_BYTES MIB(64)     /* /metrics and non-streamed replies are far below */

struct conn {
    int fd;
    bool connecting, reused, want_write;
    bool got_bytes; /* of the current reply */
    enum outcome abort;
    struct exchange *x; /* NULL: idle */
    struct response http;
    struct sse sse;
    struct pool *pool;
    struct conn *prev, *next; /* idle list */
};

static void arm(struct conn *c, bool want_write)
{
    if (c->want_write == want_write)
        return;
    c->want_write = want_write;
    struct epoll_event ev = {.events = EPOLLIN | (want_write ? EPOLLOUT : 0), .data.ptr = c};
    (void)epoll_ctl(c->pool->epfd, EPOLL_CTL_MOD, c->fd, &ev); /* an fd that we added */
}

static void idle_remove(struct pool *p, struct conn *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else if (p->idle == c)
        p->idle = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->prev = c->next = NULL;
}

static void conn_free(struct conn *c)
{
    struct pool *p = c->pool;
    idle_remove(p, c);
    close(c->fd);
    p->n_open--;
    response_free(&c->http);
    sse_free(&c->sse);
    mem_free(c);
}

/* The exchange is over: its owner hears of it when the turn's events are handled. */
static void end(struct pool *p, struct exchange *x, enum outcome o, uint64_t now)
{
    if (x->ended)
        return;
    if (x->conn) {
        x->conn->x = NULL;
        x->conn = NULL;
        p->n_busy--;
    }
    timer_clear(&p->timers, &x->timeout);
    x->ended = true;
    x->outcome = o;
    if (!x->t_end)
        x->t_end = now;
    x->next_ended = NULL;
    if (p->ended_tail)
        p->ended_tail->next_ended = x;
    else
        p->ended_head = x;
    p->ended_tail = x;
}

static void fail(struct conn *c, enum outcome o, uint64_t now, const char *why)
{
    struct exchange *x = c->x;
    if (x) {
        if (!x->error[0])
            snprintf(x->error, sizeof x->error, "%s", why);
        end(c->pool, x, o, now);
    }
    conn_free(c);
}

static void flush(struct conn *c)
{
    struct exchange *x = c->x;
    while (x && x->sent < x->out.len) {
        ssize_t n = send(c->fd, x->out.p + x->sent, x->out.len - x->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            /* A broken connection shows again, and better, when reading. */
            arm(c, errno == EAGAIN);
            return;
        }
        x->sent += (size_t)n;
        c->pool->self.bytes_out += (uint64_t)n;
    }
    arm(c, false);
}

static struct conn *conn_open(struct pool *p, const char **why)
{
    int fd = socket(p->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct conn *c = fd < 0 ? NULL : mem_zalloc(sizeof *c);
    if (!c) {
        *why = fd < 0 ? strerror(errno) : "no memory";
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* only a matter of speed */
    *c = (struct conn){.fd = fd, .pool = p, .connecting = true, .want_write = true};
    response_init(&c->http);
    sse_init(&c->sse);
    p->n_open++;
    p->self.opened++;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(p->epfd, EPOLL_CTL_ADD, fd, &ev)) {
        *why = strerror(errno);
        conn_free(c);
        return NULL;
    }
    return c;
}

static void on_timeout(struct timer *t, uint64_t now)
{
    (void)now;
    struct exchange *x = t->arg;
    struct pool *p = x->conn->pool;
    /* A stream that said [DONE] is whole, however long its connection lingers. */
    exchange_cancel(p, x, x->saw_done ? OUTCOME_OK : OUTCOME_TIMEOUT);
}

/* Puts the request on a connection; with none to be had the exchange ends. */
static void dispatch(struct pool *p, struct exchange *x)
{
    struct conn *c = x->retried ? NULL : p->idle;
    const char *why = "";
    bool reused = c != NULL;
    if (c)
        idle_remove(p, c);
    else if (!(c = conn_open(p, &why))) {
        snprintf(x->error, sizeof x->error, "%s", why);
        end(p, x, OUTCOME_CLIENT, clock_now_ns());
        return;
    }
    c->reused = reused;
    c->got_bytes = false;
    c->abort = OUTCOME_OK;
    response_reset(&c->http);
    sse_reset(&c->sse);
    c->x = x;
    x->conn = c;
    x->sent = 0;
    p->n_busy++;
    p->self.reused += reused;
    if (reused) {
        flush(c);
        return;
    }
    if (connect(c->fd, (struct sockaddr *)&p->addr, p->addr_len) && errno != EINPROGRESS)
        fail(c, errno == EADDRNOTAVAIL || errno == EAGAIN ? OUTCOME_CLIENT : OUTCOME_CONNECT,
             clock_now_ns(), strerror(errno));
}

void exchange_init(struct exchange *x)
{
    memset(x, 0, sizeof *x);
    buf_init(&x->out, REQUEST_BYTES);
    buf_init(&x->body, BODY_BYTES);
}

void exchange_free(struct exchange *x)
{
    buf_free(&x->out);
    buf_free(&x->body);
}

void exchange_start(struct pool *p, struct exchange *x, double timeout_s)
{
    x->t_start = clock_now_ns();
    x->t_first_byte = x->t_end = 0;
    x->status = 0;
    x->error[0] = 0;
    x->saw_done = x->retried = x->ended = false;
    x->conn = NULL;
    buf_clear(&x->body);
    x->timeout = (struct timer){.fire = on_timeout, .arg = x};
    if (x->out.failed ||
        timer_set(&p->timers, &x->timeout, x->t_start + (uint64_t)(timeout_s * NS_PER_S))) {
        snprintf(x->error, sizeof x->error, "no memory for the request");
        end(p, x, OUTCOME_CLIENT, x->t_start);
        return;
    }
    dispatch(p, x);
}

void exchange_cancel(struct pool *p, struct exchange *x, enum outcome o)
{
    struct conn *c = x->conn;
    if (x->ended || !c)
        return;
    if (o == OUTCOME_TIMEOUT)
        snprintf(x->error, sizeof x->error, c->connecting ? "no connection in time"
                                            : x->status ? "the reply did not end in time"
                                                        : "no reply in time");
    end(p, x, o, clock_now_ns());
    conn_free(c);
}

/* --- what arrives --- */

static int on_event(void *arg, const char *data, size_t n)
{
    struct conn *c = arg;
    struct exchange *x = c->x;
    c->pool->self.events++;
    if (x->saw_done)
        return 0;
    if (n >= 6 && !memcmp(data, "[DONE]", 6)) {
        x->saw_done = true;
        x->t_end = c->pool->t_rx;
        return 0;
    }
    c->abort = x->event(x, data, n, c->pool->t_rx);
    return c->abort == OUTCOME_OK ? 0 : E_CONFLICT;
}

static int on_body(void *arg, const char *p, size_t n)
{
    struct conn *c = arg;
    struct exchange *x = c->x;
    if (x->stream && c->http.event_stream && c->http.status / 100 == 2) {
        int rc = sse_feed(&c->sse, p, n, on_event, c);
        if (rc && c->abort == OUTCOME_OK) {
            c->abort = OUTCOME_BAD_EVENT;
            snprintf(x->error, sizeof x->error, "one event of the stream is out of all proportion");
        }
        return rc;
    }
    (void)buf_add(&x->body, p, n); /* longer than any reply: its end is cut off, then invalid */
    return 0;
}

/* The reply is complete as HTTP: is it one as API? */
static enum outcome judge(struct conn *c)
{
    struct exchange *x = c->x;
    int s = c->http.status;
    if (s / 100 != 2) {
        struct reply r;
        if (x->body.len && !reply_parse(x->body.p, x->body.len, &r, NULL) && r.is_error)
            snprintf(x->error, sizeof x->error, "status %d: %.130s", s, r.error);
        else
            snprintf(x->error, sizeof x->error, "status %d", s);
        return s == 429 ? OUTCOME_HTTP_429 : s / 100 == 4 ? OUTCOME_HTTP_4XX
               : s / 100 == 5 ? OUTCOME_HTTP_5XX : OUTCOME_BAD_HTTP;
    }
    if (!x->stream || x->saw_done)
        return OUTCOME_OK;
    if (!c->http.event_stream) {
        snprintf(x->error, sizeof x->error, "the reply is not an event stream");
        return OUTCOME_BAD_EVENT;
    }
    snprintf(x->error, sizeof x->error, "the stream ended without [DONE]");
    return OUTCOME_TRUNCATED;
}

static void complete(struct conn *c, bool clean, uint64_t now)
{
    struct pool *p = c->pool;
    struct exchange *x = c->x;
    bool keep = clean && c->http.keep_alive && x->sent == x->out.len;
    end(p, x, judge(c), now);
    if (!keep) {
        conn_free(c);
        return;
    }
    c->next = p->idle; /* last used first: the others may be dropped by the server */
    if (c->next)
        c->next->prev = c;
    p->idle = c;
}

static void on_close(struct conn *c, int error, uint64_t now)
{
    struct pool *p = c->pool;
    struct exchange *x = c->x;
    if (!x) {
        conn_free(c);
        return;
    }
    if (c->reused && !c->got_bytes && !x->retried) {
        /* The server closed a kept connection while the request was on its way: any client
         * asks again on a new one. The clock of the request keeps running. */
        x->retried = true;
        x->conn = NULL;
        c->x = NULL;
        p->n_busy--;
        p->self.retries++;
        conn_free(c);
        dispatch(p, x);
        return;
    }
    if (!error && c->http.head_done && response_eof(&c->http)) {
        complete(c, false, now);
        return;
    }
    if (x->saw_done) {
        fail(c, OUTCOME_OK, now, "");
        return;
    }
    if (error)
        fail(c, OUTCOME_RESET, now, strerror(error));
    else
        fail(c, OUTCOME_CLOSED, now, c->got_bytes ? "the server closed amid its reply"
                                                  : "the server closed without a reply");
}

static void on_readable(struct conn *c)
{
    struct pool *p = c->pool;
    ssize_t n = recv(c->fd, p->rx, sizeof p->rx, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    uint64_t now = clock_now_ns();
    if (n <= 0) {
        on_close(c, n < 0 ? errno : 0, now);
        return;
    }
    p->self.bytes_in += (uint64_t)n;
    p->t_rx = now;
    struct exchange *x = c->x;
    if (!x) { /* bytes nobody asked for */
        conn_free(c);
        return;
    }
    if (!c->got_bytes)
        x->t_first_byte = now;
    c->got_bytes = true;
    size_t used;
    struct err e = {0};
    int rc = response_feed(&c->http, p->rx, (size_t)n, &used, on_body, c, &e);
    x->status = c->http.status;
    if (rc == 1)
        complete(c, used == (size_t)n, now);
    else if (rc < 0 && c->abort != OUTCOME_OK)
        fail(c, c->abort, now, "");
    else if (rc < 0 && x->saw_done)
        fail(c, OUTCOME_OK, now, "");
    else if (rc < 0)
        fail(c, OUTCOME_BAD_HTTP, now, e.text);
}

static void on_epoll(struct conn *c, uint32_t events)
{
    if (c->connecting) {
        int error = 0;
        socklen_t len = sizeof error;
        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len))
            error = errno;
        if (error) {
            fail(c, error == ETIMEDOUT ? OUTCOME_TIMEOUT : OUTCOME_CONNECT, clock_now_ns(),
                 strerror(error));
            return;
        }
        if (!(events & EPOLLOUT))
            return;
        c->connecting = false;
    }
    if (events & EPOLLOUT)
        flush(c);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        on_readable(c);
}

static void tell_ended(struct pool *p)
{
    while (p->ended_head) {
        struct exchange *x = p->ended_head;
        p->ended_head = x->next_ended;
        if (!p->ended_head)
            p->ended_tail = NULL;
        x->done(x, x->outcome);
    }
}

void pool_turn(struct pool *p, uint64_t until_ns)
{
    uint64_t before = clock_now_ns(), wake = MIN(until_ns, timer_next(&p->timers));
    if (p->t_woke) {
        uint64_t took = before - p->t_woke;
        int class = 0;
        while (class < POOL_TURN_CLASSES - 1 && took >> (class + 1))
            class++;
        p->self.turn_classes[class]++;
        p->self.turns++;
        p->self.busy_ns += took;
        p->self.turn_max_ns = MAX(p->self.turn_max_ns, took);
    }
    struct epoll_event evs[BATCH];
    int wait_ms = -1;
    if (wake <= before || p->ended_head) {
        wait_ms = 0;
    } else if (wake != UINT64_MAX) { /* epoll's own timeout is too coarse: 1 ms */
        struct itimerspec at = {.it_value = {.tv_sec = (time_t)(wake / NS_PER_S),
                                             .tv_nsec = (long)(wake % NS_PER_S)}};
        if (timerfd_settime(p->timerfd, TFD_TIMER_ABSTIME, &at, NULL))
            wait_ms = 1;
    }
    int n = epoll_wait(p->epfd, evs, BATCH, wait_ms);
    p->t_woke = clock_now_ns();
    for (int i = 0; i < n; i++) {
        if (evs[i].data.ptr)
            on_epoll(evs[i].data.ptr, evs[i].events);
        else {
            uint64_t ticks;
            if (read(p->timerfd, &ticks, sizeof ticks) < 0)
                continue; /* re-armed since: nothing to take */
        }
    }
    timer_run(&p->timers, clock_now_ns());
    tell_ended(p);
}

void pool_drop_idle(struct pool *p)
{
    while (p->idle)
        conn_free(p->idle);
}

/* A blocking try of one address, so that localhost works whichever family the server chose. */
static bool accepts(const struct addrinfo *ai)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    struct timeval limit = {.tv_sec = 5}; /* SO_SNDTIMEO also bounds connect */
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    bool ok = !connect(fd, ai->ai_addr, ai->ai_addrlen);
    close(fd);
    return ok;
}

int pool_open(struct pool *p, const struct args *a, struct err *e)
{
    memset(p, 0, sizeof *p);
    p->a = a;
    p->epfd = p->timerfd = -1;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int gai = getaddrinfo(a->host, a->port, &hints, &list);
    if (gai)
        return err_set(e, E_NOENT, "%s: %s", a->host, gai_strerror(gai));
    const struct addrinfo *pick = list;
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
        if (accepts(ai)) {
            pick = ai;
            break;
        }
    memcpy(&p->addr, pick->ai_addr, pick->ai_addrlen);
    p->addr_len = pick->ai_addrlen;
    freeaddrinfo(list);
    p->epfd = epoll_create1(EPOLL_CLOEXEC);
    p->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN};
    if (p->epfd < 0 || p->timerfd < 0 || epoll_ctl(p->epfd, EPOLL_CTL_ADD, p->timerfd, &ev))
        return err_set(e, E_IO, "epoll or timerfd: %s", strerror(errno));
    return 0;
}

void pool_close(struct pool *p)
{
    pool_drop_idle(p);
    timer_free(&p->timers);
    if (p->epfd >= 0)
        close(p->epfd);
    if (p->timerfd >= 0)
        close(p->timerfd);
}

static void fetch_done(struct exchange *x, enum outcome o)
{
    *(int *)x->arg = (int)o;
}

int pool_fetch(struct pool *p, const char *method, const char *path, const struct buf *body,
               double timeout_s, struct buf *out, struct err *e)
{
    struct exchange x;
    exchange_init(&x);
    int outcome = -1, rc;
    x.done = fetch_done;
    x.arg = &outcome;
    if (render_http(&x.out, p->a, method, path, body))
        x.out.failed = true;
    exchange_start(p, &x, timeout_s);
    while (outcome < 0)
        pool_turn(p, UINT64_MAX);
    if (x.status && (outcome == OUTCOME_OK || x.status / 100 != 2)) {
        rc = x.status;
        if (out) {
            buf_clear(out);
            if (x.body.len && buf_add(out, x.body.p, x.body.len))
                rc = err_set(e, E_NOMEM, "%s %s: the reply is too long", method, path);
        }
    } else {
        rc = err_set(e, E_IO, "%s %s: %s", method, path, x.error);
    }
    exchange_free(&x);
    return rc;
}
