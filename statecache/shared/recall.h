/* Sessions whose records the store has forgotten, and the store that has forgotten all of them.
 *
 * A replica that is asked for a session, knows of its record and finds none, or an older one,
 * cannot tell whether its own copy is the newest. So it puts that under the fence it was written
 * under, held by nobody but the call itself for CLAIM_CALL_MS, and calls the session's name;
 * meanwhile turns are told that it is busy. Every replica looks for calls each CLAIM_HEAR_MS, and
 * replaces what is there where its own copy was written under a higher fence. After that the record
 * is as any other, and whoever takes it first raises the fence above all that anybody can know:
 * what comes too late does not count any more.
 *
 * Where the store's epoch is another one every replica does so with every session it knows of. All
 * functions are called under the cache's lock. */
#ifndef RECURD_SHARED_RECALL_H
#define RECURD_SHARED_RECALL_H

#include "statecache/shared/errand.h"

/* Asks what is called for, if that is due. */
void recall_hear(struct statecache *sc, uint64_t now);
/* Whether x, which is not busy, may be newer than what the store has, and nobody has looked yet. */
bool recall_is_due(const struct statecache *sc, const struct session *x);
/* There are calls that not all sessions may have been looked for in: for CLAIM_CALL_MS. */
bool recall_news(const struct statecache *sc);
/* Somebody looks. */
void recall_done(struct statecache *sc, struct session *x);

#endif
