/* SCAN and LOGSUM for AVX-512: see scan_impl.h. */
#include "kernels/cpu/scan_impl.h"
