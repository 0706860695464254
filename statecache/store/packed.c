/* Compressed state files, block by block. */
#include "statecache/store/packed.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/mem.h"

#define AT_VERSION 8 /* in a head */
enum { AT_BYTES = 0, AT_ZERO = 4, AT_TAG = 8 };                    /* before a block */
enum { AT_MAGIC = 0, AT_STORED = 8, AT_FOOT_TAG = AT_STORED + PARTS * 8 }; /* in a foot */
_Static_assert(AT_TAG + CODEC_TAG == PACKED_BLOCK, "what comes before a block");
_Static_assert(AT_FOOT_TAG + CODEC_TAG == PACKED_FOOT, "the foot's layout");
#define FOOT_NUMBER UINT64_MAX /* as codec_tag counts */

static const char magic[8] = {'R', 'E', 'C', 'U', 'R', 'D', 'P', 'K'};

bool codec_packed(const unsigned char head[CODEC_HEAD])
{
    return bytes_get(head + AT_VERSION, 2) == CODEC_VERSION_PACKED;
}

static uint64_t blocks_of(uint64_t bytes)
{
    return bytes / COMPRESS_CONTENT + (bytes % COMPRESS_CONTENT != 0);
}

static uint64_t part_bytes(const struct part *part)
{
    uint64_t n = 0;
    for (size_t k = 0; k < part->n_pieces; k++)
        n += part->piece[k].n;
    return n;
}

bool packed_pays(const struct part part[PARTS])
{
    if (!compress_available())
        return false;
    for (int i = 0; i < PARTS; i++) {
        if (i == PART_TOKENS) /* a few kilobytes beside megabytes */
            continue;
        if (part[i].n_pieces && compress_pays(part[i].piece[0].p, part[i].piece[0].n))
            return true;
    }
    return false;
}

uint64_t packed_bound(const struct part part[PARTS])
{
    uint64_t n = CODEC_HEAD + PACKED_FOOT;
    for (int i = 0; i < PARTS; i++) {
        uint64_t bytes = part_bytes(&part[i]);
        n += bytes + blocks_of(bytes) * (PACKED_BLOCK + COMPRESS_BOUND(0));
    }
    return n;
}

/* ---- writing ------------------------------------------------------------------------------ */

/* Where in the pieces of a part its next bytes are. */
struct cursor {
    const struct part *part;
    size_t k, at;
};

/* The next n bytes: where they lie if they do so in one piece, else copied to buf. */
static const void *take(struct cursor *c, size_t n, unsigned char *buf)
{
    unsigned char *to = buf;
    while (n > 0) {
        const struct piece *p = &c->part->piece[c->k];
        const unsigned char *from = (const unsigned char *)p->p + c->at;
        size_t m = MIN(n, p->n - c->at);
        if (m == n && to == buf) {
            c->at += m;
            return from;
        }
        memcpy(to, from, m);
        to += m;
        n -= m;
        c->at += m;
        if (c->at == p->n) {
            c->k++;
            c->at = 0;
        }
    }
    return buf;
}

/* What one file takes while it is written or read: the blocks, and pieces put together. */
struct work {
    unsigned char content[COMPRESS_CONTENT];
    unsigned char block[PACKED_BLOCK + COMPRESS_BOUND(COMPRESS_CONTENT)];
};

static void skip_empty(struct cursor *c)
{
    while (c->k < c->part->n_pieces && c->at == c->part->piece[c->k].n) {
        c->k++;
        c->at = 0;
    }
}

