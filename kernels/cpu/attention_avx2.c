/* ATTENTION for AVX2: see attention_impl.h. */
#include "kernels/cpu/attention_impl.h"
