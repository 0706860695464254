/* Strings, numbers with bounds, and values that are listed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "models/text/constrain/regex.h"
#include "models/text/constrain/schema_int.h"

#define MULTIPLE_MAX 1000
#define GAPS_MAX 64 /* numbers that are left out */
#define INTEGER_DIGITS 16
#define INTEGER_MOST 9999999999999999.0 /* of so many digits */

/* ---- strings ---------------------------------------------------------------------------- */

const struct expr *schema_quoted(struct schema *x, const char *text, size_t n)
{
    struct automaton *a = x->a;
    struct expr_list parts = {0};
    expr_list_add(a, &parts, expr_str(a, "\""));
    for (size_t i = 0, run = 0; i <= n; i++) {
        unsigned char c = i < n ? (unsigned char)text[i] : 0;
        if (i < n && c >= 0x20 && c != '"' && c != '\\')
            continue;
        if (i > run)
            expr_list_add(a, &parts, expr_text(a, text + run, i - run));
        run = i + 1;
        struct char_set one = {0};
        char_set_add(a, &one, c, c);
        if (i < n)
            expr_list_add(a, &parts, regex_json_class(a, &one));
    }
    expr_list_add(a, &parts, expr_str(a, "\""));
    return expr_seq(a, parts.p, parts.n);
}

const struct expr *schema_shape(struct schema *x, const json_t *s, int flags)
{
    const json_t *pattern = json_object_get(s, "pattern"), *format = json_object_get(s, "format");
    const struct expr *by_format = NULL;
    if ((pattern && !json_is_string(pattern)) || (format && !json_is_string(format)))
        return schema_fault(x, E_FORMAT, "%s: a string is expected",
                            pattern && !json_is_string(pattern) ? "pattern" : "format");
    if (format)
        by_format = schema_format(x, json_string_value(format), flags);
    if (!pattern || x->a->err.code)
        return by_format;
    if (by_format)
        return schema_fault(x, E_UNSUPPORTED, "pattern: it cannot be enforced beside format");
    const struct expr *e = regex_parse(x->a, json_string_value(pattern),
                                       json_string_length(pattern), flags);
    if (x->a->err.code)
        err_wrap(&x->a->err, "pattern");
    return e;
}

void schema_emit_string(struct schema *x, const json_t *s, int32_t from, int32_t to)
{
    struct automaton *a = x->a;
    int64_t least = schema_count(x, s, "minLength", 0);
    int64_t most = schema_count(x, s, "maxLength", REPEAT_FOREVER);
    const struct expr *inside = schema_shape(x, s, REGEX_SEARCH | REGEX_JSON);
    if (least > most || a->err.code)
        return;
    if (least > LIMIT_GRAMMAR_REPEAT || (most > LIMIT_GRAMMAR_REPEAT && most != REPEAT_FOREVER)) {
        schema_fault(x, E_RANGE, "%s: at most %d can be enforced",
                     least > LIMIT_GRAMMAR_REPEAT ? "minLength" : "maxLength",
                     LIMIT_GRAMMAR_REPEAT);
        return;
    }
    bool free = !inside && least == 0 && most == REPEAT_FOREVER;
    const json_t *out = schema_left_out_strings(x, s);
    if (out && !free) {
        schema_fault(x, E_UNSUPPORTED, "not: strings cannot be left out beside pattern, format, "
                     "minLength and maxLength");
        return;
    }
    if (free) {
        automaton_call(a, from, to, out ? schema_other_names(x, out) : schema_any_string(x));
        return;
    }
    if (inside) {
        inside = expr_within(a, inside, least, most);
        if (!inside) {
            schema_fault(x, E_UNSUPPORTED, "%s: it cannot be enforced beside this %s",
                         least > 0 ? "minLength" : "maxLength",
                         json_object_get(s, "pattern") ? "pattern" : "format");
            return;
        }
    } else {
        inside = expr_repeat(a, schema_char(x), (int32_t)least, (int32_t)most);
    }
    expr_emit(a, EXPR_SEQ(a, expr_str(a, "\""), inside, expr_str(a, "\"")), from, to);
}

/* ---- numbers ---------------------------------------------------------------------------- */

/* A bound as a double; what a double cannot hold is rounded to the inside. */
static double inside(const json_t *v, bool low)
{
    double d = json_number_value(v);
    if (!json_is_integer(v) || fabs(d) >= 9.2e18)
        return d;
    json_int_t exact = json_integer_value(v), as_read = (json_int_t)d;
    return low && as_read < exact ? nextafter(d, INFINITY)
                                  : !low && as_read > exact ? nextafter(d, -INFINITY) : d;
}

/* The next whole number above, or below, a bound that is left out. */
static double beside(double v, bool low)
{
    double next = low ? floor(v) + 1 : ceil(v) - 1;
    return next == v ? nextafter(v, low ? INFINITY : -INFINITY) : next;
}

