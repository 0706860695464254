/* Disconnects and deadlines: a table of connections, one epoll set, one thread.
 *
 * Invariant: a connection's descriptor is open while it is in the table (watch_remove comes
 * before close), so a shutdown() here never hits another connection's descriptor. Events carry
 * slot and generation, because epoll may deliver one for a connection that has just left. */
#include "server/http/watch.h"

#include <errno.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/http/reader.h"

/* Resolution of the deadlines: they are seconds. Nothing ticks while no connection is open. */
#define TICK_MS 250
#define KICK UINT64_MAX
#define CLOSED_NS NS_PER_S

struct conn {
    int fd;
    int32_t slot;
    uint32_t generation;
    bool used, polled, armed; /* polled: in the epoll set; armed: an event may still come */
    bool evicted;             /* shut down for a newcomer, and counted as gone */
    bool half_closed;         /* the peer has closed, or will send nothing more */
    enum conn_phase phase;
    uint64_t since_ns;     /* start of the phase */
    uint64_t bytes;        /* atomic: of the phase, see watch_bytes */
    uint64_t wrote_ns;     /* STREAM, atomic: the library last got some */
    struct reader reader;  /* STREAM */
    struct waker *waker;
};

struct watch {
    pthread_mutex_t lock;
    pthread_t thread;
    int epoll, kick;
    bool stop;
    struct watch_options o;
    struct conn **table; /* [max]; allocated on first use, reused afterwards */
    int32_t *free;       /* stack of free slots */
    int32_t n_free, max;
    struct watch_counts counts;
};

/* 0 = no limit. From a peer that has closed nothing more can come: what the library has not
 * understood as a whole request after a moment never will be one (it overlooks a close that
 * arrives together with the last bytes). */
static uint64_t phase_limit(const struct watch *w, const struct conn *c)
{
    uint64_t limit = 0, earned = __atomic_load_n(&c->bytes, __ATOMIC_RELAXED) * WATCH_BYTE_NS;
    switch (c->phase) {
    case CONN_NEW: limit = w->o.header_ns; break;
    case CONN_IDLE: limit = w->o.idle_ns; break;
    case CONN_BODY: limit = w->o.body_ns + earned; break;
    case CONN_REPLY: return w->o.body_ns + earned;
    case CONN_BUSY:
    case CONN_WAIT:
    case CONN_STREAM: return 0;
    }
    return c->half_closed ? MIN(limit, CLOSED_NS) : limit;
}

static void cut(struct watch *w, struct conn *c)
{
    w->counts.timeouts++;
    shutdown(c->fd, SHUT_RDWR);
    c->since_ns = clock_now_ns(); /* once; the library closes it when it sees the end */
}

/* What the peer has taken of a stream: not what the kernel still has for it, which is megabytes. */
static uint64_t taken(const struct conn *c)
{
    uint64_t sent = __atomic_load_n(&c->bytes, __ATOMIC_RELAXED);
    int queued = 0;
    if (ioctl(c->fd, SIOCOUTQ, &queued) < 0 || queued < 0)
        return sent;
    return sent - MIN(sent, (uint64_t)queued);
}

static void check_stream(struct watch *w, struct conn *c, uint64_t now)
{
    uint64_t wrote = __atomic_load_n(&c->wrote_ns, __ATOMIC_RELAXED);
    bool waits = waker_is_suspended(c->waker);
    if (waits && now > wrote + w->o.heartbeat_ns) {
        __atomic_store_n(&c->wrote_ns, now, __ATOMIC_RELAXED);
        waker_signal(c->waker, WAKER_PING);
    }
    /* Twice: the stream has been ended with an error after the first half of it, which would still
     * be read. */
    if (!reader_look(&c->reader, taken(c), waits, now, 2 * w->o.stall_ns)) {
        c->reader = (struct reader){0};
        cut(w, c);
    }
}

static void tick(struct watch *w)
{
    uint64_t now = clock_now_ns();
    for (int32_t i = 0; i < w->max; i++) {
        struct conn *c = w->table[i];
        if (!c || !c->used)
            continue;
        uint64_t limit = phase_limit(w, c);
        if (limit && now > c->since_ns + limit)
            cut(w, c);
        else if (c->phase == CONN_STREAM)
            check_stream(w, c, now);
    }
}

