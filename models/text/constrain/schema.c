/* JSON Schema, job by job. See schema.h. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "models/files/jsontext.h"
#include "models/text/constrain/schema_int.h"

#define MERGES 100000 /* keywords looked at for one schema: some 10 ms */

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

/* Lists and objects cannot be left out of those that are not listed. */
static bool keeps_values(struct schema *x, const json_t *s, int set)
{
    const json_t *values = json_object_get(json_object_get(s, "not"), "enum"), *v;
    size_t i;
    json_array_foreach(values, i, v)
        if (schema_kind_of(v) & set & (KIND_ARRAY | KIND_OBJECT))
            return schema_fault(x, E_UNSUPPORTED, "not: a list or an object cannot be left out");
    return true;
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
    static const struct { int kind, type; } words[] = {
        {KIND_NULL, JSON_NULL}, {KIND_BOOL, JSON_TRUE}, {KIND_BOOL, JSON_FALSE}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        json_t *v = words[i].type == JSON_NULL ? json_null()
                                               : json_boolean(words[i].type == JSON_TRUE);
        if (set & words[i].kind && !schema_left_out(s, v)) {
            const char *word = schema_word(x, words[i].type);
            automaton_text(a, from, to, word, strlen(word));
        }
    }
    if (!keeps_values(x, s, set))
        return;
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

void schema_end(struct schema *x)
{
    json_decref(x->root);
    json_decref(x->made);
    json_decref(x->by_content);
    mem_free(x->jobs);
    mem_free(x->slots);
}

bool schema_begin(struct schema *x, struct automaton *a, struct schema_style style)
{
    /* Rule 0 is none of ours, so that 0 can say "not made yet". */
    if (a->n_rules == 0)
        (void)automaton_rule(a, "nothing");
    *x = (struct schema){.a = a, .style = style, .work = MERGES};
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
    if (schema_begin(&x, a, (struct schema_style){.compact = compact})) {
        if (word)
            x.root = n == 4 ? json_true() : json_false();
        else if (jsontext_parse(&x.root, text, n, LIMIT_GRAMMAR_BYTES, "the schema", &a->err))
            x.root = NULL;
        if (!a->err.code)
            rule = schema_rule(&x, x.root);
        do_jobs(&x);
    }
    schema_end(&x);
    return rule;
}

int32_t schema_any_object(struct automaton *a, bool compact)
{
    struct schema x;
    int32_t rule = 0;
    if (schema_begin(&x, a, (struct schema_style){.compact = compact})) {
        (void)schema_any_value(&x);
        do_jobs(&x);
        rule = x.object;
    }
    schema_end(&x);
    return rule;
}

int32_t schema_part(struct automaton *a, const json_t *root, const json_t *s,
                    struct schema_style style)
{
    struct schema x;
    int32_t rule = 0;
    if (schema_begin(&x, a, style)) {
        x.root = json_incref((json_t *)(uintptr_t)root);
        rule = schema_rule(&x, s);
        do_jobs(&x);
    }
    schema_end(&x);
    return rule;
}

static bool may_be_object(struct schema *x, const json_t *s)
{
    return !json_is_false(s) && (schema_kinds(x, s) & KIND_OBJECT);
}

int schema_ways(json_t **out, const json_t *root, const json_t *s, struct err *e)
{
    struct automaton a;
    struct schema x;
    automaton_init(&a);
    *out = json_array();
    if (schema_begin(&x, &a, (struct schema_style){0})) {
        json_t *todo = schema_keep(&x, json_pack("[O]", s)); /* grows while it is worked through */
        x.root = json_incref((json_t *)(uintptr_t)root);
        for (size_t i = 0; i < json_array_size(todo) && !a.err.code; i++) {
            const json_t *f = schema_flat(&x, json_array_get(todo, i));
            const json_t *any = json_object_get(f, "anyOf");
            if (!f || !may_be_object(&x, f))
                continue;
            json_t *base = without(&x, f, "anyOf");
            for (size_t k = 0; k < json_array_size(any); k++) {
                json_t *branch = json_array_get(any, k);
                json_array_append_new(todo, base ? json_pack("{s:[O,O]}", "allOf", base, branch)
                                                 : json_incref(branch));
            }
            if (!any)
                json_array_append(*out, (json_t *)(uintptr_t)f);
            if (json_array_size(todo) > SCHEMA_WAYS)
                schema_fault(&x, E_RANGE, "anyOf: more than %d ways to write the object",
                             SCHEMA_WAYS);
        }
        if (!a.err.code && json_array_size(*out) == 0)
            schema_fault(&x, E_FORMAT, "no object matches the schema");
    }
    schema_end(&x);
    if (a.err.code && e)
        *e = a.err;
    int rc = a.err.code;
    automaton_free(&a);
    if (rc) {
        json_decref(*out);
        *out = NULL;
    }
    return rc;
}
