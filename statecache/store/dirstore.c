/* A directory of states and session records. Every put goes through a temporary file in the same
 * directory; a reader only ever sees whole files or what a crash of the machine left, and that
 * fails its seal or its digests. */
#include "statecache/store/dirstore.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "statecache/store/packed.h"

/* The directory. Owner: its struct store. */
struct dirstore {
    const struct fsio *io;
    char dir[STORE_PATH - 128]; /* leaves room for the longest name below it */
    struct compressor *compressor; /* NULL until it is needed */
    int lock_fd;
    int n_quarantined;
};
static const struct store_ops ops;

static struct dirstore *own(const struct store *s) { return s->impl; }

static const char *const folder[STORE_KINDS] = {"states", "sessions", "paths"};
static const enum codec_kind kind_in[STORE_KINDS] = {CODEC_STATE, CODEC_SESSION, CODEC_PATH};

/* Longest: dir + "/quarantine/" + 32 digits + "." + 20 digits: under the 128 bytes left for it. */
struct path { char p[STORE_PATH]; };

static void hex(const unsigned char name[16], char out[33])
{
    sodium_bin2hex(out, 33, name, 16);
}

static struct path path_of(const struct store *s, enum store_kind kind,
                           const unsigned char name[16], const char *suffix)
{
    struct path x;
    char digits[33];
    hex(name, digits);
    snprintf(x.p, sizeof(x.p), "%s/%s/%s%s", own(s)->dir, folder[kind], digits, suffix);
    return x;
}

static struct path path_in(const struct store *s, const char *name)
{
    struct path x;
    snprintf(x.p, sizeof(x.p), "%s/%s", own(s)->dir, name);
    return x;
}

static int timed_fsync(struct store *s, int fd)
{
    uint64_t start = clock_now_ns();
    int rc = own(s)->io->fsync(own(s)->io->ctx, fd);
    latency_add(&s->health.fsync, clock_now_ns() - start);
    return rc;
}

/* ---- opening ------------------------------------------------------------------------------ */

static int make_dir(struct store *s, const char *path, struct err *e)
{
    int rc = own(s)->io->mkdir(own(s)->io->ctx, path);
    return rc == 0 || rc == -EEXIST ? 0 : fsio_failed(e, rc, "cannot make", path);
}

/* Made once: without it every state on the disk is worthless, so it is durable before use. */
static int make_key(struct store *s, const char *path, struct format *f, struct err *e)
{
    struct installkey key;
    randombytes_buf(key.seal, sizeof(key.seal));
    memcpy(key.names, key.seal, sizeof(key.names));
    int rc = installkey_write(own(s)->io, own(s)->dir, path_in(s, "key.tmp").p, path, &key, e);
    if (!rc)
        rc = installkey_take(f, &key, path, NULL, NULL, e);
    sodium_memzero(&key, sizeof(key));
    return rc;
}

/* The directory's own key. Beside it lies the next one while rekey_dir works, or was interrupted:
 * some files are sealed with that already. */
static int own_key(struct store *s, struct format *f, struct err *e)
{
    const struct fsio *io = own(s)->io;
    struct path key = path_in(s, "key"), next = path_in(s, DIRSTORE_NEXT);
    struct err missing = {0};
    int rc = installkey_load(f, io, key.p, NULL, &missing);
    if (rc == E_NOENT)
        return make_key(s, key.p, f, e);
    if (rc)
        return err_set(e, rc, "%s", missing.text);
    rc = installkey_load(f, io, next.p, key.p, &missing);
    return rc && rc != E_NOENT ? err_set(e, rc, "%s", missing.text) : 0;
}

struct sweep {
    struct store *s;
    const char *in;
};

static void remove_temporary(void *arg, const char *name)
{
    struct sweep *w = arg;
    size_t n = strlen(name);
    if (n < 5 || n > 64 || strcmp(name + n - 4, ".tmp") != 0)
        return;
    struct path x;
    snprintf(x.p, sizeof(x.p), "%s/%s/%s", own(w->s)->dir, w->in, name);
    /* If it stays, the next start tries again. */
    (void)own(w->s)->io->unlink(own(w->s)->io->ctx, x.p);
}

