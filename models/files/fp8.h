/* FP8 checkpoints: matrices of F8_E4M3 with their scales in a tensor beside them, as one tensor of
 * DTYPE_FP8; and what config.json says of them. Thread: loading. */
#ifndef RECURD_FP8_H
#define RECURD_FP8_H

#include "models/files/checkpoint.h"
#include "models/files/config.h"

/* *ck is replaced by one that owns it, if it has F8_E4M3 tensors: X is joined with X_scale_inv or
 * X_scale, which is no tensor of its own any more. Nor is M.input_scale beside such an M.weight: it
 * says how others round activations, which stay float32 here. A scale multiplies, and belongs to
 * 128 x 128 elements, to a row, to a matrix, or to an expert's. E_FORMAT for a matrix without a
 * scale or with one of another shape. On an error *ck is as it was. */
int fp8_join(struct checkpoint **ck, struct err *e) MUST_USE;

/* quantization_config of c and of its text_config: understood where it describes such tensors,
 * any other method, key or value is refused by name. */
int fp8_check_config(const struct config *c, struct err *e) MUST_USE;

#endif
