/* GGUF tensors under a family's names.
 *
 * Every stored tensor that the map knows becomes one tensor of ours, or one for each expert: a
 * range of the stored elements, perhaps in another order. Reads put the elements in our order; the
 * values are never changed, what was done to them is noted in tensor.applied. */
#include "models/files/gguf_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "models/files/checkpoint_int.h"

#define RUN_BYTES KIB(2)  /* shorter runs are gathered from a larger read */

struct entry {
    struct tensor t; /* first */
    const struct gguf_tensor *from;
    const struct gguf_name *row;
    int64_t first;   /* element of `from` */
    struct gguf_order order;
};

struct gguf_ck {
    struct checkpoint ck; /* first */
    const struct gguf *g;
    const struct gguf_map *map;
    struct gguf_heads heads;
    int64_t layers;
    struct entry *entries;
    size_t n, cap;
};

/* ---- names ------------------------------------------------------------------------------ */

/* Whether name is blk.<layer>.<rest>; rest then begins with the dot. */
static const char *layer_of(const char *name, int64_t *layer)
{
    int used = 0;
    int n;
    if (sscanf(name, "blk.%9d%n", &n, &used) != 1 || n < 0 || name[used] != '.')
        return NULL;
    *layer = n;
    return name + used;
}

static const struct gguf_name *row_of(const struct gguf_ck *v, const char *name, int64_t *layer)
{
    const char *rest = layer_of(name, layer);
    if (!rest)
        *layer = -1;
    GGUF_EACH_NAME(v->map, row)
        if (!(row->form & FORM_WRITE) && strcmp(row->gguf, rest ? rest : name) == 0 &&
            (!(row->form & FORM_ATTENDS) || gguf_attends(v->g, v->map, *layer)))
            return row;
    return NULL;
}

enum transform gguf_applied(unsigned form)
{
    return form & FORM_NEG_EXP    ? TENSOR_NEG_EXP
           : form & FORM_EXP      ? TENSOR_EXP
           : form & FORM_ADD_ONE  ? TENSOR_ADD_ONE
           : form & FORM_ADD_5TH  ? TENSOR_ADD_5TH
           : form & FORM_ADD_11TH ? TENSOR_ADD_11TH
                                  : TENSOR_AS_IS;
}

/* ---- orders ----------------------------------------------------------------------------- */

struct gguf_order gguf_order(unsigned form, const struct gguf_heads *h, int64_t elems,
                             int64_t rows)
{
    struct gguf_order none = {0}, o = {.outer = 1};
    int64_t cols = rows > 0 ? elems / rows : 0, heads = form & FORM_ROPE_Q ? h->q : h->k;
    if (form & (FORM_ROPE_Q | FORM_ROPE_K)) {
        if (heads <= 0 || heads > rows || rows % (2 * heads))
            return none;
        o = (struct gguf_order){.outer = heads, .a = 2, .b = rows / heads / 2, .inner = cols};
    } else if (form & FORM_K_UP) {
        if (h->q <= 0 || h->dn <= 0 || elems % (h->q * h->dn))
            return none;
        o = (struct gguf_order){.outer = h->q, .a = h->dn, .b = elems / h->q / h->dn, .inner = 1};
    } else if (form & (FORM_V_ROWS | FORM_V_TAIL | FORM_V_COLS)) {
        if (h->kh <= 0 || h->vh <= 0 || h->vh % h->kh)
            return none;
        /* The file's own numbers: queries and keys must lie within the rows before they are
         * multiplied. */
        if (form & FORM_V_TAIL && (h->K <= 0 || h->K > rows / 2 / h->kh))
            return none;
        int64_t skip = form & FORM_V_TAIL ? 2 * h->kh * h->K * cols : 0;
        int64_t part = form & FORM_V_COLS ? cols : elems - skip;
        if (part <= 0 || part % h->vh)
            return none;
        o = (struct gguf_order){.at = skip, .outer = form & FORM_V_COLS ? rows : 1, .a = h->kh,
                                .b = h->vh / h->kh, .inner = part / h->vh};
    }
    return o.a > 1 && o.b > 1 ? o : none;
}

