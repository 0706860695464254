/* Scan, exponentials and sums of one row of logits. Pure; any thread. */
#include "kernels/softmax.h"

#include <math.h>
#include <string.h>

/* Maxima and partial sums side by side: more than the latency of an addition can use. */
#define LANES 16
_Static_assert(SOFTMAX_BLOCK == 4 * LANES, "a block is joined as four rows of lanes");
/* A weight is split where the sums of both parts over a block fit 32 bits. */
#define HIGH_BITS 22
#define LOW_BITS (SOFTMAX_BITS - HIGH_BITS)

/* Block i of the row; its end is filled with -infinity. */
static const float *block_at(const float *x, int32_t n, int32_t i, float *room)
{
    if (i + SOFTMAX_BLOCK <= n)
        return x + i;
    for (int j = 0; j < SOFTMAX_BLOCK; j++)
        room[j] = i + j < n ? x[i + j] : -INFINITY;
    return room;
}

struct softmax_top softmax_max(const float *x, int32_t n, float *tops)
{
    float room[SOFTMAX_BLOCK], best = -INFINITY;
    int32_t bad[LANES] = {0}, any = 0;
    for (int32_t i = 0; i < n; i += SOFTMAX_BLOCK) {
        const float *b = block_at(x, n, i, room);
        float top[LANES];
        for (int l = 0; l < LANES; l++)
            top[l] = -INFINITY;
        for (int j = 0; j < SOFTMAX_BLOCK; j += LANES)
            for (int l = 0; l < LANES; l++) {
                float v = softmax_tame(b[j + l]);
                top[l] = MAX(v, top[l]);
                bad[l] |= v != v;
            }
        for (int l = 0; l < 4; l++) {
            float a = MAX(top[l], top[l + 4]), c = MAX(top[l + 8], top[l + 12]);
            top[l] = MAX(a, c);
        }
        top[0] = MAX(MAX(top[0], top[1]), MAX(top[2], top[3]));
        tops[i / SOFTMAX_BLOCK] = top[0];
        best = MAX(best, top[0]);
    }
    for (int l = 0; l < LANES; l++)
        any |= bad[l];
    return (struct softmax_top){best, any != 0};
}

int32_t softmax_find(const float *x, int32_t n, float max, const float *tops)
{
    int32_t i = 0;
    while (tops[i / SOFTMAX_BLOCK] != max)
        i += SOFTMAX_BLOCK;
    for (; i < n; i++)
        if (softmax_tame(x[i]) == max)
            return i;
    ASSERT(!"the value is in the row");
}

/* exp(x) for -SOFTMAX_FAR <= x <= 0: 2^k * e^r with |r| <= ln(2) / 2 and a polynomial of degree
 * 7, whose truncation (r^8 / 8! < 6e-9) is far below half an ulp. keep: all bits set, or 0 to give
 * 0. A mask instead of a branch: the loop around this stays SIMD. */
static inline float exp_masked(float x, uint32_t keep)
{
    const float log2e = 1.44269504f;
    /* ln(2) in two parts: the first has 9 trailing zero bits, so k * ln2_hi is exact. */
    const float ln2_hi = 0.693145752f, ln2_lo = 1.42860677e-6f;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    float t = x * log2e + magic;
    float k = t - magic;
    float r = (x - k * ln2_hi) - k * ln2_lo;
    float p = 1.98412698e-4f; /* 1/7! … 1/2! */
    p = p * r + 1.38888889e-3f;
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits, zero;
    memcpy(&bits, &t, sizeof bits);
    memcpy(&zero, &magic, sizeof zero);
    bits = (bits - zero + 127) << 23 & keep;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

static void weigh_block(const float *x, float max, float scale, float least, float *w)
{
    float clamped[SOFTMAX_BLOCK];
    uint32_t keep[SOFTMAX_BLOCK];
    for (int i = 0; i < SOFTMAX_BLOCK; i++) {
        float d = (max - softmax_tame(x[i])) * scale; /* NaN: infinity * 0 */
        clamped[i] = d < SOFTMAX_FAR ? -d : -SOFTMAX_FAR;
    }
    for (int i = 0; i < SOFTMAX_BLOCK; i++)
        keep[i] = -(uint32_t)(clamped[i] > -SOFTMAX_FAR);
    for (int i = 0; i < SOFTMAX_BLOCK; i++) {
        float v = exp_masked(clamped[i], keep[i]);
        w[i] = v < least ? 0 : v;
    }
}

static uint64_t sum_block(const float *w)
{
    int32_t high[LANES] = {0}, low[LANES] = {0};
    for (int i = 0; i < SOFTMAX_BLOCK; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float v = w[i + l] * (float)(1 << HIGH_BITS);
            int32_t h = (int32_t)v; /* exact from here: v - h has fewer bits than v */
            high[l] += h;
            low[l] += (int32_t)((v - (float)h) * (float)(1 << LOW_BITS));
        }
    int32_t h = 0, m = 0;
    for (int l = 0; l < LANES; l++) {
        h += high[l];
        m += low[l];
    }
    return ((uint64_t)h << LOW_BITS) + (uint64_t)m;
}

uint64_t softmax_weights(const float *x, int32_t n, float max, float scale, float least, float *w,
                         uint64_t *sums)
{
    float room[SOFTMAX_BLOCK];
    uint64_t sum = 0;
    for (int32_t i = 0; i < n; i += SOFTMAX_BLOCK) {
        weigh_block(block_at(x, n, i, room), max, scale, least, w + i);
        sum += sums[i / SOFTMAX_BLOCK] = sum_block(w + i);
    }
    return sum;
}

uint64_t softmax_sum(const float *x, int32_t n, float max)
{
    float room[SOFTMAX_BLOCK], w[SOFTMAX_BLOCK];
    uint64_t sum = 0;
    for (int32_t i = 0; i < n; i += SOFTMAX_BLOCK) {
        weigh_block(block_at(x, n, i, room), max, 1, 0, w);
        sum += sum_block(w);
    }
    return sum;
}
