/* A file system in memory behind the cache's vtable, that fails and crashes when told to.
 *
 * What was not synced is, at a crash, kept, lost or torn in blocks of 512 bytes, and names made,
 * changed or removed since a folder's last sync happen or not one by one, in any combination:
 * more than real file systems do to us. Included by crashsim.c. */
#ifndef TESTS_FAKE_FS_H
#define TESTS_FAKE_FS_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "statecache/store/fsio.h"

#ifndef FS_FILES
#define FS_FILES 4096
#define FS_OPS 8192
#endif
#define FS_BLOCK 512 /* what a disk writes whole or not at all */

struct fs_file {
    unsigned char *now, *safe; /* contents; what an fsync has put down */
    size_t n_now, n_safe;
    size_t written;            /* where the next write goes */
};
struct fs_name { char path[160]; int file; };
/* A change of names that no sync of its folder has made safe. file < 0: removed. */
struct fs_op { char from[160], to[160]; int file; };

struct fs {
    struct fsio io;
    struct fs_file files[FS_FILES];
    int n_files;
    struct fs_name now[FS_FILES], safe[FS_FILES];
    int n_now, n_safe;
    struct fs_op ops[FS_OPS];
    int n_ops;
    int64_t calls;     /* of those that change something */
    int64_t crash_at;  /* the call at which the power goes; 0 = never */
    int64_t fail_at;   /* the call that fails, with `error`; 0 = none */
    int fail_count;    /* so many calls fail from there on */
    int error;
    const char *unreadable; /* no file whose path has this in it can be opened; NULL = all can */
    bool crashed, was_off;
    bool whole_writes; /* no write is cut in two */
    uint64_t most;     /* bytes of all files together, at most; until a failure or a crash, which
                          undoes removals */
    uint64_t failures; /* calls that were made to fail */
    struct rng rng;
};

static inline int fs_find(const struct fs_name *names, int n, const char *path)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i].path, path) == 0)
            return i;
    return -1;
}
static inline void fs_set(struct fs_name *names, int *n, const char *path, int file)
{
    int i = fs_find(names, *n, path);
    if (file < 0) {
        if (i >= 0)
            names[i] = names[--*n];
        return;
    }
    if (i < 0) {
        if (*n == FS_FILES)
            abort();
        i = (*n)++;
        snprintf(names[i].path, sizeof(names[i].path), "%s", path);
    }
    names[i].file = file;
}
static inline void fs_note(struct fs *f, const char *from, const char *to, int file)
{
    if (f->n_ops == FS_OPS)
        abort();
    struct fs_op *op = &f->ops[f->n_ops++];
    snprintf(op->from, sizeof(op->from), "%s", from);
    snprintf(op->to, sizeof(op->to), "%s", to);
    op->file = file;
}
static inline void fs_apply(struct fs_name *names, int *n, const struct fs_op *op)
{
    if (op->from[0])
        fs_set(names, n, op->from, -1);
    if (op->to[0])
        fs_set(names, n, op->to, op->file);
}

static inline void fs_weigh(struct fs *f)
{
    uint64_t sum = 0;
    for (int i = 0; i < f->n_now; i++)
        sum += f->files[f->now[i].file].n_now;
    if (!f->crashed && !f->failures && !f->was_off)
        f->most = MAX(f->most, sum);
}

/* Before a call that changes something: 0, or how it fails. */
static inline int fs_gate(struct fs *f)
{
    if (f->crashed)
        return -EIO;
    f->calls++;
    if (f->crash_at && f->calls >= f->crash_at) {
        f->crashed = true;
        return -EIO;
    }
    if (f->fail_at && f->calls >= f->fail_at && f->calls < f->fail_at + f->fail_count) {
        f->failures++;
        return -f->error;
    }
    return 0;
}

