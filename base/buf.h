/* Growable bytes that cannot be created without a maximum. Always NUL-terminated. */
#ifndef RECURD_BUF_H
#define RECURD_BUF_H

#include "base/base.h"

/* Owner: whoever declared it. Thread: one at a time. */
struct buf {
    char *p;    /* NULL until the first byte; p[len] == 0 afterwards */
    size_t len; /* bytes used, without the NUL */
    size_t cap; /* bytes allocated */
    size_t max; /* len never exceeds this */
    bool failed; /* an append was refused (limit or memory); the contents end before it */
};

void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b);  /* leaves an empty, reusable buffer */
void buf_clear(struct buf *b); /* len = 0 and failed = false, keeps the memory */

/* 0, or E_NOMEM when the maximum or memory is exceeded; then nothing is appended and `failed`
 * stays set, so a series of appends may be checked once at its end. */
int buf_add(struct buf *b, const void *p, size_t n);
int buf_str(struct buf *b, const char *s);
int buf_ch(struct buf *b, char c);
int buf_fmt(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
void buf_drop_front(struct buf *b, size_t n); /* removes the first n <= len bytes */

/* Appends s with every malformed sequence of UTF-8 replaced by U+FFFD (one per maximal subpart, as
 * Unicode 15 section 3.9 recommends). */
int buf_sanitize(struct buf *b, const char *s, size_t n);

#endif
