/* The samplers of struct sample_shape against slow references in double precision that follow the
 * text of the definition, and what holds for each whatever the numbers. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "kernels/elementary.h"
#include "kernels/sample.h"
#include "scheduler/choice.h"

#define VOCAB 700 /* no multiple of a block */
#define EDGE 1e-6 /* a share so near to a threshold may fall on either side */

static struct sampler s;
static float row[VOCAB];
static double prob[VOCAB];  /* of what is left; 0 = removed */
static int32_t order[VOCAB];

static void setup(void) { cr_assert_eq(sample_init(&s, VOCAB, NULL), 0); }
static void teardown(void) { sample_fini(&s); }
TestSuite(sample_shape, .init = setup, .fini = teardown);

static const struct sampling plain = {.temperature = 1, .top_p = 1, .repetition_penalty = 1};

static int by_logit(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return row[x] != row[y] ? (row[x] > row[y] ? -1 : 1) : (x > y) - (x < y);
}

static void random_row(struct rng *r)
{
    float spread = 0.2f + 4 * (float)rng_unit(r);
    for (int32_t i = 0; i < VOCAB; i++) {
        row[i] = spread * rng_normal(r);
        if (rng_below(r, 9) == 0)
            row[i] = roundf(row[i]); /* ties */
        order[i] = i;
    }
    qsort(order, VOCAB, sizeof *order, by_logit);
}

static void normalise(void)
{
    double total = 0;
    for (int i = 0; i < VOCAB; i++)
        total += prob[i];
    for (int i = 0; i < VOCAB; i++)
        prob[i] /= total;
}

static void soften(double temperature)
{
    for (int i = 0; i < VOCAB; i++)
        prob[i] = exp(((double)row[i] - (double)row[order[0]]) / temperature);
    normalise();
}

static double entropy(void)
{
    double h = 0;
    for (int i = 0; i < VOCAB; i++)
        h -= prob[i] > 0 ? prob[i] * log(prob[i]) : 0;
    return h;
}

static struct sample_result draw(const struct sampling *p, int64_t pos, double mu)
{
    struct tally none = {0};
    struct sample_row ask = choice_draw(p, &none, pos);
    struct sample_shape shape;
    struct sample_result told;
    if (choice_shape(p, pos, &shape))
        ask.shape = &shape;
    shape.mu = mu;
    sample_choose(&s, row, &ask, &told);
    cr_assert_eq(told.status, SAMPLE_OK);
    return told;
}

/* The drawn token is the one whose interval of the running sum of prob holds u. slack: shares that
 * rounding may have moved. */
static void check_draw(const struct sampling *p, int64_t pos, int32_t id, double slack)
{
    double u = rng_unit_at(p->seed, 1, (uint64_t)pos), below = 0;
    for (int32_t i = 0; i < id; i++)
        below += prob[i];
    cr_assert_gt(prob[id], 0, "token %d was removed (pos %d)", id, (int)pos);
    cr_assert(u > below - slack && u < below + prob[id] + slack,
              "u %.9g, token %d has [%.9g, %.9g)", u, id, below, below + prob[id]);
}

Test(sample_shape, elementary_functions_are_near_the_library)
{
    struct rng r = {.seed = 3};
    for (int i = 0; i < 100000; i++) {
        double x = ldexp(0.5 + rng_unit(&r), (int)rng_below(&r, 200) - 100);
        double y = (rng_unit(&r) - 0.5) * 120;
        cr_assert_lt(fabs(exact_log2(x) - log2(x)), 1e-13 * (1 + fabs(log2(x))));
        cr_assert_lt(fabs(exact_exp2(y) / exp2(y) - 1), 1e-13);
    }
    cr_assert_eq(exact_log2(1), 0);
    cr_assert_eq(exact_log2(8), 3);
    cr_assert_eq(exact_exp2(0), 1);
    cr_assert_eq(exact_pow(0, 0), 1);
    cr_assert_eq(exact_pow(0, 2), 0);
}

Test(sample_shape, top_n_sigma_keeps_what_is_near_the_largest)
{
    struct rng r = {.seed = 1};
    for (int64_t pos = 0; pos < 500; pos++) {
        struct sampling p = plain;
        random_row(&r);
        p.temperature = 0.5f + (float)rng_unit(&r);
        p.top_n_sigma = 0.2f + 2 * (float)rng_unit(&r);
        double mean = 0, var = 0;
        for (int i = 0; i < VOCAB; i++)
            mean += (double)row[i] / VOCAB;
        for (int i = 0; i < VOCAB; i++)
            var += ((double)row[i] - mean) * ((double)row[i] - mean) / VOCAB;
        soften((double)p.temperature);
        double least = (double)row[order[0]] - (double)p.top_n_sigma * sqrt(var);
        for (int i = 0; i < VOCAB; i++)
            prob[i] = (double)row[i] < least ? 0 : prob[i];
        normalise();
        check_draw(&p, pos, draw(&p, pos, 0).id, 1e-5);
    }
}

