/* A daemon of one's own, on a private socket, for as long as this process lives. Thread: main. */
#ifndef RECURD_TERMINAL_OWN_H
#define RECURD_TERMINAL_OWN_H

#include <sys/types.h>

#include "server/terminal/talk.h"

struct own {
    pid_t pid; /* 0 = none */
    char dir[80], where[120]; /* "unix:/…" */
    int exit_code; /* of a daemon that ended by itself */
};

/* Starts this program with the flags (NULL-terminated, of the caller), waits until it serves;
 * t then talks to it. E_IO, E_CLOSED (SIGINT); or E_DEVICE when it ended: it has said why. */
int own_start(struct own *o, struct talk *t, char *const *flags, struct err *e) MUST_USE;
void own_stop(struct own *o); /* waits for it; no effect where none was started */

#endif
