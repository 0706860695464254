/* UTF-8 as a stream: text leaves the server only as whole, valid characters. */
#ifndef RECURD_UTF8_H
#define RECURD_UTF8_H

#include "base/base.h"

/* Whether all n bytes are well-formed UTF-8 (no overlongs, surrogates, > U+10FFFF). */
bool utf8_valid(const char *s, size_t n);

/* Length of the longest prefix that ends on a character boundary and could not become a longer
 * character with more bytes: n minus the 0..3 bytes of a well-formed but unfinished last
 * character. Malformed bytes count as complete (they are replaced, not waited for). */
size_t utf8_complete(const char *s, size_t n);

struct buf;
/* Appends s to out with every malformed sequence replaced by U+FFFD (one per maximal subpart,
 * as Unicode 15 section 3.9 recommends). */
int utf8_sanitize(struct buf *out, const char *s, size_t n);

#endif
