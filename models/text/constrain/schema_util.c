/* What all files of schemas use: faults, kept values, work, types, counts. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "models/text/constrain/schema_int.h"

void *schema_fault(struct schema *x, int code, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err_set(&x->a->err, code, "%s", text);
    return NULL;
}

json_t *schema_keep(struct schema *x, json_t *made)
{
    if (!made || json_array_append_new(x->made, made))
        return schema_fault(x, E_NOMEM, "no memory for a schema");
    return made;
}

bool schema_spend(struct schema *x, size_t n)
{
    x->work -= (int32_t)MIN(n, (size_t)INT32_MAX / 2);
    if (x->work < 0)
        schema_fault(x, E_RANGE, "the schema is too large, or merged too often (allOf)");
    return !x->a->err.code;
}

/* ---- kinds ------------------------------------------------------------------------------ */

static const struct { const char *name; int kind; } kinds[] = {
    {"null", KIND_NULL}, {"boolean", KIND_BOOL}, {"integer", KIND_INTEGER},
    {"number", KIND_NUMBER | KIND_INTEGER}, {"string", KIND_STRING}, {"array", KIND_ARRAY},
    {"object", KIND_OBJECT}};

static int kind_named(struct schema *x, const json_t *name)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds) && json_is_string(name); i++)
        if (strcmp(kinds[i].name, json_string_value(name)) == 0)
            return kinds[i].kind;
    schema_fault(x, E_FORMAT, "type: \"%.40s\" is no type of JSON Schema",
                 json_is_string(name) ? json_string_value(name) : "a value that is no string");
    return 0;
}

int schema_kind_of(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_NULL: return KIND_NULL;
    case JSON_TRUE:
    case JSON_FALSE: return KIND_BOOL;
    case JSON_INTEGER: return KIND_INTEGER;
    case JSON_REAL: {
        double d = json_real_value(v);
        return d > -1e15 && d < 1e15 && d == (double)(int64_t)d ? KIND_INTEGER : KIND_NUMBER;
    }
    case JSON_STRING: return KIND_STRING;
    case JSON_ARRAY: return KIND_ARRAY;
    case JSON_OBJECT: return KIND_OBJECT;
    }
    return 0;
}

int schema_kinds(struct schema *x, const json_t *s)
{
    static const struct { const char *key; int kind; } about[] = {
        {"properties", KIND_OBJECT}, {"required", KIND_OBJECT},
        {"additionalProperties", KIND_OBJECT}, {"patternProperties", KIND_OBJECT},
        {"propertyNames", KIND_OBJECT}, {"minProperties", KIND_OBJECT},
        {"maxProperties", KIND_OBJECT}, {"unevaluatedProperties", KIND_OBJECT},
        {"items", KIND_ARRAY}, {"prefixItems", KIND_ARRAY}, {"minItems", KIND_ARRAY},
        {"maxItems", KIND_ARRAY}, {"uniqueItems", KIND_ARRAY}, {"minLength", KIND_STRING},
        {"maxLength", KIND_STRING},
        {"pattern", KIND_STRING}, {"format", KIND_STRING},
        {"minimum", KIND_NUMBER | KIND_INTEGER}, {"maximum", KIND_NUMBER | KIND_INTEGER},
        {"exclusiveMinimum", KIND_NUMBER | KIND_INTEGER},
        {"exclusiveMaximum", KIND_NUMBER | KIND_INTEGER},
        {"multipleOf", KIND_NUMBER | KIND_INTEGER}};
    const json_t *type = json_object_get(s, "type");
    int set = 0;
    if (json_is_false(s))
        return 0;
    if (json_is_array(type)) {
        for (size_t i = 0; i < json_array_size(type); i++)
            set |= kind_named(x, json_array_get(type, i));
        return set;
    }
    if (type)
        return kind_named(x, type);
    for (size_t i = 0; i < ARRAY_LEN(about) && !json_object_get(s, "enum"); i++)
        if (json_object_get(s, about[i].key))
            set |= about[i].kind;
    return set ? set : KIND_ALL;
}

int64_t schema_count(struct schema *x, const json_t *s, const char *key, int64_t otherwise)
{
    const json_t *v = json_object_get(s, key);
    if (!v)
        return otherwise;
    double d = json_number_value(v);
    if (!json_is_number(v) || d < 0 || d > INT32_MAX || d != (double)(int64_t)d)
        return schema_fault(x, E_FORMAT, "%s: a whole number that is not negative is expected",
                            key), otherwise;
    return (int64_t)d;
}

/* ---- values ----------------------------------------------------------------------------- */

static bool same_value(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

bool schema_holds(const json_t *array, const json_t *v)
{
    for (size_t i = 0; i < json_array_size(array); i++)
        if (same_value(json_array_get(array, i), v))
            return true;
    return false;
}

bool schema_left_out(const json_t *s, const json_t *v)
{
    return schema_holds(json_object_get(json_object_get(s, "not"), "enum"), v);
}

json_t *schema_left_out_strings(struct schema *x, const json_t *s)
{
    json_t *names = schema_keep(x, json_object()), *v;
    size_t i;
    json_array_foreach(json_object_get(json_object_get(s, "not"), "enum"), i, v)
        if (names && json_is_string(v))
            json_object_set_new(names, json_string_value(v), json_true());
    return names && json_object_size(names) ? names : NULL;
}
