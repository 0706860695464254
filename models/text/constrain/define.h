/* From a definition of any kind to rules. Thread: any. */
#ifndef RECURD_DEFINE_H
#define RECURD_DEFINE_H

#include "models/text/constrain/automaton.h"
#include "models/text/constrain/grammar.h"

/* *root: the rule of the whole text (with the white space that may come behind a trigger). a's
 * trigger is set. E_RANGE above LIMIT_GRAMMAR_BYTES, and what the kinds' own headers say. */
int define(struct automaton *a, const struct grammar_source *s, const struct token_trie *trie,
           int32_t *root, struct err *e) MUST_USE;

#endif
