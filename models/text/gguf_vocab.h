/* The tokenizer in the metadata of a GGUF file. */
#ifndef RECURD_GGUF_VOCAB_H
#define RECURD_GGUF_VOCAB_H

#include "models/files/config.h"
#include "models/files/gguf.h"
#include "models/text/tokenizer.h"

/* As tokenizer_open: *out = NULL (and 0) when the file has none. Byte-pair vocabularies ("gpt2")
 * with a pre-tokenizer by name, SentencePiece ("llama"), RWKV's words ("rwkv") and PLaMo's
 * ("plamo2"). */
int tokenizer_open_gguf(struct tokenizer **out, const struct gguf *g, int32_t vocab,
                        struct err *e) MUST_USE;

/* What a tokenizer_config.json would say: names of special tokens, the chat template. *out = NULL
 * (and 0) when the file has no tokenizer. The caller frees it. */
int gguf_tokenizer_config(struct config **out, const struct gguf *g, struct err *e) MUST_USE;

/* The file that a directory would have instead, as tokenizer_open reads it: its name, and its bytes
 * in out, which may hold LIMIT_TOKENIZER_BYTES. *name = NULL (and 0) when there is none. e is not
 * NULL. */
struct buf;
int gguf_tokenizer_file(const char **name, struct buf *out, const struct gguf *g,
                        struct err *e) MUST_USE;

/* How texts are cut before merging, by the name files give it (gguf_pre.c). */
struct gguf_pre {
    const char *names;       /* "a b c" */
    const char *patterns[3]; /* one cut after the other */
    bool ignore_merges, adds_bos, nfc;
};
const struct gguf_pre *gguf_pre_find(struct gguf_string name); /* NULL = not known */
/* The first of these cuts, n or fewer where NULL ends them; NULL = there is no name for them. */
const struct gguf_pre *gguf_pre_like(const char *const *patterns, size_t n, bool ignore_merges,
                                     bool nfc);

#endif
