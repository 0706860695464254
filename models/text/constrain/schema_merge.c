/* Schemas made flat: no $ref, no allOf, no const, no oneOf, no condition (schema_not.c); one object
 * whose keywords all count.
 * Every merge of a keyword is counted, so that what multiplies comes to an end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/text/constrain/schema_int.h"

#define REF_HOPS 32      /* $ref to $ref … and allOf in allOf */
#define BRANCHES_MAX 256 /* of anyOf times anyOf */

enum how { DROP, REFUSE, HARMLESS, LARGEST, SMALLEST, EQUAL, TYPES, VALUES, NAMES, OBJECT, ARRAY,
           BRANCHES, NOT };

/* What is done with a keyword. HARMLESS: refused unless its value restricts nothing. DROP: others
 * look at it. */
static const struct keyword { const char *name; enum how how; } keywords[] = {
    {"type", TYPES}, {"enum", VALUES}, {"anyOf", BRANCHES}, {"required", NAMES},
    {"properties", OBJECT}, {"additionalProperties", OBJECT}, {"patternProperties", OBJECT},
    {"unevaluatedProperties", OBJECT},
    {"items", ARRAY}, {"prefixItems", ARRAY}, {"propertyNames", EQUAL},
    {"minimum", LARGEST}, {"exclusiveMinimum", LARGEST}, {"minLength", LARGEST},
    {"minItems", LARGEST}, {"minProperties", LARGEST}, {"maximum", SMALLEST},
    {"exclusiveMaximum", SMALLEST}, {"maxLength", SMALLEST}, {"maxItems", SMALLEST},
    {"maxProperties", SMALLEST}, {"multipleOf", EQUAL}, {"pattern", EQUAL}, {"format", EQUAL},
    {"uniqueItems", EQUAL}, {"not", NOT}, {"if", DROP}, {"then", DROP}, {"else", DROP},
    {"dependentSchemas", DROP}, {"dependentRequired", DROP}, {"dependencies", DROP},
    {"contains", REFUSE}, {"minContains", DROP}, {"maxContains", DROP},
    {"unevaluatedItems", HARMLESS}, {"additionalItems", REFUSE}, {"$dynamicRef", REFUSE},
    {"$recursiveRef", REFUSE}, {"extends", REFUSE}, {"disallow", REFUSE}};

static const struct keyword *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(keywords); i++)
        if (strcmp(keywords[i].name, name) == 0)
            return &keywords[i];
    return NULL; /* an annotation, or nobody's */
}

static bool spend(struct schema *x) { return schema_spend(x, 1); }

/* ---- references ------------------------------------------------------------------------- */

/* One token of a JSON pointer in a URI fragment, decoded. */
static const char *pointer_token(const char *p, char *out, size_t cap)
{
    size_t n = 0;
    for (; *p && *p != '/'; p++) {
        unsigned byte = (unsigned char)*p;
        if (*p == '%' && sscanf(p + 1, "%2x", &byte) == 1 && p[1] && p[2])
            p += 2;
        if (byte == '~' && (p[1] == '0' || p[1] == '1'))
            byte = *++p == '0' ? '~' : '/';
        if (n + 1 >= cap)
            return NULL;
        out[n++] = (char)byte;
    }
    out[n] = '\0';
    return p;
}

static const json_t *resolve(struct schema *x, const json_t *ref)
{
    const char *p = json_string_value(ref);
    const json_t *at = x->root;
    char name[512];
    if (!p || *p != '#')
        return schema_fault(x, E_UNSUPPORTED, "$ref: \"%.80s\" is not in the schema (#…)",
                            p ? p : "no string");
    for (p++; *p == '/' && at;) {
        p = pointer_token(p + 1, name, sizeof name);
        if (!p)
            return schema_fault(x, E_RANGE, "$ref: a name of more than %zu bytes", sizeof name);
        char *end = name;
        long i = strtol(name, &end, 10);
        at = json_is_array(at) ? (*end || i < 0 ? NULL : json_array_get(at, (size_t)i))
                               : json_object_get(at, name);
    }
    if (*p || !at)
        return schema_fault(x, E_NOENT, "$ref: the schema has no \"%.80s\"",
                            json_string_value(ref));
    return at;
}

