/* The only door to OpenCL: every cl* call goes through OCL() or OCL_NEW(), which name the call,
 * the thing it was made for and the error, and can be made to fail on purpose.
 *
 * The loader (libOpenCL.so.1) is opened when the first device is asked for, so the program starts
 * on machines that have none. Thread: any for ocl_call_init; the rest as the caller's device. */
#ifndef RECURD_OCL_CALL_H
#define RECURD_OCL_CALL_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "base/err.h"

#define OCL_FUNCTIONS(X)                                                                          \
    X(clGetPlatformIDs) X(clGetPlatformInfo) X(clGetDeviceIDs) X(clGetDeviceInfo)                 \
    X(clCreateContext) X(clReleaseContext) X(clCreateCommandQueue) X(clReleaseCommandQueue)       \
    X(clCreateProgramWithSource) X(clCreateProgramWithBinary) X(clBuildProgram)                   \
    X(clGetProgramBuildInfo) X(clGetProgramInfo) X(clReleaseProgram)                              \
    X(clCreateKernel) X(clReleaseKernel) X(clSetKernelArg) X(clGetKernelWorkGroupInfo)            \
    X(clCreateBuffer) X(clCreateSubBuffer) X(clReleaseMemObject)                                  \
    X(clEnqueueNDRangeKernel) X(clEnqueueWriteBuffer) X(clEnqueueReadBuffer)                      \
    X(clEnqueueCopyBuffer) X(clEnqueueFillBuffer) X(clEnqueueMapBuffer)                           \
    X(clEnqueueUnmapMemObject) X(clFlush) X(clFinish) X(clGetEventProfilingInfo)                  \
    X(clReleaseEvent)

struct ocl_api {
#define X(f) __typeof__(f) *f;
    OCL_FUNCTIONS(X)
#undef X
};
extern struct ocl_api ocl_api;

/* Loads the OpenCL loader once. E_NOENT when the machine has none. */
int ocl_call_init(struct err *e) MUST_USE;

/* Turns a status into 0 or an error "call for what: NAME". Refused memory is E_NOMEM, anything
 * else E_DEVICE. */
int ocl_call_check(cl_int rc, const char *call, const char *what, struct err *e) MUST_USE;

/* Fault point. Tests: the n-th call from now fails with CL_OUT_OF_RESOURCES; 0 = never. Returns
 * how many calls were counted since the last time. */
uint64_t ocl_call_fail_at(uint64_t n);
/* Tests: told of every counted call; NULL = nobody. */
void ocl_call_watch(void (*seen)(const char *call, const char *what));
/* Counts one call; true = it must fail. */
bool ocl_call_fault(const char *call, const char *what);

/* `what`: what the call is for, a short phrase for the sentence. */
#define OCL(e, what, f, ...)                                                                      \
    ocl_call_check(ocl_call_fault(#f, what) ? CL_OUT_OF_RESOURCES : ocl_api.f(__VA_ARGS__), #f,   \
                   what, e)

/* For calls that return an object and take a status pointer last. Evaluates to a code. */
#define OCL_NEW(object, e, what, f, ...)                                                          \
    __extension__({                                                                               \
        cl_int ocl_rc_ = CL_OUT_OF_RESOURCES;                                                     \
        (object) = ocl_call_fault(#f, what) ? NULL : ocl_api.f(__VA_ARGS__, &ocl_rc_);            \
        ocl_call_check(ocl_rc_, #f, what, e);                                                     \
    })

/* Releases never fail upwards: there is nothing left to do about it. NULL allowed. */
#define OCL_FREE(f, object)                                                                       \
    do {                                                                                          \
        if (object)                                                                               \
            (void)ocl_api.f(object);                                                              \
        (object) = NULL;                                                                          \
    } while (0)

#endif
