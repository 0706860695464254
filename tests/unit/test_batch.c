/* The choice of rows: limits are never exceeded, and nobody waits for a neighbour's length. */
#include <criterion/criterion.h>

#include "base/rng.h"
#include "scheduler/batch.h"

#define MANY 64

static int32_t pick(const struct batch_want *w, int32_t n, int32_t tokens, int32_t logits,
                    int32_t *rows)
{
    uint32_t turn = 0;
    int32_t sum = batch_pick(w, n, tokens, logits, &turn, rows), again = 0;
    for (int32_t i = 0; i < n; i++)
        again += rows[i];
    cr_assert_eq(sum, again);
    return sum;
}

static struct batch_want prompt(int32_t left)
{
    return (struct batch_want){.left = left, .whole = left, .most = left, .draws = true};
}

static const struct batch_want stream = {.left = 1, .whole = 1, .most = 1, .draws = true,
                                         .decode = true};

Test(batch, every_stream_gets_its_row_beside_a_long_prompt)
{
    struct batch_want w[MANY];
    int32_t rows[MANY];
    w[0] = prompt(100000);
    for (int i = 1; i < MANY; i++)
        w[i] = stream;
    cr_assert_eq(pick(w, MANY, 512, MANY, rows), 512);
    for (int i = 1; i < MANY; i++)
        cr_assert_eq(rows[i], 1);
    cr_assert_eq(rows[0], 512 - (MANY - 1));
}

Test(batch, a_lone_prompt_gets_the_whole_budget)
{
    struct batch_want w = prompt(2000);
    int32_t rows;
    cr_assert_eq(pick(&w, 1, 512, 64, &rows), 512);
}

Test(batch, the_oldest_of_equal_prompts_gets_half_and_all_others_a_share)
{
    struct batch_want w[4] = {prompt(9000), prompt(9000), prompt(9000), prompt(9000)};
    int32_t rows[4];
    cr_assert_eq(pick(w, 4, 512, 64, rows), 512);
    cr_assert_eq(rows[0], 256 + 64);
    for (int i = 1; i < 4; i++)
        cr_assert_eq(rows[i], 64);
}

Test(batch, a_short_prompt_behind_long_ones_is_done_within_a_bound)
{
    struct batch_want w[8];
    int32_t rows[8], steps = 0;
    for (int i = 0; i < 8; i++)
        w[i] = prompt(i < 7 ? 1000000 : 100);
    while (w[7].left > 0) {
        pick(w, 8, 512, 64, rows);
        for (int i = 0; i < 8; i++) {
            w[i].left -= rows[i];
            w[i].most = w[i].left;
        }
        steps++;
    }
    cr_assert_leq(steps, 1); /* half of 512 rows go to the one with the least left */
}

Test(batch, a_prompt_takes_at_most_twice_its_steps_beside_longer_ones)
{
    for (int32_t size = 1; size < 20000; size = size * 3 + 1) {
        struct batch_want w[9];
        int32_t rows[9], steps = 0;
        for (int i = 0; i < 9; i++)
            w[i] = prompt(i < 8 ? 100000 : size);
        for (; w[8].left > 0; steps++) {
            pick(w, 9, 512, 64, rows);
            for (int i = 0; i < 9; i++) {
                w[i].left -= rows[i];
                w[i].most = w[i].left;
            }
        }
        cr_assert_leq(steps, 2 * ((size + 511) / 512), "%d tokens: %d steps", size, steps);
    }
}

Test(batch, a_cut_position_ends_the_chunk)
{
    struct batch_want w = prompt(2000);
    w.most = 37;
    int32_t rows;
    cr_assert_eq(pick(&w, 1, 512, 64, &rows), 37);
}

Test(batch, scored_rows_are_bounded_by_the_rows_of_logits)
{
    struct batch_want w[2] = {prompt(300), prompt(300)};
    w[0].score_to = 299; /* every prompt token's logprob */
    int32_t rows[2];
    pick(w, 2, 512, 64, rows);
    cr_assert_eq(rows[0], 64); /* the second one ends nothing in this step: it needs no row */
    cr_assert_eq(rows[1], 300 - 1 + 0);
    cr_assert_leq(batch_logits(&w[0], rows[0]) + batch_logits(&w[1], rows[1]), 64);
}

/* What batch_logits counts, row by row. */
static bool needs(const struct batch_want *w, int32_t row)
{
    return (row >= w->score_from && row < w->score_to) || (row == w->left - 1 && w->draws);
}

Test(batch, the_count_of_logit_rows_is_that_of_its_rows)
{
    struct rng r = {.seed = 1};
    for (int round = 0; round < 20000; round++) {
        struct batch_want w = prompt(1 + (int32_t)rng_below(&r, 20));
        w.draws = rng_below(&r, 2);
        w.score_from = (int32_t)rng_below(&r, 24);
        w.score_to = (int32_t)rng_below(&r, 24);
        int32_t sum = 0;
        for (int32_t n = 1; n <= w.left; n++) {
            sum += needs(&w, n - 1);
            cr_assert_eq(batch_logits(&w, n), sum, "round %d", round);
        }
    }
}