static inline int fs_mkdir(void *ctx, const char *path)
{
    (void)ctx;
    (void)path; /* folders are made once and are not what is tested */
    return 0;
}
static inline int fs_create(void *ctx, const char *path)
{
    struct fs *f = ctx;
    int rc = fs_gate(f);
    if (rc)
        return rc;
    if (fs_find(f->now, f->n_now, path) >= 0)
        return -EEXIST;
    if (f->n_files == FS_FILES)
        abort();
    f->files[f->n_files] = (struct fs_file){0};
    fs_set(f->now, &f->n_now, path, f->n_files);
    fs_note(f, "", path, f->n_files);
    return f->n_files++;
}
static inline int fs_open(void *ctx, const char *path, uint64_t *size)
{
    struct fs *f = ctx;
    int i = fs_find(f->now, f->n_now, path);
    if (i < 0)
        return -ENOENT;
    if (f->unreadable && strstr(path, f->unreadable))
        return -EIO;
    *size = f->files[f->now[i].file].n_now;
    return f->now[i].file;
}
static inline void fs_grow(struct fs_file *x, size_t n)
{
    x->now = realloc(x->now, n + 1);
    if (n > x->n_now)
        memset(x->now + x->n_now, 0, n - x->n_now);
    x->n_now = n;
}
/* posix_fallocate: the file has its length at once, and zeros; writes begin at its start. */
static inline int fs_allocate(void *ctx, int fd, uint64_t size)
{
    struct fs *f = ctx;
    int rc = fs_gate(f);
    if (!rc && size > f->files[fd].n_now)
        fs_grow(&f->files[fd], size);
    fs_weigh(f);
    return rc;
}
static inline ssize_t fs_write(void *ctx, int fd, const void *p, size_t n)
{
    struct fs *f = ctx;
    int rc = fs_gate(f);
    bool died = f->crashed;
    /* The call during which the power goes may have put down a part. */
    size_t some = died                                  ? rng_below(&f->rng, n + 1)
                  : n > 1 && !f->whole_writes && rng_below(&f->rng, 8) == 0 ? n / 2
                                                        : n;
    if (rc && !(died && f->calls == f->crash_at))
        return rc;
    struct fs_file *x = &f->files[fd];
    if (x->written + some > x->n_now)
        fs_grow(x, x->written + some);
    memcpy(x->now + x->written, p, some);
    x->written += some;
    fs_weigh(f);
    return rc ? rc : (ssize_t)some;
}
static inline ssize_t fs_pread(void *ctx, int fd, void *p, size_t n, uint64_t offset)
{
    struct fs *f = ctx;
    struct fs_file *x = &f->files[fd];
    if (offset >= x->n_now)
        return 0;
    n = MIN(n, x->n_now - offset);
    memcpy(p, x->now + offset, n);
    return (ssize_t)n;
}
static inline int fs_fsync(void *ctx, int fd)
{
    struct fs *f = ctx;
    int rc = fs_gate(f);
    if (rc)
        return rc;
    struct fs_file *x = &f->files[fd];
    x->safe = realloc(x->safe, x->n_now + 1);
    memcpy(x->safe, x->now, x->n_now);
    x->n_safe = x->n_now;
    return 0;
}
static inline int fs_close(void *ctx, int fd)
{
    (void)fd;
    return fs_gate(ctx);
}
static inline int fs_rename(void *ctx, const char *from, const char *to)
{
    struct fs *f = ctx;
    int rc = fs_gate(f), i = fs_find(f->now, f->n_now, from);
    if (rc || i < 0)
        return rc ? rc : -ENOENT;
    int file = f->now[i].file;
    fs_set(f->now, &f->n_now, from, -1);
    fs_set(f->now, &f->n_now, to, file);
    fs_note(f, from, to, file);
    return 0;
}
static inline int fs_unlink(void *ctx, const char *path)
{
    struct fs *f = ctx;
    int rc = fs_gate(f);
    if (rc || fs_find(f->now, f->n_now, path) < 0)
        return rc ? rc : -ENOENT;
    fs_set(f->now, &f->n_now, path, -1);
    fs_note(f, path, "", -1);
    return 0;
}
static inline bool fs_inside(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/');
}
static inline int fs_sync_dir(void *ctx, const char *path)
{
    struct fs *f = ctx;
    int rc = fs_gate(f), kept = 0;
    for (int i = 0; i < f->n_ops && !rc; i++) {
        struct fs_op *op = &f->ops[i];
        if (fs_inside(op->from, path) || fs_inside(op->to, path))
            fs_apply(f->safe, &f->n_safe, op);
        else
            f->ops[kept++] = *op;
    }
    if (!rc)
        f->n_ops = kept;
    return rc;
}
static inline int fs_list(void *ctx, const char *path, void (*each)(void *arg, const char *name),
                   void *arg)
{
    struct fs *f = ctx;
    int n = f->n_now;
    struct fs_name *copy = malloc(((size_t)n + 1) * sizeof(*copy));
    memcpy(copy, f->now, (size_t)n * sizeof(*copy));
    for (int i = 0; i < n; i++)
        if (fs_inside(copy[i].path, path))
            each(arg, copy[i].path + strlen(path) + 1);
    free(copy);
    return 0;
}
static inline int fs_lock(void *ctx, const char *path)
{
    (void)ctx;
    (void)path;
    return FS_FILES - 1; /* closed like a file, never read */
}

