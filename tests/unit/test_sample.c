/* Sampling against slow references that sort everything: in double precision, which says that the
 * arithmetic means what it should, and in the arithmetic itself, which says that no trick shows. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "kernels/softmax.h"
#include "scheduler/choice.h"

#define VOCAB 1000 /* no multiple of a block */

static struct sampler s;
static struct tally seen;
static float row[VOCAB];

static void setup(void)
{
    cr_assert_eq(sample_init(&s, VOCAB, NULL), 0);
    cr_assert_eq(tally_init(&seen, VOCAB, 0, 0, NULL), 0);
}

static void teardown(void)
{
    sample_fini(&s);
    tally_fini(&seen);
}

TestSuite(sample, .init = setup, .fini = teardown);

static void random_row(struct rng *r, float spread)
{
    for (int i = 0; i < VOCAB; i++)
        row[i] = spread * rng_normal(r);
}

static const struct sampling plain = {.temperature = 1, .top_p = 1, .repetition_penalty = 1};

static int32_t token(const struct sampling *p, int64_t pos)
{
    struct sample_row ask = choice_draw(p, &seen, pos);
    struct sample_result told;
    sample_choose(&s, row, &ask, &told);
    cr_assert_eq(told.status, SAMPLE_OK);
    return told.id;
}

/* ---- the reference -------------------------------------------------------------------- */

static const double *by_value;

static int compare(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (by_value[x] != by_value[y])
        return by_value[x] > by_value[y] ? -1 : 1;
    return (x > y) - (x < y);
}

/* Probabilities after every step of the definition; 0 = removed. */
static void reference(const struct sampling *p, double *prob)
{
    static double x[VOCAB];
    static int32_t order[VOCAB];
    for (int i = 0; i < VOCAB; i++) {
        double v = row[i];
        for (int32_t b = 0; b < p->n_bias; b++)
            v += p->bias[b].id == i ? p->bias[b].x : 0;
        uint32_t count = seen.place[i] ? seen.times[seen.place[i] - 1] : 0;
        if (seen.place[i])
            v = v > 0 ? v / p->repetition_penalty : v * p->repetition_penalty;
        v -= count * (double)p->frequency_penalty + (count > 0) * (double)p->presence_penalty;
        x[i] = v;
        order[i] = i;
    }
    by_value = x;
    qsort(order, VOCAB, sizeof *order, compare);
    double top = x[order[0]], total = 0, sum = 0;
    for (int i = 0; i < VOCAB; i++) {
        prob[i] = exp((x[i] - top) / p->temperature);
        if (prob[i] < p->min_p)
            prob[i] = 0;
    }
    int32_t kept = p->top_k > 0 ? MIN(p->top_k, VOCAB) : VOCAB;
    for (int i = kept; i < VOCAB; i++)
        prob[order[i]] = 0;
    for (int i = 0; i < VOCAB; i++)
        total += prob[i];
    for (int i = 0; i < VOCAB; i++) {
        if (i > 0 && p->top_p < 1 && sum >= p->top_p * total)
            prob[order[i]] = 0;
        sum += prob[order[i]];
    }
    total = 0;
    for (int i = 0; i < VOCAB; i++)
        total += prob[i];
    for (int i = 0; i < VOCAB; i++)
        prob[i] /= total;
}

/* The drawn token is the one whose interval of the running sum holds u. */
static void check(const struct sampling *p, int64_t pos)
{
    static double prob[VOCAB];
    reference(p, prob);
    int32_t id = token(p, pos);
    double u = rng_unit_at(p->seed, 1, (uint64_t)pos), below = 0;
    for (int32_t i = 0; i < id; i++)
        below += prob[i];
    cr_assert_gt(prob[id], 0, "token %d was removed (pos %d)", id, (int)pos);
    cr_assert(u > below - 1e-5 && u < below + prob[id] + 1e-5, "u %g, token %d has [%g, %g)", u,
              id, below, below + prob[id]);
}

