/* A client's JSON -> values of a run, every string with its origin. */
#include <string.h>

#include "models/text/chat/jinja/eval.h"
#include "models/text/chat/jinja/jinja.h"

/* What the strings of a list of messages become. */
struct input {
    struct run *r;
    origin_t origin;
    const char *trusted; /* key whose value may be the template's own word */
    bool (*is_trusted)(const char *s);
};

static struct value convert(const struct input *in, const json_t *v);

static struct value text_value(const struct input *in, const json_t *v, origin_t origin)
{
    return v_text(text_copy(in->r, json_string_value(v), json_string_length(v), origin));
}

/* trusts: this is an element of the list itself, whose trusted key counts. */
static struct value dict_value(const struct input *in, const json_t *v, bool trusts)
{
    struct dict *d = dict_new(in->r, json_object_size(v));
    const char *key;
    json_t *x;
    json_object_foreach((json_t *)(uintptr_t)v, key, x) {
        bool own = trusts && in->trusted && strcmp(key, in->trusted) == 0 && json_is_string(x) &&
                   in->is_trusted(json_string_value(x));
        struct value k = v_text(text_copy(in->r, key, strlen(key), in->origin));
        if (!dict_put(in->r, d, k, own ? text_value(in, x, 0) : convert(in, x)))
            break;
    }
    return v_dict(d);
}

static struct value list_value(const struct input *in, const json_t *v)
{
    struct seq *l = list_new(in->r, SEQ_LIST, json_array_size(v));
    for (size_t i = 0; l && i < l->n && !in->r->failed; i++)
        l->v[i] = convert(in, json_array_get(v, i));
    return v_seq(l);
}

/* The depth is that of the JSON, which its parser has bounded. */
static struct value convert(const struct input *in, const json_t *v)
{
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_OBJECT: return dict_value(in, v, false);
    case JSON_ARRAY: return list_value(in, v);
    case JSON_STRING: return text_value(in, v, in->origin);
    case JSON_INTEGER: return v_int(json_integer_value(v));
    case JSON_REAL: return v_float(json_real_value(v));
    case JSON_TRUE:
    case JSON_FALSE: return v_bool(json_is_true(v));
    default: return v_none();
    }
}

static void set(struct run *r, const char *name, struct value v)
{
    struct var *var = run_take(r, sizeof *var);
    if (!var)
        return;
    *var = (struct var){.name = text_str(r, name), .v = v, .next = r->globals};
    if (var->name)
        r->globals = var;
}

void jinja_set_str(struct run *r, const char *name, const char *s, size_t n, origin_t origin)
{
    set(r, name, v_text(text_copy(r, s, n, origin)));
}

void jinja_set_bool(struct run *r, const char *name, bool b) { set(r, name, v_bool(b)); }

void jinja_set_json(struct run *r, const char *name, const json_t *v, origin_t origin)
{
    struct input in = {.r = r, .origin = origin};
    set(r, name, convert(&in, v));
}

void jinja_set_list(struct run *r, const char *name, const json_t *list, origin_t first,
                    const char *trusted, bool (*is_trusted)(const char *s))
{
    struct seq *l = list_new(r, SEQ_LIST, json_array_size(list));
    for (size_t i = 0; l && i < l->n && !r->failed; i++) {
        struct input in = {r, (origin_t)(first + i), trusted, is_trusted};
        const json_t *v = json_array_get(list, i);
        l->v[i] = json_is_object(v) ? dict_value(&in, v, true) : convert(&in, v);
    }
    set(r, name, v_seq(l));
}
