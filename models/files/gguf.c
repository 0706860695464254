/* GGUF files -> values and tensors: opening, split sets, reads. The header's bytes are parsed by
 * gguf_parse.c; its length is written nowhere, so it is read in growing pieces and parsed from the
 * start each time it turns out longer. No mmap (base/file.h). */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "models/files/gguf_int.h"
#include "models/files/jsontext.h"

#define FIRST_BYTES MIB(1)

/* ---- files ------------------------------------------------------------------------------ */

static struct cursor cursor(const struct part *f, size_t n, struct err *e)
{
    return (struct cursor){.p = (const unsigned char *)f->head, .n = n, .size = f->size,
                           .path = jsontext_tail(f->path), .e = e};
}

static int grow_head(struct part *f, struct err *e)
{
    size_t want = (size_t)MIN(f->size, MAX((uint64_t)FIRST_BYTES, (uint64_t)f->head_n * 2));
    if (f->head_n >= LIMIT_GGUF_HEADER_BYTES)
        return err_set(e, E_RANGE, "%s: the header has more than %zu bytes",
                       jsontext_tail(f->path), LIMIT_GGUF_HEADER_BYTES);
    char *grown = mem_realloc(f->head, want ? want : 1);
    if (!grown)
        return err_set(e, E_NOMEM, "%s: out of memory for a header of %zu bytes",
                       jsontext_tail(f->path), want);
    f->head = grown;
    int rc = file_pread(f->fd, f->head + f->head_n, want - f->head_n, f->head_n, f->path, e);
    f->head_n = want;
    return rc;
}

static struct part *add_part(struct gguf *g, const char *path, struct err *e)
{
    struct part *grown = mem_realloc(g->parts, (g->n_parts + 1) * sizeof *grown);
    if (grown)
        g->parts = grown;
    char *copy = grown ? mem_strdup(path) : NULL;
    if (!copy) {
        err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(path));
        return NULL;
    }
    grown[g->n_parts] = (struct part){.path = copy, .fd = -1};
    return &grown[g->n_parts++];
}

static int add_file(struct gguf *g, const char *path, struct err *e)
{
    size_t first = g->n;
    struct part *f = add_part(g, path, e);
    int rc = f ? 0 : e->code;
    if (f && (f->fd = file_open(path, &f->size, e)) < 0)
        rc = f->fd;
    for (bool more = true; rc == 0 && more;) {
        rc = grow_head(f, e);
        struct cursor c = cursor(f, f->head_n, e);
        if (rc == 0)
            rc = gguf_parse_header(g, &c, f, (int32_t)g->n_parts - 1, first);
        more = c.more;
    }
    return rc;
}

int gguf_file(const struct gguf *g, size_t i)
{
    return i < g->n_parts ? g->parts[i].fd : -1;
}

/* ---- split sets ------------------------------------------------------------------------- */

static int64_t number(const struct part *f, const char *key, int64_t dflt)
{
    int64_t x = dflt;
    const struct gguf_value *v = gguf_find_value(f, key);
    return v && !gguf_int(v, 0, &x) ? -1 : x;
}

/* Adds the other files of the set whose first is open. */
static int open_rest(struct gguf *g, struct err *e)
{
    char path[4096], tail[32];
    const char *name = jsontext_tail(g->parts[0].path);
    int64_t count = number(&g->parts[0], "split.count", 1), no = number(g->parts, "split.no", 0);
    int64_t total = number(&g->parts[0], "split.tensors.count", -1);
    if (count < 0 || count > LIMIT_ST_SHARDS)
        return err_set(e, E_RANGE, "%s: split.count is %" PRId64 ", 1 to %d files can be read",
                       name, count, LIMIT_ST_SHARDS);
    if (no != 0)
        return err_set(e, E_CONFLICT, "%s: file %" PRId64 " of a set of %" PRId64 "; give the "
                       "first, the one named -00001-of-%05" PRId64 ".gguf", name, no + 1, count,
                       count);
    size_t len = strlen(g->parts[0].path), end;
    snprintf(tail, sizeof tail, "-00001-of-%05" PRId64 ".gguf", count);
    end = strlen(tail);
    if (count > 1 && (len < end || strcmp(g->parts[0].path + len - end, tail) != 0))
        return err_set(e, E_CONFLICT, "%s: the first of %" PRId64 " files, but its name does not "
                       "end in %s, so the others cannot be found", name, count, tail);
    for (int64_t i = 1; i < count; i++) {
        if ((size_t)snprintf(path, sizeof path, "%.*s-%05" PRId64 "-of-%05" PRId64 ".gguf",
                             (int)(len - end), g->parts[0].path, i + 1, count) >= sizeof path)
            return err_set(e, E_RANGE, "%s: the path is longer than %zu bytes", name,
                           sizeof path);
        if (add_file(g, path, e) < 0)
            return e->code;
        int64_t is = number(&g->parts[i], "split.no", -1);
        if (is != i || number(&g->parts[i], "split.count", -1) != count)
            return err_set(e, E_CONFLICT, "%s: says it is file %" PRId64 " of its set, must be %"
                           PRId64 " of %" PRId64, jsontext_tail(path), is + 1, i + 1, count);
    }
    if (total >= 0 && (uint64_t)total != g->n)
        return err_set(e, E_CONFLICT, "%s: the set should have %" PRId64 " tensors, its files "
                       "have %zu", name, total, g->n);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct gguf_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int index_names(struct gguf *g, struct err *e)
{
    g->by_name = mem_array(g->n ? g->n : 1, sizeof *g->by_name);
    if (!g->by_name)
        return err_set(e, E_NOMEM, "%s: out of memory for %zu names", gguf_path(g), g->n);
    for (size_t i = 0; i < g->n; i++)
        g->by_name[i] = &g->tensors[i];
    if (g->n)
        qsort(g->by_name, g->n, sizeof *g->by_name, by_name);
    for (size_t i = 1; i < g->n; i++)
        if (strcmp(g->by_name[i - 1]->name, g->by_name[i]->name) == 0)
            return err_set(e, E_CONFLICT, "%s: tensor %s is there twice", gguf_path(g),
                           g->by_name[i]->name);
    return 0;
}

/* ---- public ----------------------------------------------------------------------------- */

static int finish(struct gguf **out, struct gguf *g, int rc, struct err *e)
{
    if (rc == 0)
        rc = index_names(g, e);
    *out = rc == 0 ? g : NULL;
    if (rc < 0)
        gguf_close(g);
    return rc;
}

int gguf_open(struct gguf **out, const char *path, struct err *e)
{
    struct err mine = {0};
    e = e ? e : &mine;
    *out = NULL;
    struct gguf *g = mem_zalloc(sizeof *g);
    if (!g)
        return err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(path));
    int rc = add_file(g, path, e);
    if (rc == 0)
        rc = open_rest(g, e);
    return finish(out, g, rc, e);
}

