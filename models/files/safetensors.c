/* safetensors files -> a table of tensors whose extents were compared with the files.
 *
 * Invariant: a tensor in the table lies inside its file, its bytes are exactly those of its shape
 * and dtype, no two share a byte, and no byte of the file is unaccounted for. Reads go through
 * pread, so a file that shrinks later is an error, not a signal. Thread: one at a time. */
#include "models/files/checkpoint_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "models/files/fp8.h"
#include "models/files/jsontext.h"

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"
#define INT_CHUNK 1024 /* integers converted at a time; golden lists are shorter */

enum stored { STORED_F32, STORED_F16, STORED_BF16, STORED_F8, STORED_I32, STORED_I64 };

static const struct {
    const char *name;
    enum dtype dtype;
    int64_t bytes;
} stored_types[] = {
    [STORED_F32] = {"F32", DTYPE_F32, 4},   [STORED_F16] = {"F16", DTYPE_F16, 2},
    [STORED_BF16] = {"BF16", DTYPE_BF16, 2}, [STORED_F8] = {"F8_E4M3", DTYPE_FP8, 1},
    [STORED_I32] = {"I32", DTYPE_F32, 4},    [STORED_I64] = {"I64", DTYPE_F32, 8},
};

struct entry {
    struct tensor t; /* first: a struct tensor * of ours is a struct entry * */
    enum stored stored;
    uint64_t begin, end; /* in the data part of its file */
};

struct shard {
    char *path;
    int fd; /* -1: header only */
    uint64_t size;
};

struct safetensors {
    struct checkpoint ck;  /* first: a struct checkpoint * of ours is a struct safetensors * */
    struct entry *entries; /* in the order of the files */
    size_t n, cap;
    struct shard *shards;
    size_t n_shards;
};

/* ---- one tensor of a header ------------------------------------------------------------- */

static int parse_dtype(struct entry *t, const json_t *v, const char *path, struct err *e)
{
    const char *name = json_string_value(v);
    for (size_t i = 0; name && i < ARRAY_LEN(stored_types); i++)
        if (strcmp(name, stored_types[i].name) == 0) {
            t->stored = (enum stored)i;
            t->t.dtype = stored_types[i].dtype;
            t->t.whole_numbers = i >= STORED_I32;
            return 0;
        }
    return err_set(e, E_UNSUPPORTED, "%s: tensor %s has dtype %.20s; F32, F16, BF16, F8_E4M3, I32 "
                   "and I64 are read", path, t->t.name, name ? name : "(none)");
}

static int parse_shape(struct entry *t, const json_t *v, const char *path, struct err *e)
{
    size_t dims = json_array_size(v);
    if (!json_is_array(v))
        return err_set(e, E_FORMAT, "%s: tensor %s has no shape", path, t->t.name);
    if (dims > LIMIT_ST_DIMS)
        return err_set(e, E_RANGE, "%s: tensor %s has %zu dimensions, at most %d are read", path,
                       t->t.name, dims, LIMIT_ST_DIMS);
    t->t.n_dims = (int32_t)dims;
    t->t.elems = 1;
    for (size_t i = 0; i < dims; i++) {
        const json_t *d = json_array_get(v, i);
        int64_t size = json_integer_value(d);
        if (!json_is_integer(d) || size < 1)
            return err_set(e, E_FORMAT, "%s: tensor %s: dimension %zu is %" PRId64
                           ", must be 1 or more", path, t->t.name, i, size);
        t->t.shape[i] = size;
        if (mul_overflows(t->t.elems, size, &t->t.elems))
            return err_set(e, E_RANGE, "%s: tensor %s: the product of its %zu dimensions exceeds "
                           "%" PRId64, path, t->t.name, dims, INT64_MAX);
    }
    return 0;
}

