/* NSA and MOBA for AVX-512: see sparse_impl.h. */
#include "kernels/cpu/sparse_impl.h"
