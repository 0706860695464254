/* The patterns of tokenizer.json are written for Oniguruma's Ruby syntax. Most of it means the
 * same to PCRE2 (compiled with UTF, UCP and MULTILINE); where it does not, the pattern is
 * rewritten or refused, because a wrong split gives wrong tokens without a word:
 *
 *   X{n,m}+   repeats X{n,m} there, is possessive here: becomes (?:X{n,m})+
 *   [a&&[^b]] is intersection there: becomes (?:(?![b])[a])
 *   \s        is the property White_Space there, has U+180E besides here
 *   \w, \b    count letters, marks, decimal digits and connectors there
 *   \p{Han}   is the property Script there, Script_Extensions here: becomes \p{sc:Han}
 *   other nested classes, and \h, \v, \R … also differ: refused
 *   (?m:…)    lets a dot match a newline there: only i is allowed
 *
 * Pure functions. */
#include "models/text/bpe_pattern.h"

#include <string.h>

#define NESTING 32 /* groups; the published patterns have 2 */

struct scan {
    const char *p;     /* what is left */
    const char *begin;
    struct buf *out;
    size_t atom;       /* where in out the last thing that a quantifier can repeat begins */
    size_t open[NESTING];
    int depth;
    const char *name;
    struct err *e;
};

static int refuse(const struct scan *s, const char *what)
{
    return err_set(s->e, E_UNSUPPORTED, "%s: split pattern: %s at byte %zu is not supported",
                   s->name, what, (size_t)(s->p - s->begin));
}

static int copy(struct scan *s, size_t n)
{
    int rc = buf_add(s->out, s->p, n);
    s->p += n;
    return rc;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Properties that both know, or know by these two names, besides categories of one or two letters.
 * Any other name is a script's, or PCRE2 refuses it. */
static const struct { const char *there, *here; } properties[] = {
    {"Any", "Any"}, {"Alphabetic", "Alphabetic"}, {"Alpha", "Alphabetic"},
    {"Uppercase", "Uppercase"}, {"Lowercase", "Lowercase"}, {"Emoji", "Emoji"},
    {"White_Space", "White_Space"}, {"Extended_Pictographic", "Extended_Pictographic"},
    {"Letter", "L"}, {"Uppercase_Letter", "Lu"}, {"Lowercase_Letter", "Ll"}, {"Mark", "M"},
    {"Number", "N"}, {"Decimal_Number", "Nd"}, {"Punctuation", "P"}, {"Symbol", "S"},
    {"Separator", "Z"},
};

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_& "

/* \p{…} and \P{…}. */
static int do_property(struct scan *s)
{
    const char *end = s->p[2] == '{' ? strchr(s->p, '}') : NULL;
    if (!end)
        return refuse(s, "this escape");
    const char *name = s->p + 3;
    name += *name == '^';
    size_t n = (size_t)(end - name);
    if (n == 0 || strspn(name, NAME_CHARACTERS) != n)
        return refuse(s, "this escape");
    const char *as = NULL;
    for (size_t i = 0; i < ARRAY_LEN(properties) && !as; i++)
        if (n == strlen(properties[i].there) && memcmp(name, properties[i].there, n) == 0)
            as = properties[i].here;
    buf_add(s->out, s->p, (size_t)(name - s->p));
    if (!as && n > 2)
        buf_str(s->out, "sc:");
    buf_add(s->out, as ? as : name, as ? strlen(as) : n);
    s->p = end + 1;
    return buf_ch(s->out, '}');
}

static int do_code_point(struct scan *s)
{
    for (int i = 2; i < 6; i++)
        if (!s->p[i] || !strchr("0123456789abcdefABCDEF", s->p[i]))
            return refuse(s, "this escape");
    buf_str(s->out, "\\x{");
    buf_add(s->out, s->p + 2, 4);
    s->p += 6;
    return buf_ch(s->out, '}');
}

#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

/* Escapes that mean something else here: what they become, in a class too (NULL: refused there). */
static const struct { char c; const char *as, *in_class; } escapes[] = {
    {'s', "\\p{White_Space}", "\\p{White_Space}"},
    {'S', "\\P{White_Space}", "\\P{White_Space}"},
    {'w', "[" WORD "]", WORD},
    {'W', "[^" WORD "]", NULL},
    {'b', "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))", "\\b"},
    {'B', "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))", NULL},
};

static int do_escape(struct scan *s, bool in_class)
{
    char c = s->p[1];
    if (c == 'p' || c == 'P')
        return do_property(s);
    if (c == 'u')
        return do_code_point(s);
    for (size_t i = 0; i < ARRAY_LEN(escapes); i++)
        if (c == escapes[i].c && (!in_class || escapes[i].in_class)) {
            s->p += 2;
            return buf_str(s->out, in_class ? escapes[i].in_class : escapes[i].as);
        }
    bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c);
    if (c == 0 || (unsigned char)c >= 0x80 || (word && !strchr("dDrntfAz", c)))
        return refuse(s, "this escape");
    return copy(s, 2);
}

