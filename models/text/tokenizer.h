/* Text <-> token ids.
 *
 * A vtable over SentencePiece (spm.c), byte-pair encoding (bpe.c), PLaMo's words with scores
 * (plamo.c) and the RWKV word list (rwkv_vocab.c); tokenizer_open.c has the table of the files they
 * are read from. Thread: any, after tokenizer_open; encoding keeps no state. */
#ifndef RECURD_TOKENIZER_H
#define RECURD_TOKENIZER_H

#include "base/err.h"
#include "base/limits.h"

/* Growing list of ids with a maximum. Owner: whoever declared it. */
struct ids {
    int32_t *p;
    size_t len, cap, max;
};
void ids_init(struct ids *v, size_t max);
void ids_free(struct ids *v);
int ids_add(struct ids *v, int32_t id) MUST_USE; /* E_RANGE past max, E_NOMEM */
int ids_add_all(struct ids *v, const int32_t *p, size_t n) MUST_USE;

struct tokenizer;

/* Opens the best tokenizer in dir that can be read, and logs which; *out = NULL, a warning and 0
 * when the directory has none. Of several files a bad one is a warning, and the next is read; the
 * error is the first one's, if all are bad. vocab = rows of the model's embedding: a vocabulary
 * with a larger id is refused, an added token with one is left out with a warning. */
int tokenizer_open(struct tokenizer **out, const char *dir, int32_t vocab,
                   struct err *e) MUST_USE;
void tokenizer_close(struct tokenizer *t);
/* The names of all files in dir that say which ids a text has, tokenizer_config.json apart; NULL
 * past the last. */
const char *tokenizer_file(size_t i);
/* The one of them that t was read from; NULL: none, as of a GGUF file. */
const char *tokenizer_source(const struct tokenizer *t);

enum tokenize_flags {
    TOKENIZE_BOS = 1,     /* put bos first, if the model's configuration adds one */
    TOKENIZE_SPECIAL = 2, /* text of special tokens ("<|end|>") becomes those tokens; without
                             this flag it never does, whatever the vocabulary says */
    TOKENIZE_CONTINUE = 4, /* the text goes on behind other tokens: no opening space */
};
/* Appends the ids of n bytes of valid UTF-8. E_RANGE past out->max. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, int flags,
                     struct ids *out, struct err *e) MUST_USE;

/* A text of mixed origin. Special tokens are found only where all their bytes are `trusted`; apart
 * from that the text is encoded as one, as if TOKENIZE_SPECIAL were given. spans cover it: each
 * reaches to its end. starts (may be NULL) gets for each id the byte where it begins: exact for
 * control tokens and for byte-level vocabularies, else within the text between two tokens. */
struct token_span {
    uint32_t end;
    bool trusted;
};
int tokenizer_encode_marked(const struct tokenizer *t, const char *text, size_t n,
                            const struct token_span *spans, size_t n_spans, struct ids *out,
                            struct ids *starts, struct err *e) MUST_USE;

/* The bytes that token id adds to a text in progress; not NUL-terminated, not always whole
 * UTF-8 characters. Special and unknown ids: *len = 0. Borrowed, lives as long as t. */
const char *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *len);
/* The same, but special tokens show as their text: for logprobs. */
const char *tokenizer_piece_shown(const struct tokenizer *t, int32_t id, size_t *len);

int32_t tokenizer_bos(const struct tokenizer *t);  /* -1 = none */
int32_t tokenizer_eos(const struct tokenizer *t);
bool tokenizer_adds_bos(const struct tokenizer *t);
int32_t tokenizer_find(const struct tokenizer *t, const char *special); /* id, or -1 */
int32_t tokenizer_size(const struct tokenizer *t); /* at most the rows of the embedding */
bool tokenizer_is_special(const struct tokenizer *t, int32_t id);

struct config;
/* The text of a special token in tokenizer_config.json and its like, written as such or as an
 * object with `content`. NULL: there is none. Borrowed from c; c may be NULL. */
const char *tokenizer_token_text(const struct config *c, const char *key);

#endif
