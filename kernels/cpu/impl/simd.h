/* Sixteen float lanes: one zmm, two ymm or four NEON registers. Every SIMD kernel is written once
 * in these words and compiled per instruction set; all sets do the same operations in the same
 * order, so they give the same bits. Included by the files of this folder only. */
#ifndef RECURD_SIMD_H
#define RECURD_SIMD_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/host.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define LANES 16

#if defined(__x86_64__)
#include "kernels/cpu/impl/simd_x86.h"
#else
#ifdef BY_INT16
#define FN(name) name##_int16_neon
#else
#define FN(name) name##_neon
#endif
#include "kernels/cpu/impl/simd_neon.h"
#endif

/* fma(x, y, z), where z is a sum that stays where it is. */
#ifndef V16_ADD_PRODUCT
INLINE v16 v16_add_product(v16 z, v16 x, v16 y) { return v16_fma(x, y, z); }
#endif

/* bf16 is the upper half of a float32: the first of a pair by shift, the second by mask. */
INLINE v16 v16_pair_even(v16 pair) { return v16_shl(pair, 16); }
INLINE v16 v16_pair_odd(v16 pair) { return v16_and(pair, v16_bits(0xffff0000u)); }
#ifndef V16_LOAD_ODD
INLINE v16 v16_load_odd(const void *p) { return v16_pair_odd(v16_load_pairs(p)); }
#endif

#endif
