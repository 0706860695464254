/* The ring against a plain model of a queue, over every head position. */
#include "base/ring.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"

Test(ring, behaves_like_a_queue)
{
    enum { CAP = 5 };
    struct { uint64_t id; char pad[5]; } in = {0}, out; /* a size that is no power of two */
    uint64_t first = 0, next = 0; /* the model: ids first … next-1 are queued */
    struct ring r;
    cr_assert_eq(ring_init(&r, CAP, sizeof in), 0);
    struct rng rng = {.seed = 7};
    for (int turn = 0; turn < 20000; turn++) {
        /* Long phases of mostly pushes, then mostly pops, so that full and empty both occur. */
        bool push = rng_below(&rng, 4) < (turn / 50 % 2 ? 3 : 1);
        if (push) {
            in.id = next;
            cr_assert_eq(ring_push(&r, &in), next - first < CAP);
            next += next - first < CAP;
        } else {
            bool got = ring_pop(&r, &out);
            cr_assert_eq(got, first < next);
            if (got)
                cr_assert_eq(out.id, first++);
        }
        cr_assert_eq(r.len, next - first);
        for (size_t i = 0; i < r.len; i++) {
            uint64_t id;
            memcpy(&id, ring_at(&r, i), sizeof id);
            cr_assert_eq(id, first + i);
        }
    }
    cr_assert_gt(first, 1000);
    ring_free(&r);
}

Test(ring, of_one_item_works)
{
    struct ring r;
    cr_assert_eq(ring_init(&r, 1, 1), 0);
    for (char c = 0; c < 10; c++) {
        char got;
        cr_assert_not(ring_pop(&r, &got));
        cr_assert(ring_push(&r, &c));
        cr_assert_not(ring_push(&r, &c));
        cr_assert(ring_pop(&r, &got));
        cr_assert_eq(got, c);
    }
    ring_free(&r);
}

Test(ring, refuses_a_size_that_overflows_and_lost_memory)
{
    struct ring r;
    cr_assert_eq(ring_init(&r, SIZE_MAX / 2 + 1, 2), E_NOMEM);
    ring_free(&r);
    mem_fail_at(1);
    cr_assert_eq(ring_init(&r, 4, 4), E_NOMEM);
    char item[4] = "";
    cr_assert_not(ring_push(&r, item), "a failed ring is full");
    cr_assert_not(ring_pop(&r, item), "… and empty");
    ring_free(&r);
    ring_free(&r);
}

Test(ring, reading_past_the_end_stops_the_process, .signal = SIGABRT)
{
    struct ring r;
    cr_assert_eq(ring_init(&r, 4, 1), 0);
    cr_assert(ring_push(&r, "x"));
    (void)ring_at(&r, 1);
}