/* ---- merging two values of one keyword -------------------------------------------------- */

/* The same schema, as far as a short look shows. */
static bool same_schema(const json_t *a, const json_t *b)
{
    const json_t *ra = json_object_get(a, "$ref"), *rb = json_object_get(b, "$ref");
    return a == b || (ra && rb && json_object_size(a) == 1 && json_object_size(b) == 1 &&
                      json_equal(ra, rb));
}

static json_t *both(struct schema *x, json_t *a, json_t *b)
{
    if (json_is_true(b) || json_is_false(a) || same_schema(a, b))
        return json_incref(a);
    if (json_is_true(a) || json_is_false(b))
        return json_incref(b);
    return spend(x) ? json_pack("{s:[O,O]}", "allOf", a, b) : NULL;
}

static json_t *merge_values(struct schema *x, const json_t *a, const json_t *b)
{
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(a); i++)
        if (schema_spend(x, 1 + json_array_size(b) / 16) && schema_holds(b, json_array_get(a, i)))
            json_array_append(out, json_array_get(a, i));
    return out;
}

static json_t *merge_types(struct schema *x, const json_t *a, const json_t *b)
{
    static const char *const names[] = {"null", "boolean", "string", "array", "object"};
    static const int bits[] = {KIND_NULL, KIND_BOOL, KIND_STRING, KIND_ARRAY, KIND_OBJECT};
    json_t *sa = json_pack("{s:O}", "type", a), *sb = json_pack("{s:O}", "type", b);
    int set = sa && sb ? schema_kinds(x, sa) & schema_kinds(x, sb) : 0;
    json_t *out = json_array();
    for (size_t i = 0; i < ARRAY_LEN(bits); i++)
        if (set & bits[i])
            json_array_append_new(out, json_string(names[i]));
    if (set & (KIND_NUMBER | KIND_INTEGER))
        json_array_append_new(out, json_string(set & KIND_NUMBER ? "number" : "integer"));
    json_decref(sa);
    json_decref(sb);
    return out;
}

static json_t *merge_names(struct schema *x, const json_t *a, const json_t *b)
{
    json_t *out = json_copy((json_t *)(uintptr_t)a);
    for (size_t i = 0; i < json_array_size(b); i++)
        if (schema_spend(x, 1 + json_array_size(a) / 16) && !schema_holds(a, json_array_get(b, i)))
            json_array_append(out, json_array_get(b, i));
    return out;
}

/* Every branch of one with every branch of the other. */
static json_t *merge_branches(struct schema *x, json_t *a, json_t *b)
{
    json_t *out = json_array();
    size_t n = json_array_size(a) * json_array_size(b);
    if (n > BRANCHES_MAX)
        return json_decref(out), schema_fault(x, E_RANGE, "anyOf: %zu branches together, at most "
                                              "%d", n, BRANCHES_MAX);
    for (size_t i = 0; i < json_array_size(a); i++)
        for (size_t k = 0; k < json_array_size(b); k++)
            json_array_append_new(out, both(x, json_array_get(a, i), json_array_get(b, k)));
    return out;
}

/* ---- objects and arrays: several keywords at once ---------------------------------------- */

static json_t *get_or(const json_t *s, const char *key, json_t *otherwise)
{
    json_t *v = json_object_get(s, key);
    return v ? v : otherwise;
}

/* What s says of a property that it may not name. */
static json_t *property_of(struct schema *x, const json_t *s, const char *key)
{
    json_t *own = json_object_get(json_object_get(s, "properties"), key);
    if (!own && json_object_size(json_object_get(s, "patternProperties")))
        return schema_fault(x, E_UNSUPPORTED, "allOf: patternProperties cannot be merged");
    return own ? own : get_or(s, "additionalProperties", json_true());
}