struct gguf_order gguf_turned(int n_dims, const int64_t *shape)
{
    struct gguf_order o = {.outer = 1, .a = shape[n_dims - 1], .b = shape[n_dims - 2], .inner = 1};
    for (int i = 0; i < n_dims - 2; i++)
        o.outer *= shape[i];
    return o;
}

int64_t gguf_exchanged(const struct gguf_order *o, int64_t i, int64_t *run)
{
    if (o->fifth <= 0)
        return i;
    int64_t part = i / o->fifth, rest = i % o->fifth;
    *run = MIN(*run, o->fifth - rest);
    return (part == 0 ? 3 : part == 3 ? 0 : part) * o->fifth + rest;
}

/* Exchanges the last two dimensions of x. */
static int set_turned(struct gguf_ck *v, struct entry *x, unsigned form, struct err *e)
{
    bool fifths = form & FORM_FIFTHS;
    if (fifths && x->t.elems % 5)
        return err_set(e, E_FORMAT, "%s: tensor %s has %" PRId64 " elements, which are not five "
                       "parts", gguf_path(v->g), x->from->name, x->t.elems);
    if (x->t.n_dims < 2)
        return err_set(e, E_FORMAT, "%s: tensor %s has %d dimension, a matrix has 2",
                       gguf_path(v->g), x->from->name, x->t.n_dims);
    int64_t *last = x->t.shape + x->t.n_dims - 2, rows = last[0];
    x->order = gguf_turned(x->t.n_dims, x->t.shape);
    x->order.fifth = fifths ? x->t.elems / 5 : 0;
    last[0] = last[1];
    last[1] = rows;
    return 0;
}

static int set_order(struct gguf_ck *v, struct entry *x, unsigned form, struct err *e)
{
    const struct weight_format *type = &formats[x->t.dtype];
    int64_t cols = x->t.n_dims ? x->t.shape[x->t.n_dims - 1] : 1;
    if (x->t.n_dims < 2)
        cols = 1;
    if (form & FORM_TURNED) {
        if (set_turned(v, x, form, e) < 0)
            return e->code;
    } else {
        x->order = gguf_order(form, &v->heads, x->t.elems, x->t.elems / cols);
    }
    if (form & FORM_V_COLS && x->order.inner % type->block) {
        x->t.turned_a = (int32_t)x->order.a; /* blocks reach over heads: the input is turned */
        x->t.turned_b = (int32_t)x->order.b;
        x->order = (struct gguf_order){0};
    }
    if (x->order.inner % type->block || x->order.at % type->block)
        return err_set(e, E_UNSUPPORTED, "%s: tensor %s of type %s has its columns in another "
                       "order, by runs of %" PRId64 ", which blocks of %d do not follow",
                       gguf_path(v->g), x->from->name, type->name, x->order.inner, type->block);
    return 0;
}

/* ---- the table -------------------------------------------------------------------------- */

static struct entry *add(struct gguf_ck *v, struct err *e)
{
    if (v->n == LIMIT_ST_TENSORS) {
        err_set(e, E_RANGE, "%s: more than %d tensors", gguf_path(v->g), LIMIT_ST_TENSORS);
        return NULL;
    }
    if (v->n == v->cap) {
        size_t cap = MAX(v->cap * 2, (size_t)256);
        struct entry *grown = mem_realloc(v->entries, cap * sizeof *grown);
        if (!grown) {
            err_set(e, E_NOMEM, "%s: out of memory for %zu tensors", gguf_path(v->g), cap);
            return NULL;
        }
        v->entries = grown;
        v->cap = cap;
    }
    struct entry *x = &v->entries[v->n++];
    memset(x, 0, sizeof *x);
    return x;
}

/* The map's own texts; each has as many %d as it is given numbers. */
static void set_name(struct tensor *t, const struct gguf_ck *v, const struct gguf_name *row,
                     int64_t layer, int64_t expert)
{
    char rest[LIMIT_TENSOR_NAME];
    const char *mark = strstr(row->name, "%d");
    if (mark && expert >= 0)
        snprintf(rest, sizeof rest, "%.*s%" PRId64 "%s", (int)(mark - row->name), row->name,
                 expert, mark + 2);
    else
        snprintf(rest, sizeof rest, "%s", row->name);
    mark = strstr(v->map->layers, "%d");
    if (layer < 0)
        snprintf(t->name, sizeof t->name, "%s", rest);
    else
        snprintf(t->name, sizeof t->name, "%.*s%" PRId64 "%.200s", (int)(mark - v->map->layers),
                 v->map->layers, layer, rest);
}

