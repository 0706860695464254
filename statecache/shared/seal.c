/* Keyed digests and boxes of the shared store (libsodium: BLAKE2b, XChaCha20-Poly1305). */
#include "statecache/shared/seal.h"

#include <sodium.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "statecache/store/blake3.h"
#include "statecache/store/compress.h"

#define MANIFEST_VERSION 1
#define MANIFEST_PACKED 2 /* some chunks are compressed */

static const char magic[8] = {'R', 'E', 'C', 'U', 'R', 'D', 'S', 'H'};
enum { /* offsets in a manifest */
    AT_MAGIC = 0, AT_VERSION = 8, AT_ZERO = 10, AT_CHUNKS = 12, AT_BYTES = 16, AT_HEAD = 24
};
_Static_assert(AT_HEAD + CODEC_HEAD == MANIFEST_HEAD, "the manifest's layout");
_Static_assert(SHARED_NONCE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "a nonce's length");
_Static_assert(SHARED_TAG == crypto_aead_xchacha20poly1305_ietf_ABYTES, "a tag's length");

void seal_keys(struct seal_keys *k, const unsigned char install_key[CODEC_KEY])
{
    static const char context[crypto_kdf_CONTEXTBYTES] = {'r', 'e', 'c', 'u', 'r', 'd', 'S', 'H'};
    _Static_assert(CODEC_KEY == crypto_kdf_KEYBYTES, "the install key's length");
    crypto_kdf_derive_from_key(k->names, sizeof(k->names), 1, context, install_key);
    crypto_kdf_derive_from_key(k->ids, sizeof(k->ids), 2, context, install_key);
    crypto_kdf_derive_from_key(k->boxes, sizeof(k->boxes), 3, context, install_key);
    crypto_kdf_derive_from_key(k->which, sizeof(k->which), 4, context, install_key);
}

/* ---- names -------------------------------------------------------------------------------- */

/* One name of another name and some tokens; `what` keeps the kinds of names apart. */
static void name_of(const struct seal_keys *k, char what, const struct link_name *from,
                    const int32_t *tokens, int64_t n, struct link_name *out)
{
    crypto_generichash_state s;
    crypto_generichash_init(&s, k->names, sizeof(k->names), sizeof(out->b));
    crypto_generichash_update(&s, (const unsigned char *)&what, 1);
    crypto_generichash_update(&s, from->b, sizeof(from->b));
    if (n > 0)
        crypto_generichash_update(&s, (const unsigned char *)tokens, (size_t)n * sizeof(*tokens));
    crypto_generichash_final(&s, out->b, sizeof(out->b));
}

void seal_chain(const struct seal_keys *k, const struct format *f, const unsigned char tenant[16],
                const int32_t *tokens, int64_t n, struct link_name *chain)
{
    crypto_generichash_state s;
    crypto_generichash_init(&s, k->names, sizeof(k->names), sizeof(chain->b));
    crypto_generichash_update(&s, (const unsigned char *)"0", 1);
    crypto_generichash_update(&s, tenant, 16);
    crypto_generichash_update(&s, f->fingerprint, sizeof(f->fingerprint));
    crypto_generichash_update(&s, f->schema, sizeof(f->schema));
    crypto_generichash_update(&s, (const unsigned char *)f->numerics, sizeof(f->numerics));
    crypto_generichash_final(&s, chain->b, sizeof(chain->b));
    for (int64_t i = 0; i < n / SHARED_BLOCK; i++)
        name_of(k, 'c', &chain[i], tokens + i * SHARED_BLOCK, SHARED_BLOCK, &chain[i + 1]);
}

void seal_state_name(const struct seal_keys *k, const struct link_name *chain,
                     const int32_t *tokens, int64_t pos, struct link_name *out)
{
    int64_t block = pos / SHARED_BLOCK;
    name_of(k, 's', &chain[block], tokens + block * SHARED_BLOCK, pos % SHARED_BLOCK, out);
}

void seal_index_name(const struct seal_keys *k, const struct link_name *link,
                     struct link_name *out)
{
    name_of(k, 'i', link, NULL, 0, out);
}

void seal_group_name(const struct seal_keys *k, const struct link_name *link,
                     struct link_name *out)
{
    name_of(k, 'g', link, NULL, 0, out);
}

/* ---- boxes -------------------------------------------------------------------------------- */

/* The id is a keyed digest of the contents, and the nonce is its beginning: one nonce is never
 * used for two contents, and what two replicas write of one state is the same. */
void seal_chunk(const struct seal_keys *k, const void *p, size_t n, unsigned char id[SHARED_ID],
                unsigned char *out)
{
    struct blake3 b;
    unsigned char digest[BLAKE3_OUT];
    blake3_init(&b, NULL);
    blake3_update(&b, p, n);
    blake3_final(&b, digest);
    crypto_generichash(id, SHARED_ID, digest, sizeof(digest), k->ids, sizeof(k->ids));
    crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, p, n, id, SHARED_ID, NULL, id, k->boxes);
}

bool seal_open_chunk(const struct seal_keys *k, const unsigned char id[SHARED_ID],
                     const unsigned char *box, size_t n, void *out)
{
    return n >= SHARED_TAG && crypto_aead_xchacha20poly1305_ietf_decrypt(
                                  out, NULL, NULL, box, n, id, SHARED_ID, id, k->boxes) == 0;
}

/* ---- manifests ---------------------------------------------------------------------------- */

int32_t manifest_chunks(uint64_t bytes)
{
    uint64_t n = bytes / MANIFEST_CHUNK + (bytes % MANIFEST_CHUNK != 0);
    return (int32_t)MIN(n, (uint64_t)INT32_MAX);
}

