/* FP8 matrices and their scales as one tensor.
 *
 * w = e4m3(byte) * scale, the scale a float of any plain type that belongs to 128 x 128 elements
 * (as DeepSeek, Qwen and Kimi publish), to a row, to the whole matrix or to the matrix of one
 * expert. A read gives whole rows: each becomes blocks of 128 columns and their scale. */
#include "models/files/fp8.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "models/files/checkpoint_int.h"

#define BLOCK 128

struct entry {
    struct tensor t; /* first */
    const struct tensor *from, *scale;       /* of the files; scale NULL: not FP8 */
    int64_t rows, cols;                      /* of one matrix; there may be several */
    int64_t scale_rows, scale_cols, per_row; /* per_row: rows under one scale */
};

struct joined {
    struct checkpoint ck; /* first */
    struct checkpoint *files;
    struct entry *entries;
    size_t n;
};

/* ---- the table -------------------------------------------------------------------------- */

static bool ends_in(const char *name, const char *tail)
{
    size_t n = strlen(name), k = strlen(tail);
    return n > k && strcmp(name + n - k, tail) == 0;
}

/* name without its last `cut` bytes, with tail behind it. */
static const struct tensor *beside(struct checkpoint *c, const char *name, size_t cut,
                                   const char *tail)
{
    char other[LIMIT_TENSOR_NAME];
    int keep = (int)(strlen(name) - cut);
    if ((size_t)keep + strlen(tail) >= sizeof other)
        return NULL;
    snprintf(other, sizeof other, "%.*s%s", keep, name, tail);
    return checkpoint_find(c, other);
}

static const struct tensor *scale_of(struct checkpoint *c, const struct tensor *t)
{
    const struct tensor *s = beside(c, t->name, 0, "_scale_inv");
    return s ? s : beside(c, t->name, 0, "_scale");
}

static bool is_fp8(const struct tensor *t)
{
    return t && t->dtype == DTYPE_FP8;
}

/* Whether s only says something about an FP8 matrix: its scale, or that of its inputs. */
static bool belongs_to_fp8(struct checkpoint *c, const struct tensor *s)
{
    static const struct { const char *tail, *of; } tails[] = {
        {"_scale_inv", ""}, {"_scale", ""}, {".input_scale", ".weight"},
        {".activation_scale", ".weight"}};
    for (size_t i = 0; i < ARRAY_LEN(tails); i++)
        if (ends_in(s->name, tails[i].tail)) {
            const struct tensor *t = beside(c, s->name, strlen(tails[i].tail), tails[i].of);
            if (is_fp8(t) && (tails[i].of[0] || scale_of(c, t) == s))
                return true;
        }
    return false;
}

static int64_t blocks(int64_t n)
{
    return (n - 1) / BLOCK + 1;
}

/* How the scale's shape lies over the matrix's; false where it does not. */
static bool set_grid(struct entry *x)
{
    const struct tensor *t = x->from, *s = x->scale;
    int d = t->n_dims, k = s->n_dims;
    int64_t experts, sr = 1, sc = 1;
    x->cols = t->shape[d - 1];
    x->rows = t->shape[d - 2];
    experts = t->elems / x->cols / x->rows;
    if (s->elems == 1) {
        x->rows = t->elems / x->cols; /* of all experts */
        experts = 1;
    } else if (k == d) {
        sr = s->shape[k - 2];
        sc = s->shape[k - 1];
        for (int i = 0; i < d - 2; i++)
            if (s->shape[i] != t->shape[i])
                return false;
    } else if (k == 1 && s->elems == x->rows && experts == 1) {
        sr = s->elems;
    } else if (s->elems != experts) {
        return false;
    }
    x->scale_rows = sr;
    x->scale_cols = sc;
    x->per_row = sr == 1 ? x->rows : sr == x->rows ? 1 : BLOCK;
    return (sr == 1 || sr == x->rows || sr == blocks(x->rows)) &&
           (sc == 1 || sc == blocks(x->cols)) && s->elems == experts * sr * sc;
}

static void shape_text(const struct tensor *t, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < t->n_dims && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%" PRId64, i ? ", " : "", t->shape[i]);
    if (n < size)
        snprintf(out + n, size - n, "]");
}

static int add_fp8(struct entry *x, struct checkpoint *files, struct err *e)
{
    char shape[96], of[96];
    const struct tensor *t = x->from, *s = x->scale = scale_of(files, t);
    if (t->n_dims < 2)
        return err_set(e, E_FORMAT, "tensor %s: F8_E4M3 with %d dimensions; a matrix has 2 or more",
                       t->name, t->n_dims);
    if (!s)
        return err_set(e, E_FORMAT, "tensor %s: F8_E4M3, but there is no %s_scale_inv and no "
                       "%s_scale", t->name, t->name, t->name);
    shape_text(s, shape, sizeof shape);
    shape_text(t, of, sizeof of);
    if (s->whole_numbers)
        return err_set(e, E_UNSUPPORTED, "tensor %s: of whole numbers; scales are F32, F16 or BF16",
                       s->name);
    if (!format_plain(s->dtype))
        return err_set(e, E_FORMAT, "tensor %s: of type %s; scales are F32, F16 or BF16", s->name,
                       dtype_name(s->dtype));
    if (!set_grid(x))
        return err_set(e, E_FORMAT, "tensor %s: shape %s does not lie over %s of %s in blocks of "
                       "%d x %d, rows or matrices", s->name, shape, of, t->name, BLOCK, BLOCK);
    return 0;
}

