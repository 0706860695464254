/* The framing of HTTP/1 requests, byte by byte as they come: where each ends, and everything in
 * it that two parsers could read in two ways (RFC 9112). What is refused here never reaches the
 * library, so that nothing can be smuggled past a proxy, whatever the library would make of it.
 * Pure; no memory. Thread: the connection's. */
#ifndef RECURD_FRAMING_H
#define RECURD_FRAMING_H

#include "base/base.h"
#include "server/http/apierr.h"

#define FRAMING_NAME_BYTES 24   /* the longest header name that means something here */
#define FRAMING_VALUE_BYTES 272 /* … and its longest value: a name of the DNS and a port */

struct framing {
    const char *fault;  /* a literal sentence; NULL = none so far */
    enum apierr why;    /* with a fault */
    uint8_t state;
    uint32_t messages;  /* that have ended */
    bool http11, trailer, is_star;
    uint8_t hosts, lengths, encodings; /* headers of these names */
    uint16_t n_headers, n_name, n_value, n_extension;
    uint32_t n_head;    /* bytes of this head, or of this trailer */
    uint32_t n_part;    /* bytes of the method, target or version so far */
    uint32_t n_digits;
    uint64_t left;      /* bytes of the body or chunk to come */
    uint64_t length;    /* Content-Length */
    char name[FRAMING_NAME_BYTES], value[FRAMING_VALUE_BYTES];
};

void framing_init(struct framing *f);
/* The next n bytes. Returns n; after a fault (f->fault), how many of them belong to messages
 * before the one with the fault. Nothing may be fed after that. */
size_t framing_feed(struct framing *f, const char *p, size_t n);
/* Between two messages. */
bool framing_idle(const struct framing *f);

#endif
