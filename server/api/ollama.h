/* Ollama's API: its requests in our own form (ollama_request.c), how its replies are written
 * (ollama.c), and what it tells of the model (ollama_models.c). Thread: any. */
#ifndef RECURD_OLLAMA_H
#define RECURD_OLLAMA_H

#include <jansson.h>

#include "server/api/params.h"

/* The body of /api/chat or (generate) /api/generate as a request of *kind; max_tokens: where the
 * client names none. NULL: e says why. *load: it asks for nothing but that the model is loaded. */
json_t *ollama_request(const json_t *in, bool generate, int64_t max_tokens,
                       enum params_kind *kind, bool *load, struct err *e) MUST_USE;

/* A model's name, of which ":latest" is not a part. v may be NULL. */
json_t *ollama_model(const json_t *v) MUST_USE;

#endif
