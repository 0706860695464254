/* The table of families, from archs.def. */
#include "models/arch.h"

#include <string.h>

#include "models/build/build.h"

static const struct arch *const archs[] = {
#define ARCH(name) &arch_##name,
#include "models/archs.def"
#undef ARCH
};

const struct arch *arch_find(const char *model_type)
{
    for (size_t i = 0; i < ARRAY_LEN(archs); i++)
        if (!strcmp(archs[i]->model_type, model_type))
            return archs[i];
    return NULL;
}
