/* The engine's cache hooks over the state cache: which states a sequence starts from, where it
 * leaves some. Engine thread; open and close without it. */
#ifndef RECURD_CACHE_HOOKS_H
#define RECURD_CACHE_HOOKS_H

#include "scheduler/engine.h"
#include "scheduler/turn_end.h"
#include "statecache/statecache.h"

struct cached {
    struct engine *en;
    struct statecache *sc;
    struct ending *endings;
    struct err lost; /* E_DEVICE from where the engine could not be told: the next tick does */
};

/* Gives the engine its hooks. o: what the engine does not know by itself. */
int cached_open(struct cached **out, struct engine *en, const struct statecache_options *o,
                struct err *e) MUST_USE;
/* What came of a call that the cache made on the device: if that is lost, the engine will know. */
static inline void cached_note(struct cached *c, const struct err *e)
{
    if (e->code == E_DEVICE && !c->lost.code)
        c->lost = *e;
}
void cached_close(struct cached *c); /* nothing is active any more; NULL allowed */

#endif
