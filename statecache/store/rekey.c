/* Seals made anew, one file at a time. */
#include "statecache/store/rekey.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "statecache/store/digest.h"
#include "statecache/store/packed.h"
#include "statecache/store/turnlog.h"

#define PIECE MIB(1) /* of a file at once */

static const char *const rooms[] = {"paths", "states", "sessions"};

struct path { char p[STORE_PATH]; };

static struct path path_in(const struct rekey *r, const char *room, const char *name)
{
    struct path x;
    snprintf(x.p, sizeof(x.p), "%s/%s%s%.64s", r->dir, room, *room && *name ? "/" : "", name);
    return x;
}

/* ---- opening ------------------------------------------------------------------------------ */

/* The directory's own key is changed: to the one that a run before has made, or a new one. */
static int own_keys(struct rekey *r, struct err *e)
{
    struct path key = path_in(r, "", "key"), next = path_in(r, "", DIRSTORE_NEXT);
    struct installkey old, made;
    struct err missing = {0};
    int rc = installkey_load(&r->format, r->io, next.p, key.p, &missing);
    if (rc != E_NOENT)
        return rc ? err_set(e, rc, "%s", missing.text) : 0;
    rc = installkey_read(r->io, key.p, &old, e);
    if (rc)
        return rc;
    randombytes_buf(made.seal, sizeof(made.seal));
    memcpy(made.names, old.names, sizeof(made.names));
    rc = installkey_write(r->io, r->dir, path_in(r, "", "key.tmp").p, next.p, &made, e);
    if (!rc)
        rc = installkey_take(&r->format, &made, next.p, &old, key.p, e);
    sodium_memzero(&old, sizeof(old));
    sodium_memzero(&made, sizeof(made));
    return rc;
}

int rekey_open(struct rekey *r, const char *dir, const char *key_file, const char *old_file,
               const struct fsio *io, struct err *e)
{
    *r = (struct rekey){.io = io, .lock_fd = -1, .own = key_file == NULL};
    if (strlen(dir) >= sizeof(r->dir))
        return err_set(e, E_RANGE, "state directory: its path has %zu bytes, at most %zu fit",
                       strlen(dir), sizeof(r->dir) - 1);
    memcpy(r->dir, dir, strlen(dir) + 1);
    struct path lock = path_in(r, "", "lock");
    r->lock_fd = io->lock(io->ctx, lock.p);
    if (r->lock_fd == -EWOULDBLOCK)
        return err_set(e, E_DENIED, "state directory %s is in use by another process", dir);
    if (r->lock_fd < 0)
        return fsio_failed(e, r->lock_fd, "cannot lock", lock.p);
    return r->own ? own_keys(r, e) : installkey_load(&r->format, io, key_file, old_file, e);
}

void rekey_close(struct rekey *r)
{
    if (r->lock_fd >= 0)
        (void)r->io->close(r->io->ctx, r->lock_fd); /* nothing was written through it */
    r->lock_fd = -1;
    compressor_close(r->compressor);
    r->compressor = NULL;
    sodium_memzero(&r->format, sizeof(r->format));
}

/* ---- a folder's names --------------------------------------------------------------------- */

struct names {
    char (*name)[33];
    size_t n, cap, length; /* length: of those that count */
    bool failed;
};

static void note(void *arg, const char *text)
{
    struct names *l = arg;
    if (strlen(text) != l->length || strspn(text, "0123456789abcdef") != l->length)
        return; /* being written when a run ended, or not ours */
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        char(*more)[33] = mem_realloc(l->name, cap * sizeof(*more));
        l->failed |= !more;
        if (!more)
            return;
        l->name = more;
        l->cap = cap;
    }
    memcpy(l->name[l->n++], text, l->length + 1);
}

