/* See oclgrind.h. The calls are replaced in the table that every OpenCL call goes through. */
#include "tests/check/oclgrind.h"

#include <dlfcn.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/opencl/call.h"

static __typeof__(clEnqueueWriteBuffer) *plain_write;
static __typeof__(clGetMemObjectInfo) *object_info; /* nothing else asks for it */

static cl_int whole_write(cl_command_queue q, cl_mem b, cl_bool blocking, size_t at, size_t n,
                          const void *p, cl_uint n_wait, const cl_event *wait, cl_event *done)
{
    size_t size = 0;
    cl_int rc = object_info(b, CL_MEM_SIZE, sizeof size, &size, NULL);
    if (rc || at > size || n > size - at) /* the call itself shall say what is wrong */
        return plain_write(q, b, blocking, at, n, p, n_wait, wait, done);
    char *all = mem_zalloc(size);
    if (!all)
        return CL_OUT_OF_HOST_MEMORY;
    if (!(rc = ocl_api.clEnqueueReadBuffer(q, b, CL_TRUE, 0, size, all, n_wait, wait, NULL))) {
        memcpy(all + at, p, n);
        rc = plain_write(q, b, CL_TRUE, 0, size, all, 0, NULL, done);
    }
    mem_free(all);
    return rc;
}

static cl_int fill_by_write(cl_command_queue q, cl_mem b, const void *pattern, size_t each,
                            size_t at, size_t n, cl_uint n_wait, const cl_event *wait,
                            cl_event *done)
{
    char *p = mem_zalloc(n);
    if (!p)
        return CL_OUT_OF_HOST_MEMORY;
    for (size_t i = 0; i + each <= n; i += each)
        memcpy(p + i, pattern, each);
    cl_int rc = whole_write(q, b, CL_TRUE, at, n, p, n_wait, wait, done);
    mem_free(p);
    return rc;
}

void oclgrind_whole_writes(void)
{
    void *lib = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL); /* is open already */
    ASSERT(lib);
    *(void **)&object_info = dlsym(lib, "clGetMemObjectInfo");
    ASSERT(object_info);
    plain_write = ocl_api.clEnqueueWriteBuffer;
    ocl_api.clEnqueueWriteBuffer = whole_write;
    ocl_api.clEnqueueFillBuffer = fill_by_write;
}
