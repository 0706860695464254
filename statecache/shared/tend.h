/* Looking after shared sessions, called for or not: local ones get their records, what others call
 * for, or the store has lost, is put there again, and a replica that holds claims says that it
 * lives. Under the cache's lock; nothing here waits. */
#ifndef RECURD_SHARED_TEND_H
#define RECURD_SHARED_TEND_H

#include "statecache/statecache_int.h"

/* ENGINE, once per turn: some of the sessions. */
void tend_tick(struct statecache *sc);
/* From the records' thread, because the engine may have nothing to do for seconds: all of them, if
 * others called. */
void tend_beat(struct statecache *sc);

#endif
