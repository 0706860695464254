/* Shared by the files of models/text/chat: not for others. */
#ifndef RECURD_CHAT_INT_H
#define RECURD_CHAT_INT_H

#include <jansson.h>

#include "models/text/chat/chat.h"
#include "models/text/chat/formats.h"
#include "models/text/chat/jinja/jinja.h"

#define CHAT_TEMPLATES 16 /* named ones of one model; the most published: 3 */

struct chat_source {
    char *name;            /* "default", "tool_use" … */
    char *text;
    size_t n;
    struct jinja *program;
};

/* A token that templates may name: bos_token, eos_token … */
struct chat_token {
    const char *name;
    char *text;
};
#define CHAT_TOKENS 7

/* What a template can be given, found out by rendering probes. */
struct chat_abilities {
    bool parts;       /* content as a list of parts */
    bool null;        /* content null */
    bool objects;     /* the arguments of tool calls as objects, not as text */
    bool developer;   /* the role of that name; else it is called system */
};

struct chat {
    const struct tokenizer *t;
    const struct chat_format *format; /* NULL: templates */
    struct chat_source sources[CHAT_TEMPLATES];
    size_t n_sources;
    struct chat_token tokens[CHAT_TOKENS];
    struct chat_abilities can;
    bool bos;         /* of a format: the conversation begins with bos */
    char *stop;
    char name[160];
};

/* ---- sources.c ---- */

/* Fills sources and tokens from the model's files; no template at all is fine. */
int chat_read_sources(struct chat *c, const struct chat_options *o, struct err *e) MUST_USE;
const struct chat_source *chat_pick(const struct chat *c, bool tools);

/* ---- messages.c ---- */

bool chat_is_role(const char *role);
/* The messages as this template takes them: a new tree. NULL = no memory. */
json_t *chat_adapt(const json_t *messages, const struct chat_abilities *can);
/* Text of a message's content: a string, parts joined, or nothing. Appends. */
void chat_content_text(const json_t *content, struct buf *out);

/* ---- probe.c ---- */

/* Fills can and stop by rendering small conversations. Never fails: what cannot be found out gets
 * the likelier value. */
void chat_probe(struct chat *c);

/* ---- render.c ---- */

int chat_run(const struct chat *c, const struct jinja *program, const struct chat_request *q,
             const struct chat_abilities *can, struct chat_text *out, struct err *e) MUST_USE;

#endif
