/* The file format of states and session records; README.md shows it byte by byte.
 *
 * A head of fixed size (what it is, whose, for which model, and a digest of every part) sealed
 * with HMAC-SHA-256 under the install key, then the parts end to end. The head alone proves that
 * a file is ours; each part is proved by its digest when it is read. Pure: memory to memory. */
#ifndef RECURD_CODEC_H
#define RECURD_CODEC_H

#include "base/err.h"

#define CODEC_KEY 32
#define CODEC_DIGEST 32
#define CODEC_HEAD 720 /* 240 fixed + 7 rows of 64 + 32 of HMAC */
#define CODEC_VERSION 4
#define CODEC_VERSION_PACKED 5 /* of a state whose parts lie in compressed blocks: packed.h */
#define CODEC_VERSION_READ 3   /* and later; before 4 the digests were others, see digest.h */
#define CODEC_TABLE 240      /* where a head has its rows, of 64 bytes */
#define CODEC_TAG 16
#define CODEC_NUMERICS 64 /* bytes of the arithmetic's name in a head, zeros behind it */
#define CODEC_POSITION_MAX (INT64_C(1) << 30) /* 4 GiB of token ids */

enum codec_kind {
    CODEC_STATE = 1, CODEC_SESSION = 2, CODEC_EXPORT = 3,
    CODEC_PATH = 4, /* one stretch of a path: token ids, and the name of the stretch before */
    CODEC_SHARED = 5 /* a state with all tokens of its path, for the shared store */
};

enum codec_part {
    PART_TOKENS,  /* int32 ids: a stretch; a state's beyond its last whole one; others': all */
    PART_STATE,   /* one slot: float32, and float16 where the plan has such sections */
    PART_PAGES,   /* float32, all KV pages of the path, the last one zero beyond the position */
    PART_LOGITS,  /* float32 [vocab] or absent */
    PART_SESSION, /* struct fields of a session (session.c) */
    PART_TURNS,   /* int64 position after each turn */
    PART_ANSWER,  /* what a repeated request is given */
    PARTS
};

/* What files must agree with. Owner: the cache; read-only. */
struct format {
    unsigned char key[CODEC_KEY];              /* seals; installkey.h */
    unsigned char names[CODEC_KEY];            /* names files and tenants: of every key the same */
    unsigned char old[CODEC_KEY];              /* its seals are accepted, if … */
    bool two;                                  /* … the key is being changed */
    unsigned char fingerprint[32], schema[32]; /* of the model; of the layout of its state */
    char numerics[CODEC_NUMERICS];             /* codec_numerics */
    const struct plan *plan;         /* its sections say which numbers are float16; NULL: none */
    uint64_t slot_bytes, page_bytes; /* page_bytes 0: no PAGED section */
    bool any_state;                  /* states may have another size: nobody reads them */
    int32_t page_tokens, vocab;
    int64_t stretch; /* ids of a whole stretch */
};

struct head {
    enum codec_kind kind;
    unsigned version;
    bool old;                         /* sealed with the key of before */
    bool packed;                      /* of version CODEC_VERSION_PACKED, written or read */
    unsigned char tenant[16], id[16]; /* id: the name of a state or stretch, a session's id */
    unsigned char path[16];           /* name of the stretch that ends before tokens; or zero */
    int64_t position;
    char numerics[CODEC_NUMERICS];
    bool same_model;                  /* with E_CONFLICT: only the arithmetic is another */
    uint64_t generation, created_s;
    uint32_t point; /* enum point of a state */
    uint64_t bytes[PARTS], offset[PARTS];
    /* Of the file. codec_seal and codec_open: as if it were not packed; the store: as it is. */
    uint64_t file_bytes;
    uint64_t stored[PARTS]; /* bytes that each part takes in the file */
    unsigned char digest[PARTS][CODEC_DIGEST];
};

struct piece {
    const void *p;
    size_t n;
};
/* A part may lie in pieces (KV pages do). */
struct part {
    const struct piece *piece;
    size_t n_pieces;
};

/* The arithmetic's name as heads have it: the text itself, or if it is too long its beginning and
 * a digest of all of it. */
void codec_numerics(const char *text, char out[CODEC_NUMERICS]);

struct plan;
/* Fills schema, sizes and vocab from the plan, which outlives f. The schema is that of the model:
 * the same for states in float16, which differ by their arithmetic's name. */
void codec_layout(struct format *f, const struct plan *plan, int64_t stretch);

/* The name under which the stretch or the state is stored that has these tokens after `path`, the
 * name of the stretch before them or zero: one value per tenant and path. */
void codec_name(const struct format *f, const unsigned char tenant[16],
                const unsigned char path[16], const int32_t *tokens, int64_t n,
                unsigned char name[16]);

/* Completes h (sizes, offsets, digests) and writes the sealed head; h->packed is given. */
void codec_seal(const struct format *f, struct head *h, const struct part part[PARTS],
                unsigned char out[CODEC_HEAD]);
/* Seals a head anew: one that was changed, or is to have another key's seal. */
void codec_sign(const struct format *f, unsigned char head[CODEC_HEAD]);

/* The digests of the parts from a sealed head of our own. */
void codec_digests(const unsigned char head[CODEC_HEAD], struct head *h);
/* What proves that p[0, n), what = so manieth stored thing of h's file, was written by us, before
 * anything in it is believed: keyed, and bound to the digests of h's parts. */
void codec_tag(const struct format *f, const struct head *h, uint64_t what, const void *p, size_t n,
               unsigned char out[CODEC_TAG]);

/* Checks everything a head says, for a file of file_bytes (of a packed one only what it says of
 * itself: packed_open does the rest): E_FORMAT (damaged or torn), E_DENIED
 * (not sealed with our key), E_UNSUPPORTED (newer version), E_CONFLICT (another model or other
 * arithmetic, or what an older version wrote; tenant, id, created_s, numerics and same_model are
 * filled in). */
int codec_open(const struct format *f, const unsigned char in[CODEC_HEAD], uint64_t file_bytes,
               struct head *h, struct err *e) MUST_USE;
/* The same of whatever model and arithmetic the file is: only f->key is given, the model's fields
 * are filled in from the head. E_CONFLICT: of an older version. */
int codec_inspect(struct format *f, const unsigned char in[CODEC_HEAD], uint64_t file_bytes,
                  struct head *h, struct err *e) MUST_USE;
/* Whether p is part i of h; its contents too: ids in range, floats finite. */
int codec_check(const struct format *f, const struct head *h, enum codec_part i,
                const struct part *p, struct err *e) MUST_USE;
const char *codec_part_name(enum codec_part i);

/* Another tenant's, before it is sealed anew. */
void codec_retag(unsigned char head[CODEC_HEAD], const unsigned char tenant[16]);

/* Of an API key's id, by the half of the install key that names: the same after a restart and with
 * a changed key, and nothing without it. */
void codec_tenant(const unsigned char key[CODEC_KEY], const char *key_id, unsigned char out[16]);

#endif
