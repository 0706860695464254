/* Formatting: "…" % values, "…{}".format(…), strftime. The directives that make sense for text;
 * another one is an error that names it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "models/text/chat/jinja/builtins.h"

#define WIDTH_MAX 1000 /* of a field: nobody pads further */

struct spec {
    char fill, align, sign, type; /* 0 = not given */
    bool alternate, zero, comma;
    int width, precision;         /* -1 = not given */
};

static int read_number(const char *p, size_t n, size_t *at)
{
    int x = 0;
    while (*at < n && p[*at] >= '0' && p[*at] <= '9' && x < 10000)
        x = x * 10 + p[(*at)++] - '0';
    return x;
}

static const struct text *padded(struct run *r, const struct text *t, const struct spec *s,
                                 char otherwise)
{
    char align = s->align ? s->align : otherwise, fill = s->fill ? s->fill : ' ';
    if (s->width > WIDTH_MAX) {
        run_fail(r, E_RANGE, "a field of %d characters, at most %d are allowed", s->width,
                 WIDTH_MAX);
        return NULL;
    }
    if (!t || (int64_t)t->chars >= s->width)
        return t;
    if (s->zero && !s->align && t->n && (t->p[0] == '-' || t->p[0] == '+')) {
        const struct text *rest = text_pad(r, text_part(r, t, 1, t->n), s->width - 1, '0', true,
                                           false);
        return rest ? text_join(r, text_part(r, t, 0, 1), rest) : NULL;
    }
    return text_pad(r, t, s->width, s->zero && !s->align ? '0' : fill, align != '<', align != '>');
}

/* 1234567 -> 1,234,567; the sign and what follows the whole part stay. */
static void group(const char *s, char *out, size_t size)
{
    size_t k = 0, digits = strspn(s + (*s == '-'), "0123456789");
    if (*s == '-')
        out[k++] = *s++;
    for (size_t i = 0; s[i] && k + 2 < size; i++) {
        if (i && i < digits && (digits - i) % 3 == 0)
            out[k++] = ',';
        out[k++] = s[i];
    }
    out[k] = 0;
}

static const struct text *number_text(struct run *r, const struct value *v, const struct spec *s)
{
    char buf[400], grouped[500], fmt[8];
    char type = s->type ? s->type : v->kind == V_FLOAT ? 'g' : 'd';
    int precision = s->precision < 0 ? 6 : MIN(s->precision, 50);
    if (strchr("dioxXc", type)) {
        int64_t i = v->kind == V_FLOAT ? (int64_t)v->f : int_of(v);
        uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
        const char *prefix = !s->alternate ? "" : type == 'o' ? "0o" : type == 'x' ? "0x"
                             : type == 'X' ? "0X" : "";
        snprintf(fmt, sizeof fmt, "%%s%%s%%l%c", type == 'i' || type == 'd' ? 'u' : type);
        snprintf(buf, sizeof buf, fmt, i < 0 ? "-" : "", prefix, (unsigned long)u);
    } else {
        double d = float_of(v);
        bool percent = type == '%';
        if (fabs(d) > 1e200) {
            run_fail(r, E_RANGE, "the number %g is too large for a field", d);
            return NULL;
        }
        snprintf(fmt, sizeof fmt, "%%.*%c%s", percent ? 'f' : type, percent ? "%%" : "");
        snprintf(buf, sizeof buf, fmt, precision, percent ? d * 100 : d);
    }
    if (s->comma)
        group(buf, grouped, sizeof grouped);
    const char *out = s->comma ? grouped : buf;
    bool plus = out[0] != '-' && (s->sign == '+' || s->sign == ' ');
    const struct text *t = text_copy(r, out, strlen(out), 0);
    return plus && t ? text_join(r, text_str(r, s->sign == '+' ? "+" : " "), t) : t;
}

/* ---- % ---------------------------------------------------------------------------------- */

struct percent {
    const struct value *args;
    size_t next;
};

static const struct value *next_arg(struct run *r, struct percent *p)
{
    bool tuple = p->args->kind == V_SEQ && p->args->l->kind == SEQ_TUPLE;
    size_t n = tuple ? p->args->l->n : 1;
    if (p->next >= n) {
        run_fail(r, E_FORMAT, "not enough arguments for format string");
        return NULL;
    }
    p->next++;
    return tuple ? &p->args->l->v[p->next - 1] : p->args;
}