Test(sample_shape, typical_p_keeps_what_is_near_the_entropy)
{
    struct rng r = {.seed = 2};
    int narrower = 0, other = 0;
    for (int64_t pos = 0; pos < 500; pos++) {
        static double far[VOCAB];
        struct sampling p = plain;
        double sum = 0, h;
        int32_t left = VOCAB;
        bool taken[VOCAB] = {0};
        random_row(&r);
        p.typical_p = 0.05f + 0.9f * (float)rng_unit(&r);
        soften(1);
        h = entropy();
        for (int i = 0; i < VOCAB; i++)
            far[i] = fabs(-log(prob[i]) - h);
        while (sum < (double)p.typical_p - EDGE) {
            int best = -1;
            for (int i = 0; i < VOCAB; i++)
                if (!taken[i] && (best < 0 || far[i] < far[best] - 1e-9))
                    best = i;
            taken[best] = true;
            sum += prob[best];
            left--;
        }
        if (fabs(sum - (double)p.typical_p) < EDGE)
            continue; /* the next may be in, too */
        for (int i = 0; i < VOCAB; i++)
            prob[i] = taken[i] ? prob[i] : 0;
        normalise();
        narrower += left > 0;
        int32_t id = draw(&p, pos, 0).id;
        other += prob[id] == 0; /* distances that are equal in one precision only */
        if (prob[id] > 0)
            check_draw(&p, pos, id, 2e-4);
    }
    cr_assert_gt(narrower, 400);
    cr_assert_leq(other, 2);
}

Test(sample_shape, xtc_removes_all_but_the_last_likely_one)
{
    struct rng r = {.seed = 4};
    int removed = 0, off = 0;
    for (int64_t pos = 0; pos < 2000; pos++) {
        struct sampling p = plain;
        random_row(&r);
        p.seed = 9;
        p.xtc_probability = pos % 2 ? 1 : 0.5f;
        p.xtc_threshold = 0.02f + 0.2f * (float)rng_unit(&r);
        soften(1);
        bool now = rng_unit_at(p.seed, 2, (uint64_t)pos) < (double)p.xtc_probability;
        bool edge = false;
        off += !now;
        for (int k = 0; now && k + 1 < VOCAB; k++) {
            double next = prob[order[k + 1]];
            edge = edge || fabs(next - (double)p.xtc_threshold) < EDGE;
            if (next < (double)p.xtc_threshold)
                break;
            prob[order[k]] = 0;
            removed++;
        }
        if (edge)
            continue;
        normalise();
        check_draw(&p, pos, draw(&p, pos, 0).id, 1e-5);
    }
    cr_assert_gt(removed, 300);
    cr_assert(off > 400 && off < 600);
}

Test(sample_shape, dynatemp_is_the_temperature_of_the_entropy)
{
    struct rng r = {.seed = 5};
    for (int64_t pos = 0; pos < 500; pos++) {
        struct sampling p = plain;
        random_row(&r);
        p.temperature = 0.3f + (float)rng_unit(&r);
        p.dynatemp_range = 0.1f + (float)rng_unit(&r);
        p.dynatemp_exponent = pos % 2 ? 1 : 0.5f + (float)rng_unit(&r);
        p.top_k = pos % 3 ? (int32_t)rng_below(&r, 60) + 1 : 0;
        soften(1);
        int n = p.top_k ? p.top_k : VOCAB;
        for (int i = n; i < VOCAB; i++)
            prob[order[i]] = 0;
        normalise();
        double part = n > 1 ? entropy() / log(n) : 0;
        double cold = fmax((double)p.temperature - (double)p.dynatemp_range, 0);
        double t = cold + ((double)p.temperature + (double)p.dynatemp_range - cold) *
                              pow(part, (double)p.dynatemp_exponent);
        int32_t id = draw(&p, pos, 0).id;
        if (n == 1 || t < 1e-5) {
            cr_assert_eq(id, order[0]);
            continue;
        }
        for (int i = 0; i < VOCAB; i++)
            if (prob[i] > 0)
                prob[i] = exp(((double)row[i] - (double)row[order[0]]) / t);
        normalise();
        check_draw(&p, pos, id, 1e-4);
    }
}

