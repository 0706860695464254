/* Sessions whose states another arithmetic made, as before an upgrade that computes otherwise. Such
 * a state is not continued, but tokens have no arithmetic: at start the path of the session is read
 * from the other's files, and its next turn computes it once more. */
#ifndef RECURD_CARRY_H
#define RECURD_CARRY_H

#include "statecache/statecache_int.h"

/* The other arithmetic's files, to read. It points into itself: it must not move. */
struct carry {
    struct format format;
    struct store store;
};

/* h: of a file of this model that the other made (head.same_model). */
void carry_begin(struct carry *c, const struct statecache *sc, const struct head *h);
/* The node at `position` of t's path to the other's state of that name, which is of state_position
 * tokens. E_NOENT: a file of the path is missing. */
int carry_path(struct statecache *sc, struct carry *c, struct tenant *t,
               const unsigned char state[16], int64_t state_position, int64_t position,
               struct node **out, struct err *e) MUST_USE;

#endif
