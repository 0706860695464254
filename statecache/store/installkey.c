/* Key files. */
#include "statecache/store/installkey.h"

#include <sodium.h>
#include <string.h>

int installkey_read(const struct fsio *io, const char *path, struct installkey *out,
                    struct err *e)
{
    unsigned char bytes[INSTALLKEY_MAX];
    uint64_t size = 0;
    int fd = io->open(io->ctx, path, &size);
    if (fd < 0)
        return fsio_failed(e, fd, "cannot open", path);
    bool known = size == CODEC_KEY || size == INSTALLKEY_MAX;
    int rc = known ? fsio_read_all(io, fd, bytes, (size_t)size, 0) : 0;
    (void)io->close(io->ctx, fd); /* read-only */
    if (!known)
        return err_set(e, E_FORMAT, "install key %s: %d bytes expected, or %d of one that was "
                       "changed, %llu found", path, CODEC_KEY, INSTALLKEY_MAX,
                       (unsigned long long)size);
    if (rc)
        return fsio_failed(e, rc, "cannot read", path);
    memcpy(out->seal, bytes, CODEC_KEY);
    memcpy(out->names, bytes + size - CODEC_KEY, CODEC_KEY);
    sodium_memzero(bytes, sizeof(bytes));
    return 0;
}

int installkey_take(struct format *f, const struct installkey *key, const char *path,
                    const struct installkey *old, const char *old_path, struct err *e)
{
    memcpy(f->key, key->seal, sizeof(f->key));
    memcpy(f->names, key->names, sizeof(f->names));
    f->two = old != NULL;
    if (!old)
        return 0;
    if (sodium_memcmp(key->seal, old->seal, CODEC_KEY) == 0)
        return err_set(e, E_CONFLICT, "%s and %s seal with the same %d bytes: a key is changed to "
                       "another one", path, old_path, CODEC_KEY);
    if (sodium_memcmp(key->names, old->names, CODEC_KEY) != 0)
        return err_set(e, E_CONFLICT, "the last %d bytes of %s are not those of %s, so no tenant "
                       "would find what is its own: make the new key as { head -c 32 "
                       "/dev/urandom; tail -c 32 OLD; } >NEW", CODEC_KEY, path, old_path);
    memcpy(f->old, old->seal, sizeof(f->old));
    return 0;
}

int installkey_load(struct format *f, const struct fsio *io, const char *path,
                    const char *old_path, struct err *e)
{
    struct installkey key, old;
    int rc = installkey_read(io, path, &key, e);
    if (!rc && old_path)
        rc = installkey_read(io, old_path, &old, e);
    if (!rc)
        rc = installkey_take(f, &key, path, old_path ? &old : NULL, old_path, e);
    sodium_memzero(&key, sizeof(key));
    sodium_memzero(&old, sizeof(old));
    return rc;
}

int installkey_write(const struct fsio *io, const char *dir, const char *tmp, const char *path,
                     const struct installkey *key, struct err *e)
{
    bool one = memcmp(key->seal, key->names, CODEC_KEY) == 0;
    (void)io->unlink(io->ctx, tmp); /* of a try before; if it stays, making it fails */
    int fd = io->create(io->ctx, tmp);
    if (fd < 0)
        return fsio_failed(e, fd, "cannot make", tmp);
    int rc = fsio_write_all(io, fd, key->seal, CODEC_KEY);
    if (!rc && !one)
        rc = fsio_write_all(io, fd, key->names, CODEC_KEY);
    if (!rc)
        rc = io->fsync(io->ctx, fd);
    int closed = io->close(io->ctx, fd);
    rc = rc ? rc : closed;
    if (!rc)
        rc = io->rename(io->ctx, tmp, path);
    if (!rc)
        rc = io->sync_dir(io->ctx, dir);
    return rc ? fsio_failed(e, rc, "cannot write", path) : 0;
}
