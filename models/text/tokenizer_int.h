/* Shared by tokenizer.c, vocab.c and the formats behind them (spm.c, bpe.c, rwkv_vocab.c) only. */
#ifndef RECURD_TOKENIZER_INT_H
#define RECURD_TOKENIZER_INT_H

#include "base/arena.h"
#include "base/buf.h"
#include "models/files/config.h"
#include "models/text/tokenizer.h"
#include "models/text/trie.h"

enum token_flags {
    TOKEN_KNOWN = 1,   /* the vocabulary has it */
    TOKEN_SPECIAL = 2, /* adds nothing to a text */
};

/* One row of the vocabulary. */
struct token {
    const char *text; /* the bytes it stands for; a special token's name */
    uint32_t n;
    uint32_t flags;
};

/* A token that is searched in the text before the format sees what lies between. */
struct added {
    const char *text;
    size_t n;
    int32_t id;
    bool special;    /* only searched where TOKENIZE_SPECIAL allows */
    bool lstrip, rstrip; /* swallows the white space before, after */
    bool normalized; /* searched in the normalised text */
};

/* What a format does; impl is its own. Any thread may call encode. */
struct tokenizer_format {
    /* Ids of ordinary text: normalised if the format has a normaliser. start: nothing was
     * encoded before it, so the format may put its opening space. */
    int (*encode)(const void *impl, const char *text, size_t n, bool start, struct ids *out,
                  struct err *e);
    /* NULL: the text is used as it is. */
    int (*normalize)(const void *impl, const char *text, size_t n, bool start, struct buf *out,
                     struct err *e);
    /* After every added token is known: from now on encode must not make a special one. NULL:
     * it cannot anyhow. */
    void (*seal)(void *impl, const struct tokenizer *t);
    void (*close)(void *impl);
    bool keeps_words; /* a word of the vocabulary stays text whatever the configuration says */
};

struct tokenizer {
    const struct tokenizer_format *format;
    void *impl;
    struct arena arena;    /* texts of tokens and added tokens */
    struct token *tokens;  /* by id */
    int32_t n, cap;
    struct added *added;
    size_t n_added, cap_added;
    struct trie search[2][2]; /* [normalized][special too]: text -> index into added */
    int32_t bos, eos;
    bool adds_bos, every_start; /* every_start: each piece between added tokens starts a text */
    char *path;            /* of the vocabulary file, for messages */
};

/* ---- for the formats, while loading ---- */

/* Makes id stand for these n bytes. E_RANGE beyond LIMIT_VOCAB or LIMIT_TOKEN_BYTES. */
int tokenizer_set(struct tokenizer *t, int64_t id, const char *text, size_t n, uint32_t flags,
                  struct err *e) MUST_USE;
/* Registers a token to be searched; its text is copied, its id set (tokenizer_set). */
int tokenizer_add(struct tokenizer *t, const struct added *a, struct err *e) MUST_USE;

/* The text of a special token, which is written as such, or as an object with `content`. NULL:
 * there is none. */
const char *tokenizer_token_text(const struct config *c, const char *key);
/* Whether tokenizer_config.json names this text as bos, eos, unk or pad: special, then. */
bool tokenizer_named(const struct config *cfg, const char *text);

/* ---- for marked.c ---- */

/* Extends a match of t->added[found] over the white space it swallows, within [at, n). */
void tokenizer_widen(const struct tokenizer *t, int32_t found, const char *text, size_t at,
                     size_t n, size_t *begin, size_t *end);
/* Ids of text that has no unnormalised added tokens left in it. */
int tokenizer_encode_between(const struct tokenizer *t, const char *text, size_t n, int flags,
                             struct ids *out, struct err *e) MUST_USE;

/* Each fills t from its file. cfg: tokenizer_config.json, or NULL. */
int spm_open(struct tokenizer *t, const char *path, const struct config *cfg,
             struct err *e) MUST_USE;
int bpe_open(struct tokenizer *t, const char *path, const struct config *cfg,
             struct err *e) MUST_USE;
int rwkv_vocab_open(struct tokenizer *t, const char *path, struct err *e) MUST_USE;

/* The same from what lies in memory, whoever wrote it: the object of a tokenizer.json, a
 * serialised SentencePiece model (changed), the lines of a word list. */
struct json_t;
int bpe_build(struct tokenizer *t, struct json_t *root, const struct config *cfg,
              struct err *e) MUST_USE;
int spm_build(struct tokenizer *t, struct buf *model, const struct config *cfg,
              struct err *e) MUST_USE;
int rwkv_vocab_build(struct tokenizer *t, const char *text, size_t n, struct err *e) MUST_USE;

/* A tokenizer whose vocabulary fill() reads. cfg: what tokenizer_config.json says. path: of the
 * file, for messages. */
struct tokenizer_parts {
    const char *path;
    const struct config *cfg;
    int (*fill)(struct tokenizer *t, const struct config *cfg, const void *arg, struct err *e);
    const void *arg;
    int32_t vocab; /* rows of the model's embedding */
};
int tokenizer_assemble(struct tokenizer **out, const struct tokenizer_parts *p,
                       struct err *e) MUST_USE;

#endif
