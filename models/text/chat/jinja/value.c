/* Values: making, comparing, iterating. The rules are Python's. */
#include "models/text/chat/jinja/value.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"

#define SMALL_DICT 8 /* up to here a search through the pairs is as fast as a hash */

/* ---- making ----------------------------------------------------------------------------- */

struct value v_undefined(struct run *r, const char *fmt, ...)
{
    char text[200];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t len = n < 0 ? 0 : MIN((size_t)n, sizeof text - 1);
    return (struct value){.kind = V_UNDEFINED, .s = text_copy(r, text, len, 0)};
}

struct value v_absent(const struct text *name, const struct value *in)
{
    return (struct value){.kind = V_UNDEFINED, .s = name,
                          .absence = in ? ABSENT_ATTRIBUTE : ABSENT_NAME,
                          .of = in ? in->kind : V_UNDEFINED};
}

struct value fail_undefined(struct run *r, const struct value *v)
{
    struct seq list = {.kind = SEQ_LIST};
    struct value in = {.kind = v->of, .l = &list};
    int n = v->s ? (int)MIN(v->s->n, 200U) : 0;
    if (!v->s)
        return run_fail(r, E_FORMAT, "an undefined value is used");
    switch (v->absence) {
    case ABSENT_NAME: return run_fail(r, E_FORMAT, "'%.*s' is undefined", n, v->s->p);
    case ABSENT_ATTRIBUTE:
        return run_fail(r, E_FORMAT, "'%s object' has no attribute '%.*s'", kind_name(&in), n,
                        v->s->p);
    default: return run_fail(r, E_FORMAT, "%.*s", n, v->s->p);
    }
}

struct seq *list_new(struct run *r, enum seq_kind kind, size_t n)
{
    struct seq *l = run_spend(r, n / 8) ? run_take(r, sizeof *l) : NULL;
    if (!l)
        return NULL;
    *l = (struct seq){.kind = kind, .n = n, .v = run_array(r, n, sizeof *l->v)};
    return l->v ? l : NULL;
}

struct seq *list_share(struct run *r, enum seq_kind kind, struct value *v, size_t n)
{
    struct seq *l = run_take(r, sizeof *l);
    if (l)
        *l = (struct seq){.kind = kind, .n = n, .v = v};
    return l;
}

bool list_push(struct run *r, struct seq *l, size_t *cap, struct value v)
{
    if (!l || r->failed)
        return false;
    if (l->n >= *cap) {
        size_t grown = MAX(2 * *cap, (size_t)8);
        struct value *p = run_array(r, grown, sizeof *p);
        if (!p)
            return false;
        if (l->n)
            memcpy(p, l->v, l->n * sizeof *p);
        l->v = p;
        *cap = grown;
    }
    l->v[l->n++] = v;
    return true;
}

static uint32_t hash_bytes(const char *p, size_t n)
{
    uint32_t h = 2166136261U;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 16777619U;
    return h;
}

/* Equal values have equal hashes: 1, 1.0 and true are one key. */
static uint32_t hash(const struct value *v)
{
    if (v->kind == V_STRING)
        return hash_bytes(v->s->p, v->s->n);
    if (is_number(v)) {
        double d = float_of(v);
        uint64_t bits;
        d = d == 0 ? 0 : d;
        memcpy(&bits, &d, sizeof bits);
        return (uint32_t)(bits ^ bits >> 32) * 2654435761U;
    }
    if (v->kind == V_SEQ) {
        uint32_t h = 17;
        for (size_t i = 0; i < v->l->n && i < 16; i++)
            h = h * 31 + hash(&v->l->v[i]);
        return h;
    }
    return (uint32_t)v->kind;
}

static bool hashable(const struct value *v)
{
    if (v->kind == V_SEQ && v->l->kind == SEQ_TUPLE) {
        for (size_t i = 0; i < v->l->n; i++)
            if (!hashable(&v->l->v[i]))
                return false;
        return true;
    }
    return v->kind != V_DICT && !(v->kind == V_SEQ && v->l->kind != SEQ_RANGE);
}

/* Keys have no depth worth speaking of: tuples of scalars. */
static bool same_key(const struct value *a, const struct value *b)
{
    if (a->kind == V_STRING || b->kind == V_STRING)
        return a->kind == b->kind && text_same(a->s, b->s);
    if (is_number(a) && is_number(b))
        return a->kind == V_FLOAT || b->kind == V_FLOAT ? float_of(a) == float_of(b)
                                                        : int_of(a) == int_of(b);
    if (a->kind != b->kind)
        return false;
    if (a->kind != V_SEQ)
        return a->kind == V_NONE || a->kind == V_UNDEFINED || a->d == b->d;
    bool same = a->l->n == b->l->n && a->l->kind == b->l->kind;
    for (size_t i = 0; same && i < a->l->n; i++)
        same = same_key(&a->l->v[i], &b->l->v[i]);
    return same;
}

