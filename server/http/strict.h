/* Header checks that libmicrohttpd 0.9.75 leaves out. Whatever two parsers could read in two
 * ways is refused and the connection closed, so that nothing can be smuggled past a proxy.
 * Thread: the connection's HTTP worker. */
#ifndef RECURD_STRICT_H
#define RECURD_STRICT_H

#include "base/err.h"

struct MHD_Connection;

struct strict_request {
    const char *method, *url, *version; /* as the library passed them to the handler */
    size_t uri_bytes;                   /* length of the URI as it came */
};

/* 0, or E_FORMAT with a sentence: answer 400 and close. */
int strict_check(struct MHD_Connection *c, const struct strict_request *r,
                 struct err *e) MUST_USE;

/* Whether the header block has the layout below; false = this library is not one we know, and
 * the byte-level part of the check is skipped (later versions are strict themselves). */
bool strict_knows_library(void);

#endif
