/* The tensors of a checkpoint, turned into those of a GGUF file.
 *
 * Each row of the family's map is tried for each layer: where the checkpoint has its tensor, one
 * GGUF tensor is announced, made of pieces of the checkpoint's. Then the data follow piece by
 * piece, as float32 in between: exact for the types checkpoints have. */
#include "models/convert.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "models/convert_int.h"
#include "models/files/gguf_view.h"
#include "models/model.h"

#define CHUNK (1 << 20) /* floats read, turned and written at a time */

/* Elements [first, first + n) of a tensor of the checkpoint. */
struct piece { struct tensor *t; int64_t first, n; };

/* One tensor to write. */
struct job {
    char name[LIMIT_TENSOR_NAME];
    unsigned form;
    enum dtype dtype;
    int n_dims;
    int64_t shape[LIMIT_ST_DIMS], elems;
    struct gguf_order order; /* of the file's elements in terms of ours */
    struct piece *pieces;
    size_t n_pieces;
    struct job *next;
};

/* ---- jobs ------------------------------------------------------------------------------- */

static bool add_piece(struct convert *c, struct job *j, struct tensor *t, int64_t first,
                      int64_t n)
{
    struct piece *grown = mem_realloc(j->pieces, (j->n_pieces + 1) * sizeof *grown);
    if (!grown) {
        err_set(c->e, E_NOMEM, "tensor %s: out of memory", j->name);
        return false;
    }
    t->used = true;
    j->pieces = grown;
    grown[j->n_pieces++] = (struct piece){t, first, n};
    return true;
}

/* Shape of t without dimensions of 1 in its middle: a convolution's [channels, 1, size]. */
static void take_shape(struct job *j, const struct tensor *t)
{
    if (j->form & FORM_WHOLE) {
        j->n_dims = t->n_dims;
        memcpy(j->shape, t->shape, sizeof j->shape);
        return;
    }
    j->n_dims = 0;
    for (int i = 0; i < t->n_dims; i++)
        if (t->shape[i] != 1 || t->n_dims <= 2)
            j->shape[j->n_dims++] = t->shape[i];
    if (j->n_dims == 0)
        j->shape[j->n_dims++] = 1;
}

/* Half the rows of t, or of each expert's where t is [experts][rows][columns]. */
static bool add_halves(struct convert *c, struct job *j, struct tensor *t, bool second)
{
    int64_t experts = t->n_dims == 3 ? t->shape[0] : 1, each = t->elems / experts;
    if (t->n_dims < 2 || t->shape[t->n_dims - 2] % 2) {
        err_set(c->e, E_FORMAT, "tensor %s: its rows are not two halves", t->name);
        return false;
    }
    for (int64_t i = 0; i < experts; i++)
        if (!add_piece(c, j, t, i * each + (second ? each / 2 : 0), each / 2))
            return false;
    take_shape(j, t);
    j->shape[j->n_dims - 2] /= 2;
    return true;
}

/* Rows [q K, k K, v rV, z rV] of every key head: all q, then all k, then all v; or all z. */
static bool add_grouped(struct convert *c, struct job *j, struct tensor *t, bool z)
{
    const struct gguf_heads *h = &c->heads;
    int64_t cols = t->shape[t->n_dims - 1], rows = t->elems / cols;
    int64_t each = h->kh > 0 ? rows / h->kh : 0, v = (each - 2 * h->K) / 2, total = 0;
    if (t->n_dims != 2 || h->kh <= 0 || rows % h->kh || v <= 0 || (each - 2 * h->K) % 2) {
        err_set(c->e, E_FORMAT, "tensor %s: %" PRId64 " rows are not those of %" PRId64
                " key heads", t->name, rows, h->kh);
        return false;
    }
    const struct { int64_t first, n; } parts[4] = {
        {0, h->K}, {h->K, h->K}, {2 * h->K, v}, {2 * h->K + v, v}};
    for (int p = z ? 3 : 0; p < (z ? 4 : 3); p++)
        for (int64_t i = 0; i < h->kh; i++) {
            if (!add_piece(c, j, t, (i * each + parts[p].first) * cols, parts[p].n * cols))
                return false;
            total += parts[p].n;
        }
    j->n_dims = 2;
    j->shape[0] = total;
    j->shape[1] = cols;
    return true;
}

