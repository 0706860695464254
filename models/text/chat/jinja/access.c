/* Attributes, elements, slices and calls. As in the reference, x.name looks for a method first and
 * an element second, x['name'] the other way round, and what is not there is undefined, not an
 * error; but nothing can be taken from an undefined value. */
#include <string.h>

#include "models/text/chat/jinja/eval.h"

/* ---- loop ------------------------------------------------------------------------------- */

static struct value neighbour(struct run *r, const struct loop *l, bool next)
{
    if (next && l->at + 1 < l->items->n)
        return l->items->v[l->at + 1];
    if (!next && l->at > 0)
        return l->items->v[l->at - 1];
    return v_undefined(r, "there is no %s item", next ? "next" : "previous");
}

static struct value loop_cycle(struct run *r, const struct value *self, const struct args *a)
{
    if (a->n == 0)
        return run_fail(r, E_FORMAT, "no items for cycling given");
    return a->v[self->loop->at % a->n];
}

static struct value loop_changed(struct run *r, const struct value *self, const struct args *a)
{
    struct loop *l = self->loop;
    struct seq *now = list_new(r, SEQ_TUPLE, a->n);
    if (now && a->n)
        memcpy(now->v, a->v, a->n * sizeof *now->v);
    struct value v = v_seq(now);
    bool changed = !l->has_changed || !equal_values(r, &l->changed, &v);
    l->has_changed = true;
    l->changed = v;
    return v_bool(changed);
}

static struct value bound(struct run *r, const struct value *self, const struct function *fn)
{
    struct method *m = run_take(r, sizeof *m);
    if (m)
        *m = (struct method){*self, fn};
    return (struct value){.kind = m ? V_METHOD : V_UNDEFINED, .method = m};
}

