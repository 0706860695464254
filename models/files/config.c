/* config.json as typed, checked reads. The first wrong value is kept in the caller's err, later
 * reads go on with their defaults. Which keys were asked for is remembered, so that the loader
 * can name those it would ignore. Thread: one at a time. */
#include "models/files/config.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "models/files/jsontext.h"

/* A value outside this cannot be an exact int64 when written as a real (2^53). */
#define REAL_INT_MAX 9007199254740992.0

#define SHOWN_BYTES 40 /* of a wrong value, in a message */

struct member {
    const char *key; /* jansson's */
    json_t *value;   /* borrowed from the root */
    bool read;
    struct config **kids; /* nested objects, made when first asked for */
    size_t n_kids;
};

struct config {
    char *file;      /* for messages */
    char path[128];  /* of this object inside the file, with its dot: "attn." */
    json_t *object;  /* owned by the root, borrowed elsewhere */
    bool root;
    struct member *members; /* sorted by key: some objects have thousands */
    size_t n;
};

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct member *)a)->key, ((const struct member *)b)->key);
}

static int node_new(struct config **out, json_t *object, const char *file, const char *path,
                    struct err *e)
{
    size_t n = json_object_size(object), i = 0;
    struct config *c = mem_zalloc(sizeof *c);
    if (c) {
        c->file = mem_strdup(file);
        c->members = mem_array(n ? n : 1, sizeof *c->members);
    }
    if (!c || !c->file || !c->members) {
        config_free(c);
        return err_set(e, E_NOMEM, "%s: out of memory for %zu keys", jsontext_tail(file), n);
    }
    snprintf(c->path, sizeof c->path, "%s", path);
    c->object = object;
    c->n = n;
    for (void *it = json_object_iter(object); it && i < n; it = json_object_iter_next(object, it))
        c->members[i++] = (struct member){.key = json_object_iter_key(it),
                                          .value = json_object_iter_value(it)};
    qsort(c->members, n, sizeof *c->members, by_key);
    *out = c;
    return 0;
}

static int own(struct config **out, json_t *root, const char *file, struct err *e)
{
    int rc = node_new(out, root, file, "", e);
    if (rc < 0)
        json_decref(root);
    else
        (*out)->root = true;
    return rc;
}

int config_parse(struct config **out, const char *text, size_t n, const char *name, struct err *e)
{
    json_t *root;
    int rc = jsontext_parse(&root, text, n, LIMIT_JSON_VALUES, name, e);
    return rc < 0 ? rc : own(out, root, name, e);
}

int config_read(struct config **out, const char *path, struct err *e)
{
    json_t *root;
    int rc = jsontext_read(&root, path, LIMIT_CONFIG_BYTES, LIMIT_JSON_VALUES, e);
    return rc < 0 ? rc : own(out, root, path, e);
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; c->members && i < c->n; i++) {
        for (size_t k = 0; k < c->members[i].n_kids; k++)
            config_free(c->members[i].kids[k]);
        mem_free(c->members[i].kids);
    }
    if (c->root)
        json_decref(c->object);
    mem_free(c->members);
    mem_free(c->file);
    mem_free(c);
}

static struct member *look(const struct config *c, const char *key)
{
    struct member wanted = {.key = key};
    return bsearch(&wanted, c->members, c->n, sizeof wanted, by_key);
}

static struct member *find(const struct config *c, const char *key)
{
    struct member *m = look(c, key);
    if (m)
        m->read = true;
    return m;
}

/* The value of key; NULL when absent or null. */
static json_t *get(const struct config *c, const char *key)
{
    struct member *m = find(c, key);
    return m && !json_is_null(m->value) ? m->value : NULL;
}

/* The i-th element; NULL when past the end, null, or key is no array. */
static json_t *get_at(const struct config *c, const char *key, int64_t i)
{
    json_t *array = get(c, key);
    json_t *v = i < 0 ? NULL : json_array_get(array, (size_t)i);
    return json_is_null(v) ? NULL : v;
}