/* The tighter of a bound and its exclusive form. */
static void bound(struct schema *x, const json_t *s, bool low, bool integer, struct decimal *out)
{
    const json_t *closed = json_object_get(s, low ? "minimum" : "maximum");
    const json_t *open = json_object_get(s, low ? "exclusiveMinimum" : "exclusiveMaximum");
    double c = inside(closed, low), o = inside(open, low);
    *out = (struct decimal){0};
    if (!closed && !open)
        return;
    bool use_open = open && (!closed || (low ? o >= c : o <= c));
    double v = use_open ? o : c;
    if (integer && low)
        v = use_open ? beside(v, low) : ceil(v);
    else if (integer)
        v = use_open ? beside(v, low) : floor(v);
    if (integer && (low ? v <= -INTEGER_MOST : v >= INTEGER_MOST))
        return; /* so many digits are not written */
    (void)decimal_of(x->a, v, low, use_open && !integer, out);
}

static double value_of(const struct decimal *d)
{
    char text[64];
    snprintf(text, sizeof text, "%s%.*s.%.*s0", d->negative ? "-" : "", d->n_whole, d->whole,
             d->n_part, d->part);
    return strtod(text, NULL);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Numbers between those that `not` lists. False: it lists none. */
static bool emit_gaps(struct schema *x, const json_t *s, bool integer, int32_t from, int32_t to)
{
    const json_t *values = json_object_get(json_object_get(s, "not"), "enum");
    double out[GAPS_MAX] = {0}, low = 0;
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(values); i++) {
        const json_t *v = json_array_get(values, i);
        if (json_is_number(v) && n < GAPS_MAX)
            out[n++] = json_number_value(v);
        else if (json_is_number(v))
            return schema_fault(x, E_RANGE, "not: at most %d numbers can be left out", GAPS_MAX);
    }
    qsort(out, n, sizeof *out, ascending);
    for (size_t i = 0; i <= n && n > 0; i++) {
        const json_t *min = json_object_get(s, "exclusiveMinimum");
        const json_t *max = json_object_get(s, "exclusiveMaximum");
        json_t *one = schema_keep(x, json_copy((json_t *)(uintptr_t)s));
        if (!one)
            return true;
        json_object_del(one, "not");
        if (i > 0 && (!min || json_number_value(min) < low))
            json_object_set_new(one, "exclusiveMinimum", json_real(low));
        if (i < n && (!max || json_number_value(max) > out[i]))
            json_object_set_new(one, "exclusiveMaximum", json_real(out[i]));
        low = i < n ? out[i] : low;
        schema_emit_number(x, one, integer, from, to);
    }
    return n > 0;
}

void schema_emit_number(struct schema *x, const json_t *s, bool integer, int32_t from, int32_t to)
{
    struct automaton *a = x->a;
    struct decimal low, high;
    const json_t *multiple = json_object_get(s, "multipleOf");
    double k = multiple ? json_number_value(multiple) : 0;
    if (emit_gaps(x, s, integer, from, to))
        return;
    if (multiple && (k < 1 || k > MULTIPLE_MAX || k != floor(k))) {
        schema_fault(x, E_UNSUPPORTED, "multipleOf: only whole numbers 1 … %d can be enforced",
                     MULTIPLE_MAX);
        return;
    }
    integer = integer || multiple; /* a multiple of a whole number is one */
    bound(x, s, true, integer, &low);
    bound(x, s, false, integer, &high);
    if (a->err.code)
        return;
    if (low.there && high.there && value_of(&low) > value_of(&high)) {
        return; /* no number */
    } else if (k > 1) {
        multiples_between(a, (int)k, &low, &high, from, to);
    } else if (integer || low.there || high.there) {
        expr_emit(a, number_between(a, &low, &high, integer), from, to);
    } else {
        automaton_call(a, from, to, schema_any_number(x));
    }
}

/* ---- listed values ---------------------------------------------------------------------- */

/* A number as the shortest text that is read as the same. */
static const struct expr *number_text(struct automaton *a, const json_t *v)
{
    char text[64];
    if (json_is_integer(v)) {
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
        return expr_str(a, text);
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, json_real_value(v));
        if (strtod(text, NULL) == json_real_value(v))
            break;
    }
    return expr_str(a, text);
}

