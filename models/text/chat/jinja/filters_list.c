/* Filters over lists and dicts. Those that the reference writes as generators give iterators: they
 * are true even when empty, have no length and can be read once. */
#include <string.h>

#include "models/text/chat/jinja/builtins.h"

#define FILTER(name) \
    static struct value name(struct run *r, const struct value *self, const struct args *a)
#define BIND(spec) \
    const struct value *arg[PARAMETERS_MAX]; \
    if (!bind_args(r, a, spec, arg)) \
        return v_none()

FILTER(do_length)
{
    BIND("");
    (void)arg;
    int64_t n = value_length(r, self);
    return v_int(n);
}

FILTER(do_first)
{
    BIND("");
    (void)arg;
    const struct seq *l = value_iterate(r, self);
    return l && l->n ? l->v[0] : v_undefined(r, "No first item, sequence was empty.");
}

FILTER(do_last)
{
    BIND("");
    (void)arg;
    const struct seq *l = value_iterate(r, self);
    return l && l->n ? l->v[l->n - 1] : v_undefined(r, "No last item, sequence was empty.");
}

static struct value copy(struct run *r, const struct seq *from, enum seq_kind kind)
{
    struct seq *l = from && run_spend(r, from->n / 8) ? list_new(r, kind, from->n) : NULL;
    if (l && l->n)
        memcpy(l->v, from->v, l->n * sizeof *l->v);
    return v_seq(l);
}

FILTER(do_list)
{
    BIND("");
    (void)arg;
    const struct seq *l = value_iterate(r, self);
    return l ? v_seq(list_share(r, SEQ_LIST, l->v, l->n)) : v_none();
}

FILTER(do_reverse)
{
    BIND("");
    (void)arg;
    if (self->kind == V_STRING) {
        struct value step = v_int(-1);
        const struct value *part[3] = {NULL, NULL, &step};
        return get_slice(r, self, part);
    }
    struct value v = copy(r, value_iterate(r, self), SEQ_ITERATOR);
    for (size_t i = 0; !r->failed && i < v.l->n / 2; i++) {
        struct value t = v.l->v[i];
        v.l->v[i] = v.l->v[v.l->n - 1 - i];
        v.l->v[v.l->n - 1 - i] = t;
    }
    return v;
}

FILTER(do_items)
{
    BIND("");
    (void)arg;
    static const struct text items = {.p = "items", .n = 5, .chars = 5};
    if (self->kind == V_UNDEFINED)
        return v_seq(list_new(r, SEQ_ITERATOR, 0));
    if (self->kind != V_DICT)
        return run_fail(r, E_FORMAT, "Can only get item pairs from a mapping.");
    struct value v = method_find(r, self, &items)->call(r, self, a);
    return r->failed ? v : copy(r, v.l, SEQ_ITERATOR);
}

/* ---- sorting ---------------------------------------------------------------------------- */

/* Strings compare without case unless asked. */
static struct value sort_key(struct run *r, struct value v, const struct value *path, bool fold)
{
    if (path)
        v = get_path(r, v, path);
    return fold && v.kind == V_STRING ? v_text(text_case(r, v.s, TO_LOWER)) : v;
}

static void merge(struct run *r, struct value *v, struct value *k, struct value *tmp, size_t n,
                  bool descending)
{
    if (n < 2 || !run_spend(r, n))
        return;
    size_t half = n / 2, i = 0, j = half;
    merge(r, v, k, tmp, half, descending);
    merge(r, v + half, k + half, tmp, n - half, descending);
    for (size_t o = 0; o < n; o++) {
        bool left = i < half;
        if (left && j < n) {
            int c = compare_values(r, &k[i], &k[j]);
            left = descending ? c >= 0 : c <= 0;
        }
        size_t from = left ? i++ : j++;
        tmp[2 * o] = v[from];
        tmp[2 * o + 1] = k[from];
    }
    for (size_t o = 0; o < n; o++) {
        v[o] = tmp[2 * o];
        k[o] = tmp[2 * o + 1];
    }
}