static inline void fs_init(struct fs *f, uint64_t seed)
{
    /* Not the tables: megabytes, and nothing beyond their counts is read. */
    f->n_files = f->n_now = f->n_safe = f->n_ops = 0;
    f->calls = f->crash_at = f->fail_at = 0;
    f->fail_count = f->error = 0;
    f->unreadable = NULL;
    f->crashed = f->was_off = f->whole_writes = false;
    f->most = f->failures = 0;
    f->rng = (struct rng){.seed = seed};
    f->io = (struct fsio){
        .ctx = f, .mkdir = fs_mkdir, .create = fs_create, .open = fs_open,
        .allocate = fs_allocate, .write = fs_write, .pread = fs_pread, .fsync = fs_fsync,
        .close = fs_close, .rename = fs_rename, .unlink = fs_unlink, .sync_dir = fs_sync_dir,
        .list = fs_list, .lock = fs_lock,
    };
}
static inline void fs_fini(struct fs *f)
{
    for (int i = 0; i < f->n_files; i++) {
        free(f->files[i].now);
        free(f->files[i].safe);
    }
}

/* What the next process finds when only the last one ended: all of it, and no sync made up for. */
static inline void fs_restart(struct fs *f)
{
    f->crashed = false;
    f->was_off = true;
    f->crash_at = f->fail_at = 0;
}

/* What the machine finds when it comes back. */
static inline void fs_power_on(struct fs *f)
{
    for (int i = 0; i < f->n_ops; i++)
        if (rng_below(&f->rng, 2))
            fs_apply(f->safe, &f->n_safe, &f->ops[i]);
    memcpy(f->now, f->safe, (size_t)f->n_safe * sizeof(*f->now));
    f->n_now = f->n_safe;
    f->n_ops = 0;
    for (int i = 0; i < f->n_files; i++) {
        struct fs_file *x = &f->files[i];
        /* 0: lost, 1: kept, 2: torn with its length (it was allocated), 3: and without. */
        uint64_t how = rng_below(&f->rng, 4);
        size_t n = how == 0 ? x->n_safe : how <= 2 ? x->n_now
                   : MIN(x->n_safe, x->n_now) +
                         rng_below(&f->rng, MAX(x->n_safe, x->n_now) -
                                                MIN(x->n_safe, x->n_now) + 1);
        unsigned char *p = calloc(n + 1, 1);
        for (size_t b = 0; b < n; b += FS_BLOCK) {
            bool newer = how == 1 || (how >= 2 && rng_below(&f->rng, 4));
            const unsigned char *from = newer ? x->now : x->safe;
            size_t have = newer ? x->n_now : x->n_safe, len = MIN(FS_BLOCK, n - b);
            if (from && b < have)
                memcpy(p + b, from + b, MIN(len, have - b));
        }
        free(x->now);
        free(x->safe);
        x->now = p;
        x->n_now = n;
        x->safe = malloc(n + 1);
        memcpy(x->safe, p, n);
        x->n_safe = n;
    }
    fs_restart(f);
}

#endif
