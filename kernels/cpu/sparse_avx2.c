/* NSA and MOBA for AVX2: see sparse_impl.h. */
#include "kernels/cpu/sparse_impl.h"