/* A short rendering of a value for messages. */
static const char *shown(const json_t *v, char *out, size_t n)
{
    double x;
    if (json_is_string(v)) {
        size_t len = utf8_complete(json_string_value(v), MIN(json_string_length(v), SHOWN_BYTES));
        snprintf(out, n, "\"%.*s\"", (int)len, json_string_value(v));
    } else if (json_is_integer(v))
        snprintf(out, n, "%lld", (long long)json_integer_value(v));
    else if (json_is_boolean(v))
        snprintf(out, n, "%s", json_is_true(v) ? "true" : "false");
    else if (jsontext_number(v, &x))
        snprintf(out, n, "%g", x);
    else
        snprintf(out, n, "%s", json_is_array(v)    ? "an array"
                               : json_is_object(v) ? "an object"
                                                   : "null");
    return out;
}

static void wrong(const struct config *c, const char *key, int64_t i, const json_t *v,
                  const char *expected, struct err *e)
{
    char value[64], index[32] = "";
    if (i >= 0)
        snprintf(index, sizeof index, "[%lld]", (long long)i);
    err_set(e, E_FORMAT, "%s: %s%s%s is %s, expected %s", jsontext_tail(c->file), c->path, key,
            index, shown(v, value, sizeof value), expected);
}

/* An integer, also when written as 2.0: converters do that. */
static bool as_int(const json_t *v, int64_t *out)
{
    if (json_is_integer(v)) {
        *out = json_integer_value(v);
        return true;
    }
    double x = json_is_real(v) ? json_real_value(v) : NAN;
    if (!(fabs(x) <= REAL_INT_MAX) || x != floor(x))
        return false;
    *out = (int64_t)x;
    return true;
}