void manifest_seal(const struct seal_keys *k, const struct link_name *name,
                   const unsigned char head[CODEC_HEAD], uint64_t bytes, int32_t n_chunks,
                   bool packed, const unsigned char *ids, unsigned char *out)
{
    unsigned char *in = out + SHARED_NONCE; /* sealed where it lies */
    size_t n = MANIFEST_BYTES(n_chunks);
    memset(in, 0, MANIFEST_HEAD);
    memcpy(in + AT_MAGIC, magic, sizeof(magic));
    bytes_put(in + AT_VERSION, packed ? MANIFEST_PACKED : MANIFEST_VERSION, 2);
    bytes_put(in + AT_CHUNKS, (uint64_t)n_chunks, 4);
    bytes_put(in + AT_BYTES, bytes, 8);
    memcpy(in + AT_HEAD, head, CODEC_HEAD);
    memcpy(in + MANIFEST_HEAD, ids, (size_t)n_chunks * SHARED_ID);
    randombytes_buf(out, SHARED_NONCE);
    crypto_aead_xchacha20poly1305_ietf_encrypt(in, NULL, in, n, name->b, sizeof(name->b), NULL,
                                               out, k->boxes);
}

/* any: of whatever model; then it is filled in. */
static int read_plain(struct format *f, bool any, const unsigned char *in, size_t n,
                      struct manifest *out, struct err *e)
{
    memset(out, 0, sizeof(*out));
    if (n < MANIFEST_HEAD || memcmp(in + AT_MAGIC, magic, sizeof(magic)) != 0)
        return err_set(e, E_FORMAT, "a manifest of %zu bytes is none of ours", n);
    unsigned version = (unsigned)bytes_get(in + AT_VERSION, 2);
    if (version < MANIFEST_VERSION || version > MANIFEST_PACKED)
        return err_set(e, E_UNSUPPORTED, "a manifest of version %u, this build reads %d and %d",
                       version, MANIFEST_VERSION, MANIFEST_PACKED);
    if (version == MANIFEST_PACKED && !compress_available())
        return err_set(e, E_UNSUPPORTED, "a state compressed by zstd, and this build has no "
                       "libzstd");
    uint64_t chunks = bytes_get(in + AT_CHUNKS, 4), bytes = bytes_get(in + AT_BYTES, 8);
    if (bytes_get(in + AT_ZERO, 2) || chunks == 0 || chunks > MANIFEST_CHUNKS_MAX ||
        bytes > chunks * MANIFEST_CHUNK || (uint64_t)manifest_chunks(bytes) != chunks ||
        n != MANIFEST_BYTES(chunks))
        return err_set(e, E_FORMAT, "a manifest of %zu bytes names %llu chunks of %llu bytes", n,
                       (unsigned long long)chunks, (unsigned long long)bytes);
    int rc = any ? codec_inspect(f, in + AT_HEAD, CODEC_HEAD + bytes, &out->head, e)
                 : codec_open(f, in + AT_HEAD, CODEC_HEAD + bytes, &out->head, e);
    if (!rc && out->head.kind != CODEC_SHARED)
        rc = err_set(e, E_FORMAT, "a manifest of kind %d, not of a shared state",
                     (int)out->head.kind);
    if (rc)
        return rc;
    out->ids = mem_array((size_t)chunks, SHARED_ID);
    if (!out->ids)
        return err_set(e, E_NOMEM, "no memory for %llu ids", (unsigned long long)chunks);
    memcpy(out->ids, in + MANIFEST_HEAD, (size_t)chunks * SHARED_ID);
    out->n_chunks = (int32_t)chunks;
    out->bytes = bytes;
    out->packed = version == MANIFEST_PACKED;
    return 0;
}

int manifest_read(const struct format *f, const unsigned char *in, size_t n, struct manifest *out,
                  struct err *e)
{
    struct format own = *f;
    return read_plain(&own, false, in, n, out, e);
}

static int unseal(const struct seal_keys *k, struct format *f, bool any,
                  const struct link_name *name, const unsigned char *box, size_t n,
                  struct manifest *out, struct err *e)
{
    memset(out, 0, sizeof(*out));
    if (n < MANIFEST_BOX(1) || n > MANIFEST_BOX(MANIFEST_CHUNKS_MAX))
        return err_set(e, E_FORMAT, "a manifest in %zu bytes, %zu to %zu are possible", n,
                       MANIFEST_BOX(1), MANIFEST_BOX(MANIFEST_CHUNKS_MAX));
    size_t inside = n - SHARED_NONCE - SHARED_TAG;
    unsigned char *in = mem_array(1, inside);
    if (!in)
        return err_set(e, E_NOMEM, "no memory for a manifest of %zu bytes", inside);
    int rc = 0;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(in, NULL, NULL, box + SHARED_NONCE,
                                                   n - SHARED_NONCE, name->b, sizeof(name->b), box,
                                                   k->boxes) != 0)
        rc = err_set(e, E_DENIED, "a manifest's seal does not match: altered, or of another key");
    if (!rc)
        rc = read_plain(f, any, in, inside, out, e);
    mem_free(in);
    return rc;
}

int manifest_open(const struct seal_keys *k, const struct format *f, const struct link_name *name,
                  const unsigned char *box, size_t n, struct manifest *out, struct err *e)
{
    struct format own = *f;
    return unseal(k, &own, false, name, box, n, out, e);
}

int manifest_inspect(const struct seal_keys *k, struct format *f, const struct link_name *name,
                     const unsigned char *box, size_t n, struct manifest *out, struct err *e)
{
    return unseal(k, f, true, name, box, n, out, e);
}

void manifest_free(struct manifest *m)
{
    mem_free(m->ids);
    m->ids = NULL;
}
