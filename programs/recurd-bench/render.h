/* Requests as bytes. Thread: any. */
#ifndef RECURD_LOAD_RENDER_H
#define RECURD_LOAD_RENDER_H

#include "base/buf.h"
#include "programs/recurd-bench/args.h"
#include "programs/recurd-bench/workload.h"

/* Appends a whole HTTP/1.1 request: POST with this body, or `method` without one when body is
 * NULL. path starts after the URL's prefix. */
int render_http(struct buf *out, const struct args *a, const char *method, const char *path,
                const struct buf *body) MUST_USE;

/* Appends the JSON body of one turn. history and fragment are joined prompt fragments (history
 * may be empty); session may be NULL. */
int render_body(struct buf *out, const struct args *a, const char *model, const struct turn *t,
                const char *history, const char *fragment, const char *session) MUST_USE;

/* Joins two fragments of one prompt. */
int render_join(struct buf *history, const struct args *a, const char *fragment) MUST_USE;

/* Whether a turn's prompt is sent as token ids. */
bool render_is_ids(const struct args *a, const struct turn *t);

#endif
