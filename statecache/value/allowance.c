#include "statecache/value/allowance.h"

#include "base/clock.h"

#define GONE_MAX_S 1000000 /* of time that pays at once: at 2^40 bytes a second, 2^60 of them */

static uint64_t gain(uint64_t gone_ns, uint64_t per_s)
{
    return MIN(gone_ns / NS_PER_S, (uint64_t)GONE_MAX_S) * per_s +
           gone_ns % NS_PER_S / 1000 * per_s / (NS_PER_S / 1000);
}

void allowance_refill(struct allowance *a, const struct allowance_limits *l, uint64_t now)
{
    uint64_t gone = now - a->seen_ns;
    a->seen_ns = now;
    a->bytes = MIN(a->bytes + (int64_t)gain(gone, l->bytes_s), (int64_t)l->bytes_max);
    a->cost_ns = MIN(a->cost_ns + (int64_t)gain(gone, NS_PER_S / l->share), (int64_t)l->ns_max);
}

bool allowance_left(const struct allowance *a, const struct allowance_limits *l)
{
    return (!l->bytes_s || a->bytes > 0) && a->cost_ns > 0;
}

void allowance_spend(struct allowance *a, uint64_t bytes, uint64_t ns)
{
    a->bytes -= (int64_t)bytes;
    a->cost_ns -= (int64_t)ns;
}
