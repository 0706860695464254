/* Names and boxes: what of a state the shared store gets to see, which is nothing but lengths.
 *
 * All keys come from the install key. Names are keyed digests of tenant, model, layout, arithmetic
 * and the tokens; contents are encrypted and authenticated, each bound to its name. Whoever has
 * not the key can neither read, forge nor exchange anything. Pure; any thread. */
#ifndef RECURD_SHARED_SEAL_H
#define RECURD_SHARED_SEAL_H

#include "base/limits.h"
#include "statecache/store/codec.h"

#define SHARED_BLOCK 64  /* tokens between two links of the chain */
#define SHARED_NAME 16
#define SHARED_ID 32     /* of a chunk: a keyed digest of its contents */
#define SHARED_NONCE 24  /* of XChaCha20-Poly1305 … */
#define SHARED_TAG 16    /* … and what it adds */
#define SHARED_WHICH 16

/* which: says which key it is, and nothing else of it. */
struct seal_keys { unsigned char names[32], ids[32], boxes[32], which[SHARED_WHICH]; };

void seal_keys(struct seal_keys *k, const unsigned char install_key[CODEC_KEY]);

/* The links of a path: chain[i] stands for its first i * SHARED_BLOCK tokens, i <= n / BLOCK. */
struct link_name { unsigned char b[SHARED_NAME]; };
void seal_chain(const struct seal_keys *k, const struct format *f, const unsigned char tenant[16],
                const int32_t *tokens, int64_t n, struct link_name *chain);
/* The name of the state after pos tokens, and of the list of states within a block after link i. */
void seal_state_name(const struct seal_keys *k, const struct link_name *chain,
                     const int32_t *tokens, int64_t pos, struct link_name *out);
void seal_index_name(const struct seal_keys *k, const struct link_name *link,
                     struct link_name *out);
/* … and of the list of such blocks after a link. */
void seal_group_name(const struct seal_keys *k, const struct link_name *link,
                     struct link_name *out);

/* A chunk: out [n + SHARED_TAG]. The same contents have the same id and the same box. */
void seal_chunk(const struct seal_keys *k, const void *p, size_t n, unsigned char id[SHARED_ID],
                unsigned char *out);
/* out [n - SHARED_TAG]. False: not the contents of that id, or not sealed with our key. */
bool seal_open_chunk(const struct seal_keys *k, const unsigned char id[SHARED_ID],
                     const unsigned char *box, size_t n, void *out);

/* ---- the manifest: what a state consists of ---- */

#define MANIFEST_HEAD (24 + CODEC_HEAD)
#define MANIFEST_CHUNK MIB(1)    /* bytes of every chunk but the last */
#define MANIFEST_CHUNKS_MAX 8192 /* 8 GiB */
#define MANIFEST_BYTES(chunks) (MANIFEST_HEAD + (size_t)(chunks) * SHARED_ID)
#define MANIFEST_BOX(chunks) (SHARED_NONCE + MANIFEST_BYTES(chunks) + SHARED_TAG)

struct manifest {
    struct head head;    /* checked by codec_open: of our model, arithmetic and layout */
    int32_t n_chunks;
    bool packed;         /* chunks may be compressed: then they have fewer bytes than their share */
    uint64_t bytes;      /* of all chunks: the parts of head, end to end */
    unsigned char *ids;  /* [n_chunks][SHARED_ID], owned: manifest_free */
};

/* head: sealed (codec_seal). out [MANIFEST_BOX(n_chunks)]. */
void manifest_seal(const struct seal_keys *k, const struct link_name *name,
                   const unsigned char head[CODEC_HEAD], uint64_t bytes, int32_t n_chunks,
                   bool packed, const unsigned char *ids, unsigned char *out);
/* Opens the box of that name and checks all it says. E_DENIED: not sealed with our key or of
 * another name; E_FORMAT; as codec_open; E_NOMEM. */
int manifest_open(const struct seal_keys *k, const struct format *f, const struct link_name *name,
                  const unsigned char *box, size_t n, struct manifest *out,
                  struct err *e) MUST_USE;
/* The same of whatever model and arithmetic: of f only the keys are used, and the model's fields
 * are filled in (codec_inspect). */
int manifest_inspect(const struct seal_keys *k, struct format *f, const struct link_name *name,
                     const unsigned char *box, size_t n, struct manifest *out,
                     struct err *e) MUST_USE;
/* The same of what is in a box. */
int manifest_read(const struct format *f, const unsigned char *in, size_t n, struct manifest *out,
                  struct err *e) MUST_USE;
void manifest_free(struct manifest *m);
int32_t manifest_chunks(uint64_t bytes); /* that so many bytes are cut into */

#endif
