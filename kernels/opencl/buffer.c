/* Allocation with its limits in the message. */
#include "kernels/opencl/buffer.h"

#include <inttypes.h>

static const double mib = 1 << 20;

static int no_room(const struct ocl_device *d, size_t bytes, const char *what, struct err *e)
{
    return err_set(e, E_NOMEM, "%s: %.1f MiB asked, %.1f MiB held of %.1f MiB on %s", what,
                   (double)bytes / mib, (double)d->held_bytes / mib,
                   (double)d->info.memory_bytes / mib, d->info.name);
}

int ocl_fill_zero(struct ocl_device *d, cl_command_queue queue, cl_mem mem, size_t at,
                  size_t bytes, const char *what, struct err *e)
{
    cl_uint zero = 0;
    int rc = 0;
    for (size_t done = 0, n; done < bytes && !rc; done += n) {
        bool far = d->zeros && at + done >= d->fill_end;
        n = MIN(bytes - done, far ? MIN(d->fill_bytes, OCL_ZEROS_BYTES) : d->fill_bytes);
        rc = far ? OCL(e, what, clEnqueueCopyBuffer, queue, d->zeros, mem, 0, at + done, n, 0,
                       NULL, NULL)
                 : OCL(e, what, clEnqueueFillBuffer, queue, mem, &zero, sizeof zero, at + done, n,
                       0, NULL, NULL);
        if (!rc && !far && done + n < bytes) /* one at a time: none queues up */
            rc = OCL(e, what, clFinish, queue);
    }
    return rc;
}

/* Before a buffer of so many bytes is filled. */
static int prepare_zeros(struct ocl_device *d, size_t bytes, const char *what, struct err *e)
{
    cl_uint zero = 0;
    if (bytes <= d->fill_end || d->zeros)
        return 0;
    int rc = OCL_NEW(d->zeros, e, what, clCreateBuffer, d->context, CL_MEM_READ_WRITE,
                     OCL_ZEROS_BYTES, NULL);
    if (!rc) /* the copies from it have a queue of their own */
        rc = OCL(e, what, clEnqueueFillBuffer, d->queue, d->zeros, &zero, sizeof zero, 0,
                 OCL_ZEROS_BYTES, 0, NULL, NULL);
    if (!rc)
        rc = OCL(e, what, clFinish, d->queue);
    if (rc)
        OCL_FREE(clReleaseMemObject, d->zeros);
    return rc;
}

int ocl_buffer_new(struct ocl_buffer *b, struct ocl_device *d, size_t bytes, const char *what,
                   struct err *e)
{
    int rc;
    *b = (struct ocl_buffer){0};
    bytes = bytes ? round_up(bytes, 64) : 64;
    if (bytes > d->info.memory_bytes - MIN((uint64_t)d->held_bytes, d->info.memory_bytes))
        return no_room(d, bytes, what, e);
    if (bytes > d->info.alloc_bytes)
        return err_set(e, E_NOMEM, "%s: %.1f MiB asked, one buffer on %s has at most %.1f MiB",
                       what, (double)bytes / mib, d->info.name, (double)d->info.alloc_bytes / mib);
    if ((rc = OCL_NEW(b->mem, e, what, clCreateBuffer, d->context, CL_MEM_READ_WRITE, bytes,
                      NULL)))
        return rc;
    b->bytes = bytes;
    d->held_bytes += (int64_t)bytes;
    struct err late = {0};
    if ((rc = prepare_zeros(d, bytes, what, &late)) ||
        (rc = ocl_fill_zero(d, d->queue, b->mem, 0, bytes, what, &late)) ||
        (rc = OCL(&late, what, clFinish, d->queue))) {
        ocl_buffer_free(b, d);
        return rc == E_NOMEM ? no_room(d, bytes, what, e) : err_set(e, rc, "%s", late.text);
    }
    return 0;
}

void ocl_buffer_free(struct ocl_buffer *b, struct ocl_device *d)
{
    if (b->mem)
        d->held_bytes -= (int64_t)b->bytes;
    OCL_FREE(clReleaseMemObject, b->mem);
    b->bytes = 0;
}

int ocl_pinned_new(struct ocl_pinned *p, struct ocl_device *d, size_t bytes, const char *what,
                   struct err *e)
{
    int rc;
    *p = (struct ocl_pinned){0};
    bytes = bytes ? round_up(bytes, 64) : 64;
    if ((rc = OCL_NEW(p->b.mem, e, what, clCreateBuffer, d->context,
                      CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, bytes, NULL)))
        return rc;
    p->b.bytes = bytes;
    if ((rc = OCL_NEW(p->host, e, what, clEnqueueMapBuffer, d->copies, p->b.mem, CL_TRUE,
                      CL_MAP_READ | CL_MAP_WRITE, 0, bytes, 0, NULL, NULL)))
        OCL_FREE(clReleaseMemObject, p->b.mem);
    return rc;
}

void ocl_pinned_free(struct ocl_pinned *p, struct ocl_device *d)
{
    if (p->host) {
        (void)ocl_api.clEnqueueUnmapMemObject(d->copies, p->b.mem, p->host, 0, NULL, NULL);
        (void)ocl_api.clFinish(d->copies); /* the memory goes away either way */
    }
    p->host = NULL;
    OCL_FREE(clReleaseMemObject, p->b.mem);
}
