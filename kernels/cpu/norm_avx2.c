/* NORM, GROUPSUM and SOFTMAX for AVX2: see norm_impl.h. */
#include "kernels/cpu/norm_impl.h"
