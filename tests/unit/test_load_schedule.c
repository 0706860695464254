/* Arrivals: the right rate, the right spread, the same for the same seed. Files under test are
 * included: the load client is a program of its own. */
#include <criterion/criterion.h>
#include <math.h>

#include "base/clock.h"
#include "programs/recurd-bench/dist.c"
#include "programs/recurd-bench/schedule.c"
#include "programs/recurd-bench/timer.c"

static const struct ramp flat;

static struct schedule build(enum arrival a, double k, double rate, const struct ramp *r, size_t n,
                             double seconds, uint64_t seed)
{
    struct schedule s;
    struct err e = {0};
    cr_assert_eq(schedule_build(&s, a, k, rate, r, n, seconds, seed, &e), 0, "%s", e.text);
    for (size_t i = 1; i < s.n; i++)
        cr_assert_geq(s.at_ns[i], s.at_ns[i - 1]);
    return s;
}

/* Mean and coefficient of variation of the gaps. */
static void gaps(const struct schedule *s, double *mean, double *cv)
{
    double sum = 0, sq = 0, n = (double)s->n - 1;
    for (size_t i = 1; i < s->n; i++) {
        double g = (double)(s->at_ns[i] - s->at_ns[i - 1]) / 1e9;
        sum += g;
        sq += g * g;
    }
    *mean = sum / n;
    *cv = sqrt(fmax(0, sq / n - *mean * *mean)) / *mean;
}

