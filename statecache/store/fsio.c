/* The real file system behind the vtable: the only file that makes these calls. */
#include "statecache/store/fsio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

static int result(int rc)
{
    return rc < 0 ? -errno : rc;
}

static int real_mkdir(void *ctx, const char *path)
{
    (void)ctx;
    return result(mkdir(path, 0700));
}

static int real_create(void *ctx, const char *path)
{
    (void)ctx;
    return result(open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
}

static int real_open(void *ctx, const char *path, uint64_t *size)
{
    (void)ctx;
    /* O_NONBLOCK: a FIFO someone put there must not hang us before the type is checked. */
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return -EINVAL;
    }
    *size = (uint64_t)st.st_size;
    return fd;
}

static int real_allocate(void *ctx, int fd, uint64_t size)
{
    (void)ctx;
    return -posix_fallocate(fd, 0, (off_t)size);
}

static ssize_t real_write(void *ctx, int fd, const void *p, size_t n)
{
    (void)ctx;
    ssize_t rc;
    do
        rc = write(fd, p, n);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : rc;
}

static ssize_t real_pread(void *ctx, int fd, void *p, size_t n, uint64_t offset)
{
    (void)ctx;
    ssize_t rc;
    do
        rc = pread(fd, p, n, (off_t)offset);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : rc;
}

static int real_fsync(void *ctx, int fd)
{
    (void)ctx;
    return result(fsync(fd));
}

static int real_close(void *ctx, int fd)
{
    (void)ctx;
    return result(close(fd));
}

static int real_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    return result(rename(from, to));
}

static int real_unlink(void *ctx, const char *path)
{
    (void)ctx;
    return result(unlink(path));
}

static int real_sync_dir(void *ctx, const char *path)
{
    (void)ctx;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = result(fsync(fd));
    close(fd);
    return rc;
}

static int real_list(void *ctx, const char *path, void (*each)(void *arg, const char *name),
                     void *arg)
{
    (void)ctx;
    DIR *d = opendir(path);
    if (!d)
        return -errno;
    const struct dirent *x;
    while ((x = readdir(d)))
        if (strcmp(x->d_name, ".") != 0 && strcmp(x->d_name, "..") != 0)
            each(arg, x->d_name);
    closedir(d);
    return 0;
}

static int real_lock(void *ctx, const char *path)
{
    (void)ctx;
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

const struct fsio fsio_real = {
    .mkdir = real_mkdir,
    .create = real_create,
    .open = real_open,
    .allocate = real_allocate,
    .write = real_write,
    .pread = real_pread,
    .fsync = real_fsync,
    .close = real_close,
    .rename = real_rename,
    .unlink = real_unlink,
    .sync_dir = real_sync_dir,
    .list = real_list,
    .lock = real_lock,
};

int fsio_write_all(const struct fsio *io, int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t rc = io->write(io->ctx, fd, at, n);
        if (rc <= 0)
            return rc < 0 ? (int)rc : -EIO;
        at += rc;
        n -= (size_t)rc;
    }
    return 0;
}

int fsio_read_all(const struct fsio *io, int fd, void *p, size_t n, uint64_t offset)
{
    char *at = p;
    while (n > 0) {
        ssize_t rc = io->pread(io->ctx, fd, at, n, offset);
        if (rc <= 0)
            return rc < 0 ? (int)rc : -EIO;
        at += rc;
        offset += (uint64_t)rc;
        n -= (size_t)rc;
    }
    return 0;
}

int fsio_failed(struct err *e, int rc, const char *what, const char *path)
{
    bool shortage = rc == -ENOSPC || rc == -EDQUOT || rc == -EMFILE || rc == -ENFILE ||
                    rc == -ENOMEM || rc == -EINTR || rc == -EAGAIN;
    int code = shortage ? E_NOMEM : rc == -ENOENT ? E_NOENT : E_IO;
    return err_set(e, code, "%s %s: %s", what, path, strerror(-rc));
}