/* Whether the inside of a class is made of properties and plain characters alone. */
static bool plain_class(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] == '\\' && (i + 3 >= n || (p[i + 1] != 'p' && p[i + 1] != 'P')))
            return false;
    return true;
}

/* Behind a class that began at `at`: "&&[^b]]", the outer bracket included. */
static int do_exclusion(struct scan *s, size_t at)
{
    char class[512];
    size_t n = s->out->len - at;
    const char *b = s->p + strlen("&&[^");
    size_t k = strncmp(s->p, "&&[^", 4) == 0 ? strcspn(b, "[]&") : 0;
    if (k == 0 || strncmp(b + k, "]]", 2) != 0 || !plain_class(b, k) ||
        n > sizeof class)
        return refuse(s, "an intersection of classes");
    memcpy(class, s->out->p + at, n);
    s->out->len = at;
    s->out->p[at] = 0;
    buf_str(s->out, "(?:(?![");
    for (s->p = b; s->p < b + k;) {
        int rc = *s->p == '\\' ? do_property(s) : copy(s, 1);
        if (rc < 0)
            return rc;
    }
    buf_str(s->out, "])");
    buf_add(s->out, class, n);
    s->p = b + k + 2;
    return buf_str(s->out, "])");
}

/* A class up to and with its closing bracket. */
static int do_class(struct scan *s)
{
    size_t at = s->out->len;
    size_t first = s->p[1] == '^' ? 2 : 1;
    copy(s, first);
    if (*s->p == ']')
        return refuse(s, "a class that begins with ]");
    while (*s->p != ']') {
        int rc = 0;
        if (*s->p == 0)
            return refuse(s, "a class without end");
        if (*s->p == '[')
            return refuse(s, "a class in a class");
        if (s->p[0] == '&' && s->p[1] == '&')
            return do_exclusion(s, at);
        rc = *s->p == '\\' ? do_escape(s, true) : copy(s, 1);
        if (rc < 0)
            return rc;
    }
    return copy(s, 1);
}

static int do_group(struct scan *s)
{
    static const char *allowed[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:"};
    if (s->depth == NESTING)
        return refuse(s, "deeper nesting");
    s->open[s->depth++] = s->out->len;
    if (s->p[1] != '?')
        return copy(s, 1);
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
        if (strncmp(s->p, allowed[i], strlen(allowed[i])) == 0)
            return copy(s, strlen(allowed[i]));
    return refuse(s, "this kind of group");
}

/* {n}, {n,} or {n,m}: its length; 0 = the brace is a character. */
static size_t interval_length(const char *p)
{
    size_t i = 1;
    while (is_digit(p[i]))
        i++;
    if (i == 1)
        return 0;
    if (p[i] == ',')
        i++;
    while (is_digit(p[i]))
        i++;
    return p[i] == '}' ? i + 1 : 0;
}

static int do_interval(struct scan *s, size_t n)
{
    bool exact = !memchr(s->p, ',', n);
    copy(s, n);
    if (*s->p == '?' && exact)
        return refuse(s, "a question mark behind {n}");
    if (*s->p != '+')
        return 0;
    /* Repeated, not possessive: put the atom and its interval into a group. */
    char atom[512];
    size_t len = s->out->len - s->atom;
    if (len > sizeof atom)
        return refuse(s, "a repeated interval of this length");
    memcpy(atom, s->out->p + s->atom, len);
    s->out->len = s->atom;
    s->out->p[s->atom] = 0;
    buf_str(s->out, "(?:");
    buf_add(s->out, atom, len);
    buf_ch(s->out, ')');
    return copy(s, 1);
}

static size_t char_length(const char *p)
{
    size_t n = 1;
    while (((unsigned char)p[n] & 0xc0) == 0x80)
        n++;
    return n;
}

static int step(struct scan *s)
{
    size_t at = s->out->len, interval = *s->p == '{' ? interval_length(s->p) : 0;
    int rc;
    if (interval)
        return do_interval(s, interval);
    switch (*s->p) {
    case '(': return do_group(s);
    case ')':
        if (s->depth == 0)
            return refuse(s, "a closing parenthesis");
        s->atom = s->open[--s->depth];
        return copy(s, 1);
    case '?': case '*': case '+': return copy(s, 1);
    case '[': rc = do_class(s); break;
    case '\\': rc = do_escape(s, false); break;
    default:
        if (s->p[0] == '{' && s->p[1] == ',')
            return refuse(s, "an interval without a lower bound");
        rc = copy(s, char_length(s->p));
    }
    s->atom = at;
    return rc;
}

int bpe_pattern_translate(const char *pattern, struct buf *out, const char *name, struct err *e)
{
    struct scan s = {.p = pattern, .begin = pattern, .out = out, .name = name, .e = e};
    while (*s.p) {
        int rc = step(&s);
        if (rc < 0 || out->failed)
            return err_set(e, rc < 0 ? rc : E_NOMEM, "%s: no room for a split pattern of %zu bytes",
                           name, strlen(pattern));
    }
    return 0;
}