Test(load_schedule, gaps_have_the_mean_and_spread_of_their_process)
{
    static const struct { enum arrival a; double k, cv; } cases[] = {
        {ARRIVAL_POISSON, 1, 1}, {ARRIVAL_CONSTANT, 1, 0}, {ARRIVAL_GAMMA, 1, 1},
        {ARRIVAL_GAMMA, 4, 0.5}, {ARRIVAL_GAMMA, 0.25, 2}, {ARRIVAL_GAMMA, 100, 0.1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct schedule s = build(cases[i].a, cases[i].k, 20, &flat, 100000, 0, 3);
        double mean, cv;
        gaps(&s, &mean, &cv);
        cr_assert_float_eq(mean, 0.05, 0.001, "case %zu: mean %g", i, mean);
        cr_assert_float_eq(cv, cases[i].cv, 0.03, "case %zu: cv %g", i, cv);
        schedule_free(&s);
    }
}

Test(load_schedule, the_seed_decides_alone)
{
    struct schedule a = build(ARRIVAL_POISSON, 1, 5, &flat, 1000, 0, 1);
    struct schedule b = build(ARRIVAL_POISSON, 1, 5, &flat, 1000, 0, 1);
    struct schedule c = build(ARRIVAL_POISSON, 1, 5, &flat, 1000, 0, 2);
    cr_assert_arr_eq(a.at_ns, b.at_ns, 1000 * sizeof *a.at_ns);
    cr_assert_neq(a.at_ns[500], c.at_ns[500]);
    schedule_free(&a);
    schedule_free(&b);
    schedule_free(&c);
}

Test(load_schedule, count_and_duration_end_it)
{
    struct schedule s = build(ARRIVAL_CONSTANT, 1, 10, &flat, 0, 3, 1);
    cr_assert_eq(s.n, 30);
    schedule_free(&s);
    s = build(ARRIVAL_CONSTANT, 1, 10, &flat, 7, 3, 1);
    cr_assert_eq(s.n, 7);
    schedule_free(&s);
    s = build(ARRIVAL_POISSON, 1, INFINITY, &flat, 7, 0, 1);
    cr_assert(s.n == 7 && s.at_ns[6] == 0);
    schedule_free(&s);
    struct err e = {0};
    cr_assert_eq(schedule_build(&s, ARRIVAL_POISSON, 1, INFINITY, &flat, 0, 3, 1, &e), E_CONFLICT);
    err_clear(&e);
    cr_assert_eq(schedule_build(&s, ARRIVAL_POISSON, 1, 1e9, &flat, 0, 1e5, 1, &e), E_RANGE);
}

/* The number of arrivals before t is the area under the ramp, whatever its kind. */
Test(load_schedule, ramps_are_the_area_under_their_rate)
{
    static const char *const texts[] = {
        "linear:0:100:10", "linear:50:5:10", "linear:20:20:10", "exp:1:100:10", "exp:80:2:10",
        "exp:5:5:10", "step:5:10:2", "step:0:3:1:9", "step:5:10:2:20",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct ramp r;
        struct err e = {0};
        cr_assert_eq(ramp_parse(texts[i], &r, &e), 0, "%s", e.text);
        struct schedule s = build(ARRIVAL_CONSTANT, 1, 0, &r, 0, 15, 1);
        double area = 0, dt = 1e-4;
        size_t k = 0;
        for (double t = 0; t < 15; t += dt) {
            while (k < s.n && (double)s.at_ns[k] / 1e9 < t)
                k++;
            cr_assert(fabs((double)k - area) < 1.1, "%s at %g s: %zu arrivals, area %g", texts[i],
                      t, k, area);
            area += ramp_at(&r, 0, t + dt / 2) * dt;
        }
        schedule_free(&s);
    }
}

Test(load_schedule, what_is_not_a_ramp_is_refused)
{
    static const char *const bad[] = {
        "", "linear", "linear:1:2", "linear:1:2:0", "linear:1:2:-3", "linear:1:0:5",
        "linear:1:2:3x", "exp:0:5:5", "step:1:0:5", "step:5:1:1:2", "sine:1:2:3", "linear:-1:2:3",
        "linear:nan:2:3", "linear:1:inf:3",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct ramp r;
        struct err e = {0};
        cr_assert_eq(ramp_parse(bad[i], &r, &e), E_FORMAT, "\"%s\"", bad[i]);
    }
}

Test(load_dist, lengths_follow_their_distribution)
{
    static const struct { const char *text; double mean, lo, hi; } cases[] = {
        {"512", 512, 512, 512},         {"uniform:10:20", 15, 10, 20},
        {"normal:100:10", 100, 1, 200}, {"lognormal:100:0.5", 100 * 1.1331, 1, 2000},
        {"exp:50", 50.5, 1, 2000},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dist d;
        struct err e = {0};
        struct rng r = {.seed = 4};
        double sum = 0, lo = 1e9, hi = 0;
        cr_assert_eq(dist_parse(cases[i].text, &d, &e), 0, "%s", e.text);
        for (int k = 0; k < 50000; k++) {
            double x = dist_tokens(&d, &r, 1 << 20);
            sum += x;
            lo = fmin(lo, x);
            hi = fmax(hi, x);
        }
        cr_assert_float_eq(sum / 50000, cases[i].mean, cases[i].mean * 0.02, "%s", cases[i].text);
        cr_assert(lo >= cases[i].lo && hi <= cases[i].hi, "%s: %g … %g", cases[i].text, lo, hi);
    }
}

Test(load_dist, what_is_not_a_distribution_is_refused)
{
    static const char *const bad[] = {"", "-5", "x", "uniform:5", "uniform:9:5", "normal:1:2:3",
                                      "fixed", "exp:", "1e99", "nan", "uniform:1:2x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct dist d;
        struct err e = {0};
        cr_assert_eq(dist_parse(bad[i], &d, &e), E_FORMAT, "\"%s\"", bad[i]);
    }
}

static uint64_t last_fired;
static int n_fired;

static void fired(struct timer *t, uint64_t now)
{
    cr_assert_leq(t->at_ns, now);
    cr_assert_geq(t->at_ns, last_fired);
    last_fired = t->at_ns;
    n_fired++;
}

Test(load_timer, timers_fire_in_order_and_cleared_ones_never)
{
    static struct timer t[500];
    struct timers ts = {0};
    struct rng r = {.seed = 2};
    int set = 0;
    for (int i = 0; i < 500; i++) {
        t[i].fire = fired;
        cr_assert_eq(timer_set(&ts, &t[i], rng_below(&r, 1000)), 0);
    }
    for (int i = 0; i < 500; i += 3)
        cr_assert_eq(timer_set(&ts, &t[i], rng_below(&r, 1000)), 0); /* moved */
    for (int i = 0; i < 500; i += 2)
        timer_clear(&ts, &t[i]);
    timer_clear(&ts, &t[0]); /* twice is once */
    for (int i = 0; i < 500; i++)
        set += t[i].pos != 0;
    for (uint64_t now = 0; now <= 1000; now += 50) {
        timer_run(&ts, now);
        cr_assert_gt(timer_next(&ts), now);
    }
    cr_assert_eq(n_fired, set);
    cr_assert_eq(timer_next(&ts), UINT64_MAX);
    timer_free(&ts);
}
