/* Who asks: the one place where a request meets the keys. Thread: HTTP worker. */
#ifndef RECURD_AUTH_H
#define RECURD_AUTH_H

#include "base/base.h"

struct exchange;
struct route;

/* Sets the exchange's key and tenant. False: it may not, and was answered 401 or 403. Where there
 * are no keys, and on open routes, everybody may. */
bool auth_check(struct exchange *x, const struct route *r);

#endif
