/* Whether requests wait for a store: by what its answers took, on a clock of this file's own. */
#include <criterion/criterion.h>

#include "base/clock.h"
#include "statecache/shared/waiting.h"

#define MS NS_PER_MS
#define LIMIT (100 * MS)

static uint64_t now;

/* A question whose answer takes so long. */
static void answer(struct waiting *w, uint64_t took)
{
    waiting_asked(w, now);
    now += took;
    (void)waiting_look(w, now);
    waiting_answered(w, took, true, now);
    (void)waiting_look(w, now);
}

static void opened(struct waiting *w)
{
    now = NS_PER_S;
    waiting_init(w, LIMIT);
}

Test(waiting, what_is_not_known_is_tried)
{
    struct waiting w;
    opened(&w);
    cr_expect(waiting_pays(&w, LIMIT, 3, now));
    cr_expect(waiting_pays(&w, LIMIT / WAITING_FLOOR, 3, now));
    cr_expect_eq(waiting_expected(&w, 3, now), 0);
}

Test(waiting, the_middle_answer_is_expected)
{
    struct waiting w;
    opened(&w);
    for (int i = 0; i < 20; i++) /* now and then one takes long: that says nothing of the next */
        answer(&w, i % 4 == 0 ? 90 * MS : 2 * MS);
    cr_expect_eq(waiting_expected(&w, 1, now), 2 * MS);
    cr_expect_eq(waiting_expected(&w, 3, now), 6 * MS);
    cr_expect(waiting_pays(&w, 6 * MS, 3, now));
    cr_expect_not(waiting_pays(&w, 6 * MS - 1, 3, now));
    for (int i = 0; i < WAITING_KEPT / 2 + 1; i++)
        answer(&w, 40 * MS);
    cr_expect_eq(waiting_expected(&w, 1, now), 40 * MS, "and what it does by now counts soon");
    cr_expect_not(w.off);
}

Test(waiting, silence_is_an_answer_too)
{
    struct waiting w;
    opened(&w);
    for (int i = 0; i < WAITING_KEPT; i++)
        answer(&w, MS);
    waiting_asked(&w, now);
    cr_expect(waiting_pays(&w, 20 * MS, 3, now + 20 * MS));
    cr_expect_not(waiting_pays(&w, 20 * MS, 3, now + 21 * MS), "it takes longer already");
    cr_expect(waiting_pays(&w, LIMIT, 3, now + LIMIT));
    cr_expect_not(waiting_look(&w, now + 2 * LIMIT - 1));
    cr_expect_not(waiting_pays(&w, LIMIT, 3, now + 2 * LIMIT));
    cr_expect(waiting_look(&w, now + 2 * LIMIT), "as long as two late answers");
    cr_expect(w.off);
    cr_expect_not(waiting_look(&w, now + 3 * LIMIT), "that is told once");
}

Test(waiting, ends_after_late_answers_in_a_row_and_begins_again)
{
    struct waiting w;
    opened(&w);
    for (int i = 0; i < 10; i++) { /* not in a row */
        answer(&w, LIMIT + 1);
        cr_expect_not(w.off);
        answer(&w, MS);
    }
    for (int i = 0; i < WAITING_LATE; i++)
        answer(&w, LIMIT + 1);
    cr_expect(w.off);
    cr_expect_not(waiting_pays(&w, LIMIT, 1, now));
    for (int i = 0; i < WAITING_TIMELY - 1; i++)
        answer(&w, MS);
    cr_expect_eq(waiting_lacks(&w), 1);
    answer(&w, 2 * LIMIT);
    for (int i = 0; i < WAITING_TIMELY - 1; i++)
        answer(&w, MS);
    cr_expect(w.off, "the late one set it back");
    answer(&w, MS);
    cr_expect_not(w.off);
    cr_expect_eq(waiting_lacks(&w), 0);
    cr_expect(waiting_pays(&w, LIMIT / WAITING_FLOOR, 3, now), "the late ones are forgotten");
}

