/* The engine on a device that notices every wrong slot, position and row: what a request gets
 * depends on nothing but itself. */
#include "base/utf8.h"
#include "tests/unit/sched_rig.h"

#define N 16
static struct request *r[64];
static struct rig_reply reply[64];

TestSuite(engine, .fini = rig_close);

static void submit_mixed(int n)
{
    for (int i = 0; i < n; i++) {
        r[i] = rig_request((uint64_t)i + 1, 1 + i * 13 % 150, 5 + i * 7 % 40);
        r[i]->sampling.temperature = i % 3 ? 0.8f : 0;
        r[i]->sampling.top_k = i % 4 ? 20 : 0;
        r[i]->sampling.top_p = i % 5 ? 0.9f : 1;
        r[i]->sampling.repetition_penalty = i % 2 ? 1.2f : 1;
        r[i]->sampling.frequency_penalty = i % 7 ? 0 : 0.3f;
        rig_submit(r[i]);
    }
}

static void release(int n)
{
    for (int i = 0; i < n; i++)
        request_unref(r[i]);
}

Test(engine, the_same_seed_gives_the_same_text_alone_and_among_many)
{
    rig_open(RIG_DEFAULT);
    submit_mixed(40); /* more than there are slots: they are used again */
    rig_run(r, reply, 40);
    for (int i = 0; i < 40; i++) {
        cr_assert_eq(r[i]->finish, FINISH_LENGTH);
        cr_assert_eq(r[i]->n_output, r[i]->max_tokens);
        rig_check(r[i], &reply[i]);
    }
    struct sched_stats st;
    sched_stats(sched, &st);
    cr_assert(st.finished == 40 && st.running == 0 && st.slots_used == 0 && sched_idle(sched));
    release(40);
}

Test(engine, the_token_budget_is_obeyed_and_used)
{
    rig_open(RIG_DEFAULT);
    submit_mixed(16);
    sched_turn(sched);
    cr_assert_eq(fake.last_rows, 64); /* prompts abound */
    rig_run(r, reply, 16);
    cr_assert_leq(fake.rows_max, 64);
    release(16);
}

Test(engine, a_stream_gets_a_token_every_step_while_a_long_prompt_arrives)
{
    rig_open(RIG_DEFAULT);
    r[0] = rig_submit(rig_request(1, 3, 60));
    sched_turn(sched);
    r[1] = rig_submit(rig_request(2, 2000, 1));
    for (int step = 0; step < 30; step++) {
        int32_t before = r[0]->n_output;
        sched_turn(sched);
        cr_assert_eq(r[0]->n_output, before + 1, "step %d", step);
        cr_assert_eq(fake.last_rows, 64);
    }
    rig_run(r, reply, 2);
    rig_check(r[1], &reply[1]);
    release(2);
}

Test(engine, a_short_prompt_is_not_held_up_by_long_ones)
{
    rig_open(RIG_DEFAULT);
    for (int i = 0; i < 4; i++)
        r[i] = rig_submit(rig_request((uint64_t)i, i < 3 ? 3000 : 8, 1));
    for (int step = 0; step < 2; step++) /* 64 / 2 / 4 = 8 rows in its first step */
        sched_turn(sched);
    cr_assert_eq(r[3]->finish, FINISH_LENGTH);
    rig_run(r, reply, 4);
    release(4);
}

Test(engine, eos_ends_the_text_and_is_counted_but_not_given)
{
    rig_open(RIG_DEFAULT);
    for (int i = 0; i < 40; i++) {
        r[i] = rig_request((uint64_t)i, 5, 400);
        r[i]->ignore_eos = false;
        rig_submit(r[i]);
    }
    rig_run(r, reply, 40);
    int stopped = 0;
    for (int i = 0; i < 40; i++) {
        if (r[i]->finish == FINISH_LENGTH)
            continue;
        stopped++;
        cr_assert_eq(r[i]->finish, FINISH_STOP);
        cr_assert_eq(reply[i].n, r[i]->n_output - 1);
        for (int t = 0; t < reply[i].n; t++)
            cr_assert_neq(reply[i].ids[t], RIG_EOS);
    }
    cr_assert_gt(stopped, 30); /* 1 in 97 or so */
    release(40);
}

