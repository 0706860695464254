/* How many rows a step may carry: delays are bounded, and nothing is lost where rows are free. */
#include <criterion/criterion.h>

#include "scheduler/batch.h"
#include "scheduler/pace.h"

/* A device: a step of n rows takes fixed + n x row ns. */
struct machine { uint64_t fixed, row; };

static uint64_t takes(struct machine m, int32_t rows) { return m.fixed + m.row * (uint64_t)rows; }

/* The rows of one step, as the engine picks them. */
static int32_t step(const struct pace *p, const struct batch_want *w, int32_t n, int32_t *rows)
{
    int32_t decode = 0;
    for (int32_t i = 0; i < n; i++)
        decode += w[i].decode;
    int32_t budget = pace_rows(p, decode, n - decode, 512);
    if (budget >= n)
        return batch_pick(w, n, budget, 66, rows);
    for (int32_t i = 0; i < n; i++)
        rows[i] = decode ? w[i].decode : i == 0;
    return budget;
}

/* A request of `out` tokens arrives when a step of the others has just begun; -> its time. */
static uint64_t served_in(struct machine m, int n_long, int32_t out, int warm)
{
    struct pace p = {0};
    struct batch_want w[65];
    int32_t rows[65];
    uint64_t ns = 0;
    for (int i = 0; i < n_long; i++)
        w[i] = (struct batch_want){.left = 100000, .most = 100000, .draws = true};
    for (int i = 0; i < warm; i++) { /* the last of these is under way when it comes */
        int32_t n = n_long ? step(&p, w, n_long, rows) : 0;
        ns = n ? takes(m, n) : 0;
        if (n)
            pace_note(&p, n, ns);
    }
    for (int32_t left = 16, done = 0; done < out;) {
        w[n_long] = left ? (struct batch_want){.left = left, .most = left, .draws = true}
                         : (struct batch_want){.left = 1, .most = 1, .draws = true, .decode = true};
        int32_t n = step(&p, w, n_long + 1, rows);
        pace_note(&p, n, takes(m, n));
        ns += takes(m, n);
        done += left ? rows[n_long] == left : 1;
        left -= left ? rows[n_long] : 0;
    }
    return ns;
}

Test(pace, eight_long_prompts_slow_a_short_request_down_three_times_at_most)
{
    static const struct machine machines[] = {
        {400000, 40000}, {1500000, 40000}, {8000000, 4000}, {50000000, 5000000},
    };
    for (size_t i = 0; i < ARRAY_LEN(machines); i++)
        for (int n = 1; n <= 8; n++) {
            uint64_t alone = served_in(machines[i], 0, 17, 0);
            uint64_t beside = served_in(machines[i], n, 17, 20);
            cr_assert_leq(beside, 3 * alone, "machine %zu, %d prompts: %g", i, n,
                          (double)beside / (double)alone);
        }
}

Test(pace, where_rows_cost_nothing_the_whole_budget_is_used)
{
    struct pace p = {0};
    struct machine gpu = {8000000, 4000};
    pace_note(&p, 1, takes(gpu, 1));
    pace_note(&p, 512, takes(gpu, 512));
    cr_assert_eq(pace_rows(&p, 1, 8, 512), 512);
    cr_assert_eq(pace_rows(&p, 0, 1, 512), 512);
    cr_assert_eq(pace_rows(&p, 64, 0, 512), 512); /* streams alone are never held back */
}

Test(pace, an_unknown_machine_is_tried_with_small_steps)
{
    struct pace p = {0};
    cr_assert_eq(pace_rows(&p, 0, 3, 512), 1);
    cr_assert_eq(pace_rows(&p, 5, 3, 512), 5); /* the streams alone */
    pace_note(&p, 1, 8000000);
    cr_assert_eq(pace_rows(&p, 0, 3, 512), 8);
    pace_note(&p, 8, 8000000);
    cr_assert_gt(pace_rows(&p, 0, 3, 512), 48);
    cr_assert_eq(pace_rows(&p, 3, 70, 64), 64); /* a row each is all there is */
    for (int i = 0; i < PACE_AGE; i++)
        pace_note(&p, 500, 8000000);
    cr_assert_eq(pace_rows(&p, 0, 3, 512), 1); /* it may have changed since */
}

Test(pace, one_slow_step_is_not_believed_for_long)
{
    struct pace p = {0};
    pace_note(&p, 1, 100000000); /* a kernel is compiled */
    for (int i = 0; i < 8; i++)
        pace_note(&p, 1, 1000000);
    cr_assert_lt(pace_ns(&p, 1), 1500000);
    pace_note(&p, 1, 100000000);
    cr_assert_lt(pace_ns(&p, 1), 15000000);
}

Test(pace, times_grow_with_rows)
{
    struct pace p = {0};
    pace_note(&p, 1, 5000);
    pace_note(&p, 16, 4000); /* noise */
    pace_note(&p, 500, 90000);
    for (int32_t n = 1; n < 3000; n++)
        cr_assert_leq(pace_ns(&p, n), pace_ns(&p, n + 1), "%d rows", n);
}
