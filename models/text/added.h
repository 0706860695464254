/* Tokens that are searched in text before the format sees what lies between. For tokenizer.c and
 * marked.c. Any thread, once loaded. */
#ifndef RECURD_ADDED_H
#define RECURD_ADDED_H

#include "models/text/tokenizer_int.h"

/* A search through text[0, n), left to right, of the longest token at each place: as the reference
 * searches. */
struct added_search {
    const struct tokenizer *t;
    const struct trie *tokens; /* text -> index into t->added */
    const char *text;
    size_t n;
    /* Whether a token may stand on text[begin, end); one that may not is text, as a whole. NULL:
     * any may. */
    bool (*may)(const void *arg, const struct added *a, size_t begin, size_t end);
    const void *arg;
    size_t at;    /* where the search goes on */
    size_t done;  /* what lies before belongs to a token, or to the text before one */
    size_t match; /* where the token found last begins, without white space */
    size_t run_from, run_to; /* white space seen behind a token */
};

/* The next token; NULL = none. *begin and *end: with the white space it swallows; text from the
 * `done` before the call to *begin lies between. *begin may lie before that: then nothing does. */
const struct added *added_next(struct added_search *s, size_t *begin, size_t *end);

/* Builds the tries, once all tokens are there; t->names last. E_NOMEM, or what the format's
 * normaliser says. */
int added_index(struct tokenizer *t, struct err *e) MUST_USE;

#endif