static void merge_objects(struct schema *x, json_t *out, const json_t *a, const json_t *b)
{
    json_t *properties = json_object(), *v, *rest = NULL;
    const char *key;
    const json_t *sides[] = {a, b};
    for (int i = 0; i < 2; i++)
        json_object_foreach(json_object_get(sides[i], "properties"), key, v)
            if (spend(x) && !json_object_get(properties, key)) {
                json_t *pa = property_of(x, a, key), *pb = property_of(x, b, key);
                json_t *one = pa && pb ? both(x, pa, pb) : NULL;
                if (one)
                    json_object_set_new(properties, key, one);
            }
    json_t *ra = json_object_get(a, "additionalProperties");
    json_t *rb = json_object_get(b, "additionalProperties");
    if (ra && rb)
        rest = both(x, ra, rb);
    else if (ra || rb)
        rest = json_incref(ra ? ra : rb);
    if (json_object_size(properties))
        json_object_set(out, "properties", properties);
    if (rest)
        json_object_set_new(out, "additionalProperties", rest);
    json_decref(properties);
    static const char *const others[] = {"patternProperties", "unevaluatedProperties"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        json_t *pa = json_object_get(a, others[i]), *pb = json_object_get(b, others[i]);
        if (pa && pb && (!schema_spend(x, 100) || !json_equal(pa, pb)))
            schema_fault(x, E_UNSUPPORTED, "allOf: %s cannot be merged", others[i]);
        else if (pa || pb)
            json_object_set(out, others[i], pa ? pa : pb);
    }
}

static void merge_arrays(struct schema *x, json_t *out, const json_t *a, const json_t *b)
{
    const json_t *pa = json_object_get(a, "prefixItems"), *pb = json_object_get(b, "prefixItems");
    json_t *ia = get_or(a, "items", json_true()), *ib = get_or(b, "items", json_true());
    size_t n = MAX(json_array_size(pa), json_array_size(pb));
    json_t *prefix = json_array();
    for (size_t i = 0; i < n && spend(x); i++) {
        json_t *one = i < json_array_size(pa) ? json_array_get(pa, i) : ia;
        json_t *two = i < json_array_size(pb) ? json_array_get(pb, i) : ib;
        json_array_append_new(prefix, both(x, one, two));
    }
    if (json_object_get(a, "items") || json_object_get(b, "items"))
        json_object_set_new(out, "items", both(x, ia, ib));
    if (n)
        json_object_set(out, "prefixItems", prefix);
    json_decref(prefix);
}

/* ---- two flat schemas ------------------------------------------------------------------- */

static json_t *merge_one(struct schema *x, const struct keyword *k, json_t *a, json_t *b)
{
    switch (k->how) {
    case LARGEST:
    case SMALLEST: {
        bool larger = json_number_value(a) >= json_number_value(b);
        return json_incref(larger == (k->how == LARGEST) ? a : b);
    }
    case TYPES: return merge_types(x, a, b);
    case VALUES: return merge_values(x, a, b);
    case NAMES: return merge_names(x, a, b);
    case BRANCHES: return merge_branches(x, a, b);
    case NOT:
        return json_pack("{s:o}", "enum", merge_names(x, json_object_get(a, "enum"),
                                                      json_object_get(b, "enum")));
    default:
        if (schema_spend(x, 100) && json_equal(a, b))
            return json_incref(a);
        return schema_fault(x, E_UNSUPPORTED, "allOf: two values of %s cannot be merged", k->name);
    }
}

/* Owned by x. */
static const json_t *merge(struct schema *x, const json_t *a, const json_t *b)
{
    if (json_is_false(a) || json_is_false(b))
        return json_false();
    json_t *out = schema_keep(x, json_object());
    for (size_t i = 0; i < ARRAY_LEN(keywords) && out && spend(x); i++) {
        const struct keyword *k = &keywords[i];
        json_t *va = json_object_get(a, k->name), *vb = json_object_get(b, k->name);
        if (k->how == OBJECT || k->how == ARRAY || (!va && !vb))
            continue;
        json_t *v = va && vb ? merge_one(x, k, va, vb) : json_incref(va ? va : vb);
        if (v)
            json_object_set_new(out, k->name, v);
    }
    if (!out || x->a->err.code)
        return NULL;
    merge_objects(x, out, a, b);
    merge_arrays(x, out, a, b);
    return x->a->err.code ? NULL : out;
}

