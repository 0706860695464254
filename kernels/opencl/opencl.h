/* The OpenCL backend as the rest of the program sees it. No OpenCL header is needed to use it. */
#ifndef RECURD_OPENCL_H
#define RECURD_OPENCL_H

#include "kernels/backend.h"

/* device_options.spec: "opencl[:NAME][,key=value ...]", NAME as ocl_device_open takes it, the
 * words as in etc/tuning/opencl.tune, e.g. "opencl:nvidia,mma=0" for products in float32. */
extern const struct backend backend_opencl;

/* One line per OpenCL device on any platform, as --list-devices prints them. E_NOENT when there
 * is no loader or no device. */
int opencl_list(void (*line)(void *arg, const char *text), void *arg, struct err *e) MUST_USE;

/* What the last steps cost the host; nothing for a device of another kind. Reset by each call. */
struct opencl_stats {
    uint64_t steps, launches;
    uint64_t enqueue_ns; /* preparing the batch and enqueueing */
    uint64_t wait_ns;    /* for the device, until what was drawn was on the host */
};
void opencl_stats(struct device *d, struct opencl_stats *out);

#endif
