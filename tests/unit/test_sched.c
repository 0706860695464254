/* Everything between submit and finish: cancel, deadlines, a full queue, drain, a lost device. */
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/sched_rig.h"

static struct request *r[64];
static struct rig_reply reply[64];

TestSuite(sched, .fini = rig_close);

static const struct sched_options two = {.slots = 2, .queue = 3, .step_tokens = 32,
                                         .logit_rows = 2};

static struct sched_stats stats(void)
{
    struct sched_stats st;
    sched_stats(sched, &st);
    return st;
}

static void release(int n)
{
    for (int i = 0; i < n; i++)
        request_unref(r[i]);
}

/* Two run, three wait. */
static void fill(void)
{
    for (int i = 0; i < 5; i++) {
        r[i] = rig_submit(rig_request((uint64_t)i + 1, 10, 50));
        if (i == 1)
            sched_turn(sched);
    }
    cr_assert(stats().running == 2 && stats().waiting == 3);
}

Test(sched, a_burst_is_taken_as_far_as_slots_and_share_hold_it)
{
    rig_open((struct sched_options){.slots = 2, .queue = 4, .step_tokens = 32, .logit_rows = 2,
                                    .queue_share = 2});
    struct err e = {0};
    for (int i = 0; i < 4; i++) /* not a turn in between */
        r[i] = rig_submit(rig_request((uint64_t)i + 1, 10, 50));
    r[4] = rig_request(5, 10, 5);
    cr_assert_eq(sched_submit(sched, r[4], &e), E_BUSY);
    sched_turn(sched);
    cr_assert(stats().running == 2 && stats().waiting == 2);
    cr_assert_eq(sched_submit(sched, r[4], &e), E_BUSY);
    rig_run(r, reply, 4);
    rig_submit(r[4]);
    rig_run(r, reply, 5);
    for (int i = 0; i < 5; i++)
        rig_check(r[i], &reply[i]);
    release(5);
}

Test(sched, a_full_queue_refuses_and_takes_again)
{
    rig_open(two);
    fill();
    struct err e = {0};
    r[5] = rig_request(6, 10, 5);
    cr_assert_eq(sched_submit(sched, r[5], &e), E_BUSY);
    cr_assert_not_null(strstr(e.text, "3"), "%s", e.text);
    cr_assert_eq(r[5]->refs, 1);
    rig_run(r, reply, 3);
    rig_submit(r[5]);
    rig_run(r, reply, 6);
    for (int i = 0; i < 6; i++)
        rig_check(r[i], &reply[i]);
    struct sched_stats st = stats();
    cr_assert(st.requests == 6 && st.rejected == 1 && st.finished == 6 && st.waiting == 0);
    release(6);
}

Test(sched, cancel_works_within_one_step_wherever_the_request_is)
{
    rig_open(two);
    fill();
    sched_cancel(sched, r[0]); /* running */
    sched_cancel(sched, r[3]); /* waiting */
    sched_turn(sched);
    cr_assert_eq(r[0]->finish, FINISH_CANCELLED);
    cr_assert_eq(r[3]->finish, FINISH_CANCELLED);
    sched_turn(sched);
    cr_assert(stats().running == 2 && stats().waiting == 1); /* the next one has its place */
    rig_run(r, reply, 5);
    rig_check(r[1], &reply[1]);
    rig_check(r[2], &reply[2]);
    sched_cancel(sched, r[1]); /* finished already: nothing happens */
    sched_turn(sched);
    cr_assert_eq(r[1]->finish, FINISH_LENGTH);
    cr_assert(stats().cancelled == 2 && stats().finished == 3 && stats().slots_used == 0);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(r[i]->refs, 1);
    release(5);
}

Test(sched, a_held_request_can_be_cancelled)
{
    rig_open(two);
    r[0] = rig_submit(rig_request(1, 10, 1000));
    while (sched_turn(sched))
        ;
    cr_assert_eq(r[0]->n_output, LIMIT_EVENTS);
    sched_cancel(sched, r[0]);
    sched_turn(sched);
    cr_assert_eq(r[0]->finish, FINISH_CANCELLED);
    release(1);
}

