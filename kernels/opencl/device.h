/* Finding OpenCL devices on all platforms, and opening one. */
#ifndef RECURD_OCL_DEVICE_H
#define RECURD_OCL_DEVICE_H

#include "base/limits.h"
#include "kernels/opencl/call.h"
#include "kernels/opencl/tune.h"

/* More than any machine has; further ones are not listed. */
#define OCL_DEVICES_MAX 64

/* Programs remembered: one for each source file of a plan, and room for new ops. */
#define OCL_BUILT_MAX 64

struct ocl_info {
    cl_platform_id platform;
    cl_device_id id;
    char platform_name[96], name[128], vendor[96], driver[96];
    char arch[16]; /* NVIDIA's name of the instruction set: "sm_90"; elsewhere empty */
    cl_device_type type;
    uint64_t memory_bytes, alloc_bytes, local_bytes;
    bool shared; /* its memory is the host's: a CPU, or a GPU on its board */
    cl_uint units;
    size_t group_max;   /* work-items of a group */
    size_t align_bytes; /* of sub-buffers */
    size_t param_bytes; /* of a kernel's parameters */
};

/* NVIDIA's driver does not come back from a fill of 8 GiB, while 6 GiB take 4 ms, and fails at one
 * that begins far behind the start of a buffer of 30 GiB: behind OCL_FILL_END zeros are copied. */
#define OCL_FILL_PIECE GIB(1)
#define OCL_FILL_END GIB(4)
#define OCL_ZEROS_BYTES MIB(32)

/* An open device. Owner: the backend. Thread: one at a time. */
struct ocl_device {
    struct ocl_info info;
    struct ocl_tune tune;
    char cache_dir[384]; /* empty = none */
    cl_context context;
    cl_command_queue queue;  /* the step: kernels, batch in, logits out */
    cl_command_queue copies; /* states in and out */
    /* Programs built so far: the self-test and the model share them. */
    struct ocl_built { char *source; cl_program program; } built[OCL_BUILT_MAX];
    int n_built;
    bool profiling;
    bool lost; /* a call failed after start: nothing on this device is trusted any more */
    int64_t held_bytes;
    size_t fill_bytes, fill_end; /* of one fill: OCL_FILL_PIECE, and OCL_FILL_END; less in tests */
    cl_mem zeros;                /* OCL_ZEROS_BYTES of them; NULL until a buffer needs them */
};


/* `name`: NULL or "" = the best (an accelerator before a CPU, then the largest memory); "gpu",
 * "cpu" or "accelerator"; a number of the list; or a part of the device's, vendor's or
 * platform's name in any case; "NAME:N": of those that match not the best, but the N-th in the
 * list, from 0. cache_dir: of built programs, and of what NVIDIA's driver keeps of them unless
 * CUDA_CACHE_PATH is set; NULL: none. Called by the first thread. E_NOENT lists what there is. */
int ocl_device_open(struct ocl_device *d, const char *name, const char *cache_dir,
                    struct err *e) MUST_USE;
void ocl_device_close(struct ocl_device *d);

#endif
