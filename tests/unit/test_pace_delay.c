/* What a short request waits for beside long prompts, on machines of many kinds: a virtual clock,
 * and steps picked as the engine does. */
#include <criterion/criterion.h>
#include <math.h>

#include "scheduler/batch.h"
#include "scheduler/pace.h"

#define BUDGET 512
#define LONG 64
#define STREAMS 16
#define WARM 40 /* steps before the arrivals: the first trials are over */

/* A step of n rows takes fixed + n x row; one with more rows than sequences, or than `single` if
 * that is given, `mixed` more, and what it leaves in the caches makes the next step take `cold`
 * more, the one after half of that. */
struct machine {
    const char *name;
    double fixed, row, mixed, cold;
    int32_t single;
};

static const struct machine machines[] = {
    {"rows cost little", 400e3, 40e3, 0, 0, 0},
    {"rows cost less", 1500e3, 40e3, 0, 0, 0},
    {"rows cost nothing", 8000e3, 4e3, 0, 0, 0},
    {"a large model", 40e6, 1.5e6, 0, 0, 0},
    {"rows cost what a step costs", 50e6, 5e6, 0, 0, 0},
    {"nothing but rows", 1e3, 200e3, 0, 0, 0},
    {"a small model that lives in the cache", 30e3, 180e3, 370e3, 170e3, 0},
    {"streams alone are one kernel", 2000e3, 20e3, 8000e3, 0, 64},
    {"rows of prompts cost little besides", 1600e3, 10e3, 8000e3, 0, 64},
    {"33 streams are no kernel of their own", 1600e3, 15e3, 5000e3, 0, 32},
};

static int32_t budget = BUDGET; /* of a step; each test is a process */

struct world {
    const struct machine *m;
    struct pace p;
    struct batch_want w[LONG + STREAMS + 1];
    int32_t rows[LONG + STREAMS + 1], told[LONG + STREAMS + 1]; /* told: tokens of a stream */
    int32_t n;
    uint32_t turn;
    double cold, prompt_rows;
};

/* One step, if it can do anything: its time. */
static double step(struct world *s)
{
    int32_t decode = 0, others;
    bool calm = true;
    if (s->n == 0)
        return 0;
    for (int32_t i = 0; i < s->n; i++) {
        decode += s->w[i].decode;
        calm = calm && (!s->w[i].decode || s->told[i] >= PACE_SHORT);
    }
    int32_t first = pace_first(&s->p, decode, budget);
    first = batch_first(s->w, s->n, first, &others);
    int32_t tokens = pace_rows(&s->p, decode, first, calm, others, budget);
    int32_t n = batch_pick(s->w, s->n, tokens, 2 * (LONG + STREAMS), &s->turn, s->rows);
    int32_t drawn = 0; /* sequences with one row that all have logits */
    for (int32_t i = 0; i < s->n; i++)
        drawn += s->rows[i] == 1 && s->w[i].left == 1;
    double ns = s->m->fixed + n * s->m->row + s->cold;
    s->cold /= 2;
    bool single = n == drawn || (!s->m->single && n <= MAX(decode, 1));
    if (!single || (s->m->single && n > s->m->single)) {
        ns += s->m->mixed;
        s->cold = s->m->cold;
    }
    for (int32_t i = 0; i < s->n; i++)
        s->w[i].had += s->rows[i] > 0;
    s->prompt_rows += n - decode;
    pace_note(&s->p, n, n == drawn, (uint64_t)ns);
    return ns;
}

static struct batch_want prompt(int32_t left)
{
    return (struct batch_want){.left = left, .whole = left, .most = left, .draws = true};
}

static const struct batch_want stream = {.left = 1, .whole = 1, .most = 1, .draws = true,
                                         .decode = true};

static struct world begin(const struct machine *m, int n_long, int n_streams)
{
    struct world s = {.m = m, .p = {.single_rows = m->single}};
    for (int i = 0; i < n_streams; i++) {
        s.told[s.n] = PACE_SHORT;
        s.w[s.n++] = stream;
    }
    for (int i = 0; i < n_long; i++)
        s.w[s.n++] = prompt(100000000);
    return s;
}

/* A request of `in` tokens and `out` drawn that comes at the beginning of the step that takes
 * `waits`: its time. */
static double served(struct world *s, double waits, int32_t in, int32_t out)
{
    struct batch_want *me = &s->w[s->n++];
    double ns = waits;
    *me = prompt(in);
    for (int32_t done = 0; done < out;) {
        ns += step(s);
        int32_t got = s->rows[s->n - 1];
        if (me->decode || got == me->left) {
            *me = stream;
            s->told[s->n - 1] = ++done;
        } else {
            me->left -= got, me->most -= got;
        }
    }
    s->n--;
    return ns;
}

static double served_alone(const struct machine *m, int n_streams, int32_t in, int32_t out)
{
    struct world s = begin(m, 0, n_streams);
    return served(&s, 0, in, out);
}

