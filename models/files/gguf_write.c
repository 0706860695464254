/* GGUF bytes, written once from front to back through part_file. */
#include "models/files/gguf_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "models/files/gguf.h"
#include "models/files/jsontext.h"
#include "models/files/part_file.h"

#define ALIGNMENT 32
#define VERSION 3

struct item { /* one tensor announced */
    enum dtype dtype;
    uint64_t offset, bytes;
};

struct gguf_out {
    char *path;
    struct part_file *file;
    struct err *e;
    unsigned char source[PART_DIGEST];
    bool sourced;
    struct buf values, table;
    uint64_t n_values;
    struct item *items;
    size_t n, cap, at;      /* at: the item whose data come next */
    uint64_t data, in_item; /* bytes of data announced, of the current item written */
    uint64_t written;
    bool begun;
    void *encoded;
    size_t encoded_cap;
};

struct gguf_out *gguf_out_open(const char *path, struct err *e)
{
    struct gguf_out *o = mem_zalloc(sizeof *o);
    char *copy = o ? mem_strdup(path) : NULL;
    struct part_file *file = copy ? part_open(path, e) : NULL;
    if (!file) {
        err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(path));
        mem_free(o);
        mem_free(copy);
        return NULL;
    }
    *o = (struct gguf_out){.path = copy, .file = file, .e = e};
    buf_init(&o->values, LIMIT_GGUF_HEADER_BYTES);
    buf_init(&o->table, LIMIT_GGUF_HEADER_BYTES);
    return o;
}

void gguf_out_close(struct gguf_out *o)
{
    if (!o)
        return;
    part_close(o->file);
    buf_free(&o->values);
    buf_free(&o->table);
    mem_free(o->items);
    mem_free(o->encoded);
    mem_free(o->path);
    mem_free(o);
}

void gguf_out_source(struct gguf_out *o, const unsigned char digest[32])
{
    memcpy(o->source, digest, sizeof o->source);
    o->sourced = true;
}

/* ---- values ----------------------------------------------------------------------------- */

static void put_int(struct buf *b, uint64_t x, int width)
{
    for (int i = 0; i < width; i++)
        buf_ch(b, (char)(x >> 8 * i));
}

static void put_text(struct buf *b, const char *p, size_t n)
{
    put_int(b, n, 8);
    buf_add(b, p, n);
}

static void put_float(struct buf *b, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    put_int(b, bits, 4);
}

static void put_key(struct gguf_out *o, const char *key, enum gguf_kind kind)
{
    put_text(&o->values, key, strlen(key));
    put_int(&o->values, kind, 4);
    o->n_values++;
}

static void put_list(struct gguf_out *o, const char *key, enum gguf_kind of, size_t n)
{
    put_key(o, key, GGUF_ARRAY);
    put_int(&o->values, of, 4);
    put_int(&o->values, n, 8);
}

void gguf_out_int(struct gguf_out *o, const char *key, int64_t x)
{
    if (x < 0 || x > UINT32_MAX)
        err_set(o->e, E_RANGE, "%s: %s is %" PRId64 ", outside 0 to %u", jsontext_tail(o->path),
                key, x, UINT32_MAX);
    put_key(o, key, GGUF_U32);
    put_int(&o->values, (uint64_t)x, 4);
}

void gguf_out_num(struct gguf_out *o, const char *key, double x)
{
    put_key(o, key, GGUF_F32);
    put_float(&o->values, (float)x);
}

void gguf_out_bool(struct gguf_out *o, const char *key, bool x)
{
    put_key(o, key, GGUF_BOOL);
    put_int(&o->values, x, 1);
}

void gguf_out_text(struct gguf_out *o, const char *key, const char *p, size_t n)
{
    put_key(o, key, GGUF_STRING);
    put_text(&o->values, p, n);
}

void gguf_out_ints(struct gguf_out *o, const char *key, const int32_t *x, size_t n)
{
    put_list(o, key, GGUF_I32, n);
    for (size_t i = 0; i < n; i++)
        put_int(&o->values, (uint32_t)x[i], 4);
}

void gguf_out_nums(struct gguf_out *o, const char *key, const float *x, size_t n)
{
    put_list(o, key, GGUF_F32, n);
    for (size_t i = 0; i < n; i++)
        put_float(&o->values, x[i]);
}

void gguf_out_bools(struct gguf_out *o, const char *key, const bool *x, size_t n)
{
    put_list(o, key, GGUF_BOOL, n);
    for (size_t i = 0; i < n; i++)
        put_int(&o->values, x[i], 1);
}

void gguf_out_texts(struct gguf_out *o, const char *key, size_t n)
{
    put_list(o, key, GGUF_STRING, n);
}

void gguf_out_element(struct gguf_out *o, const char *p, size_t n)
{
    put_text(&o->values, p, n);
}

/* ---- tensors ---------------------------------------------------------------------------- */

