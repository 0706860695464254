/* How far something is, as its reader sees it. */
#include "base/progress.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"

Test(progress, it_begins_with_nothing_known)
{
    struct progress p = {0};
    struct progress_view v;
    progress_view(&p, &v);
    cr_assert_str_eq(v.what, "starting");
    cr_assert(!v.known);
    cr_assert_eq(v.left_s, 0);
}

Test(progress, a_stage_has_a_share_and_a_time_that_is_left)
{
    struct progress p = {0};
    struct progress_view v;
    clock_fake_set(1000 * NS_PER_S);
    progress_stage(&p, "weights", 400);
    progress_add(&p, 60);
    progress_add(&p, 40);
    clock_fake_set(1010 * NS_PER_S);
    progress_view(&p, &v);
    cr_assert_str_eq(v.what, "weights");
    cr_assert(v.known);
    cr_assert_eq(v.share, 0.25);
    cr_assert_eq(v.left_s, 31);
    progress_add(&p, 1000); /* never more than all */
    progress_view(&p, &v);
    cr_assert_eq(v.share, 1);
    progress_stage(&p, "the rest", 0);
    progress_view(&p, &v);
    cr_assert(!v.known);
    cr_assert_eq(v.share, 0);
    clock_fake_set(0);
}

Test(progress, who_is_stopped_hears_of_it_and_nobody_may_be_asking)
{
    struct progress p = {0};
    struct err e = {0};
    cr_assert_eq(progress_check(&p, &e), 0);
    progress_stop(&p);
    cr_assert(progress_is_stopped(&p));
    cr_assert_eq(progress_check(&p, &e), E_CLOSED);
    progress_stage(NULL, "x", 1);
    progress_add(NULL, 1);
    progress_stop(NULL);
    cr_assert_eq(progress_check(NULL, &e), 0);
}