Test(waiting, whoever_falls_back_shows_more)
{
    struct waiting w;
    opened(&w);
    for (uint64_t need = WAITING_TIMELY, rounds = 0; rounds < 6; rounds++) {
        for (int i = 0; i < WAITING_LATE; i++)
            answer(&w, LIMIT + 1);
        uint64_t n = 0;
        for (; w.off && n < 100; n++)
            answer(&w, MS);
        cr_expect_eq(n, need);
        need = MIN(need * 2, (uint64_t)WAITING_TIMELY_MAX);
    }
    now += WAITING_RELAPSE_NS;
    for (int i = 0; i < WAITING_LATE; i++)
        answer(&w, LIMIT + 1);
    for (int i = 0; i < WAITING_TIMELY; i++)
        answer(&w, MS);
    cr_expect_not(w.off, "that was long ago");
}

/* Off, and as often before as counts. */
static void off_again_and_again(struct waiting *w)
{
    opened(w);
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < WAITING_LATE; i++)
            answer(w, LIMIT + 1);
        for (int i = 0; w->off && round < 5; i++)
            answer(w, MS);
    }
    cr_assert(w->off && w->need == WAITING_TIMELY_MAX);
}

/* Answers, every so-manyth of them late, until it is waited for again. */
static int answers_until_on(struct waiting *w, int every)
{
    int n = 0;
    for (; w->off && n < 1000; n++)
        answer(w, n % every == every - 1 ? LIMIT + 1 : MS);
    return n;
}

Test(waiting, a_late_answer_now_and_then_does_not_keep_it_off)
{
    struct waiting w;
    off_again_and_again(&w);
    cr_expect_lt(answers_until_on(&w, 5), 64, "16 s of PINGs");
    off_again_and_again(&w);
    cr_expect_lt(answers_until_on(&w, 10), 40);
    off_again_and_again(&w);
    cr_expect_eq(answers_until_on(&w, 3), 1000, "a third of them does");
    off_again_and_again(&w);
    cr_expect_eq(answers_until_on(&w, 1000), WAITING_TIMELY_MAX);
}

Test(waiting, is_worth_what_it_saves)
{
    struct waiting w;
    opened(&w);
    cr_expect_eq(waiting_worth(&w, 1000, 0), LIMIT, "what a token takes is not known");
    cr_expect_eq(waiting_worth(&w, 100, 200000), 20 * MS);
    cr_expect_eq(waiting_worth(&w, 100000, 200000), LIMIT);
    cr_expect_eq(waiting_worth(&w, 1, 1), LIMIT / WAITING_FLOOR);
    cr_expect_eq(waiting_worth(&w, INT64_MAX, UINT64_MAX), LIMIT);
}

Test(waiting, knows_what_a_state_takes_on_its_way)
{
    struct waiting w;
    opened(&w);
    answer(&w, MS);
    cr_expect_eq(waiting_fetch(&w, 1000000, now), MS);
    waiting_fetched(&w, 0, 0);
    waiting_fetched(&w, 1000000, 40 * MS);
    cr_expect_eq(waiting_fetch(&w, 1000000, now), 40 * MS);
    for (int i = 0; i < 30; i++)
        waiting_fetched(&w, 1000000, 4 * MS);
    cr_expect_lt(waiting_fetch(&w, 1000000, now), 5 * MS);
}

Test(waiting, what_was_given_up_before_the_limit_says_nothing)
{
    struct waiting w;
    opened(&w);
    answer(&w, LIMIT + 1);
    waiting_asked(&w, now);
    waiting_given_up(&w, LIMIT - 1, now += LIMIT - 1);
    cr_expect(w.late == 1 && w.timely == 0 && w.n == 1);
    waiting_asked(&w, now);
    waiting_given_up(&w, LIMIT, now += LIMIT);
    cr_expect(waiting_look(&w, now) && w.off);
}

Test(waiting, a_broken_connection_says_nothing)
{
    struct waiting w;
    opened(&w);
    waiting_asked(&w, now);
    waiting_broken(&w);
    cr_expect_not(waiting_look(&w, now + 10 * LIMIT));
    cr_expect(waiting_pays(&w, LIMIT, 3, now + 10 * LIMIT));
}
