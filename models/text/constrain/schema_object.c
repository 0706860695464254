/* Objects and arrays.
 *
 * An object is a grid of states: how many properties have been passed by (in the schema's order),
 * and how many were written, as far as that matters. `comma` is a place behind a written property,
 * `next` one where a property must follow. Optional properties are passed by between the two. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "models/text/constrain/schema_int.h"

#define UNIQUE_MAX 8   /* values of a list that holds each once */
#define GRID_MAX 65536 /* properties times counts */

/* ---- arrays ----------------------------------------------------------------------------- */

struct list {
    const json_t *prefix, *rest; /* rest NULL: nothing behind the prefix */
    int64_t least, most, n_prefix;
};

static void read_list(struct schema *x, const json_t *s, struct list *l)
{
    const json_t *items = json_object_get(s, "items");
    *l = (struct list){.prefix = json_object_get(s, "prefixItems"), .rest = items};
    l->least = schema_count(x, s, "minItems", 0);
    l->most = schema_count(x, s, "maxItems", REPEAT_FOREVER);
    l->n_prefix = (int64_t)json_array_size(l->prefix);
    if (items && !json_is_object(items) && !json_is_boolean(items))
        schema_fault(x, E_UNSUPPORTED, "items: one schema is expected, several are prefixItems");
    if (!items && (l->n_prefix == 0 || l->least > l->n_prefix))
        l->rest = json_true();
    if (items && json_is_false(items))
        l->rest = NULL;
    if (l->most != REPEAT_FOREVER && l->most > LIMIT_GRAMMAR_REPEAT)
        l->most = REPEAT_FOREVER - 1;
    if (l->least > LIMIT_GRAMMAR_REPEAT || l->most == REPEAT_FOREVER - 1)
        schema_fault(x, E_RANGE, "%s: at most %d can be enforced",
                     l->least > LIMIT_GRAMMAR_REPEAT ? "minItems" : "maxItems",
                     LIMIT_GRAMMAR_REPEAT);
}

/* Elements behind the prefix: so many, with a comma before each but the array's first. */
static void emit_rest(struct schema *x, const struct list *l, int32_t from, int32_t to)
{
    struct automaton *a = x->a;
    const struct expr *item = expr_rule(a, schema_rule(x, l->rest));
    int32_t with_comma = automaton_rule(a, "an element"), at = automaton_state(a);
    int32_t space = automaton_state(a);
    automaton_text(a, automaton_start(a, with_comma), at, ",", 1);
    schema_emit_space(x, at, space);
    expr_emit(a, item, space, automaton_end(a, with_comma));
    int64_t least = MAX(l->least - l->n_prefix, 0);
    int64_t most = l->most == REPEAT_FOREVER ? REPEAT_FOREVER : l->most - l->n_prefix;
    const struct expr *more = expr_rule(a, with_comma);
    if (most < 1) {
        automaton_empty(a, from, to);
    } else if (l->n_prefix > 0) {
        expr_emit(a, expr_repeat(a, more, (int32_t)least, (int32_t)most), from, to);
    } else {
        int64_t behind = most == REPEAT_FOREVER ? REPEAT_FOREVER : most - 1;
        expr_emit(a, EXPR_SEQ(a, item, expr_repeat(a, more, (int32_t)MAX(least - 1, 0),
                                                   (int32_t)behind)), from, to);
    }
}

/* What the elements may be, if all of it is listed; each once. NULL: it is not, or a fault. */
static json_t *listed(struct schema *x, const struct list *l)
{
    const json_t *s = l->rest && l->n_prefix == 0 ? schema_flat(x, l->rest) : NULL;
    json_t *all = json_object_get(s, "enum"), *out = s ? schema_keep(x, json_array()) : NULL;
    if (out && !all && !json_is_false(s) && !json_object_get(s, "anyOf") &&
        !(schema_kinds(x, s) & ~(KIND_NULL | KIND_BOOL)))
        all = schema_keep(x, json_pack("[n,b,b]", 0, 1));
    for (size_t i = 0; i < json_array_size(all) && out && schema_spend(x, 1); i++)
        if (!schema_holds(out, json_array_get(all, i)))
            json_array_append(out, json_array_get(all, i));
    return json_array_size(out) ? out : NULL;
}

