/* PATH, WALL, PARALLAX and DELTAFORMER for AVX2: see relatives_impl.h. */
#include "kernels/cpu/relatives_impl.h"
