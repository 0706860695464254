/* Memory of a device that looks random, and digests of it, without a copy on the host: a proof at
 * start (bundletest.c) fills and compares hundreds of megabytes many times. Thread: the model's. */
#ifndef RECURD_OCL_PROOF_H
#define RECURD_OCL_PROOF_H

#include "kernels/opencl/buffer.h"
#include "kernels/opencl/device.h"

struct ocl_proof {
    struct ocl_device *d;
    cl_kernel fill, digest;
    struct ocl_buffer sums;
    cl_uint place; /* words of the running digest */
};

/* Of the same words in the same order; of others with a chance of 2^-32 at most. */
struct ocl_digest { cl_uint sums[4]; };

/* E_NOMEM, E_DEVICE. On failure p can be freed. */
int ocl_proof_init(struct ocl_proof *p, struct ocl_device *d, struct err *e) MUST_USE;
void ocl_proof_free(struct ocl_proof *p);

/* Floats [at, at + n) of a buffer get numbers in (0.05 * scale, 0.95 * scale), the same for a
 * seed. Enqueued on the device's queue. */
int ocl_proof_fill(struct ocl_proof *p, cl_mem mem, size_t at, size_t n, uint32_t seed, float scale,
                   struct err *e) MUST_USE;

/* A digest begins; takes floats [at, at + n) of a buffer; and ends, when all that was enqueued
 * before is done. */
int ocl_digest_begin(struct ocl_proof *p, struct err *e) MUST_USE;
int ocl_digest_add(struct ocl_proof *p, cl_mem mem, size_t at, size_t n, struct err *e) MUST_USE;
int ocl_digest_end(struct ocl_proof *p, struct ocl_digest *out, struct err *e) MUST_USE;

#endif
