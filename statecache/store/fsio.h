/* Every call that touches the file system, as one struct of functions: the real ones in fsio.c,
 * and in the tests ones that fail, tear and crash. Results are 0 (or what the comment says) or
 * -errno. Any thread. */
#ifndef RECURD_FSIO_H
#define RECURD_FSIO_H

#include <sys/types.h>

#include "base/base.h"

struct fsio {
    void *ctx; /* first argument of every call */
    int (*mkdir)(void *ctx, const char *path);                    /* mode 0700 */
    int (*create)(void *ctx, const char *path);                   /* new, 0600 -> descriptor */
    int (*open)(void *ctx, const char *path, uint64_t *size);     /* to read; regular files only */
    int (*allocate)(void *ctx, int fd, uint64_t size);            /* blocks for all of it */
    ssize_t (*write)(void *ctx, int fd, const void *p, size_t n); /* -> bytes, maybe fewer */
    ssize_t (*pread)(void *ctx, int fd, void *p, size_t n, uint64_t offset);
    int (*fsync)(void *ctx, int fd);
    int (*close)(void *ctx, int fd);
    int (*rename)(void *ctx, const char *from, const char *to);
    int (*unlink)(void *ctx, const char *path);
    int (*sync_dir)(void *ctx, const char *path); /* names made and removed in it are durable */
    int (*list)(void *ctx, const char *path, void (*each)(void *arg, const char *name), void *arg);
    int (*lock)(void *ctx, const char *path); /* held while the descriptor is open -> descriptor */
};

extern const struct fsio fsio_real;

struct err;
/* All n bytes: 0 or -errno. */
int fsio_write_all(const struct fsio *io, int fd, const void *p, size_t n) MUST_USE;
int fsio_read_all(const struct fsio *io, int fd, void *p, size_t n, uint64_t offset) MUST_USE;
/* What a call answered, as our error: E_NOENT; E_NOMEM, a shortage, which passes and says nothing
 * of the medium; E_IO. */
int fsio_failed(struct err *e, int rc, const char *what, const char *path);

#endif
