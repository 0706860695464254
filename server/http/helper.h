/* Threads for handlers that take long, so that no HTTP worker stands still for them: one lane for
 * what computes (large bodies), one for what waits for the disk (sessions), one for what waits for
 * the network, since none may wait for another. Within a lane clients take turns by the bytes they
 * sent. Thread: helper_put from any. */
#ifndef RECURD_HELPER_H
#define RECURD_HELPER_H

#include "base/err.h"

struct exchange;
struct helper;

enum helper_lane { HELPER_COMPUTES, HELPER_WAITS, HELPER_ASKS, HELPER_LANES };

/* run is called on a thread of the lane, once for each exchange put in. */
int helper_open(struct helper **out, void (*run)(struct exchange *x), struct err *e) MUST_USE;
void helper_close(struct helper *h); /* the lanes are empty by then; NULL allowed */
void helper_put(struct helper *h, enum helper_lane lane, struct exchange *x);

#endif