/* Each of the values once: a state for every set of them. */
static void emit_unique(struct schema *x, const struct list *l, int32_t from, int32_t to)
{
    struct automaton *a = x->a;
    json_t *values = listed(x, l);
    int32_t sets[1 << UNIQUE_MAX], rules[UNIQUE_MAX], comma = automaton_rule(a, "a comma");
    int n = (int)MIN(json_array_size(values), UNIQUE_MAX + 1);
    if (n == 0 || n > UNIQUE_MAX) {
        schema_fault(x, E_UNSUPPORTED, "uniqueItems: only lists of at most %d listed values can be "
                     "enforced", UNIQUE_MAX);
        return;
    }
    int32_t space = automaton_state(a);
    automaton_text(a, automaton_start(a, comma), space, ",", 1);
    schema_emit_space(x, space, automaton_end(a, comma));
    for (int i = 0; i < n; i++) {
        json_t *one = json_pack("{s:[O,{s:[O]}]}", "allOf", l->rest, "enum",
                                json_array_get(values, (size_t)i));
        rules[i] = schema_rule(x, schema_keep(x, one));
    }
    for (int set = 0; set < 1 << n; set++)
        sets[set] = set ? automaton_state(a) : from;
    for (int set = 0; set < 1 << n && !a->err.code; set++) {
        int count = __builtin_popcount((unsigned)set);
        int32_t next = set ? automaton_state(a) : from;
        if (set)
            automaton_call(a, sets[set], next, comma);
        if (set && count >= l->least)
            automaton_empty(a, sets[set], to);
        for (int i = 0; i < n && count < l->most; i++)
            if (!(set >> i & 1))
                automaton_call(a, next, sets[set | 1 << i], rules[i]);
    }
}

void schema_emit_array(struct schema *x, const json_t *s, int32_t from, int32_t to)
{
    struct automaton *a = x->a;
    struct list l;
    read_list(x, s, &l);
    if (a->err.code || l.least > l.most || (!l.rest && l.least > l.n_prefix))
        return;
    int32_t open = automaton_state(a), at = automaton_state(a), end = automaton_state(a);
    automaton_text(a, from, open, "[", 1);
    schema_emit_space(x, open, at);
    automaton_text(a, end, to, "]", 1);
    if (l.least == 0)
        automaton_empty(a, open, end);
    int32_t last = automaton_state(a);
    schema_emit_space(x, last, end);
    bool unique = json_is_true(json_object_get(s, "uniqueItems"));
    if (unique && l.most > 1 && (l.rest || l.n_prefix > 1)) {
        emit_unique(x, &l, at, last);
        return;
    }
    for (int64_t i = 0; i < l.n_prefix && i < l.most && !a->err.code; i++) {
        int32_t next = automaton_state(a), comma = at;
        if (i > 0) {
            int32_t space = automaton_state(a);
            comma = automaton_state(a);
            automaton_text(a, at, space, ",", 1);
            schema_emit_space(x, space, comma);
        }
        automaton_call(a, comma, next, schema_rule(x, json_array_get(l.prefix, (size_t)i)));
        at = next;
        if (i + 1 >= l.least)
            automaton_empty(a, at, last);
    }
    if (l.rest && l.most > l.n_prefix)
        emit_rest(x, &l, at, last);
}

/* ---- objects ---------------------------------------------------------------------------- */

struct object {
    const json_t *properties; /* name -> schema: all that may be written by name */
    json_t *required;         /* names of those that must be there -> true */
    const json_t *rest;       /* the schema of others; NULL = there are none */
    int32_t rest_name;        /* the rule of their names */
    int64_t least, most;
    int32_t n, counts;        /* properties; counts that are told apart, 1 … counts */
    int32_t last_required;    /* 1 + the index of the last that must be there */
};