/* Edges for exactly this value. Its depth is bounded by that of JSON. */
static void emit_value(struct schema *x, const json_t *v, int32_t from, int32_t to)
{
    struct automaton *a = x->a;
    bool object = json_is_object(v);
    const char *key;
    json_t *one;
    size_t i = 0;
    if (json_is_null(v) || json_is_boolean(v)) {
        const char *word = schema_word(x, json_typeof(v));
        automaton_text(a, from, to, word, strlen(word));
    } else if (json_is_string(v)) {
        expr_emit(a, schema_quoted(x, json_string_value(v), json_string_length(v)), from, to);
    } else if (json_is_number(v)) {
        expr_emit(a, number_text(a, v), from, to);
    } else {
        int32_t at = automaton_state(a), next, n = automaton_state(a);
        automaton_text(a, from, at, object ? "{" : "[", 1);
        for (i = 0; i < json_array_size(v) && !a->err.code; i++, at = n, n = automaton_state(a)) {
            next = automaton_state(a);
            int32_t comma = i ? automaton_state(a) : at;
            if (i)
                automaton_text(a, at, comma, ",", 1);
            schema_emit_space(x, comma, next);
            emit_value(x, json_array_get(v, i), next, n);
        }
        json_object_foreach((json_t *)(uintptr_t)v, key, one) {
            int32_t comma = i ? automaton_state(a) : at, colon = automaton_state(a);
            if (i++)
                automaton_text(a, at, comma, ",", 1);
            next = automaton_state(a);
            schema_emit_space(x, comma, next);
            const struct expr *name = schema_quoted(x, key, strlen(key));
            expr_emit(a, EXPR_SEQ(a, name, expr_str(a, ":")), next, colon);
            next = automaton_state(a);
            schema_emit_space(x, colon, next);
            at = automaton_state(a);
            emit_value(x, one, next, at);
        }
        next = automaton_state(a);
        if (i)
            schema_emit_space(x, at, next);
        else
            automaton_empty(a, at, next);
        automaton_text(a, next, to, object ? "}" : "]", 1);
    }
}

static bool number_fits(const json_t *s, const json_t *v)
{
    const json_t *b;
    double d = json_number_value(v);
    if (!json_is_number(v))
        return true;
    return (!(b = json_object_get(s, "minimum")) || d >= json_number_value(b)) &&
           (!(b = json_object_get(s, "maximum")) || d <= json_number_value(b)) &&
           (!(b = json_object_get(s, "exclusiveMinimum")) || d > json_number_value(b)) &&
           (!(b = json_object_get(s, "exclusiveMaximum")) || d < json_number_value(b)) &&
           (!(b = json_object_get(s, "multipleOf")) || json_number_value(b) <= 0 ||
            fmod(d, json_number_value(b)) == 0);
}

bool schema_string_fits(struct schema *x, const json_t *s, const json_t *v)
{
    int64_t chars = 0, least = schema_count(x, s, "minLength", 0);
    int64_t most = schema_count(x, s, "maxLength", INT64_MAX);
    const char *p = json_string_value(v);
    for (size_t i = 0; i < json_string_length(v); i++)
        chars += ((unsigned char)p[i] & 0xC0) != 0x80;
    return !json_is_string(v) || (chars >= least && chars <= most);
}

/* Texts as JSON writes them; they are freed. */
static void emit_strings(struct schema *x, char **texts, size_t n, int32_t from, int32_t to)
{
    size_t *lengths = mem_array(MAX(n, 1), sizeof *lengths);
    bool all = texts && lengths;
    for (size_t i = 0; i < n && all; i++) {
        all = texts[i] != NULL;
        lengths[i] = all ? strlen(texts[i]) : 0;
    }
    if (!all)
        schema_fault(x, E_NOMEM, "no memory for a schema");
    else if (n)
        expr_emit(x->a, expr_texts(x->a, (const char *const *)texts, lengths, (int32_t)n), from,
                  to);
    for (size_t i = 0; i < n; i++)
        mem_free(texts[i]);
    mem_free(lengths);
}

void schema_emit_enum(struct schema *x, const json_t *s, int32_t from, int32_t to)
{
    static const char *const beside[] = {
        "pattern", "format", "properties", "required", "additionalProperties", "items",
        "prefixItems", "patternProperties", "propertyNames", "minItems", "maxItems",
        "minProperties", "maxProperties", "unevaluatedProperties", "uniqueItems"};
    const json_t *values = json_object_get(s, "enum");
    int set = json_object_get(s, "type") ? schema_kinds(x, s) : KIND_ALL;
    for (size_t i = 0; i < ARRAY_LEN(beside); i++)
        if (json_object_get(s, beside[i])) {
            schema_fault(x, E_UNSUPPORTED, "%s: it cannot be enforced beside enum or const",
                         beside[i]);
            return;
        }
    size_t n = json_array_size(values), n_strings = 0;
    char **strings = mem_array(MAX(n, 1), sizeof *strings);
    for (size_t i = 0; i < n && strings && !x->a->err.code; i++) {
        const json_t *v = json_array_get(values, i);
        bool fits = set & schema_kind_of(v) && number_fits(s, v) && schema_string_fits(x, s, v) &&
                    !schema_left_out(s, v);
        if (fits && json_is_string(v)) /* those share what they begin with */
            strings[n_strings++] = json_dumps(v, JSON_ENCODE_ANY);
        else if (fits)
            emit_value(x, v, from, to);
    }
    emit_strings(x, strings, n_strings, from, to);
    mem_free(strings);
}
