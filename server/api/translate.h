/* Requests of other APIs, made into our own form: pieces that several of them need. Trees are new;
 * NULL: e tells what was wrong, with `field` as its param (a literal). Thread: any. */
#ifndef RECURD_TRANSLATE_H
#define RECURD_TRANSLATE_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

int translate_no_memory(struct err *e);

/* What a copy of a body has at key (a literal) from now on; takes over v. Whatever the client sent
 * there was not read (jsonin_watch_set). */
int translate_set(json_t *out, const char *key, json_t *v, struct err *e);

/* Appends the text of v: a string, or a list of blocks of the types text, input_text, output_text.
 * where: what it is, for the error ("the content of element 3"). */
int translate_text(struct buf *out, const json_t *v, const char *field, const char *where,
                   struct err *e) MUST_USE;

/* An assistant's or another's message, gathered from blocks or items. */
struct gather {
    json_t *messages;           /* what became of the earlier ones; NULL = no memory */
    struct buf text, reasoning;
    json_t *calls;              /* NULL = none */
};
void gather_init(struct gather *g);
void gather_free(struct gather *g);
bool gather_any(const struct gather *g);
/* What was gathered becomes a message; also when it is nothing. */
int gather_flush(struct gather *g, const char *role, struct err *e) MUST_USE;
/* One more call; borrows. */
int gather_call(struct gather *g, const json_t *id, const json_t *name, const json_t *arguments,
                struct err *e) MUST_USE;

/* {"type": "function", "function": {"name", "description", "parameters", "strict"}} of a flat
 * definition, element i of the request's tools, whose schema is called `schema`. */
json_t *translate_tool(const json_t *tool, size_t i, const char *schema, struct err *e) MUST_USE;

/* {"type": "json_schema", "json_schema": {"schema"}} or {"type": "json_object"}, {"type": "text"}
 * of the flat form {"type", "schema"}. */
json_t *translate_format(const json_t *format, const char *field, struct err *e) MUST_USE;

/* What is within stream_options is watched. Events are never padded: known where that is asked. */
void translate_stream_options(const json_t *options);

/* Fields of our own API that mean nothing in the reply of another: refused where they ask for
 * something. */
int translate_refuse(const json_t *request, struct err *e) MUST_USE;

#endif
