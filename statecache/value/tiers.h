/* The tiers' budgets: making room, thinning, parking. Under the lock. */
#ifndef RECURD_TIERS_H
#define RECURD_TIERS_H

#include "statecache/value/snapshot.h"

/* Counts so many bytes of RAM for t, evicting others to make room. False: there is none. */
bool tiers_reserve(struct statecache *sc, struct tenant *t, uint64_t bytes);
void tiers_release(struct statecache *sc, struct tenant *t, uint64_t bytes);
/* Gives up one state on disk for t (NULL: for nobody), own: one of its own. False: none may go. */
bool tiers_evict_disk(struct statecache *sc, const struct tenant *t, bool own);
/* So that t (NULL: nobody) may write so many bytes. E_RANGE: the budget is full of what sessions
 * need. E_BUSY, without a text: when the removals are done that the writer has in its queue. */
int tiers_make_room(struct statecache *sc, struct tenant *t, uint64_t bytes,
                    struct err *e) MUST_USE;

/* The path to `end` has grown: snapshots that the planner no longer wants go. */
void tiers_thin(struct statecache *sc, struct node *end);
/* ENGINE. Parks and older snapshots of a session's path go to disk, out of RAM. */
void tiers_settle(struct statecache *sc, struct node *end);

/* ENGINE. Give device memory back; false: nothing to give. */
bool tiers_free_slot(struct statecache *sc);
bool tiers_free_pages(struct statecache *sc, int32_t n);
/* ENGINE. Once per engine turn: spills before RAM is full, fetches what other threads want. */
void tiers_tick(struct statecache *sc);
/* ENGINE. Queues the states that only memory has for the disk, last used first, until then (of
 * see core_deadline). False: there was not time for all. */
bool tiers_save(struct statecache *sc, const struct timespec *until);

#endif
