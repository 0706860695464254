/* Time that a process did not run is no time. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* A process that reads the clock from several threads, frozen for a while: the largest step that
 * any of them sees. */
static uint64_t largest_step[4];

static void *reader(void *arg)
{
    uint64_t *largest = arg, last = clock_now_ns();
    for (uint64_t end = last + 2 * NS_PER_S; last < end;) {
        uint64_t now = clock_now_ns();
        *largest = MAX(*largest, now > last ? now - last : 0);
        if (now < last)
            _exit(3);
        last = now;
        usleep(1000);
    }
    return NULL;
}

static int frozen_child(void)
{
    pthread_t t[4];
    clock_skip_gaps(true);
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, reader, &largest_step[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < 4; i++)
        if (largest_step[i] > CLOCK_GAP_NS)
            return 4;
    return 0;
}

Test(clock, a_frozen_process_sees_no_time_pass)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(frozen_child());
    usleep(500000);
    kill(child, SIGSTOP);
    sleep(CLOCK_GAP_NS / NS_PER_S + 2);
    kill(child, SIGCONT);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", (unsigned)status);
}

Test(clock, without_gaps_it_is_the_monotonic_clock)
{
    struct timespec t;
    uint64_t before = clock_now_ns();
    clock_skip_gaps(true);
    uint64_t now = clock_now_ns();
    clock_skip_gaps(false);
    clock_gettime(CLOCK_MONOTONIC, &t);
    cr_assert(now >= before && now <= (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec);
}
