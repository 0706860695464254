/* DECAY for AVX2: see decay_impl.h. */
#include "kernels/cpu/decay_impl.h"