Test(engine, min_tokens_keeps_eos_and_stop_ids_away)
{
    rig_open(RIG_DEFAULT);
    for (int i = 0; i < 16; i++) {
        r[i] = rig_request((uint64_t)i, 5, 60);
        r[i]->ignore_eos = false;
        r[i]->min_tokens = 30;
        r[i]->n_stop_ids = 40; /* nearly half of the vocabulary */
        for (int k = 0; k < 40; k++)
            r[i]->stop_ids[k] = 10 + k;
        rig_submit(r[i]);
    }
    rig_run(r, reply, 16);
    for (int i = 0; i < 16; i++) {
        cr_assert_eq(r[i]->finish, FINISH_STOP);
        cr_assert_gt(r[i]->n_output, 30);
        cr_assert_lt(r[i]->n_output, 60); /* then they come at once */
    }
    release(16);
}

/* The text of the given ids, made whole. */
static void expect_text(const struct rig_reply *got, struct buf *out)
{
    struct buf raw;
    buf_init(&raw, RIG_TOKENS);
    for (int i = 0; i < got->n; i++) {
        size_t n;
        const char *p = rig_piece(NULL, got->ids[i], &n);
        cr_assert_eq(buf_add(&raw, p, n), 0);
    }
    buf_clear(out);
    cr_assert_eq(buf_sanitize(out, raw.p, raw.len), 0);
    buf_free(&raw);
}

Test(engine, text_is_whole_characters_and_ends_before_a_stop_string)
{
    struct buf whole;
    buf_init(&whole, 4 * RIG_TOKENS);
    rig_open(RIG_DEFAULT);
    for (int i = 0; i < N; i++) {
        r[i] = rig_request((uint64_t)i, 5, 300);
        r[i]->n_stops = i % 2 ? 2 : 0; /* the others show the replaced halves of characters */
        memcpy(r[i]->stops[0], "ab", 3);
        memcpy(r[i]->stops[1], "\xC3\xA9", 3);
        rig_submit(r[i]);
    }
    rig_run(r, reply, N);
    int stopped = 0;
    for (int i = 0; i < N; i++) {
        expect_text(&reply[i], &whole);
        cr_assert(utf8_valid(reply[i].text, reply[i].n_text));
        if (r[i]->finish == FINISH_STOP) {
            stopped++;
            cr_assert_null(strstr(reply[i].text, "ab"));
            cr_assert_eq(whole.len - reply[i].n_text, 2); /* both stop strings have 2 bytes */
        } else {
            cr_assert_eq(whole.len, reply[i].n_text);
        }
        cr_assert_eq(memcmp(whole.p, reply[i].text, reply[i].n_text), 0);
    }
    cr_assert_gt(stopped, 0);
    buf_free(&whole);
    release(N);
}

Test(engine, a_row_of_nan_ends_its_own_request_only)
{
    rig_open(RIG_DEFAULT);
    fake.nan_token = 96;
    for (int i = 0; i < N; i++) {
        r[i] = rig_request((uint64_t)i, 20, 200);
        for (int t = 0; t < 20; t++)
            r[i]->prompt[t] %= 96;
        r[i]->prompt[19] = i == 5 ? 96 : 1;
        r[i]->sampling.n_bias = 1; /* only the prompt brings the poisoned token */
        r[i]->sampling.bias = mem_zalloc(sizeof *r[i]->sampling.bias);
        r[i]->sampling.bias[0].id = 96;
        r[i]->sampling.bias[0].x = -100;
        rig_submit(r[i]);
    }
    rig_run(r, reply, N);
    for (int i = 0; i < N; i++) {
        cr_assert_eq(r[i]->finish, i == 5 ? FINISH_ERROR : FINISH_LENGTH);
        rig_check(r[i], &reply[i]);
    }
    cr_assert_eq(r[5]->error.code, E_RANGE);
    cr_assert_not_null(strstr(r[5]->error.text, "not a number"), "%s", r[5]->error.text);
    release(N);
}

/* ---- prompt logprobs ------------------------------------------------------------------- */

