/* The two kernels of src/proof.cl. */
#include "kernels/opencl/proof.h"

#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "kernels/opencl/program.h"
#include "kernels/opencl/source.h"

#define WHAT "the proof of merged launches"
#define LANES 64
#define GROUPS_MOST 2048

int ocl_proof_init(struct ocl_proof *p, struct ocl_device *d, struct err *e)
{
    struct buf source;
    cl_program program;
    *p = (struct ocl_proof){.d = d};
    buf_init(&source, MIB(1));
    ocl_source_add(&source, "proof.cl");
    int rc = source.failed ? err_set(e, E_NOMEM, "no memory for the source of proof.cl")
                           : ocl_program_build(&program, d, "proof.cl", source.p, true, e);
    buf_free(&source);
    if (rc || (rc = OCL_NEW(p->fill, e, WHAT, clCreateKernel, program, "fill")) ||
        (rc = OCL_NEW(p->digest, e, WHAT, clCreateKernel, program, "digest")))
        return rc;
    return ocl_buffer_new(&p->sums, d, sizeof(struct ocl_digest), WHAT, e);
}

void ocl_proof_free(struct ocl_proof *p)
{
    OCL_FREE(clReleaseKernel, p->fill);
    OCL_FREE(clReleaseKernel, p->digest);
    if (p->d)
        ocl_buffer_free(&p->sums, p->d);
    *p = (struct ocl_proof){0};
}

/* Both kernels: a buffer, the range in it, a word, and one more argument. */
static int launch(struct ocl_proof *p, cl_kernel k, cl_mem mem, size_t at, size_t n, cl_uint word,
                  const void *last, size_t bytes, struct err *e)
{
    cl_ulong from = at, count = n;
    size_t lanes = LANES, all = MIN((n + LANES - 1) / LANES, (size_t)GROUPS_MOST) * LANES;
    int rc;
    if (!n)
        return 0;
    if ((rc = OCL(e, WHAT, clSetKernelArg, k, 0, sizeof mem, &mem)) ||
        (rc = OCL(e, WHAT, clSetKernelArg, k, 1, sizeof from, &from)) ||
        (rc = OCL(e, WHAT, clSetKernelArg, k, 2, sizeof count, &count)) ||
        (rc = OCL(e, WHAT, clSetKernelArg, k, 3, sizeof word, &word)) ||
        (rc = OCL(e, WHAT, clSetKernelArg, k, 4, bytes, last)))
        return rc;
    return OCL(e, WHAT, clEnqueueNDRangeKernel, p->d->queue, k, 1, NULL, &all, &lanes, 0, NULL,
               NULL);
}

int ocl_proof_fill(struct ocl_proof *p, cl_mem mem, size_t at, size_t n, uint32_t seed, float scale,
                   struct err *e)
{
    return launch(p, p->fill, mem, at, n, seed, &scale, sizeof scale, e);
}

int ocl_digest_begin(struct ocl_proof *p, struct err *e)
{
    p->place = 0;
    return ocl_fill_zero(p->d, p->d->queue, p->sums.mem, 0, sizeof(struct ocl_digest), WHAT, e);
}

int ocl_digest_add(struct ocl_proof *p, cl_mem mem, size_t at, size_t n, struct err *e)
{
    cl_uint place = p->place;
    p->place += (cl_uint)n;
    return launch(p, p->digest, mem, at, n, place, &p->sums.mem, sizeof p->sums.mem, e);
}

int ocl_digest_end(struct ocl_proof *p, struct ocl_digest *out, struct err *e)
{
    return OCL(e, WHAT, clEnqueueReadBuffer, p->d->queue, p->sums.mem, CL_TRUE, 0, sizeof *out, out,
               0, NULL, NULL);
}
