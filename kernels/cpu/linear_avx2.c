/* LINEAR, BLOCKS and EXPERTS for AVX2: see linear_impl.h. */
#include "kernels/cpu/linear_impl.h"
