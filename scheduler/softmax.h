/* The arithmetic of one row of logits: scan, exponentials, sums. Pure functions of the row.
 *
 * Every sum has one order that depends on the row's length alone, so equal rows give equal bits.
 * The loops are written in blocks of fixed length: compilers turn those into SIMD at -O2, and any
 * width computes the same values (no contraction, no reassociation). */
#ifndef RECURD_SOFTMAX_H
#define RECURD_SOFTMAX_H

#include "base/err.h"

/* Scratch rows are padded to whole blocks: one block is 4 cache lines of floats. */
#define SOFTMAX_BLOCK 64

/* exp(-d) is taken as 0 above this: e^-87 is the last that is a normal float, and 2^20 tokens of
 * that weight together are 1e-31 of the largest. */
#define SOFTMAX_FAR 87.0f

/* The largest of n > 0 values. E_RANGE when one is NaN, one is +infinity or all are -infinity. */
int softmax_max(const float *x, int32_t n, float *max, struct err *e) MUST_USE;
/* The first index that holds the value (there is one). */
int32_t softmax_find(const float *x, int32_t n, float value);

/* w[i] = exp(-(max - x[i]) * scale); n is a multiple of SOFTMAX_BLOCK; max >= every x[i] (padding
 * is -infinity), scale > 0. Returns the sum, block by block. */
double softmax_weights(const float *x, int32_t n, float max, float scale, float *w);

/* log(sum exp(x[i] - max)) over n values. */
double softmax_log_sum(const float *x, int32_t n, float max);

/* Sum of one block of SOFTMAX_BLOCK weights. */
double softmax_block_sum(const float *w);

#endif
