/* CONV, SHIFT, RNN, ROPE and EMBED for AVX2: see seq_impl.h. */
#include "kernels/cpu/seq_impl.h"
