/* Constrained text: a definition becomes a grammar, a text in work follows it, and says which
 * tokens of the vocabulary may come next: exactly those whose bytes lead to the beginning of some
 * sentence. Special tokens are part of no constrained text but where a structure names them.
 *
 * With a trigger the text is free until the trigger's bytes are there (a thinking block's end, a
 * tool call's opening); the grammar begins behind it, after at most 4 characters of white space.
 *
 * Costs: compiling is linear in the definition. The mask of a position is found once (a fraction
 * of a millisecond at a vocabulary of 150,000) and copied afterwards.
 * Threads: any; a grammar has a lock of its own. */
#ifndef RECURD_GRAMMAR_H
#define RECURD_GRAMMAR_H

#include "models/text/constrain/token_trie.h"

enum grammar_kind {
    GRAMMAR_GBNF,   /* gbnf.h */
    GRAMMAR_REGEX,  /* regex.h; the whole text matches */
    GRAMMAR_SCHEMA, /* JSON Schema as JSON text; schema.h */
    GRAMMAR_OBJECT, /* any JSON object; no text */
    GRAMMAR_CHOICE, /* a JSON array of strings: the text is one of them */
    GRAMMAR_STRUCTURE, /* texts, schemas, tokens put together; structure.h */
};

struct grammar_source {
    enum grammar_kind kind;
    const char *text;
    size_t n;
    const char *trigger; /* NULL = the grammar starts at once; <= LIMIT_TRIGGER_BYTES */
    const char *then;    /* with a trigger: another that must come behind it; NULL = none */
    bool again;          /* with a trigger: behind the grammar's text, which must itself say where
                            it ends, all is free until the last trigger is there again */
    bool compact;        /* JSON without white space between its tokens */
};

struct grammar; /* refcounted */
struct match;   /* a text in work; a value: its owner's alone */

/* Takes a reference to the trie. E_FORMAT, E_RANGE, E_UNSUPPORTED … with a sentence that names the
 * keyword, rule or byte at fault. */
int grammar_new(struct grammar **out, const struct grammar_source *s,
                struct token_trie *trie, struct err *e) MUST_USE;
void grammar_ref(struct grammar *g);
void grammar_unref(struct grammar *g); /* NULL allowed */
size_t grammar_bytes(struct grammar *g);

/* NULL = no memory. A match keeps a reference to its grammar. */
struct match *match_new(struct grammar *g) MUST_USE;
struct match *match_clone(const struct match *m) MUST_USE;
void match_free(struct match *m); /* NULL allowed */

struct match_state {
    bool whole; /* the text so far is a sentence, or is not in the grammar yet: it may end */
    bool more;  /* some token may follow */
    bool free;  /* before the trigger: every token may come that does not break the grammar */
};
/* words: [trie->words] bit i % 32 of word i / 32 = token i may come next. E_RANGE: the grammar
 * costs too much to follow; E_FORMAT: the vocabulary has no token to go on with. */
int match_mask(struct match *m, uint32_t *words, struct match_state *out, struct err *e) MUST_USE;
/* The text goes on with this token. E_CONFLICT: it may not; m is then unchanged. Tokens without
 * bytes are possible where a structure names them, and before the trigger, where they change
 * nothing unless they are the trigger. */
int match_accept(struct match *m, int32_t token, struct err *e) MUST_USE;
/* … with these bytes. */
int match_accept_bytes(struct match *m, const char *p, size_t n, struct err *e) MUST_USE;
/* The grammar begins here and now, whatever was said of a trigger. */
void match_start(struct match *m);

#endif
