/* Anthropic's messages: the request's translation, for messages.c. Thread: any. */
#ifndef RECURD_MESSAGES_H
#define RECURD_MESSAGES_H

#include <jansson.h>

#include "base/err.h"

/* The request in our own form, new; NULL: e tells why. *keep (NULL = nothing) becomes what the
 * reply needs of it, with cache_control alone: {"cached": the index of the last message, in our
 * form, up to which the client wants the prompt kept}. counting: only its tokens are asked for. */
json_t *messages_request(const json_t *in, bool counting, json_t **keep, struct err *e) MUST_USE;

#endif
