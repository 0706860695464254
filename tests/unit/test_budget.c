/* The memory that requests share. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "server/http/budget.h"

#define BIG (BUDGET_SMALL + 1)

Test(budget, nobody_gets_more_than_there_is)
{
    struct budget b = {.max = 1000};
    cr_assert(budget_change(&b, 0, 600));
    cr_assert_not(budget_change(&b, 0, 401));
    cr_assert_eq(b.used, 600);
    cr_assert_eq(b.refused, 1);
    cr_assert(budget_change(&b, 0, 400));
    cr_assert_not(budget_change(&b, 400, 401));
    cr_assert(budget_change(&b, 600, 0));
    cr_assert(budget_change(&b, 400, 401));
    cr_assert_eq(b.used, 401);
}

Test(budget, the_last_quarter_is_for_small_ones)
{
    struct budget b = {.max = 4 * (int64_t)BIG};
    cr_assert(budget_change(&b, 0, 3 * BIG));
    cr_assert_not(budget_change(&b, 0, BIG));
    cr_assert(budget_change(&b, 0, BUDGET_SMALL));
    cr_assert_not(budget_change(&b, BUDGET_SMALL, BIG)); /* it is small no more */
}

Test(budget, less_is_never_refused)
{
    struct budget b = {.max = 100, .used = 4 * (int64_t)BIG}; /* the maximum was larger */
    cr_assert(budget_change(&b, 4 * BIG, 2 * BIG));
    cr_assert(budget_change(&b, 2 * BIG, 2 * BIG));
    cr_assert_not(budget_change(&b, 2 * BIG, 2 * BIG + 1));
    cr_assert(budget_change(&b, 2 * BIG, 0));
    cr_assert_eq(b.used, 0);
}

static void *take_and_give(void *arg)
{
    struct budget *b = arg;
    for (int i = 0; i < 20000; i++)
        if (budget_change(b, 0, 3)) {
            cr_assert_leq(__atomic_load_n(&b->used, __ATOMIC_RELAXED), 10 + 3 * 4);
            cr_assert(budget_change(b, 3, 0));
        }
    return NULL;
}

Test(budget, threads_leave_nothing_behind)
{
    struct budget b = {.max = 10};
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, take_and_give, &b);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    cr_assert_eq(b.used, 0);
}
