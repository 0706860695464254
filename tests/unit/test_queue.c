/* Waiting requests: bounded, by priority, nobody for ever. */
#include <criterion/criterion.h>

#include <string.h>

#include "base/clock.h"
#include "scheduler/queue.h"
#include "scheduler/request.h"

static struct queue q;
static struct fair *fair;

static void setup(void)
{
    cr_assert_eq(fair_open(&fair, 8, NULL), 0);
    cr_assert_eq(queue_init(&q, 4, 4, 0, fair, NULL), 0);
}

static void teardown(void)
{
    q.n = 0; /* what is left lived in the test's frame */
    queue_fini(&q);
    fair_close(fair);
}

static bool push(struct request *r, uint64_t now)
{
    return queue_push(&q, r, now, NULL) == 0;
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
        cr_assert(push(&r[i], 5));
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
        cr_assert_eq(push(&r[i], 5), i < 4);
    }
    cr_assert_eq(q.n, 4);
}

Test(queue, a_client_has_its_share_of_the_places_and_others_the_rest)
{
    struct request r[3] = {0}, other = {.client = {{1}}};
    struct err e = {0};
    queue_fini(&q);
    cr_assert_eq(queue_init(&q, 4, 2, 0, fair, NULL), 0);
    cr_assert(push(&r[0], 1) && push(&r[1], 1));
    cr_assert_eq(queue_push(&q, &r[2], 1, &e), E_BUSY);
    cr_assert_not_null(strstr(e.text, "2"), "%s", e.text);
    cr_assert(push(&other, 1));
    cr_assert_eq(q.n, 3);
    while (queue_take(&q))
        ;
}

/* A burst of one client beside another's, with `run` requests of others in the three slots. */
static void burst(int run)
{
    struct request r[8] = {0}, other[8];
    int taken = 0, others = 0, slots = 3, max = 4, share = 2;
    queue_fini(&q);
    cr_assert_eq(queue_init(&q, max, share, slots, fair, NULL), 0);
    for (int i = 0; i < run; i++) {
        struct request runs = {.client = {{9}}};
        cr_assert(push(&runs, 1));
        cr_assert_eq(queue_take(&q), &runs);
        fair_move(fair, runs.flow, FAIR_WAITING, FAIR_RUNNING);
    }
    while (taken < 8 && push(&r[taken], 1))
        taken++;
    cr_assert_eq(taken, slots - run + share, "%d run, %d taken", run, taken);
    for (int i = 0; i < 8; i++) {
        other[i] = (struct request){.client = {{1}}};
        others += push(&other[i], 1);
    }
    cr_assert_eq(taken + others, slots - run + max, "%d run, %d and %d taken", run, taken, others);
    while (queue_take(&q))
        ;
}

Test(queue, what_free_slots_will_take_does_not_wait) { burst(0); }
Test(queue, slots_of_others_are_not_free) { burst(2); }
Test(queue, with_all_slots_taken_everybody_waits) { burst(3); }

Test(queue, what_the_engine_is_fetching_is_counted_once)
{
    struct request r[4] = {0}, next = {0};
    queue_fini(&q);
    cr_assert_eq(queue_init(&q, 4, 2, 2, fair, NULL), 0);
    for (int i = 0; i < 4; i++)
        cr_assert(push(&r[i], 1));
    struct request *first = queue_take(&q); /* out of the queue and not yet in a slot */
    cr_assert_eq(queue_push(&q, &next, 1, NULL), E_BUSY);
    fair_move(fair, first->flow, FAIR_WAITING, FAIR_RUNNING);
    cr_assert_eq(queue_push(&q, &next, 1, NULL), E_BUSY);
    fair_leave(fair, first->flow, FAIR_RUNNING);
    cr_assert(push(&next, 1));
    while (queue_take(&q))
        ;
}

Test(queue, clients_take_turns_and_priority_is_among_ones_own)
{
    struct request flood[3] = {0}, other = {.client = {{1}}};
    for (int i = 0; i < 3; i++) {
        flood[i].priority = -1000;
        cr_assert(push(&flood[i], 1));
    }
    cr_assert(push(&other, 2));
    struct request *first = queue_take(&q);
    cr_assert_eq(first, &flood[0]);
    fair_charge(fair, first->flow, 1);
    cr_assert_eq(queue_take(&q), &other);
    cr_assert_eq(queue_take(&q), &flood[1]);
    cr_assert_eq(queue_take(&q), &flood[2]);
}

Test(queue, a_lead_goes_before_others_within_its_bound)
{
    struct request leads = {.client = {{2}}, .lead = INT32_MIN}, other = {.client = {{1}}};
    cr_assert(push(&other, 1) && push(&leads, 2));
    cr_assert_eq(queue_first(&q, false), &leads);
    fair_charge(fair, leads.flow, FAIR_PRIORITY_MAX * FAIR_PRIORITY_TOKENS + 1);
    cr_assert_eq(queue_first(&q, false), &other);
    while (queue_take(&q))
        ;
}

Test(queue, the_lower_priority_value_goes_first)
{
    struct request low = at(1, 0), high = at(-1, 0), middle = at(0, 0);
    cr_assert(push(&low, 1) && push(&middle, 2) && push(&high, 3));
    cr_assert_eq(queue_take(&q), &high);
    cr_assert_eq(queue_take(&q), &middle);
    cr_assert_eq(queue_take(&q), &low);
}

Test(queue, waiting_makes_up_for_priority)
{
    struct request old = at(2, 0), fresh = at(0, 0);
    cr_assert(push(&old, 1));
    cr_assert(push(&fresh, 1 + 2 * QUEUE_AGE_S * NS_PER_S + 1));
    cr_assert_eq(queue_take(&q), &old);
}

Test(queue, extreme_priorities_do_not_overflow)
{
    struct request least = at(INT32_MAX, 0), most = at(INT32_MIN, 0);
    uint64_t now = UINT64_C(9000000000) * NS_PER_S; /* 285 years of running */
    cr_assert(push(&least, now) && push(&most, now));
    cr_assert_eq(queue_take(&q), &most);
}

Test(queue, cancelled_and_late_ones_leave)
{
    struct request stays = at(0, 0), late = at(0, 100), cancelled = at(0, 0);
    cr_assert(push(&stays, 1) && push(&late, 1) &&
              push(&cancelled, 1));
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
