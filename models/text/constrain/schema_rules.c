/* The rules of a schema's parts: those that are jobs, and those that every schema may need. */
#include <string.h>

#include "base/jsonread.h"
#include "base/mem.h"
#include "models/text/constrain/schema_int.h"

#define INDENT 20    /* columns of white space after a line break */
#define EXPONENT_DIGITS 2
#define NUMBER_DIGITS 16

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
    char *text = json_dumps(s, JSON_COMPACT | JSON_ENCODE_ANY);
    const json_t *old = text ? json_object_get(x->by_content, text) : NULL;
    (void)schema_spend(x, text ? strlen(text) / 16 : 0);
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

/* ---- rules that every schema may need ---------------------------------------------------- */

void schema_emit_space(struct schema *x, int32_t from, int32_t to)
{
    struct automaton *a = x->a;
    if (x->style.compact) {
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

const char *schema_word(const struct schema *x, int type)
{
    static const char *const words[][2] = {[JSON_NULL] = {"null", "None"},
                                           [JSON_TRUE] = {"true", "True"},
                                           [JSON_FALSE] = {"false", "False"}};
    return words[type][x->style.python];
}

const struct expr *schema_char(struct schema *x)
{
    struct automaton *a = x->a;
    static const struct char_range plain[] = {{0x20, '!'}, {'#', '['}, {']', CHAR_MAX_CODE}};
    static const struct char_range hex[] = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
    static const struct char_range some[] = {{'1', '9'}, {'A', 'F'}, {'a', 'f'}};
    static const struct char_range not_0d[] = {{'1', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'},
                                               {'e', 'f'}};
    static const struct char_range d[] = {{'D', 'D'}, {'d', 'd'}}, low[] = {{'0', '7'}};
    static const struct char_range first[] = {{'8', '9'}, {'A', 'B'}, {'a', 'b'}};
    static const struct char_range second[] = {{'C', 'F'}, {'c', 'f'}};
    static const struct char_range letters[] = {{'"', '"'}, {'\\', '\\'}, {'b', 'b'}, {'f', 'f'},
                                                {'n', 'n'}, {'r', 'r'}, {'t', 't'}, {'/', '/'}};
    int n_letters = (int)ARRAY_LEN(letters) - x->style.python; /* \/ is two characters there */
    const struct expr *h = expr_class(a, hex, 3), *hh = EXPR_SEQ(a, h, h);
    const struct expr *dd = expr_class(a, d, 2), *u = expr_str(a, "\\u");
    const struct expr *zero = expr_str(a, "0"), *digit = a->avoid[0] ? expr_class(a, some, 3) : h;
    return EXPR_ALT(a, expr_class(a, plain, 3),
                    EXPR_SEQ(a, expr_str(a, "\\"), expr_class(a, letters, n_letters)),
                    EXPR_SEQ(a, u, expr_class(a, not_0d, 5), h, hh),
                    EXPR_SEQ(a, u, zero, expr_class(a, some, 3), hh),
                    EXPR_SEQ(a, u, zero, zero, expr_class(a, some, 3), h),
                    EXPR_SEQ(a, u, zero, zero, zero, digit),
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
                    expr_repeat(a, schema_char(x), 0, REPEAT_FOREVER), expr_str(a, "\"")));
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

/* A job of ours: its parts, the schema true, are the rule of any value again. */
static int32_t any_of(struct schema *x, int32_t *rule, const char *schema)
{
    json_t *s = *rule ? NULL : schema_keep(x, jsonread(schema, strlen(schema), 0, NULL));
    if (s)
        *rule = schema_rule(x, s);
    return *rule;
}

int32_t schema_any_value(struct schema *x)
{
    struct automaton *a = x->a;
    if (x->value)
        return x->value;
    x->value = automaton_rule(a, "any value");
    int32_t from = automaton_start(a, x->value), to = automaton_end(a, x->value);
    static const int words[] = {JSON_NULL, JSON_TRUE, JSON_FALSE};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        automaton_text(a, from, to, schema_word(x, words[i]), strlen(schema_word(x, words[i])));
    automaton_call(a, from, to, schema_any_string(x));
    automaton_call(a, from, to, schema_any_number(x));
    automaton_call(a, from, to, any_of(x, &x->array, "{\"items\":true}"));
    automaton_call(a, from, to, any_of(x, &x->object, "{\"additionalProperties\":true}"));
    return x->value;
}
