/* The product of many rows by Hopper's tensor cores, as PTX: its instruction is closed to OpenCL C,
 * but a program binary of NVIDIA's driver is PTX text. The bits are those of src/nvidia/: slices of
 * the inputs, each a chain of products of 16 inputs, added in order (src/mma.clh). */
#ifndef RECURD_OCL_WGMMA_H
#define RECURD_OCL_WGMMA_H

#include "base/buf.h"

/* The kernels' file, in place of a source; each is named wgmma_ROWS. */
#define OCL_WGMMA "nvidia/linear_wgmma.ptx"
#define OCL_WGMMA_OUTPUTS 128 /* of a tile */
#define OCL_WGMMA_LANES 384   /* work-items of a group */

/* A kernel for tiles of 128 outputs x `rows` rows of x. Its parameters in order: arena, out, res
 * (views), w, bias, counts, outputs, inputs, cols_p, slice_len, has_bias, has_res, act (ACT_NONE,
 * ACT_RELU or ACT_SQRELU), is_logits, packed (pair_at of src/mma.clh), rows_p, packed_at (floats
 * before the first pair), parts, plane.
 * parts: 1, or the number of slices: then the chain of each goes to a view of its own, `plane`
 * floats from one to the next. Any number of groups take the tiles (of all parts) in turn. Up to
 * `rows` rows of packed past the last are read. */
struct ocl_wgmma {
    int rows;   /* a multiple of 8 */
    int stages; /* of 32 inputs on their way: 64 * rows bytes and 8 KiB of weights each */
};

/* All shapes, narrow ones first; returns their number. */
int ocl_wgmma_shapes(const struct ocl_wgmma **out);

/* The program: a kernel for every shape. */
void ocl_wgmma_program(struct buf *b);

/* Builds and launches them once (wgmmatest.c). Where that fails mma.sync makes the same bits: the
 * log says so, and tune.wgmma is 0. */
struct ocl_device;
void ocl_wgmma_test(struct ocl_device *d);

#endif
