/* Header (names, types, shapes, offsets) and data, through a .part file. */
#include "models/files/safetensors_write.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "models/files/jsontext.h"

#define CHUNK (1 << 20) /* elements at a time */

static enum dtype type_of(const struct tensor *t)
{
    return format_plain(t->dtype) ? t->dtype : DTYPE_F32;
}

static uint64_t bytes_of(const struct tensor *t)
{
    return (uint64_t)t->elems * (uint64_t)formats[type_of(t)].bytes;
}

/* The header's text, padded to 8 bytes; free() it. */
static char *header_text(const struct checkpoint *ck, uint64_t *total)
{
    json_t *root = json_object();
    uint64_t at = 0;
    bool ok = root != NULL;
    for (size_t i = 0; ok && i < checkpoint_count(ck); i++) {
        const struct tensor *t = checkpoint_at(ck, i);
        json_t *shape = json_array();
        for (int d = 0; ok && d < t->n_dims; d++)
            ok = json_array_append_new(shape, json_integer(t->shape[d])) == 0;
        json_t *one = json_pack("{s:s, s:o, s:[I, I]}", "dtype", formats[type_of(t)].safetensors,
                                "shape", shape, "data_offsets", (json_int_t)at,
                                (json_int_t)(at + bytes_of(t)));
        ok = ok && one && json_object_set_new(root, t->name, one) == 0;
        at += bytes_of(t);
    }
    char *text = ok ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    size_t n = text ? strlen(text) : 0, padded = (n + 7) / 8 * 8;
    char *whole = text ? realloc(text, padded + 1) : NULL;
    if (whole) {
        memset(whole + n, ' ', padded - n);
        whole[padded] = 0;
    } else {
        free(text);
    }
    *total = at;
    return whole;
}

struct writer {
    const char *path;
    FILE *file;
    struct err *e;
};

static bool put(struct writer *w, const void *p, size_t n)
{
    if (fwrite(p, 1, n, w->file) != n)
        err_set(w->e, E_IO, "%s: cannot be written: %s", jsontext_tail(w->path), strerror(errno));
    return w->e->code == 0;
}

static void put_tensor(struct writer *w, struct checkpoint *ck, const struct tensor *t, void *raw)
{
    for (int64_t at = 0; at < t->elems && w->e->code == 0; at += CHUNK) {
        int64_t n = MIN(CHUNK, t->elems - at);
        int rc = format_plain(t->dtype) ? checkpoint_read(ck, t, at, n, raw, w->e)
                                        : checkpoint_floats(ck, t, at, n, raw, w->e);
        if (rc == 0)
            put(w, raw, (size_t)n * (size_t)formats[type_of(t)].bytes);
    }
}

static void put_all(struct writer *w, struct checkpoint *ck,
                    void (*progress)(void *arg, const char *tensor, uint64_t done, uint64_t total),
                    void *arg)
{
    uint64_t total, done = 0;
    char *text = header_text(ck, &total);
    float *raw = mem_array(CHUNK, sizeof *raw);
    unsigned char size[8];
    if (!text || !raw)
        err_set(w->e, E_NOMEM, "%s: out of memory for its header", jsontext_tail(w->path));
    for (int i = 0; text && i < 8; i++)
        size[i] = (unsigned char)((uint64_t)strlen(text) >> 8 * i);
    if (w->e->code == 0 && put(w, size, sizeof size) && put(w, text, strlen(text)))
        for (size_t i = 0; i < checkpoint_count(ck) && w->e->code == 0; i++) {
            const struct tensor *t = checkpoint_at(ck, i);
            put_tensor(w, ck, t, raw);
            done += bytes_of(t);
            if (progress)
                progress(arg, t->name, done, total);
        }
    free(text);
    mem_free(raw);
}

int safetensors_write(const char *path, struct checkpoint *ck,
                      void (*progress)(void *arg, const char *tensor, uint64_t done,
                                       uint64_t total), void *arg, struct err *e)
{
    struct err mine = {0};
    size_t n = strlen(path) + 8;
    char *part = mem_zalloc(n);
    struct writer w = {.path = path, .e = e ? e : &mine};
    if (!part)
        return err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(path));
    snprintf(part, n, "%s.part", path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    w.file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!w.file) {
        err_set(w.e, E_IO, "%s: cannot be written: %s", jsontext_tail(part), strerror(errno));
        if (fd >= 0)
            close(fd);
    } else {
        put_all(&w, ck, progress, arg);
        if (w.e->code == 0 && (fflush(w.file) != 0 || fsync(fd) != 0))
            err_set(w.e, E_IO, "%s: cannot be written: %s", jsontext_tail(part), strerror(errno));
        fclose(w.file);
        if (w.e->code == 0 && rename(part, path) != 0)
            err_set(w.e, E_IO, "%s: cannot be put in its place: %s", jsontext_tail(path),
                    strerror(errno));
        if (w.e->code)
            unlink(part);
    }
    mem_free(part);
    return w.e->code;
}
