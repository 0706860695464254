/* Writes what is due: record files of sessions with the states they name, states of plain prompts
 * behind them. Engine thread, under the cache's lock. */
#ifndef RECURD_CHECKPOINT_H
#define RECURD_CHECKPOINT_H

#include "statecache/statecache_int.h"

/* Once per engine turn. Is anything left for the writers? */
bool checkpoint_tick(struct statecache *sc);
/* Before a planned end: all record files that are due at any time, now. */
void checkpoint_all(struct statecache *sc);

#endif
