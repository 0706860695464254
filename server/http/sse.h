/* A generation as server-sent events. Thread: HTTP worker. */
#ifndef RECURD_SSE_H
#define RECURD_SSE_H

#include "server/api/gen.h"

/* Bytes on their way to one client. */
struct sse {
    struct buf out;
    size_t sent; /* of out */
    bool ended;  /* the last frame is in out */
    bool failed; /* … and it was an error */
};

void sse_init(struct sse *s);
void sse_fini(struct sse *s);

/* Appends the frames of what the generation has; true: there were some. After the last choice
 * it appends usage, if wanted, and [DONE]. */
bool sse_frames(struct sse *s, struct gen *g);
/* A comment line, which clients skip. */
void sse_ping(struct sse *s);
/* The stream ends with this error instead of [DONE]. */
void sse_error(struct sse *s, const struct err *e);

#endif
