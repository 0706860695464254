/* The third definition of a matrix product: of weights with blocks, and inputs in whole numbers of
 * 16 bits.
 *
 * A row of inputs is cut into groups of 32. Of a group whose largest magnitude is a:
 *   by = a / 32767, and q[k] = x[k] (32767 / a) to the nearest integer, ties to even.
 * A group with a < 2^-80 counts as zeros; one with an infinity or a NaN has by = NaN and q = 0, so
 * that no result of it is a number. A run of weights under one scale (32 of them, or 16) with the
 * whole numbers c[k] that its bits stand for then counts in, run after run from acc = 0:
 *   i = sum of c[k] q[k], s = sum of q[k]        exact in int32 (255 x 32767 x 32)
 *   acc = fma(i, scale by, acc), and where the format has a minimum: acc = fma(min, s by, acc)
 * with i and s rounded to float32. Denormals are zero, scale by among them: such a run, of MXFP4
 * alone, adds nothing, in every form.
 *
 * An input is off by at most INT16_ERROR of its group's largest, or is one of a group below 2^-80:
 * a half of the last place of q and two roundings of 2^-24 of 32767, which is 1.008 x 2^-16 of a,
 * and the rounding of by. So a result is off from that of exact arithmetic by at most the sum over
 * groups of max(INT16_ERROR a, 2^-80) sum |w[k]|, and by what float32 rounds: of every run
 * 3 x 2^-24 of both terms, and 2^-24 of acc after each; a run that adds nothing lacks less than
 * 2^-102, and a denormal less than 2^-126. One definition for one row and many, for
 * every instruction set: sums of integers have no order. */
#ifndef RECURD_REF_INT16_H
#define RECURD_REF_INT16_H

#include "kernels/host.h"

#define INT16_GROUP 32
#define INT16_ERROR 0x1.04p-16
/* Smaller groups are zeros: scale times by is a denormal then for scales of MXFP4 below 2^-31 alone
 * (every other is 2^-24 or more, or zero). */
#define INT16_LEAST 0x1p-80f

/* The formats it serves: those with blocks whose numbers are whole. */
#define INT16_FORMATS(X) \
    X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_NL) \
    X(IQ4_XS) X(MXFP4)

/* 32 inputs to q; by. */
float ref_int16_group(const float *x, int16_t q[INT16_GROUP]);
/* One output: row `row` of w times x; n is a multiple of 32. */
float ref_int16_row(const struct host_weight *w, int64_t row, const float *x, int32_t n);

/* LINEAR, EXPERTS and BLOCKS by it. */
host_kernel ref_linear_int16, ref_experts_int16, ref_blocks_int16;

#endif