/* The worst time over arrivals at any step; of few tokens, where the step counts, at every one. */
static double worst(const struct machine *m, int n_long, int n_streams, int32_t in, int32_t out)
{
    struct world s = begin(m, n_long, n_streams);
    double most = 0;
    int stride = out < 64 && in < 64 ? 1 : 7;
    for (int i = 0; i < 2 * PACE_AGE; i++) {
        double now = step(&s);
        struct world then = s;
        double took = i < WARM || i % stride ? 0 : served(&then, now, in, out);
        most = MAX(most, took);
    }
    return most;
}

static void check_delay(const struct machine *m, int n_long, int n_streams, int32_t in, int32_t out)
{
    double alone = served_alone(m, n_streams, in, out);
    double took = worst(m, n_long, n_streams, in, out);
    /* Fewer than 16 tokens: one step of prompts may be longer than all of these, and a trial. */
    double t1 = m->fixed + m->row, once = alone + PACE_ALONE * t1 + m->cold;
    double bound = out >= 16 ? 3 * alone : MAX(3 * alone, once) + (PACE_TRIAL + 1) * t1;
    /* A step of prompts and streams that takes longer than these may wait comes less often. */
    bool seldom = m->mixed > PACE_SHARED * (m->fixed + n_streams * m->row);
    bound += seldom ? 4 * m->mixed : 0;
    /* Once it is no short one any more it runs in calm steps. */
    double calm = PACE_CALM * (t1 + m->cold) / sqrt(n_streams + 1);
    bound += MAX(out - PACE_SHORT, 0) * MIN(calm, (double)PACE_FELT_NS);
    cr_assert_leq(took, bound, "%s: %d long, %d streams, %d tokens in, %d out: x %.2f, bound %.2f",
                  m->name, n_long, n_streams, (int)in, (int)out, took / alone, bound / alone);
}

static void check_delays(int n_streams)
{
    static const int32_t ins[] = {1, 5, 16, 64}, outs[] = {1, 3, 16, 64};
    static const int longs[] = {1, 2, 8, 64};
    for (size_t m = 0; m < ARRAY_LEN(machines); m++)
        for (size_t l = 0; l < ARRAY_LEN(longs); l++)
            for (size_t i = 0; i < ARRAY_LEN(ins); i++)
                for (size_t o = 0; o < ARRAY_LEN(outs); o++)
                    check_delay(&machines[m], longs[l], n_streams, ins[i], outs[o]);
}

Test(pace_delay, long_prompts_slow_a_short_request_down_three_times_at_most)
{
    check_delays(0);
}

/* Steps that grow to what is not felt are paid back as a whole. */
Test(pace_delay, and_where_steps_are_as_long_as_nobody_feels)
{
    const struct machine m = {"", 1600e3, 8e3, 8000e3, 0, 64};
    budget = 8192;
    for (int32_t out = 1; out <= 32; out *= 2) {
        double alone = served_alone(&m, 0, 5, out), took = worst(&m, 8, 0, 5, out);
        double bound = MAX(PACE_SHARED * alone, alone + 1.01 * (double)PACE_FELT_NS);
        bound += (PACE_TRIAL + 1) * (m.fixed + m.row + m.mixed);
        cr_expect_leq(took, bound, "%d out: %g ms, bound %g", (int)out, took / 1e6, bound / 1e6);
    }
}

Test(pace_delay, and_beside_a_stream) { check_delays(1); }

Test(pace_delay, and_beside_many_streams) { check_delays(STREAMS); }

Test(pace_delay, prompts_alone_lose_little_by_short_steps)
{
    for (size_t i = 0; i < ARRAY_LEN(machines); i++)
        for (int n = 1; n <= LONG; n *= 8) {
            const struct machine *m = &machines[i];
            struct world s = begin(m, n, 0);
            double ns = 0;
            for (int k = 0; k < 1000; k++)
                ns += step(&s);
            double best = BUDGET / (m->fixed + m->mixed + BUDGET * m->row), is = s.prompt_rows / ns;
            cr_assert_geq(is, (m->mixed > 0 ? 0.8 : 0.93) * best, "%s: %d prompts run at %.2f",
                          m->name, n, is / best);
        }
}

/* Where rows get cheaper the more there are, steps are longer, but nobody feels it: prompts without
 * end, and one after another. */
Test(pace_delay, prompts_alone_use_a_device_that_wants_many_rows)
{
    const struct machine m = {"", 1600e3, 8e3, 8000e3, 0, 64};
    budget = 8192;
    double most = (double)PACE_FELT_NS, best = (most - m.fixed - m.mixed) / m.row / most;
    for (int32_t rows = 2048; rows <= 100000000; rows = rows == 2048 ? 100000000 : INT32_MAX) {
        struct world s = begin(&m, 16, 0);
        double ns = 0;
        s.n = 1; /* what a stream takes by itself is known */
        s.w[0] = stream;
        for (int k = 0; k < PACE_TRIAL; k++)
            step(&s);
        for (s.n = 0; s.n < 16; s.n++)
            s.w[s.n] = prompt(rows);
        s.prompt_rows = 0;
        for (int k = 0; k < 1000; k++) {
            double took = step(&s);
            cr_assert_leq(took, 1.01 * most);
            ns += took;
            for (int32_t i = 0; i < s.n; i++)
                if (s.rows[i] == s.w[i].left)
                    s.w[i] = prompt(rows);
                else
                    s.w[i].left = s.w[i].most -= s.rows[i];
        }
        cr_assert_geq(s.prompt_rows / ns, 0.97 * best, "%d rows: at %.2f", (int)rows,
                      s.prompt_rows / ns / best);
    }
}