static void count_quarantined(void *arg, const char *name)
{
    struct store *s = arg;
    const struct fsio *io = own(s)->io;
    struct path x;
    uint64_t size = 0;
    own(s)->n_quarantined++;
    if ((size_t)snprintf(x.p, sizeof(x.p), "%s/quarantine/%s", own(s)->dir, name) >= sizeof(x.p))
        return;
    int fd = io->open(io->ctx, x.p, &size);
    if (fd < 0)
        return; /* whatever it is, it is not ours */
    s->health.quarantine_bytes += size;
    (void)io->close(io->ctx, fd); /* read-only */
}

int dirstore_open(struct store *s, const char *dir, const char *key_file, const char *old_file,
                  const struct fsio *io, struct format *f, struct err *e)
{
    *s = (struct store){.ops = &ops, .format = f, .impl = mem_zalloc(sizeof(struct dirstore))};
    if (!s->impl)
        return err_set(e, E_NOMEM, "no memory for the state directory");
    *own(s) = (struct dirstore){.io = io, .lock_fd = -1};
    if (strlen(dir) >= sizeof(own(s)->dir))
        return err_set(e, E_RANGE, "state directory: its path has %zu bytes, at most %zu fit",
                       strlen(dir), sizeof(own(s)->dir) - 1);
    memcpy(own(s)->dir, dir, strlen(dir) + 1);
    int rc = make_dir(s, dir, e);
    for (size_t i = 0; i < STORE_KINDS && !rc; i++)
        rc = make_dir(s, path_in(s, folder[i]).p, e);
    if (!rc)
        rc = make_dir(s, path_in(s, "quarantine").p, e);
    if (rc)
        return rc;
    struct path lock = path_in(s, "lock");
    own(s)->lock_fd = io->lock(io->ctx, lock.p);
    if (own(s)->lock_fd == -EWOULDBLOCK)
        return err_set(e, E_DENIED, "state directory %s is in use by another process", dir);
    if (own(s)->lock_fd < 0)
        return fsio_failed(e, own(s)->lock_fd, "cannot lock", lock.p);
    rc = io->sync_dir(io->ctx, dir); /* the folders must not vanish from under durable files */
    if (rc)
        return fsio_failed(e, rc, "cannot sync", dir);
    rc = key_file ? installkey_load(f, io, key_file, old_file, e) : own_key(s, f, e);
    for (size_t i = 0; i < STORE_KINDS && !rc; i++) {
        struct sweep w = {s, folder[i]};
        rc = io->list(io->ctx, path_in(s, folder[i]).p, remove_temporary, &w);
        if (rc)
            return fsio_failed(e, rc, "cannot list", folder[i]);
        /* What a killed process had renamed and not yet synced is built upon from now on. */
        rc = io->sync_dir(io->ctx, path_in(s, folder[i]).p);
        if (rc)
            return fsio_failed(e, rc, "cannot sync", folder[i]);
    }
    if (!rc)
        (void)io->list(io->ctx, path_in(s, "quarantine").p, count_quarantined, s);
    return rc;
}

static void dir_close(struct store *s)
{
    if (own(s)->lock_fd >= 0)
        (void)own(s)->io->close(own(s)->io->ctx,
            own(s)->lock_fd); /* nothing was written through it */
    compressor_close(own(s)->compressor);
    mem_free(s->impl);
    s->impl = NULL;
}

/* ---- writing ------------------------------------------------------------------------------ */

static int with_compressor(struct store *s, struct err *e)
{
    return own(s)->compressor ? 0 : compressor_open(&own(s)->compressor, e);
}

static bool dir_packs(struct store *s, const struct part part[PARTS])
{
    struct err ignored = {0}; /* no memory to compress in: as it lies, then */
    return (s->compress == COMPRESS_ALWAYS || packed_pays(part)) && !with_compressor(s, &ignored);
}

