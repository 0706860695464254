/* States on their way between the device and RAM while steps go on. ENGINE, under the lock.
 *
 * A snapshot whose slab is being filled (s->copy) is in the RAM tier, pinned, and not on the host:
 * who hits it gets it from the copy, which the device has, and what needs its bytes (a file, an
 * export) awaits it in snapshot_to_host. A device without state_out reads at once. */
#ifndef RECURD_COPIES_H
#define RECURD_COPIES_H

#include "statecache/value/snapshot.h"

/* Begins to fill s->slab from the slot, which may be used for something else at once; or has filled
 * it. When the device has no room for one more copy it awaits the oldest, which takes less than to
 * read a state while others travel; may_skip: E_NOMEM then. */
int copies_out(struct statecache *sc, struct snapshot *s, int32_t slot, bool may_skip,
               struct err *e) MUST_USE;
/* Until the slab is filled, if it is being. E_DEVICE: it will not be; the next tick drops it. */
int copies_await(struct statecache *sc, struct snapshot *s, struct err *e) MUST_USE;
/* Once per engine turn: those that are over. */
void copies_tick(struct statecache *sc);
/* Waits for all of them. */
void copies_end(struct statecache *sc);

/* Brings the slab of s, which is pinned, to the device before snapshot_restore. E_BUSY: it, or what
 * must make room for it, is on its way, and wake will be called. E_DEVICE: its slab was never
 * filled. 0 with *ahead == NULL: snapshot_restore does. */
int copies_ahead(struct statecache *sc, struct snapshot *s, struct state_copy **ahead,
                 struct err *e) MUST_USE;
void copies_ahead_end(struct statecache *sc, struct state_copy **ahead);

#endif
