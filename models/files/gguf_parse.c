/* The header of a GGUF file.
 *
 * Invariant: a string or array that a value points at lies inside the bytes at hand; a tensor in
 * the table lies inside its file, has exactly the bytes of its shape and type, and shares none
 * with another. Pure. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "models/files/gguf_int.h"
#include "models/files/gguf_types.h"

#define KEY_BYTES 1024       /* the longest published: ~60; the format allows 65,535 */
#define VALUE_MIN 13         /* bytes of the smallest value with its key; of a tensor: 24 */
#define TENSOR_MIN 24
#define ALIGNMENT 32         /* where general.alignment does not say */
#define ALIGNMENT_MAX 65536
#define BIG_ENDIAN_ONE (1u << 24) /* what 1 written the other way reads as */

static const unsigned char widths[GGUF_KINDS] = {
    [GGUF_U8] = 1, [GGUF_I8] = 1, [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
    [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};

/* ---- bytes ------------------------------------------------------------------------------ */

static uint64_t le(const unsigned char *p, size_t n)
{
    uint64_t x = 0;
    while (n--)
        x = x << 8 | p[n];
    return x;
}

/* The next n bytes, or NULL: the file ends before (an error), or the bytes at hand (more). */
static const unsigned char *take(struct cursor *c, uint64_t n, const char *what)
{
    if (n > c->size - c->at) {
        err_set(c->e, E_FORMAT, "%s: %s takes %" PRIu64 " bytes at byte %zu, the file ends at %"
                PRIu64, c->path, what, n, c->at, c->size);
        return NULL;
    }
    if (n > c->n - c->at) {
        c->more = true;
        return NULL;
    }
    const unsigned char *p = c->p + c->at;
    c->at += (size_t)n;
    return p;
}

static bool take_int(struct cursor *c, size_t width, uint64_t *out, const char *what)
{
    const unsigned char *p = take(c, width, what);
    if (p)
        *out = le(p, width);
    return p != NULL;
}

static bool take_string(struct cursor *c, uint64_t max, struct gguf_string *out, const char *what)
{
    uint64_t n;
    if (!take_int(c, 8, &n, what))
        return false;
    if (n > max) {
        err_set(c->e, E_RANGE, "%s: %s has %" PRIu64 " bytes, at most %" PRIu64 " are read",
                c->path, what, n, max);
        return false;
    }
    const unsigned char *p = take(c, n, what);
    *out = (struct gguf_string){(const char *)p, (size_t)n};
    return p != NULL;
}

/* ---- one value -------------------------------------------------------------------------- */

static bool check_key(struct cursor *c, const struct gguf_string *key, size_t index)
{
    for (size_t i = 0; i < key->n; i++)
        if ((unsigned char)key->p[i] <= 0x20 || (unsigned char)key->p[i] >= 0x7f) {
            err_set(c->e, E_FORMAT, "%s: the key of value %zu has byte 0x%02x at %zu; keys are "
                    "printable ASCII", c->path, index, (unsigned)(unsigned char)key->p[i], i);
            return false;
        }
    if (key->n == 0)
        err_set(c->e, E_FORMAT, "%s: the key of value %zu is empty", c->path, index);
    return key->n > 0;
}

static bool parse_kind(struct cursor *c, const struct gguf_string *key, enum gguf_kind *out)
{
    uint64_t kind;
    if (!take_int(c, 4, &kind, "the kind of a value"))
        return false;
    if (kind >= GGUF_KINDS) {
        err_set(c->e, E_FORMAT, "%s: value %.*s is of kind %" PRIu64 ", 0 to %d are defined",
                c->path, (int)MIN(key->n, 80), key->p, kind, GGUF_KINDS - 1);
        return false;
    }
    *out = (enum gguf_kind)kind;
    return true;
}

static bool parse_elements(struct cursor *c, struct gguf_value *v)
{
    struct gguf_string s;
    uint64_t bytes;
    v->p = c->p + c->at;
    if (v->of == GGUF_STRING) {
        if (v->n > (c->size - c->at) / 8) { /* each has its length */
            err_set(c->e, E_FORMAT, "%s: value %.*s claims %" PRIu64 " strings in the %" PRIu64
                    " bytes left", c->path, (int)MIN(v->key.n, 80), v->key.p, v->n,
                    c->size - c->at);
            return false;
        }
        for (uint64_t i = 0; i < v->n; i++)
            if (!take_string(c, LIMIT_GGUF_HEADER_BYTES, &s, "a string"))
                return false;
        return true;
    }
    if (mul_overflows(v->n, (uint64_t)widths[v->of], &bytes)) {
        err_set(c->e, E_RANGE, "%s: value %.*s claims %" PRIu64 " elements of %u bytes", c->path,
                (int)MIN(v->key.n, 80), v->key.p, v->n, (unsigned)widths[v->of]);
        return false;
    }
    return take(c, bytes, "an array") != NULL;
}

static bool parse_value(struct cursor *c, struct gguf_value *v, size_t index)
{
    if (!take_string(c, KEY_BYTES, &v->key, "a key") || !check_key(c, &v->key, index) ||
        !parse_kind(c, &v->key, &v->kind))
        return false;
    v->of = v->kind;
    v->n = 1;
    if (v->kind == GGUF_ARRAY) {
        if (!parse_kind(c, &v->key, &v->of) || !take_int(c, 8, &v->n, "an array's length"))
            return false;
        if (v->of == GGUF_ARRAY) {
            err_set(c->e, E_UNSUPPORTED, "%s: value %.*s is an array of arrays; only arrays of "
                    "plain values are read", c->path, (int)MIN(v->key.n, 80), v->key.p);
            return false;
        }
    }
    return parse_elements(c, v);
}

/* ---- one tensor ------------------------------------------------------------------------- */

static int parse_shape(struct cursor *c, struct gguf_tensor *t)
{
    uint64_t dims, size;
    if (!take_int(c, 4, &dims, "a tensor's number of dimensions"))
        return c->e->code;
    if (dims > LIMIT_ST_DIMS)
        return err_set(c->e, E_RANGE, "%s: tensor %s has %" PRIu64 " dimensions, at most %d are "
                       "read", c->path, t->name, dims, LIMIT_ST_DIMS);
    t->n_dims = (int32_t)dims;
    t->elems = 1;
    for (int32_t i = t->n_dims; i-- > 0;) { /* innermost first in the file */
        if (!take_int(c, 8, &size, "a tensor's size"))
            return c->e->code;
        if (size < 1 || size > INT64_MAX)
            return err_set(c->e, E_FORMAT, "%s: tensor %s: dimension %d is %" PRIu64
                           ", must be 1 or more", c->path, t->name, t->n_dims - 1 - i, size);
        t->shape[i] = (int64_t)size;
        if (mul_overflows(t->elems, t->shape[i], &t->elems))
            return err_set(c->e, E_RANGE, "%s: tensor %s: the product of its %d dimensions "
                           "exceeds %" PRId64, c->path, t->name, t->n_dims, INT64_MAX);
    }
    return 0;
}

static int parse_type(struct cursor *c, struct gguf_tensor *t)
{
    uint64_t type;
    int64_t bytes, row = t->n_dims ? t->shape[t->n_dims - 1] : 1;
    char known[400];
    if (!take_int(c, 4, &type, "a tensor's type"))
        return c->e->code;
    int dtype = format_of_gguf((int64_t)MIN(type, (uint64_t)INT32_MAX));
    if (dtype < 0)
        return err_set(c->e, E_UNSUPPORTED, "%s: tensor %s is of type %s (%" PRIu64 "); %s are "
                       "read", c->path, t->name, gguf_type_name(type), type,
                       gguf_types_known(known, sizeof known, false));
    const struct weight_format *x = &formats[dtype];
    if (row % x->block)
        return err_set(c->e, E_FORMAT, "%s: tensor %s has rows of %" PRId64 " elements, no "
                       "multiple of the %d in a block of %s", c->path, t->name, row, x->block,
                       gguf_type_name(type));
    t->dtype = (enum dtype)dtype;
    if (mul_overflows(t->elems / x->block, (int64_t)x->bytes, &bytes))
        return err_set(c->e, E_RANGE, "%s: tensor %s: %" PRId64 " elements of type %s are more "
                       "bytes than can be counted", c->path, t->name, t->elems,
                       gguf_type_name(type));
    t->bytes = (uint64_t)bytes;
    return 0;
}

/* One row of the table; the offset is still relative to the data. */
static bool parse_tensor(struct cursor *c, struct gguf_tensor *t)
{
    struct gguf_string name;
    if (!take_string(c, LIMIT_TENSOR_NAME - 1, &name, "a tensor's name"))
        return false;
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] <= 0x20 || (unsigned char)name.p[i] >= 0x7f) {
            err_set(c->e, E_FORMAT, "%s: a tensor's name has byte 0x%02x at %zu; names are "
                    "printable ASCII", c->path, (unsigned)(unsigned char)name.p[i], i);
            return false;
        }
    if (name.n == 0) {
        err_set(c->e, E_FORMAT, "%s: a tensor has no name", c->path);
        return false;
    }
    memcpy(t->name, name.p, name.n);
    return parse_shape(c, t) == 0 && !c->more && parse_type(c, t) == 0 && !c->more &&
           take_int(c, 8, &t->offset, "a tensor's offset");
}