/* each: of every well-formed name; then the folder is synced. A missing folder has none. */
static int for_each(struct rekey *r, const char *room, size_t length,
                    int (*each)(struct rekey *r, const char *room, const char *name,
                                struct err *e), struct err *e)
{
    struct names l = {.length = length};
    struct path x = path_in(r, room, "");
    int listed = r->io->list(r->io->ctx, x.p, note, &l);
    int rc = listed && listed != -ENOENT ? fsio_failed(e, listed, "cannot list", x.p) : 0;
    if (!rc && l.failed)
        rc = err_set(e, E_NOMEM, "no memory for the names in %s", x.p);
    for (size_t i = 0; i < l.n && !rc; i++)
        rc = each(r, room, l.name[i], e);
    mem_free(l.name);
    int synced = rc || listed ? 0 : r->io->sync_dir(r->io->ctx, x.p);
    return synced ? fsio_failed(e, synced, "cannot sync", x.p) : rc;
}

/* Told, and the run goes on. */
static int leave(struct rekey *r, const char *room, const char *name, uint64_t *count,
                 const struct err *why)
{
    char file[128];
    ++*count;
    snprintf(file, sizeof(file), "%s/%s", room, name);
    if (r->tell)
        r->tell(r->arg, file, why->text);
    return 0;
}

/* ---- heads and parts ---------------------------------------------------------------------- */

static void add(void *arg, const void *p, size_t n) { digest_update(arg, p, n); }

static int add_part(struct rekey *r, int fd, const struct head *h, enum codec_part i,
                    unsigned char *piece, struct digest *d, struct err *e)
{
    struct packed packed = {.io = r->io, .fd = fd, .format = &r->format,
                            .compressor = r->compressor};
    if (h->packed)
        return packed_each(&packed, h, i, add, d, e);
    for (uint64_t done = 0; done < h->bytes[i];) {
        size_t n = (size_t)MIN(h->bytes[i] - done, (uint64_t)PIECE);
        int rc = fsio_read_all(r->io, fd, piece, n, h->offset[i] + done);
        if (rc)
            return fsio_failed(e, rc, "cannot read back part", codec_part_name(i));
        digest_update(d, piece, n);
        done += n;
    }
    return 0;
}

/* Are the parts behind the head, in a file of `size` bytes, those it names? */
static int check_parts(struct rekey *r, int fd, uint64_t size, struct head *h,
                       unsigned char *piece, struct err *e)
{
    struct packed packed = {.io = r->io, .fd = fd, .format = &r->format};
    int rc = h->packed && !r->compressor ? compressor_open(&r->compressor, e) : 0;
    if (!rc && h->packed)
        rc = packed_open(&packed, size, h, e);
    for (int i = 0; i < PARTS && !rc; i++) {
        unsigned char digest[CODEC_DIGEST];
        struct digest d;
        digest_init(&d, h->version);
        rc = add_part(r, fd, h, (enum codec_part)i, piece, &d, e);
        digest_final(&d, digest);
        if (!rc && sodium_memcmp(digest, h->digest[i], sizeof(digest)) != 0)
            rc = err_set(e, E_FORMAT, "part %s is damaged: its %" PRIu64 " bytes have another "
                         "digest", codec_part_name((enum codec_part)i), h->bytes[i]);
    }
    return rc;
}

/* The new head, then what follows it in the file fd of so many bytes: synced in `to`. */
static int copy(struct rekey *r, int fd, uint64_t size, const unsigned char *head, const char *to,
                unsigned char *piece, struct err *e)
{
    const struct fsio *io = r->io;
    (void)io->unlink(io->ctx, to); /* of a run before; if it stays, making it fails */
    int out = io->create(io->ctx, to);
    if (out < 0)
        return fsio_failed(e, out, "cannot make", to);
    int rc = io->allocate(io->ctx, out, size);
    if (!rc)
        rc = fsio_write_all(io, out, head, CODEC_HEAD);
    for (uint64_t at = CODEC_HEAD; at < size && !rc;) {
        size_t n = (size_t)MIN(size - at, (uint64_t)PIECE);
        rc = fsio_read_all(io, fd, piece, n, at);
        if (!rc)
            rc = fsio_write_all(io, out, piece, n);
        at += n;
    }
    if (!rc)
        rc = io->fsync(io->ctx, out);
    int closed = io->close(io->ctx, out);
    rc = rc ? rc : closed;
    return rc ? fsio_failed(e, rc, "cannot write", to) : 0;
}