/* Rows that long prompts get in 1,000 steps, while short requests come one after another. */
static double moved_on(const struct machine *m, int n_streams, bool newcomers)
{
    struct world s = begin(m, LONG, n_streams);
    double in = 0;
    s.w[s.n] = prompt(5);
    s.n += newcomers;
    for (int k = 0; k < 1000; k++) {
        step(&s);
        in += newcomers && !s.w[s.n - 1].decode ? s.rows[s.n - 1] : 0;
        if (newcomers && s.rows[s.n - 1])
            s.w[s.n - 1] = s.w[s.n - 1].decode ? prompt(5) : stream;
    }
    return s.prompt_rows - in;
}

Test(pace_delay, long_prompts_move_on_whatever_else_comes)
{
    for (size_t i = 0; i < ARRAY_LEN(machines); i++)
        for (int streams = 0; streams <= STREAMS; streams += STREAMS)
            for (int newcomers = streams == 0; newcomers < 2; newcomers++) {
                double rows = moved_on(&machines[i], streams, newcomers);
                cr_assert_geq(rows, 1000.0 * PACE_LEAST / (PACE_PATIENCE + 1), "%s: %g rows",
                              machines[i].name, rows);
            }
}

/* Where a step of prompts and streams takes so long whatever it has, a prompt is in few of them. */
Test(pace_delay, what_costs_little_more_is_taken_along)
{
    const struct machine m = {"", 2000e3, 20e3, 8000e3, 0, 64};
    struct world s = begin(&m, 0, STREAMS);
    int mixed = 0;
    for (int k = 0; k < 2000; k++) {
        bool comes = k % 40 == 0;
        if (comes)
            s.w[s.n++] = prompt(64);
        step(&s);
        int32_t got = s.n > STREAMS ? s.rows[s.n - 1] : 0;
        mixed += k >= 400 && got > 0;
        if (s.n > STREAMS && got == s.w[s.n - 1].left)
            s.n--;
        else if (s.n > STREAMS)
            s.w[s.n - 1].left = s.w[s.n - 1].most -= got;
        cr_assert_leq(s.n, STREAMS + 1, "the last prompt is not done after 40 steps");
    }
    cr_assert_leq(mixed, 5 * 40, "40 prompts took part in %d steps", mixed); /* of 4 rows: 640 */
}

/* Tokens a second of n clients, each with one request after another: 64 tokens in, 256 out. Best
 * would be if their prompts came all in one step. */
static double crowd(const struct machine *m, int32_t n, double *first_token)
{
    static double asked[LONG + STREAMS];
    struct world s = begin(m, 0, 0);
    double now = 0, from = 0, waits = 0;
    int told = 0, began = 0;
    budget = 8192;
    for (s.n = 0; s.n < n; s.n++)
        s.w[s.n] = prompt(64), asked[s.n] = 0;
    for (int k = 0; k < 4000; k++) {
        if (k == 1000)
            told = began = 0, waits = 0, from = now;
        now += step(&s);
        for (int32_t i = 0; i < n; i++) {
            bool draws = s.w[i].decode || s.rows[i] == s.w[i].left;
            s.told[i] += draws;
            told += draws;
            if (draws && !s.w[i].decode) {
                s.w[i] = stream;
                began++;
                waits += now - asked[i];
            } else if (s.w[i].decode && s.told[i] == 256) {
                s.w[i] = prompt(64), s.told[i] = 0, asked[i] = now;
            } else if (!s.w[i].decode) {
                s.w[i].left = s.w[i].most -= s.rows[i];
            }
        }
    }
    *first_token = waits / MAX(began, 1);
    return told / (now - from) * 1e9;
}

Test(pace_delay, a_crowd_runs_nearly_as_fast_as_its_steps)
{
    for (size_t i = 0; i < ARRAY_LEN(machines); i++)
        for (int32_t n = 1; n <= LONG; n *= 4) {
            const struct machine *m = &machines[i];
            bool apart = n <= m->single || !m->single;
            double late, own = m->fixed + n * m->row + (apart ? 0 : m->mixed);
            double prompts = m->fixed + 64 * n * m->row + m->mixed;
            double best = 256 * n / (255 * own + prompts) * 1e9;
            double is = crowd(m, n, &late);
            cr_expect_geq(is, 0.7 * best, "%s: %d streams run at %.2f", m->name, (int)n, is / best);
            cr_expect_leq(late, 20 * own + 4 * prompts, "%s: %d streams: first token after %g ms",
                          m->name, (int)n, late / 1e6);
        }
}
