/* Regular expressions. See the header. */
#include "models/text/constrain/regex.h"

#include <string.h>

#include "base/limits.h"

struct parser {
    struct automaton *a;
    const char *text;
    size_t n, at;
    int flags, depth;
    bool started, ended; /* of the alternative in work, outside of groups: ^ and $ were met */
};

static const struct expr *fail(struct parser *p, int code, const char *what)
{
    err_set(&p->a->err, code, "the regex has %s at byte %zu", what, p->at);
    return expr_never(p->a);
}

static int peek(const struct parser *p, size_t ahead)
{
    return p->at + ahead < p->n ? (unsigned char)p->text[p->at + ahead] : -1;
}

int32_t regex_decode(const char *s, size_t n, size_t *used)
{
    const unsigned char *b = (const unsigned char *)s;
    int len = b[0] < 0x80 ? 1 : b[0] < 0xE0 ? 2 : b[0] < 0xF0 ? 3 : 4;
    int32_t c = len == 1 ? b[0] : b[0] & (0xFF >> (len + 1));
    *used = 1;
    if (b[0] >= 0x80 && (b[0] < 0xC2 || b[0] > 0xF4 || (size_t)len > n))
        return -1;
    for (int i = 1; i < len; i++) {
        if ((b[i] & 0xC0) != 0x80)
            return -1;
        c = c << 6 | (b[i] & 0x3F);
    }
    *used = (size_t)len;
    bool bad = (len == 3 && c < 0x800) || (len == 4 && c < 0x10000) || c > CHAR_MAX_CODE ||
               (c >= 0xD800 && c <= 0xDFFF);
    return bad ? -1 : c;
}

static int32_t next_char(struct parser *p)
{
    size_t used;
    int32_t c = regex_decode(p->text + p->at, p->n - p->at, &used);
    if (c < 0)
        (void)fail(p, E_FORMAT, "malformed UTF-8");
    p->at += used;
    return MAX(c, 0);
}

/* ---- characters as JSON writes them --------------------------------------------------- */

