/* DELTA for AVX-512: see delta_impl.h. */
#include "kernels/cpu/delta_impl.h"
