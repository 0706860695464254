/* A folder sealed with another key, and an exported session sealed for another installation. */
#include "programs/recurd-state/rekey.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/mem.h"
#include "server/api/responses.h"
#include "statecache/store/digest.h"
#include "statecache/store/rekey.h"

#define EXPORT_MAX ((size_t)8 << 30) /* of a session's file, as of a shared state */

/* ---- keys --------------------------------------------------------------------------------- */

static int check_modes(const struct key_files *keys, struct err *e)
{
    int rc = keys->key ? file_check_mode(keys->key, 0077, e) : 0;
    return !rc && keys->old ? file_check_mode(keys->old, 0077, e) : rc;
}

/* ---- a folder ----------------------------------------------------------------------------- */

static void tell(void *arg, const char *file, const char *why)
{
    (void)arg;
    printf("BAD     %s: %s\n", file, why);
}

static void tell_reply(void *arg, const char *name, uint64_t bytes, enum response_rekey what,
                       const char *why)
{
    struct rekey_counts *c = arg;
    uint64_t *const row[] = {[RESPONSE_SEALED] = &c->sealed, [RESPONSE_ALREADY] = &c->already,
                             [RESPONSE_BAD] = &c->bad, [RESPONSE_LEFT] = &c->left};
    ++*row[what];
    c->bytes += what == RESPONSE_SEALED ? bytes : 0;
    if (why)
        printf("BAD     responses/%s: %s\n", name, why);
}

/* What root writes there the service could not read. */
static int check_owner(const char *dir, struct err *e)
{
    struct stat st;
    if (stat(dir, &st))
        return err_set(e, E_IO, "%s: %s", dir, strerror(errno));
    if (st.st_uid != geteuid())
        return err_set(e, E_DENIED, "%s belongs to user %u, and this is user %u: what is written "
                       "there would not be the owner's", dir, (unsigned)st.st_uid,
                       (unsigned)geteuid());
    return 0;
}

int rekey_folder(const char *dir, const struct key_files *keys, bool *bad, struct err *e)
{
    struct rekey r = {.lock_fd = -1, .io = &fsio_real};
    unsigned char key[16], old[16];
    if ((keys->key == NULL) != (keys->old == NULL))
        return err_set(e, E_CONFLICT, "rekey needs both, state-key and state-key-old, or neither "
                       "for a folder with a key of its own");
    int rc = check_modes(keys, e);
    if (!rc)
        rc = check_owner(dir, e);
    if (!rc)
        rc = rekey_open(&r, dir, keys->key, keys->old, &fsio_real, e);
    r.tell = tell;
    if (!rc)
        rc = rekey_files(&r, e);
    codec_tenant(r.format.key, RESPONSES_KEY_ID, key);
    codec_tenant(r.format.old, RESPONSES_KEY_ID, old);
    if (!rc)
        rc = response_files_rekey(dir, key, old, NULL, tell_reply, &r.counts, e);
    const struct rekey_counts *c = &r.counts;
    if (!rc)
        printf("%" PRIu64 " files of %" PRIu64 " bytes sealed anew, %" PRIu64 " were so already, %"
               PRIu64 " damaged or of another key, %" PRIu64 " still need the old key\n",
               c->sealed, c->bytes, c->already, c->bad, c->left);
    if (!rc)
        rc = rekey_finish(&r, e);
    *bad = c->bad > 0;
    rekey_close(&r);
    return rc;
}

/* ---- an exported session ------------------------------------------------------------------ */

static int check_part(const struct head *h, int i, const unsigned char *blob, struct err *e)
{
    unsigned char digest[CODEC_DIGEST];
    struct digest d;
    digest_init(&d, h->version);
    digest_update(&d, blob + h->offset[i], h->bytes[i]);
    digest_final(&d, digest);
    if (sodium_memcmp(digest, h->digest[i], sizeof digest) != 0)
        return err_set(e, E_FORMAT, "part %s is damaged: its %" PRIu64 " bytes have another digest",
                       codec_part_name((enum codec_part)i), h->bytes[i]);
    return 0;
}

