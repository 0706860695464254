/* ZIP: the end record says where the directory lies, the directory where each member does.
 *
 * Format: PKWARE's APPNOTE 6.3. A file of more than 4 GiB has its sizes in an extra field (zip64).
 * Invariant: a member in the table lies inside the file. */
#include "models/files/zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "models/files/jsontext.h"

#define END_BYTES 22
#define END64_BYTES 56
#define LOCATOR_BYTES 20
#define ENTRY_BYTES 46
#define LOCAL_BYTES 30
#define COMMENT_MAX 65535

struct directory { uint64_t at, bytes, members; };

static uint64_t le(const unsigned char *p, int n)
{
    uint64_t x = 0;
    while (n-- > 0)
        x = x << 8 | p[n];
    return x;
}

static int bad(const struct zip *z, struct err *e, const char *what, uint64_t is, uint64_t most)
{
    return err_set(e, E_FORMAT, "%s: %s %" PRIu64 ", the file has %" PRIu64 " bytes",
                   jsontext_tail(z->path), what, is, most);
}

/* The last "end of central directory" of the file. */
static int find_end(struct zip *z, struct directory *d, struct err *e)
{
    unsigned char *tail, more[END64_BYTES];
    uint64_t n = MIN(z->size, (uint64_t)(END_BYTES + COMMENT_MAX)), from = z->size - n, i = n;
    if (n < END_BYTES || !(tail = mem_zalloc(n)))
        return err_set(e, n < END_BYTES ? E_FORMAT : E_NOMEM, "%s: %" PRIu64 " bytes are no ZIP "
                       "archive", jsontext_tail(z->path), z->size);
    int rc = file_pread(z->fd, tail, n, from, z->path, e);
    if (rc == 0) {
        for (i = n - END_BYTES + 1; i-- > 0;)
            if (le(tail + i, 4) == 0x06054b50)
                break;
        if (i == UINT64_MAX)
            rc = err_set(e, E_FORMAT, "%s: is no ZIP archive; files that PyTorch saved before "
                         "version 1.6 are not read, save it again", jsontext_tail(z->path));
    }
    if (rc == 0) {
        *d = (struct directory){le(tail + i + 16, 4), le(tail + i + 12, 4), le(tail + i + 10, 2)};
        if (i >= LOCATOR_BYTES && le(tail + i - LOCATOR_BYTES, 4) == 0x07064b50) {
            uint64_t at = le(tail + i - LOCATOR_BYTES + 8, 8);
            if (at > z->size || z->size - at < END64_BYTES)
                rc = bad(z, e, "its zip64 record lies at", at, z->size);
            else if ((rc = file_pread(z->fd, more, sizeof more, at, z->path, e)) == 0)
                *d = (struct directory){le(more + 48, 8), le(more + 40, 8), le(more + 32, 8)};
        }
    }
    mem_free(tail);
    return rc;
}

/* Sizes of more than 32 bits, in the order of those that are all ones. */
static bool read_zip64(const unsigned char *extra, size_t n, uint64_t *values[3])
{
    for (size_t at = 0; n - at >= 4;) {
        size_t size = (size_t)le(extra + at + 2, 2);
        if (size > n - at - 4)
            return false;
        if (le(extra + at, 2) == 1) {
            size_t used = 0;
            for (int i = 0; i < 3; i++)
                if (*values[i] == UINT32_MAX) {
                    if (size - used < 8)
                        return false;
                    *values[i] = le(extra + at + 4 + used, 8);
                    used += 8;
                }
            return true;
        }
        at += 4 + size;
    }
    return true;
}

/* One entry of the directory; *used: its bytes. */
static int read_entry(struct zip *z, const unsigned char *p, size_t n, size_t *used,
                      struct err *e)
{
    if (n < ENTRY_BYTES || le(p, 4) != 0x02014b50)
        return bad(z, e, "its directory breaks off at member", z->n, z->size);
    size_t name = (size_t)le(p + 28, 2), extra = (size_t)le(p + 30, 2);
    uint64_t packed = le(p + 20, 4), size = le(p + 24, 4), header = le(p + 42, 4);
    *used = ENTRY_BYTES + name + extra + (size_t)le(p + 32, 2);
    if (*used > n)
        return bad(z, e, "its directory ends within member", z->n, z->size);
    struct zip_member *m = &z->members[z->n];
    if (name == 0 || name >= ZIP_NAME || memchr(p + ENTRY_BYTES, 0, name))
        return err_set(e, E_FORMAT, "%s: the name of member %zu has %zu bytes, 1 to %d without 0 "
                       "are read", jsontext_tail(z->path), z->n, name, ZIP_NAME - 1);
    memcpy(m->name, p + ENTRY_BYTES, name);
    if (!read_zip64(p + ENTRY_BYTES + name, extra, (uint64_t *[]){&size, &packed, &header}))
        return err_set(e, E_FORMAT, "%s: member %s has a broken zip64 field",
                       jsontext_tail(z->path), m->name);
    if (le(p + 10, 2) != 0 || packed != size || le(p + 8, 2) & 1)
        return err_set(e, E_UNSUPPORTED, "%s: member %s is compressed or encrypted (method %u); "
                       "PyTorch stores members as they are", jsontext_tail(z->path), m->name,
                       (unsigned)le(p + 10, 2));
    m->header = header;
    m->size = size;
    z->n++;
    return 0;
}

