/* Shared by tokenizer.c, vocab.c and the formats behind them (tokenizer_open.c names them) only. */
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
    uint16_t n, flags;
    uint32_t added;   /* its place in `added` + 1; 0: it is not searched */
};

/* A token that is searched in the text before the format sees what lies between. */
struct added {
    const char *text;
    size_t n;
    int32_t id;
    bool special;    /* only where TOKENIZE_SPECIAL allows; elsewhere its text stays text */
    bool lstrip, rstrip; /* swallows the white space before, after */
    bool normalized; /* its normalised text is searched in the normalised text */
    bool single_word; /* only where no letter, mark or digit touches it */
    bool extra;      /* left out where the model has no row for it; unset by tokenizer_add where
                        the vocabulary has the id */
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
    struct trie search[2]; /* [normalized]: text as it is searched -> index into added */
    struct trie turned;    /* special ones that are searched normalised, as they are written */
    struct trie names;     /* all, as they are written; empty until added_index */
    int32_t bos, eos;
    bool adds_bos, every_start; /* every_start: each piece between added tokens starts a text */
    char *path;            /* of the vocabulary file, for messages */
    const char *file;      /* its name in the directory; NULL: it came from elsewhere */
};

/* ---- for the formats, while loading ---- */

/* Makes id stand for these n bytes. E_RANGE beyond LIMIT_VOCAB or LIMIT_TOKEN_BYTES. */
int tokenizer_set(struct tokenizer *t, int64_t id, const char *text, size_t n, uint32_t flags,
                  struct err *e) MUST_USE;
/* Registers a token to be searched, or replaces what was said of its id; its text is copied, its
 * id set (tokenizer_set). */
int tokenizer_add(struct tokenizer *t, const struct added *a, struct err *e) MUST_USE;

/* Whether tokenizer_config.json names this text as bos, eos, unk or pad: special, then. */
bool tokenizer_named(const struct config *cfg, const char *text);

/* ---- for marked.c ---- */

/* Ids of text that has no unnormalised added tokens left in it. */
int tokenizer_encode_between(const struct tokenizer *t, const char *text, size_t n, int flags,
                             struct ids *out, struct err *e) MUST_USE;

/* Each fills t from its file. cfg: tokenizer_config.json. */
int model_file_open(struct tokenizer *t, const char *path, const struct config *cfg,
                    struct err *e) MUST_USE; /* tokenizer.model: SentencePiece, or ranks */
int bpe_open(struct tokenizer *t, const char *path, const struct config *cfg,
             struct err *e) MUST_USE;
int tiktoken_open(struct tokenizer *t, const char *path, const struct config *cfg,
                  struct err *e) MUST_USE;
int tekken_open(struct tokenizer *t, const char *path, const struct config *cfg,
                struct err *e) MUST_USE;
int merges_open(struct tokenizer *t, const char *path, const struct config *cfg,
                struct err *e) MUST_USE; /* path: of vocab.json */
int plamo_open(struct tokenizer *t, const char *path, const struct config *cfg,
               struct err *e) MUST_USE;
int rwkv_vocab_open(struct tokenizer *t, const char *path, const struct config *cfg,
                    struct err *e) MUST_USE;

/* The same from what lies in memory, whoever wrote it: the object of a tokenizer.json, a
 * serialised SentencePiece model (changed), the lines of a word list, of a tokenizer.jsonl. */
struct json_t;
int bpe_build(struct tokenizer *t, struct json_t *root, const struct config *cfg,
              struct err *e) MUST_USE;
int spm_build(struct tokenizer *t, struct buf *model, const struct config *cfg,
              struct err *e) MUST_USE;
int tiktoken_build(struct tokenizer *t, const char *text, size_t n, const struct config *cfg,
                   struct err *e) MUST_USE; /* the lines of a tiktoken.model */
bool tiktoken_looks_so(const char *text, size_t n);
int rwkv_vocab_build(struct tokenizer *t, const char *text, size_t n, struct err *e) MUST_USE;
int plamo_build(struct tokenizer *t, const char *text, size_t n, struct err *e) MUST_USE;

/* A tokenizer whose vocabulary fill() reads. cfg: what tokenizer_config.json says. path: of the
 * file, for messages. */
struct tokenizer_parts {
    const char *path;
    const char *dir; /* that may have an added_tokens.json; or NULL */
    const struct config *cfg;
    int (*fill)(struct tokenizer *t, const struct config *cfg, const void *arg, struct err *e);
    const void *arg;
    int32_t vocab; /* rows of the model's embedding */
};
int tokenizer_assemble(struct tokenizer **out, const struct tokenizer_parts *p,
                       struct err *e) MUST_USE;

#endif
