/* The watcher: one thread that sees what libmicrohttpd does not. A suspended connection neither
 * times out nor notices that its peer left (measured with 0.9.75), and its timeout counts
 * silence, so that one byte a second keeps a connection for ever. Here every phase of a
 * connection has a deadline, and a waiting one is watched for its peer.
 *
 * Thread: watch_* from any thread; the deadlines run on the watcher's own. */
#ifndef RECURD_WATCH_H
#define RECURD_WATCH_H

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "server/http/waker.h"

struct watch;
struct conn; /* one connection; Owner: the watch, between watch_add and watch_remove */

enum conn_phase {
    CONN_NEW,    /* headers of the first request: header_ns */
    CONN_IDLE,   /* kept alive, between requests: idle_ns */
    CONN_BODY,   /* reading a body: body_ns, and WATCH_BYTE_NS for each that came */
    CONN_BUSY,   /* we compute; no deadline, not watched */
    CONN_WAIT,   /* suspended until a whole reply is there: half close or close ends it */
    CONN_STREAM, /* streaming: a close ends it, silence gets a heartbeat, a slow reader a cut */
    CONN_REPLY,  /* sending a whole reply: body_ns, and WATCH_BYTE_NS for each byte of it */
};
#define WATCH_BYTE_NS (NS_PER_S / KIB(64))

struct watch_options {
    int32_t room; /* connections without anybody having to go; 0 = max */
    uint64_t header_ns, idle_ns, body_ns, stall_ns, heartbeat_ns;
};

struct watch_counts {
    int32_t open;                             /* now, without those that were made to go */
    uint64_t accepted, disconnects, timeouts; /* since the start */
};

int watch_open(struct watch **out, int32_t max, const struct watch_options *o,
               struct err *e) MUST_USE;
/* Joins the thread. Every connection must have been removed. */
void watch_close(struct watch *w);

/* NULL when `max` connections are open already. Above options.room the connection that has been
 * idle longest goes. */
struct conn *watch_add(struct watch *w, int fd);
/* Before the descriptor is closed. c may be NULL. */
void watch_remove(struct watch *w, struct conn *c);

/* Enters a phase. waker (WAIT and STREAM only) is borrowed until the next phase. */
void watch_phase(struct watch *w, struct conn *c, enum conn_phase phase, struct waker *waker);
/* Bytes of the phase: BODY, that came; STREAM, that the library got; REPLY, all there are. */
void watch_bytes(struct conn *c, size_t n);

/* Whether there is a connection whose request has not come as a whole, but may be on its way. */
bool watch_expects(struct watch *w);
/* Drain: closes the connections without a whole request. */
void watch_close_unserved(struct watch *w);
/* Signals every waiting connection. */
void watch_signal_all(struct watch *w, unsigned flags);
/* Shuts every connection down. */
void watch_close_all(struct watch *w);

void watch_counts(struct watch *w, struct watch_counts *out);

#endif
