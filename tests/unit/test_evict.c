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

/* What a next turn begins with saves few tokens, because a point of the grid is close before it. */
Test(evict, ends_outlive_what_is_on_the_way)
{
    struct evict_entry end = entry(3, 100, 0), grid = entry(64, 100, 0), far = entry(1000, 100, 0);
    grid.inner = far.inner = true;
    struct evict_entry e[] = {end, far, grid};
    cr_assert_eq(evict_pick(e, 3), 2);
    cr_assert_eq(evict_pick(e, 2), 1, "1,000 tokens on the way are asked for once in 32 turns");
    e[1].uses = 3;
    cr_assert_eq(evict_pick(e, 2), 0, "some do go back there");
    e[1].uses = 0;
    e[0].age_s = 2 * EVICT_HALF_LIFE_S;
    cr_assert_eq(evict_pick(e, 2), 0, "that end is old");
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