static int write_part(const struct packed *p, const struct head *h, const struct part *part,
                      struct work *w, uint64_t *number, uint64_t *stored)
{
    struct cursor c = {.part = part};
    int rc = 0;
    *stored = 0;
    for (uint64_t left = part_bytes(part); left > 0 && !rc;) {
        size_t n = (size_t)MIN(left, (uint64_t)COMPRESS_CONTENT);
        skip_empty(&c);
        uint64_t start = clock_now_ns();
        const void *content = take(&c, n, w->content);
        size_t m = compress_block(p->compressor, content, n, p->always, w->block + PACKED_BLOCK);
        if (p->count) {
            p->count->content_bytes += n;
            p->count->stored_bytes += m;
            p->count->ns += clock_now_ns() - start;
        }
        memset(w->block, 0, AT_TAG);
        bytes_put(w->block + AT_BYTES, m, 4);
        codec_tag(p->format, h, (*number)++, w->block + PACKED_BLOCK, m, w->block + AT_TAG);
        rc = fsio_write_all(p->io, p->fd, w->block, PACKED_BLOCK + m);
        *stored += PACKED_BLOCK + m;
        left -= n;
    }
    return rc;
}

int packed_write(const struct packed *p, const unsigned char head[CODEC_HEAD],
                 const struct part part[PARTS], uint64_t *bytes)
{
    unsigned char foot[PACKED_FOOT];
    struct head h;
    uint64_t number = 0, at = CODEC_HEAD;
    struct work *w = mem_array(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    int rc = 0;
    codec_digests(head, &h);
    memcpy(foot + AT_MAGIC, magic, sizeof(magic));
    for (int i = 0; i < PARTS && !rc; i++) {
        uint64_t stored;
        rc = write_part(p, &h, &part[i], w, &number, &stored);
        bytes_put(foot + AT_STORED + 8 * i, stored, 8);
        at += stored;
    }
    codec_tag(p->format, &h, FOOT_NUMBER, foot, AT_FOOT_TAG, foot + AT_FOOT_TAG);
    if (!rc)
        rc = fsio_write_all(p->io, p->fd, foot, PACKED_FOOT);
    mem_free(w);
    *bytes = at + PACKED_FOOT;
    return rc;
}

/* ---- reading ------------------------------------------------------------------------------ */

int packed_open(const struct packed *p, uint64_t size, struct head *h, struct err *e)
{
    unsigned char foot[PACKED_FOOT], tag[CODEC_TAG];
    uint64_t at = CODEC_HEAD;
    if (!compress_available())
        return err_set(e, E_UNSUPPORTED, "it is compressed by zstd, and this build has no libzstd");
    if (size < CODEC_HEAD + PACKED_FOOT)
        return err_set(e, E_FORMAT, "%llu bytes, a packed state has %d at least",
                       (unsigned long long)size, CODEC_HEAD + PACKED_FOOT);
    int rc = fsio_read_all(p->io, p->fd, foot, PACKED_FOOT, size - PACKED_FOOT);
    if (rc)
        return fsio_failed(e, rc, "cannot read", "the foot of a packed state");
    codec_tag(p->format, h, FOOT_NUMBER, foot, AT_FOOT_TAG, tag);
    if (memcmp(foot + AT_MAGIC, magic, sizeof(magic)) != 0 ||
        sodium_memcmp(tag, foot + AT_FOOT_TAG, sizeof(tag)) != 0)
        return err_set(e, E_FORMAT, "it is torn: the last %d of %llu bytes are not its foot",
                       PACKED_FOOT, (unsigned long long)size);
    for (int i = 0; i < PARTS; i++) {
        uint64_t stored = bytes_get(foot + AT_STORED + 8 * i, 8);
        if (stored > size - at || (stored == 0) != (h->bytes[i] == 0))
            return err_set(e, E_FORMAT, "part %s takes %llu bytes, the file has %llu",
                           codec_part_name((enum codec_part)i), (unsigned long long)stored,
                           (unsigned long long)size);
        h->offset[i] = at;
        h->stored[i] = stored;
        at += stored;
    }
    if (at + PACKED_FOOT != size)
        return err_set(e, E_FORMAT, "%llu bytes are there, the foot says %llu",
                       (unsigned long long)size, (unsigned long long)(at + PACKED_FOOT));
    h->file_bytes = size;
    return 0;
}

/* The next block, at `at` of the file, into w->content. *end: what follows it. */
static int read_block(const struct packed *p, const struct head *h, uint64_t number, size_t n,
                      uint64_t at, uint64_t last, struct work *w, uint64_t *end, struct err *e)
{
    unsigned char tag[CODEC_TAG], *block = w->block;
    int rc = last - at < PACKED_BLOCK ? -EIO : fsio_read_all(p->io, p->fd, block, PACKED_BLOCK, at);
    if (rc)
        return fsio_failed(e, rc, "cannot read", "a block");
    size_t m = (size_t)bytes_get(block + AT_BYTES, 4);
    if (m == 0 || m > COMPRESS_BOUND(n) || m > last - at - PACKED_BLOCK ||
        bytes_get(block + AT_ZERO, 4))
        return err_set(e, E_FORMAT, "block %llu has %zu bytes, at most %zu are possible",
                       (unsigned long long)number, m, COMPRESS_BOUND(n));
    rc = fsio_read_all(p->io, p->fd, block + PACKED_BLOCK, m, at + PACKED_BLOCK);
    if (rc)
        return fsio_failed(e, rc, "cannot read", "a block");
    codec_tag(p->format, h, number, block + PACKED_BLOCK, m, tag);
    if (sodium_memcmp(tag, block + AT_TAG, sizeof(tag)) != 0)
        return err_set(e, E_FORMAT, "block %llu is damaged: its %zu bytes have another tag",
                       (unsigned long long)number, m);
    uint64_t start = clock_now_ns();
    rc = compress_expand(p->compressor, block + PACKED_BLOCK, m, w->content, n, e);
    if (p->count) {
        p->count->content_bytes += n;
        p->count->stored_bytes += m;
        p->count->ns += clock_now_ns() - start;
    }
    *end = at + PACKED_BLOCK + m;
    return rc;
}

int packed_each(const struct packed *p, const struct head *h, enum codec_part i,
                void (*each)(void *arg, const void *bytes, size_t n), void *arg, struct err *e)
{
    uint64_t number = 0, at = h->offset[i], last = at + h->stored[i];
    struct work *w = mem_array(1, sizeof(*w));
    int rc = w ? 0 : err_set(e, E_NOMEM, "no memory to read a packed state: %zu bytes", sizeof(*w));
    for (int k = 0; k < (int)i; k++)
        number += blocks_of(h->bytes[k]);
    for (uint64_t left = h->bytes[i]; left > 0 && !rc; number++) {
        size_t n = (size_t)MIN(left, (uint64_t)COMPRESS_CONTENT);
        rc = read_block(p, h, number, n, at, last, w, &at, e);
        if (!rc)
            each(arg, w->content, n);
        else if (e)
            err_wrap(e, "part %s", codec_part_name(i));
        left -= n;
    }
    if (!rc && at != last)
        rc = err_set(e, E_FORMAT, "part %s ends %llu bytes before its place does",
                     codec_part_name(i), (unsigned long long)(last - at));
    mem_free(w);
    return rc;
}

struct filling {
    struct cursor to;
    bool full; /* there was more than room for it */
};

static void fill(void *arg, const void *bytes, size_t n)
{
    struct filling *f = arg;
    const unsigned char *from = bytes;
    while (n > 0 && !f->full) {
        skip_empty(&f->to);
        f->full = f->to.k == f->to.part->n_pieces;
        if (f->full)
            return;
        const struct piece *p = &f->to.part->piece[f->to.k];
        size_t m = MIN(n, p->n - f->to.at);
        /* The pieces describe our own writable memory; the type is shared with writing. */
        memcpy((unsigned char *)(uintptr_t)p->p + f->to.at, from, m);
        f->to.at += m;
        from += m;
        n -= m;
    }
}

int packed_read(const struct packed *p, const struct head *h, enum codec_part i,
                const struct part *part, struct err *e)
{
    struct filling f = {.to = {.part = part}};
    if (part_bytes(part) != h->bytes[i])
        return err_set(e, E_FORMAT, "part %s has %llu bytes, there is room for %llu",
                       codec_part_name(i), (unsigned long long)h->bytes[i],
                       (unsigned long long)part_bytes(part));
    return packed_each(p, h, i, fill, &f, e);
}
