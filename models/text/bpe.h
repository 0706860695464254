/* Byte-pair encoding: a vocabulary and ranked merges (bpe.c), read from tokenizer.json
 * (bpe_json.c). Not for others: they use tokenizer.h. Any thread, once loaded. */
#ifndef RECURD_BPE_H
#define RECURD_BPE_H

#include "models/text/bpe_steps.h"
#include "models/text/tokenizer_int.h"

struct merge {
    uint32_t left, right; /* ids */
    uint32_t rank, id;    /* id of the pair; UINT32_MAX = free slot */
};

struct bpe {
    struct trie vocab;     /* text as the file writes it -> id */
    struct merge *merges;  /* open addressing; a power of two, at most half full */
    size_t cap_merges;
    const struct token *tokens; /* of the tokenizer: for their flags */
    uint64_t seed;         /* of the hash: a crafted file must not know it */
    int32_t unk;           /* -1: unknown characters vanish */
    bool byte_fallback, fuse_unk, ignore_merges;
    int32_t byte_ids[256]; /* of <0x00> … <0xFF> with byte_fallback; -1 = absent */
    struct steps normalizer, splitter;
    const struct gguf_pre *pre; /* how texts are cut, where that has a name; or NULL */
};

/* The implementation of t; NULL: it is none of byte pairs. */
const struct bpe *bpe_of(const struct tokenizer *t);

/* Room for n merges; then each in turn. A later merge of the same pair wins. */
int bpe_merges_init(struct bpe *b, size_t n) MUST_USE;
const struct merge *bpe_merge_get(const struct bpe *b, uint32_t left, uint32_t right); /* or NULL */
void bpe_merge_add(struct bpe *b, uint32_t left, uint32_t right, uint32_t rank, uint32_t id);

/* No word may become a special token from now on: merges that end in one are dropped. */
void bpe_seal(struct bpe *b, const struct tokenizer *t);

/* Ids of normalised text: split into words, each merged. */
int bpe_encode_text(const struct bpe *b, const char *text, size_t n, bool start,
                    struct ids *out, struct err *e) MUST_USE;
void bpe_free(struct bpe *b);

#endif
