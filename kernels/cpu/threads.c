/* The thread pool of the cpu backend.
 *
 * Work is a list of jobs, done in order. A job is cut into as many parts as there are threads;
 * everyone takes its own part first and then any that nobody has begun, so that a thread which
 * the system has taken off its CPU delays the others only if it is inside a part. Whoever
 * completes the last part of a job opens the next. Waiting spins first, because the next job is
 * microseconds away, and then sleeps on a futex: an idle server costs nothing. */
#define _GNU_SOURCE 1 /* syscall, pthread_setattr_default_np */
#include "kernels/cpu/cpu.h"

#include "base/limits.h"
#include "base/mem.h"
#include "kernels/cpu/quota.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Longer than the gap between two steps of a busy server, shorter than a scheduler's slice. */
#define SPIN_NS 50000
/* Looks at the stage this many times (about a microsecond) before taking another's part: its
 * owner may be about to, and its flag lives in the owner's cache. */
#define PATIENCE 32
#define THREADS_MAX 1024 /* more than any machine of today has CPUs */
/* Kernels have the room of a job on the stack: up to 660 KiB. */
#define STACK_BYTES MIB(2)

/* A stage is one job that all threads share. Part p of stage n is taken by moving claimed[p]
 * from n - 1 to n, which only one thread can do, and none that still believes in an old stage. */
struct claim {
    _Alignas(64) atomic_uint stage;
};

/* Owner: the device. Thread: `work` and `job` are written between two stages, by the thread that
 * completed the first, and read by those who hold a part of the second. */
struct threads {
    _Alignas(64) atomic_uint stage; /* also the futex word */
    _Alignas(64) atomic_uint done;  /* parts of this stage that are complete */
    _Alignas(64) atomic_uint sleepers;
    int n, n_started;
    atomic_bool quit;
    const struct threads_work *work;
    int job;           /* of this stage */
    atomic_uint ended; /* the last stage that stands for "all is done" and has no parts */
    struct claim *claimed;
    struct worker {
        struct threads *pool;
        int ith;
        pthread_t thread;
    } *workers;
};

unsigned threads_flush_denormals(void)
{
#if defined(__x86_64__)
    unsigned saved = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(saved | 0x8040); /* flush-to-zero, denormals-are-zero */
    return saved;
#elif defined(__aarch64__)
    uint64_t saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("msr fpcr, %0" : : "r"(saved | 1u << 24)); /* FZ: inputs and results */
    return (unsigned)saved;
#else
    return 0;
#endif
}

void threads_restore_denormals(unsigned saved)
{
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(saved);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)saved));
#else
    (void)saved;
#endif
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Returns once the stage is no longer `stage`. */
static void wait_past(struct threads *t, unsigned stage)
{
    uint64_t end = 0;
    for (;;) {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(&t->stage, memory_order_acquire) != stage)
                return;
            relax();
        }
        uint64_t now = now_ns();
        if (!end)
            end = now + SPIN_NS;
        else if (now > end)
            break;
    }
    while (atomic_load(&t->stage) == stage) {
        /* Sequentially consistent against open_stage: either it sees the sleeper or the kernel
         * sees the new stage. */
        atomic_fetch_add(&t->sleepers, 1);
        syscall(SYS_futex, &t->stage, FUTEX_WAIT_PRIVATE, stage, NULL, NULL, 0);
    }
}

