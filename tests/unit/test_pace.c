/* How many rows a step may carry: delays are bounded, and nothing is lost where rows are free. */
#include <criterion/criterion.h>
#include <math.h>

#include "scheduler/pace.h"

/* A device: a step of n rows takes fixed + n x row ns. */
struct machine { uint64_t fixed, row; };

/* On a device that makes all steps alike. */
static void note(struct pace *p, int32_t rows, uint64_t ns) { pace_note(p, rows, false, ns); }

static uint64_t takes(struct machine m, int32_t rows) { return m.fixed + m.row * (uint64_t)rows; }

Test(pace, where_rows_cost_nothing_the_whole_budget_is_used)
{
    struct pace p = {0};
    struct machine gpu = {8000000, 4000};
    note(&p, 1, takes(gpu, 1));
    note(&p, 512, takes(gpu, 512));
    cr_assert_eq(pace_rows(&p, 0, 0, false, 1, 512), 512);
    note(&p, 512, takes(gpu, 512));
    cr_assert_eq(pace_rows(&p, 1, 1, false, 8, 512), 1); /* who came waited for the step before */
    note(&p, 1, takes(gpu, 1));
    cr_assert_eq(pace_rows(&p, 1, 1, false, 8, 512), 512);
    cr_assert_eq(pace_rows(&p, 64, 64, false, 0, 512), 512); /* streams alone are never held back */
}

Test(pace, steps_with_prompts_do_not_count_as_the_streams_own)
{
    struct machine m = {10000000, 7000000}; /* 28 rows are in one class with the 16 streams */
    struct pace p = {0};
    for (int i = 0; i < 4 * PACE_AGE; i++) {
        int32_t n = pace_rows(&p, 16, 16, false, 1, i % 16 ? 28 : 512);
        double most = 1.001 * PACE_SHARED * (double)takes(m, 16);
        cr_assert(p.trial > 0 || (double)pace_most(&p, 16, false) <= most, "step %d", i);
        note(&p, n, takes(m, n));
    }
}

Test(pace, an_unknown_machine_is_tried_with_small_steps)
{
    struct pace p = {0};
    cr_assert_eq(pace_most(&p, 1, false), 0);
    cr_assert_eq(pace_rows(&p, 0, 0, false, 3, 512), 1);
    cr_assert_eq(pace_rows(&p, 5, 5, false, 3, 512), 5); /* the streams alone */
    note(&p, 1, 8000000);
    for (int i = 1; i < PACE_TRIAL; i++) {
        cr_assert_eq(pace_rows(&p, 0, 0, false, 3, 512), 1);
        note(&p, 1, 8000000);
    }
    cr_assert_eq(pace_rows(&p, 0, 0, false, 3, 512), PACE_ALONE);
    note(&p, PACE_ALONE, 8000000);
    cr_assert_gt(pace_rows(&p, 0, 0, false, 3, 512), 48);
    for (int i = 0; i < PACE_AGE; i++)
        note(&p, 500, 8000000);
    cr_assert_eq(pace_rows(&p, 0, 0, false, 3, 512), 1); /* it may have changed since */
}

Test(pace, what_was_seen_once_is_tried_again_soon)
{
    struct pace p = {0};
    uint32_t tried = 0;
    for (int i = 0; i < 1000; i++) {
        int32_t rows = pace_rows(&p, 1, 1, false, 1, 512);
        tried += rows == 1;
        note(&p, rows, 10000000 + 1000000 * (uint64_t)rows);
    }
    tried /= PACE_TRIAL;
    cr_assert(tried >= 4 && tried <= 12, "%u trials", tried); /* 4, 8, ... 256 steps apart */
}

/* Steps with one stream and one prompt until the rows stay as they are; their number. */
static int settle(struct pace *p, struct machine m, int32_t budget, int32_t *rows)
{
    int steps = 0, same = 0;
    for (int32_t last = 0; same < 8 && steps < 1000; steps++) {
        int32_t n = pace_rows(p, 1, 1, false, 1, budget);
        cr_assert(n >= 1 && n <= budget);
        note(p, n, takes(m, n));
        if (n == 1)
            continue; /* a trial */
        same = n == last ? same + 1 : 0;
        last = *rows = n;
    }
    return steps;
}

