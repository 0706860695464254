/* Looking an embedded text up by name. */
#include "kernels/opencl/source.h"

#include <stddef.h>
#include <string.h>

const char *ocl_source_find(const char *name)
{
    for (const struct ocl_source *s = ocl_sources; s->name; s++)
        if (!strcmp(s->name, name))
            return s->text;
    return NULL;
}
