/* Global functions, and the list of all tables. */
#include "base/limits.h"
#include "models/text/chat/jinja/builtins.h"

#define GLOBAL(name) \
    static struct value name(struct run *r, const struct value *self, const struct args *a)

/* range(stop), range(start, stop[, step]) */
GLOBAL(do_range)
{
    int64_t v[3] = {0, 0, 1};
    (void)self;
    if (a->n < 1 || a->n > 3 || a->n_named)
        return run_fail(r, E_FORMAT, "range takes one to three numbers");
    for (size_t i = 0; i < a->n; i++)
        v[a->n == 1 ? 1 : i] = want_int(r, &a->v[i], 0);
    double count = v[2] ? ((double)v[1] - (double)v[0]) / (double)v[2] : 0;
    if (v[2] == 0)
        return run_fail(r, E_RANGE, "range: a step of 0");
    if (count > LIMIT_TEMPLATE_RANGE)
        return run_fail(r, E_RANGE, "Range too big. The sandbox blocks ranges larger than %d.",
                    LIMIT_TEMPLATE_RANGE);
    int64_t step = v[2], n = 0;
    if (count > 0)
        n = step > 0 ? (v[1] - v[0] + step - 1) / step : (v[0] - v[1] - step - 1) / -step;
    struct seq *l = run_spend(r, (size_t)n / 4) ? list_new(r, SEQ_RANGE, (size_t)n) : NULL;
    for (int64_t i = 0; l && i < n; i++)
        l->v[i] = v_int(v[0] + i * step);
    return v_seq(l);
}

/* dict(mapping or pairs, name = value, …): also what namespace() begins with. */
static struct dict *make_dict(struct run *r, const struct args *a)
{
    struct dict *d = dict_new(r, a->n_named);
    if (a->n > 1)
        run_fail(r, E_FORMAT, "%zu arguments where at most one is taken", a->n);
    if (a->n == 1 && a->v[0].kind == V_DICT) {
        for (size_t i = 0; i < a->v[0].d->n && !r->failed; i++)
            dict_put(r, d, a->v[0].d->p[i].k, a->v[0].d->p[i].v);
    } else if (a->n == 1) {
        const struct seq *l = value_iterate(r, &a->v[0]);
        for (size_t i = 0; l && i < l->n && !r->failed; i++) {
            const struct seq *pair = value_iterate(r, &l->v[i]);
            if (pair && pair->n != 2)
                run_fail(r, E_FORMAT, "dict: an element of %zu values, two are expected", pair->n);
            else if (pair)
                dict_put(r, d, pair->v[0], pair->v[1]);
        }
    }
    for (size_t i = 0; i < a->n_named && !r->failed; i++)
        dict_put(r, d, v_text(a->names[i]), a->v[a->n + i]);
    return r->failed ? NULL : d;
}

GLOBAL(do_dict)
{
    (void)self;
    return v_dict(make_dict(r, a));
}

GLOBAL(do_namespace)
{
    (void)self;
    struct dict *d = make_dict(r, a);
    return (struct value){.kind = d ? V_NAMESPACE : V_UNDEFINED, .d = d};
}

GLOBAL(do_joiner)
{
    const struct value *arg[PARAMETERS_MAX];
    (void)self;
    if (!bind_args(r, a, "sep", arg))
        return v_none();
    struct joiner *j = run_take(r, sizeof *j);
    if (j)
        j->separator = arg[0] ? *arg[0] : v_text(text_str(r, ", "));
    return (struct value){.kind = j ? V_JOINER : V_UNDEFINED, .joiner = j};
}

GLOBAL(do_raise)
{
    const struct value *arg[PARAMETERS_MAX];
    (void)self;
    if (!bind_args(r, a, "!message", arg))
        return v_none();
    const struct text *t = to_text(r, arg[0]);
    return t ? run_fail(r, E_RANGE, "%.*s", (int)MIN(t->n, 250U), t->p) : v_none();
}

GLOBAL(do_strftime)
{
    const struct value *arg[PARAMETERS_MAX];
    (void)self;
    if (!bind_args(r, a, "!format", arg))
        return v_none();
    return v_text(format_time(r, want_text(r, arg[0], "")));
}

static const struct function globals[] = {
    {"range", do_range}, {"dict", do_dict}, {"namespace", do_namespace}, {"joiner", do_joiner},
    {"raise_exception", do_raise}, {"strftime_now", do_strftime}, {NULL, NULL}};

const struct library jinja_library = {
    .globals = globals,
    .filters = {jinja_text_filters, jinja_list_filters, jinja_number_filters},
    .tests = jinja_tests,
    .text_methods = jinja_text_methods,
    .dict_methods = jinja_dict_methods,
    .list_methods = jinja_list_methods,
    .tuple_methods = jinja_tuple_methods,
};
