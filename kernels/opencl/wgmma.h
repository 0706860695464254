/* The product of many rows by Hopper's tensor cores, as PTX: its instruction is closed to OpenCL C,
 * but a program binary of NVIDIA's driver is PTX text. The bits are those of src/nvidia/: slices of
 * the inputs, each a chain of products of 16 inputs, added in order (src/mma.clh). */
#ifndef RECURD_OCL_WGMMA_H
#define RECURD_OCL_WGMMA_H

#include <string.h>

#include "base/buf.h"

/* The kernels' file, in place of a source; each is named wgmma_ROWS. */
#define OCL_WGMMA "nvidia/linear_wgmma.ptx"
#define OCL_WGMMA_OUTPUTS 128 /* of a tile */
#define OCL_WGMMA_LANES 384   /* work-items of a group */

/* Products of one launch: its *members* share the rows, and nothing else. */
#define OCL_WGMMA_MEMBERS 8

/* What says of a member how it is made, in this order: 8 bytes each. parts: 1, or the number of
 * slices; then the chain of each goes to a view of its own in the scratch buffer, `plane` floats
 * from one to the next. act: ACT_NONE, ACT_RELU or ACT_SQRELU. packed_at: floats. packs: 1: the
 * outputs go to packed rows, of which out_at is the first pair and out_stride the room (a multiple
 * of 8); parts is 1, and there is no residual. */
enum ocl_wgmma_number {
    OCL_WGMMA_OUT_AT, OCL_WGMMA_OUT_STRIDE, OCL_WGMMA_RES_AT, OCL_WGMMA_RES_STRIDE,
    OCL_WGMMA_N_OUTPUTS, OCL_WGMMA_INPUTS, OCL_WGMMA_COLS_P, OCL_WGMMA_SLICE_LEN,
    OCL_WGMMA_HAS_BIAS, OCL_WGMMA_HAS_RES, OCL_WGMMA_ACT, OCL_WGMMA_IS_LOGITS, OCL_WGMMA_ROWS_P,
    OCL_WGMMA_PACKED_AT, OCL_WGMMA_PARTS, OCL_WGMMA_PLANE, OCL_WGMMA_PACKS,
    OCL_WGMMA_NUMBERS
};
/* Arguments of an ocl_launch: of every member w, bias, packed (src/nvidia/pack_rows.cl) and the
 * numbers. */
#define OCL_WGMMA_ARGS (3 + OCL_WGMMA_NUMBERS)

/* A kernel for tiles of 128 outputs x `rows` rows of x. Its parameters in order: arena, scratch,
 * counts, the number of members, the numbers of OCL_WGMMA_MEMBERS members; of each of them w, bias,
 * packed. Any number of groups take the tiles of all members in turn, so long ones should come
 * first. Up to `rows` rows of packed past the last are read. */
struct ocl_wgmma {
    int rows;   /* a multiple of 8 */
    int stages; /* of 32 inputs on their way: 64 * rows bytes and 8 KiB of weights each */
};

static inline bool ocl_is_wgmma(const char *file) { return !strcmp(file, OCL_WGMMA); }

/* All shapes, narrow ones first; returns their number. */
int ocl_wgmma_shapes(const struct ocl_wgmma **out);

/* The program: a kernel for every shape. */
void ocl_wgmma_program(struct buf *b);

/* Builds and launches them once (wgmmatest.c). Where that fails mma.sync makes the same bits: the
 * log says so, and tune.wgmma is 0. */
struct ocl_device;
void ocl_wgmma_test(struct ocl_device *d);

#endif
