/* DELTA for AVX2: see delta_impl.h. */
#include "kernels/cpu/delta_impl.h"
