/* Eviction policy: saved computation per byte, by place on the path, decayed by age. Pure. */
#include "statecache/index/evict.h"

#include <math.h>

double evict_worth(const struct evict_entry *e)
{
    double saved = e->inner ? e->saved_tokens / EVICT_INNER
                            : fmax(e->saved_tokens, EVICT_END_TOKENS);
    return saved / (double)MAX(e->bytes, (uint64_t)1) * (1.0 + e->uses) *
           exp2(-e->age_s / EVICT_HALF_LIFE_S);
}

int evict_pick(const struct evict_entry *e, int n)
{
    int best = -1;
    double least = 0;
    for (int i = 0; i < n; i++) {
        if (e[i].floor)
            continue;
        double worth = evict_worth(&e[i]);
        if (best < 0 || worth < least) {
            best = i;
            least = worth;
        }
    }
    return best;
}

uint64_t evict_floor(uint64_t budget, int tenants)
{
    return budget / 2 / (uint64_t)MAX(tenants, 1);
}
