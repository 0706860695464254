/* The program cache's files: header, key, payload. The name is a hash of the key; a collision is
 * harmless because the key itself is compared. */
#include "kernels/opencl/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"

#define MAGIC "recurd-ocl-1\n\n\n" /* 16 bytes with its NUL; the digit is the format's version */

struct header {
    char magic[16];
    uint64_t key_len, payload_len, checksum;
};

/* FNV-1a, 64 bit: finds torn and altered bytes; nobody hostile may write this directory. */
static uint64_t hash(uint64_t h, const void *p, size_t n)
{
    for (const unsigned char *s = p; n; n--, s++)
        h = (h ^ *s) * UINT64_C(0x100000001b3);
    return h;
}
#define HASH_START UINT64_C(0xcbf29ce484222325)

static int path_of(char *out, size_t max, const char *dir, const char *key, size_t len)
{
    int n = snprintf(out, max, "%s/%016" PRIx64 ".clbin", dir, hash(HASH_START, key, len));
    return n > 0 && (size_t)n < max ? 0 : E_RANGE;
}

bool ocl_cache_get(const char *dir, const char *key, size_t key_len, struct buf *out)
{
    char path[512];
    struct err e = {0};
    struct header h;
    struct buf all;
    bool hit = false;
    buf_init(&all, MIB(256)); /* programs are below 10 MiB on every driver seen */
    if (path_of(path, sizeof path, dir, key, key_len) || file_read(path, &all, &e) ||
        all.len < sizeof h)
        goto out;
    memcpy(&h, all.p, sizeof h);
    const char *payload = all.p + sizeof h + key_len;
    if (memcmp(h.magic, MAGIC, sizeof h.magic) || h.key_len != key_len ||
        all.len - sizeof h < key_len || h.payload_len != all.len - sizeof h - key_len ||
        memcmp(all.p + sizeof h, key, key_len) ||
        h.checksum != hash(HASH_START, payload, h.payload_len))
        goto out;
    buf_clear(out);
    hit = !buf_add(out, payload, h.payload_len);
out:
    buf_free(&all);
    return hit;
}

static bool write_all(int fd, const void *p, size_t n)
{
    for (const char *s = p; n;) {
        ssize_t done = write(fd, s, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        s += done;
        n -= (size_t)done;
    }
    return true;
}

int ocl_cache_put(const char *dir, const char *key, size_t key_len, const void *payload, size_t len,
                  struct err *e)
{
    char path[512], temp[560];
    struct header h = {.key_len = key_len, .payload_len = len,
                       .checksum = hash(HASH_START, payload, len)};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    if (path_of(path, sizeof path, dir, key, key_len))
        return err_set(e, E_RANGE, "kernel cache: the directory name %.64s… is too long", dir);
    (void)mkdir(dir, 0700); /* exists, or open says why not */
    static _Atomic unsigned turn; /* two devices may build the same program at once */
    snprintf(temp, sizeof temp, "%s.%ld.%u", path, (long)getpid(), turn++);
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, E_IO, "kernel cache %s: %s", temp, strerror(errno));
    bool ok = write_all(fd, &h, sizeof h) && write_all(fd, key, key_len) &&
              write_all(fd, payload, len) && !fsync(fd);
    ok = !close(fd) && ok && !rename(temp, path);
    if (ok)
        return 0;
    int why = errno;
    (void)unlink(temp); /* best effort: it is not the cache file */
    return err_set(e, E_IO, "kernel cache %s: %s", path, strerror(why));
}
