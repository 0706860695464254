/* The second definition of a matrix product: that of units which multiply bf16 and add float32.
 *
 * An input is cut into three bf16, exactly: its bits from the top down, eight at a time. Inputs are
 * taken in spans of 32, or of 16 where a format has a scale for 16 (the last one filled up with
 * zeros). Of a span, each part in turn gives two chains of fused multiply-adds from zero, one over
 * its even columns and one over its odd ones, whose sum is added to the span's.
 *
 * Weights in bf16 go on adding from span to span. Of a format with scales the chains take the
 * whole numbers that the bits stand for; a span's sum s then counts in
 *   acc = fma(scale, s, acc), and where the format has a minimum: acc = fma(min, sum of x, acc),
 * the sum over x being a tree of halves (x[i] + x[i + n / 2], and so on). Denormals are zero. */
#ifndef RECURD_REF_SPLIT_H
#define RECURD_REF_SPLIT_H

#include "kernels/host.h"

#define SPLIT_PARTS 3
#define SPLIT_SPAN 32

/* x as the sum of bf16 values. */
void ref_split(float x, float part[SPLIT_PARTS]);
/* One output: row `row` of w times x. bf16 and all formats with scales. */
float ref_split_row(const struct host_weight *w, int64_t row, const float *x, int32_t n);

/* LINEAR, EXPERTS and BLOCKS by it. */
host_kernel ref_linear_split, ref_experts_split, ref_blocks_split;

#endif
