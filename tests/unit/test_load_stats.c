/* Percentiles are exact, groups and records mean what their names say. Files under test are
 * included: the load client is a program of its own. */
#include <criterion/criterion.h>
#include <math.h>

#include "base/rng.h"
#include "programs/recurd-bench/stats.c"
#include "programs/recurd-bench/record.c"

void capture_free(struct capture *c)
{
    (void)c; /* no record of these tests keeps a reply */
}

#define NEAR(a, b) cr_assert_float_eq(a, b, 1e-9, "%s = %.12g, not %.12g", #a, a, b)

Test(load_stats, known_samples_give_known_summaries)
{
    struct stats s = {0};
    struct summary m;
    for (int i = 100; i >= 1; i--)
        stats_add(&s, i);
    stats_summary(&s, &m);
    cr_assert_eq(m.n, 100);
    NEAR(m.mean, 50.5);
    NEAR(m.std, sqrt((100.0 * 100 - 1) / 12));
    NEAR(m.min, 1.0);
    NEAR(m.p50, 50.5);
    NEAR(m.p90, 90.1);
    NEAR(m.p95, 95.05);
    NEAR(m.p99, 99.01);
    NEAR(m.p999, 99.901);
    NEAR(m.max, 100.0);
    NEAR(stats_share_below(&s, 25), 0.25);
    NEAR(stats_share_below(&s, 0), 0.0);
    NEAR(stats_share_below(&s, 1000), 1.0);
    stats_free(&s);
}

Test(load_stats, no_and_one_sample_are_no_special_case)
{
    struct stats s = {0};
    struct summary m;
    stats_summary(&s, &m);
    cr_assert(m.n == 0 && m.mean == 0 && m.p99 == 0);
    stats_add(&s, 7);
    stats_summary(&s, &m);
    cr_assert(m.n == 1 && m.mean == 7 && m.std == 0 && m.p50 == 7 && m.p999 == 7 && m.max == 7);
    stats_free(&s);
}

Test(load_stats, large_close_values_keep_their_deviation)
{
    struct stats s = {0};
    struct summary m;
    for (int i = 0; i < 1000; i++)
        stats_add(&s, 1e9 + (i & 1));
    stats_summary(&s, &m);
    cr_assert_float_eq(m.std, 0.5, 1e-6);
    stats_free(&s);
}

Test(load_stats, quantiles_rise_and_stay_within_the_samples)
{
    struct rng r = {.seed = 9};
    for (int n = 1; n < 200; n++) {
        struct stats s = {0};
        for (int i = 0; i < n; i++)
            stats_add(&s, rng_unit(&r));
        stats_sort(&s);
        double last = s.v[0];
        for (int q = 0; q <= 1000; q++) {
            double x = stats_quantile(&s, q / 1000.0);
            cr_assert(x >= last && x <= s.v[n - 1]);
            last = x;
        }
        stats_free(&s);
    }
}

Test(load_record, measures_follow_their_definitions)
{
    struct record r = {.t_sched = 1000000, .t_send = 3000000, .t_end = 99000000,
                       .has_usage = true, .completion_tokens = 5};
    cr_assert(record_ttft(&r) < 0 && record_ttst(&r) < 0 && record_tpot(&r) < 0);
    NEAR(record_e2e(&r), 96.0); /* no stream: until the end */
    record_output(&r, 13000000);
    NEAR(record_ttft(&r), 10.0);
    NEAR(record_e2e(&r), 10.0);
    record_output(&r, 15500000);
    record_output(&r, 23000000); /* the last two tokens came in one output */
    NEAR(record_ttst(&r), 2.5);
    NEAR(record_e2e(&r), 20.0);
    NEAR(record_tpot(&r), 2.5);
    NEAR(record_late(&r), 2.0);
    cr_assert_eq(record_tokens(&r), 5);
    r.has_usage = false;
    cr_assert_eq(record_tokens(&r), 3);
    mem_free(r.gaps_us);
}

Test(load_record, gaps_add_up_whatever_is_rounded)
{
    struct record r = {.t_send = 5};
    struct rng g = {.seed = 1};
    uint64_t t = 777, first = t, sum = 0;
    record_output(&r, t);
    for (int i = 0; i < 5000; i++)
        record_output(&r, t += 1 + rng_below(&g, 3000)); /* below and above a microsecond */
    for (uint32_t i = 0; i + 1 < r.n_outputs; i++)
        sum += r.gaps_us[i];
    cr_assert_eq(sum, (t - first + 500) / 1000);
    mem_free(r.gaps_us);
}
