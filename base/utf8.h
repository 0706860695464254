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

/* Length of the well-formed text at the start of s. */
size_t utf8_valid_prefix(const char *s, size_t n);
/* Length of the malformed part that s starts with (n > 0 and utf8_valid_prefix is 0): a maximal
 * subpart, as Unicode 15 section 3.9 counts them. */
size_t utf8_bad(const char *s, size_t n);

#endif
