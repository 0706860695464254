/* When states go to disk: a session's within seconds of its turn, those of plain prompts behind
 * them, as fast as costs little. Under the cache's lock. */
#ifndef RECURD_CHECKPOINT_H
#define RECURD_CHECKPOINT_H

#include "statecache/value/snapshot.h"

#define CHECKPOINT_MS 1000    /* after the first change since the last; an idle engine looks every
                                 second */
#define CHECKPOINT_TOKENS 256 /* beyond the last one: at once */

enum checkpoint_when { CHECKPOINT_SOON, CHECKPOINT_NOW, CHECKPOINT_LATER /* it just failed */ };

/* x has changed: its record file, and the state that names, are due then. Earlier than it already
 * was, or as before. */
void checkpoint_want(struct statecache *sc, struct session *x, enum checkpoint_when when);
void checkpoint_forget(struct statecache *sc, struct session *x);
/* x has changed: logs it, and says when its record file is due. */
void checkpoint_changed(struct statecache *sc, struct session *x);
/* A record file of x is durable (good), or could not be written. */
void checkpoint_done(struct statecache *sc, struct session *x, bool good);

/* A state of a plain prompt was taken: it may be written behind. */
void checkpoint_behind(struct statecache *sc, struct snapshot *s);
void checkpoint_behind_forget(struct statecache *sc, struct snapshot *s);
/* One was written, in so much time of the writer. */
void checkpoint_behind_wrote(struct statecache *sc, uint64_t bytes, uint64_t ns);

/* ENGINE. Once per engine turn. Is anything left for the writers? */
bool checkpoint_tick(struct statecache *sc);
/* ENGINE, before a planned end: all record files that are due at any time, now. */
void checkpoint_all(struct statecache *sc);

#endif