/* Of [head][dn + dv rows][rank] the rows of keys, to be turned, or those of values. */
static bool add_up(struct convert *c, struct job *j, struct tensor *t, bool values)
{
    const struct gguf_heads *h = &c->heads;
    int64_t rank = t->shape[t->n_dims - 1], each = h->dn + h->dv, n = values ? h->dv : h->dn;
    if (t->n_dims != 2 || h->q <= 0 || h->dn <= 0 || h->dv <= 0 || t->shape[0] != h->q * each) {
        err_set(c->e, E_FORMAT, "tensor %s: %" PRId64 " rows are not those of %" PRId64 " heads of "
                "%" PRId64 " and %" PRId64, t->name, t->elems / rank, h->q, h->dn, h->dv);
        return false;
    }
    for (int64_t i = 0; i < h->q; i++)
        if (!add_piece(c, j, t, (i * each + (values ? h->dn : 0)) * rank, n * rank))
            return false;
    j->n_dims = 3;
    memcpy(j->shape, (int64_t[]){h->q, values ? n : rank, values ? rank : n}, 3 * sizeof rank);
    return true;
}

/* All experts', or the vectors of a stack, one after the other. */
static bool add_many(struct convert *c, struct job *j, const struct gguf_name *row,
                     struct tensor *first, int64_t layer)
{
    int64_t n = 0;
    for (struct tensor *t = first; t; t = convert_find(c, row, layer, ++n)) {
        if (t->elems != first->elems || t->dtype != first->dtype) {
            err_set(c->e, E_CONFLICT, "tensor %s is not like %s", t->name, first->name);
            return false;
        }
        if (!add_piece(c, j, t, 0, t->elems))
            return false;
    }
    if (row->form & FORM_STACK) {
        j->n_dims = 4;
        memcpy(j->shape, (int64_t[]){n, 1, 1, first->elems}, 4 * sizeof *j->shape);
        return true;
    }
    take_shape(j, first);
    memmove(j->shape + 1, j->shape, (size_t)j->n_dims * sizeof *j->shape);
    j->shape[0] = n;
    j->n_dims++;
    return true;
}

/* The last two dimensions exchanged. */
static bool turn_shape(struct convert *c, struct job *j, const struct tensor *t)
{
    int64_t *last = j->shape + j->n_dims - 2;
    if (j->n_dims < 2) {
        err_set(c->e, E_FORMAT, "tensor %s has %d dimensions of more than 1, a matrix has 2",
                t->name, j->n_dims);
        return false;
    }
    int64_t rows = last[0];
    last[0] = last[1];
    last[1] = rows;
    return true;
}

static bool add_pieces(struct convert *c, struct job *j, const struct gguf_name *row,
                       struct tensor *t, int64_t layer)
{
    if (row->form & (FORM_EXPERTS | FORM_STACK))
        return add_many(c, j, row, t, layer);
    if (row->form & (FORM_GATE | FORM_UP))
        return add_halves(c, j, t, row->form & FORM_UP);
    if (row->form & (FORM_QKV | FORM_Z))
        return add_grouped(c, j, t, row->form & FORM_Z);
    if (row->form & (FORM_K_UP | FORM_V_UP))
        return add_up(c, j, t, row->form & FORM_V_UP);
    take_shape(j, t);
    return (!(row->form & FORM_TURNED) || turn_shape(c, j, t)) && add_piece(c, j, t, 0, t->elems);
}

/* The shapes that readers of the format expect of small tensors. */
static void set_shape(const struct convert *c, struct job *j, const struct gguf_name *row)
{
    j->elems = 1;
    for (int i = 0; i < j->n_dims; i++)
        j->elems *= j->shape[i];
    if (row->form & FORM_COLUMN) {
        j->n_dims = 2;
        j->shape[0] = j->elems;
        j->shape[1] = 1;
    } else if (row->form & FORM_GROUPS && c->heads.kh > 0 && j->elems % c->heads.kh == 0) {
        j->n_dims = 2;
        j->shape[0] = c->heads.kh;
        j->shape[1] = j->elems / c->heads.kh;
    } else if (row->form & FORM_ROW) {
        j->n_dims = 1;
        j->shape[0] = j->elems;
    }
}

static enum dtype type_of(const struct convert *c, const struct job *j)
{
    bool small = j->n_dims < 2 || gguf_applied(j->form) != TENSOR_AS_IS ||
                 j->form & (FORM_FLOAT | FORM_COLUMN | FORM_GROUPS | FORM_ROW);
    enum dtype own = j->pieces[0].t->dtype;
    if (formats[own].gguf < 0)
        own = DTYPE_F32; /* FP8, which GGUF lacks: its exact values */
    enum dtype wanted = small ? DTYPE_F32 : c->o->any ? own : c->o->matrix;
    const struct weight_format *type = &formats[wanted];
    /* Rows that no block fits stay as they are. */
    return j->shape[j->n_dims - 1] % type->block == 0 ? wanted : own;
}

