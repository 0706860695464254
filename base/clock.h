/* Time. Deadlines use the monotonic clock; wall time appears only in replies and files. */
#ifndef RECURD_CLOCK_H
#define RECURD_CLOCK_H

#include "base/base.h"

uint64_t clock_now_ns(void);  /* monotonic; the fake value when one is set */
uint64_t clock_cpu_ns(void);  /* what this thread has computed; the fake value when one is set */
uint64_t clock_unix_s(void);  /* wall clock, seconds since 1970 */

/* Whether time in which nothing of this process ran (SIGSTOP, a frozen cgroup, a paused machine) is
 * left out of clock_now_ns: then a deadline only counts time in which it could have been met. It is
 * seen as a gap of more than CLOCK_GAP_NS between any two calls, so somebody must call more often:
 * in the daemon the main thread does, every second. */
void clock_skip_gaps(bool on);
#define CLOCK_GAP_NS (4 * NS_PER_S)

/* Tests: from now on clock_now_ns() returns this value; 0 goes back to the real clock. */
void clock_fake_set(uint64_t ns);

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

#endif
