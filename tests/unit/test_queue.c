/* Waiting requests: bounded, by priority, nobody for ever. */
#include <criterion/criterion.h>

#include "base/clock.h"
#include "scheduler/queue.h"
#include "scheduler/request.h"

static struct queue q;

static void setup(void)
{
    cr_assert_eq(queue_init(&q, 4, NULL), 0);
}

static void teardown(void)
{
    while (queue_take(&q))
        ;
    queue_fini(&q);
}

TestSuite(queue, .init = setup, .fini = teardown);

static struct request at(int32_t priority, uint64_t deadline_ns)
{
    return (struct request){.priority = priority, .deadline_ns = deadline_ns};
}

Test(queue, equal_ones_come_out_in_order)
{
    struct request r[4];
    for (int i = 0; i < 4; i++) {
        r[i] = at(0, 0);
        cr_assert(queue_push(&q, &r[i], 5));
    }
    for (int i = 0; i < 4; i++)
        cr_assert_eq(queue_take(&q), &r[i]);
    cr_assert_null(queue_take(&q));
}

Test(queue, a_full_queue_takes_nothing)
{
    struct request r[5];
    for (int i = 0; i < 5; i++) {
        r[i] = at(0, 0);
        cr_assert_eq(queue_push(&q, &r[i], 5), i < 4);
    }
    cr_assert_eq(q.n, 4);
}

Test(queue, the_lower_priority_value_goes_first)
{
    struct request low = at(1, 0), high = at(-1, 0), middle = at(0, 0);
    cr_assert(queue_push(&q, &low, 1) && queue_push(&q, &middle, 2) && queue_push(&q, &high, 3));
    cr_assert_eq(queue_take(&q), &high);
    cr_assert_eq(queue_take(&q), &middle);
    cr_assert_eq(queue_take(&q), &low);
}

Test(queue, waiting_makes_up_for_priority)
{
    struct request old = at(2, 0), fresh = at(0, 0);
    cr_assert(queue_push(&q, &old, 1));
    cr_assert(queue_push(&q, &fresh, 1 + 2 * QUEUE_AGE_S * NS_PER_S + 1));
    cr_assert_eq(queue_take(&q), &old);
}

Test(queue, extreme_priorities_do_not_overflow)
{
    struct request least = at(INT32_MAX, 0), most = at(INT32_MIN, 0);
    uint64_t now = UINT64_C(9000000000) * NS_PER_S; /* 285 years of running */
    cr_assert(queue_push(&q, &least, now) && queue_push(&q, &most, now));
    cr_assert_eq(queue_take(&q), &most);
}

Test(queue, cancelled_and_late_ones_leave)
{
    struct request stays = at(0, 0), late = at(0, 100), cancelled = at(0, 0);
    cr_assert(queue_push(&q, &stays, 1) && queue_push(&q, &late, 1) &&
              queue_push(&q, &cancelled, 1));
    cr_assert_eq(queue_deadline(&q), 100);
    bool was;
    cr_assert_null(queue_take_leaver(&q, 99, &was));
    cr_assert_eq(queue_take_leaver(&q, 100, &was), &late);
    cr_assert_not(was);
    queue_cancel(&q, &cancelled);
    cr_assert_eq(queue_take_leaver(&q, 100, &was), &cancelled);
    cr_assert(was);
    cr_assert_null(queue_take_leaver(&q, UINT64_MAX, &was));
    cr_assert_eq(queue_deadline(&q), 0);
    cr_assert_eq(q.n, 1);
}
