/* The planner's promises: few snapshots, small gaps, and the two ways to ask agree. */
#include <criterion/criterion.h>

#include "statecache/index/planner.h"

Test(planner, next_names_exactly_the_positions_on_the_grid)
{
    for (int64_t T = 0; T < 40000; T += T < 3000 ? 37 : 4111) {
        int64_t next = planner_next(0, T, 64);
        for (int64_t p = 1; p <= T; p++) {
            if (!planner_on_grid(p, T, 64))
                continue;
            cr_assert_eq(next, p, "T %lld: %lld named, %lld on the grid", (long long)T,
                         (long long)next, (long long)p);
            next = planner_next(p, T, 64);
        }
        cr_assert_eq(next, INT64_MAX);
    }
}

Test(planner, next_is_the_same_from_any_position_before_it)
{
    for (int64_t p = 0; p < 5000; p++) {
        int64_t q = planner_next(p, 5000, 64), want = p + 1;
        while (want <= 5000 && !planner_on_grid(want, 5000, 64))
            want++;
        cr_assert_eq(q, want <= 5000 ? want : INT64_MAX);
    }
}

Test(planner, a_path_keeps_few_snapshots)
{
    static const int64_t lengths[] = {100, 2000, 100000, 10000000};
    static const int most[] = {1, 19, 45, 75};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        int n = 0;
        for (int64_t p = 0; (p = planner_next(p, lengths[i], 64)) != INT64_MAX;)
            n++;
        cr_assert_leq(n, most[i], "%d snapshots for %lld tokens", n, (long long)lengths[i]);
    }
}

Test(planner, rewinding_computes_little_again)
{
    for (int64_t T = 1; T < 20000; T += 61) {
        int64_t below = 0;
        for (int64_t p = 1; p <= T; p++) {
            if (planner_on_grid(p, T, 64))
                below = p;
            /* Diverging at p: tokens p … T are new, below … p are computed again. */
            cr_assert_leq((double)(p - below), 0.3 * (double)(T - p) + 64);
        }
    }
}

Test(planner, what_thins_out_never_comes_back)
{
    for (int64_t p = 64; p < 3000; p += 64)
        for (int64_t T = p, kept = 1; T < 30000; T += 64) {
            bool now = planner_on_grid(p, T, 64);
            cr_assert(kept || !now, "%lld came back at %lld", (long long)p, (long long)T);
            kept = now;
        }
}

Test(planner, points_thin_out_but_the_first_boundary_stays)
{
    cr_assert(planner_keep(POINT_END, 1990, 2000, 2000, 64));
    cr_assert_not(planner_keep(POINT_END, 100, 2000, 150, 64));
    cr_assert(planner_keep(POINT_END, 100, 2000, 1000, 64));
    cr_assert(planner_keep(POINT_SYSTEM, 100, 2000000, 101, 64));
}