void sort_values(struct run *r, struct value *v, struct value *keys, size_t n, bool descending)
{
    struct value *tmp = n ? run_array(r, n, 2 * sizeof *tmp) : NULL;
    if (tmp)
        merge(r, v, keys, tmp, n, descending);
}

/* Several paths, "a,b": a key of their values. */
static struct value sort_keys(struct run *r, struct value v, const struct value *path, bool fold)
{
    if (!path || path->kind != V_STRING || !memchr(path->s->p, ',', path->s->n))
        return sort_key(r, v, path, fold);
    struct seq *l = list_new(r, SEQ_TUPLE, 0);
    size_t cap = 0;
    for (size_t from = 0, to; from <= path->s->n && !r->failed; from = to + 1) {
        for (to = from; to < path->s->n && path->s->p[to] != ',';)
            to++;
        struct value one = v_text(text_part(r, path->s, from, to));
        if (!r->failed)
            list_push(r, l, &cap, sort_key(r, v, &one, fold));
    }
    return v_seq(l);
}

FILTER(do_sort)
{
    BIND("reverse case_sensitive attribute");
    struct value v = copy(r, value_iterate(r, self), SEQ_LIST);
    struct value *keys = r->failed ? NULL : run_array(r, v.l->n, sizeof *keys);
    for (size_t i = 0; keys && i < v.l->n && !r->failed; i++)
        keys[i] = sort_keys(r, v.l->v[i], arg[2], !want_bool(arg[1], false));
    if (keys && !r->failed)
        sort_values(r, v.l->v, keys, v.l->n, want_bool(arg[0], false));
    return v;
}

FILTER(do_dictsort)
{
    BIND("case_sensitive by reverse");
    bool value = arg[1] && is_str(arg[1], "value");
    if (self->kind != V_DICT)
        return run_fail(r, E_FORMAT, "dictsort of a %s", kind_name(self));
    if (arg[1] && !value && !is_str(arg[1], "key"))
        return run_fail(r, E_FORMAT, "You can only sort by either \"key\" or \"value\"");
    size_t n = self->d->n;
    struct seq *l = list_new(r, SEQ_LIST, n);
    struct value *keys = run_array(r, n, sizeof *keys);
    for (size_t i = 0; l && keys && i < n && !r->failed; i++) {
        struct seq *pair = list_new(r, SEQ_TUPLE, 2);
        if (!pair)
            break;
        pair->v[0] = self->d->p[i].k;
        pair->v[1] = self->d->p[i].v;
        l->v[i] = v_seq(pair);
        keys[i] = sort_key(r, pair->v[value], NULL, !want_bool(arg[0], false));
    }
    if (!r->failed)
        sort_values(r, l->v, keys, n, want_bool(arg[2], false));
    return v_seq(l);
}

static struct value extreme(struct run *r, const struct value *self, const struct args *a,
                            int sign)
{
    BIND("case_sensitive attribute");
    const struct seq *l = value_iterate(r, self);
    if (l && l->n == 0)
        return v_undefined(r, "No aggregated item, sequence was empty.");
    size_t best = 0;
    struct value key = v_none();
    for (size_t i = 0; l && i < l->n && run_spend(r, 1); i++) {
        struct value k = sort_key(r, l->v[i], arg[1], !want_bool(arg[0], false));
        if (i == 0 || (!r->failed && sign * compare_values(r, &k, &key) > 0)) {
            best = i;
            key = k;
        }
    }
    return r->failed ? v_none() : l->v[best];
}
FILTER(do_max) { return extreme(r, self, a, 1); }
FILTER(do_min) { return extreme(r, self, a, -1); }

FILTER(do_unique)
{
    BIND("case_sensitive attribute");
    const struct seq *l = value_iterate(r, self);
    struct seq *out = list_new(r, SEQ_ITERATOR, 0);
    struct dict *seen = dict_new(r, 0);
    size_t cap = 0;
    for (size_t i = 0; l && i < l->n && run_spend(r, 1); i++) {
        struct value k = sort_key(r, l->v[i], arg[1], !want_bool(arg[0], false));
        size_t n = seen ? seen->n : 0;
        if (dict_put(r, seen, k, v_none()) && seen->n > n)
            list_push(r, out, &cap, l->v[i]);
    }
    return v_seq(out);
}

