/* JSON in. Thread: any, after jsonin_init. */
#define _GNU_SOURCE /* memmem */
#include "server/api/jsonin.h"

#include <string.h>

#include "base/jsonread.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/utf8.h"

static void *alloc(size_t n) { return mem_zalloc(n); }

void jsonin_init(void)
{
    json_set_alloc_funcs(alloc, mem_free);
    json_object_seed(0);
}

/* What jansson 2.14 and the heap take for a value, its place in an array or object included; a
 * text twice its bytes besides, while it is read. Measured by test_jsonin.c. */
enum { OBJECT_BYTES = 288, ARRAY_BYTES = 176, TEXT_BYTES = 144, SCALAR_BYTES = 72 };

int jsonin_scan(const char *text, size_t n, size_t *bytes, struct err *e)
{
    size_t depth = 0, values = 0, sum = KIB(1) + 2 * n;
    bool string = false, scalar = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                string = false;
            continue;
        }
        bool separator = c == ',' || c == ':' || c == ' ' || c == '\n' || c == '\r' ||
                         c == '\t' || c == ']' || c == '}';
        if (separator) {
            scalar = false;
            if ((c == ']' || c == '}') && depth > 0)
                depth--;
            continue;
        }
        if (c == '[' || c == '{') {
            if (++depth > LIMIT_JSON_DEPTH)
                return err_set(e, E_RANGE, "the JSON is nested deeper than %d levels (byte %zu)",
                               LIMIT_JSON_DEPTH, i);
            scalar = false;
        }
        string = c == '"';
        if (!scalar && ++values > LIMIT_JSON_VALUES)
            return err_set(e, E_RANGE, "the JSON has more than %d values", LIMIT_JSON_VALUES);
        sum += scalar ? 0 : string ? TEXT_BYTES : c == '{' ? OBJECT_BYTES
             : c == '[' ? ARRAY_BYTES : SCALAR_BYTES;
        scalar = !string && c != '[' && c != '{';
    }
    if (bytes)
        *bytes = sum;
    return 0;
}

/* Members whose strings are text for the model: they alone are read with their length everywhere,
 * so a zero character is a character there. Elsewhere it would end a string before its end. */
