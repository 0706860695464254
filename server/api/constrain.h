/* Constrained answers: from a definition to what a scheduler's request carries. Compiled grammars
 * are kept, the least recently used goes (LIMIT_GRAMMAR_CACHE bytes), so that a client which sends
 * its schema with every request pays for it once. Thread: any. */
#ifndef RECURD_CONSTRAIN_H
#define RECURD_CONSTRAIN_H

#include "models/text/constrain/grammar.h"
#include "scheduler/constrain.h"
#include "scheduler/served.h"

struct constrainer;

/* served outlives it. The vocabulary is prepared when it is first needed. */
int constrainer_open(struct constrainer **out, const struct served *s, struct err *e) MUST_USE;
void constrainer_close(struct constrainer *c); /* NULL allowed; grammars in use live on */

/* The grammar of a definition, with a reference for the caller (grammar_unref). field: the
 * request's field that an error names, a literal. With s->trigger the text is free until the
 * trigger is there: the end of a thinking block, the opening of a tool call. */
int constrainer_get(struct constrainer *c, const struct grammar_source *s, const char *field,
                    struct grammar **out, struct err *e) MUST_USE;
/* The tokens that spell a text (token_trie_spell); *n = 0: they cannot. */
int constrainer_spell(struct constrainer *c, const char *text, const char *field, int32_t *ids,
                      int32_t cap, int32_t *n, struct err *e) MUST_USE;

/* A text that follows the grammar from its beginning; the request owns it. NULL = no memory. */
struct constraint *constraint_new(struct grammar *g) MUST_USE;

/* compile_ns: spent on all definitions, refused ones too. */
struct constrainer_stats { uint64_t compiled, reused, refused, bytes, compile_ns; };
void constrainer_stats(struct constrainer *c, struct constrainer_stats *out);

#endif
