/* Loading libOpenCL, naming its errors, failing on purpose. */
#include "kernels/opencl/call.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

struct ocl_api ocl_api;

static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;
static bool loaded; /* under load_lock */

static _Atomic uint64_t calls, fail_at;
static void (*watch)(const char *call, const char *what); /* set while one thread runs */

int ocl_call_init(struct err *e)
{
    int rc = 0;
    pthread_mutex_lock(&load_lock);
    if (loaded)
        goto out;
    void *lib = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        rc = err_set(e, E_NOENT, "this machine has no OpenCL loader (libOpenCL.so.1)");
        goto out;
    }
#define X(f)                                                                                      \
    *(void **)&ocl_api.f = dlsym(lib, #f);                                                        \
    if (!ocl_api.f) {                                                                             \
        rc = err_set(e, E_UNSUPPORTED, "libOpenCL.so.1 lacks " #f ": OpenCL 1.2 is needed");      \
        goto out;                                                                                 \
    }
    OCL_FUNCTIONS(X)
#undef X
    loaded = true; /* the handle is kept for the life of the process */
out:
    pthread_mutex_unlock(&load_lock);
    return rc;
}

static const char *error_name(cl_int rc)
{
    switch (rc) {
#define X(name)                                                                                   \
    case name:                                                                                    \
        return #name;
        X(CL_DEVICE_NOT_FOUND)
        X(CL_DEVICE_NOT_AVAILABLE)
        X(CL_COMPILER_NOT_AVAILABLE)
        X(CL_MEM_OBJECT_ALLOCATION_FAILURE)
        X(CL_OUT_OF_RESOURCES)
        X(CL_OUT_OF_HOST_MEMORY)
        X(CL_PROFILING_INFO_NOT_AVAILABLE)
        X(CL_BUILD_PROGRAM_FAILURE)
        X(CL_MAP_FAILURE)
        X(CL_MISALIGNED_SUB_BUFFER_OFFSET)
        X(CL_INVALID_VALUE)
        X(CL_INVALID_PLATFORM)
        X(CL_INVALID_DEVICE)
        X(CL_INVALID_CONTEXT)
        X(CL_INVALID_QUEUE_PROPERTIES)
        X(CL_INVALID_COMMAND_QUEUE)
        X(CL_INVALID_MEM_OBJECT)
        X(CL_INVALID_BINARY)
        X(CL_INVALID_BUILD_OPTIONS)
        X(CL_INVALID_PROGRAM)
        X(CL_INVALID_PROGRAM_EXECUTABLE)
        X(CL_INVALID_KERNEL_NAME)
        X(CL_INVALID_KERNEL)
        X(CL_INVALID_ARG_INDEX)
        X(CL_INVALID_ARG_VALUE)
        X(CL_INVALID_ARG_SIZE)
        X(CL_INVALID_KERNEL_ARGS)
        X(CL_INVALID_WORK_DIMENSION)
        X(CL_INVALID_WORK_GROUP_SIZE)
        X(CL_INVALID_WORK_ITEM_SIZE)
        X(CL_INVALID_GLOBAL_OFFSET)
        X(CL_INVALID_EVENT)
        X(CL_INVALID_OPERATION)
        X(CL_INVALID_BUFFER_SIZE)
        X(CL_INVALID_GLOBAL_WORK_SIZE)
#undef X
    case -9999: /* NVIDIA: an earlier kernel touched memory it must not */
        return "the driver reports an illegal access";
    case -1001:
        return "no platform is installed";
    default:
        return "unknown error";
    }
}

int ocl_call_check(cl_int rc, const char *call, const char *what, struct err *e)
{
    if (rc == CL_SUCCESS)
        return 0;
    int code = rc == CL_MEM_OBJECT_ALLOCATION_FAILURE || rc == CL_OUT_OF_HOST_MEMORY
                   ? E_NOMEM
                   : E_DEVICE;
    return err_set(e, code, "%s for %s: %s (%d)", call, what, error_name(rc), (int)rc);
}

uint64_t ocl_call_fail_at(uint64_t n)
{
    atomic_store(&fail_at, n);
    return atomic_exchange(&calls, 0);
}

void ocl_call_watch(void (*seen)(const char *call, const char *what)) { watch = seen; }

bool ocl_call_fault(const char *call, const char *what)
{
    if (watch)
        watch(call, what);
    uint64_t n = atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed) + 1;
    return n == atomic_load_explicit(&fail_at, memory_order_relaxed);
}
