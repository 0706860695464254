/* The maps beside the families, in one list. */
#include "models/gguf.h"

#define GGUF(name) extern const struct gguf_map gguf_##name;
#include "models/gguf.def"
#undef GGUF

static const struct gguf_map *const maps[] = {
#define GGUF(name) &gguf_##name,
#include "models/gguf.def"
#undef GGUF
};

const struct gguf_map *gguf_map_at(size_t i)
{
    return i < ARRAY_LEN(maps) ? maps[i] : NULL;
}
