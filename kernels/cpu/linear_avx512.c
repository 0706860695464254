/* LINEAR, BLOCKS and EXPERTS for AVX-512: see linear_impl.h. */
#include "kernels/cpu/linear_impl.h"
