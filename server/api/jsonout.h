/* JSON out. Numbers are printed here and nowhere else: a float32 with 9 significant digits reads
 * back as the same bits. Failures stay in the buffer's `failed`. Thread: any. */
#ifndef RECURD_JSONOUT_H
#define RECURD_JSONOUT_H

#include "base/buf.h"

/* A string with its quotes; malformed UTF-8 becomes U+FFFD. */
void jsonout_str(struct buf *out, const char *s);
void jsonout_strn(struct buf *out, const char *s, size_t n);
/* The same without quotes: for a string made of parts. */
void jsonout_chars(struct buf *out, const char *s, size_t n);

void jsonout_int(struct buf *out, int64_t v);
/* 9 significant digits; what JSON has no number for becomes -9999 (as OpenAI prints it). */
void jsonout_float(struct buf *out, float v);
void jsonout_ids(struct buf *out, const int32_t *ids, size_t n); /* [1,2,3] */

#endif
