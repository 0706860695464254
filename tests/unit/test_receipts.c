/* Receipts beside the engine: the chains are those of the rows in their order, whatever room there
 * is; nobody else waits for them; and however a request ends, all that they took comes back. */
#include "base/clock.h"
#include "tests/unit/sched_rig.h"

#define N 6

static const struct receipt_origin origin = {.build = "0 x", .numerics = "fake/1",
                                             .model = {7}, .vocab = RIG_VOCAB};
static struct request *r[N];
static struct rig_reply reply[N];

TestSuite(receipts, .fini = rig_close);

static void open_with(int32_t rows, int32_t threads)
{
    struct sched_options o = RIG_DEFAULT;
    o.origin = &origin;
    o.receipt_rows = rows;
    o.receipt_threads = threads;
    rig_open(o);
}

static struct request *asking(uint64_t seed, int32_t n, int32_t max_tokens)
{
    struct request *q = rig_request(seed, n, max_tokens);
    q->wants_receipt = q->receipt_ids = true;
    return rig_submit(q);
}

static bool ended(struct request *q)
{
    pthread_mutex_lock(&q->lock);
    bool end = q->finish != FINISH_NONE;
    pthread_mutex_unlock(&q->lock);
    return end;
}

/* As rig_run, with ends from other threads. */
static void run_all(int n)
{
    uint64_t until = clock_now_ns() + 60 * NS_PER_S;
    for (int left = 1; left;) {
        sched_turn(sched);
        left = 0;
        for (int i = 0; i < n; i++) {
            left += !ended(r[i]);
            rig_read(r[i], &reply[i], SIZE_MAX);
        }
        cr_assert_lt(clock_now_ns(), until, "the scheduler does not come to an end");
    }
}

/* What the request's receipt must be: from its tokens alone, row by row. */
static void check(const struct request *q, const struct rig_reply *got)
{
    struct err e = {0};
    struct receipt *x = receipt_new(&origin, q, NULL, 0);
    float row[RIG_VOCAB];
    uint64_t hash = 0;
    struct buf text;
    for (int32_t i = 0; i < q->n_prompt; i++)
        hash = fake_next(hash, q->prompt[i]);
    for (int32_t i = 0; i < q->n_output; i++) {
        fake_row(hash, RIG_VOCAB, row);
        cr_assert_eq(receipt_drawn(x, row, got->ids[got->n_prompt + i], &e), 0);
        hash = fake_next(hash, got->ids[got->n_prompt + i]);
    }
    buf_init(&text, MIB(1));
    receipt_put(&text, x, q->receipt_ids);
    cr_assert_not_null(q->receipt.p);
    cr_assert_str_eq(q->receipt.p, text.p);
    buf_free(&text);
    receipt_free(x);
}

static void release(int n)
{
    for (int i = 0; i < n; i++)
        request_unref(r[i]);
}

Test(receipts, chains_are_those_of_the_rows_whatever_room_there_is)
{
    for (int32_t rows = 1; rows <= 9; rows += 2)
        for (int32_t threads = 1; threads <= 3; threads++) {
            open_with(rows, threads);
            memset(reply, 0, sizeof reply);
            for (int i = 0; i < N; i++)
                r[i] = asking((uint64_t)(10 * rows + i), 5 + 20 * i, 3 + 17 * i);
            run_all(N);
            struct sched_stats st;
            sched_stats(sched, &st);
            cr_assert_eq(st.receipt_rows, 6 * 3 + 17 * 15);
            receipts_flush(sched->engine.receipts);
            cr_assert(sched_idle(sched));
            for (int i = 0; i < N; i++) {
                cr_assert_eq(r[i]->finish, FINISH_LENGTH);
                rig_check(r[i], &reply[i]);
                check(r[i], &reply[i]);
            }
            release(N);
            if (rows < 9 || threads < 3)
                rig_close();
        }
}

/* A thread that digests stands still where it is about to tell a reader. */
static bool made(struct request *q)
{
    pthread_mutex_lock(&q->lock);
    bool yes = q->receipt.len > 0;
    pthread_mutex_unlock(&q->lock);
    return yes;
}

static void pause_threads(void) { pthread_mutex_lock(&sched->engine.wakes.lock); }
static void resume_threads(void) { pthread_mutex_unlock(&sched->engine.wakes.lock); }

/* The digests stand still with a full house: who has none goes on, token by token. */
Test(receipts, nobody_else_waits_for_room)
{
    open_with(2, 1);
    r[0] = asking(1, 4, 1);   /* its end is where the thread stands */
    pause_threads();
    while (!made(r[0]))
        sched_turn(sched);
    for (int i = 1; i < 4; i++)
        r[i] = asking((uint64_t)i + 1, 4, 30);
    r[4] = rig_submit(rig_request(9, 4, 200));
    for (int turn = 0; turn < 150; turn++) {
        int32_t before = r[4]->n_output;
        sched_turn(sched);
        rig_read(r[4], &reply[4], SIZE_MAX);
        cr_assert_eq(r[4]->n_output, before + 1, "turn %d", turn);
    }
    /* The two rows: one each of the first two, or two of one. */
    cr_assert_eq(r[1]->n_output + r[2]->n_output + r[3]->n_output, 2);
    resume_threads();
    run_all(5);
    for (int i = 0; i < 4; i++)
        check(r[i], &reply[i]);
    rig_check(r[4], &reply[4]);
    release(5);
}