Test(sample, agrees_with_sorting_everything_for_any_parameters)
{
    static const float temperatures[] = {0.1f, 0.7f, 1, 2}, ps[] = {0.05f, 0.5f, 0.95f, 1};
    static const float min_ps[] = {0, 0, 0.02f, 0.3f};
    static const int32_t ks[] = {0, 1, 5, 40, 500, VOCAB, 5000};
    struct rng r = {.seed = 11};
    struct sampling biased = plain;
    biased.bias = calloc(5, sizeof *biased.bias);
    for (int64_t round = 0; round < 3000; round++) {
        random_row(&r, 0.1f + 4 * (float)rng_unit(&r));
        struct sampling p = biased;
        p.n_bias = (int32_t)rng_below(&r, 6);
        for (int32_t i = 0; i < p.n_bias; i++) {
            p.bias[i].id = (int32_t)rng_below(&r, 50) * 5 + i;
            p.bias[i].x = 6 * rng_normal(&r);
        }
        p.temperature = temperatures[rng_below(&r, 4)];
        p.top_p = ps[rng_below(&r, 4)];
        p.min_p = min_ps[rng_below(&r, 4)];
        p.top_k = ks[rng_below(&r, ARRAY_LEN(ks))];
        p.seed = rng_next(&r);
        check(&p, round);
    }
    free(biased.bias);
}

/* The same arithmetic without any trick: all weights, all sorted, all added one by one. */
static int32_t exact(const struct sample_row *a)
{
    static double x[VOCAB];
    static float edited[VOCAB], w[VOCAB + SOFTMAX_BLOCK];
    static uint64_t sums[VOCAB / SOFTMAX_BLOCK + 1];
    static int32_t order[VOCAB];
    static bool kept[VOCAB];
    for (int32_t i = 0; i < VOCAB; i++) {
        x[i] = edited[i] = softmax_tame(row[i]);
        order[i] = i;
        kept[i] = false;
    }
    by_value = x;
    qsort(order, VOCAB, sizeof *order, compare);
    softmax_weights(edited, VOCAB, (float)x[order[0]], a->scale, fmaxf(a->min_p, 0x1p-43f), w,
                    sums);
    __extension__ unsigned __int128 total = 0, sum = 0;
    int32_t n = 0, k = a->top_k ? a->top_k : VOCAB;
    for (int32_t i = 0; i < VOCAB && n < k; i++)
        if (w[order[i]] > 0) {
            total += softmax_fixed(w[order[i]]);
            order[n++] = order[i];
        }
    uint64_t goal = a->top_p == SAMPLE_ALL ? UINT64_MAX : (uint64_t)(a->top_p * total >> 64);
    for (int32_t i = 0; i < n && (i == 0 || sum < goal); i++) {
        sum += softmax_fixed(w[order[i]]);
        kept[order[i]] = true;
    }
    goal = (uint64_t)(a->uniform * sum >> 64);
    int32_t id = 0;
    for (sum = 0;; id++)
        if (kept[id] && (sum += softmax_fixed(w[id])) > goal)
            return id;
}

Test(sample, equals_the_slow_way_exactly_with_ties_and_at_every_depth)
{
    static const uint64_t ps[] = {SAMPLE_ALL, 0, UINT64_C(1) << 60, UINT64_C(1) << 63,
                                  UINT64_MAX - 1};
    static const int32_t ks[] = {0, 1, 2, 17, 100, 600, VOCAB - 1};
    static const float scales[] = {0, 1e-3f, 0.5f, 1, 10}, steps[] = {0x1p-20f, 0.25f, 3, 30};
    struct rng r = {.seed = 21};
    for (int round = 0; round < 4000; round++) {
        float step = steps[rng_below(&r, 4)]; /* the wider, the more ties */
        for (int i = 0; i < VOCAB; i++)
            row[i] = rintf(4 * rng_normal(&r) / step) * step;
        if (rng_below(&r, 4) == 0)
            row[rng_below(&r, VOCAB)] += 25;
        for (int i = 0; i < VOCAB; i++)
            if (rng_below(&r, 50) == 0)
                row[i] = rng_below(&r, 2) ? -INFINITY : 1e-32f;
        struct sample_row a = {.n_top = -1, .draw = true, .scale = scales[rng_below(&r, 5)],
                               .top_k = ks[rng_below(&r, ARRAY_LEN(ks))],
                               .top_p = ps[rng_below(&r, ARRAY_LEN(ps))],
                               .min_p = rng_below(&r, 3) ? 0 : (float)rng_unit(&r),
                               .uniform = rng_next(&r), .repeat = 1, .unrepeat = 1};
        struct sample_result told;
        sample_choose(&s, row, &a, &told);
        cr_assert_eq(told.status, SAMPLE_OK);
        cr_assert_eq(told.id, exact(&a), "round %d: %d, not %d", round, told.id, exact(&a));
    }
}