int gguf_parse(struct gguf **out, const void *bytes, size_t n, uint64_t size, const char *path,
               struct err *e)
{
    *out = NULL;
    struct gguf *g = mem_zalloc(sizeof *g);
    struct part *f = g ? add_part(g, path, e) : NULL;
    if (!f) {
        mem_free(g);
        return err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(path));
    }
    f->size = size;
    f->head = (char *)(uintptr_t)bytes; /* only read */
    f->head_n = n;
    struct cursor c = cursor(f, n, e);
    int rc = gguf_parse_header(g, &c, f, 0, 0);
    if (rc == 0 && c.more)
        rc = err_set(e, E_FORMAT, "%s: %zu bytes are not the whole header", c.path, n);
    return finish(out, g, rc, e);
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_parts; i++) {
        if (g->parts[i].fd >= 0) {
            close(g->parts[i].fd);
            mem_free(g->parts[i].head);
        }
        mem_free(g->parts[i].values);
        mem_free(g->parts[i].path);
    }
    mem_free(g->parts);
    mem_free(g->tensors);
    mem_free(g->by_name);
    mem_free(g);
}

const char *gguf_path(const struct gguf *g)
{
    return jsontext_tail(g->parts[0].path);
}

size_t gguf_tensors(const struct gguf *g)
{
    return g->n;
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, size_t i)
{
    ASSERT(i < g->n);
    return &g->tensors[i];
}

static int name_order(const void *key, const void *item)
{
    return strcmp(key, (*(struct gguf_tensor *const *)item)->name);
}

const struct gguf_tensor *gguf_find(const struct gguf *g, const char *name)
{
    struct gguf_tensor **found =
        g->n ? bsearch(name, g->by_name, g->n, sizeof *g->by_name, name_order) : NULL;
    return found ? *found : NULL;
}

int gguf_read(const struct gguf *g, const struct gguf_tensor *t, uint64_t at, size_t n, void *dst,
              struct err *e)
{
    const struct part *f = &g->parts[t->file];
    if (at > t->bytes || n > t->bytes - at)
        return err_set(e, E_RANGE, "%s: tensor %s has %" PRIu64 " bytes, not %zu from %" PRIu64,
                       jsontext_tail(f->path), t->name, t->bytes, n, at);
    if (f->fd >= 0)
        return file_pread(f->fd, dst, n, t->offset + at, f->path, e);
    if (t->offset + at + n > f->head_n)
        return err_set(e, E_IO, "%s: the data of tensor %s is not there",
                       jsontext_tail(f->path), t->name);
    memcpy(dst, f->head + t->offset + at, n);
    return 0;
}

size_t gguf_values(const struct gguf *g)
{
    return g->parts[0].n_values;
}

const struct gguf_value *gguf_value(const struct gguf *g, size_t i)
{
    ASSERT(i < g->parts[0].n_values);
    return &g->parts[0].values[i];
}

const struct gguf_value *gguf_get(const struct gguf *g, const char *key)
{
    return gguf_find_value(&g->parts[0], key);
}

void gguf_digest(const struct gguf *g, unsigned char out[32])
{
    crypto_hash_sha256_state h;
    crypto_hash_sha256_init(&h);
    for (size_t i = 0; i < g->n_parts; i++)
        crypto_hash_sha256_update(&h, (const unsigned char *)g->parts[i].head,
                                  g->parts[i].head_used);
    crypto_hash_sha256_final(&h, out);
}
