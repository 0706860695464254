/* Split patterns as tokenizer.json writes them -> patterns that mean the same to PCRE2. */
#ifndef RECURD_BPE_PATTERN_H
#define RECURD_BPE_PATTERN_H

#include "base/buf.h"
#include "base/err.h"

/* Appends the translation to out. E_UNSUPPORTED, naming the place, for anything whose meaning
 * differs between the two and is not translated. name: of the file, for messages. Pure. */
int bpe_pattern_translate(const char *pattern, struct buf *out, const char *name,
                          struct err *e) MUST_USE;

#endif
