/* One output of a packed matrix. */
#ifndef RECURD_REF_LINEAR_H
#define RECURD_REF_LINEAR_H

#include "kernels/host.h"

/* Row `row` of w times x: the chain fma(w[k], x[k], acc) over k = 0 … n-1 from 0. */
float ref_matrix_row(const struct host_weight *w, int64_t row, const float *x, int32_t n);

/* A definition of one output: that one, ref_split_row or ref_int16_row. */
typedef float ref_row_fn(const struct host_weight *w, int64_t row, const float *x, int32_t n);

#endif
