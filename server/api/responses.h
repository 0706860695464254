/* OpenAI's responses: the request's translation and what is kept of answers. Thread: any. */
#ifndef RECURD_RESPONSES_H
#define RECURD_RESPONSES_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "statecache/statecache.h"

/* ---- responses_store.c: answers by id, in memory ---- */

/* At most LIMIT_RESPONSES of LIMIT_RESPONSES_BYTES together; when there is no room, the tenant that
 * has most loses what it has not used for longest. Gone after a restart. Owner: the handlers. */
struct responses;

int responses_open(struct responses **out, struct err *e) MUST_USE;
void responses_close(struct responses *s); /* NULL allowed */
/* Copies. object: the answer as it was sent; messages: the conversation with it, a JSON array in
 * our own form, without instructions. What cannot be kept is not. */
void responses_put(struct responses *s, const struct tenant_tag *tenant, const char *id,
                   const struct buf *object, const struct buf *messages);
/* Either out may be NULL. False: there is none of this id, for this tenant. */
bool responses_get(struct responses *s, const struct tenant_tag *tenant, const char *id,
                   struct buf *object, struct buf *messages);
bool responses_delete(struct responses *s, const struct tenant_tag *tenant, const char *id);

/* ---- responses_request.c ---- */

struct gather;

/* The request in our own form, new; NULL: e tells why. before: the conversation that it goes on
 * with, or NULL. *keep becomes what the reply needs: {"echo": text, "messages": text or absent}:
 * members of the response object that repeat the request, and the conversation so far, where the
 * answer shall be kept. */
json_t *responses_request(const json_t *in, const json_t *before, json_t **keep,
                          struct err *e) MUST_USE;
/* Items of an input, or of an answer, gathered as messages. */
int responses_items(struct gather *g, const json_t *items, struct err *e) MUST_USE;

#endif
