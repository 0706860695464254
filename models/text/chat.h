/* Chat formats: messages -> token ids. Compiled in, one table row each; a model's Jinja template
 * is recognised by its markers, never executed. Thread: any. */
#ifndef RECURD_CHAT_H
#define RECURD_CHAT_H

#include "models/text/tokenizer.h"

struct chat_format; /* one row of the table in chat.c */

struct chat_message {
    const char *role; /* system | developer | user | assistant | tool */
    const char *content;
    size_t n;
};

const struct chat_format *chat_find(const char *name);            /* NULL = unknown */
const struct chat_format *chat_detect(const char *template_text); /* NULL = none fits */
const char *chat_name(const struct chat_format *f);

/* Appends bos (if the format has one), every message, and, when add_reply, the opening of the
 * assistant's turn. Content is encoded without special tokens, so that a user cannot forge a
 * turn. boundaries (may be NULL) gets the token count after each message: where a state is worth
 * keeping. E_RANGE with field "messages" for a role the format lacks or too many tokens. */
int chat_render(const struct chat_format *f, const struct tokenizer *t,
                const struct chat_message *m, size_t n, bool add_reply, struct ids *out,
                struct ids *boundaries, struct err *e) MUST_USE;

/* Text that ends an assistant's turn (besides eos), e.g. "<|end|>"; NULL = none. */
const char *chat_stop(const struct chat_format *f);

#endif
