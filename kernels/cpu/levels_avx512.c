/* FENWICK and TRAPEZOID for AVX-512: see levels_impl.h. */
#include "kernels/cpu/levels_impl.h"
