/* The guard: every byte of a connection is looked at (framing.h) before libmicrohttpd sees it.
 * The library has no hook for that, but takes all input through recv(), which is defined here:
 * for descriptors that were added, what comes before a fault goes on, the fault itself is answered
 * here, and the library sees the end of the connection. Its own replies to malformed requests (in
 * HTML, without a request id, some of them 5xx) are never written.
 *
 * The same is done with epoll_wait(), which a worker calls when it is done with what has come: the
 * pools of connections that fell idle, all of which the library has just filled with zeros, go back
 * to the system where there are many of them. And it does not wait while events that it has been
 * given are not looked at, as 0.9.75 would after exactly 128.
 *
 * Thread: guard_* of one descriptor from the worker that owns its connection. */
#ifndef RECURD_GUARD_H
#define RECURD_GUARD_H

#include "base/buf.h"
#include "server/http/framing.h"

/* Bytes of a connection's pool: more than 32 KiB, so that the library maps it, and unmaps it. */
#define GUARD_POOL_BYTES KIB(36)
/* So many connections keep their pools. */
#define GUARD_POOLS_KEPT 256

/* Writes the whole reply to a fault. */
typedef void guard_reply(void *arg, const struct framing *f, struct buf *out);

/* Once, before there are connections: a fault is sent to a server of the library's. E_CONFLICT: the
 * library that is there does not read here. */
int guard_check(struct err *e) MUST_USE;
/* The library is of the version whose inner workings were read (guard.c). Of another one nothing is
 * taken for granted: idle connections keep their pools, and all of a stream goes through it. */
bool guard_knows_library(void);

/* False: no memory, or a descriptor beyond the limit at start; the connection must be closed. */
bool guard_add(int fd, guard_reply *reply, void *arg);
/* Before the descriptor is closed. */
void guard_remove(int fd);
/* A request has been answered; when one with a fault stands behind it, its turn has come. */
void guard_next(int fd);

#endif