static bool is_text(const char *key)
{
    static const char *const keys[] = {"prompt", "content", "text", "input", "system",
                                       "instructions"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

/* Recursion is bounded by LIMIT_JSON_DEPTH. key: of the member that v is, or is in the array of. */
static int check_zeros(const json_t *v, const char *key, struct err *e)
{
    const char *k;
    json_t *one;
    int rc = 0;
    if (json_is_string(v) && !is_text(key) && strlen(json_string_value(v)) < json_string_length(v))
        return err_set(e, E_FORMAT, "the body is not valid: a zero character in \"%.*s\", which is "
                       "no text for the model", (int)utf8_complete(key, strnlen(key, 40)), key);
    for (size_t i = 0; i < json_array_size(v) && !rc; i++)
        rc = check_zeros(json_array_get(v, i), key, e);
    json_object_foreach((json_t *)(uintptr_t)v, k, one)
        rc = rc ? rc : check_zeros(one, k, e);
    return rc;
}

int jsonin_parse(json_t **out, const char *text, size_t n, struct err *e)
{
    *out = NULL;
    if (n == 0)
        return err_set(e, E_FORMAT, "the body is empty; a JSON object is expected");
    int rc = jsonin_scan(text, n, NULL, e);
    if (rc)
        return rc;
    json_error_t je;
    json_t *v = jsonread(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
    if (!v) {
        enum json_error_code code = json_error_code(&je);
        if (code == json_error_out_of_memory)
            return err_set(e, E_NOMEM, "no memory to parse the %zu bytes of the body", n);
        return err_set(e, E_FORMAT, "the body is not valid JSON: %s at byte %d",
                       code == json_error_duplicate_key ? "a key appears twice"
                       : code == json_error_invalid_utf8 ? "malformed UTF-8"
                       : code == json_error_numeric_overflow ? "a number is too large"
                       : code == json_error_null_character ||
                         code == json_error_null_byte_in_key ? "a zero character"
                       : code == json_error_premature_end_of_input ? "it ends too early"
                       : code == json_error_end_of_input_expected ? "something follows the end"
                                                                  : "a syntax error",
                       je.position);
    }
    if (!json_is_object(v)) {
        json_decref(v);
        return err_set(e, E_FORMAT, "the body is not a JSON object");
    }
    if (memmem(text, n, "\\u0000", 6) && check_zeros(v, "", e)) {
        json_decref(v);
        return e->code;
    }
    *out = v;
    return 0;
}

static _Thread_local struct jsonin_watch *watch;

void jsonin_watch(struct jsonin_watch *w, const json_t *o)
{
    w->n_objects = w->n = w->n_set = 0;
    w->twin = NULL;
    watch = w;
    jsonin_watch_also(o, "");
}

void jsonin_watch_also(const json_t *o, const char *path)
{
    if (!watch || watch->n_objects == JSONIN_OBJECTS)
        return;
    watch->objects[watch->n_objects].o = o;
    watch->objects[watch->n_objects++].path = path;
}

static bool was_set(const char *key)
{
    for (int i = 0; i < watch->n_set; i++)
        if (strcmp(watch->set[i], key) == 0)
            return true;
    return false;
}

void jsonin_watch_set(const char *key)
{
    if (!watch || was_set(key))
        return;
    ASSERT(watch->n_set < JSONIN_SET); /* a constant of the translations */
    watch->set[watch->n_set++] = key;
}

void jsonin_watch_twin(const json_t *o)
{
    if (watch)
        watch->twin = o;
}

void jsonin_unwatch(void) { watch = NULL; }

static void note(const json_t *o, const char *key)
{
    bool of_one = false;
    if (watch->twin && o == watch->twin) { /* only what the translation left as it came */
        const json_t *body = watch->objects[0].o;
        if (json_object_get(o, key) != json_object_get(body, key) || was_set(key))
            return;
        o = body;
    }
    for (int i = 0; i < watch->n_objects; i++)
        of_one = of_one || watch->objects[i].o == o;
    /* Few are read twice: looking for them is worth it where a request can make them many. */
    for (int i = 0; i < watch->n && watch->n >= JSONIN_READS / 2 && of_one; i++)
        of_one = watch->reads[i].o != o || watch->reads[i].key != key;
    if (!of_one)
        return;
    ASSERT(watch->n < JSONIN_READS); /* a constant of the parser: no request adds to it */
    watch->reads[watch->n].o = o;
    watch->reads[watch->n++].key = key;
}

const json_t *jsonin_get(const json_t *o, const char *key)
{
    if (watch)
        note(o, key);
    const json_t *v = json_object_get(o, key);
    return json_is_null(v) ? NULL : v;
}

const char *jsonin_kind(const json_t *v)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object",  [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",       [JSON_NULL] = "null",
    };
    return v ? names[json_typeof(v)] : "nothing";
}

static bool wrong_type(const char *key, const char *want, const json_t *v, struct err *e)
{
    err_field(e, E_FORMAT, key, "%s: %s was sent, %s is expected", key, jsonin_kind(v), want);
    return false;
}

bool jsonin_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *out,
                struct err *e)
{
    const json_t *v = jsonin_get(o, key);
    if (!v)
        return false;
    if (!json_is_integer(v))
        return wrong_type(key, "an integer", v, e);
    json_int_t i = json_integer_value(v);
    if (i < min || i > max) {
        err_field(e, E_RANGE, key, "%s: %lld is outside %lld … %lld", key, (long long)i,
                  (long long)min, (long long)max);
        return false;
    }
    *out = i;
    return true;
}

bool jsonin_float(const json_t *o, const char *key, double min, double max, float *out,
                  struct err *e)
{
    const json_t *v = jsonin_get(o, key);
    if (!v)
        return false;
    if (!json_is_number(v))
        return wrong_type(key, "a number", v, e);
    double d = json_number_value(v);
    if (!(d >= min && d <= max)) {
        err_field(e, E_RANGE, key, "%s: %.9g is outside %.9g … %.9g", key, d, min, max);
        return false;
    }
    *out = (float)d;
    return true;
}

bool jsonin_bool(const json_t *o, const char *key, bool *out, struct err *e)
{
    const json_t *v = jsonin_get(o, key);
    if (!v)
        return false;
    if (!json_is_boolean(v))
        return wrong_type(key, "true or false", v, e);
    *out = json_is_true(v);
    return true;
}

bool jsonin_str(const json_t *o, const char *key, const char **out, size_t *n, struct err *e)
{
    const json_t *v = jsonin_get(o, key);
    if (!v)
        return false;
    if (!json_is_string(v))
        return wrong_type(key, "a string", v, e);
    *out = json_string_value(v);
    if (n)
        *n = json_string_length(v);
    return true;
}
