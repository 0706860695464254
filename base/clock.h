/* Time. Deadlines use the monotonic clock; wall time appears only in replies and files. */
#ifndef RECURD_CLOCK_H
#define RECURD_CLOCK_H

#include "base/base.h"

uint64_t clock_now_ns(void);  /* monotonic; the fake value when one is set */
uint64_t clock_unix_s(void);  /* wall clock, seconds since 1970 */

/* Tests: from now on clock_now_ns() returns this value; 0 goes back to the real clock. */
void clock_fake_set(uint64_t ns);

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

#endif
