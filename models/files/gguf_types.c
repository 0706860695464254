/* Names of GGUF's types. Pure. */
#include "models/files/gguf_types.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* By their numbers; the holes are of types that were withdrawn. */
static const char *const names[] = {
    "F32", "F16", "Q4_0", "Q4_1", NULL, NULL, "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K",
    "Q4_K", "Q5_K", "Q6_K", "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S",
    "IQ2_S", "IQ4_XS", "I8", "I16", "I32", "I64", "F64", "IQ1_M", "BF16", NULL, NULL, NULL,
    "TQ1_0", "TQ2_0", NULL, NULL, NULL, "MXFP4", "NVFP4",
};

const char *gguf_type_name(uint64_t id)
{
    return id < ARRAY_LEN(names) && names[id] ? names[id] : "unknown";
}

static bool writable(int dtype)
{
    return formats[dtype].gguf >= 0 && format_encodes((enum dtype)dtype);
}

const char *gguf_types_known(char *out, size_t n, bool written_only)
{
    size_t at = 0;
    int last = -1;
    for (int i = 0; i < DTYPES; i++)
        if (written_only ? writable(i) : formats[i].gguf >= 0)
            last = i;
    out[0] = 0;
    for (int i = 0; i <= last && at < n; i++)
        if (written_only ? writable(i) : formats[i].gguf >= 0)
            at += (size_t)snprintf(out + at, n - at, "%s%s",
                                   at == 0 ? "" : i < last ? ", " : " and ",
                                   gguf_type_name((uint64_t)formats[i].gguf));
    return out;
}

int gguf_type_parse(const char *name)
{
    for (int i = 0; i < DTYPES; i++)
        if (writable(i) && strcasecmp(formats[i].name, name) == 0)
            return i;
    return -1;
}
