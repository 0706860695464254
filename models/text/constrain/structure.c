/* Structures. See the header. Recursion is as deep as the JSON, LIMIT_JSON_DEPTH. */
#include "models/text/constrain/structure.h"

#include <string.h>

#include "base/limits.h"
#include "models/files/jsontext.h"
#include "models/text/constrain/regex.h"
#include "models/text/constrain/schema.h"

struct structure {
    struct automaton *a;
    const json_t *documents;
    const struct token_trie *trie;
};

static void emit(struct structure *x, const json_t *node, int32_t from, int32_t to);

static void malformed(struct structure *x, const char *what)
{
    err_set(&x->a->err, E_FORMAT, "the structure: %s", what);
}

/* NULL after a fault. */
static const char *text_of(struct structure *x, const json_t *v, const char *what)
{
    if (!json_is_string(v))
        malformed(x, what);
    return json_string_value(v);
}

static void emit_text(struct structure *x, const char *text, int32_t from, int32_t to)
{
    automaton_text(x->a, from, to, text, strlen(text));
}

static int32_t rule_of(struct structure *x, const json_t *node, const char *name)
{
    int32_t rule = automaton_rule(x->a, name);
    emit(x, node, automaton_start(x->a, rule), automaton_end(x->a, rule));
    return rule;
}

static void emit_any(struct structure *x, const json_t *node, const json_t *all, int32_t from,
                     int32_t to)
{
    (void)node;
    for (size_t i = 0; i < json_array_size(all) && !x->a->err.code; i++)
        automaton_call(x->a, from, to, rule_of(x, json_array_get(all, i), "one of several"));
}

static void emit_mark(struct structure *x, const json_t *node, const json_t *mark, int32_t from,
                      int32_t to)
{
    const char *text = text_of(x, mark, "a mark is a string");
    int32_t id = text ? token_trie_special(x->trie, text) : -1;
    (void)node;
    if (id >= 0)
        automaton_text(x->a, from, to, token_code(x->trie, id), TOKEN_CODE);
    else if (text)
        emit_text(x, text, from, to);
}

static void emit_regex(struct structure *x, const json_t *node, const json_t *regex, int32_t from,
                       int32_t to)
{
    const char *text = text_of(x, regex, "a regex is a string");
    const struct expr *e = text ? regex_parse(x->a, text, strlen(text), 0) : NULL;
    (void)node;
    if (e)
        expr_emit(x->a, e, from, to);
}

/* Two rows of states: none written yet, some written. */
static void emit_items(struct structure *x, const json_t *node, const json_t *items, int32_t from,
                       int32_t to)
{
    struct automaton *a = x->a;
    const json_t *needed = json_object_get(node, "needed");
    const char *between = text_of(x, json_object_get(node, "between"), "items need a \"between\"");
    int32_t none = from, some = automaton_state(a);
    for (size_t i = 0; i < json_array_size(items) && !a->err.code; i++) {
        int32_t rule = rule_of(x, json_array_get(items, i), "an item");
        int32_t next_none = automaton_state(a), next_some = automaton_state(a);
        int32_t next = automaton_state(a);
        automaton_call(a, none, next_some, rule);
        emit_text(x, between ? between : "", some, next);
        automaton_call(a, next, next_some, rule);
        if (!json_is_true(json_array_get(needed, i))) {
            automaton_empty(a, none, next_none);
            automaton_empty(a, some, next_some);
        }
        none = next_none;
        some = next_some;
    }
    automaton_empty(a, none, to);
    automaton_empty(a, some, to);
}

static void emit_repeat(struct structure *x, const json_t *node, const json_t *one, int32_t from,
                        int32_t to)
{
    struct automaton *a = x->a;
    int32_t rule = rule_of(x, one, "one of many"), some = automaton_state(a);
    int32_t next = automaton_state(a);
    if (json_integer_value(json_object_get(node, "least")) == 0)
        automaton_empty(a, from, to);
    automaton_call(a, from, some, rule);
    emit(x, json_object_get(node, "between"), some, next);
    automaton_call(a, next, some, rule);
    automaton_empty(a, some, to);
}