char *config_text(const struct config *c)
{
    return json_dumps(c->object, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
}

bool config_has(const struct config *c, const char *key)
{
    return get(c, key) != NULL;
}

int64_t config_int(const struct config *c, const char *key, int64_t dflt, int64_t min,
                   int64_t max, struct err *e)
{
    json_t *v = get(c, key);
    int64_t x;
    if (!v)
        return dflt;
    if (!as_int(v, &x)) {
        wrong(c, key, -1, v, "an integer", e);
        return dflt;
    }
    if (x < min || x > max) {
        err_set(e, E_RANGE, "%s: %s%s is %lld, must be between %lld and %lld",
                jsontext_tail(c->file), c->path, key, (long long)x, (long long)min,
                (long long)max);
        return dflt;
    }
    return x;
}

double config_num(const struct config *c, const char *key, double dflt, struct err *e)
{
    json_t *v = get(c, key);
    double x = dflt;
    if (v && !jsontext_number(v, &x))
        wrong(c, key, -1, v, "a number", e);
    return x;
}

bool config_bool(const struct config *c, const char *key, bool dflt, struct err *e)
{
    json_t *v = get(c, key);
    if (!v)
        return dflt;
    if (!json_is_boolean(v)) {
        wrong(c, key, -1, v, "true or false", e);
        return dflt;
    }
    return json_is_true(v);
}

const char *config_str(const struct config *c, const char *key, const char *dflt, struct err *e)
{
    json_t *v = get(c, key);
    if (!v)
        return dflt;
    if (!json_is_string(v)) {
        wrong(c, key, -1, v, "a string", e);
        return dflt;
    }
    return json_string_value(v);
}

/* The node of the i-th object under key (i < 0: the value itself), made on first use. */
static const struct config *kid(const struct config *c, const char *key, int64_t i,
                                json_t *object, struct err *e)
{
    struct member *m = find(c, key);
    size_t slot = i < 0 ? 0 : (size_t)i;
    if (slot >= m->n_kids) {
        struct config **kids = mem_realloc(m->kids, (slot + 1) * sizeof *kids);
        if (!kids) {
            err_set(e, E_NOMEM, "%s: out of memory for %s%s", jsontext_tail(c->file), c->path,
                    key);
            return NULL;
        }
        memset(kids + m->n_kids, 0, (slot + 1 - m->n_kids) * sizeof *kids);
        m->kids = kids;
        m->n_kids = slot + 1;
    }
    if (!m->kids[slot]) {
        char path[sizeof c->path];
        if (i < 0)
            snprintf(path, sizeof path, "%.60s%.60s.", c->path, key);
        else
            snprintf(path, sizeof path, "%.60s%.40s[%lld].", c->path, key, (long long)i);
        if (node_new(&m->kids[slot], object, c->file, path, e) < 0)
            return NULL;
    }
    return m->kids[slot];
}

const struct config *config_obj(const struct config *c, const char *key, struct err *e)
{
    json_t *v = get(c, key);
    if (!v)
        return NULL;
    if (!json_is_object(v)) {
        wrong(c, key, -1, v, "an object", e);
        return NULL;
    }
    return kid(c, key, -1, v, e);
}

const struct config *config_obj_at(const struct config *c, const char *key, int i, struct err *e)
{
    json_t *v = get(c, key);
    if (json_is_object(v))
        return i == 0 ? kid(c, key, -1, v, e) : NULL;
    if (v && !json_is_array(v)) {
        wrong(c, key, -1, v, "an array of objects", e);
        return NULL;
    }
    if (i < 0 || (size_t)i >= json_array_size(v))
        return NULL;
    json_t *object = json_array_get(v, (size_t)i);
    if (!json_is_object(object)) {
        wrong(c, key, i, object, "an object", e);
        return NULL;
    }
    return kid(c, key, i, object, e);
}

int64_t config_len(const struct config *c, const char *key)
{
    json_t *v = get(c, key);
    return json_is_array(v) ? (int64_t)json_array_size(v) : -1;
}

int64_t config_int_at(const struct config *c, const char *key, int64_t i, int64_t dflt,
                      struct err *e)
{
    json_t *v = get_at(c, key, i);
    int64_t x = dflt;
    if (v && !as_int(v, &x))
        wrong(c, key, i, v, "an integer", e);
    return x;
}

double config_num_at(const struct config *c, const char *key, int64_t i, double dflt,
                     struct err *e)
{
    json_t *v = get_at(c, key, i);
    double x = dflt;
    if (v && !jsontext_number(v, &x))
        wrong(c, key, i, v, "a number", e);
    return x;
}

const char *config_str_at(const struct config *c, const char *key, int64_t i, struct err *e)
{
    json_t *v = get_at(c, key, i);
    if (v && !json_is_string(v))
        wrong(c, key, i, v, "a string", e);
    return json_string_value(v);
}

/* Index of the first member behind key; 0 for NULL. */
static size_t after(const struct config *c, const char *key)
{
    size_t low = 0, high = c->n;
    while (key && low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(c->members[mid].key, key) <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const char *config_next_key(const struct config *c, const char *key)
{
    size_t i = after(c, key);
    return i < c->n ? c->members[i].key : NULL;
}

const char *config_next_unread(const struct config *c, const char *key)
{
    for (size_t i = after(c, key); i < c->n; i++)
        if (!c->members[i].read && !json_is_null(c->members[i].value))
            return c->members[i].key;
    return NULL;
}

bool config_is_nothing(const struct config *c, const char *key)
{
    const struct member *m = look(c, key);
    const json_t *v = m ? m->value : NULL;
    double x;
    if (json_is_string(v))
        return json_string_length(v) == 0;
    if (jsontext_number(v, &x))
        return x == 0;
    return !v || json_is_null(v) || json_is_false(v) ||
           (json_is_array(v) && json_array_size(v) == 0) ||
           (json_is_object(v) && json_object_size(v) == 0);
}

bool config_peek(const struct config *c, const char *key, double *x)
{
    const struct member *m = look(c, key);
    return m && jsontext_number(m->value, x);
}
