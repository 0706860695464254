/* Definitions of every kind. See the header. */
#include "models/text/constrain/define.h"

#include <string.h>

#include "base/jsonread.h"
#include "base/limits.h"
#include "models/files/jsontext.h"
#include "models/text/constrain/gbnf.h"
#include "models/text/constrain/regex.h"
#include "models/text/constrain/schema.h"
#include "models/text/constrain/structure.h"

#define LEAD_CHARS 4 /* of white space between a trigger and the grammar */

static int32_t define_regex(struct automaton *a, const struct grammar_source *s)
{
    int32_t rule = automaton_rule(a, "the regex");
    const struct expr *x = regex_parse(a, s->text, s->n, 0);
    if (x)
        expr_define(a, rule, x);
    return rule;
}

/* Brackets outside of strings: a list of strings has one, and a deeper text is not parsed. */
static size_t brackets(const char *p, size_t n)
{
    size_t found = 0;
    bool string = false;
    for (size_t i = 0; i < n; i++) {
        if (string && p[i] == '\\')
            i++;
        else if (p[i] == '"')
            string = !string;
        else if (!string)
            found += p[i] == '[' || p[i] == '{';
    }
    return found;
}

/* [ "a", "b" ] */
static int32_t define_choice(struct automaton *a, const struct grammar_source *s)
{
    int32_t rule = automaton_rule(a, "the choice");
    json_error_t je;
    json_t *list = brackets(s->text, s->n) > 1 ? NULL : jsonread(s->text, s->n, 0, &je);
    size_t n = json_array_size(list);
    const char **texts = arena_array(&a->arena, MAX(n, 1), sizeof *texts);
    size_t *lengths = arena_array(&a->arena, MAX(n, 1), sizeof *lengths);
    if (!json_is_array(list) || n == 0)
        err_set(&a->err, E_FORMAT, "an array of strings is expected, at least one");
    if (!texts || !lengths)
        err_set(&a->err, E_RANGE, "%zu choices are too many", n);
    for (size_t i = 0; i < n && !a->err.code; i++) {
        const json_t *one = json_array_get(list, i);
        if (!json_is_string(one))
            err_set(&a->err, E_FORMAT, "choice %zu is no string", i);
        texts[i] = json_string_value(one);
        lengths[i] = json_string_length(one);
    }
    if (!a->err.code)
        expr_define(a, rule, expr_texts(a, texts, lengths, (int32_t)n));
    json_decref(list);
    return rule;
}

/* The rule behind a trigger. */
static int32_t define_lead(struct automaton *a, int32_t root)
{
    static const struct char_range blank[] = {{'\t', '\n'}, {'\r', '\r'}, {' ', ' '}};
    int32_t rule = automaton_rule(a, "the text behind the trigger");
    expr_define(a, rule, EXPR_SEQ(a, expr_repeat(a, expr_class(a, blank, 3), 0, LEAD_CHARS),
                                  expr_rule(a, root)));
    return rule;
}

/* A trigger's bytes: the code of the special token that it is, or its text. */
static void define_trigger(struct automaton *a, const char *text, const struct token_trie *trie)
{
    int32_t special = token_trie_special(trie, text);
    size_t n = strlen(text);
    if (n == 0 || n > LIMIT_TRIGGER_BYTES) {
        err_set(&a->err, E_RANGE, "the trigger has %zu bytes, 1 … %d are allowed", n,
                LIMIT_TRIGGER_BYTES);
        return;
    }
    n = special >= 0 ? TOKEN_CODE : n;
    const char *p = arena_copy(&a->arena, special >= 0 ? token_code(trie, special) : text, n);
    if (!p)
        err_set(&a->err, E_NOMEM, "no memory for a grammar");
    a->triggers[a->n_triggers++] = (struct trigger){p, n};
}

int define(struct automaton *a, const struct grammar_source *s, const struct token_trie *trie,
           int32_t *root, struct err *e)
{
    if (s->n > LIMIT_GRAMMAR_BYTES)
        return err_set(e, E_RANGE, "the definition has %zu bytes, at most %zu", s->n,
                       LIMIT_GRAMMAR_BYTES);
    switch (s->kind) {
    case GRAMMAR_GBNF: *root = gbnf_parse(a, s->text, s->n); break;
    case GRAMMAR_REGEX: *root = define_regex(a, s); break;
    case GRAMMAR_SCHEMA: *root = schema_parse(a, s->text, s->n, s->compact); break;
    case GRAMMAR_OBJECT: *root = schema_any_object(a, s->compact); break;
    case GRAMMAR_CHOICE: *root = define_choice(a, s); break;
    case GRAMMAR_STRUCTURE: *root = structure_parse(a, s->text, s->n, trie); break;
    }
    if (s->trigger) {
        *root = define_lead(a, *root);
        define_trigger(a, s->trigger, trie);
        if (s->then)
            define_trigger(a, s->then, trie);
        a->again = s->again;
    }
    if (a->err.code && e)
        *e = a->err;
    return a->err.code;
}