/* Is what lies in the file what it must be: our head, and its parts? */
static int read_back(struct rekey *r, const char *path, const unsigned char *head, bool whole,
                     unsigned char *piece, struct err *e)
{
    unsigned char seen[CODEC_HEAD];
    struct format f = r->format;
    struct head h;
    uint64_t size = 0;
    f.two = false;
    int fd = r->io->open(r->io->ctx, path, &size);
    if (fd < 0)
        return fsio_failed(e, fd, "cannot open", path);
    int io = size < CODEC_HEAD ? -EIO : fsio_read_all(r->io, fd, seen, CODEC_HEAD, 0);
    int rc = io || memcmp(seen, head, CODEC_HEAD) != 0
                 ? fsio_failed(e, io ? io : -EIO, "cannot read back", path) : 0;
    if (!rc && whole)
        rc = codec_inspect(&f, seen, size, &h, e);
    if (!rc && whole)
        rc = check_parts(r, fd, size, &h, piece, e);
    (void)r->io->close(r->io->ctx, fd); /* read-only */
    return rc;
}

/* whole: the head is of a version whose parts can be checked. */
static int replace(struct rekey *r, const char *room, const char *name, int fd, uint64_t size,
                   unsigned char *head, bool whole, struct err *e)
{
    char with[48];
    snprintf(with, sizeof(with), "%.32s.tmp", name);
    struct path to = path_in(r, room, name), tmp = path_in(r, room, with);
    unsigned char *piece = mem_array(1, PIECE);
    struct err why = {0};
    if (!piece)
        return err_set(e, E_NOMEM, "no memory to copy %s", to.p);
    codec_sign(&r->format, head);
    int rc = copy(r, fd, size, head, tmp.p, piece, &why);
    if (!rc)
        rc = read_back(r, tmp.p, head, whole, piece, &why);
    mem_free(piece);
    int renamed = rc ? 0 : r->io->rename(r->io->ctx, tmp.p, to.p);
    if (renamed)
        rc = fsio_failed(&why, renamed, "cannot rename", tmp.p);
    if (!rc) {
        r->counts.sealed++;
        r->counts.bytes += size;
        return 0;
    }
    (void)r->io->unlink(r->io->ctx, tmp.p); /* if it stays, the next start removes it */
    if (rc == E_FORMAT)
        return leave(r, room, name, &r->counts.bad, &why);
    return err_set(e, rc, "%s", why.text);
}

static int seal_file(struct rekey *r, const char *room, const char *name, struct err *e)
{
    struct path x = path_in(r, room, name);
    unsigned char head[CODEC_HEAD];
    struct format f = r->format;
    struct head h = {0};
    struct err why = {0};
    uint64_t size = 0;
    int fd = r->io->open(r->io->ctx, x.p, &size);
    int rc = fd < 0 ? fsio_failed(&why, fd, "cannot open", x.p) : 0;
    int io = rc || size < CODEC_HEAD ? 0 : fsio_read_all(r->io, fd, head, CODEC_HEAD, 0);
    if (io)
        rc = fsio_failed(&why, io, "cannot read", x.p);
    if (!rc && size < CODEC_HEAD)
        rc = err_set(&why, E_FORMAT, "%" PRIu64 " bytes, a head alone has %d", size, CODEC_HEAD);
    if (!rc)
        rc = codec_inspect(&f, head, size, &h, &why);
    bool older = rc == E_CONFLICT; /* ours, and never loaded; it goes with its age */
    if (rc && !older) {
        bool keyed = rc == E_FORMAT || rc == E_DENIED || rc == E_RANGE;
        rc = leave(r, room, name, keyed ? &r->counts.bad : &r->counts.left, &why);
    } else if (!h.old) {
        r->counts.already++;
        rc = 0;
    } else {
        rc = replace(r, room, name, fd, size, head, !older, e);
    }
    if (fd >= 0)
        (void)r->io->close(r->io->ctx, fd); /* read-only */
    return rc;
}

