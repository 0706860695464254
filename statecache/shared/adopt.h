/* A record of the shared store becomes a session here, or a newer form of the one that is. */
#ifndef RECURD_SHARED_ADOPT_H
#define RECURD_SHARED_ADOPT_H

#include "statecache/shared/errand.h"

/* Under the lock, given up while paths are read. a: found something fresh. *x: the session, busy by
 * the caller's doing; NULL: it is made, busy. An error leaves it as it was. E_NOMEM, E_FORMAT,
 * E_BUSY, E_IO: what is in the way of its path cannot be read. */
int adopt(struct statecache *sc, const struct tenant_tag *tenant, struct errand *a,
          struct session **x, struct err *e) MUST_USE;

#endif
