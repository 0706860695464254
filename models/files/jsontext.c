/* JSON text -> jansson tree. A scan of our own comes first: it bounds depth and number of values
 * (jansson recurses, and costs up to 30 times the text in memory) and rewrites what published
 * files hold beyond JSON. Thread: any; nothing is kept between calls. */
#include "models/files/jsontext.h"

#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/jsonread.h"
#include "base/limits.h"

/* jansson's integers end here. */
#define INT_LARGEST "9223372036854775807"

#define TAIL_BYTES 120

struct scan {
    const char *s;
    size_t n, at;
    size_t copied;   /* the text before it is in `out`, if anything was rewritten */
    size_t depth, values, max_values;
    struct buf *out; /* the rewritten text; empty while nothing had to be */
    const char *name;
};

const char *jsontext_tail(const char *path)
{
    size_t n = strlen(path);
    if (n <= TAIL_BYTES)
        return path;
    path += n - TAIL_BYTES;
    while ((*path & 0xC0) == 0x80) /* not in the middle of a character */
        path++;
    return path;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_number(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

static void replace(struct scan *c, size_t from, size_t to, const char *with)
{
    buf_add(c->out, c->s + c->copied, from - c->copied);
    buf_str(c->out, with);
    c->copied = to;
}

static bool word_is(const struct scan *c, size_t from, size_t to, const char *word)
{
    return to - from == strlen(word) && memcmp(c->s + from, word, to - from) == 0;
}

static void scan_string(struct scan *c)
{
    for (c->at++; c->at < c->n && c->s[c->at] != '"'; c->at++)
        if (c->s[c->at] == '\\')
            c->at++;
    c->at++;
}

static void scan_word(struct scan *c)
{
    size_t from = c->at;
    if (c->s[c->at] == '-')
        c->at++;
    while (c->at < c->n && is_word(c->s[c->at]))
        c->at++;
    if (word_is(c, from, c->at, "Infinity"))
        replace(c, from, c->at, "{\"__float__\":\"Infinity\"}");
    else if (word_is(c, from, c->at, "-Infinity"))
        replace(c, from, c->at, "{\"__float__\":\"-Infinity\"}");
    else if (word_is(c, from, c->at, "NaN"))
        replace(c, from, c->at, "{\"__float__\":\"NaN\"}");
}

static void scan_number(struct scan *c)
{
    size_t from = c->at, digits = 0;
    bool integer = true;
    for (; c->at < c->n && is_number(c->s[c->at]); c->at++) {
        char d = c->s[c->at];
        digits += d >= '0' && d <= '9';
        integer = integer && ((d >= '0' && d <= '9') || (d == '-' && c->at == from));
    }
    const char *first = c->s + c->at - digits;
    size_t most = strlen(INT_LARGEST);
    if (integer && (digits > most || (digits == most && memcmp(first, INT_LARGEST, most) > 0)))
        replace(c, c->at, c->at, ".0");
}

static int scan_open(struct scan *c, struct err *e)
{
    c->at++;
    c->values++;
    if (++c->depth > LIMIT_JSON_DEPTH)
        return err_set(e, E_RANGE, "%s: JSON is nested deeper than %d levels",
                       jsontext_tail(c->name), LIMIT_JSON_DEPTH);
    return 0;
}

static int scan(struct scan *c, struct err *e)
{
    while (c->at < c->n) {
        char ch = c->s[c->at];
        if (ch == '"') {
            scan_string(c);
        } else if (ch == '{' || ch == '[') {
            int rc = scan_open(c, e);
            if (rc < 0)
                return rc;
        } else if (is_word(ch) || (ch == '-' && c->at + 1 < c->n && is_word(c->s[c->at + 1]))) {
            scan_word(c);
        } else if (is_number(ch)) {
            scan_number(c);
        } else {
            c->depth -= (ch == '}' || ch == ']') && c->depth > 0;
            c->values += ch == ',';
            c->at++;
        }
        if (c->values > c->max_values)
            return err_set(e, E_RANGE, "%s: JSON holds more than %zu values",
                           jsontext_tail(c->name), c->max_values);
    }
    return 0;
}

/* Beside jansson's own: the root is a list. */
#define ROOT_LIST 0x40000000

static int load(json_t **out, const char *text, size_t n, size_t flags, const char *name,
                struct err *e)
{
    bool list = flags & ROOT_LIST;
    json_error_t je;
    json_t *root = jsonread(text, n, JSON_REJECT_DUPLICATES | (flags & ~(size_t)ROOT_LIST), &je);
    if (!root) {
        enum json_error_code code = json_error_code(&je);
        const char *what = code == json_error_duplicate_key             ? "a key appears twice"
                           : code == json_error_premature_end_of_input ? "the text ends too early"
                           : code == json_error_out_of_memory          ? "out of memory"
                                                                       : "not valid JSON";
        return err_set(e, code == json_error_out_of_memory ? E_NOMEM : E_FORMAT,
                       "%s: %s (line %d, near byte %d of %zu)", jsontext_tail(name),
                       what, je.line, je.position, n);
    }
    if (list ? !json_is_array(root) : !json_is_object(root)) {
        json_decref(root);
        return err_set(e, E_FORMAT, "%s: the JSON text is not %s", jsontext_tail(name),
                       list ? "a list" : "an object");
    }
    *out = root;
    return 0;
}

static int parse(json_t **out, const char *text, size_t n, size_t max_values, size_t flags,
                 const char *name, struct err *e)
{
    struct buf rewritten;
    /* A rewritten word grows to at most 25 bytes from 3. */
    buf_init(&rewritten, n <= SIZE_MAX / 16 ? n * 9 + 64 : n);
    struct scan c = {.s = text, .n = n, .max_values = max_values, .out = &rewritten, .name = name};
    int rc = scan(&c, e);
    if (rc < 0)
        goto out;
    if (c.copied == 0) {
        rc = load(out, text ? text : "", n, flags, name, e);
        goto out;
    }
    buf_add(&rewritten, text + c.copied, n - c.copied);
    if (rewritten.failed)
        rc = err_set(e, E_NOMEM, "%s: out of memory for %zu bytes of JSON", jsontext_tail(name), n);
    else
        rc = load(out, rewritten.p, rewritten.len, flags, name, e);
out:
    buf_free(&rewritten);
    return rc;
}

int jsontext_parse(json_t **out, const char *text, size_t n, size_t max_values, const char *name,
                   struct err *e)
{
    return parse(out, text, n, max_values, 0, name, e);
}

int jsontext_parse_row(json_t **out, const char *text, size_t n, size_t max_values,
                       const char *name, struct err *e)
{
    return parse(out, text, n, max_values, ROOT_LIST | JSON_ALLOW_NUL, name, e);
}

static int read_file(json_t **out, const char *path, size_t max_bytes, size_t max_values,
                     size_t flags, struct err *e)
{
    struct buf text;
    buf_init(&text, max_bytes);
    int rc = file_read(path, &text, e);
    if (rc == 0)
        rc = parse(out, text.p, text.len, max_values, flags, path, e);
    buf_free(&text);
    return rc;
}

int jsontext_read(json_t **out, const char *path, size_t max_bytes, size_t max_values,
                  struct err *e)
{
    return read_file(out, path, max_bytes, max_values, 0, e);
}

int jsontext_read_words(json_t **out, const char *path, size_t max_bytes, size_t max_values,
                        struct err *e)
{
    return read_file(out, path, max_bytes, max_values, JSON_ALLOW_NUL, e);
}

bool jsontext_number(const json_t *v, double *out)
{
    if (json_is_integer(v)) {
        *out = (double)json_integer_value(v);
        return true;
    }
    if (json_is_real(v)) {
        *out = json_real_value(v);
        return true;
    }
    const char *word = json_string_value(json_object_get(v, "__float__"));
    if (!word)
        return false;
    if (strcmp(word, "Infinity") == 0)
        *out = INFINITY;
    else if (strcmp(word, "-Infinity") == 0)
        *out = -INFINITY;
    else if (strcmp(word, "NaN") == 0)
        *out = NAN;
    else
        return false;
    return true;
}