/* ---- one schema ------------------------------------------------------------------------- */

static const json_t *flat(struct schema *x, const json_t *s, int depth);

static bool restricts_nothing(const char *key, const json_t *v)
{
    return strcmp(key, "uniqueItems") == 0 ? json_is_false(v) : json_is_true(v);
}

/* out and all the others. */
static const json_t *merge_all(struct schema *x, const json_t *out, const json_t *all, int depth)
{
    for (size_t i = 0; i < json_array_size(all) && out; i++) {
        const json_t *f = flat(x, json_array_get(all, i), depth + 1);
        out = f && json_object_size(out) ? merge(x, out, f) : f && !json_is_false(out) ? f : out;
        out = f ? out : NULL;
    }
    return out;
}

/* Branch i, and none of those before or behind it that may match the same value. */
static const json_t *branch_alone(struct schema *x, const json_t *one_of, const json_t *flats,
                                  size_t i, int depth)
{
    const json_t *out = json_array_get(flats, i);
    json_t *others = schema_keep(x, json_array());
    for (size_t k = 0; k < json_array_size(flats) && others && schema_spend(x, 1); k++)
        if (k != i && !schema_disjoint(x, json_array_get(flats, k), out, x->exact))
            json_array_append_new(others, json_pack("{s:O}", "not", json_array_get(one_of, k)));
    if (json_array_size(others) && x->exact)
        return schema_fault(x, E_UNSUPPORTED, "branch %zu may match the value of another, and "
                            "this is within not or if", i);
    out = x->a->err.code ? NULL : merge_all(x, out, others, depth + 1);
    if (x->a->err.code == E_UNSUPPORTED)
        err_wrap(&x->a->err, "branch %zu may match the value of another (anyOf would be enforced)",
                 i);
    return out;
}

/* oneOf as anyOf: where two branches could both match, a property whose values tell them apart
 * is required in all of them; else each is without the others. */
static json_t *branches_of(struct schema *x, const json_t *one_of, int depth)
{
    size_t n = json_array_size(one_of);
    json_t *flats = schema_keep(x, json_array()), *out = schema_keep(x, json_array());
    for (size_t i = 0; i < n && out; i++) {
        const json_t *f = flat(x, json_array_get(one_of, i), depth + 1);
        if (!f)
            return NULL;
        json_array_append(flats, (json_t *)(uintptr_t)f);
    }
    for (size_t i = 0; i < n && out; i++) {
        const json_t *one = branch_alone(x, one_of, flats, i, depth);
        if (!one)
            return err_wrap(&x->a->err, "oneOf"), NULL;
        json_array_append(out, (json_t *)(uintptr_t)one);
    }
    return out;
}

/* {"enum": values}, of which `not` stays as it is. */
static bool only_values(const json_t *s)
{
    return json_object_size(s) == 1 && json_is_array(json_object_get(s, "enum"));
}

/* What is not, flat and exact; NULL = nothing, or a fault. */
static const json_t *flat_not(struct schema *x, const json_t *nots, int depth)
{
    bool outer = x->exact;
    if (!nots || only_values(nots))
        return NULL;
    x->exact = true;
    const json_t *f = flat(x, nots, depth);
    x->exact = outer;
    return f;
}

