/* One HTTP/1.1 response, from bytes that may be cut anywhere.
 *
 * Chunked, counted and until-close bodies, interim 1xx responses, trailers. Hostile input is
 * normal input: every length is checked before it is used. Thread: one. */
#ifndef RECURD_RESPONSE_H
#define RECURD_RESPONSE_H

#include "base/buf.h"
#include "base/err.h"

typedef int response_body_fn(void *arg, const char *p, size_t n); /* non-zero stops response_feed */

/* Owner: the connection. */
struct response {
    int phase;          /* private */
    int status;         /* 0 until the status line of the final response has arrived */
    bool head_done;     /* all headers seen */
    bool chunked, counted, keep_alive, event_stream, json;
    uint64_t left;      /* bytes of the body or chunk still to come */
    size_t head_bytes;
    bool http10;
    struct buf line;
};

void response_init(struct response *h);
void response_free(struct response *h);
void response_reset(struct response *h); /* for the next response; keeps the memory */

/* Takes up to n bytes; *used says how many belonged to this response. Returns 1 when the response
 * is complete, 0 when more is needed, E_FORMAT with a sentence when it is not HTTP, or what fn
 * returned. */
int response_feed(struct response *h, const char *p, size_t n, size_t *used,
                  response_body_fn *fn, void *arg, struct err *e) MUST_USE;
/* The peer closed: true when that is how this response ends. */
bool response_eof(const struct response *h);

#endif