static void arm(struct watch *w, struct conn *c, uint32_t events)
{
    struct epoll_event ev = {
        .events = events | EPOLLONESHOT,
        .data.u64 = (uint64_t)c->generation << 32 | (uint32_t)c->slot,
    };
    if (epoll_ctl(w->epoll, c->polled ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &ev) == 0)
        c->polled = c->armed = true;
}

static void on_event(struct watch *w, uint64_t key, uint32_t events)
{
    int32_t slot = (int32_t)(key & UINT32_MAX);
    struct conn *c = slot < w->max ? w->table[slot] : NULL;
    if (!c || !c->used || c->generation != (uint32_t)(key >> 32))
        return;
    bool gone = events & (EPOLLHUP | EPOLLERR);
    c->armed = false;
    c->half_closed = true;
    if (!c->waker) {
        c->since_ns = clock_now_ns();
    } else if (c->phase == CONN_STREAM && !gone) {
        /* Half a close may be a client that still reads: write something, and let the reset
         * that a real close answers with decide. */
        arm(w, c, 0);
        waker_signal(c->waker, WAKER_PING);
    } else {
        w->counts.disconnects++;
        waker_signal(c->waker, WAKER_GONE);
    }
}

static void *run(void *arg)
{
    struct watch *w = arg;
    uint64_t next = clock_now_ns();
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        int timeout = w->counts.open ? TICK_MS : -1;
        pthread_mutex_unlock(&w->lock);
        struct epoll_event ev[64];
        int n = epoll_wait(w->epoll, ev, (int)ARRAY_LEN(ev), timeout);
        pthread_mutex_lock(&w->lock);
        for (int i = 0; i < n; i++) {
            if (ev[i].data.u64 == KICK) {
                uint64_t drained;
                ssize_t got = read(w->kick, &drained, sizeof drained);
                (void)got; /* the counter's value says nothing; EAGAIN is as good */
            } else {
                on_event(w, ev[i].data.u64, ev[i].events);
            }
        }
        uint64_t now = clock_now_ns();
        if (now >= next) {
            tick(w);
            next = now + TICK_MS * NS_PER_MS;
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void kick(struct watch *w)
{
    uint64_t one = 1;
    ssize_t n = write(w->kick, &one, sizeof one);
    (void)n; /* fails only when the counter is at its maximum: then it is kicked already */
}

int watch_open(struct watch **out, int32_t max, const struct watch_options *o, struct err *e)
{
    *out = NULL;
    struct watch *w = mem_zalloc(sizeof *w);
    if (!w)
        return err_set(e, E_NOMEM, "no memory for the connection watcher");
    w->o = *o;
    w->max = max;
    w->table = mem_array((size_t)max, sizeof *w->table);
    w->free = mem_array((size_t)max, sizeof *w->free);
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = KICK};
    int rc = 0;
    if (!w->table || !w->free)
        rc = err_set(e, E_NOMEM, "no memory for a table of %d connections", max);
    else if (w->epoll < 0 || w->kick < 0 || epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->kick, &ev) < 0)
        rc = err_set(e, E_IO, "connection watcher: epoll: %s", strerror(errno));
    for (int32_t i = 0; !rc && i < max; i++)
        w->free[w->n_free++] = max - 1 - i;
    pthread_mutex_init(&w->lock, NULL);
    if (!rc && pthread_create(&w->thread, NULL, run, w))
        rc = err_set(e, E_NOMEM, "connection watcher: no thread");
    if (rc) {
        w->max = 0;
        w->stop = true;
        watch_close(w);
        return rc;
    }
    *out = w;
    return 0;
}

void watch_close(struct watch *w)
{
    if (!w)
        return;
    if (!w->stop) {
        pthread_mutex_lock(&w->lock);
        w->stop = true;
        pthread_mutex_unlock(&w->lock);
        kick(w);
        pthread_join(w->thread, NULL);
    }
    for (int32_t i = 0; w->table && i < w->max; i++)
        mem_free(w->table[i]);
    if (w->epoll >= 0)
        close(w->epoll);
    if (w->kick >= 0)
        close(w->kick);
    mem_free(w->table);
    mem_free(w->free);
    pthread_mutex_destroy(&w->lock);
    mem_free(w);
}