/* The keyword as it is kept; NULL = it is dropped. */
static json_t *keep_keyword(struct schema *x, const char *key, json_t *v)
{
    const struct keyword *k = find(key);
    if (!k || k->how == DROP)
        return NULL;
    if (k->how == REFUSE || (k->how == HARMLESS && !restricts_nothing(key, v)))
        return schema_fault(x, E_UNSUPPORTED, "%s: this keyword cannot be enforced", key);
    if (strcmp(key, "uniqueItems") == 0 && restricts_nothing(key, v))
        return NULL;
    if (k->how == NOT) /* listed values alone; else it is a condition */
        return only_values(v) ? v : NULL;
    bool array = k->how == VALUES || k->how == NAMES || k->how == BRANCHES ||
                 strcmp(key, "prefixItems") == 0;
    bool object = strcmp(key, "properties") == 0 || strcmp(key, "patternProperties") == 0;
    bool number = k->how == LARGEST || k->how == SMALLEST;
    if ((array && !json_is_array(v)) || (object && !json_is_object(v)) ||
        (number && !json_is_number(v)))
        return schema_fault(x, E_FORMAT, "%s: %s is expected", key,
                            array ? "an array" : object ? "an object" : "a number");
    if (k->how == BRANCHES && json_array_size(v) == 0)
        return schema_fault(x, E_FORMAT, "%s: the array is empty", key);
    return k->how == HARMLESS ? NULL : v;
}

/* s's own keywords, but for $ref and allOf. */
static json_t *own_keywords(struct schema *x, const json_t *s, int depth)
{
    json_t *out = schema_keep(x, json_object()), *v;
    const char *key;
    if (!out)
        return NULL;
    json_object_foreach((json_t *)(uintptr_t)s, key, v) {
        json_t *kept = spend(x) ? keep_keyword(x, key, v) : NULL;
        if (kept)
            json_object_set(out, key, kept);
    }
    if ((v = json_object_get(s, "const"))) {
        json_t *one = json_pack("[O]", v), *old = json_object_get(out, "enum");
        json_t *values = old && one ? merge_values(x, one, old) : json_incref(one);
        json_object_set_new(out, "enum", values);
        json_decref(one);
    }
    if ((v = json_object_get(s, "oneOf"))) {
        json_t *any = json_object_get(out, "anyOf"), *one = NULL;
        if (!json_is_array(v) || json_array_size(v) == 0)
            return schema_fault(x, E_FORMAT, "oneOf: an array that is not empty is expected");
        one = branches_of(x, v, depth);
        if (one)
            json_object_set_new(out, "anyOf", any ? merge_branches(x, any, one)
                                                  : json_incref(one));
    }
    return x->a->err.code ? NULL : out;
}

static const json_t *flat(struct schema *x, const json_t *s, int depth)
{
    if (!spend(x))
        return NULL;
    if (json_is_boolean(s))
        return json_is_true(s) ? schema_keep(x, json_object()) : s;
    if (!json_is_object(s))
        return schema_fault(x, E_FORMAT, "a schema is an object, true or false");
    if (depth > REF_HOPS)
        return schema_fault(x, E_RANGE, "$ref: the schema refers to itself without end");
    const json_t *out = own_keywords(x, s, depth);
    const json_t *ref = json_object_get(s, "$ref"), *all = json_object_get(s, "allOf");
    if (out && ref) {
        const json_t *to = resolve(x, ref), *f = to ? flat(x, to, depth + 1) : NULL;
        out = f && json_object_size(out) ? merge(x, out, f) : f;
    }
    if (out && all && !json_is_array(all))
        return schema_fault(x, E_FORMAT, "allOf: an array is expected");
    out = out ? merge_all(x, out, all, depth) : NULL;
    const json_t *nots = out ? flat_not(x, json_object_get(s, "not"), depth + 1) : NULL;
    all = out && !x->a->err.code ? schema_conditions(x, s, nots) : NULL;
    return all ? merge_all(x, out, all, depth) : NULL;
}

/* A reference with nothing but annotations beside it is what it refers to. */
const json_t *schema_follow(struct schema *x, const json_t *s)
{
    for (int hops = 0; s && json_object_get(s, "$ref"); hops++) {
        const char *key;
        json_t *v;
        json_object_foreach((json_t *)(uintptr_t)s, key, v)
            if (find(key) || strcmp(key, "allOf") == 0 || strcmp(key, "oneOf") == 0 ||
                strcmp(key, "const") == 0)
                return s;
        if (hops > REF_HOPS)
            return schema_fault(x, E_RANGE, "$ref: the schema refers to itself without end");
        s = resolve(x, json_object_get(s, "$ref"));
    }
    return s;
}