/* The document and the part of it that is meant; false: a fault. */
static bool find_part(struct structure *x, const json_t *part, const json_t **document,
                      const json_t **schema)
{
    const json_t *which = json_array_get(part, 0), *name = json_array_get(part, 1);
    *document = *schema = json_true();
    if (json_is_true(part))
        return true;
    if (json_is_integer(which) && json_integer_value(which) >= 0)
        *document = *schema = json_array_get(x->documents, (size_t)json_integer_value(which));
    else
        *schema = NULL;
    if (json_is_object(name) && *schema) {
        *schema = name;
    } else if (name && *schema) {
        *schema = json_object_get(json_object_get(*document, "properties"),
                                  json_is_string(name) ? json_string_value(name) : "");
        *schema = *schema ? *schema : json_true(); /* a name that is only required */
    }
    if (!*schema)
        malformed(x, "a part is true, or a document's number and a name");
    return *schema != NULL;
}

static void emit_value(struct structure *x, const json_t *node, const json_t *part, int32_t from,
                       int32_t to)
{
    const json_t *document, *schema, *avoid = json_object_get(node, "avoid");
    struct schema_style style = {.python = json_is_true(json_object_get(node, "python"))};
    if (!find_part(x, part, &document, &schema))
        return;
    x->a->avoid[0] = true; /* who reads it may not take it in names */
    for (const char *p = json_string_value(avoid); p && *p; p++)
        x->a->avoid[(unsigned char)*p] = true;
    int32_t rule = schema_part(x->a, document, schema, style);
    memset(x->a->avoid, 0, sizeof x->a->avoid);
    automaton_call(x->a, from, to, rule);
}

static void emit_raw(struct structure *x, const json_t *node, const json_t *part, int32_t from,
                     int32_t to)
{
    const json_t *document, *schema;
    if (!find_part(x, part, &document, &schema))
        return;
    automaton_call(x->a, from, to,
                   schema_raw(x->a, document, schema, json_object_get(node, "ends"),
                              json_is_true(json_object_get(node, "trimmed"))));
}

static const struct {
    const char *key;
    void (*emit)(struct structure *x, const json_t *node, const json_t *v, int32_t from,
                 int32_t to);
} nodes[] = {
    {"any", emit_any}, {"mark", emit_mark}, {"regex", emit_regex}, {"items", emit_items},
    {"repeat", emit_repeat}, {"value", emit_value}, {"raw", emit_raw},
};

static void emit(struct structure *x, const json_t *node, int32_t from, int32_t to)
{
    struct automaton *a = x->a;
    if (json_is_string(node)) {
        emit_text(x, json_string_value(node), from, to);
        return;
    }
    for (size_t i = 0; i < json_array_size(node) && !a->err.code; i++) {
        int32_t next = automaton_state(a);
        emit(x, json_array_get(node, i), from, next);
        from = next;
    }
    if (json_is_array(node)) {
        automaton_empty(a, from, to);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(nodes) && !a->err.code; i++) {
        const json_t *v = json_object_get(node, nodes[i].key);
        if (v) {
            nodes[i].emit(x, node, v, from, to);
            return;
        }
    }
    if (!a->err.code)
        malformed(x, "a node that is none is there");
}

int32_t structure_parse(struct automaton *a, const char *text, size_t n,
                        const struct token_trie *trie)
{
    json_t *whole = NULL;
    struct structure x = {.a = a, .trie = trie};
    int32_t rule = 0;
    if (a->n_rules == 0) /* rule 0 is none of ours, as in schemas */
        (void)automaton_rule(a, "nothing");
    if (!jsontext_parse(&whole, text, n, LIMIT_GRAMMAR_BYTES, "the structure", &a->err)) {
        x.documents = json_object_get(whole, "documents");
        rule = rule_of(&x, json_object_get(whole, "text"), "the structure");
    }
    json_decref(whole);
    return rule;
}
