/* The age of things that expire, in seconds that the daemon was there to see: counted by the
 * monotonic clock and carried from run to run, so that no wall clock, right or wrong, at the start
 * or later, ever ends a session. A machine that is off does not age what it keeps.
 *
 * The count is kept in the state folder, in a file of its own that a clean end writes; after any
 * other end it goes on from the latest stamp that was seen: too young is harmless. Stamps are never
 * 0, which means "not known". Owner: the state cache, under its lock. */
#ifndef RECURD_LIVED_H
#define RECURD_LIVED_H

#include "base/base.h"

struct fsio;

struct lived {
    uint64_t base_s;   /* when this run began */
    uint64_t start_ns; /* of the monotonic clock, then */
};

/* dir NULL: there is no folder. */
void lived_open(struct lived *l, const struct fsio *io, const char *dir);
/* A stamp of an earlier run. */
void lived_seen(struct lived *l, uint64_t stamp_s);
uint64_t lived_now(const struct lived *l); /* >= 1 */
/* Seconds since the stamp; of one that is not known, or ahead, none. */
uint64_t lived_since(const struct lived *l, uint64_t stamp_s);
/* Keeps the count for the next run; if it cannot, that one starts from what it sees. */
void lived_close(const struct lived *l, const struct fsio *io, const char *dir);

#endif
