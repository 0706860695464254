/* UTF-8 by the table of well-formed sequences (Unicode 15, table 3-7). Pure functions.
 *
 * One scanner serves all three questions, so validation, hold-back and replacement cannot
 * disagree about where a character ends. */
#include "base/utf8.h"

enum verdict {
    WHOLE, /* a well-formed character */
    CUT,   /* the beginning of one; the text ends */
    BAD,   /* a maximal subpart that no continuation can make well-formed */
};

struct part {
    enum verdict verdict;
    size_t len; /* 1..4 bytes */
};

/* Length of the character that lead byte c opens (0 = none does), and the range its second byte
 * must lie in: this is what excludes overlongs (E0, F0), surrogates (ED) and > U+10FFFF (F4). */
static size_t lead(unsigned char c, unsigned char *lo, unsigned char *hi)
{
    *lo = 0x80;
    *hi = 0xBF;
    if (c < 0x80)
        return 1;
    if (c < 0xC2) /* continuation bytes; C0 and C1 could only be overlong */
        return 0;
    if (c < 0xE0)
        return 2;
    if (c < 0xF0) {
        if (c == 0xE0)
            *lo = 0xA0;
        if (c == 0xED)
            *hi = 0x9F;
        return 3;
    }
    if (c > 0xF4)
        return 0;
    if (c == 0xF0)
        *lo = 0x90;
    if (c == 0xF4)
        *hi = 0x8F;
    return 4;
}

/* The first part of s; n > 0. */
static struct part scan(const unsigned char *s, size_t n)
{
    unsigned char lo, hi;
    size_t want = lead(s[0], &lo, &hi);
    if (want == 0)
        return (struct part){BAD, 1};
    for (size_t i = 1; i < want; i++) {
        if (i == n)
            return (struct part){CUT, i};
        if (s[i] < lo || s[i] > hi)
            return (struct part){BAD, i};
        lo = 0x80; /* only the second byte has a narrower range */
        hi = 0xBF;
    }
    return (struct part){WHOLE, want};
}

size_t utf8_valid_prefix(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0;
    while (i < n) {
        if (s[i] < 0x80) {
            i++;
            continue;
        }
        struct part p = scan(s + i, n - i);
        if (p.verdict != WHOLE)
            break;
        i += p.len;
    }
    return i;
}

bool utf8_valid(const char *s, size_t n)
{
    return utf8_valid_prefix(s, n) == n;
}

size_t utf8_bad(const char *s, size_t n)
{
    return scan((const unsigned char *)s, n).len;
}

size_t utf8_complete(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;
    /* An unfinished character has at most 3 bytes and starts at the last byte that is not a
     * continuation; a lead byte never lies inside another character. */
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        if ((u[n - back] & 0xC0) == 0x80)
            continue;
        return scan(u + n - back, back).verdict == CUT ? n - back : n;
    }
    return n;
}
