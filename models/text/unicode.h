/* Unicode normal forms of text. Pure functions. */
#ifndef RECURD_UNICODE_H
#define RECURD_UNICODE_H

#include "base/buf.h"
#include "base/err.h"

enum unicode_form { UNICODE_NFC, UNICODE_NFD, UNICODE_NFKC, UNICODE_NFKD };

/* Appends the form of n bytes of valid UTF-8 to out. E_NOMEM. */
int unicode_normalize(enum unicode_form form, const char *text, size_t n, struct buf *out,
                      struct err *e) MUST_USE;

#endif
