/* Connections: HTTP exchanges over kept-alive sockets, driven by one epoll.
 *
 * An exchange is one request and its reply. It ends by exactly one call of `done`, never from
 * inside exchange_start or exchange_cancel, always from pool_turn. Thread: one. */
#ifndef RECURD_LOAD_CONN_H
#define RECURD_LOAD_CONN_H

#include <sys/socket.h>

#include "base/buf.h"
#include "base/err.h"
#include "programs/recurd-bench/args.h"
#include "programs/recurd-bench/outcome.h"
#include "programs/recurd-bench/timer.h"

struct conn;

/* Owner: whoever started it; must stay until done was called. */
struct exchange {
    struct buf out;   /* the request, written by the owner */
    bool stream;      /* a success must be an event stream that ends with [DONE] */
    /* One event of the stream; not OUTCOME_OK ends the exchange with that outcome. */
    enum outcome (*event)(struct exchange *x, const char *data, size_t n, uint64_t now);
    void (*done)(struct exchange *x, enum outcome o);
    void *arg;
    /* filled while it runs; times are clock_now_ns() or 0 */
    uint64_t t_start, t_first_byte, t_end;
    int status;
    struct buf body;  /* a reply that is not a stream, or an error's text */
    char error[160];
    /* private */
    bool saw_done, retried, ended;
    size_t sent;
    enum outcome outcome;
    struct conn *conn;
    struct timer timeout;
    struct exchange *next_ended;
};

#define POOL_RX 65536      /* one read: more than a socket buffer usually holds */
#define POOL_TURN_CLASSES 40 /* turn times by powers of two of a nanosecond: up to 18 minutes */

/* What the loop itself cost. */
struct pool_self {
    uint64_t opened, reused, retries, bytes_in, bytes_out, events, turns;
    uint64_t busy_ns;      /* not waiting in epoll */
    uint64_t turn_max_ns;  /* the longest stretch in which no other socket was looked at */
    uint64_t turn_classes[POOL_TURN_CLASSES];
};

struct pool {
    const struct args *a;
    int epfd, timerfd;
    struct sockaddr_storage addr;
    socklen_t addr_len;
    struct timers timers;
    struct conn *idle;
    struct exchange *ended_head, *ended_tail;
    size_t n_open, n_busy;
    uint64_t t_woke; /* when the current turn's wait returned */
    uint64_t t_rx;   /* when the bytes in hand were read */
    struct pool_self self;
    char rx[POOL_RX];
};

/* Resolves the host and takes the first address that accepts a connection; if none does, the
 * first address. */
int pool_open(struct pool *p, const struct args *a, struct err *e) MUST_USE;
void pool_close(struct pool *p); /* no exchange may be running */

void exchange_init(struct exchange *x);
void exchange_free(struct exchange *x); /* not while it runs */
/* Sends x->out; clears what the last use left. */
void exchange_start(struct pool *p, struct exchange *x, double timeout_s);
/* Ends it with this outcome at the next turn. No effect when it has ended. */
void exchange_cancel(struct pool *p, struct exchange *x, enum outcome o);

/* Waits for the network until the next timer or until_ns, then handles what happened. */
void pool_turn(struct pool *p, uint64_t until_ns);
/* Drops connections that wait for a next request. */
void pool_drop_idle(struct pool *p);

/* One request outside of the measured run, waited for. Returns the HTTP status, or E_IO with a
 * sentence. body may be NULL; out receives the reply's body. */
int pool_fetch(struct pool *p, const char *method, const char *path, const struct buf *body,
               double timeout_s, struct buf *out, struct err *e) MUST_USE;

#endif