static int add_one(struct gguf_ck *v, const struct gguf_tensor *from, const struct gguf_name *row,
                   int64_t layer, int64_t expert, struct err *e)
{
    struct entry *x = add(v, e);
    if (!x)
        return e->code;
    set_name(&x->t, v, row, layer, expert);
    x->from = from;
    x->row = row;
    x->t.dtype = from->dtype;
    x->t.file = from->file;
    x->t.offset = from->offset;
    x->t.applied = gguf_applied(row->form);
    int skip = expert >= 0;
    x->t.n_dims = from->n_dims - skip;
    x->t.elems = from->elems / (skip ? from->shape[0] : 1);
    memcpy(x->t.shape, from->shape + skip, (size_t)x->t.n_dims * sizeof *x->t.shape);
    x->first = MAX(expert, 0) * x->t.elems;
    if (row->form & FORM_ROW && x->t.n_dims == 1) {
        x->t.shape[1] = x->t.shape[0];
        x->t.shape[0] = 1;
        x->t.n_dims = 2;
    }
    return set_order(v, x, row->form, e);
}

static int add_tensor(struct gguf_ck *v, const struct gguf_tensor *from, struct err *e)
{
    int64_t layer;
    const struct gguf_name *row = row_of(v, from->name, &layer);
    int64_t blocks = gguf_arch_int(v->g, v->map, "block_count", 0);
    if (layer >= blocks)
        return err_set(e, E_CONFLICT, "%s: tensor %s belongs to none of the %" PRId64 " layers of "
                       "%s.block_count", gguf_path(v->g), from->name, blocks, v->map->arch);
    if (layer >= v->layers || (row && row->form & FORM_TWIN && layer == 0))
        return 0; /* a draft head's, or a copy that means nothing */
    if (!row)
        return err_set(e, E_UNSUPPORTED, "%s: tensor %s is not one that architecture %s is known "
                       "to have", gguf_path(v->g), from->name, v->map->arch);
    if (!(row->form & FORM_EXPERTS))
        return add_one(v, from, row, layer, -1, e);
    if (from->n_dims != 3)
        return err_set(e, E_FORMAT, "%s: tensor %s has %d dimensions, a stack of experts has 3",
                       gguf_path(v->g), from->name, from->n_dims);
    for (int64_t i = 0; i < from->shape[0]; i++)
        if (add_one(v, from, row, layer, i, e) < 0)
            return e->code;
    return 0;
}

/* ---- reading ---------------------------------------------------------------------------- */

/* Where element i of ours lies among x's stored ones, and how many follow it there. */
static int64_t place(const struct gguf_order *o, int64_t i, int64_t *run)
{
    if (i < o->at) {
        *run = o->at - i;
        return i;
    }
    int64_t q = i - o->at, c = q % o->inner, r = q / o->inner;
    int64_t b = r % o->b, a = r / o->b % o->a, outer = r / o->b / o->a;
    *run = o->inner - c;
    return gguf_exchanged(o, o->at + ((outer * o->b + b) * o->a + a) * o->inner + c, run);
}

/* Elements [first, first + n) of the stored tensor; both multiples of a block. */
static int read_stored(const struct gguf_ck *v, const struct entry *x, int64_t first, int64_t n,
                       void *dst, struct err *e)
{
    const struct weight_format *type = &formats[x->t.dtype];
    first += x->first;
    if (first % type->block || n % type->block)
        return err_set(e, E_RANGE, "tensor %s: elements %" PRId64 " to %" PRId64 " are no whole "
                       "blocks of %d", x->t.name, first, first + n, type->block);
    return gguf_read(v->g, x->from, (uint64_t)(first / type->block * type->bytes),
                     (size_t)(n / type->block * type->bytes), dst, e);
}

