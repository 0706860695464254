/* Products by wgmma (kernels/opencl/wgmma.h) on devices that have no such instruction: the same
 * kernels in OpenCL C, a number at a time, with the bits of products on emulated tensor cores
 * (src/mma.clh). So all that goes with these products can be checked anywhere: how their slices are
 * made apart and added, and what is merged. */
#ifndef RECURD_CHECK_OCLWGMMA_H
#define RECURD_CHECK_OCLWGMMA_H

#include "kernels/opencl/device.h"

/* From now on on this device, which is not NVIDIA's and now keeps no built kernels on disk; ways
 * are chosen as for the units of an H200. tune.wgmma is the caller's. */
void wgmma_model(struct ocl_device *d);

#endif
