/* A view of a GGUF file, turned back: see gguf_plain.h. Everything is read as float32 and stored in
 * the new type, what needs neither change nor another type as it lies there. */
#include "models/files/gguf_plain.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "models/files/checkpoint_int.h"

#define F16_MOST 65504.0f

struct entry {
    struct tensor t; /* first */
    const struct tensor *from;
    int64_t first;   /* element of `from` */
};

struct plain {
    struct checkpoint ck; /* first */
    struct checkpoint *view;
    struct entry *entries;
    size_t n, cap;
    float *floats;        /* of one read … */
    size_t cap_floats;
    float *row;           /* … and one row whose columns are turned */
    size_t cap_row;
    uint64_t inexact;
};

/* ---- the table -------------------------------------------------------------------------- */

static struct entry *add(struct plain *p, const struct tensor *from, struct err *e)
{
    if (p->n == LIMIT_ST_TENSORS) {
        err_set(e, E_RANGE, "tensor %s: more than %d tensors", from->name, LIMIT_ST_TENSORS);
        return NULL;
    }
    if (p->n == p->cap) {
        size_t cap = MAX(p->cap * 2, (size_t)256);
        struct entry *grown = mem_realloc(p->entries, cap * sizeof *grown);
        if (!grown) {
            err_set(e, E_NOMEM, "out of memory for %zu tensors", cap);
            return NULL;
        }
        p->entries = grown;
        p->cap = cap;
    }
    struct entry *x = &p->entries[p->n++];
    *x = (struct entry){.t = *from, .from = from};
    x->t.applied = TENSOR_AS_IS;
    x->t.turned_a = x->t.turned_b = 0;
    return x;
}

static enum dtype type_of(const struct tensor *t, unsigned form, bool any, enum dtype matrix)
{
    bool small = t->n_dims < 2 || form & (FORM_FLOAT | FORM_COLUMN | FORM_GROUPS | FORM_ROW);
    if (t->applied != TENSOR_AS_IS)
        return DTYPE_F32;
    return !small && !any ? matrix : format_plain(t->dtype) ? t->dtype : DTYPE_F32;
}

/* The letters, one for each vector, of the row that this stack was written from: "x_{rwk}"; NULL:
 * it is none, or has another number of vectors. */
static const char *letters_of(const struct gguf_map *map, const struct gguf_name *is,
                              const struct tensor *t, const struct gguf_name **row)
{
    GGUF_EACH_NAME(map, r) {
        const char *open = r->form & FORM_STACK && strcmp(r->gguf, is->gguf) == 0
                               ? strchr(r->name, '{') : NULL;
        size_t n = open ? strcspn(open + 1, "}") : 0;
        if (n && t->n_dims > 1 && (size_t)t->shape[0] == n) {
            *row = r;
            return open + 1;
        }
    }
    return NULL;
}

/* One vector of a stack; the name ends in the row's text before the letters, then its letter. */
static int add_vector(struct plain *p, const struct tensor *from, const struct gguf_name *is,
                      const struct gguf_name *row, char letter, int64_t i, enum dtype type,
                      struct err *e)
{
    struct entry *x = add(p, from, e);
    if (!x)
        return e->code;
    size_t keep = strlen(from->name) - strlen(is->name), head = strcspn(row->name, "{");
    if (keep + head + 2 > sizeof x->t.name)
        return err_set(e, E_RANGE, "tensor %s: the name of its vector %c is longer than %zu bytes",
                       from->name, letter, sizeof x->t.name - 1);
    memcpy(x->t.name + keep, row->name, head);
    x->t.name[keep + head] = letter;
    x->t.name[keep + head + 1] = 0;
    x->t.dtype = type;
    x->t.elems = from->elems / from->shape[0];
    x->t.n_dims = 3;
    memcpy(x->t.shape, (int64_t[]){1, 1, x->t.elems}, 3 * sizeof *x->t.shape);
    x->first = i * x->t.elems;
    return 0;
}

static int add_tensor(struct plain *p, const struct tensor *from, const struct gguf_map *map,
                      bool any, enum dtype matrix, struct err *e)
{
    const struct gguf_name *is = gguf_view_row(from), *row;
    enum dtype type = type_of(from, is->form, any, matrix);
    const char *letters = letters_of(map, is, from, &row);
    for (int64_t i = 0; letters && letters[i] != '}'; i++)
        if (add_vector(p, from, is, row, letters[i], i, type, e) < 0)
            return e->code;
    if (letters)
        return 0;
    struct entry *x = add(p, from, e);
    if (x)
        x->t.dtype = type;
    return x ? 0 : e->code;
}

/* ---- reading ---------------------------------------------------------------------------- */