const json_t *schema_flat(struct schema *x, const json_t *s) { return flat(x, s, 0); }

/* ---- branches that exclude each other ---------------------------------------------------- */

static bool values_outside(struct schema *x, const json_t *values, const json_t *s)
{
    int set = schema_kinds(x, s);
    const json_t *other = json_object_get(s, "enum");
    for (size_t i = 0; i < json_array_size(values); i++) {
        if (!schema_spend(x, 1 + json_array_size(other) / 16))
            return false;
        const json_t *v = json_array_get(values, i);
        bool typed = json_object_get(s, "type") != NULL;
        if (!(typed && !(set & schema_kind_of(v))) && !(other && !schema_holds(other, v)))
            return false;
    }
    return true;
}

static bool requires(const json_t *s, const char *key)
{
    const json_t *required = json_object_get(s, "required");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (name && strcmp(name, key) == 0)
            return true;
    }
    return false;
}

static void require(json_t *s, const char *key)
{
    const json_t *old = json_object_get(s, "required");
    if (requires(s, key))
        return;
    json_t *names = old ? json_copy((json_t *)(uintptr_t)old) : json_array();
    json_array_append_new(names, json_string(key));
    json_object_set_new(s, "required", names);
}

/* Both are objects: a property tells them apart. It is then required in both (what is written is
 * a subset of what may be). */
static bool tell_apart(struct schema *x, json_t *a, json_t *b, int depth)
{
    const char *key;
    json_t *pa;
    json_object_foreach(json_object_get(a, "properties"), key, pa) {
        json_t *pb = json_object_get(json_object_get(b, "properties"), key);
        if (!pb || !spend(x))
            continue;
        const json_t *fa = flat(x, pa, 1), *fb = fa ? flat(x, pb, 1) : NULL;
        if (!fb || !schema_disjoint(x, fa, fb, depth + 1))
            continue;
        if (depth == 0) { /* at the top these are copies of ours */
            require(a, key);
            require(b, key);
        } else if (!requires(a, key) || !requires(b, key)) {
            continue;
        }
        return true;
    }
    return false;
}

static bool excludes_required(const json_t *closed, const json_t *open)
{
    const json_t *required = json_object_get(open, "required");
    if (!json_is_false(json_object_get(closed, "additionalProperties")) ||
        json_object_size(json_object_get(closed, "patternProperties")))
        return false;
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (name && !json_object_get(json_object_get(closed, "properties"), name))
            return true;
    }
    return false;
}

/* The whole of a's interval is below b's. */
static bool below(const json_t *a, const json_t *b)
{
    const json_t *hi = json_object_get(a, "maximum"), *lo = json_object_get(b, "minimum");
    const json_t *ohi = json_object_get(a, "exclusiveMaximum");
    const json_t *olo = json_object_get(b, "exclusiveMinimum");
    if ((hi || ohi) && (lo || olo)) {
        double h = json_number_value(ohi ? ohi : hi), l = json_number_value(olo ? olo : lo);
        return h < l || (h == l && (ohi || olo));
    }
    return false;
}

bool schema_disjoint(struct schema *x, const json_t *a, const json_t *b, int depth)
{
    if (json_is_false(a) || json_is_false(b))
        return true;
    if (depth > 3)
        return false;
    const json_t *va = json_object_get(a, "enum"), *vb = json_object_get(b, "enum");
    if ((va && values_outside(x, va, b)) || (vb && values_outside(x, vb, a)))
        return true;
    /* Without a type a schema allows all that its keywords are not about. */
    bool typed = json_object_get(a, "type") && json_object_get(b, "type");
    if (!typed && (!json_object_get(a, "properties") || !json_object_get(b, "properties")))
        return false;
    int set = schema_kinds(x, a) & schema_kinds(x, b);
    if (set == 0)
        return typed;
    if (set == KIND_OBJECT)
        return tell_apart(x, (json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b, depth) ||
               excludes_required(a, b) || excludes_required(b, a);
    if (!(set & ~(KIND_INTEGER | KIND_NUMBER)))
        return below(a, b) || below(b, a);
    return false;
}