/* The first look goes 12 nats deep: the cut may fall right there, before or behind it. */
Test(sample, top_k_cuts_among_far_tokens_as_among_near_ones)
{
    struct sampling p = plain;
    for (int i = 0; i < VOCAB; i++)
        row[i] = i % 200 == 3 ? 0 : -12.05f; /* 5 near ones; the far ones weigh 1e-3 together */
    for (p.top_k = 3; p.top_k <= 7; p.top_k++)
        for (int64_t pos = 0; pos < 10000; pos++) {
            int32_t id = token(&p, pos);
            cr_assert(id % 200 == 3 || id < p.top_k - 5, "%d with top_k %d", id, p.top_k);
        }
}

Test(sample, penalties_follow_their_definitions)
{
    struct rng r = {.seed = 12};
    int32_t prompt[20];
    for (int i = 0; i < 20; i++)
        prompt[i] = (int32_t)rng_below(&r, VOCAB);
    tally_prompt(&seen, prompt, 20);
    for (int i = 0; i < 50; i++)
        tally_output(&seen, (int32_t)rng_below(&r, 30));
    for (int64_t round = 0; round < 500; round++) {
        random_row(&r, 3);
        struct sampling p = plain;
        p.repetition_penalty = 0.5f + (float)rng_unit(&r);
        p.presence_penalty = 4 * (float)rng_unit(&r) - 2;
        p.frequency_penalty = 4 * (float)rng_unit(&r) - 2;
        p.top_k = 20;
        seen.presence = p.presence_penalty; /* as if the request had said so from the start */
        seen.frequency = p.frequency_penalty;
        for (int32_t i = 0; i < 30; i++)
            tally_output(&seen, i);
        check(&p, round);
    }
}

Test(sample, greedy_takes_the_largest_and_of_equals_the_lowest_id)
{
    struct sampling p = plain;
    p.temperature = 0;
    for (int i = 0; i < VOCAB; i++)
        row[i] = -1;
    row[700] = row[300] = row[999] = 2.5f;
    cr_assert_eq(token(&p, 0), 300);
    seen.frequency = 0.5f;
    tally_output(&seen, 300);
    p.frequency_penalty = 0.5f; /* greedy sees the penalties, too */
    cr_assert_eq(token(&p, 0), 700);
}

Test(sample, top_k_keeps_the_lower_ids_of_equals)
{
    struct sampling p = plain;
    p.top_k = 3;
    for (int i = 0; i < VOCAB; i++)
        row[i] = i % 10 == 7 ? 1 : 0;
    bool drawn[VOCAB] = {0};
    for (int64_t pos = 0; pos < 500; pos++)
        drawn[token(&p, pos)] = true;
    for (int i = 0; i < VOCAB; i++)
        cr_assert_eq(drawn[i], i == 7 || i == 17 || i == 27, "token %d", i);
}

Test(sample, a_flat_row_is_cut_by_id)
{
    struct sampling p = plain;
    p.top_p = 0.25f;
    memset(row, 0, sizeof row);
    int32_t highest = 0;
    for (int64_t pos = 0; pos < 5000; pos++)
        highest = MAX(highest, token(&p, pos));
    cr_assert(highest > 240 && highest < 250, "token %d", highest);
}