Test(engine, prompt_logprobs_come_in_order_within_the_rows_of_logits)
{
    rig_open((struct sched_options){.slots = 4, .queue = 8, .step_tokens = 64, .logit_rows = 8});
    for (int i = 0; i < 4; i++) {
        r[i] = rig_request((uint64_t)i + 1, 300 + i, i % 2 ? 0 : 10);
        r[i]->prompt_logprobs = true;
        r[i]->logprobs = i;
        rig_submit(r[i]);
    }
    rig_run(r, reply, 4);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(r[i]->finish, FINISH_LENGTH);
        cr_assert_eq(reply[i].n_prompt, r[i]->n_prompt);
        cr_assert(isnan(reply[i].logprobs[0]));
        uint64_t hash = 0;
        for (int t = 0; t < reply[i].n_prompt; t++) {
            float row[RIG_VOCAB];
            double sum = 0;
            cr_assert_eq(reply[i].ids[t], r[i]->prompt[t]);
            fake_row(hash, RIG_VOCAB, row);
            for (int v = 0; v < RIG_VOCAB; v++)
                sum += exp(row[v]);
            if (t > 0)
                cr_assert_float_eq(reply[i].logprobs[t], row[r[i]->prompt[t]] - log(sum), 1e-5);
            hash = fake_next(hash, r[i]->prompt[t]);
        }
        rig_check(r[i], &reply[i]);
    }
    release(4);
}

Test(engine, an_echo_without_logprobs_needs_no_rows_of_logits)
{
    rig_open(RIG_DEFAULT);
    r[0] = rig_request(1, 200, 3);
    r[0]->prompt_logprobs = true;
    rig_submit(r[0]);
    sched_turn(sched);
    cr_assert_eq(fake.last_rows, 64);
    rig_run(r, reply, 1);
    cr_assert_eq(reply[0].n_prompt, 200);
    rig_check(r[0], &reply[0]);
    release(1);
}

/* ---- steps by time --------------------------------------------------------------------- */

Test(engine, prompts_do_not_make_a_stream_wait_longer_than_the_target)
{
    enum { n = 15 };
    struct sched_options o = RIG_DEFAULT;
    o.paced = true;
    rig_open(o);
    clock_fake_set(NS_PER_S);
    fake.step_ns = 30 * NS_PER_MS;
    fake.row_ns = 5 * NS_PER_MS;
    r[0] = rig_submit(rig_request(1, 5, 200));
    while (r[0]->n_output < 20)
        sched_turn(sched);
    for (int i = 1; i < n; i++)
        r[i] = rig_submit(rig_request((uint64_t)i + 1, 40 + i, 1));
    int left = n, slow = 0, steps = 0;
    for (; left > 1; steps++) {
        uint64_t before = clock_now_ns();
        int32_t had = r[0]->n_output;
        sched_turn(sched);
        slow += clock_now_ns() - before > 90 * NS_PER_MS; /* alone it takes 35 */
        cr_assert_eq(r[0]->n_output, had + 1);
        left = 0;
        for (int i = 0; i < n; i++) {
            rig_read(r[i], &reply[i], SIZE_MAX);
            left += r[i]->finish == FINISH_NONE;
        }
    }
    cr_assert_eq(slow, 0, "%d of %d steps", slow, steps);
    cr_assert_lt(steps, 14 * 54 / 8); /* and they use what there is: 10 rows fit */
    rig_run(r, reply, n);
    for (int i = 0; i < n; i++)
        rig_check(r[i], &reply[i]);
    clock_fake_set(0);
    release(n);
}

/* A device goes on by itself: the time of a step that draws nothing would be the next one's. */
Test(engine, a_paced_step_that_draws_nothing_is_waited_for)
{
    struct sched_options o = RIG_DEFAULT;
    o.paced = true;
    rig_open(o);
    clock_fake_set(NS_PER_S);
    fake.step_ns = 2 * NS_PER_MS;
    fake.row_ns = NS_PER_MS;
    fake.behind = true;
    r[0] = rig_submit(rig_request(1, 500, 4));
    for (int silent = 0; r[0]->finish == FINISH_NONE;) {
        struct sched_stats before, after;
        uint64_t start = clock_now_ns();
        sched_stats(sched, &before);
        sched_turn(sched);
        sched_stats(sched, &after);
        uint64_t steps = after.steps - before.steps, rows = after.step_tokens - before.step_tokens;
        cr_assert_eq(clock_now_ns() - start, steps * fake.step_ns + rows * fake.row_ns);
        cr_assert_eq(after.step_ns - before.step_ns, clock_now_ns() - start);
        silent += r[0]->n_output == 0;
        cr_assert(silent > 1 || r[0]->n_output == 0, "nothing was tested");
        rig_read(r[0], &reply[0], SIZE_MAX);
    }
    rig_check(r[0], &reply[0]);
    clock_fake_set(0);
    release(1);
}

