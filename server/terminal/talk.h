/* A client of one daemon: requests one after another, each on a connection of its own.
 *
 * SIGINT must be blocked and have a handler: it is let through only where a reply is waited for,
 * and ends the request, which the daemon sees as a client that left. Thread: one. */
#ifndef RECURD_TERMINAL_TALK_H
#define RECURD_TERMINAL_TALK_H

#include <signal.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sse.h"

struct talk {
    struct sockaddr_storage addr;
    socklen_t addr_len;
    const char *key;                     /* NULL = none; bytes that a header may have */
    const volatile sig_atomic_t *stop;   /* set by the handler of SIGINT */
};

/* where: as `listen` has it. E_FORMAT, E_RANGE; E_NOENT for a host without an address. */
int talk_open(struct talk *t, const char *where, struct err *e) MUST_USE;

/* The HTTP status, or E_IO when nobody answers or the reply breaks off, E_FORMAT, E_CLOSED when
 * *stop was set meanwhile, or what event returned (< 0). body may be NULL. Events of a stream go
 * to event, any other body to out. */
int talk_ask(const struct talk *t, const char *method, const char *path, const char *body,
             sse_fn *event, void *arg, struct buf *out, struct err *e) MUST_USE;

/* Waits until fd can be read. E_CLOSED: SIGINT came instead. */
int talk_wait(const struct talk *t, int fd, struct err *e) MUST_USE;

#endif