struct dict *dict_new(struct run *r, size_t cap)
{
    struct dict *d = run_take(r, sizeof *d);
    if (!d)
        return NULL;
    *d = (struct dict){.cap = cap, .p = run_array(r, cap, sizeof *d->p)};
    return d->p ? d : NULL;
}

static size_t place_of(const struct dict *d, const struct value *k)
{
    if (!d->index) {
        for (size_t i = 0; i < d->n; i++)
            if (same_key(&d->p[i].k, k))
                return i;
        return SIZE_MAX;
    }
    for (size_t h = hash(k);; h++) {
        uint32_t at = d->index[h & (d->n_index - 1)];
        if (!at)
            return SIZE_MAX;
        if (same_key(&d->p[at - 1].k, k))
            return at - 1;
    }
}

struct value *dict_find(const struct dict *d, const struct value *k)
{
    size_t i = place_of(d, k);
    return i == SIZE_MAX ? NULL : &d->p[i].v;
}

struct value *dict_find_str(const struct dict *d, const char *k)
{
    struct text t = {.p = k, .n = (uint32_t)strlen(k)};
    struct value v = {.kind = V_STRING, .s = &t};
    return dict_find(d, &v);
}

static void enter(struct dict *d, size_t i)
{
    size_t h = hash(&d->p[i].k);
    while (d->index[h & (d->n_index - 1)])
        h++;
    d->index[h & (d->n_index - 1)] = (uint32_t)i + 1;
}

static bool grow(struct run *r, struct dict *d)
{
    if (d->n == d->cap) {
        size_t cap = MAX(2 * d->cap, (size_t)SMALL_DICT);
        struct pair *p = run_array(r, cap, sizeof *p);
        if (!p)
            return false;
        if (d->n)
            memcpy(p, d->p, d->n * sizeof *p);
        d->p = p;
        d->cap = cap;
    }
    if (d->n >= SMALL_DICT && 2 * (d->n + 1) > d->n_index) {
        size_t n = d->n_index ? 2 * d->n_index : 4 * SMALL_DICT;
        d->index = run_array(r, n, sizeof *d->index);
        if (!d->index)
            return false;
        d->n_index = n;
        for (size_t i = 0; i < d->n; i++)
            enter(d, i);
    }
    return true;
}

bool dict_put(struct run *r, struct dict *d, struct value k, struct value v)
{
    if (!d || r->failed)
        return false;
    if (!hashable(&k)) {
        run_fail(r, E_FORMAT, "a %s cannot be a key", kind_name(&k));
        return false;
    }
    struct value *old = dict_find(d, &k);
    if (old) {
        *old = v;
        return true;
    }
    if (!grow(r, d))
        return false;
    d->p[d->n] = (struct pair){k, v};
    if (d->index)
        enter(d, d->n);
    d->n++;
    return true;
}

/* ---- asking ----------------------------------------------------------------------------- */

bool is_str(const struct value *v, const char *s)
{
    return v->kind == V_STRING && text_is(v->s, s);
}

const char *kind_name(const struct value *v)
{
    static const char *const names[] = {
        [V_UNDEFINED] = "Undefined", [V_NONE] = "None", [V_BOOL] = "bool", [V_INT] = "int",
        [V_FLOAT] = "float", [V_STRING] = "str", [V_DICT] = "dict", [V_NAMESPACE] = "Namespace",
        [V_MACRO] = "Macro", [V_FUNCTION] = "function", [V_METHOD] = "method",
        [V_LOOP] = "LoopContext", [V_JOINER] = "Joiner",
    };
    static const char *const seqs[] = {
        [SEQ_LIST] = "list", [SEQ_TUPLE] = "tuple", [SEQ_RANGE] = "range",
        [SEQ_VIEW] = "dict view", [SEQ_ITERATOR] = "iterator",
    };
    return v->kind == V_SEQ ? seqs[v->l->kind] : names[v->kind];
}

bool truthy(const struct value *v)
{
    switch (v->kind) {
    case V_UNDEFINED:
    case V_NONE: return false;
    case V_BOOL: return v->b;
    case V_INT: return v->i != 0;
    case V_FLOAT: return v->f != 0;
    case V_STRING: return v->s->n > 0;
    case V_SEQ: return v->l->kind == SEQ_ITERATOR || v->l->n > 0;
    case V_DICT: return v->d->n > 0;
    default: return true;
    }
}

/* Nested data of an input has the depth of its JSON, values built by the template that of its
 * steps: the guard is the evaluation's. */
static bool deeper(struct run *r)
{
    if (++r->depth <= LIMIT_TEMPLATE_DEPTH)
        return run_spend(r, 1);
    run_fail(r, E_RANGE, "values nested deeper than %d levels", LIMIT_TEMPLATE_DEPTH);
    return false;
}

static bool equal_dicts(struct run *r, const struct dict *a, const struct dict *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n && !r->failed; i++) {
        const struct value *other = dict_find(b, &a->p[i].k);
        same = other && equal_values(r, &a->p[i].v, other);
    }
    return same;
}

