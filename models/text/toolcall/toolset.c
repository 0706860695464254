/* The functions that a request offers. Kept: names, and for each argument whether it is text. */
#include <string.h>

#include "base/mem.h"
#include "models/text/toolcall/toolcall_int.h"

/* Owner: the caller. functions: {name: {argument: true where it is a string}} */
struct toolset {
    int refs; /* atomic */
    json_t *functions;
};

bool toolset_text_type(const json_t *schema)
{
    const char *type = json_string_value(json_object_get(schema, "type"));
    return type && strcmp(type, "string") == 0;
}

json_t *toolset_function(const json_t *tool)
{
    json_t *f = json_object_get(tool, "function");
    return json_is_object(f) ? f : NULL;
}

struct toolset *toolset_new(const json_t *tools)
{
    struct toolset *s = mem_zalloc(sizeof *s);
    bool failed = !s || !(s->functions = json_object());
    if (s)
        s->refs = 1;
    for (size_t i = 0; i < json_array_size(tools) && !failed; i++) {
        const json_t *f = toolset_function(json_array_get(tools, i));
        const char *name = json_string_value(json_object_get(f, "name")), *key;
        json_t *all = json_object_get(json_object_get(f, "parameters"), "properties"), *one;
        json_t *made = json_object();
        json_object_foreach(all, key, one)
            failed = failed || json_object_set_new(made, key, json_boolean(toolset_text_type(one)));
        if (!name)
            json_decref(made);
        else
            failed = failed || json_object_set_new(s->functions, name, made);
    }
    if (!failed)
        return s;
    toolset_free(s);
    return NULL;
}

void toolset_ref(struct toolset *s) { __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED); }

void toolset_free(struct toolset *s)
{
    if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    json_decref(s->functions);
    mem_free(s);
}

bool toolset_has(const struct toolset *s, const char *name)
{
    return json_object_get(s->functions, name) != NULL;
}

const json_t *toolset_arguments(const struct toolset *s, const char *name, size_t n_name)
{
    return json_object_getn(s->functions, name, n_name);
}

bool toolset_is_text(const struct toolset *s, const char *name, size_t n_name, const char *key,
                     size_t n_key)
{
    return json_is_true(json_object_getn(toolset_arguments(s, name, n_name), key, n_key));
}

bool form_add(json_t *out, const struct toolset *s, const char *name, size_t n_name,
              const char *arguments, size_t n, const char *id, size_t n_id)
{
    if (!json_object_getn(s->functions, name, n_name) || !form_is_json(arguments, n, true))
        return false;
    json_t *call = json_object();
    bool ok = json_object_set_new(call, "name", json_stringn(name, n_name)) == 0 &&
              json_object_set_new(call, "arguments", json_stringn(arguments, n)) == 0 &&
              (!n_id || json_object_set_new(call, "id", json_stringn(id, n_id)) == 0);
    if (ok)
        return json_array_append_new(out, call) == 0;
    json_decref(call);
    return false;
}