/* Where the bytes begin: behind the local header, whose name and extra field have own sizes. */
static int find_bytes(struct zip *z, struct zip_member *m, struct err *e)
{
    unsigned char p[LOCAL_BYTES];
    if (m->header > z->size || z->size - m->header < LOCAL_BYTES)
        return bad(z, e, "a member begins at", m->header, z->size);
    int rc = file_pread(z->fd, p, sizeof p, m->header, z->path, e);
    if (rc < 0)
        return rc;
    m->offset = m->header + LOCAL_BYTES + le(p + 26, 2) + le(p + 28, 2);
    if (le(p, 4) != 0x04034b50)
        return err_set(e, E_FORMAT, "%s: there is no member %s at byte %" PRIu64,
                       jsontext_tail(z->path), m->name, m->header);
    if (m->offset > z->size || m->size > z->size - m->offset)
        return err_set(e, E_FORMAT, "%s: member %s has %" PRIu64 " bytes from %" PRIu64
                       ", the file %" PRIu64, jsontext_tail(z->path), m->name, m->size, m->offset,
                       z->size);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct zip_member *)a)->name, ((const struct zip_member *)b)->name);
}

static int read_directory(struct zip *z, const struct directory *d, struct err *e)
{
    if (d->at > z->size || d->bytes > z->size - d->at || d->bytes > LIMIT_ST_HEADER_BYTES * 4)
        return bad(z, e, "its directory's bytes are", d->bytes, z->size);
    if (d->members > d->bytes / ENTRY_BYTES || d->members > LIMIT_ST_TENSORS)
        return err_set(e, E_RANGE, "%s: %" PRIu64 " members in a directory of %" PRIu64 " bytes, "
                       "at most %d are read", jsontext_tail(z->path), d->members, d->bytes,
                       LIMIT_ST_TENSORS);
    unsigned char *all = mem_zalloc(d->bytes + 1);
    z->members = mem_array((size_t)d->members + 1, sizeof *z->members);
    int rc = all && z->members ? file_pread(z->fd, all, d->bytes, d->at, z->path, e)
                               : err_set(e, E_NOMEM, "%s: out of memory for %" PRIu64 " members",
                                         jsontext_tail(z->path), d->members);
    for (size_t at = 0, used = 0; rc == 0 && z->n < d->members; at += used)
        rc = read_entry(z, all + at, (size_t)d->bytes - at, &used, e);
    mem_free(all);
    for (size_t i = 0; rc == 0 && i < z->n; i++)
        rc = find_bytes(z, &z->members[i], e);
    if (rc == 0)
        qsort(z->members, z->n, sizeof *z->members, by_name);
    for (size_t i = 1; rc == 0 && i < z->n; i++)
        if (by_name(&z->members[i - 1], &z->members[i]) == 0)
            rc = err_set(e, E_CONFLICT, "%s: two members are called %s", jsontext_tail(z->path),
                         z->members[i].name);
    return rc;
}

int zip_open(struct zip *z, const char *path, struct err *e)
{
    struct directory d = {0};
    *z = (struct zip){.path = mem_strdup(path), .fd = -1};
    if (!z->path)
        return err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(path));
    z->fd = file_open(path, &z->size, e);
    if (z->fd < 0)
        return z->fd;
    int rc = find_end(z, &d, e);
    return rc < 0 ? rc : read_directory(z, &d, e);
}

void zip_close(struct zip *z)
{
    if (z->fd >= 0)
        close(z->fd);
    mem_free(z->members);
    mem_free(z->path);
    *z = (struct zip){.fd = -1};
}

static int name_order(const void *key, const void *item)
{
    return strcmp(key, ((const struct zip_member *)item)->name);
}

const struct zip_member *zip_find(const struct zip *z, const char *name)
{
    return z->n ? bsearch(name, z->members, z->n, sizeof *z->members, name_order) : NULL;
}
