/* Threads that write streams: every turn comes once, in a round all come behind its end, and a full
 * socket gives another turn when it has room. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/http/outlet.h"

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
    uint64_t end = clock_now_ns() + 60 * NS_PER_S;
    while (turns_of(i) < n && clock_now_ns() < end)
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

Test(outlet, every_turn_comes_once_from_any_thread, .timeout = 120)
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

Test(outlet, a_round_wakes_all_that_it_put, .timeout = 120)
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

Test(outlet, a_full_socket_gets_a_turn_when_it_has_room_or_is_shut, .timeout = 120)
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
