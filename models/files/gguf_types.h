/* The names of the types of a GGUF file's tensors; which are read, kernels/formats.def says. */
#ifndef RECURD_GGUF_TYPES_H
#define RECURD_GGUF_TYPES_H

#include "kernels/formats.h"

const char *gguf_type_name(uint64_t id);                             /* of those not read, too */
const char *gguf_types_known(char *out, size_t n, bool written_only); /* "F32, F16 and BF16" */
/* The format of this name that GGUF has and that can be written; -1: there is none. */
int gguf_type_parse(const char *name);

#endif
