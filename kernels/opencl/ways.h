/* How a product of many rows is made by wgmma: by tiles of which shape, of whole sums or of a slice
 * each. A matter of speed: the bits are the same. */
#ifndef RECURD_OCL_WAYS_H
#define RECURD_OCL_WAYS_H

#include "kernels/opencl/launches.h"
#include "kernels/opencl/wgmma.h"

struct ocl_way {
    const struct ocl_wgmma *shape;
    int32_t parts; /* 1, or the number of slices */
};

/* Members of one launch, all with the same shape. */
struct ocl_ways {
    const struct op *op[OCL_WGMMA_MEMBERS];
    struct ocl_way way[OCL_WGMMA_MEMBERS];
    int32_t n;
};

/* The fastest for so many rows, by what an H200 takes (times of ways.c). Given n and op. */
void ocl_ways_choose(const struct ocl_model *m, struct ocl_ways *t, int32_t rows);

#endif
