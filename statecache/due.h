/* Sessions whose record file, and the state that names, are to be written: in the order of their
 * time. Under the cache's lock. */
#ifndef RECURD_DUE_H
#define RECURD_DUE_H

#include "statecache/statecache_int.h"

#define CHECKPOINT_MS 1000    /* after the first change since the last; an idle engine looks every
                                 second */
#define CHECKPOINT_TOKENS 256 /* beyond the last one: at once */

enum due_when { DUE_SOON, DUE_NOW, DUE_LATER /* it just failed */ };

/* x has changed. Earlier than it already was, or as before. */
void due_want(struct statecache *sc, struct session *x, enum due_when when);
void due_forget(struct statecache *sc, struct session *x);
/* The first that is due at `now`, taken out; NULL = none. */
struct session *due_take(struct statecache *sc, uint64_t now);

#endif
