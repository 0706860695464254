/* Who is too slow a reader. */
#include <criterion/criterion.h>

#include "base/clock.h"
#include "server/http/reader.h"

#define PATIENCE (10 * NS_PER_S)

/* The second in which a reader that takes `bytes` every `every` seconds is cut; -1: it is not in
 * 10,000. */
static int cut_at(uint64_t bytes, int every)
{
    struct reader r = {0};
    uint64_t sent = 0;
    for (int s = 1; s <= 10000; s++) {
        if (s % every == 0)
            sent += bytes;
        if (!reader_look(&r, sent, false, (uint64_t)s * NS_PER_S, PATIENCE))
            return s;
    }
    return -1;
}

Test(reader, who_takes_nothing_is_cut_when_patience_is_over)
{
    cr_assert_eq(cut_at(0, 1000), 12); /* the first look measures nothing */
}

Test(reader, a_byte_now_and_then_is_worth_no_time)
{
    cr_assert_leq(cut_at(1, 5), 15);
    cr_assert_leq(cut_at(1, 9), 13);
    cr_assert_leq(cut_at(READER_BYTES / 100, 2), 30);
}

Test(reader, the_rate_is_counted_over_the_request)
{
    cr_assert_eq(cut_at(READER_BYTES, 10), -1); /* slow, and at the rate */
    cr_assert_neq(cut_at(READER_BYTES / 2, 10), -1); /* half of it is not enough */
    /* What was taken fast counts for later. */
    struct reader r = {0};
    uint64_t now = NS_PER_S;
    cr_assert(reader_look(&r, 100 * READER_BYTES, false, now, PATIENCE));
    for (int i = 0; i < 100; i++) {
        now += 5 * NS_PER_S;
        cr_assert(reader_look(&r, 100 * READER_BYTES + 1 + (uint64_t)i, false, now, PATIENCE));
        now += 5 * NS_PER_S;
        cr_assert(reader_look(&r, 100 * READER_BYTES + 1 + (uint64_t)i, false, now, PATIENCE));
    }
}

Test(reader, silence_is_cut_whatever_was_taken_before)
{
    struct reader r = {0};
    cr_assert(reader_look(&r, 1000 * READER_BYTES, false, NS_PER_S, PATIENCE));
    cr_assert(reader_look(&r, 1000 * READER_BYTES, false, 11 * NS_PER_S, PATIENCE));
    cr_assert_not(reader_look(&r, 1000 * READER_BYTES, false, 12 * NS_PER_S, PATIENCE));
}

Test(reader, one_that_waits_for_us_is_never_cut)
{
    struct reader r = {0};
    for (uint64_t s = 1; s < 100000; s++)
        cr_assert(reader_look(&r, 7, s % 7 != 0, s * NS_PER_S, PATIENCE));
}

Test(reader, a_clock_that_stands_or_goes_back_cuts_nobody)
{
    struct reader r = {0};
    cr_assert(reader_look(&r, 7, false, 1000 * NS_PER_S, PATIENCE));
    cr_assert(reader_look(&r, 7, false, 1 * NS_PER_S, PATIENCE));
    cr_assert(reader_look(&r, 7, false, 1 * NS_PER_S, PATIENCE));
    cr_assert(reader_look(&r, 7, false, 11 * NS_PER_S, PATIENCE));
    cr_assert_not(reader_look(&r, 7, false, 12 * NS_PER_S, PATIENCE));
}