static int grow(const struct tensor *t, float **floats, size_t *cap, int64_t n, struct err *e)
{
    if ((size_t)n <= *cap)
        return 0;
    float *grown = mem_realloc(*floats, (size_t)n * sizeof *grown);
    if (!grown)
        return err_set(e, E_NOMEM, "tensor %s: out of memory for %" PRId64 " elements", t->name,
                       n);
    *floats = grown;
    *cap = (size_t)n;
    return 0;
}

/* Of a matrix whose columns [turned_a][turned_b][each] lie as [turned_b][turned_a][each]. */
static int read_turned(struct plain *p, const struct entry *x, int64_t first, int64_t n,
                       float *dst, struct err *e)
{
    const struct tensor *t = x->from;
    int64_t cols = t->shape[t->n_dims - 1], a = t->turned_a, b = t->turned_b, each = cols / a / b;
    int rc = grow(t, &p->row, &p->cap_row, cols, e);
    for (int64_t i = first; rc == 0 && i < first + n;) {
        int64_t row = i / cols, end = MIN(first + n, (row + 1) * cols);
        rc = checkpoint_floats(p->view, t, row * cols, cols, p->row, e);
        for (; i < end; i++) {
            int64_t c = i % cols, head = c / each;
            *dst++ = p->row[(head % b * a + head / b) * each + c % each];
        }
    }
    return rc;
}

static int turn_back(struct plain *p, const struct entry *x, int64_t first, int64_t n,
                     struct err *e)
{
    enum transform t = x->from->applied;
    for (int64_t i = 0; i < n; i++) {
        float y = p->floats[i], back = tensor_untransform(t, y);
        if (!isfinite(y) || !isfinite(back))
            return err_set(e, E_FORMAT, "tensor %s: element %" PRId64 " is %g, which is %s",
                           x->t.name, first + i, (double)y,
                           isfinite(y) ? "no value of the transform that the format stores"
                                       : "not a finite number");
        if (x->t.dtype == DTYPE_F16 && fabsf(back) > F16_MOST)
            return err_set(e, E_RANGE, "tensor %s: element %" PRId64 " is %g, beyond %g, the most "
                           "of F16", x->t.name, first + i, (double)back, (double)F16_MOST);
        p->inexact += tensor_transform(t, back) != y;
        p->floats[i] = back;
    }
    return 0;
}

static int read_plain(struct checkpoint *ck, const struct tensor *t, int64_t first, int64_t n,
                      void *dst, struct err *e)
{
    struct plain *p = (struct plain *)ck;
    const struct entry *x = (const struct entry *)t;
    const struct tensor *from = x->from;
    if (from->dtype == t->dtype && from->applied == TENSOR_AS_IS && !from->turned_a)
        return checkpoint_read(p->view, from, x->first + first, n, dst, e);
    int rc = grow(t, &p->floats, &p->cap_floats, n, e);
    if (rc == 0)
        rc = from->turned_a ? read_turned(p, x, first, n, p->floats, e)
                            : checkpoint_floats(p->view, from, x->first + first, n, p->floats, e);
    if (rc == 0)
        rc = turn_back(p, x, first, n, e);
    if (rc == 0)
        format_encode(t->dtype, p->floats, n, dst);
    return rc;
}

static void close_plain(struct checkpoint *ck)
{
    struct plain *p = (struct plain *)ck;
    mem_free(p->entries);
    mem_free(p->floats);
    mem_free(p->row);
}

static int file_of(const struct checkpoint *ck, size_t i)
{
    return checkpoint_file(((const struct plain *)ck)->view, i);
}

static const struct checkpoint_kind kind = {
    .read = read_plain, .file = file_of, .close = close_plain};

/* ---- opening ---------------------------------------------------------------------------- */

int gguf_plain(struct checkpoint **out, struct checkpoint *view, const struct gguf_map *map,
               bool any, enum dtype matrix, struct err *e)
{
    struct plain *p = mem_zalloc(sizeof *p);
    if (!p)
        return err_set(e, E_NOMEM, "out of memory for a table of tensors");
    p->ck.kind = &kind;
    p->view = view;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < checkpoint_count(view); i++)
        rc = add_tensor(p, checkpoint_at(view, i), map, any, matrix, e);
    if (rc == 0 && checkpoint_index(&p->ck, p->entries, sizeof *p->entries, p->n) < 0)
        rc = err_set(e, E_NOMEM, "out of memory for %zu names", p->n);
    for (size_t i = 1; rc == 0 && i < p->n; i++)
        if (strcmp(p->ck.by_name[i - 1]->name, p->ck.by_name[i]->name) == 0)
            rc = err_set(e, E_CONFLICT, "two tensors mean %s", p->ck.by_name[i]->name);
    if (rc < 0)
        checkpoint_close(&p->ck);
    else
        *out = &p->ck;
    return rc;
}

uint64_t gguf_plain_inexact(const struct checkpoint *c)
{
    return ((const struct plain *)c)->inexact;
}
