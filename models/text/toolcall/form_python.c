/* Bodies of calls as a Python list: [name(key="value", other=[1, None]), …]. Literals become
 * JSON; anything else, positional arguments too, is no call. */
#include <string.h>

#include "base/limits.h"
#include "models/text/toolcall/toolcall_int.h"

/* A place in the body; more: it ended within a string. */
struct cursor {
    const char *p;
    size_t n, i;
    bool more;
};

static void skip(struct cursor *c) { c->i = form_space(c->p, c->n, c->i); }

static bool take(struct cursor *c, char want)
{
    skip(c);
    if (c->i >= c->n || c->p[c->i] != want)
        return false;
    c->i++;
    return true;
}

size_t form_word(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && (strchr("_.-", p[i]) || (p[i] >= '0' && p[i] <= '9') ||
                     ((p[i] | 32) >= 'a' && (p[i] | 32) <= 'z')) && p[i])
        i++;
    return i;
}

/* A name, with dots; its length. */
static size_t word(struct cursor *c)
{
    size_t n = form_word(c->p + c->i, c->n - c->i);
    c->i += n;
    return n;
}

/* Escapes that JSON lacks stand for themselves, as in Python. */
size_t form_python_char(const char *p, size_t n, struct buf *out)
{
    char b = p[0];
    if (b == '\\' && n < 2)
        return 0;
    if (b == '\\') {
        b = p[1];
        if (strchr("\"\\nrtbfu", b) && b)
            buf_fmt(out, "\\%c", b);
        else if (b == '\'')
            buf_ch(out, b);
        else
            buf_fmt(out, (unsigned char)b < 0x20 ? "\\\\\\u%04x" : "\\\\%c", b);
        return 2;
    }
    if (b == '"')
        buf_str(out, "\\\"");
    else if ((unsigned char)b < 0x20)
        buf_fmt(out, "\\u%04x", b);
    else
        buf_ch(out, b);
    return 1;
}

/* 'text' or "text" as JSON. */
static bool string(struct cursor *c, struct buf *out)
{
    char quote = c->p[c->i++];
    buf_ch(out, '"');
    while (c->i < c->n && c->p[c->i] != quote) {
        size_t n = form_python_char(c->p + c->i, c->n - c->i, out);
        c->i = n ? c->i + n : c->n;
    }
    buf_ch(out, '"');
    if (c->i >= c->n)
        c->more = true;
    return c->i++ < c->n;
}

static bool atom(struct cursor *c, struct buf *out)
{
    static const char *const words[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"},
                                           {"true", "true"}, {"false", "false"}, {"null", "null"}};
    size_t from = c->i;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (form_at(c->p, c->n, c->i, words[i][0])) {
            c->i += strlen(words[i][0]);
            return buf_str(out, words[i][1]) == 0;
        }
    while (c->i < c->n && c->p[c->i] && strchr("+-.0123456789eE", c->p[c->i]))
        c->i++;
    return form_is_json(c->p + from, c->i - from, false) &&
           buf_add(out, c->p + from, c->i - from) == 0;
}

static bool value(struct cursor *c, struct buf *out, int depth);

/* The elements of a list, tuple or dictionary behind its bracket. */
static bool elements(struct cursor *c, struct buf *out, char close, bool pairs, int depth)
{
    for (bool first = true; !take(c, close); first = false) {
        if (!first && (!take(c, ',') || buf_ch(out, ',')))
            return false;
        if (!first && take(c, close)) { /* a comma at the end */
            out->p[--out->len] = '\0';
            return true;
        }
        skip(c);
        if (pairs && (c->i >= c->n || !strchr("'\"", c->p[c->i])))
            return false;
        if (!value(c, out, depth) || (pairs && (!take(c, ':') || buf_ch(out, ':') ||
                                                !value(c, out, depth))))
            return false;
    }
    return true;
}

static bool value(struct cursor *c, struct buf *out, int depth)
{
    skip(c);
    if (c->i >= c->n || depth >= LIMIT_JSON_DEPTH / 2)
        return false;
    char b = c->p[c->i];
    if (b == '"' || b == '\'')
        return string(c, out);
    if (b != '[' && b != '{' && b != '(')
        return atom(c, out);
    c->i++;
    buf_ch(out, b == '{' ? '{' : '[');
    if (!elements(c, out, b == '{' ? '}' : b == '[' ? ']' : ')', b == '{', depth + 1))
        return false;
    return buf_ch(out, b == '{' ? '}' : ']') == 0;
}

bool form_python_value(const char *p, size_t n, struct buf *out)
{
    struct cursor c = {.p = p, .n = n};
    return value(&c, out, 0) && form_space(p, n, c.i) == n && !out->failed;
}

/* name(key=value, …) */
static bool call(struct cursor *c, const struct toolset *s, json_t *out, struct buf *args)
{
    skip(c);
    const char *name = c->p + c->i;
    size_t n_name = word(c);
    buf_clear(args);
    if (!n_name || !take(c, '(') || buf_ch(args, '{'))
        return false;
    for (bool first = true; !take(c, ')'); first = false) {
        if (!first && !take(c, ','))
            return false;
        skip(c);
        size_t from = c->i, n = word(c);
        if (!n || !take(c, '='))
            return false;
        buf_fmt(args, "%s\"%.*s\":", first ? "" : ",", (int)n, c->p + from);
        if (!value(c, args, 0))
            return false;
    }
    return buf_ch(args, '}') == 0 && !args->failed &&
           form_add(out, s, name, n_name, args->p, args->len, NULL, 0);
}

enum form_result form_python(const char *p, size_t n, const struct form_tags *tags,
                             const struct toolset *s, json_t *out)
{
    struct cursor c = {.p = p, .n = n};
    struct buf args;
    (void)tags;
    buf_init(&args, 8 * (size_t)LIMIT_CALL_BYTES); /* \u0001 for one byte */
    bool ok = take(&c, '[');
    do
        ok = ok && call(&c, s, out, &args);
    while (ok && take(&c, ','));
    ok = ok && take(&c, ']');
    buf_free(&args);
    return ok && form_space(p, n, c.i) == n ? FORM_CALLS : c.more ? FORM_MORE : FORM_BAD;
}
