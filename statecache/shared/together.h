/* Sessions that replicas have together: who goes on with one, and from where.
 *
 * A session is local (its record is in no store: stored.fence 0), or the store's record is what
 * counts and this replica's copy of it may be old. A turn, rewind or deletion of the latter needs a
 * claim, and is only in force once the store has it. Under the cache's lock, which all that waits
 * gives up meanwhile; the engine never waits. */
#ifndef RECURD_SHARED_TOGETHER_H
#define RECURD_SHARED_TOGETHER_H

#include "statecache/shared/errand.h"

bool together_on(const struct statecache *sc); /* there is a store that can do it */

/* Waits. *x (NULL: it is not known here) becomes busy, as new as the store has it, and claimed.
 * E_BUSY: a turn is running, here or elsewhere; E_NOENT; E_TIMEOUT: the store is away, and without
 * it nobody goes on. All with the field "session". */
int together_hold(struct statecache *sc, const struct tenant_tag *tenant,
                  const struct session_id *id, struct session **x, struct err *e) MUST_USE;
/* It is not busy any more; a claim that was not used is given up. */
void together_release(struct statecache *sc, struct session *x);
/* Waits. As new as the store has it; *elsewhere (may be NULL): a turn runs there. *x may be NULL
 * before and after. E_TIMEOUT: only the store knows, and it does not say; a copy may be old. */
int together_look(struct statecache *sc, const struct tenant_tag *tenant,
                  const struct session_id *id, struct session **x, bool *elsewhere,
                  struct err *e) MUST_USE;
/* An errand that makes x, which is held, what `draft` is: a shallow copy with its own changes.
 * E_BUSY: ids of its path are not in memory. Push it, and give it to together_settle when it is
 * done, which returns what came of it. */
int together_put(struct statecache *sc, const struct session *x, const struct session *draft,
                 struct errand **out, struct err *e) MUST_USE;
int together_settle(struct statecache *sc, struct session *x, struct errand *a,
                    struct err *e) MUST_USE;
/* Of a new session, before its first change is logged: it will have a record. */
void together_born(struct statecache *sc, struct session *x);
/* Waits: the same of x as it is: one that is local, and not busy, gets a record. If not, it stays
 * local. */
void together_share(struct statecache *sc, struct session *x);
/* Waits. The store says that it is deleted. E_NOENT: it has no such session. */
int together_remove(struct statecache *sc, const struct tenant_tag *tenant,
                    const struct session_id *id, struct session *x, struct err *e) MUST_USE;

/* ENGINE. The turn of x ended at node: as together_put, pushed. */
int together_commit(struct statecache *sc, struct session *x, struct node *node,
                    const void *answer, size_t n, struct errand **out, struct err *e) MUST_USE;

/* For tend.c. The store can be asked now; there is one. */
bool together_up(const struct statecache *sc);
/* From here on the store's record is what counts, or that there is none; also after a crash. */
void together_mark(struct statecache *sc, struct session *x);
/* The record that a puts is as old as x is, and held by nobody but the call (recall.h). */
void together_as_called(const struct session *x, struct errand *a);

#endif
