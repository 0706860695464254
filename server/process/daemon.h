/* The process as the service manager sees it: notifications, signals, inherited sockets.
 * Thread: main only. */
#ifndef RECURD_DAEMON_H
#define RECURD_DAEMON_H

#include "base/err.h"

/* Blocks the signals we take with daemon_wait in this and every later thread, ignores SIGPIPE,
 * and raises the limit of open files to what is allowed. Before any thread starts. */
void daemon_init(void);

/* Descriptor of the listening socket the service manager passed, or -1 when none was. E_RANGE
 * when it passed several or something that does not listen. */
int daemon_inherited_socket(int *fd, struct err *e) MUST_USE;

void daemon_ready(const char *status);
void daemon_stopping(void);
/* Still starting, and how far; a start that goes on is not cut off. */
void daemon_loading(const char *status);
/* One line for `systemctl status`. */
void daemon_status(const char *status);
/* Shows the service manager that the process works. Call only when it really does. */
void daemon_watchdog(void);
/* How often daemon_watchdog is wanted, in ms: half the limit; 0 = not wanted. */
uint64_t daemon_watchdog_ms(void);

/* Waits for a signal at most ms; returns its number, or 0 when time is up or daemon_wake came. */
int daemon_wait(uint64_t ms);
/* Any thread. */
void daemon_wake(void);

#endif
