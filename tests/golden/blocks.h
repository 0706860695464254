/* Blocks of any format, for tests: those that kernels/encode.c makes, and of the others the plain
 * way to them, scales from the largest values and every number the nearest. */
#ifndef RECURD_GOLDEN_BLOCKS_H
#define RECURD_GOLDEN_BLOCKS_H

#include "kernels/formats.h"

/* Before any other call, from one thread. */
void blocks_prepare(void);
/* n elements, whole blocks, to dst; the inputs must be finite. Any thread. */
void blocks_encode(enum dtype t, const float *x, int64_t n, void *dst);

#endif
