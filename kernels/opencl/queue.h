/* One step on the device's queue: the batch goes in, launches follow, logits come out. */
#ifndef RECURD_OCL_QUEUE_H
#define RECURD_OCL_QUEUE_H

#include "kernels/opencl/model.h"

struct ocl_times {
    uint64_t launches, enqueue_ns, wait_ns;
};

/* Blocking. Adds to *t. */
int ocl_queue_run(struct ocl_model *m, const struct batch *b, struct ocl_times *t,
                  struct err *e) MUST_USE;

/* Blocking copies of `bytes` between device memory and the host, on the second queue. */
int ocl_queue_read(struct ocl_model *m, cl_mem from, size_t at, size_t bytes, void *dst,
                   struct err *e) MUST_USE;
int ocl_queue_write(struct ocl_model *m, cl_mem to, size_t at, size_t bytes, const void *src,
                    struct err *e) MUST_USE;
int ocl_queue_copy(struct ocl_model *m, cl_mem mem, size_t to, size_t from, size_t bytes,
                   struct err *e) MUST_USE;
int ocl_queue_zero(struct ocl_model *m, cl_mem mem, size_t at, size_t bytes,
                   struct err *e) MUST_USE;

#endif