Test(sched, deadlines_end_running_waiting_and_held_requests)
{
    const uint64_t start = 1000 * NS_PER_S;
    clock_fake_set(start);
    rig_open(two);
    for (int i = 0; i < 4; i++) {
        r[i] = rig_request((uint64_t)i + 1, 10, i == 0 ? 1000 : 100);
        r[i]->deadline_ns = i == 3 ? 0 : start + 5 * NS_PER_S;
        rig_submit(r[i]);
        sched_turn(sched);
    }
    while (sched_turn(sched) && r[1]->n_output < 20) /* 0 and 1 run, 2 and 3 wait */
        ;
    cr_assert_eq(engine_deadline(&sched->engine), start + 5 * NS_PER_S);
    clock_fake_set(start + 5 * NS_PER_S - 1);
    sched_turn(sched);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(r[i]->finish, FINISH_NONE);
    clock_fake_set(start + 5 * NS_PER_S);
    sched_turn(sched);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(r[i]->finish, FINISH_ERROR);
        cr_assert_eq(r[i]->error.code, E_TIMEOUT);
        cr_assert_eq(r[i]->t_end_ns, start + 5 * NS_PER_S);
    }
    rig_run(&r[3], &reply[3], 1); /* without a deadline: runs */
    rig_check(r[3], &reply[3]);
    cr_assert(stats().timeouts == 3 && stats().finished == 1 && stats().failed == 0);
    release(4);
    clock_fake_set(0);
}

Test(sched, more_important_requests_are_admitted_first)
{
    rig_open(two);
    fill();
    sched_cancel(sched, r[4]);
    sched_turn(sched);
    r[5] = rig_request(6, 10, 5);
    r[5]->priority = -1;
    rig_submit(r[5]);
    while (r[5]->finish == FINISH_NONE) {
        sched_turn(sched);
        cr_assert(r[2]->n_output == 0 || r[3]->n_output == 0);
    }
    rig_run(r, reply, 6);
    cr_assert(r[5]->t_first_ns <= r[2]->t_first_ns && r[2]->t_first_ns <= r[3]->t_first_ns);
    release(6);
}

Test(sched, drain_finishes_what_was_accepted_and_takes_nothing_new)
{
    rig_open(two);
    fill();
    sched_drain(sched);
    cr_assert_not(sched_idle(sched));
    struct err e = {0};
    r[5] = rig_request(6, 10, 5);
    cr_assert_eq(sched_submit(sched, r[5], &e), E_CLOSED);
    rig_run(r, reply, 5);
    cr_assert(sched_idle(sched));
    for (int i = 0; i < 5; i++)
        rig_check(r[i], &reply[i]);
    release(6);
}

Test(sched, a_lost_device_ends_everything_in_flight)
{
    rig_open(two);
    fill();
    fake.fail_at = 3;
    fake.fail_code = E_DEVICE;
    for (int i = 0; i < 4; i++)
        sched_turn(sched);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(r[i]->finish, FINISH_ERROR);
        cr_assert_eq(r[i]->error.code, E_DEVICE);
    }
    cr_assert(sched_device_lost(sched) && sched_idle(sched) && stats().failed == 5);
    int steps = fake.steps;
    struct err e = {0};
    r[5] = rig_request(6, 10, 5);
    cr_assert_eq(sched_submit(sched, r[5], &e), E_DEVICE);
    sched_turn(sched);
    cr_assert_eq(fake.steps, steps); /* nobody calls a lost device */
    release(6);
}

Test(sched, a_device_that_is_lost_while_sampling_ends_everything_too)
{
    rig_open(two);
    fill();
    fake.sample_fails = E_DEVICE;
    for (int i = 0; i < 4; i++)
        sched_turn(sched);
    for (int i = 0; i < 5; i++)
        cr_assert(r[i]->finish == FINISH_ERROR && r[i]->error.code == E_DEVICE);
    cr_assert(sched_device_lost(sched) && sched_idle(sched));
    release(5);
}

Test(sched, a_failed_step_ends_its_requests_and_serving_goes_on)
{
    rig_open(two);
    fill();
    fake.fail_at = 1;
    fake.fail_code = E_NOMEM;
    sched_turn(sched);
    cr_assert(r[0]->finish == FINISH_ERROR && r[1]->finish == FINISH_ERROR);
    cr_assert_eq(r[0]->error.code, E_NOMEM);
    rig_run(r, reply, 5);
    cr_assert(!sched_device_lost(sched) && stats().failed == 2 && stats().finished == 3);
    for (int i = 2; i < 5; i++)
        rig_check(r[i], &reply[i]);
    release(5);
}

Test(sched, close_cancels_what_still_runs_and_waits)
{
    rig_open(two);
    fill();
    sched_close(sched);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(r[i]->finish, FINISH_CANCELLED);
        cr_assert_eq(r[i]->refs, 1);
    }
    release(5);
    sched = NULL;
}

