/* Where a model comes from: a directory of published files, or a GGUF file. Both give the same
 * four things: a configuration, tensors, a tokenizer and a digest. */
#ifndef RECURD_SOURCE_H
#define RECURD_SOURCE_H

#include "models/files/checkpoint.h"
#include "models/files/config.h"

struct tokenizer;
struct gguf;
struct gguf_map;

struct model_source {
    const char *path;          /* as given; borrowed */
    struct gguf *gguf;         /* NULL: a directory */
    const struct gguf_map *map;
    struct config *config;
};

/* Opens path and reads its configuration. For what is neither, the sentence says what to give
 * instead. */
int source_open(struct model_source *s, const char *path, struct err *e) MUST_USE;
/* Frees the configuration and closes the file; checkpoints of it must be closed before. */
void source_close(struct model_source *s);

int source_checkpoint(struct model_source *s, struct checkpoint **out, struct err *e) MUST_USE;
/* *out = NULL (and 0) where there is none. vocab: rows of the model's embedding. */
int source_tokenizer(struct model_source *s, struct tokenizer **out, int32_t vocab,
                     struct err *e) MUST_USE;
/* tokenizer_config.json of a GGUF file's metadata, or NULL (and 0): of a directory, whose own file
 * says more. The caller frees it. */
int source_tokenizer_config(struct model_source *s, struct config **out,
                            struct err *e) MUST_USE;
/* generation_config.json, or NULL (and 0): the caller frees it. */
int source_generation(struct model_source *s, struct config **out, struct err *e) MUST_USE;
/* SHA-256 over configuration and tokenizer, as they are written. */
void source_digest(const struct model_source *s, unsigned char out[32]);
/* The last component of the path, without what only tells the format. */
void source_name(const struct model_source *s, char *out, size_t n);

#endif