static const struct value *named_arg(struct run *r, const struct percent *p, const struct text *f,
                                     size_t *at)
{
    size_t from = *at;
    while (*at < f->n && f->p[*at] != ')')
        ++*at;
    const struct text *name = text_part(r, f, from, *at);
    ++*at;
    struct value key = v_text(name);
    const struct value *v = p->args->kind == V_DICT && name ? dict_find(p->args->d, &key) : NULL;
    if (!v)
        run_fail(r, E_FORMAT, "the format names an argument that is not there");
    return v;
}

static void put_directive(struct run *r, struct builder *b, const struct value *v,
                          const struct spec *s)
{
    const struct text *t = NULL;
    if (s->type == 's' || s->type == 'r') {
        struct builder one;
        text_build(&one, r);
        if (s->type == 's')
            put_str(&one, v);
        else
            put_repr(&one, v);
        t = text_built(&one);
        if (t && s->precision >= 0)
            t = text_part(r, t, 0, text_byte(t, (size_t)s->precision));
    } else if (strchr("dixXofFeEgG", s->type) && is_number(v)) {
        t = number_text(r, v, s);
    } else {
        run_fail(r, E_FORMAT, "the directive %%%c for a %s", s->type, kind_name(v));
    }
    put_text(b, padded(r, t, s, '>'));
}

static void percent_one(struct run *r, struct builder *b, const struct text *f, size_t *at,
                        struct percent *p)
{
    struct spec s = {.width = 0, .precision = -1};
    const struct value *v = NULL;
    if (*at < f->n && f->p[*at] == '(') {
        ++*at;
        v = named_arg(r, p, f, at);
    }
    for (; *at < f->n && strchr("-+ 0#", f->p[*at]) && f->p[*at]; ++*at) {
        char c = f->p[*at];
        s.align = c == '-' ? '<' : s.align;
        s.sign = c == '+' || c == ' ' ? c : s.sign;
        s.zero |= c == '0';
        s.alternate |= c == '#';
    }
    s.width = read_number(f->p, f->n, at);
    if (*at < f->n && f->p[*at] == '.') {
        ++*at;
        s.precision = read_number(f->p, f->n, at);
    }
    s.type = *at < f->n ? f->p[(*at)++] : 0;
    if (s.type == '%') {
        put_cstr(b, "%");
        return;
    }
    v = v || r->failed ? v : next_arg(r, p);
    if (v)
        put_directive(r, b, v, &s);
}

struct value format_percent(struct run *r, const struct text *f, const struct value *args)
{
    struct percent p = {.args = args};
    struct builder b;
    text_build(&b, r);
    for (size_t at = 0; at < f->n && run_spend(r, 1);) {
        size_t from = at;
        while (at < f->n && f->p[at] != '%')
            at++;
        put_part(&b, f, from, at);
        if (at++ < f->n)
            percent_one(r, &b, f, &at, &p);
    }
    bool tuple = args->kind == V_SEQ && args->l->kind == SEQ_TUPLE;
    if (tuple ? p.next < args->l->n : p.next == 0 && args->kind != V_DICT)
        run_fail(r, E_FORMAT, "not all arguments converted during string formatting");
    b.safe = f->safe;
    return v_text(text_built(&b));
}

/* ---- {} --------------------------------------------------------------------------------- */

static bool is_align(char c) { return c == '<' || c == '>' || c == '^'; }

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static struct spec parse_spec(struct run *r, const char *p, size_t n)
{
    struct spec s = {.precision = -1};
    size_t at = 0;
    if (n > 1 && is_align(p[1])) {
        s.fill = p[0];
        s.align = p[1];
        at = 2;
    } else if (n && is_align(p[0])) {
        s.align = p[at++];
    }
    if (at < n && strchr("+- ", p[at]))
        s.sign = p[at++];
    if (at < n && p[at] == '#')
        s.alternate = at++ < n;
    if (at < n && p[at] == '0')
        s.zero = at++ < n;
    s.width = read_number(p, n, &at);
    if (at < n && p[at] == ',')
        s.comma = at++ < n;
    if (at < n && p[at] == '.') {
        at++;
        s.precision = read_number(p, n, &at);
    }
    if (at < n)
        s.type = p[at++];
    if (at < n || (s.type && !strchr("sdxXofFeEgG%", s.type)))
        run_fail(r, E_FORMAT, "the format \"%.*s\"", (int)MIN(n, (size_t)40), p);
    return s;
}

