/* The eviction policy orders candidates as its documentation says. */
#include <criterion/criterion.h>

#include "statecache/index/evict.h"

static struct evict_entry entry(double saved, uint64_t bytes, double age)
{
    return (struct evict_entry){.saved_tokens = saved, .bytes = bytes, .age_s = age};
}

Test(evict, the_entry_that_saves_least_per_byte_goes_first)
{
    struct evict_entry e[] = {entry(1000, 100, 0), entry(64, 100, 0), entry(1000, 4000, 0)};
    cr_assert_eq(evict_pick(e, 2), 1);
    cr_assert_eq(evict_pick(e, 3), 2);
}

Test(evict, age_halves_and_use_multiplies)
{
    struct evict_entry fresh = entry(100, 100, 0), old = entry(100, 100, EVICT_HALF_LIFE_S);
    cr_assert_float_eq(evict_worth(&old), evict_worth(&fresh) / 2, 1e-12);
    old.uses = 1;
    cr_assert_float_eq(evict_worth(&old), evict_worth(&fresh), 1e-12);
}

Test(evict, floors_are_respected)
{
    struct evict_entry e[] = {entry(1, 100, 9999), entry(1000, 100, 0)};
    e[0].floor = true;
    cr_assert_eq(evict_pick(e, 2), 1);
    e[1].floor = true;
    cr_assert_eq(evict_pick(e, 2), -1);
    cr_assert_eq(evict_pick(e, 0), -1);
    cr_assert_eq(evict_floor(1000, 0), 500);
    cr_assert_eq(evict_floor(1000, 5), 100);
}
