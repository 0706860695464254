/* Values as text: Python's str() and repr(), and json.dumps. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "models/text/chat/jinja/value.h"

/* The shortest digits that read back as f, in Python's layout. */
void put_float(struct builder *b, double f)
{
    char s[40], digits[24];
    if (isnan(f) || isinf(f)) {
        put_cstr(b, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    int n = 1;
    for (; n < 17; n++) {
        snprintf(s, sizeof s, "%.*e", n - 1, f);
        if (strtod(s, NULL) == f)
            break;
    }
    snprintf(s, sizeof s, "%.*e", n - 1, f);
    const char *e = strchr(s, 'e');
    int exponent = (int)strtol(e + 1, NULL, 10), k = 0;
    for (const char *p = s; p < e; p++)
        if (*p >= '0' && *p <= '9')
            digits[k++] = *p;
    digits[k] = 0;
    if (s[0] == '-')
        put_cstr(b, "-");
    if (exponent < -4 || exponent >= 16) {
        char tail[16];
        put_bytes(b, digits, 1, 0);
        if (k > 1)
            put_cstr(b, ".");
        put_cstr(b, digits + 1);
        snprintf(tail, sizeof tail, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        put_cstr(b, tail);
    } else if (exponent < 0) {
        put_cstr(b, "0.");
        put_fill(b, '0', (size_t)(-exponent - 1));
        put_cstr(b, digits);
    } else {
        int whole = MIN(k, exponent + 1);
        put_bytes(b, digits, (size_t)whole, 0);
        put_fill(b, '0', (size_t)(exponent + 1 - whole));
        put_cstr(b, ".");
        put_cstr(b, k > whole ? digits + whole : "0");
    }
}

static void put_int(struct builder *b, int64_t i)
{
    char s[24];
    snprintf(s, sizeof s, "%lld", (long long)i);
    put_cstr(b, s);
}

static void put_hex(struct builder *b, const char *fmt, uint32_t c, origin_t origin)
{
    char s[16];
    int n = snprintf(s, sizeof s, fmt, c); /* NOLINT: the formats are literals below */
    put_bytes(b, s, (size_t)n, origin);
}

static void repr_text(struct builder *b, const struct text *t)
{
    bool single = memchr(t->p, '\'', t->n), twice = memchr(t->p, '"', t->n);
    char quote = single && !twice ? '"' : '\'';
    put_bytes(b, &quote, 1, 0);
    for (size_t at = 0; at < t->n && !b->r->failed;) {
        size_t from = at;
        uint32_t c = next_char(t->p, t->n, &at);
        origin_t o = text_origin(t, from);
        if (c == (uint32_t)quote || c == '\\') {
            put_bytes(b, "\\", 1, o);
            put_part(b, t, from, at);
        } else if (c == '\n' || c == '\r' || c == '\t') {
            put_bytes(b, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t", 2, o);
        } else if (is_printable(c)) {
            put_part(b, t, from, at);
        } else if (c < 0x100) {
            put_hex(b, "\\x%02x", c, o);
        } else if (c < 0x10000) {
            put_hex(b, "\\u%04x", c, o);
        } else {
            put_hex(b, "\\U%08x", c, o);
        }
        run_spend(b->r, 1);
    }
    put_bytes(b, &quote, 1, 0);
}

static bool deeper(struct run *r)
{
    if (++r->depth <= LIMIT_TEMPLATE_DEPTH)
        return run_spend(r, 1);
    run_fail(r, E_RANGE, "values nested deeper than %d levels", LIMIT_TEMPLATE_DEPTH);
    return false;
}

static void repr_seq(struct builder *b, const struct seq *l)
{
    bool tuple = l->kind == SEQ_TUPLE;
    if (l->kind == SEQ_RANGE) {
        int64_t first = l->n ? l->v[0].i : 0, step = l->n > 1 ? l->v[1].i - first : 1;
        put_cstr(b, "range(");
        put_int(b, first);
        put_cstr(b, ", ");
        put_int(b, l->n ? first + step * (int64_t)l->n : 0);
        if (step != 1) {
            put_cstr(b, ", ");
            put_int(b, step);
        }
        put_cstr(b, ")");
        return;
    }
    if (l->kind == SEQ_ITERATOR) {
        run_fail(b->r, E_FORMAT, "an iterator cannot be printed; put it through list");
        return;
    }
    if (l->kind == SEQ_VIEW)
        put_cstr(b, l->n && l->v[0].kind == V_SEQ ? "dict_items(" : "dict_keys(");
    put_cstr(b, tuple ? "(" : "[");
    for (size_t i = 0; i < l->n && !b->r->failed; i++) {
        if (i)
            put_cstr(b, ", ");
        put_repr(b, &l->v[i]);
    }
    put_cstr(b, tuple ? (l->n == 1 ? ",)" : ")") : "]");
    if (l->kind == SEQ_VIEW)
        put_cstr(b, ")");
}

static void repr_dict(struct builder *b, const struct dict *d)
{
    put_cstr(b, "{");
    for (size_t i = 0; i < d->n && !b->r->failed; i++) {
        if (i)
            put_cstr(b, ", ");
        put_repr(b, &d->p[i].k);
        put_cstr(b, ": ");
        put_repr(b, &d->p[i].v);
    }
    put_cstr(b, "}");
}

void put_repr(struct builder *b, const struct value *v)
{
    if (!deeper(b->r))
        return;
    switch (v->kind) {
    case V_UNDEFINED: put_cstr(b, "Undefined"); break;
    case V_NONE: put_cstr(b, "None"); break;
    case V_BOOL: put_cstr(b, v->b ? "True" : "False"); break;
    case V_INT: put_int(b, v->i); break;
    case V_FLOAT: put_float(b, v->f); break;
    case V_STRING:
        if (v->s->safe)
            put_cstr(b, "Markup(");
        repr_text(b, v->s);
        if (v->s->safe)
            put_cstr(b, ")");
        break;
    case V_SEQ: repr_seq(b, v->l); break;
    case V_DICT: repr_dict(b, v->d); break;
    case V_NAMESPACE:
        put_cstr(b, "<Namespace ");
        repr_dict(b, v->d);
        put_cstr(b, ">");
        break;
    default: run_fail(b->r, E_FORMAT, "a %s cannot be printed", kind_name(v));
    }
    b->r->depth--;
}

void put_str(struct builder *b, const struct value *v)
{
    if (v->kind == V_STRING)
        put_text(b, v->s);
    else if (v->kind != V_UNDEFINED)
        put_repr(b, v);
}

const struct text *to_text(struct run *r, const struct value *v)
{
    struct builder b;
    if (v->kind == V_STRING)
        return v->s;
    text_build(&b, r);
    put_str(&b, v);
    return text_built(&b);
}

/* ---- JSON ------------------------------------------------------------------------------- */

static void json_text(struct builder *b, const struct text *t, bool ascii)
{
    size_t from = 0, at = 0;
    put_cstr(b, "\"");
    while (at < t->n && !b->r->failed) {
        size_t here = at;
        uint32_t c = next_char(t->p, t->n, &at);
        static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
        const char *s = NULL;
        for (size_t i = 0; c < 0x80 && !s && shorts[i]; i += 2)
            s = c == (unsigned char)shorts[i] ? &shorts[i + 1] : NULL;
        if (!s && c >= 0x20 && !(ascii && c >= 0x7f))
            continue;
        origin_t o = text_origin(t, here);
        put_part(b, t, from, here);
        if (s) {
            put_bytes(b, "\\", 1, o);
            put_bytes(b, s, 1, o);
        } else if (c < 0x10000) {
            put_hex(b, "\\u%04x", c, o);
        } else {
            put_hex(b, "\\u%04x", 0xd800 + ((c - 0x10000) >> 10), o);
            put_hex(b, "\\u%04x", 0xdc00 + ((c - 0x10000) & 0x3ff), o);
        }
        from = at;
        run_spend(b->r, 1);
    }
    put_part(b, t, from, t->n);
    put_cstr(b, "\"");
}

static void json_break(struct builder *b, const struct json_style *s, int level)
{
    if (s->indent < 0)
        return;
    put_cstr(b, "\n");
    for (int i = 0; s->indent_text && i < level; i++)
        put_text(b, s->indent_text);
    if (!s->indent_text)
        put_fill(b, ' ', (size_t)s->indent * (size_t)level);
}

static void json_item(struct builder *b, const struct json_style *s, size_t i, int level)
{
    if (i && s->item)
        put_text(b, s->item);
    else if (i)
        put_cstr(b, s->indent < 0 ? ", " : ",");
    json_break(b, s, level);
}

static void json_key(struct builder *b, const struct value *k, const struct json_style *s)
{
    struct builder key;
    text_build(&key, b->r);
    switch (k->kind) {
    case V_STRING: put_text(&key, k->s); break;
    case V_NONE: put_cstr(&key, "null"); break;
    case V_BOOL: put_cstr(&key, k->b ? "true" : "false"); break;
    case V_INT:
    case V_FLOAT: put_repr(&key, k); break;
    default: run_fail(b->r, E_FORMAT, "a %s cannot be a key of JSON", kind_name(k));
    }
    const struct text *t = text_built(&key);
    if (t)
        json_text(b, t, s->ascii);
    if (s->key)
        put_text(b, s->key);
    else
        put_cstr(b, ": ");
}

static int by_key(struct run *r, const struct pair *a, const struct pair *b)
{
    return compare_values(r, &a->k, &b->k);
}

/* Insertion sort would be quadratic on a hostile object: merges. */
static void sort_pairs(struct run *r, struct pair *p, struct pair *tmp, size_t n)
{
    if (n < 2 || !run_spend(r, n))
        return;
    size_t half = n / 2, i = 0, k = half;
    sort_pairs(r, p, tmp, half);
    sort_pairs(r, p + half, tmp, n - half);
    for (size_t o = 0; o < n; o++)
        tmp[o] = k >= n || (i < half && by_key(r, &p[i], &p[k]) <= 0) ? p[i++] : p[k++];
    memcpy(p, tmp, n * sizeof *p);
}

static void json_dict(struct builder *b, const struct dict *d, const struct json_style *s,
                      int level)
{
    struct pair *p = d->p;
    if (s->sorted && d->n > 1) {
        struct pair *tmp = run_array(b->r, d->n, sizeof *tmp);
        p = run_array(b->r, d->n, sizeof *p);
        if (!p || !tmp)
            return;
        memcpy(p, d->p, d->n * sizeof *p);
        sort_pairs(b->r, p, tmp, d->n);
    }
    put_cstr(b, "{");
    for (size_t i = 0; i < d->n && !b->r->failed; i++) {
        json_item(b, s, i, level + 1);
        json_key(b, &p[i].k, s);
        put_json(b, &p[i].v, s, level + 1);
    }
    if (d->n)
        json_break(b, s, level);
    put_cstr(b, "}");
}

void put_json(struct builder *b, const struct value *v, const struct json_style *s, int level)
{
    if (!deeper(b->r))
        return;
    switch (v->kind) {
    case V_NONE: put_cstr(b, "null"); break;
    case V_BOOL: put_cstr(b, v->b ? "true" : "false"); break;
    case V_INT: put_int(b, v->i); break;
    case V_FLOAT:
        if (isnan(v->f) || isinf(v->f))
            put_cstr(b, isnan(v->f) ? "NaN" : v->f < 0 ? "-Infinity" : "Infinity");
        else
            put_float(b, v->f);
        break;
    case V_STRING: json_text(b, v->s, s->ascii); break;
    case V_DICT: json_dict(b, v->d, s, level); break;
    case V_SEQ:
        if (v->l->kind <= SEQ_TUPLE) {
            put_cstr(b, "[");
            for (size_t i = 0; i < v->l->n && !b->r->failed; i++) {
                json_item(b, s, i, level + 1);
                put_json(b, &v->l->v[i], s, level + 1);
            }
            if (v->l->n)
                json_break(b, s, level);
            put_cstr(b, "]");
            break;
        } /* fall through */
    default: run_fail(b->r, E_FORMAT, "a %s cannot be written as JSON", kind_name(v));
    }
    b->r->depth--;
}
