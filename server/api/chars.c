/* Characters of a stream of tokens. */
#include "server/api/chars.h"

#include <string.h>

#include "base/limits.h"
#include "base/utf8.h"

/* Characters that begin in the first `upto` of n bytes, of which the last may be unfinished. */
static int64_t begun(const char *s, size_t n, size_t upto)
{
    size_t complete = utf8_complete(s, n), at = 0;
    int64_t chars = 0;
    while (at < MIN(upto, complete)) {
        size_t good = utf8_valid_prefix(s + at, complete - at), end = at + good;
        for (; at < MIN(end, upto); at++)
            chars += ((unsigned char)s[at] & 0xc0) != 0x80;
        at = end;
        if (at < MIN(upto, complete)) {
            chars++;
            at += utf8_bad(s + at, complete - at);
        }
    }
    return chars + (upto > complete);
}

int64_t chars_next(struct chars *c, const char *bytes, size_t n)
{
    char text[sizeof c->cut + LIMIT_TOKEN_BYTES];
    n = MIN(n, LIMIT_TOKEN_BYTES);
    memcpy(text, c->cut, c->n_cut);
    if (n)
        memcpy(text + c->n_cut, bytes, n);
    size_t all = c->n_cut + n, complete = utf8_complete(text, all);
    int64_t place = c->n + begun(text, all, c->n_cut);
    c->n += begun(text, complete, complete);
    c->n_cut = all - complete;
    memcpy(c->cut, text + complete, c->n_cut);
    return place;
}
