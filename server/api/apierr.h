/* The one place where a failure becomes an HTTP status and an error body. Thread: any. */
#ifndef RECURD_APIERR_H
#define RECURD_APIERR_H

#include "base/buf.h"
#include "base/err.h"

enum apierr {
#define APIERR(name, status, type, code, retry) APIERR_##name,
#include "server/api/apierr.def"
#undef APIERR
    APIERR_NONE,
};

int apierr_status(enum apierr a);
bool apierr_retry(enum apierr a); /* x-should-retry, for statuses clients retry by themselves */

/* The row for a failure reported by a layer below. */
enum apierr apierr_of(const struct err *e);
/* The same for a generation that failed while it ran: no longer the client's fault. */
enum apierr apierr_of_run(const struct err *e);

/* {"error":{"message":…,"type":…,"param":…,"code":…}}; param NULL = null. */
void apierr_body(struct buf *out, enum apierr a, const char *param, const char *message);

#endif
