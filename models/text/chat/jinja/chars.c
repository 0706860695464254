/* What Python's str knows of characters, from the Unicode tables of utf8proc. */
#include <utf8proc.h>

#include "models/text/chat/jinja/text.h"

bool is_blank(uint32_t c)
{
    return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_line_end(uint32_t c)
{
    return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

bool is_printable(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return c == ' ' || !(k == UTF8PROC_CATEGORY_CN || k == UTF8PROC_CATEGORY_CC ||
                         k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CS ||
                         k == UTF8PROC_CATEGORY_CO || k == UTF8PROC_CATEGORY_ZL ||
                         k == UTF8PROC_CATEGORY_ZP || k == UTF8PROC_CATEGORY_ZS);
}

unsigned char_class(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU: return CHAR_ALPHA | CHAR_UPPER;
    case UTF8PROC_CATEGORY_LL: return CHAR_ALPHA | CHAR_LOWER;
    case UTF8PROC_CATEGORY_LT: return CHAR_ALPHA | CHAR_TITLE;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return CHAR_ALPHA;
    case UTF8PROC_CATEGORY_ND: return CHAR_DECIMAL | CHAR_DIGIT | CHAR_NUMERIC;
    case UTF8PROC_CATEGORY_NL: return CHAR_NUMERIC;
    case UTF8PROC_CATEGORY_NO:
        /* Superscripts and the like count as digits, fractions do not. */
        return CHAR_NUMERIC | (c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 ||
                               (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089)
                               ? CHAR_DIGIT : 0U);
    default: return 0;
    }
}

/* The characters whose other case is more than one character and that texts really have; the
 * rest are ligatures, left as utf8proc has them. */
static bool put_special(struct builder *b, uint32_t c, enum letter_case to, origin_t origin)
{
    if (c == 0xdf && (to == TO_UPPER || to == TO_TITLE || to == FOLD)) {
        const char *two = to == TO_UPPER ? "SS" : to == TO_TITLE ? "Ss" : "ss";
        put_bytes(b, two, 2, origin);
        return true;
    }
    if (c == 0x130 && (to == TO_LOWER || to == FOLD)) {
        put_bytes(b, "i\xcc\x87", 3, origin);
        return true;
    }
    if (c == 0x149 && (to == TO_UPPER || to == TO_TITLE)) {
        put_bytes(b, "\xca\xbcN", 3, origin);
        return true;
    }
    if (c >= 0xfb00 && c <= 0xfb06 && (to == TO_UPPER || to == TO_TITLE || to == FOLD)) {
        static const char *const upper[] = {"FF", "FI", "FL", "FFI", "FFL", "ST", "ST"};
        static const char *const title[] = {"Ff", "Fi", "Fl", "Ffi", "Ffl", "St", "St"};
        static const char *const fold[] = {"ff", "fi", "fl", "ffi", "ffl", "st", "st"};
        const char *const *row = to == TO_UPPER ? upper : to == TO_TITLE ? title : fold;
        const char *s = row[c - 0xfb00];
        put_bytes(b, s, s[2] ? 3 : 2, origin);
        return true;
    }
    return false;
}

void put_case(struct builder *b, uint32_t c, enum letter_case to, origin_t origin)
{
    if (to == SWAP) {
        unsigned k = char_class(c);
        to = k & CHAR_UPPER ? TO_LOWER : TO_UPPER;
        if (!(k & (CHAR_UPPER | CHAR_LOWER))) {
            put_char(b, c, origin);
            return;
        }
    }
    if (c >= 0x80 && put_special(b, c, to, origin))
        return;
    utf8proc_int32_t x = (utf8proc_int32_t)c;
    x = to == TO_UPPER ? utf8proc_toupper(x)
        : to == TO_TITLE ? utf8proc_totitle(x) : utf8proc_tolower(x);
    put_char(b, (uint32_t)x, origin);
}
