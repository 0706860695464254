/* Looking an embedded text up by name, and what stands before every kernel. */
#include "kernels/opencl/source.h"

#include <stddef.h>
#include <string.h>

#include "kernels/opencl/launches.h"

const char *ocl_source_find(const char *name)
{
    for (const struct ocl_source *s = ocl_sources; s->name; s++)
        if (!strcmp(s->name, name))
            return s->text;
    return NULL;
}

/* The numbers C and OpenCL C must agree on; a name without a row does not compile there. */
static const struct { const char *name; int value; } shared[] = {
    {"DTYPE_F32", DTYPE_F32},
    {"DTYPE_F16", DTYPE_F16},
    {"DTYPE_BF16", DTYPE_BF16},
#define ACT(name) {"ACT_" #name, ACT_##name},
#define NORM(name) {"NORM_" #name, NORM_##name},
#define DECAY(name) {"DECAY_" #name, DECAY_##name},
#define LAYOUT(name) {"LAYOUT_" #name, OCL_##name},
#include "kernels/enums.def"
    {"PAGE_TOKENS", PAGE_TOKENS},
#define SHARED(name) {#name, name}
    SHARED(HEAD_F16), SHARED(HEAD_F16_MIN), SHARED(HEAD_E8M0), SHARED(HEAD_F32),
    SHARED(SUB_NONE), SHARED(SUB_SIGNED), SHARED(SUB_PAIR), SHARED(SUB_NIBBLES),
    SHARED(MAP_IQ4), SHARED(MAP_FP4), SHARED(MAP_E4M3),
};

void ocl_source_begin(struct buf *b)
{
    for (size_t i = 0; i < ARRAY_LEN(shared); i++)
        buf_fmt(b, "#define %s %d\n", shared[i].name, shared[i].value);
    ocl_source_add(b, "common.clh");
}

void ocl_source_add(struct buf *b, const char *name)
{
    buf_fmt(b, "#line 1 \"%s\"\n%s\n", name, ocl_source_find(name));
}

static bool reads_blocks(const char *defines) { return strstr(defines, "#define Q_BITS ") != NULL; }

void ocl_source_define(struct buf *b, const char *defines)
{
    buf_str(b, defines);
    if (reads_blocks(defines))
        buf_str(b, ocl_source_find("blocks.clh"));
}

void ocl_source_undefine(struct buf *b, const char *defines)
{
    if (reads_blocks(defines))
        buf_str(b, "#undef Q_GROUP\n#undef Q_LINES\n#undef Q_PER\n#undef Q_STEP\n"
                   "#undef Q_HEAD_BYTES\n#undef Q_SUB_BYTES\n#undef Q_RECORD\n");
    for (const char *s = defines; (s = strstr(s, "#define ")); s += 8)
        buf_fmt(b, "#undef %.*s\n", (int)strcspn(s + 8, " "), s + 8);
}
