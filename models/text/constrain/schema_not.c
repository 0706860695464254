/* What a schema says by saying what is not: not, if … then … else, dependentRequired and
 * dependentSchemas, as schemas without them.
 *
 * A schema's complement is that of one of its keywords: not {a, b} is {anyOf: [not a, not b]}. Each
 * keyword that has an exact complement is a row; what a property may not be is left to the
 * property's own turn. Listed values stay {"not": {"enum": …}}: who writes values leaves them
 * out. */
#include <string.h>

#include "models/text/constrain/schema_int.h"

/* ---- complements of keywords ------------------------------------------------------------- */

typedef json_t *complement(struct schema *x, const char *type, const char *key, json_t *v);

/* {"type": type, key: v + by}; of a count below 0: nothing. */
static json_t *count_beside(const char *type, const char *key, const json_t *v, int by)
{
    double n = json_number_value(v) + by;
    return n < 0 ? json_false() : json_pack("{s:s,s:f}", "type", type, key, n);
}

static json_t *not_most(struct schema *x, const char *type, const char *key, json_t *v)
{
    char name[32] = "min";
    (void)x;
    memcpy(name + 3, key + 3, MIN(strlen(key + 3), sizeof name - 4)); /* maxItems, minItems */
    return count_beside(type, name, v, 1);
}

static json_t *not_least(struct schema *x, const char *type, const char *key, json_t *v)
{
    char name[32] = "max";
    (void)x;
    memcpy(name + 3, key + 3, MIN(strlen(key + 3), sizeof name - 4));
    return count_beside(type, name, v, -1);
}

