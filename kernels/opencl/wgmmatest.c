/* Whether this device and driver run the kernels of wgmma.h. A driver may refuse their PTX, or more
 * local memory than it grants OpenCL C, which shows only when a kernel is launched. */
#include <stdio.h>

#include "base/limits.h"
#include "base/log.h"
#include "kernels/opencl/buffer.h"
#include "kernels/opencl/program.h"
#include "kernels/opencl/wgmma.h"

/* A step of no rows: every role of the kernel starts and ends. */
static int launch(struct ocl_device *d, cl_kernel k, cl_mem zeros, struct err *e)
{
    cl_ulong records[OCL_WGMMA_MEMBERS * OCL_WGMMA_NUMBERS];
    cl_int members = OCL_WGMMA_MEMBERS;
    size_t lanes = OCL_WGMMA_LANES;
    for (size_t i = 0; i < ARRAY_LEN(records); i++)
        records[i] = 1;
    for (cl_uint i = 0; i < 5 + 3 * OCL_WGMMA_MEMBERS; i++) {
        const void *from = i == 3   ? (const void *)&members
                           : i == 4 ? (const void *)records
                                    : (const void *)&zeros;
        size_t bytes = i == 3 ? sizeof members : i == 4 ? sizeof records : sizeof zeros;
        int rc = OCL(e, OCL_WGMMA, clSetKernelArg, k, i, bytes, from);
        if (rc)
            return rc;
    }
    return OCL(e, OCL_WGMMA, clEnqueueNDRangeKernel, d->queue, k, 1, NULL, &lanes, &lanes, 0, NULL,
               NULL);
}

static int launch_all(struct ocl_device *d, cl_program p, struct err *e)
{
    const struct ocl_wgmma *shapes;
    struct ocl_buffer zeros;
    int rc = ocl_buffer_new(&zeros, d, 0, OCL_WGMMA, e);
    for (int i = 0, n = ocl_wgmma_shapes(&shapes); i < n && !rc; i++) {
        cl_kernel k = NULL;
        char name[32];
        snprintf(name, sizeof name, "wgmma_%d", shapes[i].rows);
        if (!(rc = OCL_NEW(k, e, name, clCreateKernel, p, name)))
            rc = launch(d, k, zeros.mem, e);
        OCL_FREE(clReleaseKernel, k);
    }
    if (!rc)
        rc = OCL(e, OCL_WGMMA, clFinish, d->queue);
    ocl_buffer_free(&zeros, d);
    return rc;
}

void ocl_wgmma_test(struct ocl_device *d)
{
    struct err e = {0};
    struct buf source;
    cl_program p;
    if (!d->tune.mma || !d->tune.wgmma)
        return;
    buf_init(&source, MIB(16));
    ocl_wgmma_program(&source);
    if (source.failed || ocl_program_build(&p, d, OCL_WGMMA, source.p, false, &e) ||
        launch_all(d, p, &e)) {
        log_warn("%s: no wgmma, products of many rows are slower: %s", d->info.name,
                 source.failed ? "no memory for the kernels" : e.text);
        d->tune.wgmma = 0;
    }
    buf_free(&source);
}
