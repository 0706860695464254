/* The sampler kernel against the definition. */
#ifndef RECURD_OCLSAMPLE_H
#define RECURD_OCLSAMPLE_H

#include "kernels/opencl/sample.h"

/* Rows of every kind with every combination of parameters. Prints and counts what differs.
 * vocab: rows of this length only, 0 = of all. */
int oclsample_check(struct ocl_device *d, uint64_t seed, bool quick, int32_t vocab);
/* Times 1 and 64 rows of 151,936 logits. */
void oclsample_bench(struct ocl_device *d);

#endif
