/* Device memory. Every buffer is zero-filled when made, which also makes lazy drivers admit now
 * that the memory is not there. Allocated while loading, never afterwards. */
#ifndef RECURD_OCL_BUFFER_H
#define RECURD_OCL_BUFFER_H

#include "kernels/opencl/device.h"

/* Owner: the loaded model. */
struct ocl_buffer {
    cl_mem mem;
    size_t bytes;
};

/* E_NOMEM: the sentence has the bytes asked for, held and there are. bytes = 0 gives 64. */
int ocl_buffer_new(struct ocl_buffer *b, struct ocl_device *d, size_t bytes, const char *what,
                   struct err *e) MUST_USE;
void ocl_buffer_free(struct ocl_buffer *b, struct ocl_device *d);

/* Enqueues zeros for [at, at + bytes) of an ocl_buffer, in pieces of at most d->fill_bytes. */
int ocl_fill_zero(struct ocl_device *d, cl_command_queue queue, cl_mem mem, size_t at,
                  size_t bytes, const char *what, struct err *e) MUST_USE;

/* Page-locked memory for transfers at full speed: b.mem mapped at *host until freed. */
struct ocl_pinned {
    struct ocl_buffer b;
    void *host;
};
int ocl_pinned_new(struct ocl_pinned *p, struct ocl_device *d, size_t bytes, const char *what,
                   struct err *e) MUST_USE;
void ocl_pinned_free(struct ocl_pinned *p, struct ocl_device *d);

#endif
