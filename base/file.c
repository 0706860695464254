/* Reads of regular files, every size checked before memory is spent on it. Any thread. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"

#define CHUNK_BYTES KIB(64) /* past 64 KiB a larger read no longer saves system calls' time */


int file_open(const char *path, uint64_t *size, struct err *e)
{
    /* O_NONBLOCK: opening a pipe that someone left under this name must not hang the start. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        int code = errno == ENOENT || errno == ENOTDIR ? E_NOENT : E_IO;
        return err_set(e, code, "%s: %s", path, strerror(errno));
    }
    int rc = 0;
    struct stat st;
    if (fstat(fd, &st) != 0)
        rc = err_set(e, E_IO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        rc = err_set(e, E_IO, "%s: not a regular file", path);
    if (rc) {
        close(fd);
        return rc;
    }
    *size = (uint64_t)st.st_size;
    return fd;
}

/* Reads to the end of the file, whatever fstat said: the length may change under us, and files
 * of /proc claim to have none. */
static int read_all(int fd, const char *path, struct buf *out, struct err *e)
{
    char chunk[CHUNK_BYTES];
    for (;;) {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(e, E_IO, "%s: %s", path, strerror(errno));
        if (got == 0)
            return 0;
        if ((size_t)got > out->max - out->len)
            return err_set(e, E_RANGE, "%s: more than the %zu bytes allowed", path, out->max);
        if (buf_add(out, chunk, (size_t)got))
            return err_set(e, E_NOMEM, "%s: no memory after %zu bytes", path, out->len);
    }
}

int file_read(const char *path, struct buf *out, struct err *e)
{
    buf_clear(out);
    uint64_t size;
    int fd = file_open(path, &size, e);
    if (fd < 0)
        return fd;
    int rc;
    if (size > out->max)
        rc = err_set(e, E_RANGE, "%s: %" PRIu64 " bytes, at most %zu allowed", path, size,
                     out->max);
    else
        rc = read_all(fd, path, out, e);
    close(fd);
    if (rc)
        buf_clear(out);
    return rc;
}

int file_pread(int fd, void *p, size_t n, uint64_t offset, const char *path, struct err *e)
{
    uint64_t end;
    if (add_overflows(offset, (uint64_t)n, &end) || end > INT64_MAX)
        return err_set(e, E_IO, "%s: %zu bytes at offset %" PRIu64 " are out of any file", path,
                       n, offset);
    unsigned char *at = p;
    while (n) {
        ssize_t got = pread(fd, at, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(e, E_IO, "%s: %s", path, strerror(errno));
        if (got == 0)
            return err_set(e, E_IO, "%s: ends at byte %" PRIu64 ", %zu more expected", path,
                           offset, n);
        at += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

int file_check_mode(const char *path, unsigned forbidden, struct err *e)
{
    struct stat st;
    if (stat(path, &st) || !(st.st_mode & forbidden))
        return 0;
    return err_set(e, E_DENIED, "%s: others than its owner may %s it (mode %04o, at most %04o)",
                   path, st.st_mode & forbidden & 0022 ? "write" : "read",
                   (unsigned)st.st_mode & 07777, (unsigned)st.st_mode & 07777 & ~forbidden);
}