/* ---- one header ------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
    const struct gguf_value *x = a, *y = b;
    int order = memcmp(x->key.p, y->key.p, MIN(x->key.n, y->key.n));
    return order ? order : x->key.n < y->key.n ? -1 : x->key.n > y->key.n;
}

static int parse_values(struct cursor *c, struct part *f, uint64_t n)
{
    mem_free(f->values);
    f->n_values = 0;
    f->values = mem_array(n ? (size_t)n : 1, sizeof *f->values);
    if (!f->values)
        return err_set(c->e, E_NOMEM, "%s: out of memory for %" PRIu64 " values", c->path, n);
    for (; f->n_values < n; f->n_values++)
        if (!parse_value(c, &f->values[f->n_values], f->n_values))
            return c->e->code;
    if (n)
        qsort(f->values, (size_t)n, sizeof *f->values, by_key);
    for (size_t i = 1; i < n; i++)
        if (by_key(&f->values[i - 1], &f->values[i]) == 0)
            return err_set(c->e, E_CONFLICT, "%s: value %.*s is there twice", c->path,
                           (int)MIN(f->values[i].key.n, 80), f->values[i].key.p);
    return 0;
}

static int reserve(struct gguf *g, size_t more, const char *path, struct err *e)
{
    if (g->n + more <= g->cap)
        return 0;
    struct gguf_tensor *grown = mem_realloc(g->tensors, (g->n + more) * sizeof *grown);
    if (!grown)
        return err_set(e, E_NOMEM, "%s: out of memory for %zu tensors", path, g->n + more);
    g->tensors = grown;
    g->cap = g->n + more;
    return 0;
}

static int parse_tensors(struct gguf *g, struct cursor *c, int32_t file, size_t first, uint64_t n)
{
    g->n = first;
    if (reserve(g, (size_t)n, c->path, c->e) < 0)
        return c->e->code;
    for (uint64_t i = 0; i < n; i++, g->n++) {
        struct gguf_tensor *t = &g->tensors[g->n];
        memset(t, 0, sizeof *t);
        t->file = file;
        if (!parse_tensor(c, t))
            return c->e->code;
    }
    return 0;
}

static int check_version(struct cursor *c, uint64_t version)
{
    if (version == 1)
        return err_set(c->e, E_UNSUPPORTED, "%s: GGUF version 1, of 2023; versions 2 and 3 are "
                       "read: convert the model again", c->path);
    if (version >= BIG_ENDIAN_ONE && version % BIG_ENDIAN_ONE == 0)
        return err_set(c->e, E_UNSUPPORTED, "%s: a big-endian GGUF file (version %" PRIu64 "); "
                       "only little-endian ones are read", c->path, version / BIG_ENDIAN_ONE);
    if (version != 2 && version != 3)
        return err_set(c->e, E_UNSUPPORTED, "%s: GGUF version %" PRIu64 "; 2 and 3 are read",
                       c->path, version);
    return 0;
}

static int check_counts(struct cursor *c, uint64_t tensors, uint64_t values)
{
    uint64_t left = c->size - c->at;
    if (tensors > LIMIT_ST_TENSORS || tensors > left / TENSOR_MIN)
        return err_set(c->e, E_RANGE, "%s: claims %" PRIu64 " tensors in %" PRIu64 " bytes, at "
                       "most %d are read", c->path, tensors, left, LIMIT_ST_TENSORS);
    if (values > LIMIT_GGUF_VALUES || values > left / VALUE_MIN)
        return err_set(c->e, E_RANGE, "%s: claims %" PRIu64 " values in %" PRIu64 " bytes, at "
                       "most %d are read", c->path, values, left, LIMIT_GGUF_VALUES);
    return 0;
}

const struct gguf_value *gguf_find_value(const struct part *f, const char *key)
{
    struct gguf_value wanted = {.key = {key, strlen(key)}};
    return f->n_values ? bsearch(&wanted, f->values, f->n_values, sizeof wanted, by_key) : NULL;
}

static int by_offset(const void *a, const void *b)
{
    const struct gguf_tensor *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Offsets of the tensors from first on become the file's; none may reach out of it or over
 * another. */