static json_t *not_bound(struct schema *x, const char *type, const char *key, json_t *v)
{
    static const char *const pairs[][2] = {{"minimum", "exclusiveMaximum"},
                                           {"maximum", "exclusiveMinimum"}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        for (int k = 0; k < 2; k++)
            if (strcmp(key, pairs[i][k]) == 0) {
                /* minimum and exclusiveMaximum are each other's complement, and so on. */
                const char *other = pairs[i][!k];
                return json_pack("{s:s,s:O}", "type", type, other, v);
            }
    return schema_fault(x, E_UNSUPPORTED, "not: %s cannot be enforced within it", key);
}

static json_t *not_type(struct schema *x, const char *type, const char *key, json_t *v)
{
    static const struct { int kind; const char *name; } all[] = {
        {KIND_NULL, "null"}, {KIND_BOOL, "boolean"}, {KIND_NUMBER, "number"},
        {KIND_STRING, "string"}, {KIND_ARRAY, "array"}, {KIND_OBJECT, "object"}};
    json_t *s = json_pack("{s:O}", "type", v), *names = json_array();
    int set = s ? schema_kinds(x, s) : 0;
    (void)type;
    (void)key;
    json_decref(s);
    if ((set & KIND_INTEGER) && !(set & KIND_NUMBER) && x->exact) {
        json_decref(names);
        return schema_fault(x, E_UNSUPPORTED, "not: numbers that are no integers cannot be told "
                            "apart (type)");
    }
    set |= set & KIND_INTEGER ? KIND_NUMBER : 0; /* numbers that are no integers are not written */
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (!(set & all[i].kind))
            json_array_append_new(names, json_string(all[i].name));
    return json_pack("{s:o}", "type", names);
}

static json_t *not_required(struct schema *x, const char *type, const char *key, json_t *v)
{
    json_t *any = json_array(), *one;
    size_t i;
    (void)key;
    json_array_foreach(v, i, one)
        if (json_is_string(one) && schema_spend(x, 1))
            json_array_append_new(any, json_pack("{s:s,s:{s:b}}", "type", type, "properties",
                                                 json_string_value(one), 0));
    return json_pack("{s:o}", "anyOf", any);
}

static json_t *not_properties(struct schema *x, const char *type, const char *key, json_t *v)
{
    json_t *any = json_array(), *one;
    const char *name;
    (void)key;
    json_object_foreach(v, name, one)
        if (schema_spend(x, 1))
            json_array_append_new(any, json_pack("{s:s,s:[s],s:{s:{s:O}}}", "type", type,
                                                 "required", name, "properties", name, "not",
                                                 one));
    return json_pack("{s:o}", "anyOf", any);
}

static json_t *not_any(struct schema *x, const char *type, const char *key, json_t *v)
{
    json_t *all = json_array(), *one;
    size_t i;
    (void)type;
    (void)key;
    json_array_foreach(v, i, one)
        if (schema_spend(x, 1))
            json_array_append_new(all, json_pack("{s:O}", "not", one));
    return json_pack("{s:o}", "allOf", all);
}

static json_t *not_values(struct schema *x, const char *type, const char *key, json_t *v)
{
    (void)x;
    (void)type;
    (void)key;
    return json_pack("{s:{s:O}}", "not", "enum", v);
}

static json_t *not_not(struct schema *x, const char *type, const char *key, json_t *v)
{
    (void)x;
    (void)type;
    (void)key;
    return json_incref(v);
}

static const struct { const char *key, *type; complement *of; } rows[] = {
    {"type", "", not_type},                 {"enum", "", not_values},
    {"not", "", not_not},                   {"anyOf", "", not_any},
    {"required", "object", not_required},   {"properties", "object", not_properties},
    {"minimum", "number", not_bound},       {"maximum", "number", not_bound},
    {"exclusiveMinimum", "number", not_bound}, {"exclusiveMaximum", "number", not_bound},
    {"minLength", "string", not_least},     {"maxLength", "string", not_most},
    {"minItems", "array", not_least},       {"maxItems", "array", not_most},
    {"minProperties", "object", not_least}, {"maxProperties", "object", not_most},
};

/* What flat schema s does not allow; new. NULL = a fault. */
static json_t *complement_of(struct schema *x, const json_t *s)
{
    json_t *any = json_array(), *v;
    const char *key;
    if (json_is_false(s))
        return json_decref(any), json_true();
    json_object_foreach((json_t *)(uintptr_t)s, key, v) {
        size_t i = 0;
        while (i < ARRAY_LEN(rows) && strcmp(rows[i].key, key) != 0)
            i++;
        json_t *one = i < ARRAY_LEN(rows) ? rows[i].of(x, rows[i].type, key, v) : NULL;
        if (!one) {
            json_decref(any);
            return schema_fault(x, E_UNSUPPORTED, "not: %s cannot be enforced within not or if",
                                key);
        }
        json_array_append_new(any, one);
    }
    if (json_array_size(any) == 1) {
        v = json_incref(json_array_get(any, 0));
        json_decref(any);
        return v;
    }
    return json_array_size(any) ? json_pack("{s:o}", "anyOf", any)
                                : (json_decref(any), json_false());
}

/* ---- the keywords ------------------------------------------------------------------------ */

static bool add_if(struct schema *x, const json_t *s, json_t *condition, json_t *out)
{
    json_t *then = json_object_get(s, "then"), *otherwise = json_object_get(s, "else");
    if (!then && !otherwise)
        return true;
    json_t *yes = then ? then : json_true(), *no = otherwise ? otherwise : json_true();
    json_t *any = json_pack("{s:[{s:[O,O]},{s:[{s:O},O]}]}", "anyOf", "allOf", condition, yes,
                            "allOf", "not", condition, no);
    return schema_keep(x, any) && json_array_append(out, any) == 0;
}

/* Each property that is there asks for others, or for a schema. */
static bool add_dependent(struct schema *x, const char *key, json_t *v, json_t *out)
{
    const char *name;
    json_t *one;
    if (!json_is_object(v))
        return schema_fault(x, E_FORMAT, "%s: an object is expected", key), false;
    json_object_foreach(v, name, one) {
        json_t *names = NULL, *any;
        if (json_is_array(one)) {
            names = json_copy(one);
            json_array_append_new(names, json_string(name));
            any = json_pack("{s:[{s:{s:b}},{s:o}]}", "anyOf", "properties", name, 0, "required",
                            names);
        } else {
            any = json_pack("{s:[{s:{s:b}},{s:[{s:[s]},O]}]}", "anyOf", "properties", name, 0,
                            "allOf", "required", name, one);
        }
        if (!schema_spend(x, 1) || !schema_keep(x, any) || json_array_append(out, any))
            return false;
    }
    return true;
}

const json_t *schema_conditions(struct schema *x, const json_t *s, const json_t *nots)
{
    static const char *const dependents[] = {"dependentRequired", "dependentSchemas",
                                             "dependencies"};
    json_t *out = schema_keep(x, json_array()), *v;
    bool ok = out != NULL;
    if (ok && nots) {
        v = schema_keep(x, complement_of(x, nots));
        ok = v && json_array_append(out, v) == 0;
    }
    if (ok && (v = json_object_get(s, "if")))
        ok = add_if(x, s, v, out);
    for (size_t i = 0; i < ARRAY_LEN(dependents) && ok; i++)
        if ((v = json_object_get(s, dependents[i])))
            ok = add_dependent(x, dependents[i], v, out);
    if (!ok && !x->a->err.code)
        schema_fault(x, E_NOMEM, "no memory for a schema");
    return ok ? out : NULL;
}
