/* A GGUF file's tensors as a directory with safetensors holds them: plain types, values as they
 * were before the format's writers transformed them, each vector of a stack by itself. */
#ifndef RECURD_GGUF_PLAIN_H
#define RECURD_GGUF_PLAIN_H

#include "models/files/gguf_view.h"

/* view: of gguf_checkpoint with this map; it must live longer. Tensors keep their types, blocks
 * become F32; any = false: matrices become `matrix`, a plain type, instead. What was transformed is
 * F32 (tensor_untransform). */
int gguf_plain(struct checkpoint **out, struct checkpoint *view, const struct gguf_map *map,
               bool any, enum dtype matrix, struct err *e) MUST_USE;

/* Elements read so far whose transform is not the file's value, but the nearest to it. Of a
 * checkpoint of gguf_plain. */
uint64_t gguf_plain_inexact(const struct checkpoint *c);

#endif
