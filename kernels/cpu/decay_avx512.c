/* DECAY for AVX-512: see decay_impl.h. */
#include "kernels/cpu/decay_impl.h"
