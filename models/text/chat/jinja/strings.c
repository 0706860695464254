/* Operations on strings that methods and filters share. Each keeps the origin of every byte. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "models/text/chat/jinja/builtins.h"

const struct text *text_case(struct run *r, const struct text *t, enum letter_case to)
{
    struct builder b;
    bool inside = false;
    text_build(&b, r);
    for (size_t at = 0; at < t->n && run_spend(r, 1);) {
        size_t from = at;
        uint32_t c = next_char(t->p, t->n, &at);
        bool letter = char_class(c) & (CHAR_UPPER | CHAR_LOWER | CHAR_TITLE);
        /* str.title: the first letter of each run of letters, the others small */
        put_case(&b, c, to == TO_TITLE && inside ? TO_LOWER : to, text_origin(t, from));
        inside = letter;
    }
    b.safe = t->safe;
    return text_built(&b);
}

const struct text *text_capital(struct run *r, const struct text *t)
{
    struct builder b;
    text_build(&b, r);
    for (size_t at = 0; at < t->n && run_spend(r, 1);) {
        size_t from = at;
        uint32_t c = next_char(t->p, t->n, &at);
        put_case(&b, c, from ? TO_LOWER : TO_TITLE, text_origin(t, from));
    }
    b.safe = t->safe;
    return text_built(&b);
}

static bool in_set(uint32_t c, const struct text *set)
{
    if (!set)
        return is_blank(c);
    for (size_t at = 0; at < set->n;)
        if (next_char(set->p, set->n, &at) == c)
            return true;
    return false;
}

const struct text *text_strip(struct run *r, const struct text *t, const struct text *set,
                              bool left, bool right)
{
    size_t from = 0, to = t->n, at;
    while (left && from < to && run_spend(r, 1)) {
        at = from;
        if (!in_set(next_char(t->p, t->n, &at), set))
            break;
        from = at;
    }
    while (right && to > from && run_spend(r, 1)) {
        size_t last = at = prev_char(t->p, to);
        if (!in_set(next_char(t->p, t->n, &at), set))
            break;
        to = last;
    }
    return text_part(r, t, from, to);
}

const struct text *text_replace(struct run *r, const struct text *t, const struct text *old,
                                const struct text *with, int64_t count)
{
    struct builder b;
    size_t at = 0;
    text_build(&b, r);
    b.safe = t->safe;
    if (old->n == 0) { /* between all characters, and around them */
        while (count != 0 && run_spend(r, 1)) {
            size_t from = at;
            put_text(&b, with);
            count--;
            if (at >= t->n)
                break;
            next_char(t->p, t->n, &at);
            put_part(&b, t, from, at);
        }
        put_part(&b, t, at, t->n);
        return text_built(&b);
    }
    for (; count != 0 && run_spend(r, 1 + (t->n - at) / 4096); count--) {
        size_t hit = text_find(t, old, at);
        if (hit == SIZE_MAX)
            break;
        put_part(&b, t, at, hit);
        put_text(&b, with);
        at = hit + old->n;
    }
    if (at == 0)
        return r->failed ? NULL : t;
    put_part(&b, t, at, t->n);
    return text_built(&b);
}

const struct text *text_escape(struct run *r, const struct text *t)
{
    static const struct { char c; const char *with; } rows[] = {
        {'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'\'', "&#39;"}, {'"', "&#34;"}};
    struct builder b;
    if (!t || t->safe)
        return t;
    text_build(&b, r);
    for (size_t i = 0; i < t->n && !r->failed; i++) {
        const char *with = NULL;
        for (size_t k = 0; k < ARRAY_LEN(rows); k++)
            with = t->p[i] == rows[k].c ? rows[k].with : with;
        if (with)
            put_bytes(&b, with, strlen(with), text_origin(t, i));
        else
            put_part(&b, t, i, i + 1);
        if (i % 16 == 0)
            run_spend(r, 1);
    }
    b.safe = true;
    return text_built(&b);
}

struct seq *text_lines(struct run *r, const struct text *t, bool keep_ends)
{
    struct seq *l = list_new(r, SEQ_LIST, 0);
    size_t cap = 0, from = 0, at = 0;
    while (at < t->n && !r->failed) {
        size_t end = at;
        uint32_t c = next_char(t->p, t->n, &at);
        if (!is_line_end(c) && at < t->n)
            continue;
        if (!is_line_end(c))
            end = at;
        else if (c == '\r' && at < t->n && t->p[at] == '\n')
            at++;
        if (!run_spend(r, 1 + (at - from) / 32))
            break;
        list_push(r, l, &cap, v_text(text_part(r, t, from, keep_ends ? at : end)));
        from = at;
    }
    return l;
}

const struct text *text_pad(struct run *r, const struct text *t, int64_t width, char fill,
                            bool left, bool right)
{
    struct builder b;
    int64_t gap = width - (int64_t)t->chars;
    if (gap <= 0)
        return t;
    /* Python's center puts the odd one to the left when both gap and width are odd. */
    int64_t before = left && right ? gap / 2 + (gap & width & 1) : left ? gap : 0;
    text_build(&b, r);
    put_fill(&b, fill, (size_t)before);
    put_text(&b, t);
    put_fill(&b, fill, (size_t)(gap - before));
    b.safe = t->safe;
    return text_built(&b);
}

bool text_all(const struct text *t, unsigned classes)
{
    for (size_t at = 0; at < t->n;)
        if (!(char_class(next_char(t->p, t->n, &at)) & classes))
            return false;
    return t->n > 0;
}

/* ---- numbers in strings ----------------------------------------------------------------- */

/* The text without white space around and underscores within, in buf; 0 = not a number. */
static size_t number_text(const struct text *t, char *buf, size_t size)
{
    size_t from = 0, to = t->n, n = 0;
    while (from < to && is_blank((unsigned char)t->p[from]))
        from++;
    while (to > from && is_blank((unsigned char)t->p[to - 1]))
        to--;
    if (to - from >= size)
        return 0;
    for (size_t i = from; i < to; i++) {
        bool between = t->p[i] == '_' && i > from && i + 1 < to && t->p[i - 1] != '_' &&
                       t->p[i + 1] != '_';
        if (t->p[i] == '_' && !between)
            return 0;
        if (t->p[i] != '_')
            buf[n++] = t->p[i];
    }
    buf[n] = 0;
    return n;
}

bool parse_int(const struct text *t, int base, int64_t *out)
{
    char s[80], *end;
    size_t n = number_text(t, s, sizeof s), sign = n && (s[0] == '-' || s[0] == '+');
    if (n == sign || base == 1 || base < 0 || base > 36)
        return false;
    char *d = s + sign;
    bool prefix = d[0] == '0' && d[1] && strchr("xXoObB", d[1]);
    int of = !prefix ? 0 : (d[1] | 32) == 'x' ? 16 : (d[1] | 32) == 'o' ? 8 : 2;
    if (prefix && (base == 0 || base == of)) {
        base = of;
        d += 2;
    }
    base = base ? base : 10;
    if (!((*d >= '0' && *d <= '9') || (*d | 32) >= 'a'))
        return false;
    errno = 0;
    long long v = strtoll(d, &end, base);
    *out = s[0] == '-' ? -v : v;
    return *end == 0 && end > d && !errno;
}

bool parse_float(const struct text *t, double *out)
{
    char s[400], *end;
    size_t n = number_text(t, s, sizeof s);
    /* strtod also takes hexadecimal and nan(…), which Python does not. */
    if (n == 0 || strpbrk(s, "xX(pP"))
        return false;
    *out = strtod(s, &end);
    return *end == 0;
}
