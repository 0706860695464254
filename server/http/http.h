/* The HTTP server: libmicrohttpd with a pool of workers, the connection watcher, the helper,
 * the outlet.
 * Thread: main opens, drains and closes. */
#ifndef RECURD_HTTP_H
#define RECURD_HTTP_H

#include "base/progress.h"
#include "scheduler/served.h"
#include "server/process/keys.h"
#include "server/process/options.h"
#include "server/process/stats.h"
#include "server/http/budget.h"
#include "server/http/watch.h"

struct MHD_Daemon;
struct helper;
struct otlp;
struct outlet;

/* Owner: main. Thread: read-only after http_open, apart from atomics. */
struct http {
    const struct options *o;
    const struct routes *routes;
    const struct served *served; /* NULL while it is loaded: http_is_loading */
    const struct progress *loading; /* how far that is */
    int ready;              /* atomic: served is there */
    struct keys *keys; /* NULL = nobody is asked for one */
    struct otlp *otlp; /* who is told what requests took; NULL = nobody */
    struct watch *watch;
    struct helper *helper;
    struct outlet *outlet;  /* of streams */
    struct MHD_Daemon *mhd;
    struct stats stats;
    uint64_t started_unix_s;
    bool guarded;           /* on loopback without keys: Host and Origin are looked at */
    int listen_fd, nowhere; /* nowhere: what listen_fd becomes; -1 = it has */
    int leaving, draining, closing; /* atomic */
    struct budget budget;  /* of what requests hold */
    int peak;              /* atomic: connections at once, since many left the last time */
    int trim;              /* atomic: a large one went: its memory may go back to the system */
};

/* Answers on the listening socket fd, and owns it from now on, also when it fails: with what is
 * served; where that is NULL with 503 and what `loading` says, until http_serve. o, routes, k and
 * otlp (which may be NULL), loading and served outlive it. */
int http_open(struct http **out, int fd, const struct options *o,
              const struct routes *routes, struct keys *k, struct otlp *otlp,
              const struct progress *loading, const struct served *served,
              struct err *e) MUST_USE;
/* From now on requests are served; what is served outlives the server. Once. */
void http_serve(struct http *h, const struct served *served);

static inline bool http_is_loading(const struct http *h)
{
    return !__atomic_load_n(&h->ready, __ATOMIC_ACQUIRE);
}

/* Stops accepting connections; requests on those that there are are served, and the last there. */
void http_leave(struct http *h);
/* Somebody has connected whose request has not come yet. */
bool http_expects(struct http *h);
/* The same as http_leave, and new requests get 503. */
void http_drain(struct http *h);
/* Every running exchange is told that the server goes down, and ends. */
void http_abort(struct http *h);
/* No exchange is under way. */
bool http_idle(struct http *h);
/* After http_drain, with no exchange left (false: there was one, and nothing was freed). Stages of
 * p, which may be NULL, say what it waits for. */
bool http_close(struct http *h, struct progress *p);

static inline bool http_is_leaving(const struct http *h)
{
    return __atomic_load_n(&h->leaving, __ATOMIC_RELAXED);
}

static inline bool http_is_draining(const struct http *h)
{
    return __atomic_load_n(&h->draining, __ATOMIC_RELAXED);
}

/* Now and then, while serving and draining: gives memory back to the system. */
void http_tick(struct http *h);
/* Draining: who is still sending a body, or has sent no request, is not waited for. */
void http_cut_unserved(struct http *h);

/* Nothing may begin to wait any more: http_close has begun. */
static inline bool http_is_closing(const struct http *h)
{
    return __atomic_load_n(&h->closing, __ATOMIC_SEQ_CST);
}

#endif
