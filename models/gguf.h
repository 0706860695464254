/* The GGUF architectures that are read and written: gguf.def, a row each, as maps. */
#ifndef RECURD_MODELS_GGUF_H
#define RECURD_MODELS_GGUF_H

#include "models/files/gguf_map.h"

const struct gguf_map *gguf_map_at(size_t i); /* NULL past the last */

#endif