FILTER(do_sum)
{
    BIND("attribute start");
    const struct seq *l = value_iterate(r, self);
    struct value sum = arg[1] ? *arg[1] : v_int(0);
    for (size_t i = 0; l && i < l->n && run_spend(r, 1); i++) {
        struct value v = arg[0] ? get_path(r, l->v[i], arg[0]) : l->v[i];
        if (!r->failed)
            sum = binary_op(r, '+', &sum, &v);
    }
    return sum;
}

/* ---- map, select and their kin ---------------------------------------------------------- */

/* The arguments behind the first n. */
static struct args behind(const struct args *a, size_t n)
{
    struct args rest = *a;
    rest.v = n ? rest.v + n : rest.v; /* there may be none */
    rest.n -= n;
    return rest;
}

FILTER(do_map)
{
    static const struct text attribute = {.p = "attribute", .n = 9};
    const struct seq *l = value_iterate(r, self);
    struct seq *out = l ? list_new(r, SEQ_ITERATOR, l->n) : NULL;
    const struct value *arg[PARAMETERS_MAX];
    const struct function *fn = NULL;
    struct args rest = *a;
    bool path = a->n == 0 && a->n_named && text_same(a->names[0], &attribute);
    if (path && !bind_args(r, a, "!attribute default", arg))
        return v_none();
    if (!path) {
        if (a->n == 0)
            return run_fail(r, E_FORMAT, "map requires a filter argument");
        const struct text *name = want_text(r, &a->v[0], "");
        if (name && !(fn = filter_find(r, name)))
            run_fail(r, E_FORMAT, "there is no filter \"%.*s\"", (int)MIN(name->n, 60U), name->p);
        rest = behind(a, 1);
    }
    for (size_t i = 0; out && i < l->n && run_spend(r, 1); i++) {
        if (fn)
            out->v[i] = fn->call(r, &l->v[i], &rest);
        else
            out->v[i] = get_path(r, l->v[i], arg[0]);
        if (path && arg[1] && out->v[i].kind == V_UNDEFINED && !r->failed)
            out->v[i] = *arg[1];
    }
    return v_seq(out);
}

static struct value choose(struct run *r, const struct value *self, const struct args *a,
                           bool by_attribute, bool keep)
{
    const struct seq *l = truthy(self) ? value_iterate(r, self) : NULL;
    struct seq *out = list_new(r, SEQ_ITERATOR, 0);
    size_t cap = 0, off = by_attribute;
    const struct function *fn = NULL;
    if (by_attribute && a->n == 0)
        return run_fail(r, E_FORMAT, "Missing parameter for attribute name");
    struct args rest = behind(a, MIN(a->n, off + 1));
    if (a->n > off && l) {
        const struct text *name = want_text(r, &a->v[off], "");
        if (name && !(fn = test_find(r, name)))
            run_fail(r, E_FORMAT, "there is no test \"%.*s\"", (int)MIN(name->n, 60U), name->p);
    }
    for (size_t i = 0; l && i < l->n && run_spend(r, 1); i++) {
        struct value v = by_attribute ? get_path(r, l->v[i], &a->v[0]) : l->v[i];
        struct value holds = fn && !r->failed ? fn->call(r, &v, &rest) : v;
        if (!r->failed && truthy(&holds) == keep)
            list_push(r, out, &cap, l->v[i]);
    }
    return v_seq(out);
}
FILTER(do_select) { return choose(r, self, a, false, true); }
FILTER(do_reject) { return choose(r, self, a, false, false); }
FILTER(do_selectattr) { return choose(r, self, a, true, true); }
FILTER(do_rejectattr) { return choose(r, self, a, true, false); }

/* ---- cutting into pieces ---------------------------------------------------------------- */

