/* Unicode: normal forms of text, kinds of characters. Pure functions. */
#ifndef RECURD_UNICODE_H
#define RECURD_UNICODE_H

#include "base/buf.h"
#include "base/err.h"

enum unicode_form { UNICODE_NFC, UNICODE_NFD, UNICODE_NFKC, UNICODE_NFKD };

/* Appends the form of n bytes of valid UTF-8 to out. E_NOMEM. */
int unicode_normalize(enum unicode_form form, const char *text, size_t n, struct buf *out,
                      struct err *e) MUST_USE;

/* Property White_Space: 25 characters, U+0020 and U+3000 among them, U+180E not. */
bool unicode_is_space(int32_t c);
/* What \w means to UTS 18: alphabetic, marks, decimal digits, connectors, joiners. */
bool unicode_is_word(int32_t c);

/* The character that begins at text[0], and its bytes; the one that ends at text[n - 1]. n > 0,
 * valid UTF-8. */
size_t unicode_first(const char *text, size_t n, int32_t *c);
size_t unicode_last(const char *text, size_t n, int32_t *c);

#endif
