/* The text of a string between tags: nothing is escaped, and what ends it may not be in it.
 *
 * Without a pattern the text is an automaton that knows how much of an end is there (Aho and
 * Corasick), in as many layers as characters are counted. With one, the first character of the
 * ends is left out. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "models/text/constrain/regex.h"
#include "models/text/constrain/schema_int.h"

#define STATES 256     /* of the ends' beginnings together */
#define ANY_DEPTH 16   /* anyOf in anyOf */
#define LAYERED 16384  /* states in all; above, two characters of an end are as bad as all */

/* A beginning of an end: what each character leads to. 0: nothing is there. */
struct ends {
    int32_t n;
    struct { int32_t parent, fail; char c; bool whole; } at[STATES];
    bool trimmed;
};

static int32_t child(const struct ends *e, int32_t of, char c)
{
    for (int32_t i = 1; i < e->n; i++)
        if (e->at[i].parent == of && e->at[i].c == c)
            return i;
    return 0;
}

/* Where character c leads from state s; -1: an end would be whole. */
static int32_t follow(const struct ends *e, int32_t s, char c)
{
    int32_t to = 0;
    for (;; s = e->at[s].fail) {
        to = child(e, s, c);
        if (to || s == 0)
            break;
    }
    return e->at[to].whole ? -1 : to;
}

/* At most `most` characters of each end. Shorter beginnings come first, so failures are known. */
static bool read_ends(struct schema *x, const json_t *list, size_t most, struct ends *e)
{
    size_t longest = 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        longest = MAX(longest, json_string_length(json_array_get(list, i)));
    *e = (struct ends){.n = 1, .trimmed = e->trimmed};
    if (longest == 0)
        schema_fault(x, E_FORMAT, "the structure: a raw text needs \"ends\"");
    for (size_t depth = 0; depth < MIN(longest, most); depth++)
        for (size_t i = 0; i < json_array_size(list); i++) {
            const char *p = json_string_value(json_array_get(list, i));
            size_t n = p ? strlen(p) : 0;
            int32_t s = 0;
            if (n < 2 || e->n >= STATES)
                return schema_fault(x, E_RANGE, "the end of a text has %zu bytes, or all ends "
                                    "together more than %d", n, STATES), false;
            if (depth >= n)
                continue;
            for (size_t k = 0; k < depth; k++)
                s = child(e, s, p[k]);
            if (child(e, s, p[depth]))
                continue;
            e->at[e->n].parent = s;
            e->at[e->n].c = p[depth];
            e->at[e->n].fail = depth ? follow(e, e->at[s].fail, p[depth]) : 0;
            e->at[e->n].whole = depth + 1 == MIN(n, most) || e->at[e->at[e->n].fail].whole;
            e->n++;
        }
    return !x->a->err.code;
}

enum { LINE_PLAIN = -1, LINE_NONE = -2 }; /* a line break: as any other character; may not come */

/* Every character's edges from state s of one layer to the next. line: the state behind a line
 * break, or one of the above. */
static void emit_layer(struct automaton *a, const struct ends *e, int32_t s, int32_t from,
                       const int32_t *next, int32_t line, int32_t wide)
{
    struct char_set plain = {0};
    bool own[128] = {0};
    for (int32_t i = 1; i < e->n; i++)
        own[(unsigned char)e->at[i].c & 127] = true;
    for (int c = 0; c < 128; c++) {
        bool text = c >= 0x20 || c == '\t' || c == '\n' || c == '\r';
        int32_t to = own[c] ? follow(e, s, (char)c) : 0;
        if (text && c == '\n' && line >= 0)
            automaton_byte_range(a, from, line, c, c);
        else if (c == '\n' && line == LINE_NONE)
            continue;
        else if (text && to > 0)
            automaton_byte_range(a, from, next[to], c, c);
        else if (text && to == 0)
            char_set_add(a, &plain, c, c);
    }
    char_set_normalize(&plain);
    for (int32_t i = 0; i < plain.n; i++)
        automaton_byte_range(a, from, next[0], plain.p[i].lo, plain.p[i].hi);
    automaton_call(a, from, next[0], wide);
}

/* A row of states: those of the ends, and one behind a line break. */
static int32_t *new_layer(struct schema *x, const struct ends *e)
{
    int32_t *row = arena_array(&x->a->arena, (size_t)e->n + 1, sizeof *row);
    for (int32_t i = 0; row && i <= e->n; i++)
        row[i] = automaton_state(x->a);
    if (!row)
        schema_fault(x, E_RANGE, "maxLength: too much for a text between tags");
    return row;
}

static void emit_free(struct schema *x, const struct ends *e, int64_t least, int64_t most,
                      int32_t from, int32_t to)
{
    static const struct char_range above[] = {{0x80, CHAR_MAX_CODE}};
    struct automaton *a = x->a;
    int32_t wide = automaton_rule(a, "a character above ASCII"), *row = new_layer(x, e);
    bool endless = most == REPEAT_FOREVER;
    expr_define(a, wide, expr_class(a, above, 1));
    automaton_empty(a, from, row ? row[0] : from);
    for (int64_t k = 0; row && !a->err.code; k++) {
        bool last = endless && k >= MAX(least, 1);
        int32_t *next = k == most ? NULL : last ? row : new_layer(x, e);
        for (int32_t s = 0; s < e->n + e->trimmed; s++) {
            bool is_line = s == e->n;
            if (k >= least && !is_line)
                automaton_empty(a, row[s], to);
            if (!next || (!is_line && e->at[s].whole) || (k == 0 && s > 0))
                continue;
            emit_layer(a, e, is_line ? 0 : s, row[s], next,
                       !e->trimmed ? LINE_PLAIN : k == 0 ? LINE_NONE : next[e->n], wide);
        }
        if (!next || last)
            break;
        row = next;
    }
}