/* What follows the head. 0 or -errno. */
static int write_parts(struct store *s, int fd, const unsigned char head[CODEC_HEAD],
                       const struct part part[PARTS])
{
    const struct fsio *io = own(s)->io;
    int rc = 0;
    if (codec_packed(head)) {
        struct packed p = {.io = io, .fd = fd, .format = s->format,
                           .compressor = own(s)->compressor, .count = &s->health.packed,
                           .always = s->compress == COMPRESS_ALWAYS};
        rc = packed_write(&p, head, part, &s->put_bytes);
    } else {
        for (int i = 0; i < PARTS && !rc; i++)
            for (size_t k = 0; k < part[i].n_pieces && !rc; k++)
                rc = fsio_write_all(io, fd, part[i].piece[k].p, part[i].piece[k].n);
    }
    return rc;
}

static int put_once(struct store *s, enum store_kind kind, const unsigned char name[16],
                    const unsigned char head[CODEC_HEAD], const struct part part[PARTS],
                    bool durable, bool *renamed, struct err *e)
{
    const struct fsio *io = own(s)->io;
    struct path tmp = path_of(s, kind, name, ".tmp"), to = path_of(s, kind, name, "");
    uint64_t size = CODEC_HEAD;
    for (int i = 0; i < PARTS; i++)
        for (size_t k = 0; k < part[i].n_pieces; k++)
            size += part[i].piece[k].n;
    int fd = io->create(io->ctx, tmp.p);
    if (fd == -EEXIST) { /* left by a failed attempt whose unlink failed */
        (void)io->unlink(io->ctx, tmp.p);
        fd = io->create(io->ctx, tmp.p);
    }
    if (fd < 0)
        return fsio_failed(e, fd, "cannot make", tmp.p);
    const char *what = "no space for";
    /* So that a full disk is known before writing; how long a packed file gets is not known yet. */
    int rc = codec_packed(head) ? 0 : io->allocate(io->ctx, fd, size);
    s->put_bytes = size;
    if (!rc) {
        what = "cannot write";
        rc = fsio_write_all(io, fd, head, CODEC_HEAD);
    }
    if (!rc)
        rc = write_parts(s, fd, head, part);
    if (!rc && durable) {
        what = "cannot sync";
        rc = timed_fsync(s, fd);
    }
    int closed = io->close(io->ctx, fd);
    if (!rc && closed) {
        what = "cannot close";
        rc = closed;
    }
    if (!rc) {
        what = "cannot rename";
        *renamed = true;
        rc = io->rename(io->ctx, tmp.p, to.p);
    }
    if (rc) {
        (void)io->unlink(io->ctx, tmp.p); /* a leftover is removed at the next start */
        return fsio_failed(e, rc, what, tmp.p);
    }
    if (durable)
        rc = io->sync_dir(io->ctx, path_in(s, folder[kind]).p);
    return rc ? fsio_failed(e, rc, "cannot sync the folder of", to.p) : 0;
}

static int dir_put(struct store *s, enum store_kind kind, const unsigned char name[16],
              const unsigned char head[CODEC_HEAD], const struct part part[PARTS], bool durable,
              bool *renamed, struct err *e)
{
    bool dont_care = false;
    renamed = renamed ? renamed : &dont_care;
    *renamed = false;
    if (!store_may_write(&s->health))
        return err_set(e, E_IO, "the state directory failed a moment ago; it is tried again later");
    struct err first = {0};
    int rc = put_once(s, kind, name, head, part, durable, renamed, &first);
    if (rc && rc != E_NOMEM) {
        /* After a failed fsync the kernel may have dropped the pages: only a new file counts. */
        s->health.write_errors++;
        log_warn("state directory: %s; trying a new file", first.text);
        err_clear(&first);
        rc = put_once(s, kind, name, head, part, durable, renamed, &first);
    }
    if (!rc) {
        s->health.files_written++;
        if (s->health.sick)
            log_info("state directory: it takes files again; what is kept from now on is safe");
        s->health.sick = false;
        return 0;
    }
    s->health.write_errors++;
    if (rc != E_NOMEM) {
        if (!s->health.sick)
            log_error("state directory: %s; serving goes on without persistence, one file a "
                      "minute is tried", first.text);
        s->health.sick = true;
        s->health.retry_ns = clock_now_ns() + STORE_RETRY_NS;
    }
    return err_set(e, rc, "%s", first.text);
}

