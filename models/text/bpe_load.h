/* Reading byte-pair vocabularies: what the readers of the several files share. Thread: the loading
 * one. */
#ifndef RECURD_BPE_LOAD_H
#define RECURD_BPE_LOAD_H

#include <jansson.h>

#include "models/text/bpe.h"

/* ---- tokenizer.json: bpe_json.c and its components, bpe_components.c ---- */

struct bpe_load {
    struct tokenizer *t;
    struct bpe *b;
    const struct config *cfg;
    json_t *root;
    bool byte_level;  /* the vocabulary writes bytes as characters (step_char_of_byte) */
    bool marked;      /* the vocabulary writes spaces as U+2581 */
    struct err *e;
};

/* "" and dflt where the object has no text, no boolean of this name. */
const char *bpe_str(const json_t *o, const char *key);
bool bpe_flag(const json_t *o, const char *key, bool dflt);
int bpe_unsupported(const struct bpe_load *l, const char *what, const char *name);

/* One component, a list of them under the name `list`, or null: each is given to one(). */
int bpe_each(struct bpe_load *l, const json_t *o, const char *list,
             int (*one)(struct bpe_load *, const json_t *)) MUST_USE;
int bpe_normalizer(struct bpe_load *l, const json_t *o) MUST_USE;
int bpe_pre_tokenizer(struct bpe_load *l, const json_t *o) MUST_USE;
int bpe_decoder(struct bpe_load *l, const json_t *o) MUST_USE;

/* An empty byte-pair tokenizer in t, which owns it; NULL = no memory (recorded). */
struct bpe *bpe_new(struct tokenizer *t, struct err *e);

/* ---- vocabularies whose cuts have a name: gguf_vocab.c, bpe_merges.c ---- */

struct gguf_pre;
/* The tokenizer.json of these: {"text": id}, ["left right"], [added tokens], which stay the
 * caller's. NULL = no memory. */
json_t *bpe_named(json_t *words, json_t *merges, json_t *added,
                  const struct gguf_pre *pre) MUST_USE;
/* Builds t of it; root, NULL or not, is taken. */
int bpe_build_named(struct tokenizer *t, json_t *root, const struct gguf_pre *pre,
                    const struct config *cfg, struct err *e) MUST_USE;

/* ---- words by rank: bpe_tiktoken.c, bpe_tekken.c ---- */

/* Neighbours merge when together they are a word, the pair of the lowest id first. */
struct bpe_ranks {
    struct tokenizer *t;
    struct bpe *b;
    int64_t first;  /* id of rank 0 */
    struct err *e;
};
/* patterns: one cut after the other; n of them, NULL ends them earlier. */
int bpe_ranks_init(struct bpe_ranks *r, struct tokenizer *t, int64_t first,
                   const char *const *patterns, size_t n, struct err *e) MUST_USE;
/* A word in base64. E_FORMAT, E_CONFLICT: word or rank were there before. */
int bpe_ranks_add(struct bpe_ranks *r, int64_t rank, const char *base64, size_t n) MUST_USE;
/* After the last word. E_FORMAT where one of the 256 bytes is no word. */
int bpe_ranks_finish(struct bpe_ranks *r) MUST_USE;

#endif
