/* Header (names, types, shapes, offsets) and data, through part_file. */
#include "models/files/safetensors_write.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "models/files/jsontext.h"
#include "models/files/part_file.h"

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

/* The file's first bytes: the length of the header and the header; mem_free() them. */
static unsigned char *head_bytes(const struct checkpoint *ck, size_t *n, uint64_t *total)
{
    char *text = header_text(ck, total);
    size_t length = text ? strlen(text) : 0;
    unsigned char *head = text ? mem_zalloc(8 + length) : NULL;
    for (int i = 0; head && i < 8; i++)
        head[i] = (unsigned char)((uint64_t)length >> 8 * i);
    if (head)
        memcpy(head + 8, text, length);
    *n = 8 + length;
    free(text);
    return head;
}

struct writer {
    struct checkpoint *ck;
    struct part_file *file;
    void *raw; /* CHUNK elements */
    struct err *e;
};

static void put_tensor(struct writer *w, const struct tensor *t)
{
    size_t each = (size_t)formats[type_of(t)].bytes;
    for (int64_t at = 0; at < t->elems && w->e->code == 0; at += CHUNK) {
        int64_t n = MIN(CHUNK, t->elems - at);
        if (part_has(w->file, (uint64_t)n * each))
            continue;
        int rc = format_plain(t->dtype) ? checkpoint_read(w->ck, t, at, n, w->raw, w->e)
                                        : checkpoint_floats(w->ck, t, at, n, w->raw, w->e);
        if (rc == 0)
            part_put(w->file, w->raw, (size_t)n * each);
        part_unit(w->file);
    }
}

int safetensors_write(const char *path, struct checkpoint *ck,
                      void (*progress)(void *arg, const char *tensor, uint64_t done,
                                       uint64_t total), void *arg, struct err *e)
{
    struct err mine = {0};
    struct writer w = {.ck = ck, .raw = mem_array(CHUNK, sizeof(float)), .e = e ? e : &mine};
    unsigned char stamp[PART_DIGEST];
    uint64_t total, done = 0;
    size_t n;
    unsigned char *head = head_bytes(ck, &n, &total);
    if (!head || !w.raw)
        err_set(w.e, E_NOMEM, "%s: out of memory for its header", jsontext_tail(path));
    else
        w.file = part_open(path, w.e);
    if (w.file)
        part_begin(w.file, checkpoint_stamp(ck, stamp) ? stamp : NULL, head, n);
    for (size_t i = 0; i < checkpoint_count(ck) && w.e->code == 0; i++) {
        const struct tensor *t = checkpoint_at(ck, i);
        put_tensor(&w, t);
        done += bytes_of(t);
        if (progress && w.e->code == 0)
            progress(arg, t->name, done, total);
    }
    if (w.file && w.e->code == 0)
        (void)!part_finish(w.file); /* e tells */
    part_close(w.file);
    mem_free(w.raw);
    mem_free(head);
    return w.e->code;
}
