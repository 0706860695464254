/* FENWICK and TRAPEZOID for AVX2: see levels_impl.h. */
#include "kernels/cpu/levels_impl.h"