const struct expr *regex_json_class(struct automaton *a, const struct char_set *s)
{
    static const char short_form[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    struct char_set plain = *s;
    struct expr_list alts = {0};
    char_set_normalize(&plain);
    struct char_set all = plain;
    char_set_remove(a, &plain, 0, 0x1F);
    char_set_remove(a, &plain, '"', '"');
    char_set_remove(a, &plain, '\\', '\\');
    if (plain.n)
        expr_list_add(a, &alts, expr_class(a, plain.p, plain.n));
    for (int32_t i = 0; i < all.n; i++)
        for (int32_t c = all.p[i].lo; c <= MIN(all.p[i].hi, '\\'); c++) {
            const char *is_short = c ? strchr(short_form, c) : NULL;
            char out[8] = {'\\', 'u', '0', '0', (char)('0' + c / 16), "0123456789abcdef"[c % 16]};
            if ((!is_short && c > 0x1F) || (c == 0 && a->avoid[0]))
                continue;
            if (is_short) {
                out[1] = letters[is_short - short_form];
                out[2] = '\0';
            }
            expr_list_add(a, &alts, expr_escape(a, out));
        }
    return expr_alt(a, alts.p, alts.n);
}

static const struct expr *class_of(struct parser *p, struct char_set *s)
{
    return p->flags & REGEX_JSON ? regex_json_class(p->a, s) : expr_class(p->a, s->p, s->n);
}

static const struct expr *one_char(struct parser *p, int32_t c)
{
    struct char_set s = {0};
    char_set_add(p->a, &s, c, c);
    return class_of(p, &s);
}

static const struct expr *any_text(struct parser *p)
{
    struct char_set s = {0};
    char_set_add(p->a, &s, 0, CHAR_MAX_CODE);
    return expr_repeat(p->a, class_of(p, &s), 0, REPEAT_FOREVER);
}

static const struct expr *dot(struct parser *p)
{
    struct char_set s = {0};
    char_set_add(p->a, &s, '\n', '\n');
    if (p->flags & REGEX_SEARCH) { /* ECMAScript's other line ends */
        char_set_add(p->a, &s, '\r', '\r');
        char_set_add(p->a, &s, 0x2028, 0x2029);
    }
    char_set_not(p->a, &s);
    return class_of(p, &s);
}

/* ---- escapes --------------------------------------------------------------------------- */

static int32_t hex(struct parser *p, int min, int max)
{
    int32_t c = 0;
    int n = 0;
    for (; n < max; n++) {
        int d = peek(p, 0);
        int v = d >= '0' && d <= '9' ? d - '0' : (d | 32) >= 'a' && (d | 32) <= 'f' ? (d | 32) - 'W'
                                                                                   : -1;
        if (v < 0)
            break;
        c = c * 16 + v;
        p->at++;
    }
    if (n < min || c > CHAR_MAX_CODE)
        (void)fail(p, E_FORMAT, "a bad hexadecimal number");
    return MIN(c, CHAR_MAX_CODE);
}

static int32_t unicode_escape(struct parser *p)
{
    if (peek(p, 0) == '{') {
        p->at++;
        int32_t c = hex(p, 1, 6);
        if (peek(p, 0) != '}')
            (void)fail(p, E_FORMAT, "\\u{ without its }");
        p->at++;
        return c;
    }
    int32_t c = hex(p, 4, 4);
    if (c >= 0xD800 && c <= 0xDBFF && peek(p, 0) == '\\' && peek(p, 1) == 'u') {
        p->at += 2;
        int32_t low = hex(p, 4, 4);
        if (low >= 0xDC00 && low <= 0xDFFF)
            return 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    }
    if (c >= 0xD800 && c <= 0xDFFF)
        (void)fail(p, E_FORMAT, "half a surrogate pair");
    return c;
}

/* The character of the escape whose letter comes next; not one of the named sets. */
static int32_t escaped(struct parser *p, bool in_class)
{
    static const char from[] = "ntrfv", to[] = "\n\t\r\f\v";
    int c = peek(p, 0);
    if (c < 0)
        return (void)fail(p, E_FORMAT, "a \\ and nothing behind it"), 0;
    const char *known = strchr(from, c);
    if (c >= 0x80)
        return next_char(p);
    if (c && known)
        return p->at++, to[known - from];
    bool digit = peek(p, 1) >= '0' && peek(p, 1) <= '9';
    if (c == '0' && !digit)
        return p->at++, 0;
    if (c == 'b' && in_class)
        return p->at++, '\b';
    if (c == 'x')
        return p->at++, hex(p, 2, 2);
    if (c == 'u')
        return p->at++, unicode_escape(p);
    if (c == 'U')
        return p->at++, hex(p, 8, 8);
    if (c == 'c' && (peek(p, 1) | 32) >= 'a' && (peek(p, 1) | 32) <= 'z')
        return p->at += 2, peek(p, (size_t)-1) & 31;
    bool letter = (c | 32) >= 'a' && (c | 32) <= 'z';
    if (letter || (c >= '0' && c <= '9'))
        return (void)fail(p, E_UNSUPPORTED,
                          c == 'b' || c == 'B'   ? "a word boundary (\\b), which is not supported,"
                          : c == 'p' || c == 'P' ? "a property (\\p), which is not supported,"
                          : letter               ? "an escape that is not supported"
                                                 : "a back reference, which is not supported,"), 0;
    p->at++;
    return c;
}

/* ---- classes --------------------------------------------------------------------------- */

/* One end of a range; a named set is added whole, and -1 returned. */
static int32_t class_atom(struct parser *p, struct char_set *s, bool negated)
{
    if (peek(p, 0) != '\\')
        return next_char(p);
    p->at++;
    if (peek(p, 0) >= 0 && regex_named_set(p->a, peek(p, 0), negated, s))
        return p->at++, -1;
    return escaped(p, true);
}

static const struct expr *char_class(struct parser *p)
{
    struct char_set s = {0};
    bool negated = peek(p, 0) == '^';
    p->at += negated;
    for (bool first = true; !p->a->err.code; first = false) {
        int c = peek(p, 0);
        if (c < 0)
            return fail(p, E_FORMAT, "a [ without its ]");
        if (c == ']' && !first)
            break;
        if (c == ']' && first && !negated && peek(p, 1) < 0)
            return fail(p, E_FORMAT, "an empty class");
        if (c == '[' && peek(p, 1) == ':')
            return fail(p, E_UNSUPPORTED, "a POSIX class, which is not supported,");
        int32_t lo = class_atom(p, &s, negated), hi = lo;
        bool range = peek(p, 0) == '-' && peek(p, 1) >= 0 && peek(p, 1) != ']';
        if (range && lo >= 0) {
            p->at++;
            hi = class_atom(p, &s, negated);
            if (hi < lo)
                return fail(p, E_FORMAT, "a range that ends before it begins");
        }
        if (lo >= 0)
            char_set_add(p->a, &s, lo, hi);
    }
    p->at++;
    char_set_normalize(&s);
    if (negated)
        char_set_not(p->a, &s);
    return class_of(p, &s);
}

/* ---- structure ------------------------------------------------------------------------- */

static const struct expr *alternatives(struct parser *p);

static const struct expr *group(struct parser *p)
{
    if (peek(p, 0) == '?') {
        int c = peek(p, 1), d = peek(p, 2);
        bool named = (c == '<' && d != '=' && d != '!') || (c == 'P' && d == '<');
        if (c == ':') {
            p->at += 2;
        } else if (named) {
            while (peek(p, 0) >= 0 && peek(p, 0) != '>')
                p->at++;
            p->at++;
        } else {
            return fail(p, E_UNSUPPORTED, c == '=' || c == '!' || c == '<'
                                              ? "a look-around, which is not supported,"
                                              : "a (? that is not supported");
        }
    }
    if (++p->depth > LIMIT_REGEX_DEPTH)
        return fail(p, E_RANGE, "too many groups in groups");
    const struct expr *x = alternatives(p);
    p->depth--;
    if (peek(p, 0) != ')')
        return fail(p, E_FORMAT, "a ( without its )");
    p->at++;
    return x;
}

static const struct expr *atom(struct parser *p)
{
    int c = peek(p, 0);
    switch (c) {
    case '(':
        p->at++;
        return group(p);
    case '[':
        p->at++;
        return char_class(p);
    case '.':
        p->at++;
        return dot(p);
    case '*':
    case '+':
    case '?':
        return fail(p, E_FORMAT, "nothing to repeat");
    case '\\':
        p->at++;
        struct char_set s = {0};
        if (peek(p, 0) >= 0 && regex_named_set(p->a, peek(p, 0), false, &s))
            return p->at++, class_of(p, &s);
        return one_char(p, escaped(p, false));
    default:
        return one_char(p, next_char(p));
    }
}

static int64_t number(struct parser *p)
{
    int64_t v = -1;
    for (int c; (c = peek(p, 0)) >= '0' && c <= '9'; p->at++)
        v = MIN(MAX(v, 0) * 10 + (c - '0'), INT32_MAX);
    return v;
}

/* {m} {m,} {m,n}; false and nothing read: the brace is a character. */
static bool braces(struct parser *p, int64_t *min, int64_t *max)
{
    size_t back = p->at;
    p->at++;
    *min = number(p);
    bool comma = peek(p, 0) == ',';
    p->at += comma;
    int64_t end = comma ? number(p) : *min;
    if (*min < 0 || peek(p, 0) != '}') {
        p->at = back;
        return false;
    }
    p->at++;
    *max = end < 0 ? REPEAT_FOREVER : end;
    return true;
}

static const struct expr *quantified(struct parser *p, const struct expr *x)
{
    for (int times = 0; !p->a->err.code; times++) {
        int c = peek(p, 0);
        int64_t min = c == '+', max = c == '?' ? 1 : REPEAT_FOREVER;
        if (c == '{' ? !braces(p, &min, &max) : c != '*' && c != '+' && c != '?')
            return x;
        if (times > 0)
            return fail(p, E_FORMAT, "two quantifiers after each other");
        p->at += c != '{';
        if (max < min || min > LIMIT_GRAMMAR_REPEAT ||
            (max != REPEAT_FOREVER && max > LIMIT_GRAMMAR_REPEAT))
            return fail(p, E_RANGE, "a repetition that is too large, or ends before it begins");
        if (peek(p, 0) == '+')
            return fail(p, E_UNSUPPORTED, "a possessive quantifier, which is not supported,");
        p->at += peek(p, 0) == '?'; /* lazy: the same texts */
        x = expr_repeat(p->a, x, (int32_t)min, (int32_t)max);
    }
    return x;
}

/* ^ $ \A \Z \z: only at the ends of the outermost alternatives. */
static bool anchor(struct parser *p, bool first)
{
    int c = peek(p, 0), d = c == '\\' ? peek(p, 1) : 0;
    bool start = c == '^' || d == 'A', end = c == '$' || d == 'Z' || d == 'z';
    if (!start && !end)
        return false;
    p->at += c == '\\' ? 2 : 1;
    int after = peek(p, 0);
    if (p->depth > 0 || (start && !first) || (end && after >= 0 && after != '|'))
        (void)fail(p, E_UNSUPPORTED, "an anchor in the middle, which is not supported,");
    p->started |= start;
    p->ended |= end;
    return true;
}

static const struct expr *sequence(struct parser *p)
{
    struct expr_list parts = {0};
    bool first = true, search = p->depth == 0 && p->flags & REGEX_SEARCH;
    if (p->depth == 0)
        p->started = p->ended = false;
    for (int c; (c = peek(p, 0)) >= 0 && c != '|' && !p->a->err.code; first = false) {
        if (c == ')' && p->depth > 0)
            break;
        if (c == ')')
            return fail(p, E_FORMAT, "a ) without its (");
        if (!anchor(p, first))
            expr_list_add(p->a, &parts, quantified(p, atom(p)));
    }
    const struct expr *x = expr_seq(p->a, parts.p, parts.n);
    if (search && !p->started)
        x = EXPR_SEQ(p->a, any_text(p), x);
    if (search && !p->ended)
        x = EXPR_SEQ(p->a, x, any_text(p));
    return x;
}

static const struct expr *alternatives(struct parser *p)
{
    struct expr_list alts = {0};
    do {
        p->at += alts.n > 0;
        expr_list_add(p->a, &alts, sequence(p));
    } while (peek(p, 0) == '|' && !p->a->err.code);
    return expr_alt(p->a, alts.p, alts.n);
}

const struct expr *regex_parse(struct automaton *a, const char *text, size_t n, int flags)
{
    struct parser p = {.a = a, .text = text, .n = n, .flags = flags};
    const struct expr *x = alternatives(&p);
    return a->err.code ? NULL : x;
}