static int dir_sync(struct store *s, enum store_kind kind, const unsigned char name[16],
                    struct err *e)
{
    struct path x = path_of(s, kind, name, "");
    uint64_t size;
    if (s->health.sick)
        return err_set(e, E_IO, "the state directory failed a moment ago");
    int fd = own(s)->io->open(own(s)->io->ctx, x.p, &size);
    int rc = fd < 0 ? fd : timed_fsync(s, fd);
    if (fd >= 0)
        (void)own(s)->io->close(own(s)->io->ctx, fd); /* read-only */
    if (!rc)
        rc = own(s)->io->sync_dir(own(s)->io->ctx, path_in(s, folder[kind]).p);
    if (!rc)
        return 0;
    s->health.write_errors++;
    return fsio_failed(e, rc, "cannot sync", x.p);
}

static int dir_remove(struct store *s, enum store_kind kind, const unsigned char name[16],
                 bool durable, struct err *e)
{
    struct path x = path_of(s, kind, name, "");
    int rc = own(s)->io->unlink(own(s)->io->ctx, x.p);
    if (rc == -ENOENT)
        rc = 0;
    if (!rc && durable)
        rc = own(s)->io->sync_dir(own(s)->io->ctx, path_in(s, folder[kind]).p);
    if (!rc)
        return 0;
    s->health.write_errors++;
    return fsio_failed(e, rc, "cannot remove", x.p);
}

/* ---- reading ------------------------------------------------------------------------------ */

static void dir_done(struct store *s, int fd);

static int open_packed(struct store *s, int fd, uint64_t size, struct head *h, struct err *e)
{
    struct packed p = {.io = own(s)->io, .fd = fd, .format = s->format};
    int rc = packed_open(&p, size, h, e);
    s->health.read_errors += rc == E_IO;
    return rc;
}

static int read_packed(struct store *s, int fd, const struct head *h, enum codec_part i,
                       const struct part *part, struct err *e)
{
    int rc = with_compressor(s, e);
    struct packed p = {.io = own(s)->io, .fd = fd, .format = s->format,
                       .compressor = own(s)->compressor, .count = &s->health.expanded};
    if (!rc)
        rc = packed_read(&p, h, i, part, e);
    s->health.read_errors += rc == E_IO;
    return rc;
}

static int dir_get(struct store *s, enum store_kind kind, const unsigned char name[16], int *fd,
              struct head *h, struct err *e)
{
    struct path x = path_of(s, kind, name, "");
    unsigned char head[CODEC_HEAD];
    uint64_t size = 0;
    *fd = own(s)->io->open(own(s)->io->ctx, x.p, &size);
    if (*fd < 0) {
        int rc = *fd;
        *fd = -1;
        s->health.read_errors++;
        return fsio_failed(e, rc, "cannot open", x.p);
    }
    int rc = 0, code = 0;
    if (size < CODEC_HEAD)
        code = err_set(e, E_FORMAT, "%llu bytes, a head alone has %d", (unsigned long long)size,
                       CODEC_HEAD);
    else if ((rc = fsio_read_all(own(s)->io, *fd, head, CODEC_HEAD, 0)))
        code = fsio_failed(e, rc, "cannot read", x.p);
    else
        code = codec_open(s->format, head, size, h, e);
    if (!code && h->packed)
        code = open_packed(s, *fd, size, h, e);
    h->file_bytes = size; /* of those of another model, too */
    if (!code && (h->kind != kind_in[kind] || memcmp(h->id, name, 16) != 0))
        code = err_set(e, E_FORMAT, "the file was renamed: it is kind %d of another name",
                       (int)h->kind);
    if (code) {
        if (rc)
            s->health.read_errors++;
        dir_done(s, *fd);
        *fd = -1;
    }
    return code;
}

