/* Token shifts that nobody makes: in steps in which an elementwise program writes packed rows
 * (packed.h) it reads the row before each of its own itself, from x or, for a sequence's first row,
 * from the state.
 *
 * The program is the only one that reads the shifted rows, all their columns one by one, and it
 * reads the same columns of x, so that x is still there. Until then no op writes x, and the program
 * does not: other work-items read the row. (Two activations of one op never share memory: their
 * lives meet.) Both are made for all rows of tokens; nothing outside the plan reads the shifted
 * rows. A sequence's only row goes into its state by who has read that; the last ones of several
 * rows go by conv_tail.cl, behind the program. */
#ifndef RECURD_OCL_SHIFTED_H
#define RECURD_OCL_SHIFTED_H

#include "kernels/opencl/launches.h"

/* From how many rows on an elementwise op writes packed rows; 0: never. */
int32_t ocl_ew_packed_from(const struct ocl_model *m, const struct op *ew);
/* The shift that it makes itself in such steps; NULL: none. */
const struct op *ocl_shift_in_ew(const struct ocl_model *m, const struct op *ew);
/* Up to how many rows a shift is made: INT32_MAX when always. */
int32_t ocl_shift_rows_max(const struct ocl_model *m, const struct op *shift);
/* The launch that puts the last `size` - 1 rows of each sequence of in[0] into the section, for
 * steps of min to max rows in which some sequence has several. */
int ocl_keep_tail(struct ocl_model *m, const struct op *op, int32_t size, int32_t min, int32_t max,
                  struct err *e) MUST_USE;

#endif
