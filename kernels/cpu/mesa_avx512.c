/* MESA for AVX-512: see mesa_impl.h. */
#include "kernels/cpu/mesa_impl.h"
