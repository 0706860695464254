/* The limit of a server's end: processes of this file's own that hang, and that do not. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/process/ending.h"

#define CODE 7

static struct progress p;

/* Runs end() in a process of its own; what it said. */
static int status_of(void (*end)(void), char *said, size_t size)
{
    int pipes[2], status = -1;
    cr_assert_eq(pipe(pipes), 0);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        dup2(pipes[1], STDERR_FILENO);
        close(pipes[0]);
        close(pipes[1]);
        end();
        _exit(0);
    }
    close(pipes[1]);
    ssize_t n, sum = 0;
    while ((n = read(pipes[0], said + sum, size - 1 - (size_t)sum)) > 0)
        sum += n;
    said[sum] = '\0';
    close(pipes[0]);
    cr_assert_eq(waitpid(child, &status, 0), child);
    return status;
}

static void hang(void)
{
    progress_stage(&p, "the first part", 0);
    progress_stage(&p, "the second part", 0);
    ending_within(&p, 50, CODE);
    for (;;)
        pause();
}

static void end_in_time(void)
{
    ending_within(&p, 3600 * 1000, CODE);
    progress_stage(&p, "all of it", 0);
}

Test(ending, who_hangs_is_named_and_ended)
{
    char said[1000];
    int status = status_of(hang, said, sizeof said);
    cr_assert(WIFEXITED(status));
    cr_expect_eq(WEXITSTATUS(status), CODE);
    cr_expect(strstr(said, "the second part"), "%s", said);
    cr_expect_not(strstr(said, "the first part"), "%s", said);
}

Test(ending, who_ends_is_not_waited_for)
{
    char said[1000];
    int status = status_of(end_in_time, said, sizeof said);
    cr_assert(WIFEXITED(status));
    cr_expect_eq(WEXITSTATUS(status), 0);
    cr_expect_str_empty(said);
}
