/* Threads that write streams: every turn comes once, in a round all come behind its end, and a full
 * socket gives another turn when it has room. Who rests and who does not is asked with rests of an
 * hour, which nobody sleeps out. The file under test is included: such rests are this test's. */
#define _GNU_SOURCE 1 /* as that file */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/http/outlet.c"

#define PLACES 130
#define TIMES 200

static struct outlet *o;
static struct outlet_place places[PLACES];
static int turns[PLACES]; /* atomic */

static void count(struct outlet_place *p)
{
    __atomic_add_fetch(&turns[p - places], 1, __ATOMIC_SEQ_CST);
}

static int turns_of(int i) { return __atomic_load_n(&turns[i], __ATOMIC_SEQ_CST); }

static void wait_for(int i, int n)
{
    uint64_t end = clock_unix_s() + 600; /* the other clock may be the test's */
    while (turns_of(i) < n && clock_unix_s() < end)
        usleep(100);
    cr_assert_geq(turns_of(i), n);
}

static void open_outlet(int threads, void (*run)(struct outlet_place *))
{
    struct err e = {0};
    cr_assert_eq(outlet_open(&o, threads, run, &e), 0, "%s", e.text);
}

static void *put_often(void *arg)
{
    int i = (int)((struct outlet_place *)arg - places);
    for (int k = 0; k < TIMES; k++) {
        outlet_put(arg);
        wait_for(i, k + 1);
    }
    return NULL;
}

Test(outlet, every_turn_comes_once_from_any_thread)
{
    pthread_t t[4];
    open_outlet(2, count);
    for (int i = 0; i < 4; i++) {
        outlet_enter(o, &places[i]);
        pthread_create(&t[i], NULL, put_often, &places[i]);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(turns_of(i), TIMES); /* not one more */
        outlet_leave(&places[i], -1);
        cr_assert_null(places[i].thread);
    }
    outlet_close(o);
}

Test(outlet, a_round_wakes_all_that_it_put)
{
    open_outlet(2, count);
    for (int i = 0; i < PLACES; i++)
        outlet_enter(o, &places[i]);
    for (int k = 1; k <= 3; k++) {
        outlet_round(o, true, false);
        for (int i = 0; i < PLACES; i++)
            outlet_put(&places[i]);
        outlet_round(o, false, false);
        for (int i = 0; i < PLACES; i++)
            wait_for(i, k);
        for (int i = 0; i < PLACES; i++)
            cr_assert_eq(turns_of(i), k);
    }
    outlet_round(o, true, false); /* of nothing */
    outlet_round(o, false, false);
    outlet_close(o);
}

/* What a stream has of what was made: as its reader, it is put again only after its turn. */
static int made, written, idle; /* atomic */

static void write_made(struct outlet_place *p)
{
    count(p); /* before whoever waits for `written` looks at it */
    __atomic_store_n(&idle, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&written, __atomic_load_n(&made, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
}

static void make(bool ended)
{
    outlet_round(o, true, false);
    __atomic_add_fetch(&made, 1, __ATOMIC_SEQ_CST);
    if (__atomic_exchange_n(&idle, 0, __ATOMIC_SEQ_CST))
        outlet_put(&places[0]);
    outlet_round(o, false, ended);
}

static void await_written(void)
{
    uint64_t end = clock_unix_s() + 600;
    int n = __atomic_load_n(&made, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&written, __ATOMIC_SEQ_CST) < n && clock_unix_s() < end)
        usleep(100);
    cr_assert_eq(__atomic_load_n(&written, __ATOMIC_SEQ_CST), n);
}

static uint64_t minute; /* of the test's clock */

static void pass_minutes(int n)
{
    minute += (uint64_t)n;
    clock_fake_set(minute * 60 * NS_PER_S);
}

/* Two streams of one thread, whose rest is an hour. */
static void begin_making(void)
{
    rest_least_ms = rest_most_ms = 3600 * 1000;
    made = written = 0;
    idle = 1;
    pass_minutes(24 * 60);
    open_outlet(1, write_made);
    outlet_enter(o, &places[0]);
    outlet_enter(o, &places[1]);
}

/* Soon after each other: it rests when the second is written. */
static void begin_rest(void)
{
    begin_making();
    for (int i = 0; i < 2; i++) {
        make(false);
        await_written();
    }
}

Test(outlet, what_short_steps_bring_is_written_together_and_nothing_is_left)
{
    begin_rest();
    for (int k = 0; k < 3; k++) {
        int before = turns_of(0);
        for (int i = 0; i < 5000; i++)
            make(false);
        make(true);
        await_written();
        cr_expect_eq(turns_of(0), before + 1);
    }
    outlet_close(o);
}

/* A rest is an hour: what comes after more than half of it would not come twice in it. */
Test(outlet, what_longer_steps_bring_does_not_wait)
{
    begin_making();
    for (int k = 1; k <= 100; k++) {
        pass_minutes(31);
        make(false);
        await_written();
        cr_assert_eq(turns_of(0), k);
    }
    pass_minutes(29);
    make(false);
    await_written();
    make(false); /* waits for the rest to be over */
    make(true);
    await_written();
    cr_assert_eq(turns_of(0), 102);
    outlet_close(o);
}

Test(outlet, an_end_does_not_wait_for_the_rest_to_be_over)
{
    begin_rest();
    for (int k = 0; k < 100; k++) {
        int before = turns_of(0);
        make(false);
        make(true);
        await_written();
        cr_assert_eq(turns_of(0), before + 1, "%d turns", turns_of(0) - before);
    }
    outlet_close(o);
}

Test(outlet, who_is_put_outside_of_a_round_does_not_wait_either)
{
    begin_rest();
    for (int k = 1; k <= 100; k++) {
        int before = turns_of(0);
        make(false);
        outlet_put(&places[1]);
        wait_for(1, k);
        await_written();
        cr_assert_eq(turns_of(0), before + 1, "%d turns", turns_of(0) - before);
    }
    outlet_close(o);
}

Test(outlet, the_next_thread_comes_when_one_has_many)
{
    open_outlet(3, count);
    outlet_enter(o, &places[0]);
    outlet_enter(o, &places[1]);
    cr_assert_eq(places[0].thread, places[1].thread);
    for (int i = 2; i < PLACES; i++)
        outlet_enter(o, &places[i]);
    cr_assert_neq(places[64].thread, places[0].thread);
    cr_assert_neq(places[129].thread, places[64].thread);
    outlet_leave(&places[0], -1);
    outlet_enter(o, &places[0]);
    cr_assert_eq(places[0].thread, places[1].thread); /* where there is room again */
    outlet_close(o);
}

static int pair[2];

static void fill(struct outlet_place *p)
{
    char bytes[4096] = {0};
    while (send(pair[0], bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
    if (outlet_room(p, pair[0]))
        count(p);
}

Test(outlet, a_full_socket_gets_a_turn_when_it_has_room_or_is_shut)
{
    char bytes[4096];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    open_outlet(1, fill);
    outlet_enter(o, &places[0]);
    outlet_put(&places[0]);
    wait_for(0, 1);
    for (int k = 0; k < 3; k++) {
        int before = turns_of(0); /* full, and waiting */
        while (recv(pair[1], bytes, sizeof bytes, MSG_DONTWAIT) > 0)
            ;
        wait_for(0, before + 1);
    }
    shutdown(pair[0], SHUT_RDWR);
    wait_for(0, turns_of(0) + 1);
    outlet_close(o);
    close(pair[0]);
    close(pair[1]);
}
