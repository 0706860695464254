/* So many a minute. */
#include <criterion/criterion.h>

#include "base/clock.h"
#include "server/process/rate.h"

Test(rate, the_limit_fits_at_once_and_the_next_waits_a_share_of_a_minute)
{
    struct rate r = {0};
    uint64_t now = 5 * NS_PER_S;
    for (int i = 0; i < 30; i++) {
        struct rate_view v = rate_look(&r, 30, now);
        cr_assert(v.wait_ns == 0 && v.remaining == 30 - i, "%d", i);
        rate_add(&r, 1);
    }
    struct rate_view v = rate_look(&r, 30, now);
    cr_assert(v.remaining == 0 && v.limit == 30);
    cr_assert(v.wait_ns > 2 * NS_PER_S - NS_PER_MS && v.wait_ns < 2 * NS_PER_S + NS_PER_MS);
    cr_assert(v.reset_ns > 60 * NS_PER_S - NS_PER_MS && v.reset_ns < 60 * NS_PER_S + NS_PER_MS);
    cr_assert_eq(rate_look(&r, 30, now + v.wait_ns).wait_ns, 0); /* the promise is kept */
}

Test(rate, never_more_than_the_limit_and_one_minutes_share_in_any_time)
{
    struct rate r = {0};
    int64_t done = 0;
    uint64_t end = 600 * NS_PER_S;
    for (uint64_t now = 1; now < end; now += 7 * NS_PER_MS)
        if (rate_look(&r, 100, now).wait_ns == 0) {
            rate_add(&r, 1);
            done++;
        }
    cr_assert(done > 1090 && done <= 1101, "%lld", (long long)done);
}

Test(rate, what_stands_over_is_waited_for)
{
    struct rate r = {0};
    rate_look(&r, 600, 1);
    rate_add(&r, 1800); /* one long answer: three minutes' worth */
    struct rate_view v = rate_look(&r, 600, 1);
    cr_assert(v.remaining == 0 && v.wait_ns > 120 * NS_PER_S && v.wait_ns < 121 * NS_PER_S);
    rate_add(&r, -1800);
    cr_assert_eq(rate_look(&r, 600, 1).wait_ns, 0);
}

Test(rate, a_clock_that_goes_back_gives_nothing_and_takes_nothing)
{
    struct rate r = {0};
    rate_look(&r, 60, 100 * NS_PER_S);
    rate_add(&r, 60);
    cr_assert_eq(rate_look(&r, 60, 1).remaining, 0);
    cr_assert_eq(rate_look(&r, 60, 60 * NS_PER_S + 1).remaining, 60);
}