/* The properties and, of the required names, those that are not among them. */
static const json_t *all_properties(struct schema *x, const json_t *s, const json_t *rest,
                                    json_t *names)
{
    const json_t *own = json_object_get(s, "properties");
    const json_t *required = json_object_get(s, "required");
    json_t *all = schema_keep(x, own ? json_copy((json_t *)(uintptr_t)own) : json_object());
    for (size_t i = 0; i < json_array_size(required) && all && schema_spend(x, 1); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (!name)
            return schema_fault(x, E_FORMAT, "required: an array of strings is expected");
        json_object_set(names, name, json_true());
        if (!json_object_get(all, name))
            json_object_set(all, name, rest ? (json_t *)(uintptr_t)rest : json_true());
    }
    return all;
}

/* The names and the schema of what is not named. */
static void read_rest(struct schema *x, const json_t *s, struct object *o)
{
    const json_t *more = json_object_get(s, "additionalProperties");
    const json_t *patterns = json_object_get(s, "patternProperties");
    const json_t *names = json_object_get(s, "propertyNames"), *value;
    bool alone = !json_object_get(s, "properties");
    if (!more)
        more = json_object_get(s, "unevaluatedProperties");
    if (!more && alone && !json_object_size(patterns))
        more = json_true();
    if (json_object_size(patterns)) {
        void *first = json_object_iter((json_t *)(uintptr_t)patterns);
        if (!alone || names || json_object_size(patterns) > 1 || (more && !json_is_false(more))) {
            schema_fault(x, E_UNSUPPORTED, "patternProperties: only one pattern can be enforced, "
                         "without properties, propertyNames and additionalProperties");
            return;
        }
        value = json_object_iter_value(first);
        names = schema_keep(x, json_pack("{s:s,s:s}", "type", "string", "pattern",
                                         json_object_iter_key(first)));
        more = value;
    } else if (names && more && !json_is_false(more)) {
        names = schema_keep(x, json_pack("{s:[{s:s},O]}", "allOf", "type", "string", names));
    }
    if (names && json_object_size(o->properties))
        schema_fault(x, E_UNSUPPORTED, "propertyNames: it cannot be enforced beside properties");
    if (!more || json_is_false(more) || x->a->err.code)
        return;
    o->rest = more;
    if (names)
        o->rest_name = schema_rule(x, names);
    else if (json_object_size(o->properties))
        o->rest_name = schema_other_names(x, o->properties);
    else
        o->rest_name = schema_any_string(x);
}

static bool read_object(struct schema *x, const json_t *s, struct object *o)
{
    const char *name;
    json_t *v;
    int32_t i = 0, n_required = 0;
    const json_t *more = json_object_get(s, "additionalProperties");
    if (!more)
        more = json_object_get(s, "unevaluatedProperties");
    *o = (struct object){0};
    o->least = schema_count(x, s, "minProperties", 0);
    o->most = schema_count(x, s, "maxProperties", INT32_MAX);
    o->required = schema_keep(x, json_object());
    o->properties = o->required ? all_properties(x, s, more, o->required) : NULL;
    if (!o->properties || x->a->err.code)
        return false;
    o->n = (int32_t)json_object_size(o->properties);
    json_object_foreach((json_t *)(uintptr_t)o->properties, name, v) {
        i++;
        if (json_object_get(o->required, name)) {
            o->last_required = i;
            n_required++;
        }
    }
    read_rest(x, s, o);
    o->least = o->least <= n_required ? 0 : o->least;
    if (o->rest && o->least > 1 && !x->a->err.code)
        schema_fault(x, E_UNSUPPORTED, "minProperties: more than 1 cannot be enforced beside "
                     "properties without a name (one could be written twice)");
    if (!o->rest)
        o->most = MIN(o->most, o->n);
    bool counts_most = o->rest ? o->most != INT32_MAX : o->most < o->n;
    int64_t counts = MAX(MAX(o->least, counts_most ? o->most : 0), 1);
    if (counts * (o->n + 1) > GRID_MAX && !x->a->err.code)
        schema_fault(x, E_RANGE, "%s: %lld counts of %d properties are too many",
                     o->least > 1 ? "minProperties" : "maxProperties", (long long)counts, o->n);
    o->counts = (int32_t)MIN(counts, GRID_MAX);
    return !x->a->err.code && o->least <= o->most && n_required <= o->most &&
           (o->rest || o->least <= o->n);
}