static int dir_part(struct store *s, int fd, const struct head *h, enum codec_part i,
               const struct part *p, struct err *e)
{
    if (h->packed) {
        int rc = read_packed(s, fd, h, i, p, e);
        return rc ? rc : codec_check(s->format, h, i, p, e);
    }
    uint64_t at = h->offset[i], end = h->offset[i] + h->bytes[i];
    for (size_t k = 0; k < p->n_pieces; k++) {
        if (p->piece[k].n > end - at)
            return err_set(e, E_FORMAT, "part %s ends early", codec_part_name(i));
        /* The pieces describe our own writable memory; the type is shared with writing. */
        int rc = fsio_read_all(own(s)->io, fd, (void *)(uintptr_t)p->piece[k].p, p->piece[k].n, at);
        if (rc) {
            s->health.read_errors++;
            return fsio_failed(e, rc, "cannot read part", codec_part_name(i));
        }
        at += p->piece[k].n;
    }
    return codec_check(s->format, h, i, p, e);
}

static void dir_done(struct store *s, int fd)
{
    if (fd >= 0)
        (void)own(s)->io->close(own(s)->io->ctx, fd); /* read-only: nothing can be lost */
}

static void dir_quarantine(struct store *s, enum store_kind kind, const unsigned char name[16],
                      const char *why)
{
    struct path from = path_of(s, kind, name, ""), to;
    char digits[33];
    uint64_t size = 0;
    hex(name, digits);
    int fd = own(s)->io->open(own(s)->io->ctx, from.p, &size);
    if (fd >= 0)
        (void)own(s)->io->close(own(s)->io->ctx, fd); /* read-only */
    s->health.files_quarantined++;
    if (own(s)->n_quarantined >= STORE_QUARANTINE) {
        log_warn("%s/%s is not loaded and removed (quarantine is full): %s", folder[kind], digits,
                 why);
        (void)own(s)->io->unlink(own(s)->io->ctx, from.p); /* if it stays, it is refused again */
        return;
    }
    snprintf(to.p, sizeof(to.p), "%s/quarantine/%s.%llx", own(s)->dir, digits,
             (unsigned long long)clock_unix_s());
    int rc = own(s)->io->rename(own(s)->io->ctx, from.p, to.p);
    if (!rc)
        own(s)->n_quarantined++;
    s->health.quarantine_bytes += size; /* wherever it is now */
    log_warn("%s/%s is not loaded and %s quarantine: %s", folder[kind], digits,
             rc ? "could not be moved to" : "moved to", why);
}

struct listing {
    void (*each)(void *arg, const unsigned char name[16]);
    void *arg;
};

static void parse_name(void *arg, const char *text)
{
    struct listing *l = arg;
    unsigned char name[16];
    size_t n = 0;
    if (strlen(text) == 32 &&
        sodium_hex2bin(name, sizeof(name), text, 32, NULL, &n, NULL) == 0 && n == 16)
        l->each(l->arg, name);
}

static int dir_list(struct store *s, enum store_kind kind,
               void (*each)(void *arg, const unsigned char name[16]), void *arg, struct err *e)
{
    struct listing l = {each, arg};
    struct path x = path_in(s, folder[kind]);
    int rc = own(s)->io->list(own(s)->io->ctx, x.p, parse_name, &l);
    return rc ? fsio_failed(e, rc, "cannot list", x.p) : 0;
}

static const struct store_ops ops = {
    .close = dir_close,
    .packs = dir_packs,
    .put = dir_put,
    .sync = dir_sync,
    .remove = dir_remove,
    .get = dir_get,
    .part = dir_part,
    .done = dir_done,
    .quarantine = dir_quarantine,
    .list = dir_list,
};
