/* The pickle of a PyTorch file as a table of tensors, without running it: the few opcodes and the
 * six names that a dictionary of tensors needs, everything else refused by name. Pure. */
#ifndef RECURD_PICKLE_H
#define RECURD_PICKLE_H

#include "base/err.h"
#include "base/limits.h"
#include "kernels/formats.h"

#define PICKLE_KEY 64

struct pickle_tensor {
    char name[LIMIT_TENSOR_NAME];
    char key[PICKLE_KEY]; /* of the storage that its elements lie in */
    enum dtype dtype;
    int32_t n_dims;
    int64_t shape[LIMIT_ST_DIMS];
    int64_t elems, first; /* first: element of the storage; they lie one after the other */
};

/* *out: owned by the caller (mem_free), in the file's order; NULL on an error. path: for messages.
 * first + elems never overflow. E_FORMAT, E_UNSUPPORTED, E_NOMEM. */
int pickle_tensors(struct pickle_tensor **out, size_t *n, const unsigned char *bytes, size_t size,
                   const char *path, struct err *e) MUST_USE;

#endif