/* Its time, if it comes as the step begins that has just run. */
static uint64_t short_request(uint64_t waited, int32_t seed)
{
    uint64_t start = clock_now_ns() - waited;
    struct request *q = rig_submit(rig_request((uint64_t)seed, 4, 16));
    static struct rig_reply got;
    got = (struct rig_reply){0};
    while (q->finish == FINISH_NONE) {
        sched_turn(sched);
        rig_read(q, &got, SIZE_MAX);
    }
    rig_check(q, &got);
    request_unref(q);
    return clock_now_ns() - start;
}

Test(engine, eight_long_prompts_slow_a_short_request_down_three_times_at_most)
{
    enum { n = 8 };
    struct sched_options o = RIG_DEFAULT;
    o.paced = true;
    o.step_tokens = 512;
    rig_open(o);
    clock_fake_set(NS_PER_S);
    fake.step_ns = 30 * NS_PER_MS;
    fake.row_ns = 5 * NS_PER_MS;
    uint64_t alone = short_request(0, 1), worst = 0;
    for (int i = 0; i < n; i++)
        r[i] = rig_submit(rig_request((uint64_t)i + 2, 100000, 1));
    for (int i = 0; i < 300; i++) {
        uint64_t before = clock_now_ns();
        sched_turn(sched);
        uint64_t took = i < 40 ? 0 : short_request(clock_now_ns() - before, i + n + 2);
        worst = MAX(worst, took);
    }
    cr_assert_leq(worst, 3 * alone, "x %.2f", (double)worst / (double)alone);
    for (int i = 0; i < n; i++)
        sched_cancel(sched, r[i]);
    rig_run(r, reply, n);
    clock_fake_set(0);
    release(n);
}

/* ---- slow readers ---------------------------------------------------------------------- */

Test(engine, a_full_reader_is_held_and_goes_on_where_it_was)
{
    rig_open(RIG_DEFAULT);
    r[0] = rig_submit(rig_request(1, 10, LIMIT_EVENTS + 100));
    r[1] = rig_request(2, 2 * LIMIT_EVENTS, 3); /* held within its prompt */
    r[1]->prompt_logprobs = true;
    r[1]->logprobs = 2;
    rig_submit(r[1]);
    for (int i = 0; i < 1000; i++)
        sched_turn(sched);
    cr_assert_not(sched_turn(sched)); /* the engine may sleep */
    cr_assert_eq(r[0]->n_output, LIMIT_EVENTS);
    cr_assert(r[0]->finish == FINISH_NONE && r[1]->finish == FINISH_NONE);
    r[2] = rig_submit(rig_request(3, 10, 20)); /* others are not in the way */
    rig_run(&r[2], &reply[2], 1);
    for (int i = 0; i < 1000; i++) { /* readers that take one event at a time */
        rig_read(r[0], &reply[0], 1);
        rig_read(r[1], &reply[1], 1);
        sched_turn(sched);
    }
    rig_run(r, reply, 2);
    for (int i = 0; i < 3; i++)
        rig_check(r[i], &reply[i]);
    release(3);
}

/* ---- pages ----------------------------------------------------------------------------- */

static const struct sched_options paged = {.slots = 4, .queue = 8, .step_tokens = 64,
                                           .logit_rows = 8, .pages = 8, .pages_per_seq = 6};

Test(engine, sequences_that_grow_past_the_pages_are_preempted_and_lose_nothing)
{
    rig_open(paged);
    for (int i = 0; i < 4; i++) { /* 4 x 5 pages wanted, 8 there */
        r[i] = rig_request((uint64_t)i + 1, 100 + i, 200);
        r[i]->sampling.repetition_penalty = 1.1f;
        rig_submit(r[i]);
    }
    rig_run(r, reply, 4);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(r[i]->finish, FINISH_LENGTH, "%s", r[i]->error.text);
        cr_assert_eq(r[i]->n_output, 200);
        rig_check(r[i], &reply[i]);
    }
    cr_assert_eq(sched->engine.pages.n_free, 8);
    cr_assert_gt(sched->engine.stats.prompt_tokens, 100 + 101 + 102 + 103); /* some twice */
    release(4);
}

