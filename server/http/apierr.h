/* The one place where a failure becomes an HTTP status; the body is written in the form of the
 * route's API. Thread: any. */
#ifndef RECURD_APIERR_H
#define RECURD_APIERR_H

#include "base/buf.h"
#include "base/err.h"

enum apierr {
#define APIERR(name, status, type, code, retry) APIERR_##name,
#include "server/http/apierr.def"
#undef APIERR
    APIERR_NONE,
};

int apierr_status(enum apierr a);
const char *apierr_type(enum apierr a); /* as OpenAI clients know them */
const char *apierr_code(enum apierr a);
bool apierr_retry(enum apierr a); /* x-should-retry, for statuses clients retry by themselves */

/* What a client is told. Borrowed, for the call alone. */
struct failure {
    enum apierr what;
    const char *param;   /* the field at fault, as the client calls it; NULL = none */
    const char *message;
    const char *id;      /* of the request */
};

/* How an API tells failures: its own and those of every layer before its handlers. */
struct error_form {
    void (*write)(struct buf *out, const struct failure *f); /* the body, JSON in one line */
    const char *id_header; /* has the request's id, besides x-request-id; NULL = none */
};

/* The row for a failure reported by a layer below. */
enum apierr apierr_of(const struct err *e);
/* The same for a generation that failed while it ran: no longer the client's fault. */
enum apierr apierr_of_run(const struct err *e);

#endif
