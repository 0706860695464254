/* The functions that a request offers. Kept: names, and for each argument whether it is text. */
#include <string.h>

#include "base/mem.h"
#include "models/text/toolcall/toolcall_int.h"

/* Owner: the caller. functions: {name: {argument: true where it is a string}} */
struct toolset { json_t *functions; };

static bool is_text(const json_t *schema)
{
    const char *type = json_string_value(json_object_get(schema, "type"));
    return type && strcmp(type, "string") == 0;
}

static json_t *function_of(const json_t *tool)
{
    json_t *f = json_object_get(tool, "function");
    return json_is_object(f) ? f : NULL;
}

struct toolset *toolset_new(const json_t *tools)
{
    struct toolset *s = mem_zalloc(sizeof *s);
    bool failed = !s || !(s->functions = json_object());
    for (size_t i = 0; i < json_array_size(tools) && !failed; i++) {
        const json_t *f = function_of(json_array_get(tools, i));
        const char *name = json_string_value(json_object_get(f, "name")), *key;
        json_t *all = json_object_get(json_object_get(f, "parameters"), "properties"), *one;
        json_t *made = json_object();
        json_object_foreach(all, key, one)
            failed = failed || json_object_set_new(made, key, json_boolean(is_text(one)));
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

void toolset_free(struct toolset *s)
{
    if (s)
        json_decref(s->functions);
    mem_free(s);
}

bool toolset_has(const struct toolset *s, const char *name)
{
    return json_object_get(s->functions, name) != NULL;
}

bool toolset_is_text(const struct toolset *s, const char *name, size_t n_name, const char *key,
                     size_t n_key)
{
    return json_is_true(json_object_getn(json_object_getn(s->functions, name, n_name), key,
                                         n_key));
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

char *toolcall_schema(const json_t *tools, const char *name)
{
    json_t *any = json_array();
    bool failed = !any;
    for (size_t i = 0; i < json_array_size(tools) && !failed; i++) {
        const json_t *f = function_of(json_array_get(tools, i));
        json_t *own = json_object_get(f, "name"), *args = json_object_get(f, "parameters");
        if (!own || (name && strcmp(json_string_value(own), name) != 0))
            continue;
        json_t *call = json_pack("{s:s,s:{s:{s:O},s:O},s:[s,s],s:b}", "type", "object",
                                 "properties", "name", "const", own, "arguments",
                                 json_is_object(args) ? args : json_true(), "required", "name",
                                 "arguments", "additionalProperties", 0);
        if (call && !json_is_object(args))
            json_object_set_new(json_object_get(call, "properties"), "arguments",
                                json_pack("{s:s}", "type", "object"));
        failed = json_array_append_new(any, call) != 0;
    }
    json_t *whole = failed ? NULL
                    : json_array_size(any) == 1 ? json_incref(json_array_get(any, 0))
                                                : json_pack("{s:O}", "anyOf", any);
    char *text = whole ? json_dumps(whole, JSON_COMPACT) : NULL;
    json_decref(whole);
    json_decref(any);
    return text;
}
