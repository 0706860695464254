/* The thread pool of the cpu backend: one barrier, nothing else.
 *
 * Workers live in the barrier between two steps; a step is: all pass it, run, all pass it again.
 * Waiting spins first, because the next op is microseconds away, and then sleeps on a futex, so
 * that an idle server costs nothing. Thread 0 is the caller of threads_run. */
#define _GNU_SOURCE 1 /* sched_getaffinity */
#include "kernels/cpu/cpu.h"

#include "base/mem.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Longer than the gap between two steps of a busy server, shorter than a scheduler's slice. */
#define SPIN_NS 50000
#define THREADS_MAX 1024 /* what sched_getaffinity's fixed mask can name */

/* Owner: the device. Thread: `fn`, `ctx` and `quit` are written by thread 0 between two meetings. */
struct threads {
    _Alignas(64) atomic_uint arrived;
    _Alignas(64) atomic_uint phase; /* meetings so far; the futex word */
    _Alignas(64) atomic_uint sleepers;
    int n, n_started;
    bool quit;
    threads_fn *fn;
    void *ctx;
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
#else
    return 0;
#endif
}

void threads_restore_denormals(unsigned saved)
{
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(saved);
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
#endif
}

/* true: the phase moved on while spinning. */
static bool spin(struct threads *t, unsigned phase)
{
    uint64_t end = 0;
    do {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(&t->phase, memory_order_acquire) != phase)
                return true;
            relax();
        }
        uint64_t now = now_ns();
        if (!end)
            end = now + SPIN_NS;
        else if (now > end)
            return false;
    } while (true);
}

void threads_meet(struct threads *t)
{
    if (t->n == 1)
        return;
    unsigned phase = atomic_load_explicit(&t->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&t->arrived, 1, memory_order_acq_rel) + 1 == (unsigned)t->n) {
        atomic_store_explicit(&t->arrived, 0, memory_order_relaxed);
        /* Sequentially consistent against `sleepers`: a thread that is about to sleep either
         * sees the new phase or is seen here. */
        atomic_store(&t->phase, phase + 1);
        if (atomic_load(&t->sleepers))
            syscall(SYS_futex, &t->phase, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
        return;
    }
    if (spin(t, phase))
        return;
    atomic_fetch_add(&t->sleepers, 1);
    while (atomic_load(&t->phase) == phase)
        syscall(SYS_futex, &t->phase, FUTEX_WAIT_PRIVATE, phase, NULL, NULL, 0);
    atomic_fetch_sub(&t->sleepers, 1);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct threads *t = w->pool;
    threads_flush_denormals();
    for (;;) {
        threads_meet(t);
        if (t->quit)
            return NULL;
        t->fn(t->ctx, w->ith, t->n);
        threads_meet(t);
    }
}

void threads_run(struct threads *t, threads_fn *fn, void *ctx)
{
    t->fn = fn;
    t->ctx = ctx;
    threads_meet(t);
    fn(ctx, 0, t->n);
    threads_meet(t);
}

int threads_count(const struct threads *t) { return t->n; }

static int cpus_allowed(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return MAX(CPU_COUNT(&set), 1);
    long n = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than the mask can name */
    return (int)MAX(MIN(n, THREADS_MAX), 1);
}

int threads_open(struct threads **out, int n, struct err *e)
{
    *out = NULL;
    if (n < 0 || n > THREADS_MAX)
        return err_set(e, E_RANGE, "threads: %d, expected 0 to %d", n, THREADS_MAX);
    if (n == 0)
        n = cpus_allowed();
    struct threads *t = mem_aligned(sizeof *t);
    if (!t)
        return err_set(e, E_NOMEM, "no memory for a pool of %d threads", n);
    t->n = n;
    t->workers = mem_array((size_t)n, sizeof *t->workers);
    if (!t->workers) {
        threads_close(t);
        return err_set(e, E_NOMEM, "no memory for a pool of %d threads", n);
    }
    /* Signals are the main thread's business. */
    sigset_t all, saved;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved);
    int rc = 0;
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
    /* Every started worker is in, or on its way to, the meeting before a step. Completing it by
     * hand also works when a failed start left fewer threads than n. */
    t->quit = true;
    while (atomic_load(&t->arrived) != (unsigned)t->n_started)
        relax();
    atomic_fetch_add(&t->phase, 1);
    syscall(SYS_futex, &t->phase, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    for (int i = 1; i <= t->n_started; i++)
        pthread_join(t->workers[i].thread, NULL);
    mem_free(t->workers);
    mem_aligned_free(t, sizeof *t);
}
