/* From kernel source text to a built program, through the cache. */
#ifndef RECURD_OCL_PROGRAM_H
#define RECURD_OCL_PROGRAM_H

#include "kernels/opencl/device.h"

/* `name` is for messages; a source that begins with .version is PTX (wgmma.h), else OpenCL C.
 * A failed build is E_DEVICE with the compiler's first error; the whole log goes to the program's
 * log, but for one that need not succeed. The device keeps the program: *out is borrowed. */
int ocl_program_build(cl_program *out, struct ocl_device *d, const char *name, const char *source,
                      bool must, struct err *e) MUST_USE;

#endif