static struct item *add_item(struct gguf_out *o)
{
    if (o->n == o->cap) {
        size_t cap = MAX(o->cap * 2, (size_t)256);
        struct item *grown = mem_realloc(o->items, cap * sizeof *grown);
        if (!grown) {
            err_set(o->e, E_NOMEM, "%s: out of memory for %zu tensors", jsontext_tail(o->path),
                    cap);
            return NULL;
        }
        o->items = grown;
        o->cap = cap;
    }
    return &o->items[o->n++];
}

void gguf_out_tensor(struct gguf_out *o, const char *name, enum dtype dtype, int n_dims,
                     const int64_t *shape)
{
    const struct weight_format *type = &formats[dtype];
    int64_t row = n_dims > 0 ? shape[n_dims - 1] : 1;
    ASSERT(type->gguf >= 0 && !o->begun);
    if (row % type->block)
        err_set(o->e, E_UNSUPPORTED, "%s: tensor %s has rows of %" PRId64 " elements, no multiple "
                "of the %d in a block of %s", jsontext_tail(o->path), name, row, type->block,
                type->name);
    struct item *x = o->e->code ? NULL : add_item(o);
    if (!x)
        return;
    uint64_t elems = 1;
    put_text(&o->table, name, strlen(name));
    put_int(&o->table, (uint64_t)n_dims, 4);
    for (int i = n_dims; i-- > 0;) {
        put_int(&o->table, (uint64_t)shape[i], 8);
        elems *= (uint64_t)shape[i];
    }
    put_int(&o->table, (uint64_t)type->gguf, 4);
    put_int(&o->table, o->data, 8);
    *x = (struct item){dtype, o->data, elems / (uint64_t)type->block * (uint64_t)type->bytes};
    o->data = (o->data + x->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t padding(uint64_t at)
{
    return (size_t)(-at % ALIGNMENT);
}

/* The header, once everything is announced. */
static void begin(struct gguf_out *o)
{
    static const char zeros[ALIGNMENT];
    struct buf head;
    buf_init(&head, 2 * LIMIT_GGUF_HEADER_BYTES + KIB(1));
    o->begun = true;
    buf_str(&head, "GGUF");
    put_int(&head, VERSION, 4);
    put_int(&head, o->n, 8);
    put_int(&head, o->n_values, 8);
    buf_add(&head, o->values.p, o->values.len);
    buf_add(&head, o->table.p, o->table.len);
    buf_add(&head, zeros, padding(head.len));
    if (o->values.failed || o->table.failed || head.failed)
        err_set(o->e, E_NOMEM, "%s: no memory for a header of more than %zu bytes",
                jsontext_tail(o->path), o->values.len + o->table.len);
    part_begin(o->file, o->sourced ? o->source : NULL, head.p, head.len);
    buf_free(&head);
}

/* So many bytes of the current item are in the file; behind its last a gap, to the next. */
static void advance(struct gguf_out *o, size_t bytes)
{
    const struct item *item = &o->items[o->at];
    o->in_item += bytes;
    o->written += bytes;
    ASSERT(o->in_item <= item->bytes);
    if (o->in_item == item->bytes) {
        o->in_item = 0;
        o->at++;
    }
}

/* Bytes of the next n floats, and of the gap behind them if they end their item. */
static size_t unit_of(const struct gguf_out *o, size_t n, size_t *gap)
{
    const struct item *item = &o->items[o->at];
    size_t bytes = format_bytes(item->dtype, (int64_t)n);
    *gap = o->in_item + bytes == item->bytes ? padding(item->bytes) : 0;
    return bytes;
}

bool gguf_out_has(struct gguf_out *o, size_t n)
{
    size_t gap, bytes;
    if (!o->begun)
        begin(o);
    if (o->e->code)
        return false;
    ASSERT(o->at < o->n);
    bytes = unit_of(o, n, &gap);
    if (!part_has(o->file, bytes + gap))
        return false;
    advance(o, bytes);
    return true;
}

void gguf_out_data(struct gguf_out *o, const float *x, size_t n)
{
    static const char zeros[ALIGNMENT];
    size_t gap;
    if (!o->begun)
        begin(o);
    if (o->e->code)
        return;
    ASSERT(o->at < o->n);
    size_t bytes = unit_of(o, n, &gap);
    if (bytes > o->encoded_cap) {
        void *grown = mem_realloc(o->encoded, bytes);
        if (!grown) {
            err_set(o->e, E_NOMEM, "%s: out of memory for %zu bytes", jsontext_tail(o->path),
                    bytes);
            return;
        }
        o->encoded = grown;
        o->encoded_cap = bytes;
    }
    format_encode(o->items[o->at].dtype, x, (int64_t)n, o->encoded);
    part_put(o->file, o->encoded, bytes);
    part_put(o->file, zeros, gap);
    part_unit(o->file);
    advance(o, bytes);
}

uint64_t gguf_out_bytes(const struct gguf_out *o)
{
    return o->written;
}

int gguf_out_finish(struct gguf_out *o)
{
    if (!o->begun)
        begin(o);
    if (o->e->code)
        return o->e->code;
    ASSERT(o->at == o->n);
    return part_finish(o->file);
}
