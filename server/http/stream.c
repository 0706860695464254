/* See stream.h. Invariant: where the outlet writes, every byte that the library was given has left
 * it: it asks for more only then (of the version that guard.h knows). */
#include "server/http/stream.h"

#include <errno.h>
#include <microhttpd.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "server/http/exchange.h"
#include "server/http/guard.h"
#include "server/http/waker.h"

/* What came in one wake-up: at most the ring's 256 events at ~2 KB each with 20 logprobs, times
 * 128 choices; far less in practice. */
#define STREAM_BYTES MIB(128)
#define SIZE_DIGITS 8 /* of STREAM_BYTES, in hex */
#define FRAME_BYTES (SIZE_DIGITS + 2)
_Static_assert(STREAM_BYTES >> 4 * SIZE_DIGITS == 0, "the size of a chunk fits before it");

void stream_init(struct exchange *x)
{
    x->stream = (struct stream){.fd = -1};
    buf_init(&x->stream.out, STREAM_BYTES);
}

void stream_free(struct exchange *x)
{
    if (x->stream.place.thread)
        outlet_leave(&x->stream.place, x->stream.fd);
    buf_free(&x->stream.out);
}

/* ---- what there is to say ---- */

static void clear(struct stream *s)
{
    static const char room[FRAME_BYTES];
    buf_clear(&s->out);
    (void)buf_add(&s->out, room, sizeof room); /* without memory: out.failed tells */
    s->sent = s->out.len;
}

/* Appends what there is to say next. False: nothing, and the waker will be signalled. */
static bool refill(struct exchange *x)
{
    struct stream *s = &x->stream;
    struct pending *p = x->pending;
    struct err e = {0};
    unsigned flags = waker_take(x->waker);
    clear(s);
    if (flags & WAKER_GONE) {
        s->broken = true;
        return true;
    }
    bool any = flags & WAKER_ABORT || p->ops->read(p);
    if (flags & WAKER_ABORT) {
        err_set(&e, E_CLOSED, "the server is shutting down");
    } else {
        p->ops->write(p, &s->out);
        s->ended = p->ops->done(p);
        if (s->out.failed)
            err_set(&e, E_NOMEM, "no memory for the reply");
        else if (!exchange_hold_reply(x))
            err_set(&e, E_BUSY, "other requests take all of the memory there is for replies");
    }
    if (e.code) { /* nothing of it has been sent */
        buf_free(&s->out);
        clear(s);
        p->ops->fail(p, &s->out, &e);
        s->ended = true;
    }
    if (!any && !s->ended && s->sent == s->out.len && flags & WAKER_PING) {
        p->ops->ping(p, &s->out);
        stats_add(&x->http->stats.heartbeats);
        any = true;
    }
    s->broken = s->out.failed;
    return any || s->ended || s->broken || s->sent < s->out.len;
}

/* ---- past the library ---- */

static void on_signal(void *place) { outlet_put(place); }

/* The reader has taken all there is. True: it waits now, and its waker will be signalled. */
static bool wait(struct exchange *x)
{
    struct stream *s = &x->stream;
    /* The library ends what it holds back of a reply with the first bytes of a body. */
    if (s->begun && !s->place.thread && guard_knows_library()) {
        s->fd = MHD_get_connection_info(x->mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        outlet_enter(x->http->outlet, &s->place);
        waker_divert(x->waker, on_signal, &s->place);
    }
    return waker_wait(x->waker);
}

/* What refill left becomes a chunk; in HTTP/1.0 bodies have none, and are ended by closing. */
static void frame(struct exchange *x)
{
    struct stream *s = &x->stream;
    size_t n = s->out.len - FRAME_BYTES;
    if (x->http10)
        return;
    s->out.p[FRAME_BYTES - 2] = '\r';
    s->out.p[FRAME_BYTES - 1] = '\n';
    s->sent = SIZE_DIGITS;
    for (size_t k = n; k; k >>= 4)
        s->out.p[--s->sent] = "0123456789abcdef"[k & 15];
    s->broken = buf_str(&s->out, "\r\n") != 0;
}

/* False: the socket is full, and there will be another turn. */
static bool push(struct exchange *x)
{
    struct stream *s = &x->stream;
    while (s->sent < s->out.len && !s->broken) {
        ssize_t n = send(s->fd, s->out.p + s->sent, s->out.len - s->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            s->sent += (size_t)n;
            watch_bytes(x->conn, (size_t)n);
        } else if (errno == EAGAIN && outlet_room(&s->place, s->fd)) {
            return false;
        } else if (errno != EINTR) {
            s->broken = true;
        }
    }
    return true;
}

void stream_turn(struct outlet_place *p)
{
    struct stream *s = (struct stream *)(void *)((char *)p - offsetof(struct stream, place));
    struct exchange *x = (struct exchange *)(void *)((char *)s - offsetof(struct exchange, stream));
    while (push(x)) {
        if (s->broken || s->ended) {
            waker_release(x->waker); /* and x may be gone */
            return;
        }
        bool any = refill(x);
        if (!any && waker_wait(x->waker))
            return; /* likewise, or it has its next turn */
        if (any && s->sent < s->out.len)
            frame(x);
    }
}

/* ---- through it ---- */

ssize_t stream_read(void *arg, uint64_t pos, char *to, size_t max)
{
    (void)pos;
    struct exchange *x = arg;
    struct stream *s = &x->stream;
    for (;;) {
        size_t n = MIN(s->out.len - s->sent, max);
        if (s->broken)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        if (n) {
            memcpy(to, s->out.p + s->sent, n);
            s->sent += n;
            s->begun = true;
            watch_bytes(x->conn, n);
            return (ssize_t)n;
        }
        if (s->ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (!refill(x) && wait(x))
            return 0;
    }
}