/* The connection that is kept alive without a request for longest makes room. */
static void evict(struct watch *w)
{
    struct conn *oldest = NULL;
    for (int32_t i = 0; i < w->max; i++) {
        struct conn *c = w->table[i];
        if (c && c->used && !c->evicted && c->phase == CONN_IDLE &&
            (!oldest || c->since_ns < oldest->since_ns))
            oldest = c;
    }
    if (!oldest)
        return;
    oldest->evicted = true;
    w->counts.open--;
    w->counts.timeouts++;
    shutdown(oldest->fd, SHUT_RDWR);
}

struct conn *watch_add(struct watch *w, int fd)
{
    struct conn *c = NULL;
    pthread_mutex_lock(&w->lock);
    w->counts.accepted++;
    if (w->n_free) {
        int32_t slot = w->free[w->n_free - 1];
        if (!w->table[slot])
            w->table[slot] = mem_zalloc(sizeof *c);
        c = w->table[slot];
        if (c) {
            w->n_free--;
            *c = (struct conn){.fd = fd, .slot = slot, .generation = c->generation + 1,
                               .used = true, .since_ns = clock_now_ns()};
            arm(w, c, EPOLLRDHUP);
            if (w->counts.open++ == 0)
                kick(w);
            if (w->o.room && w->counts.open > w->o.room)
                evict(w);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return c;
}

void watch_remove(struct watch *w, struct conn *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&w->lock);
    if (c->polled)
        epoll_ctl(w->epoll, EPOLL_CTL_DEL, c->fd, NULL);
    c->used = false;
    c->waker = NULL;
    w->free[w->n_free++] = c->slot;
    w->counts.open -= !c->evicted;
    pthread_mutex_unlock(&w->lock);
}

void watch_phase(struct watch *w, struct conn *c, enum conn_phase phase, struct waker *waker)
{
    pthread_mutex_lock(&w->lock);
    uint64_t now = clock_now_ns();
    c->phase = phase;
    c->since_ns = now;
    __atomic_store_n(&c->bytes, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&c->wrote_ns, now, __ATOMIC_RELAXED);
    c->reader = (struct reader){0};
    c->waker = phase == CONN_WAIT || phase == CONN_STREAM ? waker : NULL;
    if (c->waker && !c->armed) /* a close that was seen earlier is seen again at once */
        arm(w, c, phase == CONN_STREAM ? 0 : EPOLLRDHUP);
    pthread_mutex_unlock(&w->lock);
}

void watch_bytes(struct conn *c, size_t n)
{
    __atomic_add_fetch(&c->bytes, n, __ATOMIC_RELAXED);
    __atomic_store_n(&c->wrote_ns, clock_now_ns(), __ATOMIC_RELAXED);
}

bool watch_expects(struct watch *w)
{
    bool expects = false;
    pthread_mutex_lock(&w->lock);
    for (int32_t i = 0; i < w->max && !expects; i++) {
        const struct conn *c = w->table[i];
        expects = c && c->used && (c->phase == CONN_NEW || c->phase == CONN_BODY);
    }
    pthread_mutex_unlock(&w->lock);
    return expects;
}

void watch_close_unserved(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    for (int32_t i = 0; i < w->max; i++)
        if (w->table[i] && w->table[i]->used && w->table[i]->phase <= CONN_BODY)
            shutdown(w->table[i]->fd, SHUT_RDWR);
    pthread_mutex_unlock(&w->lock);
}

void watch_signal_all(struct watch *w, unsigned flags)
{
    pthread_mutex_lock(&w->lock);
    for (int32_t i = 0; i < w->max; i++)
        if (w->table[i] && w->table[i]->used && w->table[i]->waker)
            waker_signal(w->table[i]->waker, flags);
    pthread_mutex_unlock(&w->lock);
}

void watch_close_all(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    for (int32_t i = 0; i < w->max; i++)
        if (w->table[i] && w->table[i]->used)
            shutdown(w->table[i]->fd, SHUT_RDWR);
    pthread_mutex_unlock(&w->lock);
}

void watch_counts(struct watch *w, struct watch_counts *out)
{
    pthread_mutex_lock(&w->lock);
    *out = w->counts;
    pthread_mutex_unlock(&w->lock);
}
