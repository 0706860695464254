/* The ends of vectors: loads and stores of what is left. */
#ifndef RECURD_LANES_H
#define RECURD_LANES_H

#include "kernels/cpu/impl/simd.h"

/* 16 elements, or those left; the other lanes are zero, or not stored. */
INLINE v16 load_left(const float *p, int left)
{
    return left >= LANES ? v16_load(p) : v16_load_n(p, left);
}
INLINE void store_left(float *p, int left, v16 x)
{
    if (left >= LANES)
        v16_store(p, x);
    else
        v16_store_n(p, left, x);
}
INLINE v16 keep_left(v16 x, int left) { return left >= LANES ? x : v16_keep(x, left); }

#endif
