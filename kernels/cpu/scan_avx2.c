/* SCAN and LOGSUM for AVX2: see scan_impl.h. */
#include "kernels/cpu/scan_impl.h"