static int parse_extent(struct entry *t, const json_t *v, uint64_t data_bytes, const char *path,
                        struct err *e)
{
    const json_t *b = json_array_get(v, 0), *n = json_array_get(v, 1);
    int64_t begin = json_integer_value(b), end = json_integer_value(n), bytes;
    if (json_array_size(v) != 2 || !json_is_integer(b) || !json_is_integer(n))
        return err_set(e, E_FORMAT, "%s: tensor %s: data_offsets is not a pair of integers", path,
                       t->t.name);
    if (begin < 0 || end < begin)
        return err_set(e, E_FORMAT, "%s: tensor %s: data_offsets run from %" PRId64
                       " to %" PRId64, path, t->t.name, begin, end);
    if ((uint64_t)end > data_bytes)
        return err_set(e, E_RANGE, "%s: tensor %s ends at data byte %" PRId64
                       ", the file has %" PRIu64, path, t->t.name, end, data_bytes);
    if (mul_overflows(t->t.elems, stored_types[t->stored].bytes, &bytes) || bytes != end - begin)
        return err_set(e, E_FORMAT, "%s: tensor %s has %" PRId64 " %s elements, but %" PRId64
                       " bytes", path, t->t.name, t->t.elems, stored_types[t->stored].name,
                       end - begin);
    t->begin = (uint64_t)begin;
    t->end = (uint64_t)end;
    return 0;
}

static int parse_name(struct entry *t, const char *name, const char *path, struct err *e)
{
    size_t n = strlen(name);
    if (n == 0 || n >= LIMIT_TENSOR_NAME)
        return err_set(e, E_RANGE, "%s: tensor name %.60s has %zu bytes, 1 to %d are allowed",
                       path, name, n, LIMIT_TENSOR_NAME - 1);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return err_set(e, E_FORMAT, "%s: tensor name %.60s has control byte 0x%02x at %zu",
                           path, name, (unsigned)(unsigned char)name[i], i);
    memcpy(t->t.name, name, n + 1);
    return 0;
}

static int parse_tensor(struct entry *t, const char *name, const json_t *v, uint64_t data_bytes,
                        const char *path, struct err *e)
{
    int rc = parse_name(t, name, path, e);
    if (rc == 0 && !json_is_object(v))
        rc = err_set(e, E_FORMAT, "%s: tensor %s is not described by an object", path, name);
    if (rc == 0)
        rc = parse_dtype(t, json_object_get(v, "dtype"), path, e);
    if (rc == 0)
        rc = parse_shape(t, json_object_get(v, "shape"), path, e);
    if (rc == 0)
        rc = parse_extent(t, json_object_get(v, "data_offsets"), data_bytes, path, e);
    return rc;
}

/* ---- one header ------------------------------------------------------------------------- */