static bool loop_attr(struct run *r, const struct value *self, const struct text *name,
                      struct value *out)
{
    static const struct function cycle = {"cycle", loop_cycle}, changed = {"changed", loop_changed};
    const struct loop *l = self->loop;
    int64_t at = (int64_t)l->at, n = (int64_t)l->items->n;
    const struct { const char *name; struct value v; } rows[] = {
        {"index0", v_int(at)}, {"index", v_int(at + 1)}, {"first", v_bool(at == 0)},
        {"last", v_bool(at + 1 >= n)}, {"length", v_int(n)}, {"revindex0", v_int(n - at - 1)},
        {"revindex", v_int(n - at)}, {"depth", v_int(1)}, {"depth0", v_int(0)},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (text_is(name, rows[i].name)) {
            *out = rows[i].v;
            return true;
        }
    bool next = text_is(name, "nextitem");
    if (next || text_is(name, "previtem"))
        *out = neighbour(r, l, next);
    else if (text_is(name, "cycle") || text_is(name, "changed"))
        *out = bound(r, self, text_is(name, "cycle") ? &cycle : &changed);
    else
        return false;
    return true;
}

/* ---- attributes and elements ------------------------------------------------------------ */

static bool find_attr(struct run *r, const struct value *of, const struct text *name,
                      struct value *out)
{
    if (of->kind == V_LOOP)
        return loop_attr(r, of, name, out);
    if (of->kind == V_NAMESPACE) {
        struct value k = {.kind = V_STRING, .s = name};
        const struct value *v = dict_find(of->d, &k);
        *out = v ? *v : v_none();
        return v != NULL;
    }
    const struct function *fn = method_find(r, of, name);
    if (!fn)
        return false;
    *out = fn->call ? bound(r, of, fn)
                    : v_undefined(r, "access to attribute '%s' of '%s' object is unsafe.",
                                  fn->name, kind_name(of));
    return true;
}

/* False: no such element, or none at all in such a value. */
static bool find_item(struct run *r, const struct value *of, const struct value *key,
                      struct value *out)
{
    bool whole = key->kind == V_INT || key->kind == V_BOOL;
    if (of->kind == V_DICT) {
        const struct value *v = dict_find(of->d, key);
        if (v)
            *out = *v;
        return v != NULL;
    }
    int64_t i = whole ? int_of(key) : 0;
    if (of->kind == V_STRING && whole) {
        i += i < 0 ? (int64_t)of->s->chars : 0;
        if (i < 0 || i >= (int64_t)of->s->chars || !run_spend(r, of->s->n / 128))
            return false;
        size_t from = text_byte(of->s, (size_t)i), to = from;
        next_char(of->s->p, of->s->n, &to);
        *out = v_text(text_part(r, of->s, from, to));
        return true;
    }
    if (of->kind == V_SEQ && whole && of->l->kind <= SEQ_RANGE) {
        i += i < 0 ? (int64_t)of->l->n : 0;
        if (i < 0 || i >= (int64_t)of->l->n)
            return false;
        *out = of->l->v[i];
        return true;
    }
    return false;
}

struct value get_attr(struct run *r, const struct value *of, const struct text *name)
{
    struct value out, key = {.kind = V_STRING, .s = name};
    if (of->kind == V_UNDEFINED)
        return fail_undefined(r, of);
    if (find_attr(r, of, name, &out) || find_item(r, of, &key, &out))
        return out;
    return v_absent(name, of);
}

struct value get_item(struct run *r, const struct value *of, const struct value *key)
{
    struct value out;
    if (of->kind == V_UNDEFINED)
        return fail_undefined(r, of);
    if (find_item(r, of, key, &out))
        return out;
    if (key->kind == V_STRING)
        return find_attr(r, of, key->s, &out) ? out : v_absent(key->s, of);
    return v_undefined(r, "the %s has no such element", kind_name(of));
}

struct value get_path(struct run *r, struct value v, const struct value *path)
{
    if (path->kind == V_NONE)
        return v;
    if (path->kind != V_STRING)
        return get_item(r, &v, path);
    const struct text *t = path->s;
    for (size_t from = 0; from <= t->n && !r->failed;) {
        size_t to = from;
        int64_t i;
        while (to < t->n && t->p[to] != '.')
            to++;
        const struct text *part = text_part(r, t, from, to);
        if (!part)
            break;
        bool digits = part->n && text_all(part, CHAR_DIGIT) && parse_int(part, 10, &i);
        struct value key = digits ? v_int(i) : v_text(part);
        v = get_item(r, &v, &key);
        from = to + 1;
    }
    return v;
}

/* ---- slices ----------------------------------------------------------------------------- */

/* Bounds as Python clips them. False = failed. */
static bool slice_bounds(struct run *r, const struct value *part[3], int64_t n, int64_t out[3])
{
    int64_t step = want_int(r, part[2], 1);
    if (step == 0)
        run_fail(r, E_RANGE, "a slice with the step 0");
    step = MAX(MIN(step, INT32_MAX), -INT32_MAX);
    for (int i = 0; i < 2; i++) {
        bool open = !part[i] || part[i]->kind == V_NONE;
        int64_t x = open ? 0 : want_int(r, part[i], 0);
        if (open)
            x = i == 0 ? (step > 0 ? 0 : n - 1) : (step > 0 ? n : -1);
        else if (x < 0)
            x = MAX(x < -n ? -1 : x + n, step > 0 ? 0 : -1);
        else
            x = MIN(x, step > 0 ? n : n - 1);
        out[i] = x;
    }
    out[2] = step;
    return !r->failed;
}

static struct value slice_text(struct run *r, const struct text *t, const int64_t b[3])
{
    struct builder out;
    if (b[2] == 1) {
        size_t from = text_byte(t, (size_t)b[0]), to = text_byte(t, (size_t)b[1]);
        return v_text(text_part(r, t, from, MAX(from, to)));
    }
    const struct value v = v_text(t);
    struct seq *l = value_iterate(r, &v);
    text_build(&out, r);
    for (int64_t i = b[0]; l && (b[2] > 0 ? i < b[1] : i > b[1]) && run_spend(r, 1); i += b[2])
        put_text(&out, l->v[i].s);
    return v_text(text_built(&out));
}

struct value get_slice(struct run *r, const struct value *of, const struct value *part[3])
{
    int64_t b[3];
    if (of->kind == V_UNDEFINED)
        return fail_undefined(r, of);
    bool list = of->kind == V_SEQ && of->l->kind <= SEQ_RANGE;
    if (!list && of->kind != V_STRING)
        return v_undefined(r, "a %s cannot be sliced", kind_name(of));
    for (int i = 0; i < 3; i++)
        if (part[i] && part[i]->kind == V_NONE)
            part[i] = NULL;
    int64_t n = list ? (int64_t)of->l->n : of->s->chars;
    if (!slice_bounds(r, part, n, b) || !run_spend(r, (size_t)n / 128))
        return v_none();
    if (!list)
        return slice_text(r, of->s, b);
    int64_t step = b[2] > 0 ? b[2] : -b[2], way = b[2] > 0 ? b[1] - b[0] : b[0] - b[1];
    size_t count = way > 0 && step > 0 ? (size_t)((way + step - 1) / step) : 0;
    if (b[2] == 1)
        return v_seq(list_share(r, of->l->kind, of->l->v + MIN(b[0], n), count));
    struct seq *l = list_new(r, of->l->kind, count);
    for (size_t i = 0; l && i < l->n; i++)
        l->v[i] = of->l->v[b[0] + (int64_t)i * b[2]];
    return v_seq(l);
}

/* ---- calls ------------------------------------------------------------------------------ */

/* Nothing the first time, the separator afterwards. */
static struct value call_joiner(struct run *r, struct joiner *j)
{
    bool used = j->used;
    j->used = true;
    return used ? j->separator : v_text(text_str(r, ""));
}

struct value call_value(struct run *r, const struct value *fn, const struct args *a)
{
    switch (fn->kind) {
    case V_MACRO: return fn->macro->invoke(r, fn->macro, a);
    case V_FUNCTION: return fn->fn->call(r, fn, a);
    case V_METHOD: return fn->method->fn->call(r, &fn->method->self, a);
    case V_JOINER: return call_joiner(r, fn->joiner);
    case V_UNDEFINED: return fail_undefined(r, fn);
    default: return run_fail(r, E_FORMAT, "a %s cannot be called", kind_name(fn));
    }
}