Test(pace, steps_with_streams_take_the_target_soon_and_no_longer)
{
    static const struct machine machines[] = {
        {400000, 40000}, {30000000, 5000000}, {8000000, 4000}, {1000000, 3000000},
    };
    for (size_t i = 0; i < ARRAY_LEN(machines); i++)
        for (uint64_t target = 0; target <= 320000000; target += 80000000) {
            struct pace p = {.target_ns = target};
            int32_t rows = 0, least = 1 + PACE_LEAST;
            double most = target ? (double)target : PACE_SHARED * (double)takes(machines[i], 1);
            int steps = settle(&p, machines[i], 512, &rows);
            cr_assert_lt(steps, 60, "machine %zu: %d steps", i, steps);
            cr_assert(rows >= least && rows <= 512);
            cr_assert(rows == least || (double)takes(machines[i], rows) <= 1.02 * most,
                      "machine %zu: %d rows take %g ns of %g", i, (int)rows,
                      (double)takes(machines[i], rows), most);
            cr_assert(rows == 512 || (double)takes(machines[i], rows + 2) >= 0.9 * most,
                      "machine %zu: only %d rows", i, (int)rows);
        }
}

/* What a mean step beside n calm streams takes, and the longest; prompts' rows in a second. */
static double calmly(struct machine m, int32_t streams, double *longest, double *mean)
{
    struct pace p = {0};
    double ns = 0, rows = 0;
    int steps = 0;
    *longest = 0;
    for (int i = 0; i < 400; i++) {
        int32_t n = pace_rows(&p, streams, streams, true, 1, 4096);
        note(&p, n, takes(m, n));
        if (i < 100 || p.trial > 0)
            continue;
        *longest = MAX(*longest, (double)takes(m, n));
        ns += (double)takes(m, n);
        rows += n - streams;
        steps++;
    }
    *mean = ns / steps;
    return rows / ns * 1e9;
}

Test(pace, beside_a_calm_stream_prompts_run_nearly_as_fast_as_alone)
{
    static const struct machine machines[] = {
        {8000000, 1800000}, {6000000, 2000000}, {400000, 40000}, {2300000, 11000}, {1000, 200000},
    };
    for (size_t i = 0; i < ARRAY_LEN(machines); i++) {
        double longest, mean, one = (double)takes(machines[i], 1);
        double rate = calmly(machines[i], 1, &longest, &mean), best = 1e9 / (double)machines[i].row;
        cr_expect_geq(rate, 0.85 * best, "machine %zu: %.2f", i, rate / best);
        cr_expect_leq(longest, 1.01 * MIN(PACE_CALM * one, (double)PACE_FELT_NS),
                      "machine %zu: %g ns, one stream takes %g", i, longest, one);
    }
}

Test(pace, a_gap_that_is_felt_is_no_longer_than_it_must_be)
{
    double longest, mean;
    (void)calmly((struct machine){20000000, 2000000}, 1, &longest, &mean);
    cr_expect_leq(longest, 1.01 * (double)PACE_FELT_NS);
    (void)calmly((struct machine){100000000, 2000000}, 1, &longest, &mean);
    cr_expect_leq(longest, 1.01 * PACE_SHARED * 102e6);
}

Test(pace, the_more_streams_wait_the_shorter_it_is)
{
    struct machine m = {8000000, 20000};
    double longest[17], mean;
    for (int32_t n = 1; n <= 16; n *= 2) {
        (void)calmly(m, n, &longest[n], &mean);
        double least = (double)takes(m, n); /* that of one row is not known here */
        cr_expect_leq(longest[n], 1.01 * least * MAX(PACE_CALM / sqrt(n), PACE_SHARED),
                      "%d streams: %g ns", (int)n, longest[n]);
        cr_expect(n == 1 || longest[n] < longest[n / 2], "%d streams: %g ns", n, longest[n]);
    }
    cr_expect_leq(longest[16], 1.01 * PACE_SHARED * (double)takes(m, 16));
}

Test(pace, who_comes_while_a_calm_step_runs_has_it_paid_back)
{
    struct machine m = {1000000, 100000};
    struct pace p = {0};
    int32_t n = 0, alone = 0;
    for (int i = 0; i < 100 || n == 1; i++) {
        n = pace_rows(&p, 1, 1, true, 1, 512);
        note(&p, n, takes(m, n));
    }
    double late = (double)takes(m, n), now = 0;
    cr_assert_gt(late, 9 * (double)takes(m, 1));
    for (; (n = pace_rows(&p, 2, 2, false, 1, 512)) == 2; alone++)
        note(&p, n, takes(m, n));
    now = (double)takes(m, 2) * alone;
    cr_expect_leq(late + now, 1.05 * PACE_SHARED * (double)takes(m, 2) * (alone + 2));
    cr_expect(alone >= 3 && alone < PACE_PATIENCE, "%d steps", (int)alone);
    note(&p, n, takes(m, n));
    cr_expect_leq((double)takes(m, n), 1.01 * PACE_SHARED * (double)takes(m, 2));
}