/* ---- the log ------------------------------------------------------------------------------ */

static int write_segment(struct rekey *r, const char *name, const unsigned char *p, size_t n,
                         struct err *e)
{
    const struct fsio *io = r->io;
    struct path tmp = path_in(r, "log", "rekey.tmp"), to = path_in(r, "log", name);
    (void)io->unlink(io->ctx, tmp.p); /* of a run before; if it stays, making it fails */
    int fd = io->create(io->ctx, tmp.p);
    if (fd < 0)
        return fsio_failed(e, fd, "cannot make", tmp.p);
    int rc = io->allocate(io->ctx, fd, n);
    if (!rc)
        rc = fsio_write_all(io, fd, p, n);
    if (!rc)
        rc = io->fsync(io->ctx, fd);
    int closed = io->close(io->ctx, fd);
    rc = rc ? rc : closed;
    if (!rc)
        rc = io->rename(io->ctx, tmp.p, to.p);
    return rc ? fsio_failed(e, rc, "cannot write", to.p) : 0;
}

static int seal_segment(struct rekey *r, const char *room, const char *name, struct err *e)
{
    struct path x = path_in(r, room, name);
    struct err why = {0};
    uint64_t size = 0, number = 0;
    unsigned anew = 0;
    for (const char *c = name; *c; c++)
        number = number << 4 | (uint64_t)(*c <= '9' ? *c - '0' : *c - 'a' + 10);
    int fd = r->io->open(r->io->ctx, x.p, &size);
    if (fd < 0)
        return fsio_failed(e, fd, "cannot open", x.p);
    unsigned char *p = size <= TURNLOG_FILE_MAX ? mem_array(1, (size_t)size + 1) : NULL;
    int rc = p ? 0 : err_set(e, size <= TURNLOG_FILE_MAX ? E_NOMEM : E_FORMAT,
                             "%s has %" PRIu64 " bytes, at most %" PRIu64 " are possible, and as "
                             "much memory is needed", x.p, size, (uint64_t)TURNLOG_FILE_MAX);
    int io = rc ? 0 : fsio_read_all(r->io, fd, p, (size_t)size, 0);
    if (io)
        rc = fsio_failed(e, io, "cannot read", x.p);
    (void)r->io->close(r->io->ctx, fd); /* read-only */
    if (!rc && turnlog_reseal(&r->format, p, size, number, &anew, &why))
        rc = leave(r, room, name, &r->counts.left, &why);
    else if (!rc && anew)
        rc = write_segment(r, name, p, (size_t)size, e);
    mem_free(p);
    if (!rc && !why.code) {
        r->counts.sealed += anew > 0;
        r->counts.bytes += anew ? size : 0;
        r->counts.already += !anew;
    }
    return rc;
}

int rekey_files(struct rekey *r, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(rooms) && !rc; i++)
        rc = for_each(r, rooms[i], 32, seal_file, e);
    return rc ? rc : for_each(r, "log", 16, seal_segment, e);
}

int rekey_finish(struct rekey *r, struct err *e)
{
    struct path next = path_in(r, "", DIRSTORE_NEXT), key = path_in(r, "", "key");
    if (r->counts.left)
        return err_set(e, E_BUSY, "%" PRIu64 " files still need the old key", r->counts.left);
    if (!r->own)
        return 0;
    int rc = r->io->rename(r->io->ctx, next.p, key.p);
    if (!rc)
        rc = r->io->sync_dir(r->io->ctx, r->dir);
    return rc ? fsio_failed(e, rc, "cannot rename", next.p) : 0;
}