bool equal_values(struct run *r, const struct value *a, const struct value *b)
{
    bool same = false;
    if (is_number(a) && is_number(b))
        return run_spend(r, 1) && same_key(a, b);
    if (a->kind != b->kind)
        return run_spend(r, 1) && false;
    if (!deeper(r))
        return false;
    switch (a->kind) {
    case V_UNDEFINED:
    case V_NONE: same = true; break;
    case V_STRING: same = text_same(a->s, b->s); break;
    case V_SEQ:
        if (a->l->kind >= SEQ_VIEW) {
            same = a->l == b->l;
            break;
        }
        same = a->l->n == b->l->n && a->l->kind == b->l->kind;
        for (size_t i = 0; same && i < a->l->n && !r->failed; i++)
            same = equal_values(r, &a->l->v[i], &b->l->v[i]);
        break;
    case V_DICT: same = equal_dicts(r, a->d, b->d); break;
    default: same = a->d == b->d;
    }
    r->depth--;
    return same;
}

int compare_values(struct run *r, const struct value *a, const struct value *b)
{
    if (is_number(a) && is_number(b)) {
        if (a->kind != V_FLOAT && b->kind != V_FLOAT)
            return (int_of(a) > int_of(b)) - (int_of(a) < int_of(b));
        return (float_of(a) > float_of(b)) - (float_of(a) < float_of(b));
    }
    if (a->kind == V_STRING && b->kind == V_STRING)
        return run_spend(r, a->s->n / 128) ? text_compare(a->s, b->s) : 0;
    if (a->kind == V_SEQ && b->kind == V_SEQ && a->l->kind == b->l->kind &&
        a->l->kind <= SEQ_TUPLE) {
        int c = 0;
        if (!deeper(r))
            return 0;
        for (size_t i = 0; !c && !r->failed && i < MIN(a->l->n, b->l->n); i++)
            c = equal_values(r, &a->l->v[i], &b->l->v[i])
                    ? 0 : compare_values(r, &a->l->v[i], &b->l->v[i]);
        r->depth--;
        return c ? c : (a->l->n > b->l->n) - (a->l->n < b->l->n);
    }
    run_fail(r, E_FORMAT, "a %s and a %s have no order", kind_name(a), kind_name(b));
    return 0;
}

bool value_contains(struct run *r, const struct value *c, const struct value *x)
{
    if (c->kind == V_STRING) {
        if (x->kind != V_STRING) {
            run_fail(r, E_FORMAT, "a %s cannot be searched in a str", kind_name(x));
            return false;
        }
        return run_spend(r, c->s->n / 128) && text_find(c->s, x->s, 0) != SIZE_MAX;
    }
    if (c->kind == V_DICT) {
        if (!hashable(x))
            run_fail(r, E_FORMAT, "a %s cannot be a key", kind_name(x));
        return !r->failed && dict_find(c->d, x);
    }
    struct seq *l = value_iterate(r, c);
    for (size_t i = 0; l && i < l->n && !r->failed; i++)
        if (equal_values(r, &l->v[i], x))
            return run_spend(r, 1);
    return false;
}

static struct seq *characters(struct run *r, const struct text *t)
{
    struct seq *l = run_spend(r, t->chars) ? list_new(r, SEQ_LIST, t->chars) : NULL;
    for (size_t i = 0, at = 0; l && i < t->chars; i++) {
        size_t from = at;
        next_char(t->p, t->n, &at);
        l->v[i] = v_text(text_part(r, t, from, at));
    }
    return l;
}

struct seq *value_iterate(struct run *r, const struct value *v)
{
    struct seq *l;
    switch (v->kind) {
    case V_UNDEFINED: return list_new(r, SEQ_LIST, 0);
    case V_STRING: return characters(r, v->s);
    case V_DICT:
        l = list_new(r, SEQ_LIST, v->d->n);
        for (size_t i = 0; l && i < l->n; i++)
            l->v[i] = v->d->p[i].k;
        return l;
    case V_SEQ:
        if (v->l->kind != SEQ_ITERATOR)
            return v->l;
        l = v->l->spent ? list_new(r, SEQ_LIST, 0) : v->l;
        v->l->spent = true;
        return l;
    default: run_fail(r, E_FORMAT, "a %s cannot be iterated", kind_name(v)); return NULL;
    }
}

int64_t value_length(struct run *r, const struct value *v)
{
    switch (v->kind) {
    case V_UNDEFINED: return 0;
    case V_STRING: return v->s->chars;
    case V_DICT: return (int64_t)v->d->n;
    case V_SEQ:
        if (v->l->kind != SEQ_ITERATOR)
            return (int64_t)v->l->n;
        break;
    default: break;
    }
    run_fail(r, E_FORMAT, "a %s has no length", kind_name(v));
    return -1;
}
