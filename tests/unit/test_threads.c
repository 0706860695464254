/* The pool: every part exactly once, jobs in order, whatever the number of threads. */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <unistd.h>

#include "kernels/cpu/cpu.h"

#define JOBS 200
#define PARTS_MAX 16

struct log {
    atomic_int begun[JOBS][PARTS_MAX];
    int finished;      /* plain on purpose: threads_run orders it */
    bool out_of_order;
    int slow_part;     /* this part sleeps now and then; -1 = none */
};

static void part(void *ctx, int job, int p, int parts)
{
    struct log *l = ctx;
    if (l->finished != job)
        l->out_of_order = true;
    if (p == l->slow_part && job % 50 == 7 && parts > 1)
        usleep(300);
    atomic_fetch_add(&l->begun[job][p], 1);
}
static void done(void *ctx, int job)
{
    struct log *l = ctx;
    if (l->finished != job)
        l->out_of_order = true;
    l->finished = job + 1;
}

static void run_once(struct threads *t, const bool *shared, int n_jobs, int slow_part)
{
    static struct log l;
    l = (struct log){.slow_part = slow_part};
    struct threads_work w = {n_jobs, shared, part, done, &l};
    threads_run(t, &w);
    cr_assert_eq(l.finished, n_jobs);
    cr_assert_not(l.out_of_order);
    for (int j = 0; j < n_jobs; j++) {
        int parts = shared[j] ? threads_count(t) : 1;
        for (int p = 0; p < PARTS_MAX; p++)
            cr_assert_eq(atomic_load(&l.begun[j][p]), p < parts, "job %d part %d", j, p);
    }
}

Test(threads, every_part_of_every_job_runs_once_and_in_order)
{
    static const int counts[] = {1, 2, 3, 8};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        struct threads *t;
        struct err e = {0};
        cr_assert_eq(threads_open(&t, counts[i], &e), 0);
        cr_assert_eq(threads_count(t), counts[i]);
        for (int round = 0; round < 20; round++) {
            bool shared[JOBS];
            for (int j = 0; j < JOBS; j++)
                shared[j] = round == 0 || (round > 1 && (j * 7 + round) % 3 == 0);
            run_once(t, shared, JOBS, round % 4 == 3 ? round % counts[i] : -1);
        }
        threads_close(t);
    }
}

Test(threads, an_empty_list_returns)
{
    struct threads *t;
    struct err e = {0};
    cr_assert_eq(threads_open(&t, 2, &e), 0);
    run_once(t, NULL, 0, -1);
    threads_close(t);
}

Test(threads, sleepers_wake_up_for_the_next_step)
{
    struct threads *t;
    struct err e = {0};
    bool shared[] = {true, false, true};
    cr_assert_eq(threads_open(&t, 4, &e), 0);
    for (int i = 0; i < 20; i++) {
        usleep(i % 2 ? 200 : 2000); /* longer than they spin */
        run_once(t, shared, 3, -1);
    }
    threads_close(t);
}

Test(threads, a_pool_that_was_never_used_closes)
{
    struct threads *t;
    struct err e = {0};
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(threads_open(&t, 3, &e), 0);
        threads_close(t);
    }
    threads_close(NULL);
}

Test(threads, a_senseless_count_is_refused)
{
    struct threads *t;
    struct err e = {0};
    cr_assert_eq(threads_open(&t, 100000, &e), E_RANGE);
    cr_assert_null(t);
    cr_assert_neq(e.text[0], '\0');
}

Test(threads, zero_means_one_per_cpu)
{
    struct threads *t;
    struct err e = {0};
    cr_assert_eq(threads_open(&t, 0, &e), 0);
    cr_assert_geq(threads_count(t), 1);
    threads_close(t);
}
