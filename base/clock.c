/* The clocks, and the fake one that makes deadlines testable. Any thread. */
#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic uint64_t fake_ns; /* 0 = the real clock */

uint64_t clock_now_ns(void)
{
    uint64_t fake = atomic_load_explicit(&fake_ns, memory_order_relaxed);
    if (fake)
        return fake;
    struct timespec t;
    /* Cannot fail with this clock id and a valid address. */
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
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