/* With room for one row the turns go round. */
Test(receipts, room_is_given_in_turns)
{
    open_with(1, 1);
    for (int i = 0; i < N; i++)
        r[i] = asking((uint64_t)i + 1, 4, 40);
    for (int left = 1; left;) {
        int32_t least = INT32_MAX, most = 0;
        sched_turn(sched);
        left = 0;
        for (int i = 0; i < N; i++) {
            pthread_mutex_lock(&r[i]->lock);
            least = MIN(least, r[i]->n_output);
            most = MAX(most, r[i]->n_output);
            pthread_mutex_unlock(&r[i]->lock);
            left += !ended(r[i]);
            rig_read(r[i], &reply[i], SIZE_MAX);
        }
        cr_assert(most - least <= 1, "%d and %d", (int)least, (int)most);
    }
    for (int i = 0; i < N; i++)
        check(r[i], &reply[i]);
    release(N);
}

Test(receipts, the_end_comes_with_the_receipt_and_not_before)
{
    open_with(0, 2);
    r[0] = asking(3, 9, 12);
    pause_threads();
    while (!made(r[0]))
        sched_turn(sched);
    rig_read(r[0], &reply[0], SIZE_MAX);
    cr_assert_eq(reply[0].n, 12, "all tokens are out");
    cr_assert_eq(r[0]->finish, FINISH_NONE);
    cr_assert_not(sched_idle(sched), "a stop would not wait for it");
    resume_threads();
    run_all(1);
    check(r[0], &reply[0]);
    release(1);
}

/* Cancelled, late, failed, lost, closed: the leak check and receipts_close say what is left. */
static void begin_many(void)
{
    open_with(3, 2);
    memset(reply, 0, sizeof reply);
    for (int i = 0; i < N; i++)
        r[i] = asking((uint64_t)i + 1, 6, 100);
    for (int turn = 0; turn < 30; turn++)
        sched_turn(sched);
}

Test(receipts, a_cancelled_request_leaves_nothing)
{
    begin_many();
    for (int i = 0; i < N; i += 2)
        sched_cancel(sched, r[i]);
    run_all(N);
    for (int i = 0; i < N; i++) {
        cr_assert_eq(r[i]->finish, i % 2 ? FINISH_LENGTH : FINISH_CANCELLED);
        cr_assert(i % 2 || !r[i]->receipt.p);
        if (i % 2)
            check(r[i], &reply[i]);
    }
    release(N);
}

Test(receipts, a_failed_step_and_a_lost_device_leave_nothing)
{
    static const int codes[] = {E_IO, E_DEVICE};
    for (size_t k = 0; k < ARRAY_LEN(codes); k++) {
        begin_many();
        fake.fail_at = 1;
        fake.fail_code = codes[k];
        run_all(N);
        for (int i = 0; i < N; i++)
            cr_assert(r[i]->finish == FINISH_LENGTH || r[i]->error.code == codes[k]);
        cr_assert_eq(sched_device_lost(sched), codes[k] == E_DEVICE);
        release(N);
        if (k == 0)
            rig_close();
    }
}

Test(receipts, a_row_that_cannot_be_fetched_ends_everything)
{
    begin_many();
    fake.logits_fail = E_DEVICE;
    run_all(N);
    for (int i = 0; i < N; i++)
        cr_assert_eq(r[i]->error.code, E_DEVICE);
    cr_assert(sched_device_lost(sched));
    release(N);
}

/* What had ended by then is whole; the rest is cancelled. */
Test(receipts, a_stop_waits_for_receipts_of_texts_that_ended)
{
    open_with(0, 1);
    r[0] = asking(3, 9, 12);
    r[1] = asking(4, 9, 1000);
    while (r[0]->n_output < 12) /* the engine's, which is this thread */
        sched_turn(sched);
    sched_close(sched);
    sched = NULL;
    rig_read(r[0], &reply[0], SIZE_MAX);
    cr_assert_eq(r[0]->finish, FINISH_LENGTH);
    check(r[0], &reply[0]);
    cr_assert_eq(r[1]->finish, FINISH_CANCELLED);
    release(2);
}

/* Without memory somewhere on the way: an answer with its receipt, or an error; never one without
 * the other, and the engine goes on. */
Test(receipts, memory_that_runs_out_is_an_error_of_that_request)
{
    int failed = 0;
    for (uint64_t at = 1; at < 30; at++) {
        open_with(2, 1);
        memset(reply, 0, sizeof reply);
        r[0] = asking(5, 8, 140);
        r[1] = rig_submit(rig_request(6, 8, 50));
        mem_fail_at(at);
        run_all(2);
        mem_fail_at(0);
        if (r[0]->finish == FINISH_LENGTH)
            check(r[0], &reply[0]);
        else
            cr_assert_eq(r[0]->error.code, E_NOMEM, "%s", r[0]->error.text);
        failed += r[0]->finish != FINISH_LENGTH;
        release(2);
        rig_close();
    }
    cr_assert_geq(failed, 5);
    open_with(1, 1);
}
