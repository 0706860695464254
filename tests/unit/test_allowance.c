/* What goes on beside serving may take so much. */
#include <criterion/criterion.h>

#include "base/clock.h"
#include "base/limits.h"
#include "statecache/value/allowance.h"

static const struct allowance_limits limits = {
    .bytes_s = MIB(2), .bytes_max = MIB(16), .share = 100, .ns_max = 25 * NS_PER_MS,
};

Test(allowance, fills_up_to_its_limits_and_no_further)
{
    struct allowance b = {0};
    cr_expect_not(allowance_left(&b, &limits));
    allowance_refill(&b, &limits, NS_PER_S);
    cr_expect_eq(b.bytes, MIB(2));
    cr_expect_eq(b.cost_ns, 10 * NS_PER_MS);
    allowance_refill(&b, &limits, 3 * NS_PER_S);
    cr_expect_eq(b.cost_ns, 25 * NS_PER_MS, "what may be taken at once");
    cr_expect_eq(b.bytes, MIB(6));
    allowance_refill(&b, &limits, UINT64_MAX / 2);
    cr_expect_eq(b.bytes, MIB(16));
    cr_expect(allowance_left(&b, &limits));
}

Test(allowance, who_took_more_waits_until_it_is_paid)
{
    struct allowance b = {0};
    allowance_refill(&b, &limits, NS_PER_S);
    allowance_spend(&b, MIB(10), 0); /* 2 were there */
    cr_expect_not(allowance_left(&b, &limits));
    allowance_refill(&b, &limits, 5 * NS_PER_S);
    cr_expect_not(allowance_left(&b, &limits), "exactly nothing is left");
    allowance_refill(&b, &limits, 5 * NS_PER_S + NS_PER_MS);
    cr_expect(allowance_left(&b, &limits));
    allowance_spend(&b, 0, 30 * NS_PER_MS);
    cr_expect_not(allowance_left(&b, &limits), "one of the two is enough to wait");
}

Test(allowance, a_debt_is_paid_however_rarely_it_is_looked_at)
{
    struct allowance b = {0};
    allowance_refill(&b, &limits, NS_PER_S);
    allowance_spend(&b, MIB(102), 0);
    allowance_refill(&b, &limits, 41 * NS_PER_S);
    cr_expect_eq(b.bytes, -(int64_t)MIB(20));
    allowance_refill(&b, &limits, UINT64_MAX / 2);
    cr_expect_eq(b.bytes, MIB(16));
}

/* Over a long time at any rhythm no more is taken than the average, and not much less. */
Test(allowance, keeps_the_average)
{
    static const uint64_t steps[] = {NS_PER_MS, 17 * NS_PER_MS, NS_PER_S};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct allowance b = {0};
        uint64_t taken = 0, cost = 0;
        for (uint64_t now = 0; now < 600 * NS_PER_S; now += steps[i]) {
            allowance_refill(&b, &limits, now);
            while (allowance_left(&b, &limits)) {
                allowance_spend(&b, KIB(300), NS_PER_MS / 3);
                taken += KIB(300);
                cost += NS_PER_MS / 3;
            }
        }
        cr_expect_leq(taken, 601 * MIB(2) + KIB(300), "step %zu", i);
        cr_expect_geq(taken, 590 * MIB(2), "step %zu", i);
        cr_expect_leq(cost, 601 * NS_PER_S / 100 + NS_PER_MS);
    }
}

Test(allowance, bytes_need_not_be_counted)
{
    struct allowance_limits l = limits;
    struct allowance b = {0};
    l.bytes_s = l.bytes_max = 0;
    allowance_refill(&b, &l, NS_PER_S);
    allowance_spend(&b, GIB(100), 0);
    cr_expect(allowance_left(&b, &l));
}
