/* Errors: a negative code and one sentence for a human.
 *
 * Fallible functions return 0 or a negative enum err_code and take `struct err *` last. The
 * sentence is written once, where the failure happens, and names the thing and both numbers.
 * Callers may put a prefix before it (err_wrap), never replace it. On success it is untouched. */
#ifndef RECURD_ERR_H
#define RECURD_ERR_H

#include "base/base.h"

enum err_code {
    E_NOMEM = -1,       /* allocation or capacity refused */
    E_IO = -2,          /* a system call on a file or device failed */
    E_NOENT = -3,       /* the thing named does not exist */
    E_FORMAT = -4,      /* bytes that do not follow their format */
    E_RANGE = -5,       /* well-formed, but outside what is allowed */
    E_UNSUPPORTED = -6, /* valid, but this build or model cannot do it */
    E_CONFLICT = -7,    /* contradicts something else that was given */
    E_BUSY = -8,        /* full now, may work later */
    E_DEVICE = -9,      /* the accelerator failed or was lost */
    E_CLOSED = -10,     /* shutting down */
    E_DENIED = -11,     /* not allowed */
    E_TIMEOUT = -12,    /* took longer than it was allowed to */
};

struct err {
    int code;          /* 0 until the first failure */
    const char *param; /* name of the offending request field; NULL when none. Static string. */
    char text[384];    /* one sentence, UTF-8, no newline */
};

/* Records the failure and returns code, so that `return err_set(e, E_RANGE, …)` reads well.
 * e may be NULL. A second err_set on the same object keeps the first sentence. */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF(3, 4);

/* As err_set, and names the request field at fault. param must outlive e (a literal). */
int err_field(struct err *e, int code, const char *param, const char *fmt, ...) PRINTF(4, 5);

/* Prefixes "context: " to the sentence; returns e->code. */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF(2, 3);

void err_clear(struct err *e);

#endif