Test(sample, draws_have_the_probabilities_of_the_row)
{
    const int n = 40000;
    struct rng r = {.seed = 13};
    static double prob[VOCAB];
    static int count[VOCAB];
    random_row(&r, 2);
    struct sampling p = plain;
    p.seed = 99;
    reference(&p, prob);
    for (int64_t pos = 0; pos < n; pos++)
        count[token(&p, pos)]++;
    for (int i = 0; i < VOCAB; i++) { /* five standard deviations, and one count for the tiny */
        double mean = n * prob[i];
        cr_assert(fabs(count[i] - mean) < 5 * sqrt(mean) + 1, "%d: %d, %g", i, count[i], mean);
    }
}

Test(sample, the_draw_is_a_function_of_seed_and_position)
{
    struct rng r = {.seed = 14};
    random_row(&r, 1);
    struct sampling p = plain, other = plain;
    p.seed = 5;
    other.seed = 6;
    int same_seed = 0, same_pos = 0;
    for (int64_t pos = 0; pos < 200; pos++) {
        int32_t id = token(&p, pos);
        cr_assert_eq(token(&p, pos), id);
        same_pos += token(&p, pos + 1) == id;
        same_seed += token(&other, pos) == id;
    }
    cr_assert(same_pos < 20 && same_seed < 20);
}

Test(sample, bias_forces_and_forbids_and_banned_ids_never_come)
{
    struct rng r = {.seed = 15};
    random_row(&r, 1);
    struct sampling p = plain;
    p.n_bias = 1;
    p.bias = calloc(1, sizeof *p.bias);
    p.bias[0].id = 123;
    p.bias[0].x = 100;
    for (int64_t pos = 0; pos < 50; pos++)
        cr_assert_eq(token(&p, pos), 123);
    int32_t banned = 123;
    for (int64_t pos = 0; pos < 200; pos++) {
        struct sample_row ask = choice_draw(&p, &seen, pos);
        struct sample_result told;
        ask.banned = &banned;
        ask.n_banned = 1;
        sample_choose(&s, row, &ask, &told);
        cr_assert(told.status == SAMPLE_OK && told.id != 123);
    }
    free(p.bias);
}

Test(sample, a_row_that_is_not_finite_is_an_error)
{
    struct rng r = {.seed = 16};
    struct sampling p = plain, greedy = plain;
    greedy.temperature = 0;
    static const struct { float damage; enum sample_status status; } cases[] = {
        {NAN, SAMPLE_NAN}, {INFINITY, SAMPLE_INFINITE}, {-INFINITY, SAMPLE_OK}};
    const struct sampling *both[] = {&p, &greedy};
    for (int i = 0; i < 2; i++)
        for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
            random_row(&r, 1);
            row[VOCAB - 1] = cases[c].damage;
            struct sample_row ask = choice_draw(both[i], &seen, 0);
            struct sample_result told;
            struct err e = {0};
            ask.n_top = 5;
            sample_choose(&s, row, &ask, &told);
            cr_assert(told.status == cases[c].status && told.raw == cases[c].status);
            cr_assert_eq(sample_check(told.status, VOCAB, &e), told.status ? E_RANGE : 0);
            cr_assert_eq(e.text[0] != 0, told.status != 0);
        }
}

Test(sample, a_row_without_an_allowed_token_is_an_error)
{
    static int32_t all[VOCAB];
    struct sample_result told;
    memset(row, 0, sizeof row);
    for (int32_t i = 0; i < VOCAB; i++)
        all[i] = i;
    struct sample_row ask = choice_draw(&plain, &seen, 0);
    ask.banned = all;
    ask.n_top = 1;
    for (ask.n_banned = VOCAB; ask.n_banned >= VOCAB - 1; ask.n_banned--) {
        sample_choose(&s, row, &ask, &told);
        cr_assert_eq(told.raw, SAMPLE_OK); /* logprobs are of the row before */
        cr_assert_eq(told.status, ask.n_banned == VOCAB ? SAMPLE_NOTHING : SAMPLE_OK);
    }
    cr_assert_eq(told.id, VOCAB - 1);
}

