/* Methods of dict, list and tuple. Rows without a function are Python's methods that change their
 * object: the sandbox denies them. */
#include "models/text/chat/jinja/builtins.h"

#define METHOD(name) \
    static struct value name(struct run *r, const struct value *self, const struct args *a)

METHOD(dict_get)
{
    const struct value *arg[PARAMETERS_MAX];
    if (!bind_args(r, a, "!key default", arg))
        return v_none();
    const struct value *v = dict_find(self->d, arg[0]);
    return v ? *v : arg[1] ? *arg[1] : v_none();
}

METHOD(dict_items)
{
    struct seq *l = bind_args(r, a, "", NULL) ? list_new(r, SEQ_VIEW, self->d->n) : NULL;
    for (size_t i = 0; l && i < l->n && run_spend(r, 1); i++) {
        struct seq *pair = list_new(r, SEQ_TUPLE, 2);
        if (!pair)
            break;
        pair->v[0] = self->d->p[i].k;
        pair->v[1] = self->d->p[i].v;
        l->v[i] = v_seq(pair);
    }
    return r->failed ? v_none() : v_seq(l);
}

static struct value half(struct run *r, const struct value *self, const struct args *a, bool keys)
{
    struct seq *l = bind_args(r, a, "", NULL) ? list_new(r, SEQ_VIEW, self->d->n) : NULL;
    for (size_t i = 0; l && i < l->n; i++)
        l->v[i] = keys ? self->d->p[i].k : self->d->p[i].v;
    return v_seq(l);
}
METHOD(dict_keys) { return half(r, self, a, true); }
METHOD(dict_values) { return half(r, self, a, false); }
METHOD(dict_copy) { return bind_args(r, a, "", NULL) ? *self : v_none(); }

METHOD(list_index)
{
    const struct value *arg[PARAMETERS_MAX];
    if (!bind_args(r, a, "!x", arg))
        return v_none();
    for (size_t i = 0; i < self->l->n && !r->failed; i++)
        if (equal_values(r, &self->l->v[i], arg[0]))
            return v_int((int64_t)i);
    return run_fail(r, E_FORMAT, "the element is not in the list");
}

METHOD(list_count)
{
    const struct value *arg[PARAMETERS_MAX];
    int64_t n = 0;
    if (!bind_args(r, a, "!x", arg))
        return v_none();
    for (size_t i = 0; i < self->l->n && !r->failed; i++)
        n += equal_values(r, &self->l->v[i], arg[0]);
    return v_int(n);
}

METHOD(list_copy) { return bind_args(r, a, "", NULL) ? *self : v_none(); }

const struct function jinja_dict_methods[] = {
    {"get", dict_get}, {"items", dict_items}, {"keys", dict_keys}, {"values", dict_values},
    {"copy", dict_copy}, {"pop", NULL}, {"popitem", NULL}, {"clear", NULL}, {"update", NULL},
    {"setdefault", NULL}, {NULL, NULL}};
const struct function jinja_list_methods[] = {
    {"index", list_index}, {"count", list_count}, {"copy", list_copy}, {"append", NULL},
    {"clear", NULL}, {"pop", NULL}, {"reverse", NULL}, {"insert", NULL}, {"sort", NULL},
    {"extend", NULL}, {"remove", NULL}, {NULL, NULL}};
const struct function jinja_tuple_methods[] = {
    {"index", list_index}, {"count", list_count}, {NULL, NULL}};
