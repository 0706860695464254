/* State slots: every slot has one owner, and a fault in our book-keeping stops the process. */
#include "statecache/value/slots.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

Test(slots, gives_each_slot_to_one_owner)
{
    enum { N = 37 };
    struct slots s;
    cr_assert_eq(slots_init(&s, N, NULL), 0);
    bool owned[N] = {false};
    int32_t held[N], n = 0;
    struct rng rng = {.seed = 2};
    for (int turn = 0; turn < 20000; turn++) {
        if (rng_below(&rng, 8) < (turn / 200 % 2 ? 5u : 3u)) {
            int32_t slot = slots_take(&s);
            cr_assert_eq(slot < 0, n == N);
            if (slot < 0)
                continue;
            cr_assert(slot < N && !owned[slot]);
            owned[slot] = true;
            held[n++] = slot;
        } else if (n) {
            uint64_t i = rng_below(&rng, (uint64_t)n);
            slots_put(&s, held[i]);
            owned[held[i]] = false;
            held[i] = held[--n];
        }
        cr_assert_eq(s.n_free, N - n);
    }
    slots_fini(&s);
}

Test(slots, low_numbers_go_first)
{
    struct slots s;
    cr_assert_eq(slots_init(&s, 3, NULL), 0);
    for (int32_t i = 0; i < 3; i++)
        cr_assert_eq(slots_take(&s), i);
    cr_assert_eq(slots_take(&s), -1);
    slots_put(&s, 1);
    cr_assert_eq(slots_take(&s), 1);
    slots_fini(&s);
}

Test(slots, refuses_no_slots_and_lost_memory)
{
    struct slots s;
    struct err e = {0};
    cr_assert_eq(slots_init(&s, 0, &e), E_RANGE);
    cr_assert_not_null(strstr(e.text, "0 state slots"));
    cr_assert_eq(slots_init(&s, -5, NULL), E_RANGE);
    mem_fail_at(1);
    cr_assert_eq(slots_init(&s, 4, NULL), E_NOMEM);
    cr_assert_eq(slots_take(&s), -1, "a failed pool has no slots");
    slots_fini(&s);
    slots_fini(&s);
}

static void put_after_taking_two(int32_t slot)
{
    struct slots s;
    cr_assert_eq(slots_init(&s, 4, NULL), 0);
    cr_assert_eq(slots_take(&s), 0);
    cr_assert_eq(slots_take(&s), 1);
    slots_put(&s, slot);
    slots_put(&s, slot);
}

Test(slots, a_slot_returned_twice_stops_the_process, .signal = SIGABRT)
{
    put_after_taking_two(0);
}

Test(slots, a_slot_nobody_took_stops_the_process, .signal = SIGABRT)
{
    put_after_taking_two(3);
}

Test(slots, a_number_that_is_no_slot_stops_the_process, .signal = SIGABRT)
{
    put_after_taking_two(4);
}

Test(slots, minus_one_is_no_slot, .signal = SIGABRT)
{
    put_after_taking_two(-1);
}