static void open_stage(struct threads *t, unsigned stage)
{
    atomic_store_explicit(&t->done, 0, memory_order_relaxed);
    atomic_store(&t->stage, stage);
    if (atomic_exchange(&t->sleepers, 0))
        syscall(SYS_futex, &t->stage, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Runs small jobs from `job` on here and now; returns the next that is shared, or n_jobs. */
static int run_small(const struct threads_work *w, int job)
{
    for (; job < w->n_jobs && !w->shared[job]; job++) {
        w->part(w->ctx, job, 0, 1);
        w->done(w->ctx, job);
    }
    return job;
}

/* The caller has completed the last part of the stage: nobody else is inside. */
static void next_stage(struct threads *t, unsigned stage)
{
    t->work->done(t->work->ctx, t->job);
    t->job = run_small(t->work, t->job + 1);
    if (t->job == t->work->n_jobs) {
        for (int p = 0; p < t->n; p++)
            atomic_store_explicit(&t->claimed[p].stage, stage + 1, memory_order_relaxed);
        atomic_store_explicit(&t->ended, stage + 1, memory_order_relaxed);
    }
    open_stage(t, stage + 1);
}

/* Takes and runs part p of the stage unless someone has. */
static void try_part(struct threads *t, unsigned stage, int p)
{
    unsigned before = stage - 1;
    if (atomic_load_explicit(&t->claimed[p].stage, memory_order_relaxed) != before ||
        !atomic_compare_exchange_strong(&t->claimed[p].stage, &before, stage))
        return;
    t->work->part(t->work->ctx, t->job, p, t->n);
    if (atomic_fetch_add(&t->done, 1) + 1 == (unsigned)t->n)
        next_stage(t, stage);
}

/* Own part first, then what others have not begun; returns in a later stage. */
static void take_part(struct threads *t, unsigned stage, int ith)
{
    try_part(t, stage, ith);
    for (int i = 0; i < PATIENCE; i++) {
        if (atomic_load_explicit(&t->stage, memory_order_acquire) != stage)
            return;
        relax();
    }
    for (int i = 1; i < t->n; i++)
        try_part(t, stage, (ith + i) % t->n);
    wait_past(t, stage);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct threads *t = w->pool;
    threads_flush_denormals();
    wait_past(t, 0);
    for (;;) { /* the stage first: whoever sees the one that threads_close opened also sees quit */
        unsigned stage = atomic_load(&t->stage);
        if (atomic_load(&t->quit))
            break;
        take_part(t, stage, w->ith);
    }
    return NULL;
}

void threads_run(struct threads *t, const struct threads_work *w)
{
    int job = run_small(w, 0);
    if (job == w->n_jobs)
        return;
    t->work = w;
    t->job = job;
    open_stage(t, atomic_load_explicit(&t->stage, memory_order_relaxed) + 1);
    for (;;) {
        unsigned stage = atomic_load_explicit(&t->stage, memory_order_acquire);
        if (atomic_load_explicit(&t->ended, memory_order_relaxed) == stage)
            return;
        take_part(t, stage, 0);
    }
}

int threads_count(const struct threads *t) { return t->n; }

/* What the system gives a thread unasked follows `ulimit -s`, and may be too little. For every
 * thread that starts from now on, since whoever calls threads_run computes as well. */
static int have_stacks(void)
{
    pthread_attr_t a;
    size_t n;
    int rc = pthread_getattr_default_np(&a);
    if (rc)
        return rc;
    if (!(rc = pthread_attr_getstacksize(&a, &n)) && n < STACK_BYTES &&
        !(rc = pthread_attr_setstacksize(&a, STACK_BYTES)))
        rc = pthread_setattr_default_np(&a);
    pthread_attr_destroy(&a);
    return rc;
}

int threads_open(struct threads **out, int n, struct err *e)
{
    *out = NULL;
    if (n < 0 || n > THREADS_MAX)
        return err_set(e, E_RANGE, "threads: %d, expected 0 to %d", n, THREADS_MAX);
    if (n == 0)
        n = MIN(quota_cpus(NULL, 0), THREADS_MAX);
    struct threads *t = mem_aligned(sizeof *t);
    if (!t)
        return err_set(e, E_NOMEM, "no memory for a pool of %d threads", n);
    t->n = n;
    t->workers = mem_array((size_t)n, sizeof *t->workers);
    t->claimed = mem_aligned((size_t)n * sizeof *t->claimed);
    if (!t->workers || !t->claimed) {
        threads_close(t);
        return err_set(e, E_NOMEM, "no memory for a pool of %d threads", n);
    }
    /* Signals are the main thread's business. */
    sigset_t all, saved;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved);
    int rc = have_stacks();
    for (int i = 1; i < n && !rc; i++) {
        struct worker *w = &t->workers[i];
        *w = (struct worker){.pool = t, .ith = i};
        rc = pthread_create(&w->thread, NULL, worker_main, w);
        t->n_started += rc == 0;
    }
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    if (rc) {
        int started = t->n_started;
        threads_close(t);
        return err_set(e, E_NOMEM, "only %d of %d threads could be started: %s", started + 1, n,
                       strerror(rc));
    }
    *out = t;
    return 0;
}

void threads_close(struct threads *t)
{
    if (!t)
        return;
    atomic_store(&t->quit, true);
    open_stage(t, atomic_load_explicit(&t->stage, memory_order_relaxed) + 1);
    for (int i = 1; i <= t->n_started; i++)
        pthread_join(t->workers[i].thread, NULL);
    mem_free(t->workers);
    mem_aligned_free(t->claimed, (size_t)t->n * sizeof *t->claimed);
    mem_aligned_free(t, sizeof *t);
}