static int by_begin(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The tensors from first on are one file's: they must tile its data. */
static int check_tiling(struct safetensors *c, size_t first, uint64_t data_bytes, const char *path,
                        struct err *e)
{
    uint64_t at = 0;
    if (c->n > first)
        qsort(c->entries + first, c->n - first, sizeof *c->entries, by_begin);
    for (size_t i = first; i < c->n; i++) {
        const struct entry *t = &c->entries[i];
        if (t->begin < at)
            return err_set(e, E_FORMAT, "%s: tensor %s begins at data byte %" PRIu64
                           ", inside %s, which ends at %" PRIu64, path, t->t.name, t->begin,
                           c->entries[i - 1].t.name, at);
        if (t->begin > at)
            return err_set(e, E_FORMAT, "%s: data bytes %" PRIu64 " to %" PRIu64
                           " before tensor %s belong to no tensor", path, at, t->begin,
                           t->t.name);
        at = t->end;
    }
    if (at != data_bytes)
        return err_set(e, E_FORMAT, "%s: the tensors end at data byte %" PRIu64
                       ", the file at %" PRIu64, path, at, data_bytes);
    return 0;
}

static int reserve(struct safetensors *c, size_t more, const char *path, struct err *e)
{
    if (more > LIMIT_ST_TENSORS || c->n + more > LIMIT_ST_TENSORS)
        return err_set(e, E_RANGE, "%s: the checkpoint has more than %d tensors", path,
                       LIMIT_ST_TENSORS);
    if (c->n + more <= c->cap)
        return 0;
    size_t cap = MAX(c->cap * 2, c->n + more);
    struct entry *grown = mem_realloc(c->entries, cap * sizeof *grown);
    if (!grown)
        return err_set(e, E_NOMEM, "%s: out of memory for %zu tensors", path, cap);
    c->entries = grown;
    c->cap = cap;
    return 0;
}

static int add_header(struct safetensors *c, const char *json, size_t n, uint64_t data_bytes,
                      int32_t file, const char *path, struct err *e)
{
    size_t first = c->n;
    json_t *root, *v;
    const char *name;
    int rc = jsontext_parse(&root, json, n, LIMIT_JSON_VALUES, path, e);
    if (rc < 0)
        return rc;
    path = jsontext_tail(path);
    rc = reserve(c, json_object_size(root), path, e);
    if (rc < 0)
        goto out;
    json_object_foreach(root, name, v) {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        struct entry *t = &c->entries[c->n];
        memset(t, 0, sizeof *t);
        rc = parse_tensor(t, name, v, data_bytes, path, e);
        if (rc < 0)
            goto out;
        t->t.file = file;
        t->t.offset = 8 + n + t->begin;
        c->n++;
    }
    rc = check_tiling(c, first, data_bytes, path, e);
out:
    json_decref(root);
    return rc;
}

/* ---- files ------------------------------------------------------------------------------ */

static int read_header(struct safetensors *c, int32_t file, struct err *e)
{
    const struct shard *s = &c->shards[file];
    const char *path = jsontext_tail(s->path);
    unsigned char le[8];
    uint64_t n = 0;
    char *json = NULL;
    if (s->size < sizeof le)
        return err_set(e, E_FORMAT, "%s: %" PRIu64 " bytes; a safetensors file has 8 or more",
                       path, s->size);
    int rc = file_pread(s->fd, le, sizeof le, 0, s->path, e);
    if (rc < 0)
        return rc;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | le[i];
    if (n > s->size - sizeof le)
        return err_set(e, E_FORMAT, "%s: the header claims %" PRIu64 " bytes, the file has %"
                       PRIu64 " after its length", path, n, s->size - sizeof le);
    if (n > LIMIT_ST_HEADER_BYTES)
        return err_set(e, E_RANGE, "%s: the header has %" PRIu64 " bytes, at most %zu are read",
                       path, n, LIMIT_ST_HEADER_BYTES);
    json = mem_zalloc(n + 1);
    if (!json)
        return err_set(e, E_NOMEM, "%s: out of memory for a header of %" PRIu64 " bytes", path, n);
    rc = file_pread(s->fd, json, n, sizeof le, s->path, e);
    if (rc == 0)
        rc = add_header(c, json, n, s->size - sizeof le - n, file, s->path, e);
    mem_free(json);
    return rc;
}

static int add_file(struct safetensors *c, const char *path, struct err *e)
{
    struct shard *grown = mem_realloc(c->shards, (c->n_shards + 1) * sizeof *grown);
    if (!grown)
        return err_set(e, E_NOMEM, "%s: out of memory for shard %zu", jsontext_tail(path),
                       c->n_shards);
    c->shards = grown;
    struct shard *s = &grown[c->n_shards++];
    *s = (struct shard){.path = mem_strdup(path), .fd = -1};
    if (!s->path)
        return err_set(e, E_NOMEM, "%s: out of memory for its name", jsontext_tail(path));
    s->fd = file_open(path, &s->size, e);
    return s->fd < 0 ? s->fd : read_header(c, (int32_t)c->n_shards - 1, e);
}

/* Sorts the names; a name in two shards shows here. */
static int index_names(struct safetensors *c, const char *path, struct err *e)
{
    if (checkpoint_index(&c->ck, c->entries, sizeof *c->entries, c->n) < 0)
        return err_set(e, E_NOMEM, "%s: out of memory for %zu names", path, c->n);
    for (size_t i = 1; i < c->n; i++) {
        const struct tensor *t = c->ck.by_name[i], *before = c->ck.by_name[i - 1];
        if (strcmp(before->name, t->name) == 0)
            return err_set(e, E_CONFLICT, "%s: tensor %s is in two files, %s and %s", path,
                           t->name, jsontext_tail(c->shards[before->file].path),
                           jsontext_tail(c->shards[t->file].path));
    }
    return 0;
}

static const struct checkpoint_kind kind;

static struct safetensors *new_checkpoint(void)
{
    struct safetensors *c = mem_zalloc(sizeof *c);
    if (c)
        c->ck.kind = &kind;
    return c;
}

/* Hands c out, FP8 matrices joined with their scales, or closes it. */
static int finish(struct checkpoint **out, struct safetensors *c, int rc, struct err *e)
{
    struct checkpoint *whole = &c->ck;
    if (rc == 0)
        rc = fp8_join(&whole, e);
    if (rc < 0)
        checkpoint_close(whole);
    else
        *out = whole;
    return rc;
}

/* ---- shards ----------------------------------------------------------------------------- */

/* A shard is a plain name in the model's own directory. */
static bool plain_name(const char *name)
{
    size_t n = strlen(name), suffix = strlen(".safetensors");
    return n > suffix && strcmp(name + n - suffix, ".safetensors") == 0 && name[0] != '.' &&
           !strchr(name, '/');
}

static int32_t shard_find(const struct safetensors *c, const char *dir, const char *name)
{
    size_t at = strlen(dir) + 1;
    for (size_t i = 0; i < c->n_shards; i++)
        if (strcmp(c->shards[i].path + at, name) == 0)
            return (int32_t)i;
    return -1;
}

static int open_shards(struct safetensors *c, const char *dir, json_t *map,
                       const char *index, struct err *e)
{
    const char *tensor;
    json_t *v;
    json_object_foreach(map, tensor, v) {
        const char *name = json_string_value(v);
        char path[4096];
        if (!name || !plain_name(name))
            return err_set(e, E_FORMAT, "%s: tensor %.100s is mapped to %.60s, which is no shard "
                           "name", index, tensor, name ? name : "no string");
        if (shard_find(c, dir, name) >= 0)
            continue;
        if (c->n_shards == LIMIT_ST_SHARDS)
            return err_set(e, E_RANGE, "%s: names more than %d shards", index, LIMIT_ST_SHARDS);
        if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
            return err_set(e, E_RANGE, "%s: the path of shard %.60s is longer than %zu bytes",
                           index, name, sizeof path);
        int rc = add_file(c, path, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Every mapped tensor is where the map says, and no shard holds an unmapped one. */
static int check_map(struct safetensors *c, const char *dir, json_t *map, const char *index,
                     struct err *e)
{
    const char *name;
    json_t *v;
    json_object_foreach(map, name, v) {
        const char *want = json_string_value(v);
        const struct tensor *t = checkpoint_find(&c->ck, name);
        if (!t)
            return err_set(e, E_CONFLICT, "%s: tensor %.120s is not in %.60s or any other of the "
                           "%zu shards", index, name, want, c->n_shards);
        if (shard_find(c, dir, want) != t->file)
            return err_set(e, E_CONFLICT, "%s: tensor %s is mapped to %.60s, but is in %.60s",
                           index, name, want, c->shards[t->file].path + strlen(dir) + 1);
    }
    for (size_t i = 0; i < c->n; i++)
        if (!json_object_get(map, c->entries[i].t.name))
            return err_set(e, E_CONFLICT, "%s: tensor %s of %.60s is not in the map", index,
                           c->entries[i].t.name,
                           c->shards[c->entries[i].t.file].path + strlen(dir) + 1);
    return 0;
}

static int open_index(struct safetensors *c, const char *dir, const char *path, struct err *e)
{
    json_t *root;
    int rc = jsontext_read(&root, path, LIMIT_ST_HEADER_BYTES, LIMIT_JSON_VALUES, e);
    if (rc < 0)
        return rc;
    json_t *map = json_object_get(root, "weight_map");
    const char *index = jsontext_tail(path);
    if (json_object_size(map) == 0)
        rc = err_set(e, E_FORMAT, "%s: has no weight_map", index);
    if (rc == 0)
        rc = open_shards(c, dir, map, index, e);
    if (rc == 0)
        rc = index_names(c, index, e);
    if (rc == 0)
        rc = check_map(c, dir, map, index, e);
    json_decref(root);
    return rc;
}

/* ---- reading ---------------------------------------------------------------------------- */

/* Bytes [first, first + n) elements of t, whatever they mean. */
static int read_bytes(struct safetensors *c, const struct tensor *t, int64_t first, int64_t n,
                      void *dst, struct err *e)
{
    const struct entry *s = (const struct entry *)t;
    if (t->file < 0 || (size_t)t->file >= c->n_shards)
        return err_set(e, E_IO, "tensor %s: its file is not open", t->name);
    if (first < 0 || n < 0 || first > t->elems || n > t->elems - first)
        return err_set(e, E_RANGE, "%s: tensor %s has %" PRId64 " elements, not %" PRId64
                       " from %" PRId64, jsontext_tail(c->shards[t->file].path), t->name,
                       t->elems, n, first);
    /* In range: the whole tensor's byte count was computed and compared at open. */
    uint64_t bytes = (uint64_t)stored_types[s->stored].bytes;
    return file_pread(c->shards[t->file].fd, dst, (uint64_t)n * bytes,
                      t->offset + (uint64_t)first * bytes, c->shards[t->file].path, e);
}

static int read_floats(struct checkpoint *ck, const struct tensor *t, int64_t first, int64_t n,
                       void *dst, struct err *e)
{
    enum stored s = ((const struct entry *)t)->stored;
    if (s == STORED_I32 || s == STORED_I64)
        return err_set(e, E_UNSUPPORTED, "tensor %s has dtype %s, not a float", t->name,
                       stored_types[s].name);
    return read_bytes((struct safetensors *)ck, t, first, n, dst, e);
}

static int read_ints(struct checkpoint *ck, const struct tensor *t, int64_t first, int64_t n,
                     int64_t *dst, struct err *e)
{
    struct safetensors *c = (struct safetensors *)ck;
    enum stored s = ((const struct entry *)t)->stored;
    int32_t narrow[INT_CHUNK];
    if (s == STORED_I64)
        return read_bytes(c, t, first, n, dst, e);
    if (s != STORED_I32)
        return err_set(e, E_UNSUPPORTED, "tensor %s has dtype %s, not I32 or I64", t->name,
                       stored_types[s].name);
    for (int64_t at = 0; at < n; at += INT_CHUNK) {
        int64_t count = MIN(n - at, INT_CHUNK);
        int rc = read_bytes(c, t, first + at, count, narrow, e);
        if (rc < 0)
            return rc;
        for (int64_t i = 0; i < count; i++)
            dst[at + i] = narrow[i];
    }
    return 0;
}

static void close_files(struct checkpoint *ck)
{
    struct safetensors *c = (struct safetensors *)ck;
    for (size_t i = 0; i < c->n_shards; i++) {
        if (c->shards[i].fd >= 0)
            close(c->shards[i].fd);
        mem_free(c->shards[i].path);
    }
    mem_free(c->shards);
    mem_free(c->entries);
}

static int file_of(const struct checkpoint *ck, size_t i)
{
    const struct safetensors *c = (const struct safetensors *)ck;
    return i < c->n_shards ? c->shards[i].fd : -1;
}

static const struct checkpoint_kind kind = {
    .read = read_floats, .read_int = read_ints, .file = file_of, .close = close_files};

/* ---- public ----------------------------------------------------------------------------- */

int checkpoint_open_file(struct checkpoint **out, const char *path, struct err *e)
{
    struct safetensors *c = new_checkpoint();
    if (!c)
        return err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(path));
    int rc = add_file(c, path, e);
    if (rc == 0)
        rc = index_names(c, jsontext_tail(path), e);
    return finish(out, c, rc, e);
}

int checkpoint_open(struct checkpoint **out, const char *dir, struct err *e)
{
    char single[4096], index[4096];
    if ((size_t)snprintf(single, sizeof single, "%s/" SINGLE, dir) >= sizeof single ||
        (size_t)snprintf(index, sizeof index, "%s/" INDEX, dir) >= sizeof index)
        return err_set(e, E_RANGE, "%s: the path is longer than %zu bytes", jsontext_tail(dir),
                       sizeof index);
    struct safetensors *c = new_checkpoint();
    int rc;
    if (!c)
        return err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(dir));
    if (file_exists(single)) {
        rc = add_file(c, single, e);
        if (rc == 0)
            rc = index_names(c, jsontext_tail(single), e);
    } else if (file_exists(index)) {
        rc = open_index(c, dir, index, e);
    } else {
        rc = err_set(e, E_NOENT, "%s: holds neither " SINGLE " nor " INDEX, jsontext_tail(dir));
    }
    return finish(out, c, rc, e);
}

int checkpoint_parse_header(struct checkpoint **out, const char *json, size_t n,
                            uint64_t data_bytes, const char *path, struct err *e)
{
    struct safetensors *c = new_checkpoint();
    if (!c)
        return err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(path));
    int rc = add_header(c, json, n, data_bytes, -1, path, e);
    if (rc == 0)
        rc = index_names(c, jsontext_tail(path), e);
    return finish(out, c, rc, e);
}
