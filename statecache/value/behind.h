/* States of plain prompts that are to be written behind them, and what that may cost. Under the
 * cache's lock. */
#ifndef RECURD_BEHIND_H
#define RECURD_BEHIND_H

#include "statecache/value/snapshot.h"

/* One was taken. */
void behind_add(struct statecache *sc, struct snapshot *s);
void behind_forget(struct statecache *sc, struct snapshot *s);
/* It was written, for so much processor time. */
void behind_wrote(struct statecache *sc, uint64_t bytes, uint64_t ns);
/* Once per engine turn, before: */
void behind_refill(struct statecache *sc, uint64_t now);
/* The next that may be written at `now`, taken out of the list; NULL = none. */
struct snapshot *behind_take(struct statecache *sc, uint64_t now, bool room);

#endif