Test(sched, impossible_requests_are_refused_by_field)
{
    static const struct { const char *field; int32_t n, token, top, stop_id, bias_id; } bad[] = {
        {"prompt", 0, 0, -1, 0, 0},
        {"prompt", 3, RIG_VOCAB, -1, 0, 0},
        {"prompt", 3, -1, -1, 0, 0},
        {"logprobs", 3, 0, LIMIT_TOP_LOGPROBS + 1, 0, 0},
        {"stop_token_ids", 3, 0, -1, RIG_VOCAB, 0},
        {"logit_bias", 3, 0, -1, 0, -5},
    };
    rig_open(two);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = {0};
        r[0] = rig_request(1, bad[i].n, 5);
        if (bad[i].n)
            r[0]->prompt[2] = bad[i].token;
        r[0]->logprobs = bad[i].top;
        r[0]->n_stop_ids = 1;
        r[0]->stop_ids[0] = bad[i].stop_id;
        r[0]->sampling.n_bias = 1;
        r[0]->sampling.bias = mem_zalloc(sizeof *r[0]->sampling.bias);
        r[0]->sampling.bias[0].id = bad[i].bias_id;
        cr_assert_eq(sched_submit(sched, r[0], &e), E_RANGE, "case %zu", i);
        cr_assert_str_eq(e.param, bad[i].field);
        cr_assert_eq(r[0]->refs, 1);
        release(1);
    }
    r[0] = rig_request(1, 3, 5);
    r[0]->sampling.n_bias = 3;
    r[0]->sampling.bias = mem_array(3, sizeof *r[0]->sampling.bias);
    r[0]->sampling.bias[0].id = r[0]->sampling.bias[2].id = 4;
    struct err e = {0};
    cr_assert_eq(sched_submit(sched, r[0], &e), E_RANGE);
    cr_assert_not_null(strstr(e.text, "token id 4 is named twice"), "%s", e.text);
    release(1);
    cr_assert_eq(stats().requests, 0);
}

Test(sched, options_that_cannot_serve_all_slots_are_refused)
{
    rig_open(two);
    struct sched *none;
    struct err e = {0};
    struct sched_options o = two;
    o.step_tokens = 1;
    cr_assert_eq(sched_open(&none, &model, &fake.base, &o, &e), E_RANGE);
    cr_assert_null(none);
    o = two;
    o.logit_rows = 1;
    cr_assert_eq(sched_open(&none, &model, &fake.base, &o, &e), E_RANGE);
    o = two;
    o.queue = 0;
    cr_assert_eq(sched_open(&none, &model, &fake.base, &o, &e), E_RANGE);
}

Test(sched, memory_that_runs_out_is_an_answer)
{
    rig_open(two);
    for (uint64_t n = 1; n < 60; n++) {
        r[0] = rig_request(1, 200, 600); /* the history grows, too */
        r[0]->sampling.presence_penalty = 1;
        rig_submit(r[0]);
        memset(&reply[0], 0, sizeof reply[0]);
        mem_fail_at(n);
        rig_run(r, reply, 1);
        mem_fail_at(0);
        if (r[0]->finish == FINISH_ERROR)
            cr_assert_eq(r[0]->error.code, E_NOMEM, "%s", r[0]->error.text);
        else
            cr_assert_eq(r[0]->n_output, 600);
        if (n == 1)
            cr_assert_eq(r[0]->finish, FINISH_ERROR);
        rig_check(r[0], &reply[0]);
        cr_assert_eq(stats().slots_used, 0);
        release(1);
    }
}

/* ---- with the thread ------------------------------------------------------------------- */

static int wakes;

static void count_wake(void *arg)
{
    cr_assert_eq(arg, &wakes);
    __atomic_add_fetch(&wakes, 1, __ATOMIC_SEQ_CST);
}

Test(sched, the_reader_is_woken_once_each_time_it_waits)
{
    rig_open(two);
    r[0] = rig_request(1, 10, 50);
    r[0]->wake = count_wake;
    r[0]->wake_arg = &wakes;
    rig_submit(r[0]);
    for (int i = 0; i < 10; i++)
        sched_turn(sched);
    cr_assert_eq(wakes, 0); /* nobody waited */
    r[0]->waiting = true;
    for (int i = 0; i < 10; i++)
        sched_turn(sched);
    cr_assert(wakes == 1 && !r[0]->waiting);
    rig_run(r, reply, 1);
    rig_check(r[0], &reply[0]);
    release(1);
}

Test(sched, the_thread_sleeps_when_idle_and_shows_that_it_lives)
{
    rig_open(two);
    struct sched *threaded;
    struct err e = {0};
    cr_assert_eq(sched_open(&threaded, &model, &fake.base, &two, &e), 0, "%s", e.text);
    r[0] = rig_request(1, 10, 100);
    cr_assert_eq(sched_submit(threaded, r[0], &e), 0);
    while (!sched_idle(threaded))
        usleep(1000);
    rig_read(r[0], &reply[0], SIZE_MAX);
    cr_assert_eq(r[0]->finish, FINISH_LENGTH);
    rig_check(r[0], &reply[0]);
    struct sched_stats before, after;
    sched_stats(threaded, &before);
    do { /* it wakes up once a second */
        usleep(1000);
        sched_stats(threaded, &after);
    } while (after.heartbeat_ns <= before.heartbeat_ns + NS_PER_S);
    cr_assert_eq(after.steps, before.steps);
    sched_close(threaded);
    release(1);
}

