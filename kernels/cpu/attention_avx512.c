/* ATTENTION for AVX-512: see attention_impl.h. */
#include "kernels/cpu/attention_impl.h"