/* name ":" value */
static int32_t pair_rule(struct schema *x, const struct expr *name, const json_t *schema)
{
    struct automaton *a = x->a;
    int32_t rule = automaton_rule(a, "a property"), colon = automaton_state(a);
    int32_t space = automaton_state(a);
    expr_emit(a, EXPR_SEQ(a, name, expr_str(a, ":")), automaton_start(a, rule), colon);
    schema_emit_space(x, colon, space);
    automaton_call(a, space, automaton_end(a, rule), schema_rule(x, schema));
    return rule;
}

/* The states of one column: `next` and `comma` for counts 0 … counts. next of count 0 is the
 * object's beginning, and has no comma. */
struct column { int32_t *next, *comma; };

static bool new_column(struct schema *x, const struct object *o, struct column *c)
{
    size_t n = (size_t)o->counts + 1;
    c->next = arena_array(&x->a->arena, 2 * n, sizeof *c->next);
    if (!c->next)
        return schema_fault(x, E_RANGE, "properties: too many"), false;
    c->comma = c->next + n;
    for (size_t i = 0; i < 2 * n; i++)
        c->next[i] = automaton_state(x->a);
    return !x->a->err.code;
}

/* What does not depend on the property: the comma, and the object's end. */
static void emit_column(struct schema *x, const struct object *o, const struct column *c, int32_t i,
                        int32_t comma_rule, int32_t end)
{
    for (int32_t k = 0; k <= o->counts; k++) {
        if (k > 0)
            automaton_call(x->a, c->comma[k], c->next[k], comma_rule);
        if (k > 0 && i >= o->last_required && k >= o->least)
            automaton_empty(x->a, c->comma[k], end);
    }
}

/* Writing one more property: from each count to the next. */
static void emit_pair(struct schema *x, const struct object *o, const struct column *from,
                      const struct column *to, int32_t rule)
{
    for (int32_t k = 0; k <= o->counts && k < o->most; k++)
        automaton_call(x->a, from->next[k], to->comma[MIN(k + 1, o->counts)], rule);
}

void schema_emit_object(struct schema *x, const json_t *s, int32_t from, int32_t to)
{
    struct automaton *a = x->a;
    struct object o;
    struct column at, then;
    const char *name;
    json_t *v;
    int32_t i = 0;
    if (!read_object(x, s, &o) || !new_column(x, &o, &at))
        return;
    int32_t open = automaton_state(a), end = automaton_state(a), close = automaton_state(a);
    int32_t comma = automaton_rule(a, "a comma"), space = automaton_state(a);
    automaton_text(a, automaton_start(a, comma), space, ",", 1);
    schema_emit_space(x, space, automaton_end(a, comma));
    automaton_text(a, from, open, "{", 1);
    schema_emit_space(x, open, at.next[0]);
    if (o.last_required == 0 && o.least == 0)
        automaton_empty(a, open, close);
    schema_emit_space(x, end, close);
    automaton_text(a, close, to, "}", 1);
    json_object_foreach((json_t *)(uintptr_t)o.properties, name, v) {
        if (!new_column(x, &o, &then))
            return;
        emit_column(x, &o, &at, i++, comma, end);
        emit_pair(x, &o, &at, &then, pair_rule(x, schema_quoted(x, name, strlen(name)), v));
        for (int32_t k = 0; k <= o.counts && !json_object_get(o.required, name); k++)
            automaton_empty(a, at.next[k], then.next[k]);
        at = then;
    }
    emit_column(x, &o, &at, i, comma, end);
    if (o.rest)
        emit_pair(x, &o, &at, &at, pair_rule(x, expr_rule(a, o.rest_name), o.rest));
}
