/* Built-in chat formats for models without a template: messages -> token ids. Compiled in, one
 * table row each; a template is recognised by its markers only to learn what ends a turn.
 * Thread: any. */
#ifndef RECURD_CHAT_FORMATS_H
#define RECURD_CHAT_FORMATS_H

#include "models/text/tokenizer.h"

struct chat_format; /* one row of the table in chat.c */

struct chat_message {
    const char *role; /* system | developer | user | assistant | tool */
    const char *content;
    size_t n;
};

const struct chat_format *chat_format_find(const char *name);            /* NULL = unknown */
const struct chat_format *chat_format_detect(const char *template_text); /* NULL = none fits */
const char *chat_format_name(const struct chat_format *f);

enum chat_format_end {
    CHAT_ENDS,      /* behind the last message */
    CHAT_REPLIES,   /* … with the opening of the assistant's turn */
    CHAT_CONTINUES, /* within the last message */
};

/* Appends bos if wanted, every message, and what `end` says. Content is encoded without special
 * tokens, and cannot end its turn either where a marker is plain text: such a marker in it gets a
 * space, and in the rwkv format blank lines become line ends, as its author asks for. (The plain
 * format has no turns.) boundaries (may be NULL) gets the token count after each message: where a
 * state is worth keeping. E_RANGE with field "messages" for a role the format lacks or too many
 * tokens. */
int chat_format_render(const struct chat_format *f, const struct tokenizer *t,
                       const struct chat_message *m, size_t n, enum chat_format_end end, bool bos,
                       struct ids *out, struct ids *boundaries, struct err *e) MUST_USE;

/* Text that ends an assistant's turn (besides eos), e.g. "<|end|>"; NULL = none. */
const char *chat_format_stop(const struct chat_format *f);

#endif
