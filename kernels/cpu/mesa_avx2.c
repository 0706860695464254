/* MESA for AVX2: see mesa_impl.h. */
#include "kernels/cpu/mesa_impl.h"