static bool written(const struct convert *c, const char *name)
{
    for (const struct job *j = c->jobs; j; j = j->next)
        if (strcmp(j->name, name) == 0)
            return true;
    return false;
}

static void add_job(struct convert *c, const struct gguf_name *row, int64_t layer)
{
    bool sparse = c->experts > 0;
    if (c->e->code || (row->form & FORM_FIRST && layer != 0) ||
        (row->form & FORM_DENSE && sparse) || (row->form & FORM_SPARSE && !sparse) ||
        (row->form & FORM_ATTENDS && !convert_has(c, c->map->attends, layer)))
        return;
    struct tensor *t = convert_find(c, row, layer, 0);
    if (t && row->form & FORM_TWIN && layer == 0) {
        t->used = true; /* it means nothing: FORM_FIRST says what the file has there */
        return;
    }
    if (t && t->used && !(row->form & FORM_WRITE))
        return; /* an earlier row has it, under the name of today */
    struct job *j = t ? mem_zalloc(sizeof *j) : NULL;
    if (t && !j)
        err_set(c->e, E_NOMEM, "out of memory for tensors");
    if (!j)
        return;
    if (layer >= 0)
        snprintf(j->name, sizeof j->name, "blk.%" PRId64 "%.200s", layer, row->gguf);
    else
        snprintf(j->name, sizeof j->name, "%.200s", row->gguf);
    j->form = row->form;
    if (written(c, j->name) || !add_pieces(c, j, row, t, layer)) {
        mem_free(j->pieces);
        mem_free(j);
        return;
    }
    set_shape(c, j, row);
    j->dtype = type_of(c, j);
    j->order = row->form & FORM_TURNED
                   ? gguf_turned(j->n_dims, j->shape)
                   : gguf_order(row->form, &c->heads, j->elems,
                                j->elems / (j->n_dims >= 2 && !(row->form & FORM_COLUMN)
                                                ? j->shape[j->n_dims - 1] : 1));
    if (row->form & FORM_FIFTHS)
        j->order.fifth = j->elems / 5;
    *c->last = j;
    c->last = &j->next;
    gguf_out_tensor(c->out, j->name, j->dtype, j->n_dims, j->shape);
    const struct weight_format *type = &formats[j->dtype];
    c->total += (uint64_t)(j->elems / type->block) * (uint64_t)type->bytes;
}

static void add_jobs(struct convert *c)
{
    GGUF_EACH_NAME(c->map, row)
        if (row->gguf[0] != '.')
            add_job(c, row, -1);
    for (int64_t layer = 0; layer < c->layers; layer++)
        GGUF_EACH_NAME(c->map, row)
            if (row->gguf[0] == '.')
                add_job(c, row, layer);
    for (size_t i = 0; i < checkpoint_count(c->ck); i++) {
        const struct tensor *t = checkpoint_at(c->ck, i);
        if (!t->used && !convert_other_sense(t->name) && !convert_derived(c, t->name))
            err_set(c->e, E_UNSUPPORTED, "tensor %s cannot be written: GGUF's %s has no place for "
                    "it", t->name, c->map->arch);
    }
}

/* ---- data ------------------------------------------------------------------------------- */

/* Elements [first, first + n) of the pieces in a row. */
static void read_pieces(struct convert *c, const struct job *j, int64_t first, int64_t n,
                        float *dst)
{
    int64_t before = 0;
    for (size_t i = 0; i < j->n_pieces && n > 0 && c->e->code == 0; i++) {
        const struct piece *p = &j->pieces[i];
        int64_t at = first - before, take = MIN(n, p->n - at);
        before += p->n;
        if (at >= p->n)
            continue;
        (void)!checkpoint_floats(c->ck, p->t, p->first + at, take, dst, c->e); /* e tells */
        dst += take;
        first += take;
        n -= take;
    }
}

/* Which of our elements the file has at i, and how many follow it there. */
static int64_t source_of(const struct gguf_order *o, int64_t i, int64_t *run)
{
    int64_t part = INT64_MAX;
    if (o->inner == 0 || i < o->at) {
        *run = o->inner == 0 ? INT64_MAX : o->at - i;
        return i;
    }
    i = gguf_exchanged(o, i, &part);
    int64_t q = i - o->at, x = q % o->inner, r = q / o->inner;
    int64_t a = r % o->a, b = r / o->a % o->b, outer = r / o->a / o->b;
    *run = MIN(o->inner - x, part);
    return o->at + ((outer * o->a + a) * o->b + b) * o->inner + x;
}