/* Short runs: the stored groups around them are read at once and picked apart. */
static int read_gathered(const struct gguf_ck *v, const struct entry *x, int64_t first, int64_t n,
                         char *dst, struct err *e)
{
    const struct weight_format *type = &formats[x->t.dtype];
    const struct gguf_order *o = &x->order;
    int64_t group = o->a * o->b * o->inner, run;
    int64_t low = o->at + (MAX(first, o->at) - o->at) / group * group;
    int64_t high = MIN(x->t.elems, o->at + (first + n - o->at + group - 1) / group * group);
    if (o->fifth > 0) { /* anywhere */
        low = 0;
        high = x->t.elems;
    }
    char *all = mem_array((size_t)((high - low) / type->block), (size_t)type->bytes);
    if (!all)
        return err_set(e, E_NOMEM, "tensor %s: out of memory for %" PRId64 " elements", x->t.name,
                       high - low);
    int rc = read_stored(v, x, low, high - low, all, e);
    for (int64_t i = MAX(first, o->at); rc == 0 && i < first + n; i += run) {
        int64_t at = place(o, i, &run);
        run = MIN(run, first + n - i);
        memcpy(dst + (i - first) / type->block * type->bytes,
               all + (at - low) / type->block * type->bytes,
               (size_t)(run / type->block * type->bytes));
    }
    mem_free(all);
    return rc;
}

static int read_view(struct checkpoint *ck, const struct tensor *t, int64_t first, int64_t n,
                     void *dst, struct err *e)
{
    const struct gguf_ck *v = (const struct gguf_ck *)ck;
    const struct entry *x = (const struct entry *)t;
    const struct weight_format *type = &formats[t->dtype];
    int64_t run;
    if (x->order.inner == 0)
        return read_stored(v, x, first, n, dst, e);
    bool brief = x->order.inner / type->block * type->bytes < (int64_t)RUN_BYTES;
    for (int64_t i = first; i < first + n; i += run) {
        char *to = (char *)dst + (i - first) / type->block * type->bytes;
        if (brief && i >= x->order.at)
            return read_gathered(v, x, i, first + n - i, to, e);
        int64_t at = place(&x->order, i, &run);
        run = MIN(run, first + n - i);
        if (read_stored(v, x, at, run, to, e) < 0)
            return e->code;
    }
    return 0;
}

static void close_view(struct checkpoint *ck)
{
    mem_free(((struct gguf_ck *)ck)->entries);
}

static int file_of(const struct checkpoint *ck, size_t i)
{
    return gguf_file(((const struct gguf_ck *)ck)->g, i);
}

static const struct checkpoint_kind kind = {
    .read = read_view, .file = file_of, .close = close_view};

const struct gguf_name *gguf_view_row(const struct tensor *t)
{
    return ((const struct entry *)t)->row;
}

/* ---- opening ---------------------------------------------------------------------------- */

int gguf_checkpoint(struct checkpoint **out, const struct gguf *g, const struct gguf_map *map,
                    struct err *e)
{
    struct gguf_ck *v = mem_zalloc(sizeof *v);
    if (!v)
        return err_set(e, E_NOMEM, "%s: out of memory", gguf_path(g));
    v->ck.kind = &kind;
    v->g = g;
    v->map = map;
    v->layers = gguf_layers(g, map);
    int64_t vh = gguf_arch_int(g, map, "ssm.time_step_rank", 0);
    v->heads = (struct gguf_heads){
        .q = gguf_arch_int(g, map, "attention.head_count", 0),
        .k = gguf_arch_int(g, map, "attention.head_count_kv", 0),
        .kh = gguf_arch_int(g, map, "ssm.group_count", 0), .vh = vh,
        .K = gguf_arch_int(g, map, "ssm.state_size", 0)};
    int rc = 0;
    for (size_t i = 0; i < gguf_tensors(g) && rc == 0; i++)
        rc = add_tensor(v, gguf_tensor(g, i), e);
    if (rc == 0 && checkpoint_index(&v->ck, v->entries, sizeof *v->entries, v->n) < 0)
        rc = err_set(e, E_NOMEM, "%s: out of memory for %zu names", gguf_path(g), v->n);
    for (size_t i = 1; rc == 0 && i < v->n; i++)
        if (strcmp(v->ck.by_name[i - 1]->name, v->ck.by_name[i]->name) == 0)
            rc = err_set(e, E_CONFLICT, "%s: two tensors mean %s", gguf_path(g),
                         v->ck.by_name[i]->name);
    if (rc < 0)
        checkpoint_close(&v->ck);
    else
        *out = &v->ck;
    return rc;
}
