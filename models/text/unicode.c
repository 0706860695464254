/* Normal forms and kinds of characters by utf8proc's tables. The order of combining marks is ours:
 * utf8proc exchanges neighbours, which takes hours for a megabyte of marks on one letter. Pure
 * functions. */
#include "models/text/unicode.h"

#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"

#define MOST_OF_ONE 18 /* characters in the longest decomposition (U+FDFA) */

struct points {
    utf8proc_int32_t *p;
    size_t n, cap;
};

static int reserve(struct points *s, size_t more)
{
    if (s->cap - s->n >= more)
        return 0;
    size_t cap = s->cap * 2 + more;
    utf8proc_int32_t *grown = mem_realloc(s->p, cap * sizeof *grown);
    if (!grown)
        return E_NOMEM;
    s->p = grown;
    s->cap = cap;
    return 0;
}

static unsigned class_of(utf8proc_int32_t c)
{
    return (unsigned)utf8proc_get_property(c)->combining_class & 0xff;
}

/* Stable sort of a run of marks by class. */
static int sort_marks(utf8proc_int32_t *p, size_t n)
{
    size_t count[257] = {0};
    utf8proc_int32_t *sorted = mem_array(n, sizeof *sorted);
    if (!sorted)
        return E_NOMEM;
    for (size_t i = 0; i < n; i++)
        count[class_of(p[i]) + 1]++;
    for (size_t c = 1; c < ARRAY_LEN(count); c++)
        count[c] += count[c - 1];
    for (size_t i = 0; i < n; i++)
        sorted[count[class_of(p[i])]++] = p[i];
    memcpy(p, sorted, n * sizeof *p);
    mem_free(sorted);
    return 0;
}

static int order_marks(struct points *s)
{
    for (size_t i = 0, end; i < s->n; i = end + 1) {
        bool ordered = true;
        for (end = i; end < s->n && class_of(s->p[end]); end++)
            ordered = ordered && (end == i || class_of(s->p[end - 1]) <= class_of(s->p[end]));
        if (!ordered && sort_marks(s->p + i, end - i) < 0)
            return E_NOMEM;
    }
    return 0;
}

static int decompose(struct points *s, const char *text, size_t n, utf8proc_option_t options)
{
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)text;
    for (size_t at = 0; at < n;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t len = utf8proc_iterate(p + at, (utf8proc_ssize_t)(n - at), &c);
        if (len <= 0)
            return E_FORMAT;
        at += (size_t)len;
        if (reserve(s, MOST_OF_ONE) < 0)
            return E_NOMEM;
        utf8proc_ssize_t got =
            utf8proc_decompose_char(c, s->p + s->n, MOST_OF_ONE, options, NULL);
        if (got < 0 || got > MOST_OF_ONE)
            return E_FORMAT;
        s->n += (size_t)got;
    }
    return 0;
}

static bool is_ascii(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= 0x80)
            return false;
    return true;
}

static int normalize(struct points *s, const char *text, size_t n, utf8proc_option_t options,
                     struct buf *out)
{
    int rc = decompose(s, text, n, options);
    if (rc == 0)
        rc = order_marks(s);
    if (rc < 0)
        return rc;
    utf8proc_ssize_t got =
        s->n ? utf8proc_normalize_utf32(s->p, (utf8proc_ssize_t)s->n, options) : 0;
    for (utf8proc_ssize_t i = 0; i < got; i++) {
        utf8proc_uint8_t c[4];
        buf_add(out, c, (size_t)utf8proc_encode_char(s->p[i], c));
    }
    return got < 0 ? E_FORMAT : out->failed ? E_NOMEM : 0;
}

int unicode_normalize(enum unicode_form form, const char *text, size_t n, struct buf *out,
                      struct err *e)
{
    static const utf8proc_option_t options[] = {
        [UNICODE_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [UNICODE_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [UNICODE_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [UNICODE_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    struct points s = {0};
    int rc = is_ascii(text, n) ? buf_add(out, text, n)
                               : normalize(&s, text, n, options[form], out);
    mem_free(s.p);
    return rc == 0 ? 0 : err_set(e, rc, "Unicode normalisation of %zu bytes failed", n);
}

/* ---- kinds of characters ---------------------------------------------------------------- */

bool unicode_is_space(int32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

bool unicode_is_word(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM: case UTF8PROC_CATEGORY_LO: case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC: case UTF8PROC_CATEGORY_ME: case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* circled letters are alphabetic symbols; the last two join letters */
        return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
               (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189) || c == 0x200c ||
               c == 0x200d;
    }
}

size_t unicode_first(const char *text, size_t n, int32_t *c)
{
    utf8proc_int32_t point = -1;
    utf8proc_ssize_t len =
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, &point);
    *c = point;
    return len > 0 ? (size_t)len : 1;
}

size_t unicode_last(const char *text, size_t n, int32_t *c)
{
    size_t at = n - 1;
    while (at > 0 && n - at < 4 && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    unicode_first(text + at, n - at, c);
    return n - at;
}