Test(pace, a_target_holds_for_calm_streams_too)
{
    struct pace p = {.target_ns = 20000000};
    struct machine m = {8000000, 1000000};
    for (int i = 0; i < 100; i++) {
        int32_t n = pace_rows(&p, 1, 1, true, 1, 512);
        note(&p, n, takes(m, n));
        cr_assert(i < 50 || takes(m, n) <= 20200000, "%d rows", (int)n);
    }
}

Test(pace, prompts_beside_streams_take_longer)
{
    struct machine m = {1000000, 100000};
    struct pace p = {0};
    cr_expect_eq(pace_prompts_ns(&p, 10, 300, 512), 0, "nothing is known");
    for (int i = 0; i < 40; i++)
        for (int32_t n = 1; n <= 512; n *= 2)
            note(&p, n, takes(m, n));
    double alone = (double)pace_prompts_ns(&p, 0, 300, 512);
    cr_expect(fabs(alone / (double)takes(m, 300) - 1) < 0.01, "%g ns", alone);
    double steps = (double)pace_prompts_ns(&p, 0, 5120, 512) / (double)takes(m, 512);
    cr_expect(fabs(steps - 10) < 0.1, "%g steps", steps);
    /* A step of 2.5 times 16 rows has 6.5 ms, so 55 rows, of which 39 are the prompt's. */
    double beside = (double)pace_prompts_ns(&p, 16, 300, 512);
    cr_expect(fabs(beside / (6.5e6 * 300 / 39) - 1) < 0.1, "%g ns", beside);
    cr_expect_gt(pace_prompts_ns(&p, 500, 300, 512), 300 / PACE_LEAST * takes(m, 500) / 3);
}

Test(pace, the_cap_holds_and_prompts_always_move_on)
{
    struct pace p = {.target_ns = 1};
    int32_t rows;
    settle(&p, (struct machine){1000000, 1000000}, 512, &rows);
    cr_assert_eq(rows, 1 + PACE_LEAST);
    cr_assert_eq(pace_rows(&p, 1, 1, false, 1, 4), 4);
    cr_assert_eq(pace_rows(&p, 4, 4, false, 1, 4), 4);
    cr_assert_eq(pace_rows(&p, 60, 60, false, 4, 64), 64);
    p = (struct pace){.target_ns = UINT64_MAX / 2};
    settle(&p, (struct machine){1000000, 1000000}, 300, &rows);
    cr_assert_eq(rows, 300);
}

Test(pace, a_target_binds_prompts_alone_only_where_it_is_longer)
{
    struct pace p = {.target_ns = 50};
    note(&p, 1, 1000);
    cr_assert_eq(pace_most(&p, 0, false), PACE_ALONE * 1000);
    p.target_ns = 50000;
    cr_assert_eq(pace_most(&p, 0, false), 50000);
}

Test(pace, an_hour_in_the_middle_changes_little)
{
    const uint64_t hour = UINT64_C(3600) * 1000000000;
    struct machine m = {30000000, 5000000};
    for (int when = 0; when < 40; when++) {
        struct pace p = {0};
        int32_t rows = 0, again = 0;
        settle(&p, m, 512, &rows);
        for (int i = 0; i < when; i++) {
            int32_t n = pace_rows(&p, 1, 1, false, 1, 512);
            note(&p, n, takes(m, n));
        }
        note(&p, pace_rows(&p, 1, 1, false, 1, 512), hour); /* the process was stopped */
        cr_assert_leq((double)pace_ns(&p, rows), 1.25 * (double)takes(m, rows));
        cr_assert_leq((double)pace_ns(&p, 1), 1.25 * PACE_SHARED * (double)takes(m, 1));
        for (int i = 0; i < 2 * PACE_YOUNG; i++) {
            int32_t n = pace_rows(&p, 1, 1, false, 1, 512);
            cr_assert_leq((double)takes(m, n), 1.25 * PACE_SHARED * (double)takes(m, rows));
            note(&p, n, takes(m, n));
        }
        cr_assert_lt(settle(&p, m, 512, &again), 40);
        cr_assert(again > 3 * rows / 4 && again < 5 * rows / 4, "%d rows, then %d", (int)rows,
                  (int)again);
    }
}

