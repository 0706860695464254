/* Filters that make text. */
#include <math.h>
#include <string.h>

#include "models/text/chat/jinja/builtins.h"

#define FILTER(name) \
    static struct value name(struct run *r, const struct value *self, const struct args *a)
#define BIND(spec) \
    const struct value *arg[PARAMETERS_MAX]; \
    if (!bind_args(r, a, spec, arg)) \
        return v_none()

/* str(self), as most text filters begin. */
static const struct text *soft(struct run *r, const struct value *self)
{
    return to_text(r, self);
}

static struct value cased(struct run *r, const struct value *self, const struct args *a,
                          enum letter_case to)
{
    const struct text *t = bind_args(r, a, "", NULL) ? soft(r, self) : NULL;
    return t ? v_text(text_case(r, t, to)) : v_none();
}
FILTER(do_upper) { return cased(r, self, a, TO_UPPER); }
FILTER(do_lower) { return cased(r, self, a, TO_LOWER); }

FILTER(do_capitalize)
{
    const struct text *t = bind_args(r, a, "", NULL) ? soft(r, self) : NULL;
    return t ? v_text(text_capital(r, t)) : v_none();
}

/* Words begin behind white space, hyphens and opening brackets. */
FILTER(do_title)
{
    const struct text *t = bind_args(r, a, "", NULL) ? soft(r, self) : NULL;
    struct builder b;
    bool begins = true;
    text_build(&b, r);
    for (size_t at = 0; t && at < t->n && run_spend(r, 1);) {
        size_t from = at;
        uint32_t c = next_char(t->p, t->n, &at);
        bool gap = is_blank(c) || (c < 0x80 && strchr("-({[<", (int)c) && c);
        put_case(&b, c, begins && !gap ? TO_UPPER : TO_LOWER, text_origin(t, from));
        begins = gap;
    }
    return v_text(text_built(&b));
}

FILTER(do_trim)
{
    BIND("chars");
    bool set = arg[0] && arg[0]->kind != V_NONE;
    const struct text *t = soft(r, self), *chars = set ? want_text(r, arg[0], "") : NULL;
    return r->failed ? v_none() : v_text(text_strip(r, t, chars, true, true));
}

FILTER(do_string)
{
    BIND("");
    (void)arg;
    return v_text(soft(r, self));
}

static struct value marked(struct run *r, const struct text *t, bool safe)
{
    struct text *copy = t ? run_take(r, sizeof *copy) : NULL;
    if (copy) {
        *copy = *t;
        copy->safe = safe;
    }
    return v_text(copy);
}
FILTER(do_safe)
{
    BIND("");
    (void)arg;
    return marked(r, soft(r, self), true);
}
FILTER(do_escape)
{
    BIND("");
    (void)arg;
    const struct text *t = soft(r, self);
    return t ? v_text(text_escape(r, t)) : v_none();
}
FILTER(do_forceescape)
{
    BIND("");
    (void)arg;
    struct value v = marked(r, soft(r, self), false);
    return r->failed ? v : v_text(text_escape(r, v.s));
}

FILTER(do_replace)
{
    BIND("!old !new count");
    bool all = !arg[2] || arg[2]->kind == V_NONE;
    const struct text *t = soft(r, self), *old = soft(r, arg[0]), *with = soft(r, arg[1]);
    int64_t count = all ? -1 : want_int(r, arg[2], -1);
    return r->failed ? v_none() : v_text(text_replace(r, t, old, with, count));
}

FILTER(do_join)
{
    BIND("d attribute");
    struct builder b;
    const struct text *d = arg[0] ? soft(r, arg[0]) : text_str(r, "");
    const struct seq *l = value_iterate(r, self);
    text_build(&b, r);
    for (size_t i = 0; l && i < l->n && run_spend(r, 1); i++) {
        struct value v = arg[1] ? get_path(r, l->v[i], arg[1]) : l->v[i];
        if (i)
            put_text(&b, d);
        put_str(&b, &v);
    }
    return v_text(text_built(&b));
}

FILTER(do_indent)
{
    BIND("width first blank");
    bool first = want_bool(arg[1], false), blank = want_bool(arg[2], false);
    struct builder by, b;
    text_build(&by, r);
    if (arg[0] && arg[0]->kind == V_STRING)
        put_text(&by, arg[0]->s);
    else
        put_fill(&by, ' ', (size_t)MAX(want_int(r, arg[0], 4), 0));
    const struct text *t = want_text(r, self, ""), *gap = text_built(&by);
    const struct text *whole = t && gap ? text_join(r, t, text_str(r, "\n")) : NULL;
    const struct seq *l = whole ? text_lines(r, whole, false) : NULL;
    text_build(&b, r);
    for (size_t i = 0; l && i < l->n && run_spend(r, 1); i++) {
        if (i)
            put_cstr(&b, "\n");
        if (i ? blank || l->v[i].s->n : first)
            put_text(&b, gap);
        put_text(&b, l->v[i].s);
    }
    b.safe = t && t->safe;
    return v_text(text_built(&b));
}

FILTER(do_center)
{
    BIND("width");
    const struct text *t = soft(r, self);
    int64_t width = want_int(r, arg[0], 80);
    return r->failed ? v_none() : v_text(text_pad(r, t, width, ' ', true, true));
}