FILTER(do_batch)
{
    BIND("!linecount fill_with");
    const struct seq *l = value_iterate(r, self);
    int64_t n = want_int(r, arg[0], 1);
    struct seq *out = list_new(r, SEQ_ITERATOR, 0);
    size_t cap = 0;
    if (n < 1)
        return run_fail(r, E_RANGE, "batch: lines of %lld", (long long)n);
    for (size_t at = 0; l && at < l->n && run_spend(r, 1); at += (size_t)n) {
        size_t have = MIN(l->n - at, (size_t)n);
        bool fill = arg[1] && arg[1]->kind != V_NONE && have < (size_t)n;
        struct seq *line = run_spend(r, fill ? (size_t)n : have)
                               ? list_new(r, SEQ_LIST, fill ? (size_t)n : have) : NULL;
        for (size_t i = 0; line && i < line->n; i++)
            line->v[i] = i < have ? l->v[at + i] : *arg[1];
        list_push(r, out, &cap, v_seq(line));
    }
    return v_seq(out);
}

FILTER(do_slice)
{
    BIND("!slices fill_with");
    const struct seq *l = value_iterate(r, self);
    int64_t n = want_int(r, arg[0], 1);
    if (n < 1 || !l || !run_spend(r, (size_t)n))
        return run_fail(r, E_RANGE, "slice: into %lld", (long long)n);
    struct seq *out = list_new(r, SEQ_ITERATOR, (size_t)n);
    size_t per = l->n / (size_t)n, more = l->n % (size_t)n, at = 0;
    for (size_t i = 0; out && i < out->n && !r->failed; i++) {
        size_t have = per + (i < more);
        bool fill = arg[1] && arg[1]->kind != V_NONE && i >= more && more;
        struct seq *part = list_new(r, SEQ_LIST, have + fill);
        for (size_t k = 0; part && k < have; k++)
            part->v[k] = l->v[at + k];
        if (part && fill)
            part->v[have] = *arg[1];
        at += have;
        out->v[i] = v_seq(part);
    }
    return v_seq(out);
}

/* Pairs of a value and the elements that have it. */
FILTER(do_groupby)
{
    BIND("!attribute default case_sensitive");
    const struct seq *l = value_iterate(r, self);
    struct seq *out = list_new(r, SEQ_LIST, 0);
    size_t cap = 0, n = l ? l->n : 0;
    struct value *v = run_array(r, n, sizeof *v), *k = run_array(r, n, sizeof *k);
    for (size_t i = 0; v && k && i < n && !r->failed; i++) {
        v[i] = l->v[i];
        k[i] = get_path(r, v[i], arg[0]);
        if (k[i].kind == V_UNDEFINED && arg[1])
            k[i] = *arg[1];
        if (k[i].kind == V_STRING && !want_bool(arg[2], false))
            k[i] = v_text(text_case(r, k[i].s, TO_LOWER));
    }
    if (!r->failed)
        sort_values(r, v, k, n, false);
    for (size_t from = 0, to; from < n && !r->failed; from = to) {
        for (to = from + 1; to < n && equal_values(r, &k[from], &k[to]);)
            to++;
        struct seq *group = list_new(r, SEQ_LIST, to - from), *pair = list_new(r, SEQ_TUPLE, 2);
        if (!group || !pair)
            break;
        memcpy(group->v, v + from, group->n * sizeof *v);
        pair->v[0] = get_path(r, v[from], arg[0]);
        if (pair->v[0].kind == V_UNDEFINED && arg[1])
            pair->v[0] = *arg[1];
        pair->v[1] = v_seq(group);
        list_push(r, out, &cap, v_seq(pair));
    }
    return v_seq(out);
}

const struct function jinja_list_filters[] = {
    {"length", do_length}, {"count", do_length}, {"first", do_first}, {"last", do_last},
    {"list", do_list}, {"reverse", do_reverse}, {"items", do_items}, {"sort", do_sort},
    {"dictsort", do_dictsort}, {"max", do_max}, {"min", do_min}, {"unique", do_unique},
    {"sum", do_sum}, {"map", do_map}, {"select", do_select}, {"reject", do_reject},
    {"selectattr", do_selectattr}, {"rejectattr", do_rejectattr}, {"batch", do_batch},
    {"slice", do_slice}, {"groupby", do_groupby}, {NULL, NULL}};
