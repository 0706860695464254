/* EW for AVX-512: see ew_impl.h. */
#include "kernels/cpu/ew_impl.h"
