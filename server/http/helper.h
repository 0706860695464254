/* One thread that parses large bodies, so that no HTTP worker stands still for them.
 * Thread: helper_put from any. */
#ifndef RECURD_HELPER_H
#define RECURD_HELPER_H

#include "base/err.h"

struct exchange;
struct helper;

/* run is called on the helper's thread, once for each exchange put in, in order. */
int helper_open(struct helper **out, void (*run)(struct exchange *x), struct err *e) MUST_USE;
void helper_close(struct helper *h); /* the queue is empty by then; NULL allowed */
void helper_put(struct helper *h, struct exchange *x);

#endif
