/* Where tokens begin in a text, in characters: text_offset. Malformed bytes are counted as the text
 * shows them, one U+FFFD for each maximal malformed part; a token that begins inside a character
 * is behind it. Pure. */
#ifndef RECURD_CHARS_H
#define RECURD_CHARS_H

#include "base/base.h"

struct chars {
    int64_t n;    /* characters that are complete */
    size_t n_cut; /* bytes of one that is not, at the end */
    char cut[4];
};

/* The place of the next token's first byte. n <= LIMIT_TOKEN_BYTES. */
int64_t chars_next(struct chars *c, const char *bytes, size_t n);

#endif
