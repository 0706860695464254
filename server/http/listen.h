/* The listening socket: bound and listening before the model loads, so that a taken port is told at
 * once and a probe hears how far loading is. Thread: main. */
#ifndef RECURD_LISTEN_H
#define RECURD_LISTEN_H

#include "base/err.h"

/* "127.0.0.1:8080", "[::1]:8080", "localhost:8080", ":8080" (every address) or "unix:/path".
 * Port 0 = any free one. Returns the bound socket or a code < 0. */
int listen_bind(const char *spec, struct err *e) MUST_USE;
int listen_start(int fd, const char *spec, struct err *e) MUST_USE;

/* Where the socket really is, e.g. "http://127.0.0.1:43121". */
void listen_describe(int fd, char *out, size_t size);
/* Whether only this machine can reach it. */
bool listen_is_local(int fd);
bool listen_is_loopback(int fd); /* of the network: a browser can reach it, too */

/* A listening socket that nobody can reach, for listen_stop. A descriptor, or a code < 0. */
int listen_nowhere(struct err *e) MUST_USE;
/* Nobody is accepted from fd any more, while others go on polling and accepting: from now on it is
 * `nowhere`, which is closed. A socket that others hold too (an inherited one) goes on listening
 * for them. */
void listen_stop(int fd, int nowhere);

#endif
