/* ocllaunch: host time of one enqueue, by what the kernel's arguments are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "kernels/opencl/buffer.h"
#include "kernels/opencl/program.h"

#define N 2000

static struct ocl_device d;

static void must(int rc, const struct err *e)
{
    if (rc) {
        fprintf(stderr, "ocllaunch: %s\n", e->text);
        exit(1);
    }
}

/* mems buffers (sub: parts of one), ints numbers; kernels distinct kernel objects in turn. */
static void line(int mems, int ints, bool sub, int kernels, int dims)
{
    struct buf src;
    struct err e = {0};
    cl_program p;
    cl_kernel k[64];
    struct ocl_buffer b[16];
    cl_mem part[16];
    buf_init(&src, KIB(16));
    buf_fmt(&src, "kernel void f(");
    for (int i = 0; i < mems; i++)
        buf_fmt(&src, "global float *m%d%s", i, i + 1 < mems || ints ? "," : "");
    for (int i = 0; i < ints; i++)
        buf_fmt(&src, "const int i%d%s", i, i + 1 < ints ? "," : "");
    buf_fmt(&src, "){ if (get_global_id(0) == 0) m0[0] += 1.0f; }");
    must(ocl_program_build(&p, &d, "launch", src.p, true, &e), &e);
    buf_free(&src);
    for (int i = 0; i < mems; i++) {
        must(ocl_buffer_new(&b[i], &d, 65536, "b", &e), &e);
        cl_buffer_region r = {(size_t)i * 4096, 4096};
        if (sub)
            must(OCL_NEW(part[i], &e, "sub", clCreateSubBuffer, b[0].mem, CL_MEM_READ_WRITE,
                         CL_BUFFER_CREATE_TYPE_REGION, &r), &e);
    }
    for (int q = 0; q < kernels; q++) {
        must(OCL_NEW(k[q], &e, "f", clCreateKernel, p, "f"), &e);
        for (int i = 0; i < mems; i++)
            must(OCL(&e, "f", clSetKernelArg, k[q], (cl_uint)i, sizeof(cl_mem),
                     sub ? &part[i] : &b[i].mem), &e);
        for (int i = 0; i < ints; i++)
            must(OCL(&e, "f", clSetKernelArg, k[q], (cl_uint)(mems + i), sizeof i, &i), &e);
    }
    size_t global[3] = {1024, 1, 1}, local[3] = {128, 1, 1};
    double best = 1e9, total = 0;
    for (int r = 0; r < 4; r++) {
        uint64_t t0 = clock_now_ns();
        for (int i = 0; i < N; i++)
            must(OCL(&e, "f", clEnqueueNDRangeKernel, d.queue, k[i % kernels], (cl_uint)dims, NULL,
                     global, local, 0, NULL, NULL), &e);
        uint64_t t1 = clock_now_ns();
        must(OCL(&e, "f", clFinish, d.queue), &e);
        best = MIN(best, (double)(t1 - t0) / N / 1e3);
        total = (double)(clock_now_ns() - t0) / N / 1e3;
    }
    printf("%2d buffers%s, %2d numbers, %2d kernels, %d dims: %.2f us an enqueue, %.2f us in all\n",
           mems, sub ? " (parts of one)" : "", ints, kernels, dims, best, total);
}

int main(int argc, char **argv)
{
    struct err e = {0};
    must(ocl_device_open(&d, argc > 1 ? argv[1] : NULL, NULL, &e), &e);
    line(1, 0, false, 1, 1);
    line(1, 0, false, 1, 3);
    line(1, 0, false, 32, 1);
    line(4, 0, false, 32, 1);
    line(8, 0, false, 32, 1);
    line(8, 0, true, 32, 1);
    line(1, 16, false, 32, 1);
    line(2, 16, false, 32, 3);
    line(7, 16, false, 32, 3);
    return 0;
}
