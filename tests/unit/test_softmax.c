/* The row arithmetic against double precision, and its order against the compiler. */
#include <criterion/criterion.h>
#include <math.h>

#include "base/rng.h"
#include "scheduler/softmax.h"

#define N 1000

static float row[N + SOFTMAX_BLOCK], weights[N + SOFTMAX_BLOCK];

static void fill(uint64_t seed, float spread)
{
    struct rng r = {.seed = seed};
    for (int i = 0; i < N; i++)
        row[i] = spread * rng_normal(&r);
}

Test(softmax, sums_agree_with_double_precision)
{
    for (int k = 0; k < 50; k++) {
        int32_t n = N - k; /* every tail length of a block */
        fill((uint64_t)k, 1 + (float)k);
        float max;
        cr_assert_eq(softmax_max(row, n, &max, NULL), 0);
        double sum = 0, best = -INFINITY;
        for (int i = 0; i < n; i++) {
            sum += exp((double)row[i] - max);
            best = fmax(best, row[i]);
        }
        cr_assert_eq(max, (float)best);
        cr_assert_float_eq(softmax_log_sum(row, n, max), log(sum), 2e-7);
    }
}

Test(softmax, weights_are_exponentials_and_far_ones_vanish)
{
    for (int i = 0; i < SOFTMAX_BLOCK; i++)
        row[i] = -2.0f * (float)i;
    row[SOFTMAX_BLOCK - 1] = -INFINITY;
    cr_assert_gt(softmax_weights(row, SOFTMAX_BLOCK, 0, 1, weights), 1);
    cr_assert_eq(weights[0], 1);
    for (int i = 0; i < SOFTMAX_BLOCK - 1; i++) {
        double exact = exp(row[i]);
        if (row[i] <= -SOFTMAX_FAR)
            cr_assert_eq(weights[i], 0);
        else
            cr_assert(fabs(weights[i] - exact) < 2e-7 * exact, "exp(%g)", (double)row[i]);
    }
    cr_assert_eq(weights[SOFTMAX_BLOCK - 1], 0);
}

Test(softmax, the_same_values_give_the_same_bits_wherever_they_lie)
{
    fill(3, 4);
    float max;
    cr_assert_eq(softmax_max(row, N, &max, NULL), 0);
    double sum = softmax_log_sum(row, N, max);
    for (int shift = 1; shift < 8; shift++) {
        memmove(row + shift, row + shift - 1, N * sizeof *row);
        cr_assert_eq(softmax_log_sum(row + shift, N, max), sum);
    }
}

Test(softmax, a_row_that_is_not_finite_is_refused_wherever_it_is_damaged)
{
    static const float damage[] = {NAN, -NAN, INFINITY};
    float max;
    for (int i = 0; i < N; i += 37)
        for (size_t d = 0; d < ARRAY_LEN(damage); d++) {
            fill(4, 1);
            row[i] = damage[d];
            cr_assert_eq(softmax_max(row, N, &max, NULL), E_RANGE, "%g at %d",
                         (double)damage[d], i);
        }
    for (int i = 0; i < N; i++)
        row[i] = -INFINITY;
    cr_assert_eq(softmax_max(row, N, &max, NULL), E_RANGE);
    row[N - 1] = 0; /* one allowed token is enough */
    cr_assert_eq(softmax_max(row, N, &max, NULL), 0);
}
