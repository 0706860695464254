/* The tiers' budgets: making room, spilling to disk, reading back, thinning. Under the lock. */
#ifndef RECURD_TIERS_H
#define RECURD_TIERS_H

#include "statecache/snapshot.h"

/* Counts so many bytes of RAM for t, evicting others to make room. False: there is none. */
bool tiers_reserve(struct statecache *sc, struct tenant *t, uint64_t bytes);
void tiers_release(struct statecache *sc, struct tenant *t, uint64_t bytes);
/* Gives up one state on disk for t (NULL: for nobody), own: one of its own. False: none may go. */
bool tiers_evict_disk(struct statecache *sc, const struct tenant *t, bool own);
/* So that t may write so many bytes. E_RANGE: the budget is full of what sessions need. */
int tiers_make_room(struct statecache *sc, struct tenant *t, uint64_t bytes,
                    struct err *e) MUST_USE;

/* Queues s for the disk. False: no disk tier, no memory. Needs ENGINE unless s is on the host.
 * durable: done only when the medium has it. */
bool tiers_spill(struct statecache *sc, struct snapshot *s, bool durable);
/* Queues s to be read back; s->reading tells until when. False: no room. */
bool tiers_load(struct statecache *sc, struct snapshot *s);
/* Removes the file of s, later. */
void tiers_forget_file(struct statecache *sc, struct snapshot *s);

/* The path to `end` has grown: snapshots that the planner no longer wants go. */
void tiers_thin(struct statecache *sc, struct node *end);
/* ENGINE. Parks and older snapshots of a session's path go to disk, out of RAM. */
void tiers_settle(struct statecache *sc, struct node *end);

/* ENGINE. Give device memory back; false: nothing to give. */
bool tiers_free_slot(struct statecache *sc);
bool tiers_free_pages(struct statecache *sc, int32_t n);
/* ENGINE. Once per engine turn: spills before RAM is full, fetches what other threads want. */
void tiers_tick(struct statecache *sc);

/* At start: the index from the heads of the files. No writer runs yet. */
int tiers_scan(struct statecache *sc, struct err *e) MUST_USE;
/* The scanned snapshot with this name, or NULL; valid between scan and scan_end. */
struct snapshot *tiers_scanned(struct statecache *sc, const unsigned char name[16]);
void tiers_scan_end(struct statecache *sc);

#endif
