/* JSON text -> jansson tree (RFC 8259): see jsonread.h. Every value is made whole or not at all. */
#include "base/jsonread.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

#define DIGITS 64 /* of a number, that need no memory of their own */

struct reader {
    const char *start, *p, *end;
    size_t flags, depth;
    json_error_t *e;
    bool failed;
};

static json_t *value(struct reader *r);

/* The first error counts. Always NULL. */
static void *fault(struct reader *r, enum json_error_code code)
{
    json_error_t *e = r->failed ? NULL : r->e;
    r->failed = true;
    if (!e)
        return NULL;
    memset(e, 0, sizeof *e);
    e->line = 1;
    for (const char *p = r->start; p < r->p; p++)
        e->line += *p == '\n';
    e->column = -1;
    e->position = (int)MIN(r->p - r->start, INT32_MAX);
    e->text[JSON_ERROR_TEXT_LENGTH - 1] = (char)code; /* where json_error_code looks for it */
    return NULL;
}

/* Something else was expected here. */
static void *unexpected(struct reader *r)
{
    return fault(r, r->p == r->end ? json_error_premature_end_of_input
                                   : json_error_invalid_syntax);
}

static void skip_space(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t'))
        r->p++;
}

static bool next_is(struct reader *r, char c)
{
    skip_space(r);
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

/* ---- texts ----------------------------------------------------------------------------------- */

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* XXXX at p, which is before the text's closing quote; -1: it is not there. */
static int32_t four_digits(const char *p, const char *end)
{
    int32_t v = 0;
    for (int i = 0; i < 4; i++) {
        int d = p + i < end ? hex(p[i]) : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

static char *put_utf8(char *to, int32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    *to++ = (char)((0xFF << (7 - more)) | c >> 6 * more);
    while (more-- > 0)
        *to++ = (char)(0x80 | (c >> 6 * more & 0x3F));
    return to;
}

/* \uXXXX or two of them, *p behind the u; moves *p behind. -1: what is there is no character. */
static int32_t escaped_character(const char **p, const char *end)
{
    int32_t c = four_digits(*p, end), low;
    if (c < 0 || (c >= 0xDC00 && c <= 0xDFFF))
        return -1;
    *p += 4;
    if (c < 0xD800 || c > 0xDBFF)
        return c;
    if (end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
        return -1;
    low = four_digits(*p + 2, end);
    if (low < 0xDC00 || low > 0xDFFF)
        return -1;
    *p += 6;
    return 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
}

/* Writes what p … end means to `to`, which has room for as many bytes. NULL: a bad escape. */
static char *unescape(char *to, const char *p, const char *end)
{
    static const char names[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    while (p < end) {
        if (*p != '\\') {
            *to++ = *p++;
            continue;
        }
        char c = p[1]; /* a backslash is never the last before the quote */
        p += 2;
        const char *name = c ? strchr(names, c) : NULL;
        if (name) {
            *to++ = means[name - names];
            continue;
        }
        int32_t u = c == 'u' ? escaped_character(&p, end) : -1;
        if (u < 0)
            return NULL;
        to = put_utf8(to, u);
    }
    return to;
}

/* The text behind an opening quote, with a zero behind it; *n: its bytes. Free with mem_free. */
static char *text(struct reader *r, size_t *n)
{
    const char *from = r->p, *p = from;
    while (p < r->end && *p != '"') {
        if ((unsigned char)*p < 0x20) {
            r->p = p;
            return fault(r, json_error_invalid_syntax);
        }
        p += *p == '\\' && r->end - p > 1 ? 2 : 1;
    }
    if (p >= r->end) {
        r->p = r->end;
        return fault(r, utf8_valid(from, utf8_complete(from, (size_t)(r->end - from)))
                            ? json_error_premature_end_of_input : json_error_invalid_utf8);
    }
    size_t raw = (size_t)(p - from), good = utf8_valid_prefix(from, raw);
    if (good < raw) {
        r->p = from + good;
        return fault(r, json_error_invalid_utf8);
    }
    char *made = mem_zalloc(raw + 1);
    char *end = made ? unescape(made, from, p) : NULL;
    r->p = p + 1;
    if (!end) {
        (void)fault(r, made ? json_error_invalid_syntax : json_error_out_of_memory);
        mem_free(made);
        return NULL;
    }
    *end = '\0';
    *n = (size_t)(end - made);
    return made;
}

static json_t *string(struct reader *r)
{
    size_t n = 0;
    char *s = text(r, &n);
    json_t *v = NULL;
    if (s && memchr(s, '\0', n) && !(r->flags & JSON_ALLOW_NUL))
        v = fault(r, json_error_null_character);
    else if (s && !(v = json_stringn_nocheck(s, n)))
        v = fault(r, json_error_out_of_memory);
    mem_free(s);
    return v;
}

/* ---- numbers and words ----------------------------------------------------------------------- */

static const char *digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

/* Where the number at p ends; NULL: there is none. */
static const char *number_end(const char *p, const char *end, bool *real)
{
    p += p < end && *p == '-';
    const char *from = p;
    p = digits(p, end);
    if (p == from || (*from == '0' && p - from > 1))
        return NULL;
    *real = false;
    if (p < end && *p == '.') {
        from = ++p;
        p = digits(p, end);
        *real = true;
        if (p == from)
            return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        from = p;
        p = digits(p, end);
        *real = true;
        if (p == from)
            return NULL;
    }
    return p;
}

static json_t *number(struct reader *r)
{
    bool real;
    const char *end = number_end(r->p, r->end, &real);
    if (!end)
        return fault(r, json_error_invalid_syntax);
    char here[DIGITS], *s = here;
    size_t n = (size_t)(end - r->p);
    if (n >= sizeof here && !(s = mem_zalloc(n + 1)))
        return fault(r, json_error_out_of_memory);
    memcpy(s, r->p, n);
    s[n] = '\0';
    r->p = end;
    errno = 0;
    json_int_t i = real ? 0 : strtoll(s, NULL, 10);
    double d = real ? strtod(s, NULL) : 0;
    bool too_large = real ? !isfinite(d) : errno == ERANGE;
    if (s != here)
        mem_free(s);
    if (too_large)
        return fault(r, json_error_numeric_overflow);
    json_t *v = real ? json_real(d) : json_integer(i);
    return v ? v : fault(r, json_error_out_of_memory);
}

static json_t *word(struct reader *r)
{
    static const struct { const char *word; json_t *(*make)(void); } words[] = {
        {"true", json_true}, {"false", json_false}, {"null", json_null}};
    const char *p = r->p;
    while (p < r->end && ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')))
        p++;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if ((size_t)(p - r->p) == strlen(words[i].word) &&
            memcmp(r->p, words[i].word, strlen(words[i].word)) == 0) {
            r->p = p;
            return words[i].make();
        }
    return unexpected(r);
}

/* ---- arrays and objects ---------------------------------------------------------------------- */

/* Behind a value: true at a comma, with *more set, or at the closing c. */
static bool goes_on(struct reader *r, char c, bool *more)
{
    *more = next_is(r, ',');
    if (*more || next_is(r, c))
        return true;
    (void)unexpected(r);
    return false;
}

static json_t *array(struct reader *r)
{
    json_t *a = json_array();
    if (!a)
        return fault(r, json_error_out_of_memory);
    if (next_is(r, ']'))
        return a;
    for (bool more = true; more && !r->failed;) {
        json_t *v = value(r);
        if (v && json_array_append_new(a, v))
            (void)fault(r, json_error_out_of_memory);
        if (!r->failed)
            (void)goes_on(r, ']', &more);
    }
    if (!r->failed)
        return a;
    json_decref(a);
    return NULL;
}

/* "key": value */
static void member(struct reader *r, json_t *o)
{
    size_t n = 0;
    if (!next_is(r, '"')) {
        (void)unexpected(r);
        return;
    }
    char *key = text(r, &n);
    if (key && memchr(key, '\0', n))
        (void)fault(r, json_error_null_byte_in_key);
    else if (key && r->flags & JSON_REJECT_DUPLICATES && json_object_get(o, key))
        (void)fault(r, json_error_duplicate_key);
    else if (key && !next_is(r, ':'))
        (void)unexpected(r);
    json_t *v = r->failed ? NULL : value(r);
    if (v && json_object_set_new_nocheck(o, key, v))
        (void)fault(r, json_error_out_of_memory);
    mem_free(key);
}

static json_t *object(struct reader *r)
{
    json_t *o = json_object();
    if (!o)
        return fault(r, json_error_out_of_memory);
    if (next_is(r, '}'))
        return o;
    for (bool more = true; more && !r->failed;) {
        member(r, o);
        if (!r->failed)
            (void)goes_on(r, '}', &more);
    }
    if (!r->failed)
        return o;
    json_decref(o);
    return NULL;
}

/* Recursion is bounded by JSONREAD_DEPTH. */
static json_t *value(struct reader *r)
{
    skip_space(r);
    char c = r->p < r->end ? *r->p : '\0';
    if (c == '-' || (c >= '0' && c <= '9'))
        return number(r);
    if (c != '"' && c != '[' && c != '{')
        return word(r);
    r->p++;
    if (c == '"')
        return string(r);
    if (r->depth == JSONREAD_DEPTH)
        return fault(r, json_error_stack_overflow);
    r->depth++;
    json_t *v = c == '[' ? array(r) : object(r);
    r->depth--;
    return v;
}

json_t *jsonread(const char *json, size_t n, size_t flags, json_error_t *e)
{
    json = json ? json : "";
    struct reader r = {.start = json, .p = json, .end = json + n, .flags = flags, .e = e};
    skip_space(&r);
    if (!(flags & JSON_DECODE_ANY) && (r.p == r.end || (*r.p != '[' && *r.p != '{')))
        return unexpected(&r);
    json_t *v = value(&r);
    skip_space(&r);
    if (v && r.p < r.end) {
        json_decref(v);
        return fault(&r, json_error_end_of_input_expected);
    }
    return v;
}