static double mirostat_k(double mu, double temperature)
{
    double tb = 0, tt = 0;
    for (int i = 0; i + 1 < SAMPLE_MIROSTAT_TOP; i++) {
        double t = log((double)(i + 2) / (i + 1));
        tb += t * log(prob[order[i]] / prob[order[i + 1]]);
        tt += t * t;
    }
    (void)temperature;
    double slope = tb / tt, e = slope - 1;
    return pow(e * pow(2, mu) / (1 - pow(VOCAB, -e)), 1 / slope);
}

Test(sample_shape, mirostat_truncates_by_mu_and_tells_the_surprise)
{
    struct rng r = {.seed = 6};
    for (int64_t pos = 0; pos < 1000; pos++) {
        struct sampling p = plain;
        random_row(&r);
        p.temperature = 0.5f + (float)rng_unit(&r);
        p.mirostat = pos % 2 ? 1 : 2;
        p.top_k = 1; /* is not looked at */
        double mu = rng_unit(&r) * 10;
        bool edge = false;
        soften((double)p.temperature);
        if (p.mirostat == 1) {
            double k = mirostat_k(mu, (double)p.temperature);
            edge = fabs(k - floor(k + 0.5)) < 1e-3 * k;
            for (int i = k < 1 ? 1 : (int)fmin(k, VOCAB); i < VOCAB; i++)
                prob[order[i]] = 0;
        } else {
            for (int i = 1; i < VOCAB; i++) {
                edge = edge || fabs(-log2(prob[order[i]]) - mu) < 1e-5;
                if (-log2(prob[order[i]]) > mu)
                    prob[order[i]] = 0;
            }
        }
        normalise();
        if (edge)
            continue;
        struct sample_result told = draw(&p, pos, mu);
        check_draw(&p, pos, told.id, 1e-4);
        cr_assert_lt(fabs(told.surprise + log2(prob[told.id])), 1e-4);
    }
}

Test(sample_shape, mirostat_2_holds_its_target)
{
    struct rng r = {.seed = 7};
    struct sampling p = plain;
    double mu = 2 * 3, sum = 0;
    p.mirostat = 2;
    for (int64_t pos = 0; pos < 4000; pos++) {
        for (int32_t i = 0; i < VOCAB; i++)
            row[i] = 1.5f * rng_normal(&r);
        double surprise = draw(&p, pos, mu).surprise;
        mu -= 0.1 * (surprise - 3);
        sum += pos >= 1000 ? surprise / 3000 : 0;
    }
    cr_assert(sum > 2.9 && sum < 3.1, "%g bits, 3 were asked for", sum);
}

Test(sample_shape, repeats_are_subtracted_after_the_penalties)
{
    const struct sample_edit repeats[] = {{5, 3}, {9, 1e30f}};
    struct sample_shape shape = {.typical = SAMPLE_ALL, .n_repeats = 2, .repeats = repeats};
    struct sample_row ask = {.n_top = -1, .draw = true, .greedy = true, .shape = &shape};
    struct sample_result told;
    for (int i = 0; i < VOCAB; i++)
        row[i] = 0;
    row[5] = 4;
    row[9] = 8;
    row[7] = 2;
    sample_choose(&s, row, &ask, &told);
    cr_assert_eq(told.id, 7);
    row[5] = 6;
    sample_choose(&s, row, &ask, &told);
    cr_assert_eq(told.id, 5);
}

Test(sample_shape, extreme_numbers_still_draw_a_token)
{
    struct rng r = {.seed = 8};
    static const float some[] = {0, 1e-30f, 1e-6f, 0.5f, 1, 100};
#define ANY some[rng_below(&r, ARRAY_LEN(some))]
    for (int64_t pos = 0; pos < 5000; pos++) {
        struct sampling p = plain;
        for (int32_t i = 0; i < VOCAB; i++) {
            row[i] = pos % 5 == 0 ? 1 : pos % 5 == 1 ? 1e30f * rng_normal(&r) : rng_normal(&r);
            if (pos % 5 == 2 && i > 0)
                row[i] = -INFINITY;
        }
        p.temperature = 1e-4f + ANY;
        p.top_n_sigma = ANY;
        p.typical_p = ANY;
        p.xtc_probability = ANY;
        p.xtc_threshold = ANY;
        p.dynatemp_range = ANY;
        p.dynatemp_exponent = ANY;
        p.mirostat = (int32_t)rng_below(&r, 3);
        p.min_p = rng_below(&r, 2) ? 1 : 0;
        p.top_p = rng_below(&r, 2) ? 1 : 1e-6f;
        p.top_k = (int32_t)rng_below(&r, 4);
        struct sample_result told = draw(&p, pos, (rng_unit(&r) - 0.5) * 1e4);
        cr_assert(told.id >= 0 && told.id < VOCAB && row[told.id] > -INFINITY);
        cr_assert(isfinite(told.surprise));
    }
}