Test(batch, prompts_that_are_more_than_the_rows_take_turns)
{
    struct rng r = {.seed = 3};
    for (int round = 0; round < 2000; round++) {
        struct batch_want w[MANY];
        int32_t rows[MANY], waited[MANY] = {0}, n = 1 + (int32_t)rng_below(&r, MANY);
        int32_t n_prompts = 0;
        for (int32_t i = 0; i < n; i++) {
            w[i] = rng_below(&r, 3) ? prompt(1 << 20) : stream;
            n_prompts += !w[i].decode;
        }
        int32_t left = 1 + (int32_t)rng_below(&r, 20), tokens = n - n_prompts + left;
        int32_t half = (left + 1) / 2, bound = (n_prompts + half - 1) / half;
        uint32_t turn = (uint32_t)rng_next(&r);
        for (int step = 0; step < 3 * bound; step++) {
            cr_assert_eq(batch_pick(w, n, tokens, n, &turn, rows), n_prompts ? tokens : n);
            for (int32_t i = 0; i < n; i++) {
                waited[i] = rows[i] ? 0 : waited[i] + 1;
                cr_assert_lt(waited[i], bound, "round %d: %d prompts, %d rows", round,
                             (int)n_prompts, (int)left);
                cr_assert(!w[i].decode || rows[i] == 1);
            }
        }
    }
}

Test(batch, a_short_prompt_is_done_soon_beside_more_long_ones_than_there_are_rows)
{
    struct batch_want w[MANY];
    int32_t rows[MANY], steps = 0;
    uint32_t turn = 0;
    for (int i = 0; i < MANY; i++)
        w[i] = prompt(i < MANY - 1 ? 1000000 : 16);
    for (; w[MANY - 1].left > 0; steps++) {
        batch_pick(w, MANY, 8, MANY, &turn, rows);
        w[MANY - 1].left -= rows[MANY - 1];
        w[MANY - 1].most = w[MANY - 1].left;
    }
    cr_assert_leq(steps, 4); /* half of 8 rows go to the one with the least left */
}

Test(batch, short_prompts_come_first_shortest_first)
{
    struct batch_want w[5] = {prompt(9000), prompt(7), stream, prompt(3), prompt(4)};
    int32_t rows[5], others;
    cr_assert_eq(batch_first(w, 5, 10, &others), 1 + 3 + 4);
    cr_assert_eq(others, 2);
    cr_assert(w[3].first && w[4].first && !w[0].first && !w[1].first && !w[2].first);
    cr_assert_eq(pick(w, 5, 8, 64, rows), 8);
    cr_assert(rows[2] == 1 && rows[3] == 3 && rows[4] == 4);
    cr_assert_eq(pick(w, 5, 20, 64, rows), 20);
    cr_assert(rows[2] == 1 && rows[3] == 3 && rows[4] == 4 && rows[1] == 7 && rows[0] == 5);
    cr_assert_eq(batch_first(w, 5, 1, &others), 1);
    cr_assert_eq(others, 4, "marks are of one step");
}

Test(batch, what_is_left_of_a_long_prompt_does_not_come_first)
{
    struct batch_want w[3] = {prompt(9), prompt(3), stream};
    int32_t others;
    w[0].had = BATCH_NEW;
    w[1].had = BATCH_NEW + 1;
    w[0].whole = w[1].whole = BATCH_SHORT + 1;
    cr_assert_eq(batch_first(w, 3, 13, &others), 1 + 9);
    cr_assert(w[0].first && !w[1].first && others == 1);
    w[1].whole = BATCH_SHORT;
    cr_assert_eq(batch_first(w, 3, 13, &others), 1 + 9 + 3);
}

Test(batch, what_is_scored_or_cut_takes_no_more_than_it_may_though_it_is_short)
{
    struct batch_want w[3] = {prompt(9000), prompt(6), prompt(5)};
    int32_t rows[3], others;
    w[1].score_to = 5;
    w[2].most = 2;
    cr_assert_eq(batch_first(w, 3, 20, &others), 2);
    cr_assert(others == 2 && w[2].first);
    cr_assert_eq(pick(w, 3, 20, 4, rows), 20);
    cr_assert_eq(rows[2], 2);
}

Test(batch, without_rows_left_prompts_wait)
{
    struct batch_want w[2] = {prompt(9), stream};
    int32_t rows[2];
    cr_assert_eq(pick(w, 2, 1, 2, rows), 1);
    cr_assert(rows[0] == 0 && rows[1] == 1);
}

Test(batch, limits_hold_and_everybody_moves_on_for_any_wishes)
{
    struct rng r = {.seed = 2};
    for (int round = 0; round < 20000; round++) {
        struct batch_want w[MANY];
        int32_t rows[MANY], n = (int32_t)rng_below(&r, MANY) + 1;
        int32_t tokens = 2 * n + (int32_t)rng_below(&r, 200);
        int32_t limit = n + (int32_t)rng_below(&r, 40);
        for (int32_t i = 0; i < n; i++) {
            w[i] = rng_below(&r, 2) ? stream : prompt(1 + (int32_t)rng_below(&r, 150));
            if (!w[i].decode && rng_below(&r, 2))
                w[i].score_to = w[i].left - 1;
            if (!w[i].decode)
                w[i].most = 1 + (int32_t)rng_below(&r, (uint64_t)w[i].left);
        }
        int32_t others;
        if (rng_below(&r, 2))
            cr_assert_leq(batch_first(w, n, tokens - 2 * n, &others), MAX(tokens - 2 * n, n));
        int32_t sum = pick(w, n, tokens, limit, rows), logits = 0;
        bool hungry = false; /* someone could take one more row */
        for (int32_t i = 0; i < n; i++)
            logits += batch_logits(&w[i], rows[i]);
        for (int32_t i = 0; i < n; i++) {
            cr_assert(rows[i] >= 1 && rows[i] <= w[i].most, "round %d", round);
            int32_t more = rows[i] + 1;
            hungry |= more <= w[i].most &&
                      batch_logits(&w[i], more) - batch_logits(&w[i], rows[i]) + logits <= limit;
        }
        cr_assert(sum <= tokens && logits <= limit, "round %d", round);
        cr_assert(sum == tokens || !hungry, "round %d: the budget is not used", round);
    }
}
