/* Clients take turns by what their entries cost. */
#include <criterion/criterion.h>

#include "server/http/turns.h"

static const struct fair_id a = {{1}}, b = {{2}};

Test(turns, one_client_is_served_in_order)
{
    struct turns q = {0};
    struct turn t[4];
    for (int i = 0; i < 4; i++)
        turns_put(&q, &t[i], &a, 100);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(turns_take(&q), &t[i]);
    cr_assert_null(turns_take(&q));
}

Test(turns, a_newcomer_does_not_wait_for_a_backlog)
{
    struct turns q = {0};
    struct turn flood[8], late;
    for (int i = 0; i < 8; i++)
        turns_put(&q, &flood[i], &a, 1000);
    cr_assert_eq(turns_take(&q), &flood[0]);
    cr_assert_eq(turns_take(&q), &flood[1]);
    turns_put(&q, &late, &b, 1000000);
    cr_assert_eq(turns_take(&q), &late);
    for (int i = 2; i < 8; i++)
        cr_assert_eq(turns_take(&q), &flood[i]);
}

Test(turns, work_is_shared_by_cost_not_by_count)
{
    struct turns q = {0};
    struct turn big[4], small[40];
    int before = 0;
    for (int i = 0; i < 4; i++)
        turns_put(&q, &big[i], &a, 1000);
    for (int i = 0; i < 40; i++)
        turns_put(&q, &small[i], &b, 100);
    while (turns_take(&q) != &big[3])
        before++;
    cr_assert(before >= 3 + 28 && before <= 3 + 31, "%d before the last of the big", before);
}

Test(turns, nobody_saves_up_for_later)
{
    struct turns q = {0};
    struct turn flood[4], x, y;
    for (int i = 0; i < 4; i++)
        turns_put(&q, &flood[i], &a, 1000);
    while (turns_take(&q))
        ;
    turns_put(&q, &x, &a, 1);
    turns_put(&q, &y, &b, 1);
    cr_assert_eq(turns_take(&q), &x, "the clock is where it is for everybody");
    cr_assert_eq(turns_take(&q), &y);
}