/* The tenant's tag that the blob is to have at its new place. */
static int new_tenant(const struct installkey *to, const struct installkey *from,
                      const char *tenant, struct head *h, struct err *e)
{
    unsigned char tag[16];
    if (tenant) {
        codec_tenant(from->names, tenant, tag);
        if (memcmp(tag, h->tenant, sizeof tag) != 0)
            return err_set(e, E_DENIED, "the session does not belong to the API key \"%s\"",
                           tenant);
        codec_tenant(to->names, tenant, h->tenant);
        return 0;
    }
    if (sodium_is_zero(h->tenant, sizeof h->tenant) ||
        memcmp(to->names, from->names, sizeof to->names) == 0)
        return 0;
    return err_set(e, E_CONFLICT, "the session belongs to an API key, whose name the new "
                   "installation must have: give it with --tenant");
}

static int seal_blob(unsigned char *blob, size_t n, const struct installkey *to,
                     const struct installkey *from, const char *tenant, struct err *e)
{
    struct format f = {0};
    struct head h;
    if (n < CODEC_HEAD)
        return err_set(e, E_FORMAT, "%zu bytes, a session has at least %d", n, CODEC_HEAD);
    memcpy(f.key, from->seal, sizeof f.key);
    int rc = codec_inspect(&f, blob, n, &h, e);
    if (!rc && h.kind != CODEC_EXPORT)
        rc = err_set(e, E_FORMAT, "it is of kind %d, not an exported session", (int)h.kind);
    for (int i = 0; i < PARTS && !rc; i++)
        rc = check_part(&h, i, blob, e);
    if (!rc)
        rc = new_tenant(to, from, tenant, &h, e);
    if (rc)
        return rc;
    codec_retag(blob, h.tenant);
    memcpy(f.key, to->seal, sizeof f.key);
    codec_sign(&f, blob);
    sodium_memzero(&f, sizeof f);
    return 0;
}

static int write_new(const char *path, const struct buf *b, struct err *e)
{
    const struct fsio *io = &fsio_real;
    int fd = io->create(NULL, path);
    if (fd == -EEXIST)
        return err_set(e, E_CONFLICT, "%s is there already, and is not written over", path);
    if (fd < 0)
        return fsio_failed(e, fd, "cannot make", path);
    int rc = fsio_write_all(io, fd, b->p, b->len);
    rc = rc ? rc : io->fsync(NULL, fd);
    int closed = io->close(NULL, fd);
    rc = rc ? rc : closed;
    if (rc)
        (void)io->unlink(NULL, path);
    return rc ? fsio_failed(e, rc, "cannot write", path) : 0;
}

int reseal_export(const char *from, const char *to, const struct key_files *keys,
                  const char *tenant, struct err *e)
{
    struct installkey key, old;
    struct buf b;
    if (!keys->key || !keys->old)
        return err_set(e, E_CONFLICT, "reseal needs state-key-old, which sealed the session, and "
                       "state-key, which is to");
    buf_init(&b, EXPORT_MAX);
    int rc = check_modes(keys, e);
    if (!rc)
        rc = installkey_read(&fsio_real, keys->key, &key, e);
    if (!rc)
        rc = installkey_read(&fsio_real, keys->old, &old, e);
    if (!rc)
        rc = file_read(from, &b, e);
    struct err why = {0};
    if (!rc && (rc = seal_blob((unsigned char *)b.p, b.len, &key, &old, tenant, &why)))
        err_set(e, rc, "%s: %s", from, why.text);
    if (!rc)
        rc = write_new(to, &b, e);
    sodium_memzero(&key, sizeof key);
    sodium_memzero(&old, sizeof old);
    buf_free(&b);
    return rc;
}
