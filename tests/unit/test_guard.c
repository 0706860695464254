/* Whether the library reads through our recv(): the check at start, and what it leaves behind. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/http/guard.h"

static int descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

Test(guard, a_check_leaves_no_descriptor_open_however_it_ends)
{
    struct err e = {0};
    cr_assert_eq(guard_check(&e), 0, "%s", e.text);
    int before = descriptors();
    cr_assert_eq(guard_check(&e), 0, "%s", e.text);
    cr_assert_eq(descriptors(), before);
    mem_fail_at(1);
    cr_assert_eq(guard_check(&e), E_NOMEM);
    mem_fail_at(0);
    cr_assert_eq(descriptors(), before);
    err_clear(&e);
    cr_assert_eq(guard_check(&e), 0, "%s", e.text);
    cr_assert_eq(descriptors(), before);
}

/* How many events the library asks for at once. */
#define ROUND 128

static int set_with(int n, int fds[ROUND])
{
    int set = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < n; i++) {
        struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
        fds[i] = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
        cr_assert_eq(epoll_ctl(set, EPOLL_CTL_ADD, fds[i], &ev), 0);
    }
    return set;
}

Test(guard, who_was_given_as_many_events_as_he_asked_for_does_not_wait_for_more)
{
    struct epoll_event ev[ROUND];
    int fds[ROUND], set = set_with(ROUND, fds);
    cr_assert_eq(epoll_wait(set, ev, ROUND, -1), ROUND);
    cr_assert_eq(epoll_wait(set, ev, ROUND, -1), 0, "without waiting");
    uint64_t from = clock_now_ns();
    cr_assert_eq(epoll_wait(set, ev, ROUND, 50), 0);
    cr_assert_geq(clock_now_ns() - from, 50 * NS_PER_MS, "the next look waits as it was told");
    for (int i = 0; i < ROUND; i++)
        close(fds[i]);
    close(set);
}

Test(guard, fewer_events_than_were_asked_for_change_nothing)
{
    struct epoll_event ev[ROUND];
    int fds[ROUND], set = set_with(ROUND - 1, fds);
    cr_assert_eq(epoll_wait(set, ev, ROUND, -1), ROUND - 1);
    uint64_t from = clock_now_ns();
    cr_assert_eq(epoll_wait(set, ev, ROUND, 50), 0);
    cr_assert_geq(clock_now_ns() - from, 50 * NS_PER_MS);
    for (int i = 0; i < ROUND - 1; i++)
        close(fds[i]);
    close(set);
}
