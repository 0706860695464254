/* A bucket that drains evenly. Thread: its owner's. */
#include "server/process/rate.h"

#include "base/clock.h"

#define RATE_UNIT 1000000 /* a level of one, so that a slow drain loses nothing to rounding */
#define MINUTE_NS (60 * NS_PER_S)

/* Ns until `units` have drained. */
static uint64_t drains_in(int64_t units, int64_t limit)
{
    if (units <= 0)
        return 0;
    double ns = (double)units / RATE_UNIT / (double)limit * (double)MINUTE_NS;
    return ns < 9e18 ? (uint64_t)ns + 1 : UINT64_MAX / 2;
}

struct rate_view rate_look(struct rate *r, int64_t limit, uint64_t now_ns)
{
    uint64_t passed = now_ns > r->at_ns ? now_ns - r->at_ns : 0;
    double drained = (double)passed / (double)MINUTE_NS * (double)limit * RATE_UNIT;
    r->level = drained >= (double)r->level ? 0 : r->level - (int64_t)drained;
    r->at_ns = now_ns;
    int64_t room = limit * RATE_UNIT - r->level;
    return (struct rate_view){
        .limit = limit,
        .remaining = MAX(room / RATE_UNIT, 0),
        .reset_ns = drains_in(r->level, limit),
        .wait_ns = drains_in(RATE_UNIT - room, limit),
    };
}

void rate_add(struct rate *r, int64_t n)
{
    r->level = MAX(r->level + n * RATE_UNIT, 0);
}