static int fill(struct joined *j, struct checkpoint *files, struct err *e)
{
    size_t n = checkpoint_count(files);
    int rc = 0;
    j->entries = mem_array(n, sizeof *j->entries);
    if (!j->entries)
        return err_set(e, E_NOMEM, "out of memory for %zu tensors", n);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct tensor *t = checkpoint_at(files, i);
        if (belongs_to_fp8(files, t))
            continue;
        struct entry *x = &j->entries[j->n++];
        *x = (struct entry){.t = *t, .from = t};
        if (is_fp8(t))
            rc = add_fp8(x, files, e);
    }
    if (rc == 0 && checkpoint_index(&j->ck, j->entries, sizeof *j->entries, j->n) < 0)
        rc = err_set(e, E_NOMEM, "out of memory for %zu names", j->n);
    return rc;
}

/* ---- reading ---------------------------------------------------------------------------- */

/* Which row of scales belongs to row r of all matrices. */
static int64_t scale_row(const struct entry *x, int64_t r)
{
    return r / x->rows * x->scale_rows + r % x->rows / x->per_row;
}

/* The scales of rows [first, last], from the row of scales of `first` on, as float32. */
static int read_scales(struct checkpoint *files, const struct entry *x, int64_t first,
                       int64_t last, float *out, void *raw, struct err *e)
{
    int64_t from = scale_row(x, first), n = scale_row(x, last) - from + 1;
    int rc = files->kind->read(files, x->scale, from * x->scale_cols, n * x->scale_cols, raw, e);
    if (rc == 0)
        format_decode(x->scale->dtype, raw, n * x->scale_cols, out);
    return rc;
}

static int read_fp8(struct joined *j, const struct entry *x, int64_t first, int64_t n,
                    uint8_t *dst, struct err *e)
{
    int64_t r0 = first / x->cols, rows = n / x->cols, wide = blocks(x->cols);
    if (first % x->cols || n % x->cols)
        return err_set(e, E_RANGE, "tensor %s: elements %" PRId64 " to %" PRId64 " are no whole "
                       "rows of %" PRId64, x->t.name, first, first + n, x->cols);
    if (n == 0)
        return 0;
    int64_t base = scale_row(x, r0);
    size_t scales = (size_t)((scale_row(x, r0 + rows - 1) - base + 1) * x->scale_cols);
    uint8_t *bytes = mem_array((size_t)n, 1);
    float *scale = mem_array(2 * scales + (size_t)wide, sizeof *scale);
    int rc = bytes && scale ? 0 : err_set(e, E_NOMEM, "tensor %s: out of memory for %" PRId64
                                          " elements", x->t.name, n);
    if (rc == 0)
        rc = read_scales(j->files, x, r0, r0 + rows - 1, scale, scale + scales, e);
    if (rc == 0)
        rc = j->files->kind->read(j->files, x->from, first, n, bytes, e);
    for (int64_t r = 0; rc == 0 && r < rows; r++) {
        const float *own = scale + (scale_row(x, r0 + r) - base) * x->scale_cols;
        float *spread = scale + 2 * scales;
        for (int64_t c = 0; c < wide; c++)
            spread[c] = own[x->scale_cols == 1 ? 0 : c];
        format_join_fp8(bytes + r * x->cols, spread, x->cols, dst);
        dst += format_bytes(DTYPE_FP8, x->cols);
    }
    mem_free(bytes);
    mem_free(scale);
    return rc;
}

static int read_joined(struct checkpoint *ck, const struct tensor *t, int64_t first, int64_t n,
                       void *dst, struct err *e)
{
    struct joined *j = (struct joined *)ck;
    const struct entry *x = (const struct entry *)t;
    return x->scale ? read_fp8(j, x, first, n, dst, e)
                    : j->files->kind->read(j->files, x->from, first, n, dst, e);
}

static int read_joined_int(struct checkpoint *ck, const struct tensor *t, int64_t first, int64_t n,
                           int64_t *dst, struct err *e)
{
    struct joined *j = (struct joined *)ck;
    return checkpoint_read_int(j->files, ((const struct entry *)t)->from, first, n, dst, e);
}

static void close_joined(struct checkpoint *ck)
{
    struct joined *j = (struct joined *)ck;
    mem_free(j->entries);
    checkpoint_close(j->files);
}

static int file_of(const struct checkpoint *ck, size_t i)
{
    return checkpoint_file(((const struct joined *)ck)->files, i);
}

static const struct checkpoint_kind kind = {
    .read = read_joined, .read_int = read_joined_int, .file = file_of, .close = close_joined};

int fp8_join(struct checkpoint **ck, struct err *e)
{
    bool any = false;
    for (size_t i = 0; i < checkpoint_count(*ck) && !any; i++)
        any = is_fp8(checkpoint_at(*ck, i));
    if (!any)
        return 0;
    struct joined *j = mem_zalloc(sizeof *j);
    if (!j)
        return err_set(e, E_NOMEM, "out of memory for a table of tensors");
    j->ck.kind = &kind;
    int rc = fill(j, *ck, e);
    if (rc < 0) {
        checkpoint_close(&j->ck); /* the files stay */
    } else {
        j->files = *ck;
        *ck = &j->ck;
    }
    return rc;
}