Test(pace, a_first_step_of_an_hour_is_forgotten)
{
    struct machine m = {30000000, 5000000};
    struct pace p = {0};
    int32_t rows;
    note(&p, 1, UINT64_C(3600) * 1000000000); /* weights come from a disk */
    for (int i = 0; i < 16; i++) {
        int32_t n = pace_rows(&p, 1, 1, false, 1, 512);
        note(&p, n, takes(m, n));
    }
    settle(&p, m, 512, &rows);
    cr_assert_leq((double)takes(m, rows), 1.02 * PACE_SHARED * (double)takes(m, 1));
}

Test(pace, a_machine_that_changes_is_followed)
{
    struct machine fast = {3000000, 500000}, slow = {30000000, 5000000};
    struct pace p = {.target_ns = 100000000};
    int32_t rows;
    settle(&p, fast, 512, &rows);
    cr_assert_gt(rows, 180);
    for (int i = 0; i < 60; i++) {
        int32_t n = pace_rows(&p, 1, 1, false, 1, 512);
        note(&p, n, takes(slow, n));
    }
    settle(&p, slow, 512, &rows);
    cr_assert_leq(takes(slow, rows), 105000000, "%d rows", (int)rows);
    for (int i = 0; i < 2 * PACE_AGE; i++) {
        int32_t n = pace_rows(&p, 1, 1, false, 1, 512);
        note(&p, n, takes(fast, n));
    }
    settle(&p, fast, 512, &rows);
    cr_assert_gt(rows, 180);
}

Test(pace, one_slow_step_is_not_believed_for_long)
{
    struct pace p = {0};
    note(&p, 1, 100000000); /* a kernel is compiled */
    for (int i = 0; i < 8; i++)
        note(&p, 1, 1000000);
    cr_assert_lt(pace_ns(&p, 1), 1500000);
    note(&p, 1, 100000000);
    cr_assert_lt(pace_ns(&p, 1), 15000000);
}

Test(pace, times_grow_with_rows)
{
    struct pace p = {0};
    note(&p, 1, 5000);
    note(&p, 16, 4000); /* noise */
    note(&p, 500, 90000);
    for (int32_t n = 1; n < 3000; n++)
        cr_assert_leq(pace_ns(&p, n), pace_ns(&p, n + 1), "%d rows", n);
}

Test(pace, prompts_take_longer_steps_where_rows_get_cheaper_within_a_class_of_rows_too)
{
    struct machine m = {10000000, 7300};
    struct pace p = {.single_rows = 64};
    for (int i = 0; i < PACE_TRIAL; i++)
        pace_note(&p, 1, true, 1600000);
    for (int i = 0; i < 60; i++) {
        int32_t n = pace_rows(&p, 0, 0, false, 4, 8192);
        pace_note(&p, n, n == 1, n == 1 ? 1600000 : takes(m, n));
        cr_assert_leq(n == 1 ? 0 : takes(m, n), 71000000);
    }
    cr_expect_gt(takes(m, pace_rows(&p, 0, 0, false, 4, 8192)), 60000000);
}

/* Of more rows a device may make something else than of few: no line leads there. */
static uint64_t in_stairs(int32_t rows)
{
    return 3000000 + (uint64_t)rows * (rows < 3000 ? 9000 : 6000);
}

Test(pace, what_nobody_tried_is_found_out)
{
    struct pace p = {.single_rows = 32};
    double rows = 0, ns = 0;
    for (int i = 0; i < 400; i++) {
        int32_t n = pace_rows(&p, 0, 0, false, 4, 8192);
        note(&p, n, in_stairs(n));
        cr_assert_leq(in_stairs(n), 71000000);
        rows += i < 50 ? 0 : n;
        ns += i < 50 ? 0 : (double)in_stairs(n);
    }
    double best = 8192 / (double)in_stairs(8192);
    cr_expect_gt(rows / ns, 0.9 * best, "%.2f of what steps of 8,192 rows give", rows / ns / best);
}

Test(pace, what_saves_nothing_is_tried_seldom)
{
    struct machine m = {100000, 1000000};
    struct pace p = {.single_rows = 1};
    int longer = 0;
    for (int i = 0; i < 1000; i++) {
        int32_t n = pace_rows(&p, 0, 0, false, 4, 8192);
        note(&p, n, takes(m, n));
        longer += (double)takes(m, n) > 1.05 * PACE_ALONE * (double)takes(m, 1);
    }
    cr_expect(longer > 0 && longer < 50, "%d of 1,000 steps are longer", longer);
}
