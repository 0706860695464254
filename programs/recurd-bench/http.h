/* One HTTP/1.1 response, from bytes that may be cut anywhere.
 *
 * Chunked, counted and until-close bodies, interim 1xx responses, trailers. Hostile input is
 * normal input: every length is checked before it is used. Thread: one. */
#ifndef RECURD_LOAD_HTTP_H
#define RECURD_LOAD_HTTP_H

#include "base/buf.h"
#include "base/err.h"

typedef int http_body_fn(void *arg, const char *p, size_t n); /* non-zero stops http_feed */

/* Owner: the connection. */
struct http {
    int phase;          /* private */
    int status;         /* 0 until the status line of the final response has arrived */
    bool head_done;     /* all headers seen */
    bool chunked, counted, keep_alive, event_stream, json;
    uint64_t left;      /* bytes of the body or chunk still to come */
    size_t head_bytes;
    bool http10;
    struct buf line;
};

void http_init(struct http *h);
void http_free(struct http *h);
void http_reset(struct http *h); /* for the next response; keeps the memory */

/* Takes up to n bytes; *used says how many belonged to this response. Returns 1 when the response
 * is complete, 0 when more is needed, E_FORMAT with a sentence when it is not HTTP, or what fn
 * returned. */
int http_feed(struct http *h, const char *p, size_t n, size_t *used, http_body_fn *fn, void *arg,
              struct err *e) MUST_USE;
/* The peer closed: true when that is how this response ends. */
bool http_eof(const struct http *h);

#endif
