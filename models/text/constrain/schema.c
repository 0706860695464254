/* The jobs of a JSON Schema, and what every kind of value shares. See schema.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "models/files/jsontext.h"
#include "models/text/constrain/schema_int.h"

#define MERGES 100000 /* keywords looked at for one schema: some 10 ms */
#define INDENT 20    /* columns of white space after a line break */
#define EXPONENT_DIGITS 2
#define NUMBER_DIGITS 16

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

/* ---- jobs ------------------------------------------------------------------------------- */

static bool more_jobs(struct schema *x)
{
    if (x->n_jobs < x->cap_jobs)
        return true;
    int32_t cap = MAX(2 * x->cap_jobs, 64);
    struct schema_job *jobs = mem_realloc(x->jobs, (size_t)cap * sizeof *jobs);
    if (jobs)
        x->jobs = jobs;
    int32_t *slots = jobs ? mem_array((size_t)cap * 2, sizeof *slots) : NULL;
    if (!slots)
        return schema_fault(x, E_NOMEM, "no memory for a schema"), false;
    mem_free(x->slots);
    x->slots = slots;
    x->cap_jobs = cap;
    x->n_slots = 2 * cap;
    for (int32_t i = 0; i < x->n_jobs; i++) {
        size_t at = (size_t)((uintptr_t)x->jobs[i].s / 16) % (size_t)x->n_slots;
        while (slots[at])
            at = (at + 1) % (size_t)x->n_slots;
        slots[at] = i + 1;
    }
    return true;
}