Test(sample, a_mask_removes_what_a_list_would)
{
    static int32_t list[VOCAB];
    uint32_t mask[(VOCAB + 31) / 32];
    struct rng r = {.seed = 19};
    struct sampling greedy = plain;
    greedy.temperature = 0;
    for (int round = 0; round < 40; round++) {
        struct sample_result by_list, by_mask;
        struct sample_row ask = choice_draw(round % 3 ? &plain : &greedy, &seen, round);
        random_row(&r, 3);
        ask.banned = list;
        ask.n_banned = 0;
        ask.n_top = 3;
        for (size_t i = 0; i < ARRAY_LEN(mask); i++)
            mask[i] = (uint32_t)(round % 2 ? rng_next(&r) : rng_next(&r) & rng_next(&r));
        for (int32_t i = 0; i < VOCAB; i++)
            if (!(mask[i / 32] >> (i % 32) & 1))
                list[ask.n_banned++] = i;
        sample_choose(&s, row, &ask, &by_list);
        ask.n_banned = 0;
        ask.allowed = mask;
        sample_choose(&s, row, &ask, &by_mask);
        cr_assert(sample_same(&by_list, &by_mask));
    }
}

Test(sample, extreme_parameters_still_draw_a_token)
{
    struct rng r = {.seed = 17};
    random_row(&r, 3);
    static const struct sampling extremes[] = {
        {.temperature = 1e-4f, .top_p = 1, .repetition_penalty = 1},
        {.temperature = 1e30f, .top_p = 0.5f, .repetition_penalty = 1},
        {.temperature = INFINITY, .top_p = 0.5f, .repetition_penalty = 1},
        {.temperature = 1, .top_p = 0, .repetition_penalty = 1},
        {.temperature = 1, .top_p = 1e-30f, .top_k = 1, .repetition_penalty = 1},
        {.temperature = 1, .top_p = 1, .min_p = 1, .repetition_penalty = 1},
        {.temperature = 1, .top_p = 1, .min_p = 7, .repetition_penalty = 1},
        {.temperature = NAN, .top_p = NAN, .min_p = NAN, .repetition_penalty = 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(extremes); i++)
        for (int64_t pos = 0; pos < 100; pos++) {
            int32_t id = token(&extremes[i], pos);
            cr_assert(id >= 0 && id < VOCAB);
        }
}

Test(sample, logprobs_are_the_log_softmax_of_the_raw_row)
{
    struct rng r = {.seed = 18};
    for (int round = 0; round < 200; round++) {
        random_row(&r, 4);
        row[10] = row[20] = 30; /* equal ones: the lower id first */
        double sum = 0;
        for (int i = 0; i < VOCAB; i++)
            sum += exp((double)row[i] - 30);
        struct token_event ev = {.id = (int32_t)rng_below(&r, VOCAB)};
        int32_t n = (int32_t)rng_below(&r, LIMIT_TOP_LOGPROBS + 1);
        struct sample_row ask = choice_lookup(ev.id);
        struct sample_result told;
        ask.n_top = n;
        sample_choose(&s, row, &ask, &told);
        cr_assert_eq(choice_logprobs(&told, VOCAB, &ev, NULL), 0);
        cr_assert(ev.has_logprob && ev.n_top == n);
        cr_assert_float_eq(ev.logprob, row[ev.id] - 30 - log(sum), 1e-5);
        for (int32_t i = 0; i < n; i++) {
            int larger = 0;
            int32_t id = ev.top[i].id;
            for (int32_t v = 0; v < VOCAB; v++)
                larger += row[v] > row[id] || (row[v] == row[id] && v < id);
            cr_assert_eq(larger, i, "entry %d is token %d", i, id);
            cr_assert_float_eq(ev.top[i].logprob, row[id] - 30 - log(sum), 1e-5);
        }
    }
}
