/* The vocabulary as a trie over the tokens' bytes, for masks: a walk visits every beginning that
 * some token has once, and leaves out what lies behind a byte that cannot follow.
 *
 * Slices: the tokens that are made of at most so many plain characters (as a JSON string holds
 * them unescaped) and nothing else. Where that many plain characters may follow whatever they
 * are, the slice is allowed as a whole, and the walk visits only what is in none: a tenth.
 *
 * A token without text (a special one) has a code in its place: four bytes that begin no UTF-8
 * and so occur in no text. A grammar that wants the token itself spells its code.
 *
 * Built once for a model; read-only afterwards: any thread. */
#ifndef RECURD_TOKEN_TRIE_H
#define RECURD_TOKEN_TRIE_H

#include "base/err.h"
#include "models/text/tokenizer.h"

#define SLICE_NONE 255 /* this token, or one behind this node, is in no slice */
#define SLICE_COUNT 5
#define TOKEN_CODE 4   /* bytes of a code */
extern const int32_t token_slice_chars[SLICE_COUNT]; /* ascending */

struct trie_node {
    uint32_t next;  /* the first node that is not behind this one */
    int32_t token;  /* the tokens that end here: the first in `same`; -1 = none */
    uint16_t depth; /* bytes to here, >= 1 */
    uint8_t byte;
    uint8_t slice;  /* the smallest that holds all tokens here and behind; or SLICE_NONE */
};

struct token_trie {
    int refs; /* atomic: who opened it, and every grammar */
    int32_t vocab;
    size_t words;            /* of a mask: 32 tokens each, token i is bit i % 32 of word i / 32 */
    uint32_t n_nodes;
    struct trie_node *nodes; /* depth first, in order of bytes */
    int32_t *same;           /* [vocab] the next token with the same bytes; -1 = no more */
    uint32_t *slices[SLICE_COUNT]; /* masks */
    const char **bytes;      /* [vocab] borrowed; n = 0: no text, only a code */
    uint32_t *lengths;
    const struct tokenizer *tok; /* borrowed; NULL = special tokens have no names */
    char *codes;             /* [vocab][TOKEN_CODE] */
};

/* One reference. piece: the bytes that token id adds to a text, none for special ones; they must
 * outlive the trie. */
int token_trie_new(struct token_trie **out, int32_t vocab,
                   const char *(*piece)(const void *arg, int32_t id, size_t *n), const void *arg,
                   struct err *e) MUST_USE;
void token_trie_ref(struct token_trie *t);
void token_trie_unref(struct token_trie *t); /* NULL allowed */
/* Of a tokenizer; vocab: rows of the model's embedding. */
int token_trie_of(struct token_trie **out, const struct tokenizer *tok, int32_t vocab,
                  struct err *e) MUST_USE;

static inline const char *token_code(const struct token_trie *t, int32_t id)
{
    return t->codes + (size_t)id * TOKEN_CODE;
}
/* The special token whose text this is; -1 = none: if it is a token at all, it has bytes. */
int32_t token_trie_special(const struct token_trie *t, const char *text);
/* The tokens that spell a text: its special token, or each as long as can be. Their number; 0: it
 * takes more than cap, or cannot be spelled. */
int32_t token_trie_spell(const struct token_trie *t, const char *text, int32_t *ids, int32_t cap);

/* Whether a code point stands for itself in a JSON string. */
static inline bool char_is_plain(int32_t c) { return c >= 0x20 && c != '"' && c != '\\'; }

#endif