/* name, 0, name.attribute, name[key] */
static struct value field_value(struct run *r, const struct text *name, const struct args *a,
                                size_t *next)
{
    size_t end = 0;
    int64_t i = -1;
    while (end < name->n && name->p[end] != '.' && name->p[end] != '[')
        end++;
    const struct text *head = text_part(r, name, 0, end);
    if (!head)
        return v_none();
    if (head->n == 0)
        i = (int64_t)(*next)++;
    else if (!parse_int(head, 10, &i))
        i = -1;
    struct value v = v_none();
    bool found = i >= 0 && (size_t)i < a->n;
    if (found)
        v = a->v[i];
    for (size_t k = 0; k < a->n_named && !found; k++)
        if (text_same(a->names[k], head)) {
            v = a->v[a->n + k];
            found = true;
        }
    if (!found)
        return run_fail(r, E_FORMAT, "the format names an argument that is not there");
    while (end < name->n && !r->failed) {
        char close = name->p[end] == '[' ? ']' : 0;
        size_t from = ++end;
        while (end < name->n && (close ? name->p[end] != close
                                       : name->p[end] != '.' && name->p[end] != '['))
            end++;
        const struct text *part = text_part(r, name, from, end);
        struct value key = part && close && parse_int(part, 10, &i) ? v_int(i) : v_text(part);
        v = r->failed ? v : close ? get_item(r, &v, &key) : get_attr(r, &v, part);
        end += close != 0;
    }
    return v;
}

static void put_field(struct run *r, struct builder *b, const struct text *f, size_t from,
                      size_t to, const struct args *a, size_t *next)
{
    size_t name = from, spec = to;
    while (name < to && f->p[name] != '!' && f->p[name] != ':')
        name++;
    bool repr = name + 1 < to && f->p[name] == '!' && f->p[name + 1] == 'r';
    spec = name < to && f->p[name] == '!' ? name + 2 : name;
    struct value v = field_value(r, text_part(r, f, from, name), a, next);
    if (spec < to && f->p[spec] == ':')
        spec++;
    struct spec s = parse_spec(r, f->p + spec, spec < to ? to - spec : 0);
    if (r->failed)
        return;
    bool number = is_number(&v) && !repr && (s.type || s.comma || s.precision >= 0 || s.sign);
    bool right = is_number(&v) && v.kind != V_BOOL && !repr;
    if (number) {
        put_text(b, padded(r, number_text(r, &v, &s), &s, '>'));
        return;
    }
    if (s.type && s.type != 's')
        run_fail(r, E_FORMAT, "the format '%c' for a %s", s.type, kind_name(&v));
    struct builder one;
    text_build(&one, r);
    if (repr)
        put_repr(&one, &v);
    else
        put_str(&one, &v);
    const struct text *t = text_built(&one);
    if (t && s.precision >= 0)
        t = text_part(r, t, 0, text_byte(t, (size_t)s.precision));
    put_text(b, padded(r, t, &s, right ? '>' : '<'));
}

struct value format_braces(struct run *r, const struct text *f, const struct args *a)
{
    struct builder b;
    size_t next = 0;
    text_build(&b, r);
    for (size_t at = 0; at < f->n && run_spend(r, 1);) {
        size_t from = at;
        while (at < f->n && f->p[at] != '{' && f->p[at] != '}')
            at++;
        put_part(&b, f, from, at);
        if (at >= f->n)
            break;
        if (at + 1 < f->n && f->p[at + 1] == f->p[at]) {
            put_part(&b, f, at, at + 1);
            at += 2;
            continue;
        }
        size_t end = ++at;
        while (end < f->n && f->p[end] != '}' && f->p[end] != '{')
            end++;
        if (f->p[at - 1] == '}' || end >= f->n || f->p[end] == '{')
            run_fail(r, E_FORMAT, "a brace of a format stands alone");
        else
            put_field(r, &b, f, at, end, a, &next);
        at = end + 1;
    }
    b.safe = f->safe;
    return v_text(text_built(&b));
}

/* ---- time ------------------------------------------------------------------------------- */

const struct text *format_time(struct run *r, const struct text *f)
{
    char format[256], out[512];
    struct tm tm;
    time_t now = (time_t)r->now;
    if (!f || f->n >= sizeof format || memchr(f->p, 0, f->n) || !localtime_r(&now, &tm)) {
        run_fail(r, E_RANGE, "strftime_now: a format of at most %zu bytes is expected",
             sizeof format - 1);
        return NULL;
    }
    memcpy(format, f->p, f->n);
    format[f->n] = 0;
    size_t n = strftime(out, sizeof out, format, &tm); /* 0: empty, or longer than out */
    return text_copy(r, out, n, 0);
}
