/* NORM, GROUPSUM and SOFTMAX for AVX-512: see norm_impl.h. */
#include "kernels/cpu/norm_impl.h"
