/* The row arithmetic against double precision, and its order against the compiler. */
#include <criterion/criterion.h>
#include <math.h>

#include "base/rng.h"
#include "kernels/softmax.h"

#define N 1000

static float row[N + SOFTMAX_BLOCK], weights[N + SOFTMAX_BLOCK], tops[N / SOFTMAX_BLOCK + 1];
static uint64_t sums[N / SOFTMAX_BLOCK + 1];

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
        struct softmax_top top = softmax_max(row, n, tops);
        double sum = 0, best = -INFINITY;
        for (int i = 0; i < n; i++) {
            sum += exp((double)row[i] - top.max);
            best = fmax(best, row[i]);
        }
        cr_assert(top.max == (float)best && !top.nan);
        cr_assert_float_eq((double)softmax_sum(row, n, top.max) * 0x1p-43, sum, 2e-7 * sum);
    }
}

Test(softmax, weights_are_exponentials_and_far_ones_vanish)
{
    for (int i = 0; i < SOFTMAX_BLOCK; i++)
        row[i] = -0.5f * (float)i;
    row[SOFTMAX_BLOCK - 1] = -INFINITY;
    for (float least = 0x1p-43f; least < 1; least *= 1000) {
        uint64_t sum = softmax_weights(row, SOFTMAX_BLOCK, 0, 1, least, weights, sums), again = 0;
        cr_assert_eq(weights[0], 1);
        for (int i = 0; i < SOFTMAX_BLOCK; i++) {
            double exact = exp(row[i]);
            again += softmax_fixed(weights[i]);
            if (exact < 0.999 * least)
                cr_assert_eq(weights[i], 0);
            else if (exact > 1.001 * least)
                cr_assert(fabs(weights[i] - exact) < 2e-7 * exact, "exp(%g)", (double)row[i]);
        }
        cr_assert(sum == again && sum == sums[0]);
    }
    cr_assert_eq(softmax_fixed(1), UINT64_C(1) << SOFTMAX_BITS);
}

Test(softmax, a_sum_is_that_of_its_weights_in_any_order)
{
    fill(5, 6);
    struct softmax_top top = softmax_max(row, N, tops);
    uint64_t sum = softmax_weights(row, N, top.max, 1, 0, weights, sums), again = 0, blocks = 0;
    for (int i = N; i-- > 0;)
        again += softmax_fixed(weights[i]);
    for (size_t i = 0; i < ARRAY_LEN(sums); i++)
        blocks += sums[i];
    cr_assert(sum == again && sum == blocks && sum == softmax_sum(row, N, top.max));
}

Test(softmax, the_same_values_give_the_same_bits_wherever_they_lie)
{
    fill(3, 4);
    struct softmax_top top = softmax_max(row, N, tops);
    uint64_t sum = softmax_sum(row, N, top.max);
    for (int shift = 1; shift < 8; shift++) {
        memmove(row + shift, row + shift - 1, N * sizeof *row);
        cr_assert_eq(softmax_sum(row + shift, N, top.max), sum);
    }
}

Test(softmax, what_is_not_a_number_is_seen_wherever_it_lies)
{
    for (int i = 0; i < N; i += 37) {
        fill(4, 1);
        row[i] = NAN;
        cr_assert(softmax_max(row, N, tops).nan);
        row[i] = INFINITY;
        cr_assert(softmax_max(row, N, tops).max == INFINITY && !softmax_max(row, N, tops).nan);
    }
    for (int i = 0; i < N; i++)
        row[i] = -INFINITY;
    cr_assert_eq(softmax_max(row, N, tops).max, -INFINITY);
    row[N - 1] = 0; /* one allowed token is enough */
    cr_assert_eq(softmax_max(row, N, tops).max, 0);
}

Test(softmax, the_first_of_equals_is_found_and_tiny_ones_equal_zero)
{
    for (int i = 0; i < N; i++)
        row[i] = -1;
    row[900] = 1e-31f;
    row[500] = -0.0f;
    row[501] = 0;
    struct softmax_top top = softmax_max(row, N, tops);
    cr_assert_eq(top.max, 0);
    cr_assert_eq(softmax_find(row, N, top.max, tops), 500);
}