Test(engine, any_mixture_of_lengths_comes_through_a_shortage_of_pages)
{
    struct sched_options o = {.slots = 8, .queue = 24, .step_tokens = 64, .logit_rows = 8,
                              .pages = 11, .pages_per_seq = 5};
    struct rng rng = {.seed = 21};
    for (int round = 0; round < 20; round++) {
        rig_open(o);
        memset(reply, 0, sizeof reply);
        for (int i = 0; i < 16; i++) {
            r[i] = rig_request(rng_next(&rng), 1 + (int32_t)rng_below(&rng, 180),
                               1 + (int32_t)rng_below(&rng, 130));
            rig_submit(r[i]);
        }
        rig_run(r, reply, 16);
        for (int i = 0; i < 16; i++)
            rig_check(r[i], &reply[i]);
        cr_assert(sched->engine.pages.n_free == 11 && sched->engine.slots.n_free == 8);
        release(16);
        if (round < 19)
            rig_close();
    }
}

Test(engine, a_prompt_that_can_never_fit_is_refused_and_a_long_answer_is_cut)
{
    rig_open(paged);
    struct err e = {0};
    r[0] = rig_request(1, 6 * PAGE_TOKENS, 1);
    cr_assert_eq(sched_submit(sched, r[0], &e), E_RANGE);
    cr_assert_not_null(strstr(e.text, "384"), "%s", e.text);
    cr_assert_str_eq(e.param, "prompt");
    r[1] = rig_submit(rig_request(2, 6 * PAGE_TOKENS - 10, 1000));
    rig_run(&r[1], &reply[1], 1);
    cr_assert(r[1]->finish == FINISH_LENGTH && r[1]->n_output == 10);
    rig_check(r[1], &reply[1]);
    release(2);
}

Test(engine, a_stalled_reader_does_not_keep_the_pages_from_others)
{
    rig_open((struct sched_options){.slots = 4, .queue = 8, .step_tokens = 64, .logit_rows = 8,
                                    .pages = 8, .pages_per_seq = 8});
    r[0] = rig_submit(rig_request(1, 100, 300)); /* stalls at 256 tokens with 6 pages */
    for (int i = 0; i < 400; i++)
        sched_turn(sched);
    r[1] = rig_submit(rig_request(2, 300, 100));
    rig_run(&r[1], &reply[1], 1);
    cr_assert_eq(r[1]->finish, FINISH_LENGTH);
    rig_run(r, reply, 2);
    rig_check(r[0], &reply[0]);
    rig_check(r[1], &reply[1]);
    release(2);
}

/* ---- a state cache --------------------------------------------------------------------- */

/* One kept state: taken where the prompt is cut, given to prompts that begin with its tokens. */
static struct {
    int32_t tokens[RIG_TOKENS];
    int64_t n, cut_at;
    struct fake_state state;
    float logits[RIG_VOCAB];
    bool has_logits;
    int busy, n_reached, n_ends;
    struct engine_ahead ahead; /* of the last that asked */
} kept;

static int cache_begin(void *arg, struct seq *q, struct err *e)
{
    (void)arg;
    kept.ahead = engine_ahead(&sched->engine, q);
    if (kept.busy && kept.busy--)
        return err_set(e, E_BUSY, "ask again");
    bool exact = kept.n == q->n_history;
    if (kept.n == 0 || kept.n > q->n_history || (exact && !kept.has_logits) ||
        memcmp(kept.tokens, q->history, (size_t)kept.n * sizeof *kept.tokens))
        return 0;
    q->pos = q->start = kept.n;
    q->ready = exact ? kept.logits : NULL;
    return 0;
}

static int cache_restore(void *arg, struct seq *q, struct err *e)
{
    (void)arg;
    (void)e;
    cr_assert_eq(q->pos, kept.n);
    fake.slots[q->slot] = kept.state;
    return 0;
}

static int64_t cache_cut(void *arg, struct seq *q)
{
    (void)arg;
    return q->pos < kept.cut_at ? kept.cut_at : q->pos < q->n_prompt ? q->n_prompt : INT64_MAX;
}