/* Listed strings, as far as they can be written here. */
static void emit_listed(struct schema *x, const json_t *s, const json_t *ends, bool trimmed,
                        int32_t from, int32_t to)
{
    const json_t *values = json_object_get(s, "enum"), *v;
    size_t i, k;
    json_array_foreach(values, i, v) {
        const char *p = json_string_value(v);
        size_t n = json_string_length(v);
        bool fits = p && schema_string_fits(x, s, v) && strlen(p) == n && !schema_left_out(s, v);
        fits = fits && !(trimmed && n && (p[0] == '\n' || p[n - 1] == '\n'));
        for (k = 0; k < json_array_size(ends) && fits; k++)
            fits = !strstr(p, json_string_value(json_array_get(ends, k)));
        if (fits)
            automaton_text(x->a, from, to, p, n);
    }
}

/* s is flat, without anyOf. */
static void emit_one(struct schema *x, const json_t *s, const json_t *ends, bool trimmed,
                     int32_t from, int32_t to)
{
    struct ends e = {.trimmed = trimmed};
    int64_t least = schema_count(x, s, "minLength", 0);
    int64_t most = schema_count(x, s, "maxLength", REPEAT_FOREVER);
    if (!read_ends(x, ends, SIZE_MAX, &e) || x->a->err.code || least > most)
        return;
    if (!json_object_get(s, "enum") && schema_left_out_strings(x, s)) {
        schema_fault(x, E_UNSUPPORTED, "not: strings cannot be left out of a text between tags");
        return;
    }
    int64_t counted = most == REPEAT_FOREVER ? least : most;
    if (counted > LAYERED / 3) {
        schema_fault(x, E_RANGE, "%s: at most %d can be enforced in a text between tags",
                     most == REPEAT_FOREVER ? "minLength" : "maxLength", LAYERED / 3);
    } else if (json_object_get(s, "enum")) {
        if (json_object_get(s, "pattern") || json_object_get(s, "format"))
            schema_fault(x, E_UNSUPPORTED, "pattern, format: they cannot be enforced beside enum");
        emit_listed(x, s, ends, trimmed, from, to);
    } else if (json_object_get(s, "pattern") || json_object_get(s, "format")) {
        for (int c = 0; c < 0x20; c++)
            x->a->avoid[c] = trimmed || (c != '\t' && c != '\n' && c != '\r');
        x->a->avoid[(unsigned char)e.at[1].c] = true;
        const struct expr *shape = schema_shape(x, s, REGEX_SEARCH);
        bool shaped = shape != NULL;
        shape = shape ? expr_within(x->a, shape, least, most) : NULL;
        if (shape)
            expr_emit(x->a, shape, from, to);
        else if (shaped)
            schema_fault(x, E_UNSUPPORTED, "%s: it cannot be enforced beside this pattern or "
                         "format", least > 0 ? "minLength" : "maxLength");
        memset(x->a->avoid, 0, sizeof x->a->avoid);
        if (!shaped && !x->a->err.code) /* a format that restricts nothing */
            emit_free(x, &e, least, most, from, to);
    } else {
        if (counted * e.n > LAYERED)
            (void)read_ends(x, ends, 2, &e);
        emit_free(x, &e, least, most, from, to);
    }
}

static void emit_raw(struct schema *x, const json_t *schema, const json_t *ends, bool trimmed,
                     int32_t from, int32_t to, int depth)
{
    const json_t *s = schema_flat(x, schema), *any = json_object_get(s, "anyOf"), *branch;
    json_t *base = any ? schema_keep(x, json_copy((json_t *)(uintptr_t)s)) : NULL;
    size_t i;
    if (!s || x->a->err.code || json_is_false(s) || !(schema_kinds(x, s) & KIND_STRING))
        return;
    if (depth > ANY_DEPTH)
        schema_fault(x, E_RANGE, "anyOf: more than %d of them in each other", ANY_DEPTH);
    else if (!any)
        emit_one(x, s, ends, trimmed, from, to);
    json_object_del(base, "anyOf");
    json_array_foreach(any, i, branch)
        if (!x->a->err.code)
            emit_raw(x, schema_keep(x, json_pack("{s:[O,O]}", "allOf", base, branch)), ends,
                     trimmed, from, to, depth + 1);
}

int32_t schema_raw(struct automaton *a, const json_t *root, const json_t *s, const json_t *ends,
                   bool trimmed)
{
    struct schema x;
    int32_t rule = automaton_rule(a, "a text between tags");
    if (schema_begin(&x, a, (struct schema_style){0})) {
        x.root = json_incref((json_t *)(uintptr_t)root);
        emit_raw(&x, s, ends, trimmed, automaton_start(a, rule), automaton_end(a, rule), 0);
    }
    schema_end(&x);
    return rule;
}