static void turn(struct convert *c, const struct job *j, int64_t first, int64_t n, float *x)
{
    enum transform t = gguf_applied(j->form);
    for (int64_t i = 0; i < n; i++) {
        x[i] = tensor_transform(t, x[i]);
        if (!isfinite(x[i]))
            err_set(c->e, E_FORMAT, "tensor %s: element %" PRId64 " is not a finite number",
                    j->name, first + i);
    }
}

static void write_job(struct convert *c, const struct job *j)
{
    int64_t row = j->shape[j->n_dims - 1], step = MAX(1, CHUNK / row) * row, run;
    for (int64_t first = 0; first < j->elems && c->e->code == 0; first += step) {
        int64_t n = MIN(step, j->elems - first);
        if (!gguf_out_has(c->out, (size_t)n)) {
            for (int64_t i = first; i < first + n && c->e->code == 0; i += run) {
                int64_t from = source_of(&j->order, i, &run);
                run = MIN(run, first + n - i);
                read_pieces(c, j, from, run, c->f32 + (i - first));
            }
            turn(c, j, first, n, c->f32);
            gguf_out_data(c->out, c->f32, (size_t)n);
        }
        if (c->o->progress)
            c->o->progress(c->o->arg, j->name, gguf_out_bytes(c->out), c->total);
    }
}

static void write_jobs(struct convert *c)
{
    int64_t widest = CHUNK;
    unsigned char stamp[32];
    if (checkpoint_stamp(c->ck, stamp))
        gguf_out_source(c->out, stamp);
    for (const struct job *j = c->jobs; j; j = j->next)
        widest = MAX(widest, j->shape[j->n_dims - 1]);
    c->f32 = mem_array((size_t)widest, sizeof *c->f32);
    if (!c->f32)
        err_set(c->e, E_NOMEM, "no memory for %" PRId64 " elements", widest);
    for (const struct job *j = c->jobs; j && c->e->code == 0; j = j->next)
        write_job(c, j);
    mem_free(c->f32);
}

/* ---- the whole -------------------------------------------------------------------------- */

static void free_jobs(struct convert *c)
{
    for (struct job *j = c->jobs, *next; j; j = next) {
        next = j->next;
        mem_free(j->pieces);
        mem_free(j);
    }
}

/* A directory, or an RWKV .pth file whose vocabulary lies beside it. */
static int open_source(struct convert *c, struct model_source *source)
{
    const struct convert_options *o = c->o;
    const char *slash = strrchr(o->dir, '/');
    if (convert_is_pth(o->dir)) {
        int n = !slash ? 0 : slash == o->dir ? 1 : (int)(slash - o->dir);
        if ((size_t)snprintf(c->dir, sizeof c->dir, n ? "%.*s" : "%.*s.", n, o->dir) >=
            sizeof c->dir)
            return err_set(c->e, E_RANGE, "%s: the path is longer than %zu bytes", o->dir,
                           sizeof c->dir - 1);
        return convert_pth_open(&c->ck, &source->config, o->dir, c->e);
    }
    if ((size_t)snprintf(c->dir, sizeof c->dir, "%s", o->dir) >= sizeof c->dir)
        return err_set(c->e, E_RANGE, "%s: the path is longer than %zu bytes", o->dir,
                       sizeof c->dir - 1);
    if (source_open(source, o->dir, c->e) < 0)
        return c->e->code;
    if (source->gguf)
        return err_set(c->e, E_UNSUPPORTED, "%s: is a GGUF file already; a directory with "
                       "safetensors is expected", o->dir);
    return source_checkpoint(source, &c->ck, c->e);
}

int convert_to_gguf(const struct convert_options *o, struct err *e)
{
    struct err mine = {0};
    struct model_source source = {.path = o->dir};
    struct convert c = {.o = o, .e = e ? e : &mine};
    e = c.e;
    c.last = &c.jobs;
    int rc = open_source(&c, &source);
    c.config = source.config;
    if (rc == 0 && (c.out = gguf_out_open(o->out, e))) {
        convert_values(&c);
        if (e->code == 0)
            add_jobs(&c);
        if (e->code == 0)
            write_jobs(&c);
        if (e->code == 0)
            (void)!gguf_out_finish(c.out);
    }
    free_jobs(&c);
    gguf_out_close(c.out);
    checkpoint_close(c.ck);
    source_close(&source);
    return e->code;
}