/* ---- who moves, and whose turn it is ----------------------------------------------------- */

static void turns(int n)
{
    while (n-- > 0)
        sched_turn(sched);
}

Test(sched, slots_of_stalled_readers_go_to_whoever_waits_and_come_back)
{
    rig_open((struct sched_options){.slots = 2, .queue = 8, .step_tokens = 32, .logit_rows = 2});
    for (int i = 0; i < 6; i++)
        r[i] = rig_submit(rig_request((uint64_t)i + 1, 10, LIMIT_EVENTS + 60));
    turns(4 * LIMIT_EVENTS); /* nobody reads: two at a time fill their readers and make way */
    for (int i = 0; i < 6; i++)
        cr_assert_eq(r[i]->n_output, LIMIT_EVENTS, "request %d has %d", i, (int)r[i]->n_output);
    r[6] = rig_submit(rig_request(7, 5, 1));
    turns(2);
    cr_assert_eq(r[6]->finish, FINISH_LENGTH); /* the first token comes at once */
    cr_assert_gt(stats().parked, 3);
    rig_run(r, reply, 7);
    for (int i = 0; i < 7; i++)
        rig_check(r[i], &reply[i]); /* and nobody can tell */
    release(7);
}

Test(sched, a_reader_that_is_too_slow_over_its_request_is_told)
{
    rig_open((struct sched_options){.slots = 2, .queue = 8, .step_tokens = 32, .logit_rows = 2,
                                    .stall_ns = 10 * NS_PER_S});
    uint64_t now = 1000 * NS_PER_S;
    clock_fake_set(now);
    r[0] = rig_submit(rig_request(1, 10, 4000));
    r[1] = rig_submit(rig_request(2, 10, 4000));
    turns(LIMIT_EVENTS + 5);
    for (int s = 0; s < 60 && r[0]->finish == FINISH_NONE; s++) {
        clock_fake_set(now += NS_PER_S);
        rig_read(r[0], &reply[0], 1);     /* a byte now and then does not help */
        for (int k = 0; k < 20; k++) {    /* twenty tokens a second do */
            rig_read(r[1], &reply[1], 1);
            sched_turn(sched);
        }
    }
    cr_assert(r[0]->finish == FINISH_ERROR && r[0]->error.code == E_TIMEOUT);
    cr_assert_not_null(strstr(r[0]->error.text, "too slow"), "%s", r[0]->error.text);
    cr_assert_eq(r[1]->finish, FINISH_NONE);
    rig_read(r[0], &reply[0], SIZE_MAX);
    rig_check(r[0], &reply[0]); /* what there was is still read */
    sched_cancel(sched, r[1]);
    sched_turn(sched);
    clock_fake_set(0);
    release(2);
}

Test(sched, one_client_cannot_keep_another_waiting_for_the_end_of_its_requests)
{
    rig_open((struct sched_options){.slots = 4, .queue = 32, .step_tokens = 32, .logit_rows = 4,
                                    .queue_share = 16});
    for (int i = 0; i < 16; i++)
        r[i] = rig_submit(rig_request((uint64_t)i + 1, 10, 200));
    turns(60);
    r[16] = rig_request(99, 10, 8);
    r[16]->client.b[0] = 1;
    rig_submit(r[16]);
    for (int i = 0; i < 12; i++) {
        sched_turn(sched);
        rig_read(r[16], &reply[16], SIZE_MAX);
    }
    cr_assert_eq(r[16]->finish, FINISH_LENGTH, "%d tokens", (int)r[16]->n_output);
    rig_run(r, reply, 17);
    for (int i = 0; i < 17; i++)
        rig_check(r[i], &reply[i]);
    release(17);
}

Test(sched, a_stream_that_moves_may_take_longer_than_the_timeout)
{
    rig_open(two);
    uint64_t now = 1000 * NS_PER_S;
    clock_fake_set(now);
    r[0] = rig_request(1, 10, 100);
    r[1] = rig_request(2, 10, 100);
    r[0]->deadline_ns = r[1]->deadline_ns = now + 10 * NS_PER_S;
    r[0]->silence_ns = 10 * NS_PER_S;
    rig_submit(r[0]);
    rig_submit(r[1]);
    for (int i = 0; i < 50; i++) {
        clock_fake_set(now += NS_PER_S);
        sched_turn(sched);
    }
    cr_assert(r[1]->finish == FINISH_ERROR && r[1]->error.code == E_TIMEOUT);
    cr_assert(r[0]->finish == FINISH_NONE && r[0]->n_output >= 49);
    rig_run(r, reply, 1);
    rig_check(r[0], &reply[0]);
    clock_fake_set(0);
    release(2);
}