static int place_tensors(struct gguf *g, struct cursor *c, const struct part *f, size_t first)
{
    int64_t align = ALIGNMENT;
    const struct gguf_value *v = gguf_find_value(f, "general.alignment");
    if (v && (!gguf_int(v, 0, &align) || align < 8 || align > ALIGNMENT_MAX || align % 8))
        return err_set(c->e, E_FORMAT, "%s: general.alignment is %" PRId64 ", must be a multiple "
                       "of 8 up to %d", c->path, align, ALIGNMENT_MAX);
    uint64_t unit = (uint64_t)align, data = (c->at + unit - 1) / unit * unit, end = 0;
    for (size_t i = first; i < g->n; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (t->offset % unit)
            return err_set(c->e, E_FORMAT, "%s: tensor %s begins at data byte %" PRIu64 ", no "
                           "multiple of the alignment %" PRIu64, c->path, t->name, t->offset,
                           unit);
        if (data > f->size || t->offset > f->size - data || t->bytes > f->size - data - t->offset)
            return err_set(c->e, E_RANGE, "%s: tensor %s takes %" PRIu64 " bytes at data byte %"
                           PRIu64 ", the file has %" PRIu64 " there: it is cut off", c->path,
                           t->name, t->bytes, t->offset, f->size > data ? f->size - data : 0);
        t->offset += data;
    }
    if (g->n > first)
        qsort(g->tensors + first, g->n - first, sizeof *g->tensors, by_offset);
    for (size_t i = first; i < g->n; end = g->tensors[i].offset + g->tensors[i].bytes, i++)
        if (g->tensors[i].offset < end)
            return err_set(c->e, E_FORMAT, "%s: tensor %s begins at byte %" PRIu64 ", inside %s, "
                           "which ends at %" PRIu64, c->path, g->tensors[i].name,
                           g->tensors[i].offset, g->tensors[i - 1].name, end);
    return 0;
}

/* Parses the bytes at hand; c->more asks for more of them. */
int gguf_parse_header(struct gguf *g, struct cursor *c, struct part *f, int32_t file,
                      size_t first)
{
    uint64_t version, tensors, values;
    const unsigned char *magic = take(c, 4, "a GGUF header");
    if (!magic)
        return c->e->code;
    if (memcmp(magic, "GGUF", 4) != 0)
        return err_set(c->e, E_FORMAT, "%s: begins with bytes %02x %02x %02x %02x, a GGUF file "
                       "with 47 47 55 46", c->path, magic[0], magic[1], magic[2], magic[3]);
    if (!take_int(c, 4, &version, "the version") || check_version(c, version) < 0 ||
        !take_int(c, 8, &tensors, "the number of tensors") ||
        !take_int(c, 8, &values, "the number of values") || check_counts(c, tensors, values) < 0 ||
        parse_values(c, f, values) < 0 || c->more ||
        parse_tensors(g, c, file, first, tensors) < 0 || c->more)
        return c->e->code;
    f->head_used = c->at;
    return place_tensors(g, c, f, first);
}
