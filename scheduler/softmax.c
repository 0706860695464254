/* Scan, exponentials and sums of one row of logits. Pure; engine thread.
 *
 * Invariant: no result depends on the compiler's choice of vector width: elementwise operations
 * are exact IEEE single ones, and sums join LANES partial ones in a fixed tree. */
#include "scheduler/softmax.h"

#include <math.h>
#include <string.h>

/* Partial sums and maxima side by side: more than the latency of an addition can use. */
#define LANES 16
_Static_assert(SOFTMAX_BLOCK == 4 * LANES, "a block is summed as four rows of lanes");

int softmax_max(const float *x, int32_t n, float *max, struct err *e)
{
    float top[LANES];
    int32_t bad[LANES] = {0};
    for (int l = 0; l < LANES; l++)
        top[l] = -INFINITY;
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float v = x[i + l];
            top[l] = v > top[l] ? v : top[l];
            bad[l] |= v != v; /* NaN */
        }
    for (int l = 0; i < n; i++, l++) {
        top[l] = x[i] > top[l] ? x[i] : top[l];
        bad[l] |= x[i] != x[i];
    }
    float best = -INFINITY;
    for (int l = 0; l < LANES; l++) {
        if (bad[l])
            return err_set(e, E_RANGE, "the model computed a logit that is not a number, "
                           "among %d", (int)n);
        best = top[l] > best ? top[l] : best;
    }
    if (isinf(best))
        return err_set(e, E_RANGE, best > 0 ? "a logit is infinite, among %d"
                                            : "no token is allowed, among %d", (int)n);
    *max = best;
    return 0;
}

int32_t softmax_find(const float *x, int32_t n, float value)
{
    int32_t i = 0;
    for (; i + SOFTMAX_BLOCK <= n; i += SOFTMAX_BLOCK) { /* whole blocks without a branch inside */
        int32_t any = 0;
        for (int l = 0; l < SOFTMAX_BLOCK; l++)
            any |= x[i + l] == value;
        if (any)
            break;
    }
    for (; i < n; i++)
        if (x[i] == value)
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
    bits = (bits - zero + 127) << 23 & keep; /* k >= -126: a normal number */
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

double softmax_block_sum(const float *w)
{
    double lane[LANES];
    for (int l = 0; l < LANES; l++)
        lane[l] = ((double)w[l] + w[l + LANES]) + ((double)w[l + 2 * LANES] + w[l + 3 * LANES]);
    double half[LANES / 2];
    for (int l = 0; l < LANES / 2; l++)
        half[l] = lane[l] + lane[l + LANES / 2];
    return ((half[0] + half[1]) + (half[2] + half[3])) +
           ((half[4] + half[5]) + (half[6] + half[7]));
}

static void weigh_block(const float *x, float max, float scale, float *w)
{
    float clamped[SOFTMAX_BLOCK];
    uint32_t keep[SOFTMAX_BLOCK];
    for (int i = 0; i < SOFTMAX_BLOCK; i++) {
        float d = (max - x[i]) * scale;
        clamped[i] = d < SOFTMAX_FAR ? -d : -SOFTMAX_FAR;
    }
    for (int i = 0; i < SOFTMAX_BLOCK; i++)
        keep[i] = -(uint32_t)(clamped[i] > -SOFTMAX_FAR);
    for (int i = 0; i < SOFTMAX_BLOCK; i++)
        w[i] = exp_masked(clamped[i], keep[i]);
}

double softmax_weights(const float *x, int32_t n, float max, float scale, float *w)
{
    ASSERT(n % SOFTMAX_BLOCK == 0);
    double sum = 0;
    for (int32_t i = 0; i < n; i += SOFTMAX_BLOCK) {
        weigh_block(x + i, max, scale, w + i);
        sum += softmax_block_sum(w + i);
    }
    return sum;
}

double softmax_log_sum(const float *x, int32_t n, float max)
{
    float block[SOFTMAX_BLOCK], w[SOFTMAX_BLOCK];
    double sum = 0;
    int32_t i = 0;
    for (; i + SOFTMAX_BLOCK <= n; i += SOFTMAX_BLOCK) {
        weigh_block(x + i, max, 1, w);
        sum += softmax_block_sum(w);
    }
    if (i < n) {
        for (int l = 0; l < SOFTMAX_BLOCK; l++)
            block[l] = i + l < n ? x[i + l] : -INFINITY;
        weigh_block(block, max, 1, w);
        sum += softmax_block_sum(w);
    }
    return log(sum); /* >= 0: the largest contributes exp(0) = 1 */
}