static int cache_reached(void *arg, struct seq *q, const float *logits, struct err *e)
{
    (void)arg;
    (void)e;
    kept.n_reached++;
    kept.n = q->pos;
    memcpy(kept.tokens, q->history, (size_t)q->pos * sizeof *kept.tokens);
    kept.state = fake.slots[q->slot];
    cr_assert_eq(kept.state.n, q->pos);
    if ((kept.has_logits = logits != NULL))
        memcpy(kept.logits, logits, sizeof kept.logits);
    return 0;
}

static bool cache_end(void *arg, struct seq *q, enum finish finish)
{
    (void)arg;
    (void)q;
    kept.n_ends += finish == FINISH_LENGTH;
    return false;
}

static const struct engine_cache cache = {.begin = cache_begin, .restore = cache_restore,
                                          .cut = cache_cut, .reached = cache_reached,
                                          .end = cache_end};

static struct request *run_one(int i, int32_t n)
{
    r[i] = rig_submit(rig_request(77, n, 30)); /* prompts of one seed share their beginning */
    rig_run(&r[i], &reply[i], 1);
    rig_check(r[i], &reply[i]);
    cr_assert_eq(r[i]->finish, FINISH_LENGTH);
    return r[i];
}

Test(engine, chunks_end_at_cuts_and_a_restored_state_continues_exactly)
{
    rig_open_cached(RIG_DEFAULT, &cache);
    kept.cut_at = 37;
    run_one(0, 37); /* the end of the prompt is the cut: reached once */
    cr_assert(kept.n_reached == 1 && kept.n == 37 && kept.has_logits && kept.n_ends == 1);
    uint64_t rows = sched->engine.stats.step_tokens;
    cr_assert_eq(run_one(1, 90)->n_cached, 37);
    cr_assert_eq(sched->engine.stats.step_tokens - rows, 90 - 37 + 29);
    cr_assert_eq(kept.n, 90);
    rows = sched->engine.stats.step_tokens;
    cr_assert_eq(run_one(2, 90)->n_cached, 90); /* all of it: drawn from the kept logits */
    cr_assert_eq(sched->engine.stats.step_tokens - rows, 29);
    cr_assert_eq(sched->engine.stats.cached_tokens, 37 + 90);
    kept.busy = 3; /* another one computes the prefix */
    run_one(3, 90);
    cr_assert_eq(kept.busy, 0);
    release(4);
}

Test(engine, a_cache_may_know_what_is_computed_before_a_prompt)
{
    rig_open_cached(RIG_DEFAULT, &cache);
    kept.cut_at = INT64_MAX;
    r[0] = rig_submit(rig_request(1, 10, 30));
    sched_turn(sched); /* it is a stream now */
    cr_expect(kept.ahead.rows == 0 && kept.ahead.streams == 0);
    r[1] = rig_submit(rig_request(2, 300, 1));
    sched_turn(sched); /* 63 rows of it */
    cr_expect(kept.ahead.rows == 0 && kept.ahead.streams == 1);
    r[2] = rig_submit(rig_request(3, 200, 1));
    r[3] = rig_submit(rig_request(4, 100, 1));
    sched_turn(sched);
    cr_expect_eq(kept.ahead.rows, 300 - 63 + 200);
    cr_expect(kept.ahead.prompts == 2 && kept.ahead.streams == 1);
    kept.busy = 1; /* this one waits, and is nobody's delay that the engine knows of */
    r[4] = rig_submit(rig_request(5, 400, 1));
    sched_turn(sched);
    int64_t ahead = kept.ahead.rows;
    r[5] = rig_submit(rig_request(6, 50, 1));
    kept.busy = 2;
    sched_turn(sched);
    cr_expect_eq(kept.ahead.rows, ahead - 63);
    rig_run(r, reply, 6);
    release(6);
}

Test(engine, a_device_lost_while_its_logits_are_fetched_ends_everything)
{
    rig_open_cached(RIG_DEFAULT, &cache);
    for (int i = 0; i < 3; i++)
        r[i] = rig_submit(rig_request(77 + (uint64_t)i, 10, 30));
    fake.logits_fail = E_DEVICE; /* the first end of a prompt asks for them */
    sched_turn(sched);
    for (int i = 0; i < 3; i++)
        cr_assert(r[i]->finish == FINISH_ERROR && r[i]->error.code == E_DEVICE);
    cr_assert(sched_device_lost(sched) && kept.n_reached == 0);
    release(3);
}
