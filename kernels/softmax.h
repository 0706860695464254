/* The arithmetic of one row of logits: scan, exponentials, sums. Pure functions of the row.
 *
 * A weight is exp(-d), d >= 0, as a float. Sums are made of its first SOFTMAX_BITS binary places,
 * as integers: exact, so that any order of adding, on any device, gives the same sum. Elementwise
 * operations are single IEEE ones, without contraction; no value in them is ever denormal or
 * that does not matter, so it makes no difference whether a device flushes them to zero. The loops
 * are in blocks of fixed length, which compilers turn into SIMD at -O2. */
#ifndef RECURD_SOFTMAX_H
#define RECURD_SOFTMAX_H

#include <string.h>

#include "base/base.h"
#include "base/limits.h"

/* One block is 4 cache lines of floats. */
#define SOFTMAX_BLOCK 64

/* Weights below 2^-43 are 0; so is everything from here on. */
#define SOFTMAX_BITS 43
#define SOFTMAX_LEAST 0x1p-43f
#define SOFTMAX_FAR 30.0f
_Static_assert(LIMIT_VOCAB <= 1 << 20, "a row's sum of weights stays below 2^64");

/* A logit below 2^-100 counts as 0. Differences of what is left are normal floats. Masked, not
 * chosen: loops around this stay SIMD. */
#define SOFTMAX_TINY_BITS 0x0d800000 /* of 2^-100 */
static inline float softmax_tame(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= -(int32_t)((bits & INT32_MAX) >= SOFTMAX_TINY_BITS);
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The places that count, as an integer: 2^SOFTMAX_BITS for 1. 0 <= w <= 1. */
static inline uint64_t softmax_fixed(float w)
{
    return (uint64_t)(w * 0x1p43f);
}

struct softmax_top {
    float max; /* -infinity when nothing is larger */
    bool nan;  /* one of them is */
};
/* The largest of n > 0 values; tops: [blocks] the largest of each block. */
struct softmax_top softmax_max(const float *x, int32_t n, float *tops);
/* The first index that holds the largest value, max. */
int32_t softmax_find(const float *x, int32_t n, float max, const float *tops);

/* w[i] = exp(-(max - x[i]) * scale), 0 if that is below `least`, for whole blocks; sums: of each
 * block. max is the largest, scale >= 0. Returns the sum of all. */
uint64_t softmax_weights(const float *x, int32_t n, float max, float scale, float least, float *w,
                         uint64_t *sums);
/* The sum of exp(-(max - x[i])). */
uint64_t softmax_sum(const float *x, int32_t n, float max);

#endif
