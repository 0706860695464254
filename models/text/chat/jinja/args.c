/* Finding a function by its name, and distributing the arguments of its call. */
#include <string.h>

#include "models/text/chat/jinja/builtins.h"

/* ---- names ------------------------------------------------------------------------------ */

static const struct function *find(const struct function *rows, const struct text *name)
{
    for (; rows->name; rows++)
        if (text_is(name, rows->name))
            return rows;
    return NULL;
}

const struct function *global_find(const struct run *r, const struct text *name)
{
    return find(r->library->globals, name);
}

const struct function *filter_find(const struct run *r, const struct text *name)
{
    const struct function *fn = NULL;
    for (size_t i = 0; !fn && i < ARRAY_LEN(r->library->filters); i++)
        fn = find(r->library->filters[i], name);
    return fn;
}

const struct function *test_find(const struct run *r, const struct text *name)
{
    return find(r->library->tests, name);
}

const struct function *method_find(const struct run *r, const struct value *v,
                                   const struct text *name)
{
    const struct library *l = r->library;
    switch (v->kind) {
    case V_STRING: return find(l->text_methods, name);
    case V_DICT: return find(l->dict_methods, name);
    case V_SEQ:
        return v->l->kind == SEQ_LIST    ? find(l->list_methods, name)
               : v->l->kind <= SEQ_RANGE ? find(l->tuple_methods, name)
                                         : NULL;
    default: return NULL;
    }
}

/* ---- arguments -------------------------------------------------------------------------- */

/* Place of a name in the spec, or -1. */
static int place(const char *spec, const struct text *name)
{
    for (int i = 0; *spec; i++) {
        spec += *spec == '!';
        size_t n = strcspn(spec, " ");
        if (name->n == n && memcmp(name->p, spec, n) == 0)
            return i;
        spec += n + (spec[n] == ' ');
    }
    return -1;
}

bool bind_args(struct run *r, const struct args *a, const char *spec, const struct value **out)
{
    size_t n = 0;
    for (const char *s = spec; *s; n++)
        s += strcspn(s, " ") + (s[strcspn(s, " ")] == ' ');
    for (size_t i = 0; i < n; i++)
        out[i] = i < a->n ? &a->v[i] : NULL;
    if (a->n > n)
        run_fail(r, E_FORMAT, "%zu arguments where %zu are taken", a->n, n);
    for (size_t i = 0; i < a->n_named && !r->failed; i++) {
        int at = place(spec, a->names[i]);
        if (at < 0 || out[at])
            run_fail(r, E_FORMAT, "the argument \"%.*s\" is %s", (int)MIN(a->names[i]->n, 40U),
                 a->names[i]->p, at < 0 ? "unknown" : "given twice");
        else
            out[at] = &a->v[a->n + i];
    }
    for (size_t i = 0; i < n && !r->failed; i++) {
        if (*spec == '!' && !out[i])
            run_fail(r, E_FORMAT, "the argument \"%.*s\" is missing", (int)strcspn(spec + 1, " "),
                 spec + 1);
        spec += strcspn(spec, " ") + 1;
    }
    return !r->failed;
}

int64_t want_int(struct run *r, const struct value *v, int64_t otherwise)
{
    if (!v)
        return otherwise;
    if (v->kind == V_INT || v->kind == V_BOOL)
        return int_of(v);
    run_fail(r, E_FORMAT, "a %s where a whole number is expected", kind_name(v));
    return otherwise;
}

const struct text *want_text(struct run *r, const struct value *v, const char *otherwise)
{
    if (!v)
        return text_str(r, otherwise);
    if (v->kind == V_STRING)
        return v->s;
    run_fail(r, E_FORMAT, "a %s where a str is expected", kind_name(v));
    return NULL;
}

bool want_bool(const struct value *v, bool otherwise) { return v ? truthy(v) : otherwise; }
