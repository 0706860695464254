/* The generator: published answers of Philox-4x32-10, and what callers rely on. */
#include "base/rng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <string.h>

/* The three known answers of the Random123 distribution (kat_vectors, philox4x32 10). Words 0
 * and 1 of the counter are lo, 2 and 3 are hi; words 0 and 1 of the result are returned. */
Test(rng, agrees_with_the_published_answers)
{
    static const struct {
        uint32_t counter[4], key[2], out[2];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb}},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        const uint32_t *c = known[i].counter, *k = known[i].key, *o = known[i].out;
        uint64_t got = rng_at((uint64_t)k[1] << 32 | k[0], (uint64_t)c[3] << 32 | c[2],
                              (uint64_t)c[1] << 32 | c[0]);
        cr_assert_eq(got, (uint64_t)o[1] << 32 | o[0], "answer %zu: %016lx", i,
                     (unsigned long)got);
    }
}

Test(rng, every_argument_matters)
{
    uint64_t base = rng_at(1, 2, 3);
    for (int bit = 0; bit < 64; bit++) {
        uint64_t flip = UINT64_C(1) << bit;
        cr_assert_neq(rng_at(1 ^ flip, 2, 3), base);
        cr_assert_neq(rng_at(1, 2 ^ flip, 3), base);
        cr_assert_neq(rng_at(1, 2, 3 ^ flip), base);
    }
}

Test(rng, units_are_below_one_and_have_53_bits)
{
    bool odd = false;
    for (uint64_t i = 0; i < 100000; i++) {
        double u = rng_unit_at(9, 0, i);
        cr_assert(u >= 0 && u < 1);
        double scaled = u * 0x1p53;
        cr_assert_eq(scaled, floor(scaled));
        odd |= fmod(scaled, 2) != 0; /* the lowest of the 53 bits is in use */
    }
    cr_assert(odd);
    /* Counter 0 under key 0 is known: e169c58d6627e8d5. */
    cr_assert_eq(rng_unit_at(0, 0, 0), (double)(UINT64_C(0xe169c58d6627e8d5) >> 11) * 0x1p-53);
}

Test(rng, a_sequence_is_reproducible_and_its_seeds_differ)
{
    struct rng a = {.seed = 5}, b = {.seed = 5}, c = {.seed = 6};
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t x = rng_next(&a);
        cr_assert_eq(x, rng_next(&b));
        same += x == rng_next(&c);
    }
    cr_assert_eq(same, 0);
}

Test(rng, below_is_uniform_and_never_reaches_its_bound)
{
    enum { N = 7, DRAWS = 70000 };
    struct rng r = {.seed = 3};
    int count[N] = {0};
    for (int i = 0; i < DRAWS; i++) {
        uint64_t x = rng_below(&r, N);
        cr_assert_lt(x, N);
        count[x]++;
    }
    for (int i = 0; i < N; i++) /* sigma is 93: five of them */
        cr_assert(abs(count[i] - DRAWS / N) < 465, "%d came %d times", i, count[i]);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(rng_below(&r, 1), 0);
}

Test(rng, below_rejects_instead_of_favouring_small_numbers)
{
    /* With n = 3 * 2^62 the remainder of a plain modulo would make the first 2^62 numbers twice
     * as likely: half of all draws instead of a third. */
    struct rng r = {.seed = 4};
    uint64_t n = UINT64_C(3) << 62;
    int low = 0;
    for (int i = 0; i < 9000; i++)
        low += rng_below(&r, n) < UINT64_C(1) << 62;
    cr_assert(abs(low - 3000) < 225, "%d of 9000 in the first third", low); /* sigma is 45 */
}

Test(rng, below_nothing_stops_the_process, .signal = SIGABRT)
{
    struct rng r = {0};
    (void)rng_below(&r, 0);
}

Test(rng, normals_have_the_right_moments)
{
    enum { DRAWS = 200000 };
    struct rng r = {.seed = 8};
    double sum = 0, square = 0, fourth = 0;
    for (int i = 0; i < DRAWS; i++) {
        double x = (double)rng_normal(&r);
        cr_assert(isfinite(x));
        sum += x;
        square += x * x;
        fourth += x * x * x * x;
    }
    cr_assert_float_eq(sum / DRAWS, 0, 0.012);    /* five sigma each */
    cr_assert_float_eq(square / DRAWS, 1, 0.016);
    cr_assert_float_eq(fourth / DRAWS, 3, 0.12);  /* a uniform would give 1.8 */
}

Test(rng, the_kernel_fills_every_byte)
{
    /* 600 > 256: getrandom may return less than asked beyond that. A byte still zero after 20
     * fills was not written (chance of that by accident: 256^-20). */
    unsigned char seen[600] = {0}, bytes[600];
    for (int i = 0; i < 20; i++) {
        memset(bytes, 0, sizeof bytes);
        rng_system(bytes, sizeof bytes);
        for (size_t j = 0; j < sizeof bytes; j++)
            seen[j] |= bytes[j];
    }
    for (size_t j = 0; j < sizeof seen; j++)
        cr_assert_neq(seen[j], 0, "byte %zu", j);
    rng_system(bytes, 0);
}