FILTER(do_truncate)
{
    BIND("length killwords end leeway");
    const struct text *t = want_text(r, self, ""), *end = want_text(r, arg[2], "...");
    int64_t n = want_int(r, arg[0], 255), leeway = want_int(r, arg[3], 5);
    if (r->failed)
        return v_none();
    if (n < (int64_t)end->chars || leeway < 0)
        return run_fail(r, E_RANGE, "truncate: a length of %lld and a leeway of %lld", (long long)n,
                    (long long)leeway);
    if (t->chars <= n + leeway)
        return *self;
    size_t cut = text_byte(t, (size_t)n - end->chars), space = cut;
    while (space > 0 && t->p[space - 1] != ' ')
        space--;
    bool word = !want_bool(arg[1], false) && space > 0;
    return v_text(text_join(r, text_part(r, t, 0, word ? space - 1 : cut), end));
}

FILTER(do_format)
{
    const struct text *t = soft(r, self);
    if (!t || (a->n && a->n_named))
        return run_fail(r, E_FORMAT, "format: arguments by place or by name, not both");
    if (a->n_named) {
        struct dict *d = dict_new(r, a->n_named);
        for (size_t i = 0; i < a->n_named; i++)
            dict_put(r, d, v_text(a->names[i]), a->v[i]);
        struct value v = v_dict(d);
        return r->failed ? v : format_percent(r, t, &v);
    }
    struct seq *l = list_new(r, SEQ_TUPLE, a->n);
    if (l && a->n)
        memcpy(l->v, a->v, a->n * sizeof *l->v);
    struct value v = v_seq(l);
    return r->failed ? v : format_percent(r, t, &v);
}

FILTER(do_tojson)
{
    BIND("ensure_ascii indent separators sort_keys");
    struct json_style s = {.indent = -1, .ascii = want_bool(arg[0], false),
                           .sorted = want_bool(arg[3], false)};
    struct builder b;
    if (arg[1] && arg[1]->kind == V_STRING) {
        s.indent = 0;
        s.indent_text = arg[1]->s;
    } else if (arg[1] && arg[1]->kind != V_NONE) {
        s.indent = MAX(want_int(r, arg[1], -1), 0);
    }
    if (arg[2] && arg[2]->kind != V_NONE) {
        const struct seq *l = value_iterate(r, arg[2]);
        if (l && l->n != 2)
            run_fail(r, E_FORMAT, "tojson: %zu separators, two are expected", l->n);
        s.item = l && !r->failed ? want_text(r, &l->v[0], "") : NULL;
        s.key = l && !r->failed ? want_text(r, &l->v[1], "") : NULL;
    }
    if (s.indent > 64)
        run_fail(r, E_RANGE, "tojson: an indent of %lld, at most 64 is allowed",
                 (long long)s.indent);
    text_build(&b, r);
    if (!r->failed)
        put_json(&b, self, &s, 0);
    return v_text(text_built(&b));
}

FILTER(do_urlencode)
{
    BIND("");
    (void)arg;
    const struct text *t = soft(r, self);
    struct builder b;
    text_build(&b, r);
    for (size_t i = 0; t && i < t->n && run_spend(r, 1); i++) {
        unsigned char c = (unsigned char)t->p[i];
        static const char digits[] = "0123456789ABCDEF";
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c && strchr("_.-~/", c));
        char hex[3] = {'%', digits[c >> 4], digits[c & 15]};
        if (plain)
            put_part(&b, t, i, i + 1);
        else
            put_bytes(&b, hex, 3, text_origin(t, i));
    }
    return v_text(text_built(&b));
}

FILTER(do_wordcount)
{
    BIND("");
    (void)arg;
    const struct text *t = soft(r, self);
    int64_t n = 0;
    bool inside = false;
    for (size_t at = 0; t && at < t->n && run_spend(r, 1);) {
        uint32_t c = next_char(t->p, t->n, &at);
        bool word = c == '_' || (char_class(c) & (CHAR_ALPHA | CHAR_NUMERIC));
        n += word && !inside;
        inside = word;
    }
    return v_int(n);
}

/* Markup without its tags, white space folded. */
FILTER(do_striptags)
{
    BIND("");
    (void)arg;
    const struct text *t = soft(r, self);
    struct builder b;
    bool gap = false;
    text_build(&b, r);
    for (size_t at = 0; t && at < t->n && run_spend(r, 1);) {
        size_t from = at, end = at;
        uint32_t c = next_char(t->p, t->n, &at);
        while (c == '<' && end < t->n && t->p[end] != '>')
            end++;
        if (c == '<' && end < t->n) {
            at = end + 1;
        } else if (is_blank(c)) {
            gap = true;
        } else {
            if (gap && b.n)
                put_cstr(&b, " ");
            gap = false;
            put_part(&b, t, from, at);
        }
    }
    return v_text(text_built(&b));
}

const struct function jinja_text_filters[] = {
    {"upper", do_upper}, {"lower", do_lower}, {"capitalize", do_capitalize}, {"title", do_title},
    {"trim", do_trim}, {"string", do_string}, {"safe", do_safe}, {"e", do_escape},
    {"escape", do_escape}, {"forceescape", do_forceescape}, {"replace", do_replace},
    {"join", do_join}, {"indent", do_indent}, {"center", do_center}, {"truncate", do_truncate},
    {"format", do_format}, {"tojson", do_tojson}, {"urlencode", do_urlencode},
    {"wordcount", do_wordcount}, {"striptags", do_striptags}, {NULL, NULL}};
