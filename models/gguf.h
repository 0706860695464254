/* The GGUF architectures that are read and written: gguf.def, a row each, as maps. The first of an
 * architecture reads its files; further ones write them, of checkpoints with other names. */
#ifndef RECURD_MODELS_GGUF_H
#define RECURD_MODELS_GGUF_H

#include "models/files/gguf_map.h"

const struct gguf_map *gguf_map_at(size_t i); /* NULL past the last */

#endif
