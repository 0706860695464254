/* The clocks, and the fake one that makes deadlines testable. Any thread. */
#include "base/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static _Atomic uint64_t fake_ns; /* 0 = the real clock */

static _Atomic bool skipping;
static _Atomic uint64_t last_ns;    /* the latest reading of all threads */
static _Atomic uint64_t skipped_ns; /* in gaps; changes under gap_lock only, before last_ns */
static pthread_mutex_t gap_lock = PTHREAD_MUTEX_INITIALIZER;

/* Two threads may wake up at once: the second must not read a time before the first has taken the
 * gap out of it, so it finds last_ns still old, and waits here. */
static void skip_gap(uint64_t now)
{
    pthread_mutex_lock(&gap_lock);
    uint64_t last = atomic_load(&last_ns);
    if (now > last + CLOCK_GAP_NS) {
        atomic_fetch_add(&skipped_ns, now - last);
        atomic_store(&last_ns, now);
    }
    pthread_mutex_unlock(&gap_lock);
}

static uint64_t read_ns(clockid_t id)
{
    struct timespec t;
    /* Cannot fail with these ids and a valid address. */
    (void)clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t clock_now_ns(void)
{
    uint64_t fake = atomic_load_explicit(&fake_ns, memory_order_relaxed);
    if (fake)
        return fake;
    for (;;) {
        uint64_t skipped = atomic_load(&skipped_ns), now = read_ns(CLOCK_MONOTONIC);
        if (!atomic_load_explicit(&skipping, memory_order_acquire))
            return now - skipped;
        uint64_t last = atomic_load(&last_ns);
        if (now > last + CLOCK_GAP_NS)
            skip_gap(now);
        else if (now > last)
            atomic_compare_exchange_strong(&last_ns, &last, now);
        if (skipped == atomic_load(&skipped_ns)) /* else `now` may be from before the gap */
            return now - skipped;
    }
}

uint64_t clock_cpu_ns(void)
{
    uint64_t fake = atomic_load_explicit(&fake_ns, memory_order_relaxed);
    return fake ? fake : read_ns(CLOCK_THREAD_CPUTIME_ID);
}

void clock_skip_gaps(bool on)
{
    if (on)
        atomic_store(&last_ns, read_ns(CLOCK_MONOTONIC));
    atomic_store_explicit(&skipping, on, memory_order_release);
}

uint64_t clock_unix_s(void)
{
    time_t now = time(NULL);
    return now < 0 ? 0 : (uint64_t)now; /* a machine set before 1970 reads as 1970 */
}

void clock_fake_set(uint64_t ns)
{
    atomic_store_explicit(&fake_ns, ns, memory_order_relaxed);
}
