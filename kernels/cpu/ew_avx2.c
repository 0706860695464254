/* EW for AVX2: see ew_impl.h. */
#include "kernels/cpu/ew_impl.h"
