/* Server-sent events, from bytes that may be cut anywhere.
 *
 * Lines end in LF, CRLF or CR; several `data` lines of one event are joined with LF; lines that
 * start with a colon are comments. An event without data is not delivered. Thread: one. */
#ifndef RECURD_SSE_H
#define RECURD_SSE_H

#include "base/buf.h"

/* One event's data, NUL-terminated, valid during the call. Non-zero stops sse_feed. */
typedef int sse_fn(void *arg, const char *data, size_t n);

/* Owner: the connection. */
struct sse {
    struct buf line; /* a line whose end has not arrived */
    struct buf data; /* data of the event in progress */
    bool has_data, skip_lf, begun;
    uint64_t comments;
};

void sse_init(struct sse *s);
void sse_free(struct sse *s);
void sse_reset(struct sse *s); /* for the next stream; keeps the memory */

/* 0; E_RANGE when one event exceeds the limit; or what fn returned. */
int sse_feed(struct sse *s, const char *p, size_t n, sse_fn *fn, void *arg);
/* Whether bytes of an event that never ended are waiting. */
bool sse_pending(const struct sse *s);

#endif