/* What merging made is compared by its text: else recursion through allOf had no end. */
static const json_t *same_content(struct schema *x, const json_t *s)
{
    char *text = json_dumps(s, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    const json_t *old = text ? json_object_get(x->by_content, text) : NULL;
    (void)schema_spend(x, text ? strlen(text) / 64 : 0);
    if (!text || (!old && json_object_set(x->by_content, text, (json_t *)(uintptr_t)s)))
        schema_fault(x, E_NOMEM, "no memory for a schema");
    mem_free(text);
    return old ? old : s;
}

int32_t schema_rule(struct schema *x, const json_t *s)
{
    s = x->a->err.code ? NULL : schema_follow(x, s);
    if (!s)
        return 0;
    if (json_is_true(s) || (json_is_object(s) && json_object_size(s) == 0))
        return schema_any_value(x);
    if (json_object_size(s) <= 2 && json_object_get(s, "allOf"))
        s = same_content(x, s);
    if (!more_jobs(x) || !schema_spend(x, 1))
        return 0;
    size_t at = (size_t)((uintptr_t)s / 16) % (size_t)x->n_slots;
    for (; x->slots[at]; at = (at + 1) % (size_t)x->n_slots)
        if (x->jobs[x->slots[at] - 1].s == s)
            return x->jobs[x->slots[at] - 1].rule;
    const char *title = json_string_value(json_object_get(s, "title"));
    int32_t rule = automaton_rule(x->a, title ? title : "a schema");
    x->jobs[x->n_jobs] = (struct schema_job){s, rule};
    x->slots[at] = ++x->n_jobs;
    return rule;
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
        {"maxItems", KIND_ARRAY}, {"minLength", KIND_STRING}, {"maxLength", KIND_STRING},
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

/* ---- rules that every schema may need ---------------------------------------------------- */

void schema_emit_space(struct schema *x, int32_t from, int32_t to)
{
    struct automaton *a = x->a;
    if (x->compact) {
        automaton_empty(a, from, to);
        return;
    }
    if (!x->space) {
        static const struct char_range blank[] = {{' ', ' '}, {'\t', '\t'}};
        x->space = automaton_rule(a, "white space");
        expr_define(a, x->space, EXPR_ALT(a, expr_str(a, ""), expr_str(a, " "),
                    EXPR_SEQ(a, expr_str(a, "\n"),
                             expr_repeat(a, expr_class(a, blank, 2), 0, INDENT))));
    }
    automaton_call(a, from, to, x->space);
}

const struct expr *schema_char(struct automaton *a)
{
    static const struct char_range plain[] = {{0x20, '!'}, {'#', '['}, {']', CHAR_MAX_CODE}};
    static const struct char_range hex[] = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
    static const struct char_range not_d[] = {{'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'},
                                              {'e', 'f'}};
    static const struct char_range d[] = {{'D', 'D'}, {'d', 'd'}}, low[] = {{'0', '7'}};
    static const struct char_range first[] = {{'8', '9'}, {'A', 'B'}, {'a', 'b'}};
    static const struct char_range second[] = {{'C', 'F'}, {'c', 'f'}};
    static const struct char_range letters[] = {{'"', '"'}, {'\\', '\\'}, {'/', '/'}, {'b', 'b'},
                                                {'f', 'f'}, {'n', 'n'}, {'r', 'r'}, {'t', 't'}};
    const struct expr *h = expr_class(a, hex, 3), *hh = EXPR_SEQ(a, h, h);
    const struct expr *dd = expr_class(a, d, 2), *u = expr_str(a, "\\u");
    return EXPR_ALT(a, expr_class(a, plain, 3),
                    EXPR_SEQ(a, expr_str(a, "\\"), expr_class(a, letters, 8)),
                    EXPR_SEQ(a, u, expr_class(a, not_d, 5), h, hh),
                    EXPR_SEQ(a, u, dd, expr_class(a, low, 1), hh),
                    EXPR_SEQ(a, u, dd, expr_class(a, first, 3), hh, u, dd,
                             expr_class(a, second, 2), hh)); /* a surrogate pair */
}

int32_t schema_any_string(struct schema *x)
{
    struct automaton *a = x->a;
    if (!x->string) {
        x->string = automaton_rule(a, "a string");
        expr_define(a, x->string, EXPR_SEQ(a, expr_str(a, "\""),
                    expr_repeat(a, schema_char(a), 0, REPEAT_FOREVER), expr_str(a, "\"")));
    }
    return x->string;
}

int32_t schema_any_number(struct schema *x)
{
    struct automaton *a = x->a;
    static const struct char_range digit[] = {{'0', '9'}}, first[] = {{'1', '9'}};
    static const struct char_range e[] = {{'E', 'E'}, {'e', 'e'}};
    static const struct char_range sign[] = {{'+', '+'}, {'-', '-'}};
    if (x->number)
        return x->number;
    const struct expr *d = expr_class(a, digit, 1);
    x->number = automaton_rule(a, "a number");
    expr_define(a, x->number, EXPR_SEQ(a, expr_repeat(a, expr_str(a, "-"), 0, 1),
        EXPR_ALT(a, expr_str(a, "0"), EXPR_SEQ(a, expr_class(a, first, 1),
                                               expr_repeat(a, d, 0, NUMBER_DIGITS - 1))),
        expr_repeat(a, EXPR_SEQ(a, expr_str(a, "."), expr_repeat(a, d, 1, NUMBER_DIGITS)), 0, 1),
        expr_repeat(a, EXPR_SEQ(a, expr_class(a, e, 2),
                                expr_repeat(a, expr_class(a, sign, 2), 0, 1),
                                expr_repeat(a, d, 1, EXPONENT_DIGITS)), 0, 1)));
    return x->number;
}

/* Any array or object: the schemas {} of their parts are the rule of any value again. */
static int32_t any_of(struct schema *x, int32_t *rule, const char *name, const char *schema)
{
    if (!*rule) {
        json_t *s = schema_keep(x, json_loads(schema, 0, NULL));
        *rule = automaton_rule(x->a, name);
        if (s && json_object_get(s, "items"))
            schema_emit_array(x, s, automaton_start(x->a, *rule), automaton_end(x->a, *rule));
        else if (s)
            schema_emit_object(x, s, automaton_start(x->a, *rule), automaton_end(x->a, *rule));
    }
    return *rule;
}

int32_t schema_any_value(struct schema *x)
{
    struct automaton *a = x->a;
    if (x->value)
        return x->value;
    x->value = automaton_rule(a, "any value");
    int32_t from = automaton_start(a, x->value), to = automaton_end(a, x->value);
    static const char *const words[] = {"null", "true", "false"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        automaton_text(a, from, to, words[i], strlen(words[i]));
    automaton_call(a, from, to, schema_any_string(x));
    automaton_call(a, from, to, schema_any_number(x));
    automaton_call(a, from, to, any_of(x, &x->array, "any array", "{\"items\":true}"));
    automaton_call(a, from, to,
                   any_of(x, &x->object, "any object", "{\"additionalProperties\":true}"));
    return x->value;
}

/* ---- one job ---------------------------------------------------------------------------- */

/* s without a key, or NULL when nothing that restricts is left. */
static json_t *without(struct schema *x, const json_t *s, const char *key)
{
    json_t *base = schema_keep(x, json_copy((json_t *)(uintptr_t)s));
    if (base)
        json_object_del(base, key);
    return base && json_object_size(base) ? base : NULL;
}

/* Each branch together with what stands beside anyOf. */
static void emit_branches(struct schema *x, const json_t *s, int32_t from, int32_t to)
{
    const json_t *branches = json_object_get(s, "anyOf");
    json_t *base = without(x, s, "anyOf");
    for (size_t i = 0; i < json_array_size(branches) && !x->a->err.code; i++) {
        const json_t *one = json_array_get(branches, i);
        if (base)
            one = schema_keep(x, json_pack("{s:[O,O]}", "allOf", base, one));
        if (one)
            automaton_call(x->a, from, to, schema_rule(x, one));
    }
}

static void emit(struct schema *x, const json_t *s, int32_t from, int32_t to)
{
    struct automaton *a = x->a;
    if (json_is_false(s))
        return;
    if (json_object_get(s, "anyOf")) {
        emit_branches(x, s, from, to);
        return;
    }
    if (json_object_get(s, "enum")) {
        schema_emit_enum(x, s, from, to);
        return;
    }
    int set = schema_kinds(x, s);
    if (set == KIND_ALL && json_object_size(s) == 0) {
        automaton_call(a, from, to, schema_any_value(x));
        return;
    }
    if (set & KIND_NULL)
        automaton_text(a, from, to, "null", 4);
    if (set & KIND_BOOL) {
        automaton_text(a, from, to, "true", 4);
        automaton_text(a, from, to, "false", 5);
    }
    if (set & (KIND_NUMBER | KIND_INTEGER))
        schema_emit_number(x, s, !(set & KIND_NUMBER), from, to);
    if (set & KIND_STRING)
        schema_emit_string(x, s, from, to);
    if (set & KIND_ARRAY)
        schema_emit_array(x, s, from, to);
    if (set & KIND_OBJECT)
        schema_emit_object(x, s, from, to);
}

static void do_jobs(struct schema *x)
{
    while (x->done < x->n_jobs && !x->a->err.code) {
        struct schema_job job = x->jobs[x->done++];
        const json_t *flat = schema_flat(x, job.s);
        if (flat && !x->a->err.code)
            emit(x, flat, automaton_start(x->a, job.rule), automaton_end(x->a, job.rule));
    }
}

/* ---- whole ------------------------------------------------------------------------------ */

static void release(struct schema *x)
{
    json_decref(x->root);
    json_decref(x->made);
    json_decref(x->by_content);
    mem_free(x->jobs);
    mem_free(x->slots);
}

static bool prepare(struct schema *x, struct automaton *a, bool compact)
{
    /* Rule 0 is none of ours, so that 0 can say "not made yet". */
    if (a->n_rules == 0)
        (void)automaton_rule(a, "nothing");
    *x = (struct schema){.a = a, .compact = compact, .work = MERGES};
    x->made = json_array();
    x->by_content = json_object();
    if (!x->made || !x->by_content)
        schema_fault(x, E_NOMEM, "no memory for a schema");
    return !a->err.code;
}

int32_t schema_parse(struct automaton *a, const char *text, size_t n, bool compact)
{
    struct schema x;
    int32_t rule = 0;
    bool word = (n == 4 && memcmp(text, "true", 4) == 0) ||
                (n == 5 && memcmp(text, "false", 5) == 0);
    if (prepare(&x, a, compact)) {
        if (word)
            x.root = n == 4 ? json_true() : json_false();
        else if (jsontext_parse(&x.root, text, n, LIMIT_GRAMMAR_BYTES, "the schema", &a->err))
            x.root = NULL;
        if (!a->err.code)
            rule = schema_rule(&x, x.root);
        do_jobs(&x);
    }
    release(&x);
    return rule;
}

int32_t schema_any_object(struct automaton *a, bool compact)
{
    struct schema x;
    int32_t rule = 0;
    if (prepare(&x, a, compact)) {
        (void)schema_any_value(&x);
        do_jobs(&x);
        rule = x.object;
    }
    release(&x);
    return rule;
}
